"""fit(): the optimum, in the user's units, under bounds, through trouble, and stopped half-way."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard


def borehole(n, seed=0):
    """The eight-input borehole function (Morris, Mitchell and Ylvisaker 1993), whose inputs differ widely in units."""
    low = np.array([0.05, 100.0, 63070.0, 990.0, 63.1, 700.0, 1120.0, 9855.0])
    high = np.array([0.15, 50000.0, 115600.0, 1110.0, 116.0, 820.0, 1680.0, 12045.0])
    X = np.random.default_rng(seed).uniform(low, high, (n, 8))
    rw, r, tu, hu, tl, hl, length, kw = X.T
    ratio = np.log(r / rw)
    return X, 2 * np.pi * tu * (hu - hl) / (ratio * (1 + 2 * length * tu / (ratio * rw**2 * kw) + tu / tl))


def problem(n=60, m=1, seed=0):
    """Three inputs of different units, of which the last does nothing; noisy targets far from zero."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 3)) * [1.0, 1e3, 1e-2] + [0.0, 5e3, 0.0]
    y = 100.0 + 10.0 * np.sin(6.0 * X[:, 0]) + 5.0 * np.cos(X[:, 1] / 200.0)
    if m > 1:
        y = np.column_stack([y * (1 + t) + t for t in range(m)])
    return X, y + 0.3 * rng.standard_normal(y.shape)


def reproduced(model, X, y, **options):
    """The value and gradient that the user computes from what the model says."""
    return fastard.log_marginal_likelihood(
        X,
        y - np.mean(y, axis=0),
        length_scale=model.length_scale,
        signal_variance=model.signal_variance,
        noise_variance=model.noise_variance,
        kernel=model.kernel,
        eval_gradient=True,
        **options,
    )


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("m", [1, 2])
def test_reaches_a_stationary_point(kernel, standardize, m):
    X, y = problem(m=m)
    scale = X.std(axis=0)
    options = {} if standardize else {"length_scale": scale, "signal_variance": 50.0, "noise_variance": 5.0}
    bounds = np.outer(scale, [1e-3, 1e3])
    model = fastard.fit(X, y, kernel=kernel[1], standardize=standardize, length_scale_bounds=bounds, **options)
    value, gradient = reproduced(model, X, y)
    assert model.converged
    assert model.kernel.__class__ is kernel[1].__class__
    assert_agree(model.log_marginal_likelihood, value, 1e-12)
    at_bound = np.isclose(model.length_scale, bounds[:, 1]) & (gradient[:3] > 0)
    assert np.abs(gradient[:3][~at_bound]).max() < 0.05
    assert abs(gradient[3]) < 0.05
    if kernel[0] == "rbf":  # a rougher one may take the noise for the function
        assert abs(gradient[4]) < 0.05
        assert 0.03 < model.noise_variance < 0.3
    assert model.n_evaluations > 5
    assert model.message


def test_relevance_finds_the_input_that_does_nothing():
    X, y = problem()
    model = fastard.fit(X, y)
    assert model.relevance.shape == (3,)
    assert model.relevance.sum() == pytest.approx(1.0)
    assert model.relevance[2] < 0.05
    rates = X.std(axis=0) / model.length_scale
    assert_agree(model.relevance, rates / rates.sum(), 1e-12)


def test_borehole():
    X, y = borehole(120)
    model = fastard.fit(X, y)
    Z, truth = borehole(200, seed=1)
    error = model.predict(Z) - truth
    assert np.sqrt(np.mean(error**2)) < 0.05 * truth.std()
    assert np.argmax(model.relevance) == 0  # the radius of the borehole
    assert model.relevance[[1, 2, 4]].max() < 0.05


@pytest.mark.parametrize("standardize", [True, False])
def test_units_do_not_matter(standardize):
    """Inputs and targets in other units, with everything given in them: the same optimum, in them."""
    X, y = problem()
    factor, stretch = np.array([1e3, 1e-3, 1e6]), 1e-2
    options = {"standardize": standardize, "max_iterations": 200}
    start = X.std(axis=0)
    first = fastard.fit(X, y, length_scale=start, signal_variance=50.0, noise_variance=1.0, **_bounds(start, 1.0), **options)
    second = fastard.fit(
        X * factor + 7.0,
        y * stretch - 3.0,
        length_scale=start * factor,
        signal_variance=50.0 * stretch**2,
        noise_variance=stretch**2,
        **_bounds(start * factor, stretch**2),
        **options,
    )
    difference = first.log_marginal_likelihood - len(y) * np.log(stretch) - second.log_marginal_likelihood
    assert abs(difference) < 1e-3
    np.testing.assert_allclose(second.length_scale[:2], (first.length_scale * factor)[:2], rtol=0.02)
    np.testing.assert_allclose(second.noise_variance, first.noise_variance * stretch**2, rtol=0.02)
    np.testing.assert_allclose(
        second.predict(X[:5] * factor + 7.0), first.predict(X[:5]) * stretch - 3.0, rtol=1e-4, atol=1e-4
    )


