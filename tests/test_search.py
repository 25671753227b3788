"""The search by itself, and its parts: the minimiser, the average information, the loss, and fit's optimum against SciPy's."""

import math

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from scipy import optimize, stats

import fastard
from fastard._engine import descent
from fastard._engine.loops.objective import NEEDS_PYTHON
from fastard._engine.loops.priors import FAMILIES
from fastard._engine.priors import Densities
from fastard._engine.terms import Term, central
from fastard._engine.workspace import Workspace
from fastard._numba import threads as pool
from fastard._training import search

ENDED = (descent.SMALL_GRADIENT, descent.SMALL_GAIN, descent.STUCK)


def minimise(function, start, bounds, turn=np.inf, most=2000):
    """Where `advance` ends, the loss there, and why; ``function`` returns the loss and its gradient, or None."""
    start, bounds = np.asarray(start, dtype=float), np.asarray(bounds, dtype=float)
    memory = descent.memory(start, bounds, np.full(start.size, turn))
    nothing = np.zeros((start.size, start.size))
    for _ in range(most):
        point = memory.trial.copy()
        assert (point >= bounds[:, 0]).all()
        assert (point <= bounds[:, 1]).all()
        found = function(point)
        loss, gradient = (math.inf, np.zeros(start.size)) if found is None else found
        status = descent.advance(memory, loss, np.asarray(gradient, dtype=float), nothing, False, found is None)
        if status in ENDED:
            x, loss, _ = descent.iterate(memory)
            return x, loss, status
    raise AssertionError("no end")


def reference(function, start, bounds):
    result = optimize.minimize(
        function, np.asarray(start, dtype=float), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 5000, "maxfun": 50000, "ftol": 0.0, "gtol": 1e-9},
    )  # fmt: skip
    return result.fun


def quadratic(size, condition=1e4, seed=0):
    random = np.random.default_rng([seed, size])
    basis = np.linalg.qr(random.standard_normal((size, size)))[0]
    matrix = (basis * np.geomspace(1.0, condition, size)) @ basis.T
    matrix, best = 0.5 * (matrix + matrix.T), random.uniform(-3.0, 3.0, size)
    return lambda x: (0.5 * (x - best) @ matrix @ (x - best), matrix @ (x - best))


def rosenbrock(x):
    return optimize.rosen(x), optimize.rosen_der(x)


def parabola(x):
    return 0.5 * (x[0] - 2.0) ** 2, x - 2.0


FREE, BOX, TIGHT = (-np.inf, np.inf), (-5.0, 5.0), (-0.5, 0.75)


@pytest.mark.parametrize("turn", [np.inf, 1.0], ids=["logarithms", "turned"])
@pytest.mark.parametrize("limits", [FREE, BOX, TIGHT], ids=["free", "box", "tight"])
@pytest.mark.parametrize(
    ("function", "size"),
    [(parabola, 1), (quadratic(2), 2), (quadratic(7), 7), (quadratic(20), 20), (rosenbrock, 2), (rosenbrock, 5)],
    ids=["parabola", "quadratic-2", "quadratic-7", "quadratic-20", "rosenbrock-2", "rosenbrock-5"],
)
def test_the_minimiser_against_scipys(function, size, limits, turn):
    bounds = np.tile(limits, (size, 1))
    for start in (np.zeros(size), np.full(size, 0.7), *(np.full(size, x) for x in np.clip([-4.0, 5.0], *limits))):
        _, loss, _ = minimise(function, start, bounds, turn)
        assert loss <= reference(function, start, bounds) + 1e-4


def test_a_start_outside_the_bounds_is_moved_into_them():
    x, _, status = minimise(parabola, [9.0], [(-1.0, 1.0)])
    assert x == [1.0]
    assert status == descent.SMALL_GRADIENT


def test_bounds_without_room():
    function = quadratic(3)
    bounds = [(0.5, 0.5), BOX, BOX]
    x, loss, _ = minimise(function, np.full(3, 0.5), bounds)
    assert x[0] == 0.5
    assert loss <= reference(function, np.full(3, 0.5), bounds) + 1e-4


