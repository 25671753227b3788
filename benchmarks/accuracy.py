"""How many digits of the gradient and of the value each implementation gets right, against 80-bit arithmetic."""

import numpy as np

from benchmarks import longdouble
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.problems import KERNELS, make_problem


class Accuracy:
    """The noise variance sets the condition number: 1e4, 1e8 and 1e12 for the smooth kernels."""

    params = (list(IMPLEMENTATIONS), list(KERNELS), [1e-2, 1e-6, 1e-10])
    param_names = ("implementation", "kernel", "noise_variance")
    timeout = 300
    unit = "relative error"

    def setup(self, implementation, kernel, noise_variance):
        if not longdouble.IS_LONGER:
            raise NotImplementedError("long double is float64 here")
        self.problem = make_problem(200, 3, kernel, noise_variance)
        self.evaluate = IMPLEMENTATIONS[implementation](self.problem)

    def track_gradient_relative_error(self, *_):
        gradient = self.evaluate()[1]
        truth = longdouble.reference(self.problem)[1]
        return float(np.linalg.norm((gradient - truth).astype(np.float64)) / np.linalg.norm(truth.astype(np.float64)))

    def track_value_relative_error(self, *_):
        truth = longdouble.reference(self.problem)[0]
        return float(abs((self.evaluate()[0] - truth) / truth))
