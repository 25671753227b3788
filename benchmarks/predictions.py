"""What a trained model does: predictions of one point and of many, their gradients, more points, and drawing functions.

``python -m benchmarks.predictions`` prints how long one query takes by ``fastard``, ``fastard.sklearn`` and scikit-learn, and
batches over n^2 q flops at ``numpy.dot``'s rate.
"""

import warnings

import numpy as np

import fastard
from benchmarks.problems import make_problem
from benchmarks.report import describe_machine, markdown, version
from benchmarks.timing import Contestant, best_times, ratio_of_best

_SIZES = [(100, 5), (1000, 10), (2000, 20)]


def model_of(problem):
    given = problem.parameters
    return lambda: fastard.fit(problem.X, problem.y, **given, **{f"{name}_bounds": "fixed" for name in given})


class Update:
    """One more point, over a model made anew from all of them at the same parameters."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "ratio"

    def track_update_over_refit(self, size):
        problem = make_problem(*size)
        refit = model_of(problem)
        model = refit()
        kept = vars(model).copy()
        point = np.random.default_rng(1).standard_normal((1, size[1]))

        def update():
            model.update(point, [0.0])
            vars(model).update(kept)  # so that it does not grow

        return ratio_of_best(Contestant(update), Contestant(refit), size[0])


class PredictGradient:
    """Derivatives of mean and standard deviation at 500 points: over two predictions a coordinate, and over one."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "ratio"

    def setup(self, size):
        model = model_of(make_problem(*size))()
        points = np.random.default_rng(1).standard_normal((500, size[1]))
        steps = 1e-5 * np.eye(size[1])
        self.n = size[0]
        self.prediction = lambda: model.predict(points, return_std=True)
        self.gradient = lambda: model.predict_gradient(points)

        def differences():
            around = [[model.predict(points + sign * step, return_std=True) for sign in (1, -1)] for step in steps]
            return [np.stack([(up[i] - down[i]) / 2e-5 for up, down in around], axis=1) for i in (0, 1)]

        self.differences = differences
        for mine, theirs in zip(self.gradient(), differences(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0.0, atol=1e-4 * np.abs(theirs).max())

    def track_time_over_differences(self, size):
        return ratio_of_best(Contestant(self.gradient), Contestant(self.differences), self.n)

    def track_time_over_one_prediction(self, size):
        return ratio_of_best(Contestant(self.gradient), Contestant(self.prediction), self.n)


class Sample:
    """Ten functions at 500 points."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 300

    def setup(self, size):
        self.model = model_of(make_problem(*size))()
        self.points = np.random.default_rng(1).standard_normal((500, size[1]))
        self.time_sample(size)

    def time_sample(self, size):
        self.model.sample(self.points, 10, rng=0)


_QUERY_SIZES = [(20, 6), (50, 6), (200, 6), (1000, 10)]
_BATCHES = [(300, 8, 1000), (1000, 10, 100), (1000, 10, 1000), (2000, 20, 1000)]


def _one_query(n, d):
    """One query at a time with its standard deviation, by each implementation, at the same parameters."""
    problem = make_problem(n, d)
    model = model_of(problem)()
    query = np.random.default_rng(1).standard_normal((1, d))
    calls = {
        "fastard": lambda: model.predict(query, return_std=True),
        "fastard, gradients": lambda: model.predict_gradient(query),
    }
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    except ImportError:
        return calls
    import fastard.sklearn

    kernel = ConstantKernel(model.signal_variance) * RBF(model.length_scale) + WhiteKernel(model.noise_variance)
    options = {"alpha": 0.0, "optimizer": None, "normalize_y": True}
    ours, theirs = (
        regressor(kernel, **options).fit(problem.X, problem.y)
        for regressor in (fastard.sklearn.GaussianProcessRegressor, GaussianProcessRegressor)
    )
    calls["fastard.sklearn"] = lambda: ours.predict(query, return_std=True)
    calls["scikit-learn"] = lambda: theirs.predict(query, return_std=True)
    for mine, other in zip(calls["fastard.sklearn"](), calls["scikit-learn"](), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0.0, atol=1e-8)
    return calls


def _batch(n, d, q):
    """Mean and standard deviation at q points, and as many flops as they take, n^2 q, by numpy.dot."""
    model = model_of(make_problem(n, d))()
    queries = np.random.default_rng(1).standard_normal((q, d))
    A, B = np.random.default_rng(0).standard_normal((2, n, n))
    return {"fastard": lambda: model.predict(queries, return_std=True), "numpy.dot": lambda: A @ B}


def _best(calls, n, total_seconds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # variances that rounding made 0
        for call in calls.values():
            call()
        return best_times({name: Contestant(call).burst for name, call in calls.items()}, n, total_seconds)


class OneQuery:
    """One point with its standard deviation, and the gradients of both: microseconds."""

    params = (["fastard", "fastard, gradients", "fastard.sklearn", "scikit-learn"], _QUERY_SIZES)
    param_names = ("implementation", "(n, d)")
    unit = "us"

    def setup(self, implementation, size):
        self.calls = _one_query(*size)
        if implementation not in self.calls:
            raise NotImplementedError("scikit-learn is not installed")

    def track_time(self, implementation, size):
        return 1e6 * _best({implementation: self.calls[implementation]}, size[0], 1.0)[implementation]


class Batch:
    """Mean and standard deviation of many points, over n^2 q flops at numpy.dot's rate."""

    params = (_BATCHES,)
    param_names = ("(n, d, q)",)
    unit = "ratio"

    def track_time_over_flops(self, size):
        n, _, q = size
        best = _best(_batch(*size), n, 5.0)
        return best["fastard"] / (best["numpy.dot"] * q / (2.0 * n))


def main():
    """The command line."""
    print(f"{describe_machine()}, scikit-learn {version('scikit-learn')}", end="\n\n", flush=True)
    rows = []
    for n, d in _QUERY_SIZES:
        best = _best(_one_query(n, d), n, 5.0)
        rows.append([f"{n} x {d}", *(f"{1e6 * seconds:.1f}" for seconds in best.values())])
    print(markdown(["one query, us", *best], rows), end="\n\n", flush=True)
    rows = []
    for n, d, q in _BATCHES:
        best = _best(_batch(n, d, q), n, 5.0)
        floor = best["numpy.dot"] * q / (2.0 * n)
        cells = f"{1e3 * best['fastard']:.2f}", f"{1e3 * floor:.2f}", f"{best['fastard'] / floor:.2f}"
        rows.append([f"{n} x {d}, {q} queries", *cells])
    print(markdown(["mean and standard deviation", "fastard, ms", "n^2 q flops, ms", "ratio"], rows))


if __name__ == "__main__":
    main()