@pytest.mark.parametrize("size", [1, 3])
def test_points_that_fail(size):
    """Beyond a wall there is no value: the minimum stands before it, or against it."""

    def walled(wall):
        return lambda x: None if x[0] > wall else (0.5 * np.sum((x - 2.0) ** 2), x - 2.0)

    bounds = np.tile(FREE, (size, 1))
    assert minimise(walled(2.3), np.full(size, -3.0), bounds)[1] <= 1e-6
    x, loss, status = minimise(walled(1.0), np.full(size, -3.0), bounds)
    assert status == descent.STUCK
    assert 1.0 - 1e-3 < x[0] <= 1.0
    assert loss <= 0.5 * size + 1e-3  # there it ends, though it might go on along the wall


def test_everything_but_the_start_fails():
    calls = []

    def function(x):
        calls.append(x)
        return (0.0, np.ones(2)) if len(calls) == 1 else None

    x, loss, status = minimise(function, [0.0, 0.0], [BOX, BOX])
    assert status == descent.STUCK
    assert (x.tolist(), loss) == ([0.0, 0.0], 0.0)
    assert len(calls) < 50


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_no_number_is_no_minimum(wrong):
    function = quadratic(2)
    x, loss, _ = minimise(lambda x: (wrong, np.zeros(2)) if x[0] > 4.0 else function(x), [3.9, 0.0], [BOX, BOX])
    assert np.isfinite(loss)
    assert loss <= 1e-4
    assert x[0] < 4.0


def engine(X, y, kernel, number, theta, *, free=None, tied=False, known=None, unit=0.0, prior=None, threads=1):
    """A Descent at natural parameters ``theta`` and the arguments of a search in the logarithms of those that are free."""
    number = np.asarray(number)
    size = number.max() + 1 + (unit > 0.0)
    term = Term(kernel, np.ones(X.shape[1]), 1.0, free, tied=tied)
    parameters = descent.FreeParameters(
        np.log(theta), number, np.full(number.size, 1e-30), np.full(number.size, 1e30), np.array([0.0, unit])
    )
    prior = prior or Densities(np.full(number.size, -1), np.ones((number.size, 3)), 0.0)
    made = descent.Descent(descent.Loss(term, X, central(X), y, known, parameters, prior, 0.0, size, threads))
    start = np.zeros(size)
    for i, k in enumerate(number):
        if k >= 0:
            start[k] = math.log(theta[i])
    return made, start


def evaluated(made, start, mean=0.0):
    """The Descent after one evaluation at the start, with its workspace."""
    if made.loss._before[10][1] != 0.0:
        start[-1] = mean / made.loss._before[10][1]
    memory = descent.memory(start, np.tile([-80.0, 80.0], (start.size, 1)), np.full(start.size, np.inf))
    workspace = Workspace(*made.loss.shape)
    made.go_on(memory, descent.EVALUATE_WITH_INFORMATION, workspace, 1, 10, None)
    return made._scratch[0].copy()


def naive_information(kernel, X, y, number, theta, known, unit, mean):
    """(P, P), from whole matrices."""
    d, size = X.shape[1], max(number) + 1 + (unit > 0.0)
    term = naive.Term(kernel, np.asarray(theta[:d]), theta[d], tuple(theta[d + 2 :]))
    K = naive.covariance([term], X) + np.diag((0.0 if known is None else known) + np.full(len(X), theta[d + 1]))
    slopes = naive.covariance_derivatives(term, X)
    slopes.insert(d + 1, theta[d + 1] * np.eye(len(X)))
    result = np.zeros((size, size))
    for t in range(y.shape[1]):
        alpha = np.linalg.solve(K, y[:, t] - mean)
        W = np.zeros((len(X), size))
        for i, k in enumerate(number):
            if k >= 0:
                W[:, k] += slopes[i] @ alpha
        if unit > 0.0:
            W[:, -1] = -math.sqrt(2.0) * unit
        result += 0.5 * W.T @ np.linalg.solve(K, W)
    return result


