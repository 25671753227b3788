"""Outputs with variances of their own: an evaluation with them over one where the outputs share the variances."""

import numpy as np

import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

_SIZES = [(50, 5), (500, 10), (1000, 10), (2000, 20)]


class OwnVariances:
    """RBF, value and gradient, m outputs of different scales: a contraction of its own beside n^3."""

    params = (_SIZES, [1, 8])
    param_names = ("(n, d)", "m")
    timeout = 300
    unit = "ratio"

    def track_time_over_shared_variances(self, size, outputs):
        problem = make_problem(*size)
        noise = np.random.default_rng(0).standard_normal((size[0], outputs))
        y = (problem.y[:, None] + 0.1 * noise) * 10.0 ** np.arange(outputs)
        shared, own = (fastard.LogMarginalLikelihood(problem.X, y) for _ in range(2))
        own.own_variances = True
        theta = problem.theta
        return ratio_of_best(Contestant(lambda: own(theta)), Contestant(lambda: shared(theta)), size[0])
