"""Constants that were tuned on one machine, and what is decided by them: tiles, threads, which calls are watched.

To tune another machine, change one constant and run the benchmark named beside it. The figures that the values rest on are in
docs/design/engine.md. These are part of compiled code, and therefore stand where they are used:

    _numba/cpu.py           SHAPES, SMALL            python -m benchmarks.limits
    _numba/microkernel.py   UNROLL                   python -m benchmarks.limits
    _numba/threads.py       _SPINS, _PATIENCE        benchmarks.stalls.Stalls
    loops/sweep.py          PANEL_DEPTH                    benchmarks.accuracy.Accuracy, python -m benchmarks.limits
    loops/schedule.py       _TWO_BUFFERS_BELOW       benchmarks.memory.Memory, python -m benchmarks.limits
    loops/pairs.py          _ACROSS                  benchmarks.threads.Threads (covariance), fit.Predict
    loops/loo.py            DEPTH                    benchmarks.leave_one_out.LeaveOneOut
    loops/hessian.py        _DEPTH, _TASK            benchmarks.uncertainty.StandardErrors
"""

import math
from collections.abc import Callable
from typing import Any

from fastard._numba.cpu import ROWS, SMALL
from fastard._numba.threads import parallel_call, parallel_call_watched, wake_workers

# Below so many points one thread does all: waking a second costs more than it saves. benchmarks.threads.ThreadScaling
_SHARED_FROM = 160

# The same for a loop over pairs alone: pairs times dimensions. benchmarks.threads.ThreadScaling (covariance, covariance_vjp)
_SERIAL_PAIRS = 300_000

# Predictions: multiply-adds from which they are shared, queries of a task in units of SMALL, and up to how many queries the
# factor is read as it stands, not packed for a microkernel that takes ROWS at a time. python -m benchmarks.predictions
_SHARED_PREDICTIONS, _MOST_QUERIES, _FEW_QUERIES = 1e6, 4, ROWS // 4

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

PAIR_FLOPS = 4.0  # of a pair of points and a dimension, roughly

Watch = Callable[[float], None]  # called with how much of something is done, from 0 to 1


def sizes(n: int) -> tuple[int, int]:
    """Tile and block: the tasks are updates of tile x tile elements with depth block, the columns of a step of the sweep."""
    return next((tile, block) for below, tile, block in _TILES if n < below)


def evaluation_threads(n: int, threads: int) -> int:
    """``threads``, or 1 where n^3 flops are too few to share."""
    return threads if n >= _SHARED_FROM else 1


def announce(n: int, threads: int) -> None:
    """An evaluation follows at once: workers wake up while Python prepares it."""
    if evaluation_threads(n, threads) > 1:
        wake_workers(threads)


def threads_for(work: int, threads: int) -> int:
    """``threads``, or 1 where a loop's work (pairs times dimensions) is too small to share."""
    return threads if work >= _SERIAL_PAIRS else 1


def prediction_plan(q: int, work: float, threads: int) -> tuple[int, int, bool]:
    """Of predictions at q points that take so many multiply-adds: threads, the points of a task, and whether they are few."""
    threads = threads if work >= _SHARED_PREDICTIONS else 1
    return threads, SMALL * min(_MOST_QUERIES, -(-q // (SMALL * threads))), q <= _FEW_QUERIES


def run(flops: float, threads: int, function: Callable[..., Any], state: Any, *arguments: Any, watch: Any = None) -> None:
    """`parallel_call`, or `parallel_call_watched` where it takes so long that somebody may want to interrupt it."""
    if flops < _WATCHED_FROM:
        parallel_call(threads, function, state, *arguments)
    else:
        parallel_call_watched(threads, function, state, *arguments, watch=watch)
