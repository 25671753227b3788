"""Who computes: how many threads, and the pool that they come from.

The pool is our own: ordinary Python threads, asleep on a queue, that enter the same GIL-free compiled function as the
caller and take tasks from one atomic counter. No OpenMP or TBB runs anywhere, so nothing spins after a call beside BLAS's
threads, no threading layer changes a result, several Python threads may call at once, and a forked child (which has no
threads but its own) makes a new pool. The caller never waits for a helper that has not come: it does all the tasks itself
if need be, and waits only for those that a helper has begun.
"""

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config

from fastard._jit import jit
from fastard._microkernel import address_of, atomic_load, atomic_store, fetch_add, never_inline, pause, yield_processor

# Places in a job's `state`, an int64 array, zeros at the start; those that all threads write are 64 bytes apart. FAILED is not
# 0 where the job cannot be finished: ABORTED after an exception, or what the job itself writes there.
NEXT, FINISHED, INSIDE, FAILED = 0, 8, 16, 24
STATE = 32  # further places are the job's own
ABORTED = -1
_MOST_PER_CORE = 4  # more threads than that only wait

_SPINS = 200  # turns of waiting, some 10 microseconds, before the processor is offered to others

_lock = threading.Lock()
_jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
_helpers = 0


def default_threads() -> int:
    """As many as Numba would use (NUMBA_NUM_THREADS) and the process may run on."""
    return max(1, min(int(config.NUMBA_NUM_THREADS), available_cores()))


def available_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@jit
def enter(state):  # type: ignore[no-untyped-def]
    """Whether the job is still open: a helper that wakes too late may not touch its arrays."""
    here = address_of(state)
    fetch_add(here + 8 * INSIDE, 1)
    if atomic_load(here + 8 * FINISHED) != 0:
        fetch_add(here + 8 * INSIDE, -1)
        return False
    return True


@jit
def next_task(state):  # type: ignore[no-untyped-def]
    """The number of a task that nobody else has."""
    return fetch_add(address_of(state) + 8 * NEXT, 1)


@jit
def leave(state):  # type: ignore[no-untyped-def]
    """What this thread has written is done."""
    fetch_add(address_of(state) + 8 * INSIDE, -1)


@jit
def wait_for(place, value, failed):  # type: ignore[no-untyped-def]
    """Until the counter at address ``place`` has reached ``value``, or the one at ``failed`` is not 0."""
    never_inline()
    turns = 0
    while atomic_load(place) < value and atomic_load(failed) == 0:
        pause()
        turns += 1
        if turns > _SPINS:
            yield_processor()


@jit
def _close(state):  # type: ignore[no-untyped-def]
    """No helper begins any more; those inside are waited for."""
    here = address_of(state)
    atomic_store(here + 8 * FINISHED, 1)
    turns = 0
    while atomic_load(here + 8 * INSIDE) > 0:
        pause()
        turns += 1
        if turns > _SPINS:
            yield_processor()


def _help(jobs: Any) -> None:
    while True:
        job = jobs.get()
        try:
            function, state, arguments, errors = job.pop()
        except IndexError:  # the caller is done, and has taken the job back
            continue
        if enter(state):
            try:
                function(state, *arguments)
            except BaseException as error:  # for the caller to raise: this thread goes on
                errors.append(error)
                state[FAILED] = ABORTED
            finally:
                leave(state)
        del function, state, arguments, errors  # the arrays must not live until the next job


def _forget() -> None:
    global _lock, _jobs, _helpers
    _lock, _jobs, _helpers = threading.Lock(), queue.SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _enlist(helpers: int) -> None:
    global _helpers
    with _lock:
        while _helpers < helpers:
            helper = threading.Thread(target=_help, args=(_jobs,), name=f"fastard-{_helpers + 1}", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the system or the container gives no more threads: fewer will do
                return
            _helpers += 1


def share(threads: int, function: Callable[..., Any], state: Any, *arguments: Any) -> None:
    """Run ``function(state, *arguments)`` here and on up to ``threads - 1`` helpers that are free, until all have left it.

    The function takes tasks by ``next_task(state)``; where a task waits for others, it waits by ``wait_for``.
    """
    if threads == 1:
        function(state, *arguments)
        return
    if _helpers < threads - 1:
        threads = min(threads, _MOST_PER_CORE * available_cores())
        _enlist(threads - 1)
    handed_out: list[list[Any]] = []
    errors: list[BaseException] = []
    try:
        for _ in range(threads - 1):
            job = [(function, state, arguments, errors)]
            handed_out.append(job)
            _jobs.put(job)
        function(state, *arguments)
    except BaseException:
        state[FAILED] = ABORTED  # helpers that wait for a task of ours wait no longer
        raise
    finally:  # also after Ctrl-C: no helper may touch the arrays once we have returned
        _close(state)
        for job in handed_out:
            job.clear()
    if errors:
        raise errors[0]


def new_state(places: int = 0) -> Any:
    """A job's state, with so many places of its own."""
    if config.DISABLE_JIT:
        raise RuntimeError("fastard is compiled code and can not run under NUMBA_DISABLE_JIT=1; unset it")
    return np.zeros(STATE + places, dtype=np.int64)
