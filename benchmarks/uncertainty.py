"""Standard errors: the exact Hessian and the average information, beside evaluations of the gradient."""

import warnings

from benchmarks.predictions import model_of
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best
from fastard._objectives.likelihood import LogMarginalLikelihood

_SIZES = [(100, 5), (500, 10), (1000, 10), (2000, 20)]


class StandardErrors:
    """All parameters free."""

    params = (_SIZES,)
    param_names = ("(n, d)",)
    timeout = 600
    unit = "ratio"

    def setup(self, size):
        problem = make_problem(*size)
        model = model_of(problem)()
        model._slots[:] = range(size[1] + 2)
        self.model = model
        objective = LogMarginalLikelihood(problem.X, problem.y)
        steps = [problem.theta + step for step in [-1e-5, 1e-5] * problem.theta.size]
        self.differences = lambda: [objective(theta) for theta in steps]
        self.evaluation = lambda: objective(problem.theta)

    def standard_errors(self, method):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these are no trained parameters
            self.model.standard_errors(method)

    def track_exact_over_differences_of_gradients(self, size):
        """Two evaluations a parameter, n^3 flops each, against n^3 for one exact column."""
        exact = Contestant(lambda: self.standard_errors("exact"))
        return ratio_of_best(exact, Contestant(self.differences), size[0])

    def track_average_information_over_one_evaluation(self, size):
        average = Contestant(lambda: self.standard_errors("average_information"))
        return ratio_of_best(average, Contestant(self.evaluation), size[0])
