"""The whole job: maximise the likelihood over all length scales, then predict."""

from functools import partial

import numpy as np
from scipy import stats

import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import best_times, seconds

_SIZES = [(100, 5), (300, 8), (1000, 10), (2000, 20)]


def _fastard(X, y):
    if not hasattr(fastard, "fit"):
        raise NotImplementedError("this fastard has no fit")
    return partial(fastard.fit, X, y, rng=0)


def _scikit_learn(X, y):
    """From fastard's start and within its bounds; it stops by its own rule."""
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ImportError:
        raise NotImplementedError("scikit-learn is not installed") from None
    d = X.shape[1]
    shape = RBF(np.full(d, np.sqrt(d)), (1e-3, 1e5))
    kernel = ConstantKernel(1.0, (1e-5, 1e5)) * shape + WhiteKernel(0.1, (1e-8, 1e2))
    return lambda: GaussianProcessRegressor(kernel, alpha=0.0, normalize_y=True).fit(X, y)


class Fit:
    """From data to a trained model."""

    params = (["fastard", "scikit-learn"], _SIZES)
    param_names = ("implementation", "(n, d)")
    timeout = 600

    def setup(self, implementation, size):
        if implementation == "scikit-learn" and size[0] > 300:
            raise NotImplementedError("takes minutes")
        build = {"fastard": _fastard, "scikit-learn": _scikit_learn}[implementation]
        small = make_problem(20, size[1])
        build(small.X, small.y)()  # compile
        problem = make_problem(*size)
        self.fit = build(problem.X, problem.y)

    def time_fit(self, implementation, size):
        self.fit()


class Training:
    """What fastard's search needs; time_fit is this times the time of one evaluation."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 600
    unit = "evaluations"

    def setup(self, size):
        problem = make_problem(*size)
        self.fit = _fastard(problem.X, problem.y)

    def track_evaluations(self, size):
        return self.fit().n_evaluations


class Priors:
    """What priors cost: one evaluation of a search with them over one without."""

    params = ([(100, 5), (1000, 10)],)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "ratio"

    def setup(self, size):
        problem = make_problem(*size)
        wide = stats.lognorm(3.0)
        names = ("length_scale", "signal_variance", "noise_variance")
        self.priors = {f"{name}_prior": wide for name in names}
        self.fit = partial(fastard.fit, problem.X, problem.y, max_iterations=10)

    def track_evaluation_with_priors_over_without(self, size):
        times = {
            "with": lambda: seconds(lambda: self.fit(**self.priors)) / self.fit(**self.priors).n_evaluations,
            "without": lambda: seconds(self.fit) / self.fit().n_evaluations,
        }
        for time in times.values():
            time()
        best = best_times(times, size[0], total_seconds=5.0)
        return best["with"] / best["without"]


class Predict:
    """Mean and standard deviation at 10 000 points from a model of the problem's size, trained for one step."""

    params = (_SIZES, [False, True])
    param_names = ("(n, d)", "return_std")
    timeout = 600

    def setup(self, size, return_std):
        problem = make_problem(*size)
        self.model = _fastard(problem.X, problem.y)(max_iterations=1)
        self.queries = np.random.default_rng(1).standard_normal((10_000, size[1]))
        self.model.predict(self.queries[:2], return_std=return_std)  # compile

    def time_predict(self, size, return_std):
        self.model.predict(self.queries, return_std=return_std)