CASES = {  # number of each of 3 length scales, variance and noise; which length scales are free; tied; outputs; known; unit
    "all": ([0, 1, 2, 3, 4], None, False, 1, False, 0.0),
    "tied": ([0, 0, 0, 1, 2], None, True, 1, False, 0.0),
    "a pair": ([0, 1, 0, 2, 3], None, False, 2, False, 0.0),
    "fixed": ([-1, 0, -1, 1, -1], [False, True, False], False, 1, False, 0.0),
    "no length scale": ([-1, -1, -1, 0, 1], [False] * 3, False, 1, False, 0.0),
    "outputs": ([0, 1, 2, 3, 4], None, False, 3, False, 0.0),
    "known": ([0, 1, 2, 3, 4], None, False, 1, True, 0.0),
    "mean": ([0, 1, 2, 3, 4], None, False, 1, True, 1.7),
    "the mean alone": ([-1] * 5, [False] * 3, False, 1, False, 0.6),
    "tied outputs and a mean": ([1, 1, 1, -1, 0], None, True, 2, True, 0.5),
}


@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 97, 200])
@pytest.mark.parametrize("case", CASES)
def test_average_information(case, n):
    number, free, tied, m, has_known, unit = CASES[case]
    X, y = data(n, 3, m)
    y = y.reshape(n, m)
    known = np.linspace(0.0, 0.3, n) if has_known else None
    theta = np.array([0.9, 0.9, 0.9, 1.4, 0.2] if tied else [0.7, 1.3, 0.7, 1.4, 0.2])
    expected = naive_information("matern52", X, y, number, theta, known, unit, 0.4 if unit else 0.0)
    free = None if free is None else np.array(free)
    found = [
        evaluated(
            *engine(X, y, fastard.Matern52(), number, theta, free=free, tied=tied, known=known, unit=unit, threads=threads),
            mean=0.4,
        )
        for threads in (1, 2, 3)
    ]
    assert_agree(found[0], expected, 1e-9)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("n", [60, 400])
def test_average_information_of_kernels(kernel, n):
    name, kernel, shape = kernel
    X, y = data(n, 3)
    theta, number = np.array([0.7, 1.3, 2.0, 1.4, 0.2, *shape]), list(range(5 + len(shape)))
    expected = naive_information(name, X, y[:, np.newaxis], number, theta, None, 0.0, 0.0)
    found = [evaluated(*engine(X, y[:, np.newaxis], kernel, number, theta, threads=threads)) for threads in (1, 2)]
    assert_agree(found[0], expected, 1e-9)
    np.testing.assert_array_equal(found[0], found[1])


def test_the_loss_is_that_of_python():
    """Value and gradient, with every family of priors, known variances, a tied pair and a fixed one."""
    X, y = data(70, 4, 2)
    number, theta = np.array([0, 1, 0, -1, 2, 3]), np.array([0.8, 1.7, 0.8, 2.0, 1.3, 0.1])
    known = np.linspace(0.0, 0.2, 70)
    names = ("lognorm", "gamma", "", "halfcauchy", "halfnorm", "norm")
    rows = np.array([[0.0, 0.7, 0.4], [0.1, 0.9, 2.5], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.2, 1.5, 1.0], [0.3, 0.5, 1.0]])
    scipys = [
        stats.lognorm(0.4, 0.0, 0.7), stats.gamma(2.5, 0.1, 0.9), None, stats.halfcauchy(0.0, 2.0),
        stats.halfnorm(0.2, 1.5), stats.norm(0.3, 0.5),
    ]  # fmt: skip
    made, start = engine(
        X, y, fastard.Matern32(), number, theta, free=number[:4] >= 0, known=known,
        prior=Densities(np.array([FAMILIES.get(name, -1) for name in names]), rows, 0.0),
    )  # fmt: skip
    evaluated(made, start)

    def expected(free_theta):
        natural = np.where(number >= 0, np.exp(free_theta[number]), theta)
        value = fastard.log_marginal_likelihood(
            X, y, length_scale=natural[:4], signal_variance=natural[4], noise_variance=natural[5],
            observation_variance=known, kernel="matern32",
        )  # fmt: skip
        return -value - sum(prior.logpdf(x) for prior, x in zip(scipys, natural, strict=True) if prior is not None)

    gradient = [(expected(start + 1e-6 * e) - expected(start - 1e-6 * e)) / 2e-6 for e in np.eye(4)]
    assert_agree(made.loss.result[1:], np.array(gradient), 1e-7)
    # The constants are not in it: differences are the same.
    first, there = float(made.loss.result[0]), start + np.array([0.2, -0.3, 0.1, 0.4])
    evaluated(made, there)
    assert made.loss.result[0] - first == pytest.approx(expected(there) - expected(start), rel=1e-11, abs=1e-11)


