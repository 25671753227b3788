"""What a call costs right after another one, when someone's threads may still spin, and after a pause, when ours sleep."""

import random

import numpy as np

from benchmarks import blas, timing
from benchmarks.children import Child
from benchmarks.implementations import fastard
from benchmarks.problems import make_problem
from benchmarks.threads import CORES
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


# One evaluation after each pause, in a process of its own. A worker whose thread's number is 0 is not moved.
_AFTER_PAUSES = """
import ctypes, sys, time
import numpy as np
import fastard
from fastard._numba import threads

rng = np.random.default_rng(0)
X, y = rng.standard_normal(({n}, 8)), rng.standard_normal({n})
objective = fastard.LogMarginalLikelihood(X, y, n_threads={threads})
for _ in range(3):
    objective(np.zeros(10))
time.sleep(0.1)
slot = threads._pool[1]
while slot and not {moves}:
    ctypes.c_int64.from_address(slot + 8 * threads.THREAD).value = 0
    slot = ctypes.c_int64.from_address(slot + 8 * threads.FOLLOWING).value
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(float(line))
    start = time.perf_counter()
    objective(np.zeros(10))
    print(time.perf_counter() - start, flush=True)
"""


class FirstAfterPause:
    """The first evaluation after a pause, when the second thread has to be woken: medians, in turns of random order."""

    params = ([250, 500, 1000],)
    param_names = ("n",)
    timeout = 600
    unit = "ratio"

    def setup(self, n):
        if CORES == 1:
            raise NotImplementedError("one core")
        self.n, self.children = n, {}

    def teardown(self, *_):
        for child in self.children.values():
            child.close()

    def ratio(self, name, other):
        settings = {"one": (1, True), "left": (2, False), "moved": (2, True)}
        for each in (name, other):
            threads, moves = settings[each]
            self.children[each] = Child(_AFTER_PAUSES.format(n=self.n, threads=threads, moves=moves))
        times = {name: [], other: []}
        wait = timing.PAUSE_SECONDS if timing.EFFORT > 0.0 else 0.0
        for _ in range(repeats(200)):
            for who in random.sample(list(times), 2):
                times[who].append(float(self.children[who].ask(str(wait))))
        return float(np.median(times[name]) / np.median(times[other]))

    def track_first_after_pause(self, n):
        """With a worker that is moved to another core than the caller's, over one that wakes where the system puts it."""
        return self.ratio("moved", "left")

    def track_two_threads_over_one(self, n):
        return self.ratio("moved", "one")