def _bounds(scale, variance):
    return {
        "length_scale_bounds": np.outer(scale, [1e-2, 1e2]),
        "signal_variance_bounds": (1.0 * variance, 1e4 * variance),
        "noise_variance_bounds": (1e-4 * variance, 10.0 * variance),
    }


def test_standardize_by_itself_changes_no_answer():
    X, y = problem()
    start = X.std(axis=0)
    given = {"length_scale": start, "signal_variance": 50.0, "noise_variance": 1.0, **_bounds(start, 1.0)}
    models = [fastard.fit(X, y, standardize=standardize, **given) for standardize in (True, False)]
    assert abs(models[0].log_marginal_likelihood - models[1].log_marginal_likelihood) < 1e-2


@pytest.mark.parametrize("scales", [(1.0, 1e3), (1e-3, 1.0, 2.0), (1.0, 0.0)], ids=str)
def test_outputs_of_different_scales_are_told(scales):
    """They share one signal and noise variance, so that the standard deviations of one or the other mean nothing."""
    X, y = problem(n=20, m=len(scales))
    y = (y - y.mean(axis=0)) / y.std(axis=0) * scales
    least, most = int(np.argmin(scales)), int(np.argmax(scales))
    with pytest.warns(UserWarning, match=rf"column {least} of y.*column {most}.*scale the columns of y alike") as caught:
        fastard.fit(X, y, max_iterations=1)
    assert caught[0].filename == __file__
    fastard.fit(X, y[:, [most, most]] * [1.0, 5.0], max_iterations=1)  # no warning, which would be an error here


def test_observation_variance():
    X, y = problem()
    known = np.linspace(0.01, 0.2, 60)
    model = fastard.fit(X, y, observation_variance=known)
    value, _ = reproduced(model, X, y, observation_variance=known)
    assert_agree(model.log_marginal_likelihood, value, 1e-12)


@pytest.mark.parametrize("which", ["length_scale", "signal_variance", "noise_variance"])
def test_fixed_parameters(which):
    X, y = problem()
    start = {"length_scale": np.array([0.3, 300.0, 1.0]), "signal_variance": 40.0, "noise_variance": 0.2}
    model = fastard.fit(X, y, **start, **{f"{which}_bounds": "fixed"})
    for name, value in start.items():
        if name == which:
            np.testing.assert_allclose(getattr(model, name), value, rtol=1e-14)
        else:
            assert not np.allclose(getattr(model, name), value)


def test_one_fixed_dimension():
    X, y = problem()
    model = fastard.fit(X, y, length_scale=[0.3, 300.0, 1.0], length_scale_bounds=[(1e-2, 1e2), "fixed", (1e-3, 1e3)])
    np.testing.assert_allclose(model.length_scale[1], 300.0, rtol=1e-14)
    assert not np.isclose(model.length_scale[0], 0.3)


def test_everything_fixed():
    X, y = problem()
    model = fastard.fit(
        X,
        y,
        length_scale=[0.3, 300.0, 1.0],
        signal_variance=40.0,
        noise_variance=0.0,
        observation_variance=np.full(60, 0.2),
        length_scale_bounds="fixed",
        signal_variance_bounds="fixed",
        noise_variance_bounds="fixed",
    )
    assert model.noise_variance == 0.0
    assert model.n_evaluations == 1
    term = naive.Term("rbf", np.array([0.3, 300.0, 1.0]), 40.0)
    assert_agree(model.log_marginal_likelihood, naive.log_marginal_likelihood([term], X, y - y.mean(), 0.2))


def test_bounds_are_respected():
    X, y = problem()
    bounds = {"length_scale": (0.5, 250.0), "signal_variance": (5.0, 20.0), "noise_variance": (0.5, 0.7)}
    seen = []
    model = fastard.fit(
        X,
        y,
        callback=lambda state: seen.append(state.parameters),
        n_restarts=2,
        rng=0,
        **{f"{name}_bounds": pair for name, pair in bounds.items()},
    )
    for parameters in [*seen, {name: getattr(model, name) for name in bounds}]:
        for name, (low, high) in bounds.items():
            assert np.all(parameters[name] >= low * (1 - 1e-12))
            assert np.all(parameters[name] <= high * (1 + 1e-12))
    np.testing.assert_allclose(model.noise_variance, 0.7)  # the optimum lies above: the length scales are kept too long


