"""Who computes: how many threads, and the pool that they come from.

The pool is our own: ordinary Python threads that sleep inside compiled code, on a lock, without the GIL. The caller wakes
them before it has its arguments ready (`rouse`), enters a GIL-free compiled function (`share`), and that function hands its
own arguments on to them (`hand_out`), so that between waking and working no helper runs a line of Python; then all take tasks
from one atomic counter. No OpenMP or TBB runs anywhere, so nothing spins after a call beside BLAS's threads, no threading
layer changes a result, several Python threads may call at once, and a forked child (which has no threads but its own) makes a
new pool. The caller never waits for a helper that has not come: it does all the tasks itself if need be, and waits only for
those that a helper has begun.

Linux on a virtual machine wakes a sleeping thread on the core of the thread that wakes it, although another core is idle: to
its scheduler a halted virtual core looks occupied. Both then share one core for tens of milliseconds; at n = 250 an
evaluation after a pause took 1.05 ms on two threads, 0.95 on one, and 0.6 where they ran on two cores. So a helper that was
last seen on the caller's core is moved to another one first.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import config, types

from fastard._jit import jit
from fastard._microkernel import (
    MOST_ARGUMENTS,
    address_of,
    atomic_load,
    atomic_store,
    call_again,
    compare_exchange,
    fetch_add,
    never_inline,
    pause,
    this_core,
    yield_processor,
)

# Places in a job's `state`, an int64 array, zeros at the start; those that all threads write are 64 bytes apart. FAILED is not
# 0 where the job cannot be finished: ABORTED after an exception, or what the job itself writes there. CREW is the address of
# the first helper's box, until the function has handed its arguments on.
NEXT, CREW, FAILED = 0, 8, 16
STATE = 24  # further places are the job's own
ABORTED = -1

# Places in a helper's box, an int64 array that lives as long as the helper.
OFFER, ASLEEP, CORE, BELL, FOLLOWING, FUNCTION, SOURCE, STATUS, ARGUMENTS = 0, 8, 16, 24, 25, 26, 27, 28, 32
NOTHING, COMPILED, PYTHON, TAKEN = 0, 1, 2, 3  # what is offered

_MOST_PER_CORE = 4  # more threads than that only wait
_SPINS = 4000  # turns of waiting, some 200 microseconds, before the processor is offered to others
_PATIENCE = 4000  # turns that a helper who was woken waits for the job: a caller with cold caches takes 200 microseconds

_acquire_lock = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))
_release_lock = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))


def default_threads() -> int:
    """As many as Numba would use (NUMBA_NUM_THREADS) and the process may run on."""
    return max(1, min(int(config.NUMBA_NUM_THREADS), available_cores()))


def available_cores() -> int:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@jit
def next_task(state):  # type: ignore[no-untyped-def]
    """The number of a task that nobody else has."""
    return fetch_add(address_of(state) + 8 * NEXT, 1)


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
def _wake(box):  # type: ignore[no-untyped-def]
    if compare_exchange(box + 8 * ASLEEP, 1, 0):
        _release_lock(atomic_load(box + 8 * BELL))


@jit
def _wake_elsewhere(box, wherever):  # type: ignore[no-untyped-def]
    """Wakes the helper, unless it is, or would wake, on the caller's core: then True."""
    if not wherever and atomic_load(box + 8 * CORE) == this_core() >= 0:
        return True
    _wake(box)
    return False


@jit
def hand_out(state, function):  # type: ignore[no-untyped-def]
    """Offers the call that ``repeat_call`` packed in the first helper's box to the whole crew."""
    never_inline()
    first = box = state[CREW]
    state[CREW] = 0  # before anyone else is in: helpers have nobody to call
    while box != 0:
        atomic_store(box + 8 * FUNCTION, function)
        atomic_store(box + 8 * SOURCE, first + 8 * ARGUMENTS)
        atomic_store(box + 8 * STATUS, address_of(state) + 8 * FAILED)
        atomic_store(box + 8 * OFFER, COMPILED)
        _wake(box)
        box = atomic_load(box + 8 * FOLLOWING)


@jit
def _serve(here):  # type: ignore[no-untyped-def]
    """A helper's life: sleep, and do what is offered; returns when that needs Python."""
    patience = 0
    while True:
        offer, turns = atomic_load(here + 8 * OFFER), 0
        while offer == NOTHING and turns < patience:
            pause()
            turns += 1
            offer = atomic_load(here + 8 * OFFER)
        if offer == NOTHING:
            atomic_store(here + 8 * CORE, this_core())
            atomic_store(here + 8 * ASLEEP, 1)
            # An offer made before ASLEEP was set rang no bell; one made after it did, and the lock is free at once.
            if atomic_load(here + 8 * OFFER) == NOTHING or not compare_exchange(here + 8 * ASLEEP, 1, 0):
                _acquire_lock(atomic_load(here + 8 * BELL), 1)
            atomic_store(here + 8 * CORE, this_core())
            patience = _PATIENCE
        elif compare_exchange(here + 8 * OFFER, offer, TAKEN):
            if offer == PYTHON:
                return
            if call_again(atomic_load(here + 8 * FUNCTION), atomic_load(here + 8 * SOURCE)) != 0:
                atomic_store(atomic_load(here + 8 * STATUS), ABORTED)
            atomic_store(here + 8 * OFFER, NOTHING)
            patience = 0  # nothing spins once a call has returned


@jit
def _offer(box, offer):  # type: ignore[no-untyped-def]
    atomic_store(box + 8 * OFFER, offer)
    _wake(box)


