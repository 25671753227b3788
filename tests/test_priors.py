"""fit with priors: the maximum a posteriori, by densities of the natural parameters."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from scipy import stats

import fastard
from fastard._training.priors import log_prior

X, Y = data(30, 3)
FROZEN = {
    "lognorm": stats.lognorm(0.7, scale=2.0),
    "lognorm_keywords": stats.lognorm(s=0.7, loc=-0.1, scale=2.0),
    "gamma": stats.gamma(2.5, scale=0.4),
    "gamma_all_positional": stats.gamma(0.5, 0.0, 3.0),
    "halfcauchy": stats.halfcauchy(scale=3.0),
    "halfnorm": stats.halfnorm(0.0, 2.0),
    "norm": stats.norm(1.5, 2.0),
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_distributions(name):
    """The value is SciPy's; the slope is that of the value."""
    prior = log_prior("p", FROZEN[name], np.arange(3))
    x, h = np.array([0.3, 1.0, 7.0]), 1e-5
    value, slope = prior(x)
    assert value == pytest.approx(FROZEN[name].logpdf(x).sum(), rel=1e-12)
    np.testing.assert_allclose(slope, (FROZEN[name].logpdf(x + h) - FROZEN[name].logpdf(x - h)) / (2 * h), rtol=1e-7)


def test_outside_the_support():
    assert log_prior("p", stats.gamma(2.0, loc=1.0))(np.array([0.5]))[0] == -np.inf


def half(x):
    """A callable: half of a normal prior of the logarithm's density, whatever that is; of all length scales at once."""
    x = np.asarray(x)
    return -0.5 * np.sum(np.log(x) ** 2), -np.log(x) / x


CASES = {
    "one_for_all": {"length_scale_prior": stats.gamma(3.0, scale=0.5)},
    "one_each": {"length_scale_prior": [stats.gamma(3.0), None, lambda x: (-x, -1.0)]},
    "known_one_each": {"length_scale_prior": [stats.gamma(3.0), None, stats.lognorm(0.5)]},
    "callable": {"length_scale_prior": half, "noise_variance_prior": half},
    "parameters_of_each": {"length_scale_prior": stats.lognorm(0.5, scale=np.array([1.0, 2.0, 3.0]))},
    "all": {
        "length_scale_prior": stats.lognorm(0.5, scale=2.0),
        "signal_variance_prior": stats.halfnorm(scale=2.0),
        "noise_variance_prior": stats.halfcauchy(scale=0.1),
        "shape_prior": stats.gamma(2.0),
    },
}


def log_density(case, natural):
    """The truth, from SciPy alone."""
    groups = {"length_scale": natural[:3], "signal_variance": natural[3], "noise_variance": natural[4], "shape": natural[5:]}
    total = 0.0
    for name, prior in case.items():
        values = groups[name.removesuffix("_prior")]
        if isinstance(prior, list):
            each = zip(prior, values, strict=True)
            total += sum(0.0 if p is None else p.logpdf(x) if hasattr(p, "logpdf") else p(x)[0] for p, x in each)
        else:
            total += np.sum(prior.logpdf(values)) if hasattr(prior, "logpdf") else prior(values)[0]
    return total


