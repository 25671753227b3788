"""Leave-one-out: against n refits and their complex step, as an objective of fit, and from a model."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import peak

import fastard

SCALES, SIGNAL, NOISE = np.array([0.5, 1.3, 2.0]), 1.7, 0.1


def both(X, y, kernel=("rbf", "rbf", ()), known=0.0, scales=SCALES, noise=NOISE, **options):
    """Value and gradient, fastard's and the truth's."""
    name, kernel_object, shape = kernel
    theta = np.log([*scales, SIGNAL, noise, *shape])
    mine = fastard.loo_log_predictive_density(
        X, y, length_scale=scales, signal_variance=SIGNAL, noise_variance=noise, kernel=kernel_object, eval_gradient=True,
        **options,
    )  # fmt: skip

    def density(theta):
        return naive.leave_one_out_of_theta(name, theta, np.asarray(X), np.asarray(y), known)

    return mine, (density(theta), naive.complex_step(density, theta))


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 33])
def test_agrees_with_refits(kernel, n, m):
    mine, truth = both(*data(n, 3, m), kernel)
    assert_agree(mine[0], truth[0])
    assert_agree(mine[1], truth[1])


@pytest.mark.parametrize("n", [97, 300, 419])
def test_over_several_strips_and_tiles(n):
    """The complex step of 300 refits would take minutes: the formulas (5.10) to (5.12), whose derivative is differenced."""
    X, y = data(n, 3)
    theta = np.log([*SCALES, SIGNAL, NOISE])

    def density(theta):
        natural = np.exp(theta)
        B = np.linalg.inv(naive.noisy_covariance([naive.Term("rbf", natural[:3], natural[3])], X, natural[4]))
        b = B.diagonal()
        return np.sum(0.5 * np.log(b / (2 * np.pi)) - 0.5 * (B @ y) ** 2 / b)

    given = {"length_scale": SCALES, "signal_variance": SIGNAL, "noise_variance": NOISE}
    value, gradient = fastard.loo_log_predictive_density(X, y, **given, eval_gradient=True)
    assert_agree(value, density(theta))
    assert_agree(gradient, naive.complex_step(density, theta))
    assert fastard.loo_log_predictive_density(X, y, **given) == value


@pytest.mark.parametrize("n", [47, 160, 203, 400])
def test_the_bits_do_not_depend_on_the_threads(n):
    X, y = data(n, 3, 2)
    one, two = (
        fastard.loo_log_predictive_density(X, y, length_scale=1.0, eval_gradient=True, n_threads=threads) for threads in (1, 2)
    )
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


def test_known_variances():
    known = np.linspace(0.0, 0.5, 25)
    mine, truth = both(*data(25, 3), known=known, observation_variance=known)
    assert_agree(mine[0], truth[0])
    assert_agree(mine[1], truth[1])


def test_no_columns_constant_columns_and_no_noise():
    X, y = data(12, 3)
    for Z in (np.empty((12, 0)), np.column_stack([X[:, :2], np.full(12, 7.0)])):
        mine, truth = both(Z, y, scales=SCALES[: Z.shape[1]])
        assert_agree(mine[0], truth[0])
        assert_agree(mine[1], truth[1])
    value, gradient = fastard.loo_log_predictive_density(X, y, length_scale=0.5, noise_variance=0.0, eval_gradient=True)
    assert np.isfinite(value)
    assert gradient[4] == 0.0


def test_storage_does_not_matter():
    X, y = data(20, 3)
    X = X.astype(np.float32).astype(np.float64)
    expected = fastard.loo_log_predictive_density(X, y, length_scale=SCALES, eval_gradient=True)
    X.flags.writeable = False
    for given in (X, X.astype(np.float32), np.asfortranarray(X), X.tolist()):
        value, gradient = fastard.loo_log_predictive_density(given, y, length_scale=SCALES, eval_gradient=True)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_one_matrix_of_memory():
    X, y = data(1500, 3)
    used = peak(lambda: fastard.loo_log_predictive_density(X, y, length_scale=1.0, eval_gradient=True))
    assert used < 1.3 * 8 * 1500**2  # with the panels of the factorisation, and two threads' scratch


@pytest.mark.parametrize("n", [5, 50, 203])
def test_the_buffer_can_be_used_again(n):
    """Its rows were packed in their place, over the zeros beyond them too."""
    from fastard._objectives import leave_one_out

    X, y = data(n, 3)
    objective = fastard.LogMarginalLikelihood(X, y)
    at = (SCALES, SIGNAL, NOISE, objective.kernel)
    before = objective.evaluate(*at, gradient=True)
    first, second = (leave_one_out.evaluate(objective, *at, gradient=True) for _ in range(2))
    after = objective.evaluate(*at, gradient=True)
    np.testing.assert_array_equal(first.gradient, second.gradient)
    assert after.log_marginal_likelihood == before.log_marginal_likelihood
    np.testing.assert_array_equal(after.gradients[0].log_length_scale, before.gradients[0].log_length_scale)
    assert len(objective._last) == 1


@pytest.mark.parametrize("name", ["length_scale", "signal_variance", "noise_variance"])
def test_errors_name_the_argument(name):
    X, y = data(5, 2)
    with pytest.raises(ValueError, match=name):
        fastard.loo_log_predictive_density(X, y, **{"length_scale": 1.0, name: -1.0})


def test_not_positive_definite():
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.loo_log_predictive_density(np.ones((3, 1)), np.arange(3.0), length_scale=1.0, noise_variance=0.0)


def test_overflow_is_told():
    with pytest.raises(ValueError, match="rescale y"):
        fastard.loo_log_predictive_density(np.eye(3), np.full(3, 1e200), length_scale=1.0)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("known", [None, np.linspace(0.0, 0.5, 30)], ids=["plain", "known_variances"])
def test_of_a_model(m, known):
    X, y = data(30, 3, m)
    y = y + 5.0
    model = fastard.fit(X, y, observation_variance=known, max_iterations=3)
    found = model.loo()
    term = naive.Term("rbf", model.length_scale, model.signal_variance)
    diagonal = model.noise_variance + (0.0 if known is None else known)
    mean, variance, density = naive.leave_one_out([term], X, y - y.mean(axis=0), diagonal)
    mean = mean.reshape(y.shape) + y.mean(axis=0)
    variance = np.broadcast_to(variance.reshape(-1, *[1] * (y.ndim - 1)), y.shape)
    assert_agree(found.mean, mean)
    assert_agree(found.variance, variance)
    assert_agree(found.standardized_residuals, (y - mean) / np.sqrt(variance))
    assert_agree(found.log_predictive_density, density)


@pytest.mark.parametrize("kernel_name", ["rbf", "rational_quadratic"])
def test_as_the_objective_of_fit(kernel_name):
    X, y = data(40, 2)
    y = np.sin(2.0 * X[:, 0]) + 0.1 * y
    states = []
    model = fastard.fit(X, y, kernel=kernel_name, objective="loo", callback=states.append)
    given = {name: getattr(model, name) for name in ("length_scale", "signal_variance", "noise_variance", "kernel")}
    value, gradient = fastard.loo_log_predictive_density(X, y - y.mean(), **given, eval_gradient=True)
    assert model.objective == "loo"
    assert_agree(max(state.value for state in states), value, 1e-12)
    assert_agree(model.loo().log_predictive_density, value, 1e-12)
    assert_agree(model.log_marginal_likelihood, fastard.log_marginal_likelihood(X, y - y.mean(), **given), 1e-12)
    free = ~np.isclose(np.log([*given["length_scale"], 1.0, 1.0, *model.kernel]), np.log(1e5), atol=2.0)
    assert np.abs(gradient[free]).max() < 1e-2
    ordinary = fastard.fit(X, y, kernel=kernel_name)
    assert value > ordinary.loo().log_predictive_density


def test_fixed_length_scales():
    X, y = data(30, 2)
    states = []
    fastard.fit(X, y, objective="loo", length_scale=[0.7, 1.0], length_scale_bounds=["fixed", (0.1, 10.0)], max_iterations=2,
                callback=states.append)  # fmt: skip
    expected = fastard.loo_log_predictive_density(
        X, y - y.mean(), **{k: v for k, v in states[-1].parameters.items() if k != "shape"}, eval_gradient=True
    )
    assert_agree(states[-1].value, expected[0], 1e-12)
    assert_agree(states[-1].gradient, [0.0, *expected[1][1:]], 1e-12)


def test_fixed_length_scales_are_no_rows_of_the_product(monkeypatch):
    """fit() asks for one row of distances a free dimension."""
    from fastard._engine import descent

    rows, ordered = [], descent.ordered_columns

    def spy(*arguments):
        columns, free, tied = ordered(*arguments)
        rows.append((free, *columns.tolist()))
        return columns, free, tied

    monkeypatch.setattr(descent, "ordered_columns", spy)
    X, y = data(30, 3)
    fastard.fit(X, y, objective="loo", length_scale_bounds=[(0.1, 10.0), "fixed", (0.1, 10.0)], max_iterations=2)
    assert set(rows) == {(2, 0, 2, 1)}


def test_unknown_objective():
    X, y = data(5, 2)
    with pytest.raises(ValueError, match=r"objective.*'loo'.*'elbo'"):
        fastard.fit(X, y, objective="elbo")
