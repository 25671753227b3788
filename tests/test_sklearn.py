"""The drop-in for scikit-learn against scikit-learn itself."""

import contextlib
import copy
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from conftest import ROOT, assert_agree, data

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor as TheirRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    RationalQuadratic,
    Sum,
    WhiteKernel,
)

import fastard.sklearn
from fastard.sklearn import GaussianProcessRegressor, explain, patch, patched, unpatch

ARD = [0.7, 1.3, 2.1]
# Everything that fastard computes, in every nesting; on three columns.
OURS = {
    "rbf": RBF(1.3),
    "ard": RBF(ARD),
    "constant-rbf": 1.7 * RBF(ARD),
    "rbf-constant": RBF(ARD) * 1.7,
    "rbf-noise": RBF(ARD) + WhiteKernel(0.3),
    "noise-first": WhiteKernel(0.3) + ConstantKernel(1.7) * RBF(ARD),
    "constant-over-all": ConstantKernel(1.7) * (RBF(ARD) + WhiteKernel(0.3)),
    "two-constants": ConstantKernel(1.7) * (ConstantKernel(0.4) * (WhiteKernel(0.3) + RBF(ARD)) * 1.2),
    "two-noises": WhiteKernel(0.1) + (1.7 * Matern(ARD, nu=1.5) + WhiteKernel(0.2)),
    "fixed-scales": 1.7 * RBF(ARD, "fixed") + WhiteKernel(0.3),
    "fixed-constant": ConstantKernel(1.7, "fixed") * RBF(ARD) + WhiteKernel(0.3, "fixed"),
    "matern12": 1.7 * Matern(ARD, nu=0.5) + WhiteKernel(0.3),
    "matern32": 1.7 * Matern(1.2, nu=1.5) + WhiteKernel(0.3),
    "matern52": Matern(ARD, nu=2.5) * 1.7,
    "matern72": 1.7 * Matern(1.2, nu=3.5) + WhiteKernel(0.3),
    "matern-inf": 1.7 * Matern(ARD, nu=np.inf) + WhiteKernel(0.3),
    "rational-quadratic": 1.7 * RationalQuadratic(1.2, 0.6) + WhiteKernel(0.3),
    "rational-quadratic-fixed": RationalQuadratic(1.2, 0.6, alpha_bounds="fixed"),
    "long-and-short": 1.7 * RBF([5.0, 7.0, 6.0]) + 0.3 * Matern(ARD, nu=2.5) + WhiteKernel(0.1),
    "three-terms": RBF(3.0, "fixed") + WhiteKernel(0.1) + 0.5 * RationalQuadratic(1.2, 0.6) + 0.2 * Matern(ARD, nu=0.5),
    "a-bias": 1.7 * RBF(ARD) + ConstantKernel(0.5) + WhiteKernel(0.1),
    "multiplied-out": (RBF(ARD) + WhiteKernel(0.3)) * (ConstantKernel(0.5) + ConstantKernel(0.7)),
    "one-entry": 1.7 * RBF([1.3]) + WhiteKernel(0.3),
}


class Doubled(RBF):
    def __call__(self, X, Y=None, eval_gradient=False):
        result = super().__call__(X, Y, eval_gradient)
        return (2.0 * result[0], 2.0 * result[1]) if eval_gradient else 2.0 * result

    def diag(self, X):
        return 2.0 * super().diag(X)


class Tied(RBF):
    def set_params(self, **parameters):
        if "length_scale" in parameters:
            parameters["length_scale"] = np.maximum(parameters["length_scale"], 0.5)
        return super().set_params(**parameters)


class Renamed(RBF):
    """Has RBF's methods, every one."""


THEIRS = {
    "periodic": (1.0 * ExpSineSquared(periodicity_bounds="fixed") + WhiteKernel(noise_level_bounds="fixed"), "ExpSineSquared"),
    "dot-product": (DotProduct() + RBF(), "DotProduct"),
    "nu": (Matern(nu=0.7), "nu=0.7"),
    "two-profiles": (RBF() * Matern(), "product of two"),
    "power": (RBF() ** 2, "Exponentiation"),
    "overridden": (Doubled() + WhiteKernel(), "Doubled"),
    "set-params": (Tied() + WhiteKernel(), "Tied"),
    "noise-times": (RBF() * WhiteKernel(), "product of two"),
    "no-x": (ConstantKernel() + WhiteKernel(), "does not depend"),
}


def problem(n=45, m=1, seed=0):
    X, _ = data(n, 3, seed=seed)
    rng = np.random.default_rng(seed)
    y = np.sin(X @ rng.standard_normal((3, m))) + 0.1 * rng.standard_normal((n, m))
    return X, y[:, 0] if m == 1 else y