def test_what_compiled_code_leaves_to_python_is_no_evaluation():
    X, y = data(20, 2)
    made, start = engine(X, y[:, np.newaxis], fastard.RBF(), [0, 1, 2, -1], np.array([1.0, 1.0, 1.0, 1e-20]))
    evaluated(made, start)
    assert made.counts.tolist() == [0, NEEDS_PYTHON, descent.EVALUATE_WITH_INFORMATION, 0]


def nothing(*_):
    """A prior without effect, which Python has to ask."""
    return 0.0, 0.0


def made_up(n, d, seed, noise=0.1):
    random = np.random.default_rng([seed, n, d])
    X = random.uniform(-2.0, 2.0, (n, d))
    return X, np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1 % d] ** 2 + noise * random.standard_normal(n)


def scipys_optimum(X, y, kernel):
    """From the default start within the default bounds, in the units of X and y."""
    objective = fastard.LogMarginalLikelihood(X, y - y.mean(), kernel=kernel)
    d, scales, variance = X.shape[1], X.std(axis=0), y.var()
    start = np.log([*(np.sqrt(d) * scales), variance, 0.1 * variance])
    variances = [(1e-5 * variance, 1e5 * variance), (1e-8 * variance, 1e2 * variance)]
    bounds = np.log([*((1e-3 * s, 1e5 * s) for s in scales), *variances])

    def loss(theta):
        try:
            value, gradient = objective(theta)
        except fastard.NotPositiveDefiniteError:
            return 1e10, np.zeros(theta.size)
        return -value, -gradient

    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-7})
    return -found.fun


@pytest.mark.parametrize("kernel", ["rbf", "matern32", "matern52"])
@pytest.mark.parametrize(("n", "d", "noise"), [(25, 1, 0.1), (60, 2, 0.3), (80, 5, 0.05), (170, 3, 0.01), (40, 12, 0.5)])
def test_fit_against_scipy(kernel, n, d, noise):
    X, y = made_up(n, d, 0, noise)
    model = fastard.fit(X, y, kernel=kernel)
    assert model.log_marginal_likelihood >= scipys_optimum(X, y, kernel) - 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_scale_groups": "isotropic"},
        {"length_scale_groups": [0, 1, 0]},
        {"noise_variance": 0.05, "noise_variance_bounds": "fixed"},
        {"observation_variance": np.linspace(0.0, 0.1, 90)},
        {"length_scale_prior": stats.gamma(2.0, scale=1.0), "kernel": "matern52"},
        {"kernel": "rational_quadratic"},
        {"kernel": "rational_quadratic", "length_scale_groups": "isotropic", "shape_prior": stats.lognorm(1.0)},
        {"kernel": fastard.RationalQuadratic(2.0), "shape_bounds": "fixed", "length_scale_groups": [0, 1, 0]},
    ],
    ids=["all", "isotropic", "groups", "fixed noise", "known variances", "prior", "shape", "shape prior", "fixed shape"],
)
@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"objective": "loo"},
        {"mean": "linear"},
        {"mean": "linear", "mean_estimation": "reml"},
        {"mean": "linear", "objective": "loo"},
    ],
    ids=["likelihood", "loo", "mean", "reml", "loo with a mean"],
)
def test_compiled_and_python_searches_end_alike(options, objective):
    X, y = made_up(90, 3, 1)
    compiled = fastard.fit(X, y, **options, **objective)
    in_python = fastard.fit(X, y, signal_variance_prior=nothing, **options, **objective)
    assert compiled.converged
    assert in_python.converged
    assert compiled.search_values[0] == pytest.approx(in_python.search_values[0], rel=0, abs=1e-3)


def test_outputs_compiled_and_in_python():
    X, y = made_up(60, 2, 2)
    y = np.column_stack([y, np.cos(X[:, 0]), y[::-1]])
    ends = [fastard.fit(X, y, **options).log_marginal_likelihood for options in ({}, {"signal_variance_prior": nothing})]
    assert ends[0] == pytest.approx(ends[1], rel=0, abs=1e-3)


