"""Leave-one-out: one matrix of weights for all parameters, against a product of matrices for each."""

import numpy as np

import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

_SIZES = [(100, 5), (500, 10), (1000, 20), (2000, 20)]


def parameter_by_parameter(problem):
    """Value and gradient as Rasmussen & Williams write (5.13): Z = K^-1 dK for every parameter, 2 n^3 flops each."""
    X, y, given = problem.X, problem.y, problem.natural

    def evaluate():
        k = fastard.covariance(X, length_scale=given.length_scale, signal_variance=given.signal_variance)
        B = np.linalg.inv(k + given.noise_variance * np.eye(y.size))
        alpha, b = B @ y, B.diagonal()
        value = 0.5 * np.sum(np.log(b / (2.0 * np.pi)) - alpha**2 / b)
        columns = [k * ((x[:, None] - x) / scale) ** 2 for x, scale in zip(X.T, given.length_scale, strict=True)]
        gradient = []
        for derivative in [*columns, k, given.noise_variance * np.eye(y.size)]:
            Z = B @ derivative
            terms = alpha * (Z @ alpha) - 0.5 * (1.0 + alpha**2 / b) * np.einsum("jk,kj->j", Z, B)
            gradient.append(np.sum(terms / b))
        return value, np.array(gradient)

    return evaluate


def ours(problem, function=fastard.loo_log_predictive_density):
    given = problem.parameters
    return lambda: function(problem.X, problem.y, **given, kernel=problem.kernel, eval_gradient=True)


class LeaveOneOut:
    """RBF; 2 n^3 flops where the marginal likelihood takes n^3, and the plain way 2 n^3 a parameter."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "ratio"

    def track_time_over_marginal_likelihood(self, size):
        problem = make_problem(*size)
        other = ours(problem, fastard.log_marginal_likelihood)
        return ratio_of_best(Contestant(ours(problem)), Contestant(other), size[0])

    def track_speedup_over_parameter_by_parameter(self, size):
        problem = make_problem(*size)
        mine, plain = ours(problem), parameter_by_parameter(problem)
        np.testing.assert_allclose(mine()[1], plain()[1], rtol=1e-6)
        return ratio_of_best(Contestant(plain), Contestant(mine), size[0])