def both(kernel, X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return TheirRegressor(kernel, **options).fit(X, y), GaussianProcessRegressor(kernel, **options).fit(X, y)


@pytest.fixture
def evaluations(monkeypatch):
    """What the integration asks of the engine."""
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return evaluate(*arguments, **options)

    evaluate = fastard.sklearn.training.evaluate
    monkeypatch.setattr(fastard.sklearn.training, "evaluate", counted)
    return calls


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("m", [1, 2])
def test_value_and_gradient(name, m, evaluations):
    X, y = problem(m=m)
    alpha = 1e-3 if name != "constant-rbf" else np.geomspace(1e-3, 1e-1, len(X))
    theirs, ours = both(OURS[name], X, y, optimizer=None, alpha=alpha)
    evaluations.clear()
    rng = np.random.default_rng(1)
    for _ in range(3):
        theta = theirs.kernel_.theta + rng.uniform(-0.4, 0.4, theirs.kernel_.n_dims)
        expected, actual = (model.log_marginal_likelihood(theta, eval_gradient=True) for model in (theirs, ours))
        assert_agree(actual[0], expected[0])
        assert_agree(actual[1], expected[1], 1e-4 if name == "matern72" else 1e-10)  # theirs is a difference there
        assert ours.log_marginal_likelihood(theta) == pytest.approx(expected[0], rel=1e-10)
    assert len(evaluations) == 6
    assert explain(OURS[name]).startswith("fastard: ")


@pytest.mark.parametrize("name", OURS)
def test_predictions(name):
    X, y = problem()
    points = np.vstack([data(9, 3, seed=5)[0], X[:2]])
    theirs, ours = both(OURS[name], X, y, optimizer=None, alpha=1e-3, normalize_y=True)
    for options in ({}, {"return_std": True}, {"return_cov": True}):
        expected, actual = theirs.predict(points, **options), ours.predict(points, **options)
        for a, b in zip(np.atleast_1d(actual) if not options else actual, expected, strict=True):
            assert_agree(a, b, 1e-8)
    assert_agree(ours.L_, theirs.L_, 1e-9)
    assert_agree(ours.alpha_, theirs.alpha_, 1e-8)
    assert_agree(ours.sample_y(points, 3), theirs.sample_y(points, 3), 1e-5)


@pytest.fixture
def compiled_calls(monkeypatch):
    """How many queries each compiled prediction had."""
    queries = []

    def counted(posterior, points, *arguments):
        queries.append(len(points))
        return predict(posterior, points, *arguments)

    predict = fastard.sklearn.regressor.predict
    monkeypatch.setattr(fastard.sklearn.regressor, "predict", counted)
    return queries


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("normalize_y", [False, True])
def test_single_queries_are_one_compiled_call(m, normalize_y, compiled_calls):
    X, y = problem(m=m)
    theirs, ours = both(OURS["matern52"], X, y, optimizer=None, alpha=1e-3, normalize_y=normalize_y)
    points = data(3, 3, seed=5)[0]
    for Z in (points[:1], points, np.asfortranarray(points), points.astype(np.float32), points.tolist(), points[::2]):
        for a, b in zip(ours.predict(Z, return_std=True), theirs.predict(Z, return_std=True), strict=True):
            assert a.shape == b.shape
            assert_agree(a, b, 1e-10)
        assert_agree(ours.predict(Z), theirs.predict(Z), 1e-10)
    assert compiled_calls == [1, 1] + [3, 3] * 4 + [2, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        [[1.0, np.nan, 0.0]],
        [[1.0, np.inf, 0.0]],
        [[1.0, 2.0]],
        np.empty((0, 3)),
        [1.0, 2.0, 3.0],
        [["a", "b", "c"]],
        [[1j, 0, 0]],
    ],
    ids=["nan", "infinity", "two columns", "none", "one-dimensional", "text", "complex"],
)
def test_wrong_queries_are_refused_in_scikit_learns_words(wrong):
    X, y = problem(20)
    theirs, ours = both(OURS["ard"], X, y, optimizer=None, alpha=1e-3)
    errors = []
    for model in (theirs, ours):
        with pytest.raises((ValueError, TypeError)) as raised:
            model.predict(np.asarray(wrong), return_std=True)
        errors.append((raised.type, str(raised.value)))
    assert errors[0] == errors[1]


def test_scikit_learn_may_be_told_not_to_look_at_numbers():
    import sklearn

    X, y = problem(20)
    theirs, ours = both(OURS["ard"], X, y, optimizer=None, alpha=1e-3)
    with sklearn.config_context(assume_finite=True):
        for model in (theirs, ours):
            assert np.isnan(model.predict([[0.0, np.nan, 0.0]])).all()


