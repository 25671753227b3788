"""Constants that were tuned on one machine, and what is decided by them: tiles, threads, which calls are watched.

To tune another machine, change one constant and run the benchmark named beside it. The figures that the values rest on are in
docs/design/engine.md. These are part of compiled code, and therefore stand where they are used:

    _numba/cpu.py           SHAPES, SMALL            python -m benchmarks.limits
    _numba/microkernel.py   UNROLL                   python -m benchmarks.limits
    _numba/threads.py       _SPINS, _PATIENCE        benchmarks.stalls.Stalls, python -m benchmarks.oversubscription
    loops/sweep.py          PANEL_DEPTH                    benchmarks.accuracy.Accuracy, python -m benchmarks.limits
    loops/pairs.py          _ACROSS                  benchmarks.threads.Threads (covariance), fit.Predict
    loops/loo.py            DEPTH                    benchmarks.leave_one_out.LeaveOneOut
    loops/hessian.py        _DEPTH, _TASK            benchmarks.uncertainty.StandardErrors
"""

import math
from collections.abc import Callable
from typing import Any

from fastard._numba.cpu import ROWS, SMALL
from fastard._numba.threads import available_cores, parallel_call, parallel_call_watched, wake_workers

# Below so many points one thread does all: waking a second costs more than it saves. benchmarks.threads.ThreadScaling
_SHARED_FROM = 160

# Points for each thread: with more threads, more than half of their time would be waiting for the chain of pivots; and points
# for each of those that hardly wait. python -m benchmarks.many_cores
_POINTS_OF_THREAD, _POINTS_OF_BUSY_THREAD = 30, 100

# Several evaluations at once take one thread each below so many points. benchmarks.batches.Batches
_ONE_THREAD_EACH_BELOW = 500

# The same for a loop over pairs alone: pairs times dimensions, from which it is shared, and of each thread.
# benchmarks.threads.ThreadScaling (covariance, covariance_vjp)
_SERIAL_PAIRS, _PAIRS_OF_THREAD = 300_000, 100_000

# Predictions: multiply-adds from which they are shared, and of each thread; queries of a task in units of SMALL, and up to how
# many queries the factor is read as it stands, not packed for a microkernel that takes ROWS at a time.
# python -m benchmarks.predictions
_SHARED_PREDICTIONS, _OF_THREAD, _MOST_QUERIES, _FEW_QUERIES = 1e6, 5e5, 4, ROWS // 4

# From so many flops on (n = 3000), a quarter of a second or more, Ctrl-C is answered meanwhile. No benchmark yet.
_WATCHED_FROM = 2.5e10

# Below so many points: the tile, and the block that is one step's pivot. python -m benchmarks.limits; the last rows also
# benchmarks.memory.Memory, because one step's Z (n x block) must fit a tenth of the matrix.
_TILES = ((350, 48, 48), (700, 72, 72), (2000, 96, 96), (2600, 120, 120), (3400, 72, 144), (math.inf, 96, 192))

# The tile of a product with derivatives alone: three fit the second cache. benchmarks.threads.Threads (covariance_vjp)
PRODUCT_TILE = 96

for _, _tile, _block in (*_TILES, (0, PRODUCT_TILE, PRODUCT_TILE)):
    assert _tile % SMALL == 0, "a tile is whole blocks of the microkernel, whatever the processor's shape"
    assert _block % _tile == 0, "a step's pivot is whole tiles"

# Points from which two buffers for Z would not leave the whole within 1.1 x 8 n^2 bytes (benchmarks.memory.Memory), and cores
# from which it has two nevertheless: between steps their threads would wait (python -m benchmarks.many_cores).
_ONE_BUFFER_FROM, _TWO_BUFFERS_FROM_CORES = 1400, 24

PAIR_FLOPS = 4.0  # of a pair of points and a dimension, roughly

Watch = Callable[[float], None]  # called with how much of something is done, from 0 to 1


def sizes(n: int) -> tuple[int, int]:
    """Tile and block: the tasks are updates of tile x tile elements with depth block, the columns of a step of the sweep."""
    return next((tile, block) for below, tile, block in _TILES if n < below)


def z_buffers(n: int) -> int:
    """Buffers for the panels of a step of the sweep, which change no bit of the result."""
    return 2 if n < _ONE_BUFFER_FROM or available_cores() >= _TWO_BUFFERS_FROM_CORES else 1


def evaluation_threads(n: int, threads: int) -> int:
    """How many of ``threads`` an evaluation takes; 1 where n^3 flops are too few to share."""
    return _at_most(threads, n // _POINTS_OF_THREAD) if n >= _SHARED_FROM else 1


def side_by_side(n: int, count: int, threads: int) -> tuple[int, int]:
    """Of ``count`` evaluations that need nothing of each other: how many are made at a time, and on how many threads each.

    Several, where one alone would keep fewer than ``threads`` busy.
    """
    busy = 1 if n < _ONE_THREAD_EACH_BELOW else n // _POINTS_OF_BUSY_THREAD
    at_a_time = max(1, min(count, threads // busy))
    return at_a_time, evaluation_threads(n, threads // at_a_time)


def _at_most(threads: int, useful: int) -> int:
    """Nor more than there are cores: there may have been more of them when the number was chosen."""
    threads = min(threads, useful)
    return min(threads, available_cores()) if threads > 1 else 1


def announce(n: int, threads: int) -> None:
    """An evaluation follows at once: workers wake up while Python prepares it."""
    threads = evaluation_threads(n, threads)
    if threads > 1:
        wake_workers(threads)


def threads_for(work: int, threads: int) -> int:
    """How many of ``threads`` a loop takes, whose work is so many pairs times dimensions; 1 where it is too small to share."""
    return _at_most(threads, work // _PAIRS_OF_THREAD) if work >= _SERIAL_PAIRS else 1


def prediction_plan(q: int, work: float, threads: int) -> tuple[int, int, bool]:
    """Of predictions at q points that take so many multiply-adds: threads, the points of a task, and whether they are few."""
    threads = _at_most(threads, int(work / _OF_THREAD)) if work >= _SHARED_PREDICTIONS else 1
    return threads, SMALL * min(_MOST_QUERIES, -(-q // (SMALL * threads))), q <= _FEW_QUERIES


def run(flops: float, threads: int, function: Callable[..., Any], state: Any, *arguments: Any, watch: Any = None) -> None:
    """`parallel_call`, or `parallel_call_watched` where it takes so long that somebody may want to interrupt it."""
    if flops < _WATCHED_FROM:
        parallel_call(threads, function, state, *arguments)
    else:
        parallel_call_watched(threads, function, state, *arguments, watch=watch)