@pytest.mark.parametrize("start", [1e20, 1e80, 1e200])
def test_a_length_scale_that_starts_beyond_all_measure_hinders_no_other(start):
    X, y = made_up(50, 3, 3)
    X[:, 2] = np.random.default_rng(0).standard_normal(50)
    model = fastard.fit(X, y, length_scale=[1.0, 1.0, start])
    bounds = [(1e-3, 1e5), (1e-3, 1e5), "fixed"]
    other = fastard.fit(X, y, length_scale=[1.0, 1.0, 1e20], length_scale_bounds=bounds)
    assert model.converged
    assert model.log_marginal_likelihood >= other.log_marginal_likelihood - 1e-3


@pytest.mark.parametrize("prior", [None, nothing], ids=["compiled", "in Python"])
def test_callbacks_see_every_evaluation(prior):
    X, y = made_up(40, 2, 4)
    states = []
    model = fastard.fit(X, y, callback=states.append, signal_variance_prior=prior)
    assert [state.evaluation for state in states] == list(range(1, model.n_evaluations + 1))
    best = max(state.value for state in states)
    assert best == pytest.approx(model.log_marginal_likelihood, rel=1e-9, abs=1e-6)
    one = states[3]
    parameters = {name: value for name, value in one.parameters.items() if name != "shape"}
    found = fastard.log_marginal_likelihood(X, y - y.mean(), eval_gradient=True, **parameters)
    assert one.log_marginal_likelihood == pytest.approx(found[0], rel=1e-12, abs=1e-10)
    assert_agree(one.gradient, found[1], 1e-9)


OTHERS = [
    {"objective": "loo"},
    {"mean": "linear"},
    {"mean": "linear", "mean_estimation": "reml"},
    {"mean": "linear", "objective": "loo"},
]


@pytest.mark.parametrize("kernel", ["matern52", "rational_quadratic"])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("options", OTHERS, ids=["loo", "mean", "reml", "loo with a mean"])
def test_every_compiled_evaluation_of_other_objectives(options, m, kernel, monkeypatch):
    """Against the functions of the same name; nothing is evaluated from Python."""
    X, y = made_up(50, 3, 8)
    y = np.column_stack([y, np.cos(X[:, 0])])[:, :m]
    calls, real, states = [], search.Search._loss, []
    monkeypatch.setattr(search.Search, "_loss", lambda self, theta: calls.append(theta) or real(self, theta))
    model = fastard.fit(X, y, kernel=kernel, callback=states.append, max_iterations=8, **options)
    assert not calls
    assert model.n_evaluations == len(states) > 5
    basis = np.column_stack([np.ones(50), X]) if "mean" in options else None
    is_loo = options.get("objective") == "loo"
    given = {} if is_loo else {"mean_estimation": options["mean_estimation"]} if "mean_estimation" in options else {}
    function = fastard.loo_log_predictive_density if is_loo else fastard.log_marginal_likelihood
    targets = y - y.mean(axis=0) if basis is None else y
    for state in states:
        at = {name: value for name, value in state.parameters.items() if name != "shape"}
        kind = fastard.RationalQuadratic(*state.parameters["shape"]) if kernel == "rational_quadratic" else kernel
        value, gradient = function(X, targets, kernel=kind, basis=basis, eval_gradient=True, **at, **given)
        assert_agree(state.value, value, 1e-10 if basis is not None else 1e-14)
        assert_agree(state.gradient, gradient, 1e-9)


@pytest.mark.parametrize("options", OTHERS, ids=["loo", "mean", "reml", "loo with a mean"])
def test_other_objectives_on_any_number_of_threads(options):
    X, y = made_up(200, 3, 9)
    one, two = (fastard.fit(X, y, n_threads=threads, n_restarts=1, rng=0, max_iterations=15, **options) for threads in (1, 2))
    np.testing.assert_array_equal(one.length_scale, two.length_scale)
    assert one.search_values == two.search_values
    assert one.n_evaluations == two.n_evaluations


@pytest.mark.parametrize("options", OTHERS, ids=["loo", "mean", "reml", "loo with a mean"])
def test_other_objectives_beside_singular_covariances(options):
    X = np.random.default_rng(2).standard_normal((40, 1))
    model = fastard.fit(X, np.sin(X[:, 0]), noise_variance_bounds=(1e-300, 1.0), **options)
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.search_values).all()


