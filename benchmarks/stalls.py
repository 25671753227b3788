"""Without pauses: what a call costs right after another one, when someone's threads may still spin or sleep."""

import numpy as np

from benchmarks import blas
from benchmarks.implementations import fastard
from benchmarks.problems import make_problem
from benchmarks.timing import repeats, seconds


def _p95_over_median(call):
    times = [seconds(call) for _ in range(repeats(500))]
    return float(np.quantile(times, 0.95) / np.median(times))


def _slowdown(call, stranger):
    """Median time of ``call`` just after ``stranger`` over that just after itself, in alternating pairs."""
    after_itself, after_stranger = [], []
    for _ in range(repeats(100)):
        for times, before in ((after_itself, call), (after_stranger, stranger)):
            before()
            times.append(seconds(call))
    return float(np.median(after_stranger) / np.median(after_itself))


class Stalls:
    """Each figure is a ratio; the p95s belong side by side, since a noisy machine raises both."""

    params = ([300, 1000],)
    param_names = ("n",)
    timeout = 300
    unit = "ratio"

    def setup(self, n):
        self.evaluate = fastard(make_problem(n, 8))
        self.product = blas.product(n)
        self.lapack = blas.factor_and_invert(n)
        for call in (self.evaluate, self.product, self.lapack):
            call()

    def track_p95_over_median(self, n):
        return _p95_over_median(self.evaluate)

    def track_lapack_p95_over_median(self, n):
        return _p95_over_median(self.lapack)

    def track_product_after_evaluation(self, n):
        return _slowdown(self.product, self.evaluate)

    def track_evaluation_after_product(self, n):
        return _slowdown(self.evaluate, self.product)
