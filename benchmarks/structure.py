"""Known structure: the contraction skips fixed length scales, and needs no loop over dimensions for isotropic ones."""

import numpy as np

from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, best_times
from fastard._objectives.likelihood import LogMarginalLikelihood


class FixedLengthScales:
    """One evaluation on one thread by how many of the length scales are free, or one parameter."""

    params = ([(300, 50), (1000, 50), (1000, 200)],)
    param_names = ("(n, d)",)
    timeout = 300
    unit = "ratio"

    def setup(self, size):
        n, d = size
        problem = make_problem(n, d)
        objective = LogMarginalLikelihood(problem.X, problem.y, n_threads=1)
        natural = problem.natural
        given = (natural.length_scale, natural.signal_variance, natural.noise_variance, objective.kernel)

        def burst(**which):
            return Contestant(lambda: objective.evaluate(*given, gradient=True, **which)).burst

        bursts = {name: burst(free=np.arange(d) < free) for name, free in [("none", 0), ("half", d // 2), ("all", d)]}
        bursts["isotropic"] = burst(tied=True)
        for name in bursts:
            bursts[name]()
        self.best = best_times(bursts, n, total_seconds=8.0)

    def track_none_free_over_all_free(self, size):
        return self.best["none"] / self.best["all"]

    def track_isotropic_over_all_free(self, size):
        return self.best["isotropic"] / self.best["all"]

    def track_half_of_them_over_all_of_them(self, size):
        """Of the time that the derivatives by length scales take."""
        return (self.best["half"] - self.best["none"]) / max(self.best["all"] - self.best["none"], 1e-9)
