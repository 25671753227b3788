"""Programs that build on scikit-learn's regressor propose the same points with ours: what they compute is still theirs.

Two runs from one seed part for good after the first step at which rounding decides between two nearly equal optima:
scikit-optimize's parts from itself when the targets change by 1e-13. So only first proposals are compared; what comes of the
later ones is in benchmarks/sklearn_clients.py.
"""

import inspect
import pickle
from copy import copy as shallow_copy
from unittest import mock

import numpy as np
import pytest
from conftest import data

pytest.importorskip("sklearn")
import joblib
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor as Theirs
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, Matern, WhiteKernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_X_y

import fastard.sklearn
from fastard._training.search import Search
from fastard.sklearn import GaussianProcessRegressor as Ours

# The clients' own deprecations and convergence warnings are none of this project's errors.
pytestmark = pytest.mark.filterwarnings("default")

BOX = np.array([[-5.0, 10.0], [0.0, 15.0]])
FIRST, PROPOSALS = 4, 4  # drawn at random, then proposed by the model
TOLERANCE = 1e-4  # of the box


@pytest.fixture
def evaluations(monkeypatch):
    """A mock in the place of the engine's evaluation that counts its calls, and those of the compiled search."""
    spy = mock.Mock(wraps=fastard.sklearn.training.evaluate)
    monkeypatch.setattr(fastard.sklearn.training, "evaluate", spy)
    outcomes = Search.outcomes

    def counted(search, starts):
        found = outcomes(search, starts)
        spy.call_count += search.n_evaluations
        return found

    monkeypatch.setattr(Search, "outcomes", counted)
    return spy


@pytest.fixture
def scipys_search(monkeypatch):
    """Each fit is by the compiled search first, whose end SciPy's improves no more; then by SciPy's, whose optimum counts.

    The two end a few 1e-5 nats apart, or in another of several optima, which is enough for other proposals.
    """
    search = fastard.sklearn.regressor._search

    def both(estimator, covariance, data):
        before = estimator._rng.get_state()
        found = search(estimator, covariance, data)
        estimator._rng.set_state(before)
        with monkeypatch.context() as inside:
            inside.setattr(fastard.sklearn.training, "search_compiled", lambda *arguments: None)
            from_there = shallow_copy(estimator)
            from_there.kernel_ = estimator.kernel_.clone_with_theta(found[0])
            from_there.n_restarts_optimizer = 0
            assert search(from_there, covariance, data)[1] >= found[1] - 1e-3
            return search(estimator, covariance, data)

    monkeypatch.setattr(fastard.sklearn.regressor, "_search", both)


@pytest.fixture
def predictions(monkeypatch):
    """The same for predictions."""
    spy = mock.Mock(wraps=fastard.sklearn.regressor.predict)
    monkeypatch.setattr(fastard.sklearn.regressor, "predict", spy)
    return spy