@pytest.mark.parametrize("objective", ["log_marginal_likelihood", "loo"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name, objective):
    """Of the objective at three points: the likelihood's plus the density, without a Jacobian, against differences."""
    case, states = CASES[name], []
    kernel = "rational_quadratic" if name == "all" else "rbf"
    fastard.fit(X, Y, kernel=kernel, objective=objective, max_iterations=3, callback=states.append, **case)
    truth = naive.of_theta if objective != "loo" else naive.leave_one_out_of_theta

    def value(theta):
        return float(truth(kernel, theta, X, Y - Y.mean()) + log_density(case, np.exp(theta)))

    for state in states[:2]:
        p = state.parameters
        theta = np.log([*p["length_scale"], p["signal_variance"], p["noise_variance"], *p["shape"]])
        assert_agree(state.value, value(theta))
        steps = 1e-5 * np.eye(theta.size)
        differences = [(value(theta + step) - value(theta - step)) / 2e-5 for step in steps]
        assert_agree(state.gradient, differences, 1e-7)


def test_reaches_the_maximum_a_posteriori():
    case = CASES["all"]
    states = []
    model = fastard.fit(X, Y, kernel="rational_quadratic", callback=states.append, **case)
    assert model.converged
    best = max(states, key=lambda state: state.value)
    assert np.abs(best.gradient).max() < 1e-3
    np.testing.assert_array_equal(best.parameters["length_scale"], model.length_scale)
    free = fastard.fit(X, Y, kernel="rational_quadratic")
    assert model.log_marginal_likelihood <= free.log_marginal_likelihood + 1e-6


def test_a_strong_prior_decides_and_units_are_the_users():
    """The inputs are in thousands, and so is the prior's scale."""
    model = fastard.fit(1e3 * X, Y, length_scale_prior=stats.lognorm(1e-3, scale=2e3))
    np.testing.assert_allclose(model.length_scale, 2e3, rtol=1e-3)


def test_tied_length_scales_are_one_parameter_with_one_density():
    prior = stats.lognorm(0.5, scale=0.3)
    for groups, given, count in [
        ("isotropic", prior, 1),
        ([0, 1, 0], prior, 2),
        ([0, 1, 0], [prior, None, prior], 1),
        ([0, 1, 0], [None, None, prior], 1),
        (None, prior, 3),
    ]:
        states = []
        fastard.fit(X, Y, length_scale_groups=groups, length_scale_prior=given, max_iterations=3, standardize=False,
                    callback=states.append)  # fmt: skip
        for state in states:
            scales = state.parameters["length_scale"]
            counted = scales[[2]] if isinstance(given, list) else scales[:count]
            assert_agree(state.value - state.log_marginal_likelihood, prior.logpdf(counted).sum(), 1e-9)
    with pytest.raises(ValueError, match=r"length_scale_prior has several values for one parameter, \[0\.1, 0\.2, 0\.3\]"):
        fastard.fit(X, Y, length_scale_groups=[0, 1, 0], length_scale_prior=stats.lognorm(0.5, scale=[0.1, 0.2, 0.3]))
    fastard.fit(X, Y, length_scale_groups=[0, 1, 0], length_scale_prior=stats.gamma([2.0, 3.0, 2.0]), max_iterations=1)
    with pytest.raises(ValueError, match="length_scale_prior has several priors for one parameter"):
        fastard.fit(X, Y, length_scale_groups=[0, 1, 0], length_scale_prior=[prior, None, stats.gamma(2.0)])


def test_the_gradient_with_tied_length_scales_and_a_prior():
    prior, states = stats.gamma(3.0, scale=0.5), []
    fastard.fit(X, Y, length_scale_groups=[0, 1, 0], length_scale_prior=prior, max_iterations=3, callback=states.append)

    def value(theta):
        natural = np.exp(theta)
        return float(naive.of_theta("rbf", theta, X, Y - Y.mean()) + prior.logpdf(natural[:2]).sum())

    p = states[1].parameters
    theta = np.log([*p["length_scale"], p["signal_variance"], p["noise_variance"]])
    step = 1e-5 * np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    expected = (value(theta + step) - value(theta - step)) / 2e-5
    assert_agree(states[1].gradient[[0, 2]], [expected, expected], 1e-7)


def test_a_prior_that_rules_the_start_out_is_named():
    with pytest.raises(ValueError, match=r"noise_variance_prior has no finite log density.*noise_variance = \[0\.\d+\]"):
        fastard.fit(X, Y, noise_variance_prior=stats.gamma(2.0, loc=50.0), signal_variance_prior=stats.gamma(2.0))


def test_a_fixed_parameter_needs_no_prior():
    plain = fastard.fit(X, Y, noise_variance=0.0, noise_variance_bounds="fixed", max_iterations=3)
    model = fastard.fit(
        X, Y, noise_variance=0.0, noise_variance_bounds="fixed", noise_variance_prior=stats.lognorm(1.0), max_iterations=3
    )
    np.testing.assert_array_equal(model.length_scale, plain.length_scale)


def test_a_prior_of_what_is_fixed_is_checked_all_the_same():
    with pytest.raises(TypeError, match="noise_variance_prior must be a frozen"):
        fastard.fit(X, Y, noise_variance_bounds="fixed", noise_variance_prior="nonsense")


def test_a_prior_of_length_scales_of_which_some_are_fixed():
    states = []
    fastard.fit(X, Y, length_scale=1.5, length_scale_bounds=["fixed", (0.1, 10.0), (0.1, 10.0)], max_iterations=2,
                length_scale_prior=stats.gamma(3.0), callback=states.append)  # fmt: skip
    p = states[-1].parameters
    density = stats.gamma(3.0).logpdf(p["length_scale"]).sum()
    assert_agree(states[-1].value - states[-1].log_marginal_likelihood, density, 1e-9)
    assert states[-1].gradient[0] == 0.0


def test_a_search_backs_off_from_the_end_of_a_support():
    model = fastard.fit(X, Y, noise_variance=2.0, noise_variance_prior=stats.gamma(1.5, loc=0.5, scale=0.01))
    assert model.noise_variance > 0.5


@pytest.mark.parametrize(
    ("name", "bad", "exception", "words"),
    [
        ("length_scale_prior", 3.0, TypeError, "frozen"),
        ("length_scale_prior", stats.gamma, TypeError, "frozen.*call gamma"),
        ("length_scale_prior", [stats.gamma(1.0)], ValueError, "3"),
        ("length_scale_prior", [stats.gamma(1.0), None, "x"], TypeError, r"length_scale_prior\[2\]"),
        ("length_scale_prior", stats.gamma(1.0, scale=[1.0, 2.0]), ValueError, "3"),
        ("length_scale_prior", lambda x: (0.0, 1.0), ValueError, "3 derivatives"),
        ("signal_variance_prior", stats.beta(2.0, 2.0), TypeError, "beta.*callable"),
        ("signal_variance_prior", [stats.gamma(1.0)], TypeError, "frozen"),
        ("signal_variance_prior", lambda x: x, TypeError, "derivative"),
        ("noise_variance_prior", stats.lognorm(-1.0), ValueError, "no distribution"),
        ("shape_prior", stats.gamma(1.0), ValueError, "no shape"),
    ],
)
def test_errors_name_the_argument(name, bad, exception, words):
    with pytest.raises(exception, match=words) as caught:
        fastard.fit(X, Y, **{name: bad})
    assert name in str(caught.value)


def test_a_start_without_density():
    with pytest.raises(ValueError, match="no finite log density"):
        fastard.fit(X, Y, noise_variance=0.1, noise_variance_prior=stats.gamma(1.5, loc=0.5))


def test_a_restart_without_density_does_not_end_the_others():
    """Half of the restarts' noise lies below the prior's least."""
    given = {"noise_variance": 2.0, "noise_variance_prior": stats.gamma(1.5, loc=1.5, scale=0.1)}
    model = fastard.fit(X, Y, n_restarts=6, rng=0, **given)
    assert model.log_marginal_likelihood >= fastard.fit(X, Y, **given).log_marginal_likelihood - 1e-6


def test_errors_of_a_callable_come_through():
    def fail(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fastard.fit(X, Y, length_scale_prior=fail)


@pytest.mark.parametrize("raised", [fastard.NotPositiveDefiniteError(0), ValueError("mine"), KeyError("mine")])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_whatever_a_prior_raises_comes_through(raised, call):
    """Its own error is no trial point that can be backed off from, nor a start to be passed over."""
    calls = []

    def fail(x):
        calls.append(x)
        if len(calls) == call:
            raise raised
        return half(x)

    with pytest.raises(type(raised)) as caught:
        fastard.fit(X, Y, length_scale_prior=fail, n_restarts=2, rng=0)
    assert caught.value is raised
    assert len(calls) == call


@pytest.mark.parametrize("answer", ["raises", "too_short"])
def test_errors_of_a_callable_come_through_from_a_trial_point_too(answer):
    calls = []

    def fail_later(x):
        calls.append(x)
        if len(calls) > 2 and answer == "raises":
            raise ValueError("mine")
        return -x.sum(), -np.ones_like(x)[: 2 if len(calls) > 2 else 3]

    with pytest.raises(ValueError, match="mine" if answer == "raises" else "3 derivatives"):
        fastard.fit(X, Y, length_scale_prior=fail_later)
    assert len(calls) == 3


def test_a_callable_may_write_into_its_argument():
    def change(x):
        answer = half(x)
        x[:] = 1e6
        return answer

    states = []
    for prior in (half, change):
        states.append([])
        fastard.fit(X, Y, length_scale_prior=prior, callback=states[-1].append, max_iterations=3)
    for left, changed in zip(*states, strict=True):
        assert changed.value == left.value
        np.testing.assert_array_equal(changed.gradient, left.gradient)
        np.testing.assert_array_equal(changed.parameters["length_scale"], left.parameters["length_scale"])


@pytest.mark.parametrize(
    ("value", "slope"), [(np.nan, 0.0), (np.inf, 0.0), (-np.inf, 0.0), (0.0, np.nan), (0.0, np.inf)], ids=str
)
def test_a_density_or_a_slope_that_is_no_number(value, slope):
    """At the start it is an error; elsewhere the search backs off."""

    def prior(x):
        return (value, slope) if x < 0.5 else (0.0, 0.0)

    with pytest.raises(ValueError, match="noise_variance_prior has no finite log density and derivative at noise_variance"):
        fastard.fit(X, Y, noise_variance=0.4, noise_variance_prior=prior, standardize=False)
    states = []
    y = np.sin(X[:, 0]) + 0.1 * Y  # the likelihood draws the noise to far below
    model = fastard.fit(X, y, noise_variance=1.0, noise_variance_prior=prior, callback=states.append)
    assert model.noise_variance >= 0.5
    assert all(np.isfinite(state.value) and np.isfinite(state.gradient).all() for state in states)
    assert "a prior's density ends just beyond" in model.message


def test_a_search_that_a_prior_ends_says_so():
    model = fastard.fit(X, Y, noise_variance=0.5, noise_variance_prior=stats.gamma(0.5, loc=0.2, scale=0.05))
    if not model.converged:
        assert "a prior's density ends just beyond" in model.message
        assert "noise's lower bound" not in model.message
    assert model.noise_variance == pytest.approx(0.2, abs=1e-2)