def test_callback():
    X, y = problem()
    states = []
    model = fastard.fit(X, y, kernel="rational_quadratic", callback=states.append)
    assert [state.evaluation for state in states] == list(range(1, len(states) + 1))
    assert len(states) <= model.n_evaluations
    assert max(state.log_marginal_likelihood for state in states) == pytest.approx(model.log_marginal_likelihood, rel=1e-12)
    for state in states[:: max(1, len(states) // 5)]:
        parameters = dict(state.parameters)
        value, gradient = fastard.log_marginal_likelihood(
            X,
            y - y.mean(),
            length_scale=parameters["length_scale"],
            signal_variance=parameters["signal_variance"],
            noise_variance=parameters["noise_variance"],
            kernel=fastard.RationalQuadratic(float(np.squeeze(parameters["shape"]))),
            eval_gradient=True,
        )
        assert_agree(state.log_marginal_likelihood, value, 1e-9)
        assert_agree(state.gradient, gradient, 1e-8)


@pytest.mark.parametrize("answer", [True, np.True_])
def test_callback_stops(answer):
    X, y = problem()
    states = []

    def stop(state):
        states.append(state)
        return answer if state.evaluation == 4 else None

    model = fastard.fit(X, y, callback=stop, n_restarts=3)
    assert len(states) == model.n_evaluations == 4
    assert not model.converged
    assert "callback" in model.message
    assert model.log_marginal_likelihood == pytest.approx(max(state.log_marginal_likelihood for state in states), rel=1e-12)


def test_interrupt_keeps_the_best_so_far():
    X, y = problem()
    states = []

    def interrupt(state):
        states.append(state)
        if state.evaluation == 5:
            raise KeyboardInterrupt

    model = fastard.fit(X, y, callback=interrupt, n_restarts=3)
    assert not model.converged
    assert "interrupt" in model.message
    assert model.log_marginal_likelihood == pytest.approx(max(state.log_marginal_likelihood for state in states), rel=1e-12)
    assert np.isfinite(model.predict(X)).all()


def test_errors_of_the_callback_come_through():
    X, y = problem()

    def fail(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fastard.fit(X, y, callback=fail)


@pytest.mark.parametrize("raised", [fastard.NotPositiveDefiniteError(0), ValueError("mine"), StopIteration("mine")])
@pytest.mark.parametrize("when", [1, 2, 7, "restart"])
def test_whatever_a_callback_raises_comes_through(raised, when):
    """At a start, at a trial point and in a restart, with no model made of what there was."""
    X, y = problem()
    single = fastard.fit(X, y).n_evaluations
    last = single + 1 if when == "restart" else when

    def fail(state):
        if state.evaluation == last:
            raise raised

    with pytest.raises(type(raised)) as caught:
        fastard.fit(X, y, callback=fail, n_restarts=1, rng=0)
    assert caught.value is raised


def test_max_iterations():
    X, y = problem()
    model = fastard.fit(X, y, max_iterations=2)
    assert not model.converged
    assert model.n_evaluations < 30


def test_restarts_are_reproducible():
    X, y = problem()
    models = [fastard.fit(X, y, n_restarts=2, rng=seed) for seed in (5, 5, np.random.default_rng(5), 6)]
    np.testing.assert_array_equal(models[0].length_scale, models[1].length_scale)
    np.testing.assert_array_equal(models[0].length_scale, models[2].length_scale)
    assert models[0].n_evaluations == models[1].n_evaluations
    single = fastard.fit(X, y)
    assert models[0].n_evaluations > single.n_evaluations
    assert all(model.log_marginal_likelihood >= single.log_marginal_likelihood for model in models)
    state = np.random.RandomState(5)
    np.testing.assert_array_equal(
        fastard.fit(X, y, n_restarts=1, rng=state).length_scale,
        fastard.fit(X, y, n_restarts=1, rng=np.random.RandomState(5)).length_scale,
    )


def test_a_restart_finds_the_better_optimum():
    """From a start that explains all as noise only restarts lead out."""
    X, y = problem()
    poor = {"length_scale": [1e-3, 1.0, 1e-5], "signal_variance": 1e-3, "noise_variance": 50.0, "standardize": False}
    wide = {
        "length_scale_bounds": [(1e-4, 1e2), (1e-1, 1e5), (1e-6, 1.0)],
        "signal_variance_bounds": (1e-4, 1e4),
        "noise_variance_bounds": (1e-3, 1e3),
    }
    alone = fastard.fit(X, y, **poor, **wide)
    several = fastard.fit(X, y, n_restarts=4, rng=0, **poor, **wide)
    assert several.log_marginal_likelihood >= alone.log_marginal_likelihood


# Trial points that are not positive definite ----------------------------------------------------------------------------


def smooth(n=40):
    """Noise-free and smooth: long length scales and little noise make the covariance numerically singular."""
    X = np.linspace(0.0, 1.0, n)[:, None]
    return X, np.sin(3.0 * X[:, 0])


def flat(_):
    """A prior of Python's, with which the objective is evaluated from Python."""
    return 0.0, 0.0


def counting_failures(tried):
    """A stand-in for the objective's evaluate that writes down how each went."""
    from fastard._objectives.likelihood import LogMarginalLikelihood

    evaluate = LogMarginalLikelihood.evaluate

    def counted(self, *arguments, **keywords):
        tried.append("failed")
        found = evaluate(self, *arguments, **keywords)
        tried[-1] = "fine"
        return found

    return LogMarginalLikelihood, "evaluate", counted


@pytest.mark.parametrize("start", [5.0, 50.0])
def test_a_failed_first_step_does_not_end_the_search(start, monkeypatch):
    """Whatever lies there: the search backs off, and finds the optimum."""
    from fastard._objectives.likelihood import LogMarginalLikelihood

    X = np.repeat(np.linspace(0.0, 1.0, 60), 2)[:, None]
    y = np.sin(8.0 * X[:, 0]) + 0.1 * np.random.default_rng(0).standard_normal(120)
    tried, evaluate = [], LogMarginalLikelihood.evaluate

    def failing(self, *arguments, **keywords):
        tried.append(arguments)
        if len(tried) == 2:
            raise fastard.NotPositiveDefiniteError(0)
        return evaluate(self, *arguments, **keywords)

    options = {"length_scale": 0.3, "noise_variance_bounds": (1e-20, 1e3), "signal_variance_prior": flat}
    best = fastard.fit(X, y, noise_variance=0.01, **options)
    monkeypatch.setattr(LogMarginalLikelihood, "evaluate", failing)
    model = fastard.fit(X, y, noise_variance=start, **options)
    assert model.converged
    assert model.log_marginal_likelihood == pytest.approx(best.log_marginal_likelihood, abs=1e-3)
    assert model.n_evaluations == len(tried) - 1  # the last one, of the value alone, makes the model's factor


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_never_converged_beside_failed_points(kernel):
    """Smooth data without noise have their optimum where K stops being positive definite."""
    X, y = smooth()
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*counting_failures(tried))
        bounds = {"noise_variance_bounds": (1e-18, 1.0), "length_scale_bounds": (1e-3, 1e3)}
        model = fastard.fit(X, y, kernel=kernel, **bounds, signal_variance_prior=flat)
    assert np.isfinite(model.log_marginal_likelihood)
    assert model.log_marginal_likelihood > 100.0
    if model.converged:  # then at a stationary point or at its bounds, as ever
        _, gradient = reproduced(model, X, y)
        inside = (model.length_scale[0] < 999.0, True, model.noise_variance > 1.01e-18)
        assert all(abs(entry) < 1.0 for entry, free in zip(gradient, inside, strict=True) if free)
    else:
        assert "failed" in tried or "rounding errors" in model.message


def test_every_start_fails():
    X, y = smooth()
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.fit(X, y, length_scale=1e3, noise_variance=1e-18, noise_variance_bounds=(1e-19, 1e-17), standardize=False,
                    length_scale_bounds=(1e2, 1e6), n_restarts=1)  # fmt: skip


# Where a search ends ----------------------------------------------------------------------------------------------------


def free_gradient(model, X, y, **options):
    """The largest derivative with respect to a free parameter that is not at a bound, of the logarithm of tied ones."""
    _, gradient = reproduced(model, X, y, **options)
    slots = model._slots
    return max(abs(gradient[slots == slot].sum()) for slot in np.unique(slots[slots >= 0]))


def noise_of_seed(seed):
    """Targets that have nothing to do with the inputs: long valleys, and several of them."""
    r = np.random.default_rng(seed)
    n, d = int(r.choice([2, 3, 5, 8, 15, 30, 60, 100])), int(r.choice([1, 1, 2, 3, 6]))
    r.integers(5), r.integers(20)
    X = r.normal(size=(n, d))
    r.normal(size=n)
    return X, r.normal(size=n)


def test_not_converged_where_the_gradient_is_not_small():
    """SciPy called a step too small to matter convergence. There are two optima: one explains all as noise."""
    X, y = noise_of_seed(2738)
    model = fastard.fit(X, y, kernel="matern12")
    assert model.converged
    assert min(abs(model.log_marginal_likelihood - optimum) for optimum in (-77.5423, -78.2782)) < 1e-3
    assert free_gradient(model, X, y) < 1e-3


def test_a_trial_point_that_the_line_search_passes_by_is_where_to_go_on():
    """One of 11.27 was left for an accepted one of 11.36, a stationary point; the model was that of the former."""
    r = np.random.default_rng(1182)
    r.choice(8), r.choice(5), r.integers(5), r.integers(20)
    X, y = r.normal(size=(8, 3)), r.normal(size=(2, 8))[1]
    model = fastard.fit(X, y, kernel="matern52", signal_variance=1.0, signal_variance_bounds="fixed")
    assert model.converged
    assert free_gradient(model, X, y) < 1e-3


@pytest.mark.parametrize("n", [20, 50])
def test_smooth_data_without_noise_converge(n):
    """Rounding moves the value by 1e-6 and 1e-3 nats here: its gradient says more."""
    X = np.linspace(0.0, 10.0, n)[:, None]
    y = X[:, 0] * np.sin(X[:, 0])
    model = fastard.fit(X, y)
    assert model.converged
    assert free_gradient(model, X, y) < 1e-3
    assert model.log_marginal_likelihood > {20: 37.407, 50: 241.0}[n]


def test_where_rounding_ends_a_search_it_says_so(monkeypatch):
    """A value with errors of a nat or so, and a gradient with errors of 0.1."""
    from fastard._objectives.likelihood import LogMarginalLikelihood

    evaluate, r = LogMarginalLikelihood.evaluate, np.random.default_rng(0)

    def blurred(self, *arguments, gradient, **keywords):
        found = evaluate(self, *arguments, gradient=gradient, **keywords)
        if gradient:
            found.gradients[0].log_length_scale[:] += 0.1 * r.standard_normal(3)
        return found._replace(log_marginal_likelihood=found.log_marginal_likelihood + 0.1 * r.standard_normal())

    X, y = problem()
    best = fastard.fit(X, y)
    monkeypatch.setattr(LogMarginalLikelihood, "evaluate", blurred)
    model = fastard.fit(X, y, signal_variance_prior=flat)
    assert not model.converged
    assert "rounding errors end the search" in model.message
    assert model.log_marginal_likelihood > best.log_marginal_likelihood - 3.0
    assert model.n_evaluations < 500


def test_rounding_does_not_make_a_search_wander():
    """A computer experiment, no noise: from within 0.05 nats of the top on, rounding errors tell more than steps."""
    X = np.random.default_rng(0).uniform(size=(300, 5))
    y = 10.0 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20.0 * (X[:, 2] - 0.5) ** 2 + 10.0 * X[:, 3] + 5.0 * X[:, 4]
    model = fastard.fit(X, y)
    assert "rounding errors end the search" in model.message
    assert model.log_marginal_likelihood > 1122.5
    assert model.n_evaluations < 200
    # How much rounding does is measured at points beside the end, which are not the end themselves: they have left the bounds.
    ends_at_bounds = fastard.fit(X, y, noise_variance_bounds=(1e-6 * y.var(), y.var()))
    assert "at a bound: signal_variance, noise_variance" in ends_at_bounds.message
    assert free_gradient(ends_at_bounds, X, y) < 1.0


def test_a_default_start_that_is_singular_is_shortened():
    X = np.linspace(0.0, 10.0, 20)[:, None]
    y = X[:, 0] * np.sin(X[:, 0])
    without_noise = {"noise_variance": 0.0, "noise_variance_bounds": "fixed"}
    model = fastard.fit(X, y, **without_noise)
    # Rounding decides where the matrix is no longer positive definite: 50.6 nats on one processor, 55.5 on another.
    assert model.log_marginal_likelihood > 45.0
    assert fastard.fit(X, y, n_restarts=2, rng=0, **without_noise).log_marginal_likelihood > 45.0
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.fit(X, y, length_scale=3.0, **without_noise)  # that is where it starts
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.fit(X, y, length_scale_bounds=(2.95, 10.0), **without_noise)
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.fit(X, y, length_scale_bounds="fixed", **without_noise)
    if not model.converged:
        assert model.message.endswith("raise the noise variance")


def test_a_start_that_is_nearly_singular_costs_no_thousands_of_evaluations():
    """From -1e16, where the curvature would make all later steps too short."""
    X, y = noise_of_seed(663)
    model = fastard.fit(X, y, noise_variance=0.0, noise_variance_bounds="fixed")
    assert model.n_evaluations < 300


# Special data -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
def test_constant_columns(standardize):
    X, y = problem()
    start = np.array([0.3, 300.0, 1.0])
    given = {"signal_variance": 50.0, "noise_variance": 1.0, "standardize": standardize}
    plain = fastard.fit(X, y, length_scale=start, length_scale_bounds=np.outer(start, [1e-2, 1e4]), **given)
    wide = np.insert(X, 1, 0.1, axis=1)
    scale = np.insert(start, 1, 1.0)
    model = fastard.fit(wide, y, length_scale=scale, length_scale_bounds=np.outer(scale, [1e-2, 1e4]), **given)
    assert model.length_scale[1] == pytest.approx(1.0)
    assert model.relevance[1] == 0.0
    assert model.log_marginal_likelihood == pytest.approx(plain.log_marginal_likelihood, abs=1e-3)


def test_constant_targets():
    X, _ = problem()
    model = fastard.fit(X, np.full(60, 5.0))
    np.testing.assert_allclose(model.predict(X[:3]), 5.0)
    t = 0.1 * np.arange(60)
    rounded = fastard.fit(X, (t + 0.7) - t)
    np.testing.assert_allclose(rounded.predict(X[:3]), 0.7)
    assert rounded.noise_variance == pytest.approx(model.noise_variance, rel=1e-3)


@pytest.mark.parametrize("groups", [None, [0, 1, 2], [0, 1, 1]])
def test_a_column_that_is_constant_up_to_rounding(groups):
    """Not scaled by its rounding noise, which would make a query that is off by 1e-10 a point far away."""
    rng = np.random.default_rng(0)
    t = 0.1 * np.arange(200)
    third = (t + 0.7) - t
    assert np.ptp(third) > 0.0
    X = np.column_stack([rng.uniform(size=(200, 2)), third])
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] + 0.01 * rng.standard_normal(200)
    model = fastard.fit(X, y, length_scale_groups=groups)
    exact = fastard.fit(np.column_stack([X[:, :2], np.full(200, 0.7)]), y, length_scale_groups=groups)
    assert model.relevance[2] == 0.0
    np.testing.assert_allclose(model.length_scale, exact.length_scale, rtol=1e-3)
    queries = np.column_stack([X[:, :2], np.full(200, 0.7 + 1e-10)])
    np.testing.assert_allclose(model.predict(queries), exact.predict(queries), atol=1e-3)


def test_small_differences_of_large_numbers_are_no_rounding():
    """Microseconds in seconds since 1970 resolve to 0.24 of one."""
    seconds = 1.7e9 + 1e-5 * np.arange(50)
    y = np.sin(0.2 * np.arange(50))
    model = fastard.fit(seconds[:, None], y)
    assert model.relevance[0] == 1.0
    assert model.length_scale[0] < 1e-3
    assert np.corrcoef(model.predict(seconds[:, None]), y)[0, 1] > 0.99


def test_one_row_and_no_columns():
    model = fastard.fit([[1.0, 2.0]], [3.0])
    np.testing.assert_allclose(model.predict([[0.0, 0.0]]), [3.0])
    model = fastard.fit(np.empty((4, 0)), [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(model.predict(np.empty((2, 0))), [2.5, 2.5])


def test_storage_and_names():
    pandas = pytest.importorskip("pandas")
    X, y = problem()
    expected = fastard.fit(X, y)
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    model = fastard.fit(frame, pandas.Series(y))
    assert list(model.feature_names) == ["a", "b", "c"]
    assert expected.feature_names is None
    np.testing.assert_array_equal(model.length_scale, expected.length_scale)
    np.testing.assert_array_equal(model.predict(frame), expected.predict(X))
    for given in (X.tolist(), np.asfortranarray(X), X.astype(">f8")):
        np.testing.assert_array_equal(fastard.fit(given, y[:, None]).length_scale, expected.length_scale)


def test_what_is_trained_on_may_change_afterwards():
    """A model keeps its own data."""
    X, y = problem()
    model = fastard.fit(X, y)
    Z = X[:5].copy()
    before = model.predict(Z, return_std=True)
    X[:] = 0.0
    y[:] = 0.0
    after = model.predict(Z, return_std=True)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])


def test_two_outputs_share_hyperparameters():
    X, y = problem(m=2)
    model = fastard.fit(X, y)
    assert model.length_scale.shape == (3,)
    value, _ = reproduced(model, X, y)
    assert_agree(model.log_marginal_likelihood, value, 1e-12)


# Bad input that only fit takes; the rest stands in test_bad_input.py ------------------------------------------------------


@pytest.mark.parametrize("name", ["length_scale_bounds", "signal_variance_bounds", "noise_variance_bounds"])
@pytest.mark.parametrize(
    "bad", [(1.0,), (2.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, np.nan), (1.0, 2.0, 3.0, 4.0), "free", 5.0, [(1.0, 2.0)] * 7]
)
def test_bounds_out_of_range(name, bad):
    X, y = data(20, 3)
    with pytest.raises((ValueError, TypeError), match=name):
        fastard.fit(X, y, **{name: bad})


def test_start_outside_the_default_bounds():
    """Training again from where a model stands must work, wherever that is."""
    X, y = problem()
    units = X.std(axis=0)
    model = fastard.fit(X, y, length_scale=1e7 * units, signal_variance=1e9, noise_variance=1e5, max_iterations=2)
    assert np.isfinite(model.log_marginal_likelihood)


@pytest.mark.parametrize("kernel_name", ["rbf", "rational_quadratic"])
def test_a_model_can_be_trained_again_from_where_it_stands(kernel_name):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.uniform(size=(30, 3))
        y = np.sin(6.0 * X[:, 0]) + 0.1 * rng.standard_normal(30)  # two inputs that do nothing: their bounds are reached
        model = fastard.fit(X, y, kernel=kernel_name)
        for factor in (1.0, 0.9):
            again = fastard.fit(
                factor * X, y, kernel=model.kernel, length_scale=model.length_scale, signal_variance=model.signal_variance,
                noise_variance=model.noise_variance,
            )  # fmt: skip
            assert again.log_marginal_likelihood > model.log_marginal_likelihood - 3.0 * (factor != 1.0) - 1e-9


def test_bounds_of_none_are_the_default():
    """Of one length scale, beside others that are given; and wider where its start lies outside."""
    X, y = problem(n=30)
    start = X.std(axis=0)
    seen = []
    options = {"length_scale": start, "max_iterations": 20}
    expected = fastard.fit(X, y, length_scale_bounds=[(1e-3 * start[0], 1e5 * start[0]), "fixed", "fixed"], **options)
    model = fastard.fit(X, y, length_scale_bounds=[None, "fixed", "fixed"], callback=seen.append, **options)
    np.testing.assert_array_equal(model.length_scale, expected.length_scale)
    assert model.length_scale[0] != start[0]
    np.testing.assert_array_equal(model.length_scale[1:], start[1:])
    two = {"length_scale": start[:2], "max_iterations": 20}
    for none in ([None, None], (None, None), None):
        np.testing.assert_array_equal(
            fastard.fit(X[:, :2], y, length_scale_bounds=none, **two).length_scale,
            fastard.fit(X[:, :2], y, **two).length_scale,
        )
    one = fastard.fit(X[:, :2], y, length_scale_bounds=[None, "fixed"], **two)
    assert one.length_scale[1] == start[1]
    far = fastard.fit(X, y, length_scale=1e7 * start, length_scale_bounds=[None, "fixed", (start[2], 1e8 * start[2])])
    assert far.length_scale[0] > 0.0
    with pytest.raises(ValueError, match="within its bounds"):
        fastard.fit(X, y, length_scale=1e7 * start, length_scale_bounds=[None, "fixed", (start[2], 1e6 * start[2])])
    fastard.fit(X, y, signal_variance_bounds=[None], noise_variance_bounds=[None], max_iterations=1)
    for wrong in ((None, 10.0), [None, (1.0, 2.0)]):
        with pytest.raises(ValueError, match=r"length_scale_bounds must be a pair .* or None for the default"):
            fastard.fit(X, y, length_scale_bounds=wrong)


def test_a_start_that_contradicts_equal_bounds():
    X, y = problem()
    with pytest.raises(ValueError, match="length_scale must start within its bounds"):
        fastard.fit(X, y, length_scale=2.0, length_scale_bounds=(1.0, 1.0))
    with pytest.raises(ValueError, match="noise_variance must start within its bounds"):
        fastard.fit(X, y, noise_variance=0.0, noise_variance_bounds=(1e-3, 1e-3))
    assert fastard.fit(X, y, noise_variance_bounds=(0.5, 0.5), max_iterations=2).noise_variance == 0.5


def test_what_is_fixed_or_at_a_bound_is_so_exactly():
    X, y = problem()
    model = fastard.fit(X, y, noise_variance=0.013, noise_variance_bounds="fixed", length_scale_bounds=(0.1, 3.0))
    assert model.noise_variance == 0.013
    assert model.length_scale.min() >= 0.1
    assert model.length_scale.max() == 3.0


@pytest.mark.filterwarnings("ignore:the outputs share")
@pytest.mark.parametrize(
    ("x_scale", "y_scale", "words"),
    [
        ([1.0, 1e-180, 1.0], [1.0], r"column 1 of X is too small .*: it goes from \d.*e-177 to .*; rescale it"),
        ([1.0, 1.0, 1e180], [1.0], "column 2 of X is too large"),
        ([1.0, 1.0, 1.0], [1e-180], "y is too small"),
        ([1.0, 1.0, 1.0], [1e180], "y is too large"),
        ([1.0, 1.0, 1.0], [1e306], r"y is too large .* to 1\.\d*e\+308"),  # its sum overflows
        ([1.0, 1.0, 1.0], [1.0, 1e180], "column 1 of y is too large"),
        ([1.0, 1.0, 1.0], [1.0, 1e306], "column 1 of y is too large"),
    ],
)
def test_what_is_too_large_or_too_small_is_named(x_scale, y_scale, words):
    X, y = problem()
    with pytest.raises(ValueError, match=words):
        fastard.fit(X * x_scale, np.squeeze(y[:, None] * y_scale))
    pandas = pytest.importorskip("pandas")
    if words.startswith("column 2 of X"):
        with pytest.raises(ValueError, match=r"column 2 of X \('c'\) is too large"):
            fastard.fit(pandas.DataFrame(X * x_scale, columns=["a", "b", "c"]), y)


@pytest.mark.filterwarnings("ignore:the outputs share")
def test_a_small_output_beside_others_is_none_of_its_business():
    X, y = problem()
    with pytest.warns(UserWarning, match=r"from 0 \(column 1 of y\)"):
        model = fastard.fit(X, np.column_stack([y, 1e-200 * y]), max_iterations=2)
    assert np.isfinite(model.log_marginal_likelihood)


@pytest.mark.parametrize("name", ["length_scale", "signal_variance", "noise_variance"])
def test_start_outside_its_bounds(name):
    X, y = data(20, 3)
    with pytest.raises(ValueError, match=name):
        fastard.fit(X, y, **{name: 5.0, f"{name}_bounds": (1.0, 2.0)})


@pytest.mark.parametrize(
    ("name", "bad"), [("n_restarts", -1), ("n_restarts", 1.5), ("max_iterations", 0), ("max_iterations", "9")]
)
def test_counts(name, bad):
    X, y = data(20, 3)
    with pytest.raises((ValueError, TypeError), match=name):
        fastard.fit(X, y, **{name: bad})


@pytest.mark.parametrize("bad", ["seed", -1, 1.5])
def test_rng(bad):
    X, y = data(20, 3)
    with pytest.raises((ValueError, TypeError), match="rng"):
        fastard.fit(X, y, n_restarts=1, rng=bad)


@pytest.mark.parametrize("bad", [5, "print"])
def test_callback_must_be_callable(bad):
    X, y = data(20, 3)
    with pytest.raises(TypeError, match="callback"):
        fastard.fit(X, y, callback=bad)


def test_the_message_names_parameters_at_a_bound():
    """An input that does nothing has the longest length scale there may be."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 2))
    y = np.sin(6.0 * X[:, 0]) + 0.1 * rng.standard_normal(60)
    model = fastard.fit(X, y, length_scale_bounds=(1e-2, 3.0))
    assert model.length_scale[1] == pytest.approx(3.0)
    assert model.message.endswith("at a bound: length_scale[1]")


def test_the_message_names_no_more_than_a_dozen_parameters():
    """1499 inputs that do nothing made it 28 959 characters long; so did the warnings of standard errors."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal(20)
    X = np.column_stack([y, rng.uniform(size=(20, 30))])
    model = fastard.fit(X, y, length_scale_bounds=(1e-2, 5.6), noise_variance=0.1, noise_variance_bounds="fixed")
    at_bound = np.count_nonzero(model.length_scale == 5.6)
    assert at_bound > 20
    assert model.message.count("length_scale[") == 12
    assert model.message.endswith(f" and {np.count_nonzero(model._slots <= -2) - 12} more")
    with pytest.warns(UserWarning, match=r"and \d+ more at a bound") as caught:
        model.standard_errors()
    assert max(len(str(warning.message)) for warning in caught) < 600


def test_an_underflow_in_the_search_is_no_error():
    """Points so far apart that their covariance, and with it the gradient, is 1e-281."""
    with np.errstate(all="raise"):
        model = fastard.fit([[0.0], [36.0], [72.0]], [1.0, -1.0, 0.5], length_scale=1.0, standardize=False)
    assert model.converged