def test_a_failed_point_among_others_of_a_compiled_call_is_told(monkeypatch):
    """Smooth data without noise: the searches end beside singular covariances, most of them after a point with a value."""
    monkeypatch.setattr(search, "_SLICE", 1e6)
    messages = []
    for seed in range(12):
        X = np.random.default_rng(seed).standard_normal((40, 1 + seed % 3))
        messages.append(fastard.fit(X, np.sin(X[:, 0]), noise_variance_bounds=(1e-300, 1.0)).message)
    beside = [message for message in messages if "just beyond the best parameters" in message]
    assert len(beside) > 3
    for message in beside:
        assert message.startswith("the covariance is not positive definite just beyond the best parameters: raise the noise")


def test_an_interrupt_keeps_what_the_compiled_call_has_found(monkeypatch):
    X, y = made_up(60, 2, 5)
    go_on = descent.Descent.go_on

    def interrupted(self, *arguments):
        go_on(self, *arguments)
        raise KeyboardInterrupt

    first = fastard.fit(X, y, callback=lambda _: True)
    monkeypatch.setattr(search, "_SLICE", 1e6)
    monkeypatch.setattr(descent.Descent, "go_on", interrupted)
    model = fastard.fit(X, y)
    assert "interrupted" in model.message
    assert model.n_evaluations > first.n_evaluations == 1
    assert model.log_marginal_likelihood > first.log_marginal_likelihood


@pytest.mark.parametrize("status", [descent.EVALUATE, descent.EVALUATE_WITH_INFORMATION])
def test_an_evaluation_that_is_given_up_is_no_singular_covariance(status, monkeypatch):
    X, y = made_up(60, 2, 6)
    made, start = engine(X, y[:, np.newaxis], fastard.RBF(), [0, 1, 2, 3], np.array([1.0, 1.0, 1.0, 0.1]))
    memory = descent.memory(start, np.tile([-9.0, 9.0], (4, 1)), np.full(4, np.inf))

    def run(flops, n_threads, function, state, *arguments, watch=None):
        state[pool.STAGE] = pool._GIVEN_UP
        function(state, *arguments)
        assert state[pool.FAILED] == pool.STOPPED

    monkeypatch.setattr(descent, "run", run)
    made.go_on(memory, status, Workspace(60, 1), 100, 100, None)
    assert made.counts[0] == 0
    assert not memory.numbers.any()


def test_python_evaluates_what_compiled_code_has():
    """The same bits of parameters and value: beside singular covariances the last one decides whether there is a value."""
    X, y = made_up(40, 4, 7)
    likelihood, seen = fastard.LogMarginalLikelihood(X, y - y.mean()), []
    fastard.fit(X, y, callback=seen.append, length_scale_groups=[0, 1, 0, 2])
    assert len(seen) > 5
    for state in seen:
        parameters = (state.parameters[name] for name in ("length_scale", "signal_variance", "noise_variance"))
        again = likelihood.evaluate(*parameters, fastard.RBF(), gradient=True)
        assert again.log_marginal_likelihood == state.log_marginal_likelihood


@pytest.mark.parametrize("seed", range(40))
def test_the_best_beside_singular_covariances_can_be_evaluated_again(seed):
    X = np.random.default_rng(seed).standard_normal((40, 1 + seed % 3))
    model = fastard.fit(X, np.sin(X[:, 0]), noise_variance_bounds=(1e-300, 1.0))
    assert np.isfinite(model.predict(X)).all()


def test_a_start_without_a_value_counts_once(monkeypatch):
    """Where compiled code finds none, Python says why; there are as many evaluations as without compiled code."""
    X = np.linspace(0.0, 10.0, 40)[:, np.newaxis]
    y = X[:, 0] * np.sin(X[:, 0])
    given = {"noise_variance": 1e-13 * y.var(), "noise_variance_bounds": "fixed", "max_iterations": 1}
    outcomes, go_on = [], descent.Descent.go_on

    def watched(self, *arguments):
        go_on(self, *arguments)
        outcomes.append((int(self.counts[0]), int(self.counts[1])))

    monkeypatch.setattr(descent.Descent, "go_on", watched)
    model = fastard.fit(X, y, **given)
    assert outcomes[0] == (0, descent.SINGULAR)
    monkeypatch.setattr(search, "compiled_loss", lambda *arguments: None)
    assert fastard.fit(X, y, **given).n_evaluations == model.n_evaluations