def test_names_of_columns_are_looked_at():
    pandas = pytest.importorskip("pandas")
    X, y = problem(20)
    model = GaussianProcessRegressor(RBF(ARD), alpha=1e-3, optimizer=None).fit(pandas.DataFrame(X, columns=list("abc")), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        expected = model.predict(X)
    np.testing.assert_array_equal(model.predict(pandas.DataFrame(X, columns=list("abc"))), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(pandas.DataFrame(X, columns=list("cab")))


def test_whatever_changes_a_model_changes_its_predictions():
    """Nothing that is kept of it outlives what it was made of."""
    X, y = problem(30)
    theirs, ours = both(1.0 * RBF([1.0, 2.0, 3.0]) + WhiteKernel(0.1), X, y, optimizer=None, alpha=1e-3)
    point = X[:1] + 0.3

    def same():
        for a, b in zip(ours.predict(point, return_std=True), theirs.predict(point, return_std=True), strict=True):
            assert_agree(a, b, 1e-10)

    def to_both(change):
        change(theirs)
        change(ours)
        same()

    same()
    to_both(lambda model: setattr(model.kernel_, "theta", model.kernel_.theta + 0.1))
    to_both(lambda model: model.kernel_.k1.k2.length_scale.__setitem__(0, 0.5))
    to_both(lambda model: model.kernel_.k2.set_params(noise_level=0.7))
    to_both(lambda model: setattr(model, "alpha_", 2.0 * model.alpha_))
    to_both(lambda model: setattr(model, "_y_train_mean", np.array([3.0])))
    to_both(lambda model: setattr(model, "_y_train_std", np.array([2.0])))
    to_both(lambda model: model.fit(X[5:], 3.0 * y[5:]))
    theirs, ours = (
        cls(RBF(ARD), alpha=1e-3, optimizer=None, copy_X_train=False).fit(X, y)
        for cls in (TheirRegressor, GaussianProcessRegressor)
    )
    same()
    X[0] += 0.5
    same()


@pytest.mark.parametrize("name", THEIRS)
def test_other_kernels_go_to_scikit_learn(name, evaluations):
    kernel, reason = THEIRS[name]
    X, y = problem()
    X = X[:, :1]  # in more dimensions, scikit-learn's periodic kernel is not positive definite
    theirs, ours = both(kernel, X, y, alpha=1e-3)
    assert evaluations == []
    assert explain(kernel).startswith("scikit-learn: ")
    assert reason in explain(kernel)
    np.testing.assert_array_equal(ours.kernel_.theta, theirs.kernel_.theta)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    with pytest.raises(ValueError, match="predict_gradient needs a kernel"):
        ours.predict_gradient(X)


def test_a_subclass_that_changes_nothing_is_ours(evaluations):
    X, y = problem()
    GaussianProcessRegressor(Renamed(ARD) + WhiteKernel(), optimizer=None).fit(X, y)
    assert len(evaluations) == 1
    assert explain(None) == "fastard: RBF"


def test_a_regressor_with_its_own_likelihood_keeps_it(evaluations):
    class Penalised(GaussianProcessRegressor):
        def log_marginal_likelihood(self, theta=None, eval_gradient=False, clone_kernel=True):
            result = TheirRegressor.log_marginal_likelihood(self, theta, eval_gradient, clone_kernel)
            return (result[0] - theta @ theta, result[1] - 2.0 * theta) if eval_gradient else result

    X, y = problem()
    kernel = 1.0 * RBF(ARD) + WhiteKernel()
    penalised, free = Penalised(kernel).fit(X, y), GaussianProcessRegressor(kernel).fit(X, y)
    assert np.abs(penalised.kernel_.theta).max() < np.abs(free.kernel_.theta).max()


@pytest.mark.parametrize("name", ["constant-rbf", "matern52", "long-and-short", "rational-quadratic", "fixed-constant"])
@pytest.mark.parametrize("normalize_y", [False, True])
def test_training(name, normalize_y):
    X, y = problem(60)
    theirs, ours = both(OURS[name], X, y, alpha=1e-2, normalize_y=normalize_y)
    assert ours.log_marginal_likelihood_value_ >= theirs.log_marginal_likelihood_value_ - 1e-4
    assert ours.log_marginal_likelihood(ours.kernel_.theta) == pytest.approx(ours.log_marginal_likelihood_value_, abs=1e-8)
    polished, _ = both(ours.kernel_, X, y, alpha=1e-2, normalize_y=normalize_y)  # from there theirs finds no more
    assert polished.log_marginal_likelihood_value_ <= ours.log_marginal_likelihood_value_ + 1e-4
    assert_agree(ours.predict(X), polished.predict(X), 1e-3)


ONE_TERM = {
    "rbf": (RBF(1.3), 1e-2),
    "ard": (1.7 * RBF(ARD) + WhiteKernel(0.3), 0.0),
    "matern12": (Matern(ARD, nu=0.5) * 1.7 + WhiteKernel(0.3), 1e-10),
    "matern32": (WhiteKernel(0.3) + 1.7 * Matern(1.2, nu=1.5), np.geomspace(1e-4, 1e-1, 45)),
    "matern52": (1.7 * Matern([2.0], nu=2.5), 1e-3),
    "matern72": (1.7 * Matern(ARD, (0.1, 10.0), nu=3.5) + WhiteKernel(0.3, "fixed"), 1e-2),
    "fixed-scales": (ConstantKernel(1.7) * RBF(ARD, "fixed") + WhiteKernel(0.3), 1e-10),
    "fixed-constant": (ConstantKernel(2.0, "fixed") * RBF(np.ones(3)) + WhiteKernel(), 1e-10),
    "bounds-for-each": (1.0 * RBF(np.ones(3), [(0.5, 1.0), (0.1, 5.0), (1.0, 1e3)]) + WhiteKernel(), 1e-10),
    "no-room": (1.0 * RBF(np.ones(3), [(0.5, 0.5), (0.1, 5.0), (1.0, 1e3)]) + WhiteKernel(), 1e-10),
    "outside": (1.0 * RBF(np.full(3, 0.01), (0.1, 10.0)) + WhiteKernel(1e3, (1e-3, 1.0)), 1e-10),
}


@pytest.fixture
def drivers(monkeypatch):
    """Whether each fit was by the compiled search."""
    found = []
    search = fastard.sklearn.training.search_compiled

    def noted(*arguments):
        result = search(*arguments)
        found.append(result is not None)
        return result

    monkeypatch.setattr(fastard.sklearn.training, "search_compiled", noted)
    return found


@pytest.mark.parametrize("name", ONE_TERM)
@pytest.mark.parametrize("m", [1, 2])
def test_one_term_is_trained_by_the_compiled_search(name, m, drivers, monkeypatch):
    kernel, alpha = ONE_TERM[name]
    X, y = problem(m=m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = GaussianProcessRegressor(kernel, alpha=alpha).fit(X, y)
        assert drivers == [True]
        monkeypatch.setattr(fastard.sklearn.training, "search_compiled", lambda *arguments: None)
        scipys = GaussianProcessRegressor(kernel, alpha=alpha).fit(X, y)
    assert ours.log_marginal_likelihood_value_ >= scipys.log_marginal_likelihood_value_ - 1e-4
    assert ours.log_marginal_likelihood(ours.kernel_.theta) == pytest.approx(ours.log_marginal_likelihood_value_, abs=1e-8)
    low, high = ours.kernel_.bounds.T
    assert (ours.kernel_.theta >= low - 1e-12).all()
    assert (ours.kernel_.theta <= high + 1e-12).all()


@pytest.mark.parametrize(
    "kernel",
    [
        OURS["long-and-short"],
        OURS["two-noises"],
        OURS["constant-over-all"],
        OURS["rational-quadratic"],
        1.0 * RBF(ARD, (1e-3, np.inf)) + WhiteKernel(),
    ],
    ids=["two terms", "two noises", "noise times a constant", "a shape", "no bound"],
)
def test_others_are_trained_by_scipys(kernel, drivers):
    X, y = problem()
    both(kernel, X, y)
    assert drivers == [False]


def test_the_optimisers_warnings_are_convergence_warnings(monkeypatch):
    X, y = problem()
    monkeypatch.setattr(fastard.sklearn.compiled, "_MOST_ITERATIONS", 2)
    with pytest.warns(ConvergenceWarning, match="failed to converge: max_iterations reached") as warned:
        GaussianProcessRegressor(1.0 * RBF(ARD) + WhiteKernel(), n_restarts_optimizer=2, random_state=0).fit(X, y)
    assert len([it for it in warned if "failed to converge" in str(it.message)]) == 3


def test_parameters_at_their_bounds_are_told_in_scikit_learns_words():
    X, y = problem()
    said = []
    for cls in (TheirRegressor, GaussianProcessRegressor):
        with pytest.warns(ConvergenceWarning) as warned:
            cls(ConstantKernel(1.0, (0.9, 1.1)) * RBF(ARD, (1.0, 1.1)) + WhiteKernel(0.1, (0.1, 0.2))).fit(X, y)
        said.append([str(it.message) for it in warned])
    assert said[0] == said[1]
    assert len(said[0]) == 5


def test_a_start_without_a_likelihood_is_the_end_of_its_search():
    """Two equal points and hardly any noise where it starts; a restart finds more."""
    X, y = problem(30)
    X[1] = X[0]
    kernel = 1.0 * RBF(np.ones(3), (0.1, 10.0)) + WhiteKernel(1e-20, (1e-20, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, alpha=0.0, n_restarts_optimizer=3, random_state=0).fit(X, y)
        assert np.isfinite(model.log_marginal_likelihood_value_)
        with pytest.raises(np.linalg.LinAlgError, match="gradually increasing the 'alpha'"):
            model.set_params(n_restarts_optimizer=0).fit(X, y)


def test_an_interrupt_ends_a_fit(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastard._training.search.Search, "_slice", interrupted)
    with pytest.raises(KeyboardInterrupt):
        GaussianProcessRegressor(1.0 * RBF(ARD) + WhiteKernel()).fit(*problem())


def test_training_finds_the_same_parameters_where_they_are_determined():
    X, _ = data(150, 3)
    y = np.sin(2.0 * X[:, 0]) + np.cos(X[:, 1]) * X[:, 2] + 0.05 * data(150, 1, seed=3)[1]
    theirs, ours = both(1.0 * RBF(np.ones(3)) + WhiteKernel(0.1), X, y)
    assert_agree(ours.kernel_.theta, theirs.kernel_.theta, 1e-4)
    assert_agree(ours.predict(X), theirs.predict(X), 1e-4)


@pytest.mark.parametrize("inside", [contextlib.nullcontext, patched])
def test_the_default_kernel_is_that_of_the_installed_scikit_learn(inside, evaluations):
    """Before its version 1.9 it is fixed; from then on it is trained."""
    fastard.sklearn.original._default_kernel.cache_clear()
    X, y = problem(30)
    theirs = TheirRegressor(alpha=1e-2).fit(X, y)
    evaluations.clear()
    with inside():
        assert explain(None) == explain(theirs)
        assert evaluations == []
        models = [cls(alpha=1e-2).fit(X, y) for cls in (GaussianProcessRegressor, TheirRegressor)]
    assert evaluations
    for ours in models:
        assert ours.kernel is None
        assert_agree(ours.kernel_.theta, theirs.kernel_.theta, 1e-3)
        parameters, expected = (
            {name: value for name, value in model.kernel_.get_params().items() if name.endswith("_bounds")}
            for model in (ours, theirs)
        )
        assert parameters == expected
        assert_agree(ours.predict(X, return_std=True)[1], theirs.predict(X, return_std=True)[1], 1e-3)
    assert explain(GaussianProcessRegressor()) == explain(None) == "fastard: RBF"


@pytest.mark.parametrize("threads", [1, 3])
def test_restarts_are_those_of_the_sequential_run(monkeypatch, threads):
    monkeypatch.setattr(fastard.sklearn.training, "default_threads", lambda: threads)
    X, y = problem(40)
    theirs, ours = both(1.0 * RBF(np.ones(3), (0.1, 10.0)) + WhiteKernel(0.1), X, y, n_restarts_optimizer=4, random_state=7)
    assert_agree(ours.kernel_.theta, theirs.kernel_.theta, 1e-3)
    assert ours._rng.uniform() == theirs._rng.uniform()


def test_restarts_side_by_side_give_the_bits_of_one_after_another(monkeypatch):
    X, y = problem(40)
    model = GaussianProcessRegressor(1.0 * RBF(np.ones(3)) + WhiteKernel(), n_restarts_optimizer=3, random_state=0)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for threads in (1, 4):
            monkeypatch.setattr(fastard.sklearn.training, "default_threads", lambda threads=threads: threads)
            found.append(clone(model).fit(X, y).kernel_.theta)
    np.testing.assert_array_equal(*found)


def test_callable_optimizer():
    X, y = problem(30)

    def optimizer(loss, theta, bounds):
        value, gradient = loss(theta)
        assert loss(theta, eval_gradient=False) == pytest.approx(value)
        assert gradient.shape == theta.shape
        assert bounds.shape == (theta.size, 2)
        return theta + 0.1, loss(theta + 0.1, eval_gradient=False)

    theirs, ours = both(1.0 * RBF(ARD) + WhiteKernel(), X, y, optimizer=optimizer, n_restarts_optimizer=1, random_state=0)
    np.testing.assert_allclose(ours.kernel_.theta, theirs.kernel_.theta, rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "alpha"),
    [
        (RBF(0.0015), 1e-6),
        (Matern([3e-4, 3e-4], nu=1.5), 1e-6),
        (ConstantKernel(1e-200) * RBF(0.0015) + 1.7 * Matern(2e-4, nu=0.5) + WhiteKernel(1e-3), 1e-6),
        (1e20 * Matern(1.0, nu=0.5) + WhiteKernel(1e-299), 1e18),
    ],
    ids=["rbf", "matern32", "sum", "tiny-noise"],
)
def test_an_underflow_is_no_error(kernel, alpha):
    """Whatever the user has set; an overflow is told as scikit-learn tells it."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(50, 2))
    y = np.sin(5.0 * X[:, 0])
    points = X[:1] + np.linspace(0.0, 0.2, 60)[:, np.newaxis]  # some covariances with the first point are denormal

    def use(cls, scale):
        model = cls(kernel, alpha=alpha, normalize_y=True, optimizer=None).fit(X, scale * y)
        value, gradient = model.log_marginal_likelihood(model.kernel_.theta, eval_gradient=True)
        derivatives = model.predict_gradient(points)
        deviation = model.predict(points, return_std=True)[1]
        covariance = model.predict(points, return_cov=True)[1]
        return value, gradient, model.predict(points), deviation, covariance, model.sample_y(points, 2), *derivatives

    for scale in (1e-3, 1e-200):
        expected = use(GaussianProcessRegressor, scale)
        with np.errstate(all="raise"), patched():
            for cls in (GaussianProcessRegressor, TheirRegressor):
                for a, b in zip(use(cls, scale), expected, strict=True):
                    np.testing.assert_array_equal(a, b)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="overflow"):
        use(GaussianProcessRegressor, 1e200)


def test_a_users_optimizer_runs_with_the_users_floating_point_errors():
    X, y = problem(20)
    seen = []

    def optimizer(loss, theta, bounds):
        seen.append(np.geterr())
        return theta, loss(theta)[0]

    with np.errstate(all="raise"):
        GaussianProcessRegressor(1.0 * RBF(ARD), alpha=1e-3, optimizer=optimizer).fit(X, y)
        assert seen == [np.geterr()]


def test_an_underflow_in_a_users_kernel_is_told_as_the_user_wants():
    model = GaussianProcessRegressor(Doubled(0.1), alpha=1e-3, optimizer=None).fit(*problem(20))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="underflow"):
        model.predict(np.linspace(3.0, 30.0, 30).reshape(-1, 3))


def test_variances_that_rounding_made_0_are_told_as_by_scikit_learn(monkeypatch):
    """Rounding errors of a made-up size. The wording is scikit-learn's where the method is."""
    X, y = problem()
    model = GaussianProcessRegressor(RBF(ARD), alpha=1e-3, optimizer=None).fit(X, y)
    deviation, predict = model.predict(X, return_std=True)[1], fastard.sklearn.regressor.predict
    error = np.sort(deviation**2)[9] * 1.0001
    monkeypatch.setattr(
        fastard.sklearn.regressor,
        "predict",
        lambda model, X, wanted, noise, *rest: predict(model, X, wanted, noise - error, *rest),
    )
    with pytest.warns(UserWarning, match="Predicted variances smaller than 0. Setting those variances to 0") as warned:
        deviation = model.predict(X, return_std=True)[1]
    assert len(warned) == 1
    assert np.count_nonzero(deviation == 0.0) == 10
    with pytest.warns(UserWarning, match="10 of 45 predicted variances are not above 0"):
        gradient = model.predict_gradient(X)[1]
    np.testing.assert_array_equal((gradient == 0.0).all(axis=1), deviation == 0.0)
    with pytest.raises(RuntimeError, match="At most one"):
        model.predict(X, return_std=True, return_cov=True)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("name", ["ard", "matern52", "matern12", "long-and-short", "a-bias", "rational-quadratic"])
def test_predict_gradient(name, m):
    X, y = problem(m=m)
    points = data(7, 3, seed=5)[0]
    model = GaussianProcessRegressor(OURS[name], optimizer=None, alpha=1e-3, normalize_y=True).fit(X, y)
    mean_grad, std_grad = model.predict_gradient(points)
    assert mean_grad.shape == std_grad.shape == ((7, 3) if m == 1 else (7, 3, m))
    step = 1e-6
    for p in range(3):
        shift = step * np.eye(3)[p]
        up, down = (model.predict(points + sign * shift, return_std=True) for sign in (1.0, -1.0))
        assert_agree(mean_grad[:, p], (up[0] - down[0]) / (2.0 * step), 1e-6)
        assert_agree(std_grad[:, p], (up[1] - down[1]) / (2.0 * step), 1e-6)


def test_predict_gradient_where_there_is_no_deviation():
    X, y = problem(5)
    model = GaussianProcessRegressor(RBF(1.0), optimizer=None, alpha=0.0).fit(X, y)
    assert np.isfinite(model.predict_gradient(X)[1]).all()
    with pytest.raises(NotFittedError, match="fit first"):
        GaussianProcessRegressor().predict_gradient(X)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_kinds_of_arrays(dtype, order):
    X, y = problem()
    X = np.asarray(10.0 * X, dtype=dtype, order=order)
    X.flags.writeable = y.flags.writeable = False
    theirs, ours = both(1.0 * RBF(10.0) + WhiteKernel(0.1), X, y, optimizer=None)
    theta = theirs.kernel_.theta
    assert_agree(ours.log_marginal_likelihood(theta), theirs.log_marginal_likelihood(theta))
    assert_agree(ours.predict(X.tolist()), theirs.predict(X.tolist()), 1e-8)
    assert ours.X_train_.dtype == theirs.X_train_.dtype


def test_not_positive_definite():
    X = np.zeros((3, 1))
    model = GaussianProcessRegressor(RBF(), alpha=0.0, optimizer=None)
    with pytest.raises(np.linalg.LinAlgError, match="gradually increasing the 'alpha'"):
        model.fit(X, np.ones(3))
    model = GaussianProcessRegressor(RBF(), alpha=1.0, optimizer=None).fit(X, np.ones(3))
    model.alpha = 0.0
    value, gradient = model.log_marginal_likelihood([0.0], eval_gradient=True)
    assert value == -np.inf
    np.testing.assert_array_equal(gradient, 0.0)


def test_parameters_out_of_our_range_are_theirs():
    X, y = problem()
    theirs, ours = both(1.0 * RBF(ARD) + WhiteKernel(), X, y, optimizer=None)
    for theta in ([0.0, -400.0, 0.0, 0.0, 0.0], [0.0, 800.0, 0.0, 0.0, 0.0]):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = theirs.log_marginal_likelihood(np.array(theta))
            assert ours.log_marginal_likelihood(np.array(theta)) == expected
    with pytest.raises(ValueError, match="theta"):
        ours.log_marginal_likelihood(np.zeros(7))


def test_the_kernel_object_is_what_counts():
    """scikit-optimize sets the noise to 0 after training, users change parameters of kernel_ in place."""
    X, y = problem()
    theirs, ours = both(1.7 * RBF(ARD) + WhiteKernel(0.3), X, y, optimizer=None)
    for model in (theirs, ours):
        model.kernel_.set_params(k2__noise_level=0.0, k1__k2__length_scale=np.array([1.0, 2.0, 3.0]))
    assert_agree(ours.predict(X, return_cov=True)[1], theirs.predict(X, return_cov=True)[1], 1e-8)


def test_clone_kernel_false_sets_theta():
    X, y = problem()
    _, ours = both(1.7 * RBF(ARD), X, y, optimizer=None, alpha=1e-3)
    theta = ours.kernel_.theta + 0.1
    ours.log_marginal_likelihood(theta, clone_kernel=True)
    assert not np.allclose(ours.kernel_.theta, theta)
    ours.log_marginal_likelihood(theta, clone_kernel=False)
    np.testing.assert_allclose(ours.kernel_.theta, theta)


def test_copies_hold_no_buffer():
    X, y = problem(200)
    model = GaussianProcessRegressor(1.0 * RBF(ARD) + WhiteKernel(), optimizer=None).fit(X, y)
    size = len(pickle.dumps(model))
    value = model.log_marginal_likelihood(model.kernel_.theta)
    assert len(pickle.dumps(model)) < size + 1000
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert other.log_marginal_likelihood(model.kernel_.theta) == value
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert not hasattr(clone(model), "X_train_")


def test_memory_does_not_grow_with_the_dimensions():
    n, d = 700, 20
    X, y = data(n, d)
    kernel = 1.0 * RBF(np.full(d, 4.0)) + WhiteKernel()
    GaussianProcessRegressor(kernel, optimizer=None).fit(X[:20], y[:20]).log_marginal_likelihood(kernel.theta, True)
    model = GaussianProcessRegressor(kernel, optimizer=lambda loss, theta, bounds: (theta, loss(theta)[0]))
    tracemalloc.start()
    try:
        model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 8 * n * n  # the buffer, and panels of O(n)


def test_patch_and_unpatch(evaluations):
    X, y = problem()
    before = dict(vars(TheirRegressor))
    model = TheirRegressor(1.0 * RBF(ARD) + WhiteKernel(), optimizer=None)
    patch()
    try:
        patch()
        expected = model.fit(X, y).predict(X)
        assert len(evaluations) == 1
        assert model.predict_gradient(X)[0].shape == X.shape
        with patched():
            pass
        assert vars(TheirRegressor)["fit"] is not before["fit"]
    finally:
        unpatch()
    assert dict(vars(TheirRegressor)) == before
    assert_agree(model.fit(X, y).predict(X), expected, 1e-8)
    assert len(evaluations) == 1
    with pytest.raises(ZeroDivisionError), patched():
        1 / 0  # noqa: B018
    assert dict(vars(TheirRegressor)) == before


def test_patched_puts_back_what_it_found(monkeypatch):
    def wrapper(self, X, y):
        return original(self, X, y)

    original = TheirRegressor.fit
    monkeypatch.setattr(TheirRegressor, "fit", wrapper)
    with patched(), patched():
        assert TheirRegressor.fit is GaussianProcessRegressor.fit
    assert TheirRegressor.fit is wrapper


def test_patched_models_pickle_as_scikit_learns():
    X, y = problem()
    with patched():
        model = TheirRegressor(1.0 * RBF(ARD) + WhiteKernel(), optimizer=None).fit(X, y)
        model.log_marginal_likelihood(model.kernel_.theta)
        assert b"fastard" not in pickle.dumps(model)


def test_what_does_not_fit_together_is_scikit_learns_error():
    X, y = problem(30)
    model = GaussianProcessRegressor(RBF(), optimizer=None).fit(X, y)
    with pytest.raises(np.linalg.LinAlgError):
        model.set_params(alpha=0.0).fit(np.zeros((15, 3)), y[:15])
    with pytest.raises(ValueError, match=r"size|shape|mismatch"):
        model.predict(X)
    with pytest.raises((ValueError, TypeError)):
        model.set_params(alpha="a").log_marginal_likelihood(np.zeros(1))


@pytest.mark.parametrize("size", [1, 5])
def test_objective_refuses_a_theta_of_another_length(size):
    X, y = problem(20)
    model = GaussianProcessRegressor(
        RBF(ARD), alpha=0.1, optimizer=lambda loss, theta, bounds: (theta, loss(np.zeros(size))[0])
    )
    with pytest.raises((ValueError, IndexError)):
        model.fit(X, y)


def test_explain_takes_kernels_and_regressors():
    assert explain(GaussianProcessRegressor(RBF())) == "fastard: RBF"
    assert explain(Matern(nu=np.array(2.5))) == "fastard: Matern52"
    with pytest.raises(TypeError, match="kernel must be"):
        explain(RBF)


def test_predict_gradient_says_that_points_are_out_of_range():
    X, y = problem()
    with pytest.raises(ValueError, match="out of its range"):
        GaussianProcessRegressor(1.0 * RBF(ARD) + WhiteKernel(), optimizer=None).fit(X, y).predict_gradient(1e200 * X)


def test_patched_subclasses_of_theirs_are_ours_too(evaluations):
    class Theirs(TheirRegressor):
        def fit(self, X, y):
            return super().fit(X, 2.0 * y)

    X, y = problem()
    with patched():
        model = Theirs(1.0 * RBF(ARD) + WhiteKernel(), optimizer=None).fit(X, y)
    assert len(evaluations) == 1
    np.testing.assert_array_equal(model.y_train_, 2.0 * y)


def test_a_kernel_used_twice():
    X, y = problem()
    part = RBF(1.3)
    theirs, ours = both(Sum(part, part) + WhiteKernel(), X, y, optimizer=None)
    theta = theirs.kernel_.theta
    assert_agree(ours.log_marginal_likelihood(theta, True)[1], theirs.log_marginal_likelihood(theta, True)[1])


OWN_TESTS = """
import pytest
from sklearn.gaussian_process.tests import test_gpr
import fastard.sklearn

def pytest_configure(config):
    {preparation}
"""


@pytest.mark.parametrize(
    ("module", "preparation"),
    [
        ("test_gpr", "test_gpr.GaussianProcessRegressor = fastard.sklearn.GaussianProcessRegressor"),
        ("test_kernels", "fastard.sklearn.patch()"),
    ],
)
def test_scikit_learns_own_tests_pass(tmp_path, module, preparation):
    pytest.importorskip(f"sklearn.gaussian_process.tests.{module}")
    (tmp_path / "ours_for_theirs.py").write_text(OWN_TESTS.format(preparation=preparation))
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command += ["-p", "ours_for_theirs", "--pyargs", f"sklearn.gaussian_process.tests.{module}"]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    assert " passed" in result.stdout


def test_scikit_learns_conventions():
    """``parametrize_with_checks``, in a module of its own so that its warnings are no errors."""
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(GaussianProcessRegressor())


def test_a_column_that_is_constant_up_to_rounding_moves_no_length_scale():
    """Its rounding noise is no scale: taken for one, its length scale went to 3e-4 at no gain."""
    rng = np.random.default_rng(0)
    t = 0.1 * np.arange(200)
    third = (t + 0.7) - t
    assert np.ptp(third) > 0.0
    X = np.column_stack([rng.uniform(size=(200, 2)), third])
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] + 0.01 * rng.standard_normal(200)
    ours = GaussianProcessRegressor(ConstantKernel() * RBF(np.ones(3)) + WhiteKernel()).fit(X, y - y.mean())
    assert np.exp(ours.kernel_.theta[3]) == pytest.approx(1.0, rel=1e-3)
