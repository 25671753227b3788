"""Threads: one evaluation, and the O(n^2 d) loops alone, on one thread and on more."""

import os
from functools import partial

import numpy as np

import fastard
from benchmarks import implementations
from benchmarks.blas import limited_to
from benchmarks.problems import make_problem
from benchmarks.timing import Contestant, ratio_of_best

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
_SIZES = [(100, 5), (250, 5), (500, 10), (1000, 10), (2000, 20), (4000, 20)]


def _evaluation(problem, n_threads):
    return implementations.fastard(problem, n_threads)


def _covariance(problem, n_threads):
    """Fills a new matrix at each call: its pages, which one thread gets from the system, are part of it."""
    scales, signal, _, _ = problem.natural
    return partial(fastard.covariance, problem.X, length_scale=scales, signal_variance=signal, n_threads=n_threads)


def _covariance_vjp(problem, n_threads):
    """The fused product, profile computed anew; allocates nothing of size n^2."""
    scales, signal, _, _ = problem.natural
    Q = np.random.default_rng(0).standard_normal((problem.y.size,) * 2)
    return partial(fastard.covariance_vjp, Q, problem.X, length_scale=scales, signal_variance=signal, n_threads=n_threads)


_WORK = {"evaluation": _evaluation, "covariance": _covariance, "covariance_vjp": _covariance_vjp}


def contestant(work, problem, n_threads):
    """The work on so many threads of fastard's and of BLAS's."""
    return Contestant(_WORK[work](problem, n_threads), partial(limited_to, n_threads))


class Threads:
    """Times by thread count."""

    params = (list(_WORK), _SIZES[1:-1], [1, 2, 4, 8, 16])
    param_names = ("work", "(n, d)", "threads")
    timeout = 300

    def setup(self, work, size, n_threads):
        if n_threads > CORES:
            raise NotImplementedError("more threads than cores")
        call, surroundings = contestant(work, make_problem(*size), n_threads)
        self.call, self.surroundings = call, surroundings()
        self.surroundings.__enter__()
        self.call()

    def teardown(self, *_):
        self.surroundings.__exit__(None, None, None)

    def time_work(self, *_):
        self.call()


class ThreadScaling:
    """All cores over one thread, in turns; below 1 somewhere would be a size at which threads hurt."""

    params = (list(_WORK), _SIZES)
    param_names = ("work", "(n, d)")
    timeout = 300
    unit = "times faster"

    def setup(self, work, size):
        if CORES == 1:
            raise NotImplementedError("one core")
        problem = make_problem(*size)
        self.one, self.all = contestant(work, problem, 1), contestant(work, problem, CORES)

    def track_speedup_of_all_cores(self, work, size):
        return ratio_of_best(self.one, self.all, size[0])

    def track_speedup_of_two_threads(self, work, size):
        return ratio_of_best(self.one, contestant(work, make_problem(*size), 2), size[0])
