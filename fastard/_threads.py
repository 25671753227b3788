"""Who computes: how many threads, and the pool that they come from.

The pool is our own: ordinary Python threads, asleep on a queue, that enter the same GIL-free compiled function as the
caller and share out its tiles by an atomic counter. No OpenMP or TBB runs anywhere, so nothing spins after a call beside
BLAS's threads, no threading layer changes a result, several Python threads may call at once, and a forked child (which
has no threads but its own) makes a new pool. The caller never waits for a helper that has not come: it does all the tiles
itself if need be, and waits only for the tiles that a helper has begun.
"""

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config

from fastard._jit import atomic_load, fetch_add, jit

_lock = threading.Lock()
_inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
_threads = 0


def default_threads() -> int:
    """As many as Numba would use (NUMBA_NUM_THREADS) and the process may run on."""
    return max(1, min(int(config.NUMBA_NUM_THREADS), available_cores()))


def available_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _help(inbox: Any) -> None:
    while True:
        function, arguments = inbox.get()
        function(*arguments)
        del function, arguments  # the arrays must not live until the next task


def _forget() -> None:
    global _lock, _inbox, _threads
    _lock, _inbox, _threads = threading.Lock(), queue.SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _enlist(helpers: int) -> None:
    global _threads
    with _lock:
        while _threads < helpers:
            threading.Thread(target=_help, args=(_inbox,), name=f"fastard-{_threads + 1}", daemon=True).start()
            _threads += 1


@jit
def _finish(state: Any, tasks: int) -> None:
    """Hand out no more tasks, and wait for those in a helper's hands."""
    begun = min(fetch_add(state, 0, tasks), tasks)
    while atomic_load(state, 1) < begun:
        pass


def share(function: Callable[..., Any], tasks: int, threads: int, *arguments: Any) -> None:
    """Run ``function(state, *arguments)`` on up to ``threads`` threads, until its ``tasks`` tasks are done.

    The function takes tasks by ``fetch_add(state, 0, 1)`` and reports each as done by ``fetch_add(state, 1, 1)``.
    """
    if config.DISABLE_JIT:
        raise RuntimeError("fastard is compiled code and can not run under NUMBA_DISABLE_JIT=1; unset it")
    state = np.zeros(16, dtype=np.int64)
    threads = min(threads, tasks)
    if threads == 1:
        function(state, *arguments)
        return
    _enlist(threads - 1)
    try:
        for _ in range(threads - 1):
            _inbox.put((function, (state, *arguments)))
        function(state, *arguments)
    finally:  # also after Ctrl-C: no helper may touch the arrays once we have returned
        _finish(state, tasks)
