"""A mean with coefficients: an evaluation with a linear one over one without."""

import numpy as np

import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

_SIZES = [(100, 5), (500, 10), (1000, 10), (2000, 20)]


class LinearMean:
    """RBF, value and gradient, p = d + 1 coefficients: O(n^2 p) beside n^3."""

    params = (_SIZES, ["ml", "reml"])
    param_names = ("(n, d)", "estimation")
    timeout = 300
    unit = "ratio"

    def track_time_over_zero_mean(self, size, estimation):
        problem = make_problem(*size)
        H = np.column_stack([np.ones(size[0]), problem.X])
        without = fastard.LogMarginalLikelihood(problem.X, problem.y)
        linear = fastard.LogMarginalLikelihood(problem.X, problem.y, basis=H, mean_estimation=estimation)
        theta = problem.theta
        return ratio_of_best(Contestant(lambda: linear(theta)), Contestant(lambda: without(theta)), size[0])
