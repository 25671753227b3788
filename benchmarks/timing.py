"""Fair clocks: contestants take turns in one run, and no one's spinning threads slow the next one."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

BURST_SECONDS = 0.02  # long enough for 100 calls at n = 100, short enough to take many turns
_LEAST_ROUNDS = 5
# 0 takes one turn each and does not wait: whether it runs, not how fast. Between 0 and 1, less time.
EFFORT = float(os.environ.get("FASTARD_BENCHMARK_EFFORT", "1"))


class Contestant(NamedTuple):
    """What is timed, and the surroundings (a limit on BLAS's threads, say) that are entered outside the clock."""

    call: Callable[[], Any]
    surroundings: Callable[[], AbstractContextManager[Any]] = nullcontext

    def burst(self) -> float:
        """One turn."""
        with self.surroundings():
            return best_of_burst(self.call)


def seconds(call: Callable[[], Any]) -> float:
    """One call's time."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def best_of_burst(call: Callable[[], Any], burst_seconds: float = BURST_SECONDS) -> float:
    """The fastest of as many calls in a row as fit; at least two where the first's waking of threads and caches counts."""
    end = time.perf_counter() + burst_seconds
    best = seconds(call)
    if best < 10.0 * burst_seconds:
        best = min(best, seconds(call))
    while time.perf_counter() < end:
        best = min(best, seconds(call))
    return best


def repeats(usual: int) -> int:
    """How often to repeat what is usually repeated so often."""
    return max(2, int(EFFORT * usual))


PAUSE_SECONDS = 0.15  # until OpenMP's and BLAS's workers have stopped spinning and sleep: OpenBLAS's still spin after 100 ms


def pause(n: int) -> None:
    """So long that nobody's threads spin any more."""
    if EFFORT > 0.0:
        time.sleep(PAUSE_SECONDS)


def best_times(bursts: dict[str, Callable[[], float]], n: int, total_seconds: float) -> dict[str, float]:
    """The fastest of many turns for each name; a turn is a function that returns the best time of one burst."""
    best = dict.fromkeys(bursts, float("inf"))
    end = time.perf_counter() + EFFORT * total_seconds
    rounds = 0
    while rounds < (_LEAST_ROUNDS if EFFORT > 0.0 else 1) or time.perf_counter() < end:
        for name, burst in bursts.items():
            pause(n)
            best[name] = min(best[name], burst())
        rounds += 1
    return best


def ratio_of_best(ours: Contestant, theirs: Contestant, n: int, total_seconds: float = 5.0) -> float:
    """Our best time over theirs, both compiled and warm before the clock starts."""
    for contestant in (ours, theirs):
        contestant.burst()
    best = best_times({"ours": ours.burst, "theirs": theirs.burst}, n, total_seconds)
    return best["ours"] / best["theirs"]