@jit
def _dismiss(box):  # type: ignore[no-untyped-def]
    """No helper of the crew begins any more; those at work are waited for."""
    while box != 0:
        if compare_exchange(box + 8 * OFFER, COMPILED, NOTHING) or compare_exchange(box + 8 * OFFER, PYTHON, NOTHING):
            atomic_store(box + 8 * CORE, this_core())  # it did not come: as a rule it stands in line behind this thread
        else:
            turns = 0
            while atomic_load(box + 8 * OFFER) != NOTHING:
                pause()
                turns += 1
                if turns > _SPINS:
                    yield_processor()
        box = atomic_load(box + 8 * FOLLOWING)


@jit
def _core():  # type: ignore[no-untyped-def]
    return this_core()


def _no_job() -> None:
    pass


class _Helper:
    """A thread of the pool."""

    def __init__(self, number: int) -> None:
        self.box = np.zeros(ARGUMENTS + MOST_ARGUMENTS, dtype=np.int64)
        self.address = self.box.ctypes.data
        self.box[BELL] = _new_lock()
        self.box[CORE] = -1
        self.job: Callable[[], None] = _no_job
        self.thread = threading.Thread(target=self._live, name=f"fastard-{number}", daemon=True)
        self.thread.start()

    def _live(self) -> None:
        while True:
            _serve(self.address)
            try:
                self.job()
            finally:
                self.job = _no_job  # what it holds must not live until the next one
                _offer(self.address, NOTHING)

    def wake(self) -> None:
        """Ahead of an offer; on another core than the caller's, where there is one."""
        if not _wake_elsewhere(self.address, False):
            return
        if _lock.acquire(blocking=False):  # two callers would take each other's mask for the usual one
            try:
                thread = self.thread.native_id or 0
                allowed = os.sched_getaffinity(thread)
                others = allowed - {_core()}
                if others:
                    os.sched_setaffinity(thread, others)  # it moves, and stays there when it may be anywhere again
                    self.box[CORE] = -1  # until it says which
                    _wake_elsewhere(self.address, True)
                    os.sched_setaffinity(thread, allowed)
            except OSError:  # a sandbox may forbid it
                pass
            finally:
                _lock.release()
        _wake_elsewhere(self.address, True)


def _new_lock() -> int:
    """One of Python's own locks, taken, for code without the GIL: they are what every system has."""
    allocate = ctypes.pythonapi.PyThread_allocate_lock
    allocate.restype = ctypes.c_void_p
    lock = allocate()
    if not lock:
        raise RuntimeError("no more locks")
    ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
    return int(lock)


_lock = threading.Lock()
_helpers = 0
_idle: list[_Helper] = []  # append and pop are indivisible


def _forget() -> None:
    global _lock, _helpers, _idle
    _lock, _helpers, _idle = threading.Lock(), 0, []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _enlist(helpers: int) -> None:
    global _helpers
    helpers = min(helpers, _MOST_PER_CORE * available_cores() - 1)
    with _lock:
        while _helpers < helpers:
            try:
                helper = _Helper(_helpers + 1)
            except RuntimeError:  # the system or the container gives no more threads: fewer will do
                return
            _helpers += 1
            _idle.append(helper)


def rouse(threads: int) -> None:
    """Wake ``threads - 1`` helpers for a call of `share` that comes within some 200 microseconds: by then they are awake."""
    for helper in _idle[:-threads:-1]:
        helper.wake()


def _gather(crew: list[_Helper], wanted: int) -> int:
    """Up to so many helpers that are free, awake; the address of the first one's box, or 0."""
    if _helpers < wanted:
        _enlist(wanted)
    first = 0
    while len(crew) < wanted:
        try:
            crew.append(_idle.pop())
        except IndexError:  # all are busy for other threads
            break
        helper = crew[-1]
        helper.box[FOLLOWING] = first
        first = helper.address
        helper.wake()
    return first


def _let_go(crew: list[_Helper]) -> None:
    """Back into the pool, once none is at work any more."""
    if crew:
        try:
            _dismiss(crew[-1].address)
            for helper in crew:
                helper.job = _no_job
        finally:
            _idle.extend(crew)


def share(threads: int, function: Callable[..., Any], state: Any, *arguments: Any) -> None:
    """Run the compiled ``function(state, *arguments)`` here and on up to ``threads - 1`` helpers that are free, until all have
    left it.

    The function begins by ``if state[CREW]: hand_out(state, repeat_call(state[CREW] + 8 * ARGUMENTS))``, takes tasks by
    ``next_task(state)``, and where a task waits for others, it waits by ``wait_for``.
    """
    if threads == 1:
        function(state, *arguments)
        return
    crew: list[_Helper] = []
    try:
        state[CREW] = _gather(crew, threads - 1)
        function(state, *arguments)
    except BaseException:
        state[FAILED] = ABORTED  # helpers that wait for a task of ours wait no longer
        raise
    finally:  # also after Ctrl-C: no helper may touch the arrays once we have returned
        _let_go(crew)
    if state[FAILED] == ABORTED:
        raise MemoryError("no memory for the scratch of a further thread")


def together(threads: int, function: Callable[[], None]) -> None:
    """Run a function of Python here and on up to ``threads - 1`` helpers that are free."""
    errors: list[BaseException] = []

    def job() -> None:
        try:
            function()
        except BaseException as error:  # for the caller to raise: the helper lives on
            errors.append(error)

    crew: list[_Helper] = []
    try:
        _gather(crew, threads - 1)
        for helper in crew:
            helper.job = job
            _offer(helper.address, PYTHON)
        function()
    finally:
        _let_go(crew)
    if errors:
        raise errors[0]


def new_state(places: int = 0) -> Any:
    """A job's state, with so many places of its own."""
    if config.DISABLE_JIT:
        raise RuntimeError("fastard is compiled code and can not run under NUMBA_DISABLE_JIT=1; unset it")
    return np.zeros(STATE + places, dtype=np.int64)
