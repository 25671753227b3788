"""What a trained model does beside predicting: taking more points in, drawing functions, and gradients of predictions."""

import numpy as np

import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

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
