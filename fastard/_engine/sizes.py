"""Constants that were tuned on a machine, and what is decided by them: tiles, threads, what is watched."""

from collections.abc import Callable
from typing import Any

from fastard._numba.threads import rouse, share, share_watched

# Below so many points one thread does all: waking a second takes 30 to 60 microseconds, an evaluation at n = 160 takes 350.
_SHARED_FROM = 160

# For a loop over pairs alone: pairs times dimensions.
_SERIAL_PAIRS = 300_000

# From so many flops on, a tenth of a second or more, Ctrl-C is answered meanwhile; that costs 0.1 ms.
_WATCHED_FROM = 8e9

PAIR_FLOPS = 4.0  # of a pair of points and a dimension, roughly

Watch = Callable[[float], None]  # called with how much of something is done, from 0 to 1


def sizes(n: int) -> tuple[int, int]:
    """Tile and block: the tasks are updates of tile x tile elements with depth block, the columns of a step of the sweep.

    CPU time on one thread over n^3 flops at one-thread dgemm's rate, whole evaluation: n = 100: (48, 48) 4.45, (24, 24) 4.8;
    n = 250: (72, 72) 1.78, (48, 48) 1.80 and more even tasks; n = 500: (72, 72) 1.40, (96, 96) 1.46, (48, 48) 1.53;
    n = 1000: (96, 96) 1.24, (72, 72) 1.28, (96, 192) 1.24; n = 2000: (96, 192) 1.10, (96, 96) 1.14, (72, 72) 1.2;
    n = 4000: (96, 192) 1.10, (96, 288) 1.13, (120, 240) 1.16. From n = 2000 on, Z (n x block) must fit a tenth of the matrix.
    """
    if n < 350:
        return 48, 48
    if n < 700:
        return 72, 72
    if n < 2000:
        return 96, 96
    if n < 2600:
        return 120, 120
    if n < 3400:
        return 72, 144
    return 96, 192


def evaluation_threads(n: int, threads: int) -> int:
    """``threads``, or 1 where n^3 flops are too few to share."""
    return threads if n >= _SHARED_FROM else 1


def announce(n: int, threads: int) -> None:
    """An evaluation follows at once: helpers wake up while Python prepares it."""
    if evaluation_threads(n, threads) > 1:
        rouse(threads)


def threads_for(work: int, threads: int) -> int:
    """``threads``, or 1 where a loop's work (pairs times dimensions) is too small to share."""
    return threads if work >= _SERIAL_PAIRS else 1


def run(flops: float, threads: int, function: Callable[..., Any], state: Any, *arguments: Any, watch: Any = None) -> None:
    """`share`, or `share_watched` where it takes so long that somebody may want to interrupt it."""
    if flops < _WATCHED_FROM:
        share(threads, function, state, *arguments)
    else:
        share_watched(threads, function, state, *arguments, watch=watch)
