"""Many parameter vectors at once: a batch beside a loop of single evaluations."""

from functools import partial

import numpy as np

import fastard
from benchmarks.blas import limited_to
from benchmarks.problems import make_problem
from benchmarks.threads import CORES
from benchmarks.timing import Contestant, ratio_of_best


class Batches:
    """Throughput of ``objective.batch`` over that of a loop whose evaluations run on one thread, and on all."""

    params = ([(100, 5), (300, 8), (1000, 10)], [4, 16])
    param_names = ("(n, d)", "thetas")
    timeout = 300
    unit = "times faster"

    def setup(self, size, count):
        if not hasattr(fastard.LogMarginalLikelihood, "batch"):
            raise NotImplementedError("this fastard has no batches")
        problem = make_problem(*size)
        self.thetas = problem.theta + 0.1 * np.random.default_rng(0).standard_normal((count, problem.theta.size))
        self.build = partial(fastard.LogMarginalLikelihood, problem.X, problem.y)
        batch = self.build().batch
        self.batch = Contestant(lambda: batch(self.thetas))

    def loop(self, threads):
        objective = self.build(n_threads=threads)
        return Contestant(lambda: [objective(theta) for theta in self.thetas], partial(limited_to, threads))

    def track_speedup_over_loop_on_one_thread(self, size, count):
        return ratio_of_best(self.loop(1), self.batch, size[0])

    def track_speedup_over_loop_on_all_threads(self, size, count):
        return ratio_of_best(self.loop(CORES), self.batch, size[0])