def branin(x):
    a, b = x
    return (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


def assert_same_proposals(ours, theirs, first=FIRST):
    ours, theirs = np.array(ours), np.array(theirs)
    np.testing.assert_array_equal(ours[:first], theirs[:first])  # drawn, not proposed
    assert len(theirs) > first
    assert np.abs((ours - theirs) / np.ptp(BOX, axis=1)).max() <= TOLERANCE


@pytest.mark.usefixtures("scipys_search")
class TestScikitOptimize:
    """Its regressor is a subclass of scikit-learn's, which only ``patch`` reaches; it predicts with its own code."""

    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("skopt")

    @staticmethod
    def assert_accelerated(result):
        assert result.models
        for model in result.models:
            assert fastard.sklearn.explain(model.kernel_) == "fastard: Matern52, and noise"

    @pytest.mark.parametrize("seed", [0, 3])
    def test_gp_minimize(self, seed, evaluations):
        import skopt

        def run():
            return skopt.gp_minimize(
                branin,
                [tuple(side) for side in BOX],
                n_calls=FIRST + PROPOSALS,
                n_initial_points=FIRST,
                n_points=500,
                acq_func="EI",
                random_state=seed,
            )

        theirs = run()
        assert evaluations.call_count == 0
        with fastard.sklearn.patched():
            ours = run()
        # Each model is one fit from three starts, and a start takes more than one step.
        assert evaluations.call_count > 6 * len(ours.models)
        self.assert_accelerated(ours)
        assert_same_proposals(ours.x_iters, theirs.x_iters)

    @pytest.mark.parametrize("acquisition", ["LCB", "gp_hedge"])
    def test_optimizer_asks_and_is_told(self, acquisition, evaluations):
        import skopt

        def run():
            optimizer = skopt.Optimizer(
                [tuple(side) for side in BOX],
                n_initial_points=FIRST,
                acq_func=acquisition,
                acq_optimizer_kwargs={"n_points": 500},
                random_state=1,
            )
            for _ in range(FIRST + PROPOSALS):
                point = optimizer.ask()
                result = optimizer.tell(point, branin(point))
            return result

        theirs = run()
        assert evaluations.call_count == 0
        with fastard.sklearn.patched():
            ours = run()
        assert evaluations.call_count > 6 * len(ours.models)
        self.assert_accelerated(ours)
        assert_same_proposals(ours.x_iters, theirs.x_iters)

    def test_categories_are_left_to_scikit_learn(self, evaluations):
        """Its kernel for categories is none of ours: patched or not, the same code runs."""
        import skopt

        def run():
            return skopt.gp_minimize(
                lambda x: {"a": 1.0, "b": 0.2, "c": 0.7}[x[0]] + {"d": 0.1, "e": 0.4}[x[1]],
                [["a", "b", "c"], ["d", "e"]],
                n_calls=5,
                n_initial_points=2,
                n_points=20,
                random_state=0,
            )

        theirs = run()
        with fastard.sklearn.patched():
            ours = run()
        assert "HammingKernel" in fastard.sklearn.explain(ours.models[-1].kernel_)
        assert evaluations.call_count == 0
        assert ours.x_iters == theirs.x_iters


def angle():
    """A parameter of a user's own: two columns for the kernel, and one for the optimiser."""
    from bayes_opt.parameter import BayesParameter

    class Angle(BayesParameter):
        is_continuous = True
        dim = 1

        def to_float(self, value):
            return value

        def to_param(self, value):
            return float(np.squeeze(value))

        def kernel_transform(self, value):
            return np.hstack([np.cos(value), np.sin(value)])

    return Angle("x", np.array([-3.0, 3.0]))


def doubled(points):
    """A transform that pickles."""
    return 2.0 * points


@pytest.mark.usefixtures("scipys_search")
class TestBayesianOptimization:
    """Its regressor is an attribute. Its kernel is wrapped: that of points whose integers are rounded, for one thing."""

    PARAMETERS = {  # noqa: RUF012
        "float": lambda: {"x": tuple(BOX[0]), "y": tuple(BOX[1])},
        "int": lambda: {"x": (*BOX[0], int), "y": tuple(BOX[1])},
        "categorical": lambda: {"x": tuple(BOX[0]), "y": (1.0, 4.0, 9.0)},
        "custom": lambda: {"x": angle(), "y": tuple(BOX[1])},
        "all": lambda: {"x": angle(), "y": (1.0, 4.0, 9.0), "z": (0, 9, int), "w": (0.0, 1.0)},
    }

    @pytest.fixture(autouse=True)
    def _needs(self):
        pytest.importorskip("bayes_opt.parameter")  # before its version 3 the kernel is a plain one

    @classmethod
    def optimizer(cls, seed, acquisition=None, parameters="float", constraint=None):
        import bayes_opt

        return bayes_opt.BayesianOptimization(
            lambda x, y, z=0, w=0.0: -branin((x, y)) + z - w,
            cls.PARAMETERS[parameters](),
            acquisition_function=acquisition,
            constraint=constraint,
            random_state=seed,
            verbose=0,
        )

    @staticmethod
    def run(optimizer):
        optimizer.maximize(init_points=FIRST, n_iter=PROPOSALS)
        return [[step["params"]["x"], step["params"]["y"]] for step in optimizer.res]

    @staticmethod
    def replace(optimizer, cls, kernel=None):
        """Its own model, of another class; with another kernel, if one is given."""
        options = optimizer._gp.get_params(deep=False)
        optimizer._gp = cls(**(options if kernel is None else {**options, "kernel": kernel}))
        assert optimizer._gp.random_state is optimizer._random_state

    @pytest.mark.parametrize("name", ["UpperConfidenceBound", "ExpectedImprovement"])
    def test_its_regressor_replaced(self, name, evaluations, predictions):
        from bayes_opt import acquisition

        options = {"xi": 0.01} if name == "ExpectedImprovement" else {}

        def start():
            return self.optimizer(0, getattr(acquisition, name)(**options))

        theirs, ours = start(), start()
        expected = self.run(theirs)
        assert evaluations.call_count == predictions.call_count == 0
        self.replace(ours, Ours, Matern(nu=2.5))
        proposals = self.run(ours)
        assert fastard.sklearn.explain(ours._gp.kernel_) == "fastard: Matern52"
        assert evaluations.call_count > 12 * PROPOSALS  # six starts a fit
        assert predictions.call_count > 10 * PROPOSALS  # ten searches for the next point
        assert_same_proposals(proposals, expected)

    @pytest.mark.parametrize("parameters", PARAMETERS)
    def test_maximize(self, parameters, evaluations, predictions):
        def run():
            optimizer = self.optimizer(0, parameters=parameters)
            optimizer.maximize(init_points=FIRST, n_iter=PROPOSALS)
            return optimizer

        theirs = run()
        assert evaluations.call_count == predictions.call_count == 0
        with fastard.sklearn.patched():
            ours = run()
        assert fastard.sklearn.explain(ours._gp) == "fastard: Matern52 of transformed points"
        assert evaluations.call_count > 12 * PROPOSALS  # six starts a fit
        assert predictions.call_count >= PROPOSALS
        found, expected = ours.space.params, theirs.space.params
        assert len(expected) == FIRST + PROPOSALS
        assert (np.abs(found - expected) <= TOLERANCE * np.ptp(ours.space.bounds, axis=1)).all()

    def test_constraints(self, evaluations):
        """A second model, with a wrapped kernel of its own."""
        from scipy.optimize import NonlinearConstraint

        def run():
            optimizer = self.optimizer(0, constraint=NonlinearConstraint(lambda x, y: x + y, 0.0, 12.0))
            optimizer.maximize(init_points=FIRST, n_iter=1)
            return optimizer

        theirs = run()
        with fastard.sklearn.patched():
            ours = run()
        assert evaluations.call_count > 24
        assert fastard.sklearn.explain(ours.constraint._model[0]) == "fastard: Matern52 of transformed points"
        np.testing.assert_allclose(ours.space.params, theirs.space.params, rtol=0.0, atol=TOLERANCE * 15.0)

    @pytest.mark.parametrize("parameters", PARAMETERS)
    def test_models_agree(self, parameters, predictions):
        """Also with a kernel of the user's, whose length scales are those of the transformed points' columns."""
        optimizer = self.optimizer(2, parameters=parameters)
        space = optimizer.space
        X, points = (space.random_sample(30, random_state=seed) for seed in (1, 2))
        X, points = np.array(X).reshape(30, -1), np.array(points).reshape(30, -1) + 0.3
        y = np.sin(X.sum(axis=1))
        d = space.kernel_transform(X).shape[1]
        optimizer.set_gp_params(kernel=ConstantKernel(1.7) * RBF(np.geomspace(2.0, 5.0, d)) + WhiteKernel(1e-2))
        kernel = optimizer._gp.kernel
        assert fastard.sklearn.explain(kernel) == "fastard: RBF, and noise, of transformed points"
        theirs, ours = (cls(kernel, normalize_y=True, optimizer=None).fit(X, y) for cls in (Theirs, Ours))
        theta = theirs.kernel_.theta + 0.1
        for a, b in zip(*(model.log_marginal_likelihood(theta, True) for model in (ours, theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)
        for option in ("return_std", "return_cov"):
            for a, b in zip(*(model.predict(points, **{option: True}) for model in (ours, theirs)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(ours.X_train_, X)  # not what the kernel makes of them
        assert predictions.call_count == 1  # of the covariance, it is another call
        with pytest.raises(ValueError, match="of transformed points, whose derivatives are not known"):
            ours.predict_gradient(points)

    @pytest.mark.parametrize("inside", [RBF([1.0, 2.0]), 2.0 * Matern(nu=1.5) + WhiteKernel(0.1)], ids=["one", "sum"])
    def test_copies_of_a_wrapped_kernel(self, inside):
        from bayes_opt.parameter import wrap_kernel

        once = wrap_kernel(inside, doubled)
        twice = wrap_kernel(once, np.floor)
        X = np.random.default_rng(0).uniform(0.0, 5.0, (20, 2))
        y = np.sin(X[:, 0])
        for kernel in (once, twice):
            theirs, ours = (cls(kernel, alpha=0.1).fit(X, y) for cls in (Theirs, Ours))
            np.testing.assert_allclose(ours.kernel_.theta, theirs.kernel_.theta, atol=1e-2)
            for copy in (clone(kernel), kernel.clone_with_theta(kernel.theta + 0.1), pickle.loads(pickle.dumps(kernel))):
                assert fastard.sklearn.explain(copy).endswith(" of transformed points")
                theirs, ours = (cls(copy, alpha=0.1, optimizer=None).fit(X, y) for cls in (Theirs, Ours))
                np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)
                other = pickle.loads(pickle.dumps(ours))
                np.testing.assert_allclose(other.predict(X), pickle.loads(pickle.dumps(theirs)).predict(X), rtol=1e-9)

    @pytest.mark.parametrize(
        "transform", [lambda X: X + 1j, lambda X: X[:1], lambda X: X / 0.0], ids=["complex", "row", "inf"]
    )
    @pytest.mark.filterwarnings("ignore")
    def test_what_is_no_row_of_numbers_for_each_point_is_left_to_scikit_learn(self, transform, evaluations):
        from bayes_opt.parameter import wrap_kernel

        X = np.random.default_rng(0).uniform(size=(10, 2))

        def outcome(cls):
            try:
                return cls(wrap_kernel(RBF(), transform), alpha=0.1).fit(X, X[:, 0]).kernel_.theta.tolist()
            except Exception as error:
                return repr(error)

        assert outcome(Ours) == outcome(Theirs)
        assert evaluations.call_count == 0

    def test_only_the_wrapper_is_known(self, monkeypatch):
        """Not what another version may make of it, nor a wrapped kernel within another, nor one that is not fastard's."""
        from bayes_opt import parameter

        wrapped = parameter.wrap_kernel(RBF(), doubled)
        assert fastard.sklearn.explain(wrapped) == "fastard: RBF of transformed points"
        assert (
            fastard.sklearn.explain(wrapped + WhiteKernel())
            == "scikit-learn: WrappedKernel is not a kernel that fastard computes"
        )
        assert fastard.sklearn.explain(parameter.wrap_kernel(ExpSineSquared(), doubled)).startswith("scikit-learn: ")
        subclass = type("Subclass", (type(wrapped),), {"__module__": "bayes_opt.parameter"})
        wrapped.__class__ = subclass
        assert fastard.sklearn.explain(wrapped) == "scikit-learn: Subclass is not a kernel that fastard computes"

        def other_wrapper(kernel, transform):
            class WrappedKernel(type(kernel)):
                def __call__(self, X, Y=None, eval_gradient=False):
                    return super().__call__(transform(transform(X)), Y if Y is None else transform(Y), eval_gradient)

            WrappedKernel.__module__ = "bayes_opt.parameter"
            return WrappedKernel(**kernel.get_params())

        monkeypatch.setattr(parameter, "wrap_kernel", other_wrapper)
        kernel = parameter.wrap_kernel(RBF(), doubled)
        assert fastard.sklearn.explain(kernel) == "scikit-learn: WrappedKernel is not a kernel that fastard computes"

    def test_a_kernel_set_its_way_is_wrapped_again(self):
        optimizer = self.optimizer(1)
        self.replace(optimizer, Ours, Matern(nu=2.5))
        assert fastard.sklearn.explain(optimizer._gp.kernel) == "fastard: Matern52"
        optimizer.set_gp_params(kernel=Matern(nu=1.5))
        assert fastard.sklearn.explain(optimizer._gp.kernel) == "fastard: Matern32 of transformed points"


class TestModAL:
    """It picks from a pool: the same points, in the same order."""

    POOL = np.random.default_rng(7).uniform(BOX[:, 0], BOX[:, 1], (200, 2))

    @pytest.fixture(autouse=True)
    def _needs(self, monkeypatch):
        pytest.importorskip("modAL")
        from modAL.models import learners

        if "force_all_finite" not in inspect.signature(learners.check_X_y).parameters:
            # Its last release, 0.4.2.1, gives the name that scikit-learn 1.8 took away.
            def check(*arrays, force_all_finite=True, **options):
                return check_X_y(*arrays, ensure_all_finite=force_all_finite, **options)

            monkeypatch.setattr(learners, "check_X_y", check)

    @staticmethod
    def most_uncertain(learner, X):
        from modAL.utils.selection import multi_argmax

        return multi_argmax(learner.predict(X, return_std=True)[1])

    def learner(self, cls, strategy):
        from modAL.acquisition import max_EI
        from modAL.models import ActiveLearner, BayesianOptimizer

        kernel = ConstantKernel(1.0) * RBF([3.0, 3.0], (0.1, 100.0)) + WhiteKernel(1e-3, (1e-6, 1.0))
        model = cls(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
        first = {"X_training": self.POOL[:FIRST], "y_training": np.array([-branin(x) for x in self.POOL[:FIRST]])}
        if strategy == "standard deviation":
            return ActiveLearner(model, query_strategy=self.most_uncertain, **first)
        return BayesianOptimizer(model, query_strategy=max_EI, **first)

    def run(self, learner):
        indices = []
        for _ in range(PROPOSALS):
            index, points = learner.query(self.POOL)
            learner.teach(points, np.array([-branin(point) for point in points]))
            indices.append(int(index[0]))
        return indices

    @pytest.mark.parametrize("strategy", ["standard deviation", "expected improvement"])
    def test_queries(self, strategy, evaluations, predictions):
        expected = self.run(self.learner(Theirs, strategy))
        assert evaluations.call_count == predictions.call_count == 0
        ours = self.learner(Ours, strategy)
        assert self.run(ours) == expected
        assert evaluations.call_count > 4 * (PROPOSALS + 1)  # two starts a fit
        assert predictions.call_count == PROPOSALS
        assert fastard.sklearn.explain(ours.estimator.kernel_) == "fastard: RBF, and noise"
        assert len(set(expected) - set(range(FIRST))) == PROPOSALS


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_over_a_pipeline(backend, evaluations):
    X, _ = data(60, 3)
    y = np.sin(X[:, 0]) + 0.3 * X[:, 1] ** 2

    def scores(pipeline, X, y):
        return {"r2": pipeline.score(X, y), "evaluations": getattr(pipeline[-1], "evaluations_", 0)}

    class Counted(Ours):
        """Ours, with the evaluations in the process that it was trained in; threads would count each other's."""

        def fit(self, X, y):
            searches, outcomes = [], Search.outcomes

            def noted(search, starts):
                searches.append(search)
                return outcomes(search, starts)

            with mock.patch.object(Search, "outcomes", noted):
                super().fit(X, y)
            self.evaluations_ = sum(search.n_evaluations for search in searches)
            return self

    def search(cls, n_jobs):
        steps = [("scale", StandardScaler()), ("model", cls(alpha=1e-4, normalize_y=True, random_state=0))]
        shapes = [RBF(np.ones(3)), Matern(np.ones(3), nu=1.5)]
        kernels = [ConstantKernel() * shape + WhiteKernel(1e-2, (1e-5, 1.0)) for shape in shapes]
        grid = {"model__kernel": kernels, "model__normalize_y": [True, False]}
        found = GridSearchCV(Pipeline(steps), grid, cv=3, scoring=scores, refit="r2", n_jobs=n_jobs, error_score="raise")
        return found.fit(X, y)

    theirs = search(Theirs, 1)
    assert evaluations.call_count == 0
    processes = backend == "loky"
    with joblib.parallel_config(backend):
        ours = search(Counted if processes else Ours, 2)
    if processes:
        get_reusable_executor().shutdown()
        for fold in range(3):
            assert ours.cv_results_[f"split{fold}_test_evaluations"].min() > 5
    else:
        assert evaluations.call_count > 5 * (4 * 3 + 1)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_index_ == theirs.best_index_
    np.testing.assert_array_equal(ours.cv_results_["rank_test_r2"], theirs.cv_results_["rank_test_r2"])
    for fold in range(3):
        name = f"split{fold}_test_r2"
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=0.0, atol=1e-5)
