"""The thread pool of the compiled loops: how many threads there are, how they are woken, and how they share a call.

The pool is our own: threads that sleep inside compiled code, on a lock, without the GIL. The caller wakes them before it has
its arguments ready (`wake_workers`) and enters a compiled function that does not hold the GIL (`parallel_call`), which passes
its own arguments on to them (`dispatch`); then all take tasks from one atomic counter. Claiming workers, offering them the
call, taking part in it and waiting until they have left it is one compiled call: no line of Python runs meanwhile, so no
KeyboardInterrupt, nor whatever else a signal raises, loses a worker or leaves one at work on arrays that Python may free. No
OpenMP or TBB runs anywhere, so nothing spins after a call beside BLAS's threads, no threading layer changes a result, several
Python threads may call at once, and a forked child (which has no threads but its own) makes a new pool. The caller never waits
for a worker that has not come: it does all the tasks itself if need be, and waits only for those that a worker has begun.

Linux on a virtual machine wakes a sleeping thread on the core of the thread that wakes it, although another core is idle: to
its scheduler a halted virtual core looks occupied. Both would then share one core for tens of milliseconds, so a worker that
was last seen on the caller's core is moved to another one first (benchmarks.stalls.FirstAfterPause, docs/design/engine.md).
"""

import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from types import BuiltinFunctionType, ModuleType
from typing import Any

import numpy as np
from llvmlite import binding as llvm
from numba import config, get_num_threads, typeof, types
from numba.np.ufunc import parallel

from fastard._limits import cpu_quota, physical_cores
from fastard._numba.atomics import (
    address_of,
    atomic_load,
    atomic_store,
    call_again,
    compare_exchange,
    fetch_add,
    nanoseconds,
    never_inline,
    pause,
    sleep,
    this_core,
    yield_processor,
)
from fastard._numba.jit import jit, part

# Places in a job's `state`, an int64 array, zeros at the start; those that all threads write are 64 bytes apart. FAILED is not
# 0 where the job cannot be finished: ABORTED after an exception, or what the job itself writes there. POOL is the address of
# the first slot of the pool, until the function has passed its arguments on to at most WORKERS workers.
NEXT, POOL, WORKERS, FAILED = 0, 8, 9, 16

STATE = 24  # further places are the job's own

ABORTED = -1

STOPPED = -2  # FAILED, where the caller wants no more of it

STAGE = 11  # of a watched call, whose caller may end it before it has begun

_WAITING, _UNDER_WAY, _ENDED, _GIVEN_UP = 0, 1, 2, 3

_NO_TASK = 1 << 40  # NEXT, where there are no more tasks to be had

# Places in a worker's slot, an int64 array that lives as long as the worker. FOLLOWING leads to all slots made before and
# never changes; what follows FUNCTION is written by who has claimed the worker, and MASK by who has set MOVING.
STATUS, ASLEEP, CORE, MOVING, SPIN, LOCK, FOLLOWING, THREAD = 0, 8, 16, 24, 25, 26, 27, 28

FUNCTION, ARGUMENTS, FAILURE, NEXT_CLAIMED = 32, 33, 34, 35

MASK, _MASK_WORDS = 40, 16

ENVIRONMENT, _ENVIRONMENT_WORDS = MASK + _MASK_WORDS, 8

_SLOT = ENVIRONMENT + _ENVIRONMENT_WORDS

FREE, CLAIMED, OFFERED, TAKEN, DONE = 0, 1, 2, 3, 4  # STATUS: the worker itself makes TAKEN of OFFERED, and DONE of that

_MOST_PER_CORE = 4  # more threads than that only wait

_SPINS = 1000  # looks at what another thread is to do, some 10 to 50 microseconds, before the core is offered to others

_PATIENCE = 400_000  # nanoseconds of offering it; no chain of tasks is longer, and whoever has not come by then has no core

_LONGEST_SLEEP = 500  # microseconds

_MOST_LOOKS = 4000  # of a woken worker, where no clock can be asked

_WATCH_EVERY = 0.1  # seconds from one look at a long call to the next

_acquire_lock = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))

_release_lock = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))


def default_threads() -> int:
    """As many as the process may use of the machine's cores, a core's second thread not counted: the units that multiply and
    the first caches are one core's. Where Numba has been told another number (``numba.set_num_threads``, NUMBA_NUM_THREADS),
    as many as that, if there are so many."""
    # Asking Numba starts its own threads, unless they have been started: who has set a number has done so.
    wanted = get_num_threads() if getattr(parallel, "_is_initialized", False) else int(config.NUMBA_NUM_THREADS)
    if wanted != int(config.NUMBA_DEFAULT_NUM_THREADS):  # somebody has chosen it
        return max(1, min(wanted, available_cores()))
    return max(1, min(wanted, available_cores(), physical_cores(_affinity())))


def available_cores() -> int:
    """The cores that this process may run on at present, or a container's quota of their time, rounded up."""
    cores, quota = len(_affinity()), cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _as_python_starts(name: str) -> ModuleType:
    """A built-in module without what gevent or eventlet have put into it: their threads are coroutines."""
    spec = BuiltinImporter.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Its start_new_thread is one step; an interrupt inside threading.Thread.start becomes a KeyError.
_thread: Any = _as_python_starts("_thread")


def _threads_are_coroutines() -> bool:
    """Whether Python's own locks belong to gevent or eventlet: then threads of ours had better not run Python."""
    import _thread as current

    return not isinstance(current.start_new_thread, BuiltinFunctionType)


@part
def next_task(state):  # type: ignore[no-untyped-def]
    """The number of a task that nobody else has."""
    return fetch_add(address_of(state) + 8 * NEXT, 1)


@part
def reset(state, pool, workers):  # type: ignore[no-untyped-def]
    """A job's state for another job with the same workers; one that its caller has given up ends at its first task."""
    here = address_of(state)
    for place in range(state.size):
        if place != STAGE and place != FAILED and place != NEXT:
            state[place] = 0
    state[POOL], state[WORKERS] = pool, workers
    atomic_store(here + 8 * FAILED, 0)  # before the look at STAGE: `_leave` writes them in the opposite order
    atomic_store(here + 8 * NEXT, 0)
    if atomic_load(here + 8 * STAGE) == _GIVEN_UP:
        _stop(here)


@part
def _stop(here):  # type: ignore[no-untyped-def]
    """No further task of the job whose state is at that address."""
    atomic_store(here + 8 * FAILED, STOPPED)
    atomic_store(here + 8 * NEXT, _NO_TASK)


@part
def _rest(turns, since):  # type: ignore[no-untyped-def]
    """Between two looks at what another thread is to do, after so many; ``since`` is what the last call returned, 0 at first.

    Spins, then offers the core to others. To offer it is not enough where the system gives it to whom it owes most time, which
    may be a waiter: after _PATIENCE it sleeps, each time for an eighth of what it has waited.
    """
    never_inline()
    if turns < _SPINS:
        pause()
        return 0
    now = nanoseconds()
    if since == 0:
        since = now
    if now - since < _PATIENCE:
        yield_processor()
    else:
        sleep(min((now - since) // 8000, _LONGEST_SLEEP))
    return since


@part
def wait_for(place, value, failed):  # type: ignore[no-untyped-def]
    """Until the counter at address ``place`` has reached ``value``, or the one at ``failed`` is not 0."""
    never_inline()
    turns, since = 0, 0
    while atomic_load(place) < value and atomic_load(failed) == 0:
        since = _rest(turns, since)
        turns += 1


@part
def _wake(slot):  # type: ignore[no-untyped-def]
    if compare_exchange(slot + 8 * ASLEEP, 1, 0):
        _release_lock(atomic_load(slot + 8 * LOCK))


if sys.platform == "linux":
    _get_affinity = types.ExternalFunction("sched_getaffinity", types.int32(types.int32, types.intp, types.intp))
    _set_affinity = types.ExternalFunction("sched_setaffinity", types.int32(types.int32, types.intp, types.intp))

    @part
    def _wake_elsewhere(slot):  # type: ignore[no-untyped-def]
        """Wakes the worker on another core than this one, where it may run on another: it moves, and stays there when it may
        be anywhere again. A sandbox may forbid that, and there may be more cores than the mask holds; then just wakes it."""
        core, thread, mask, size = this_core(), atomic_load(slot + 8 * THREAD), slot + 8 * MASK, 8 * _MASK_WORDS
        if thread > 0 and atomic_load(slot + 8 * CORE) == core >= 0 and compare_exchange(slot + 8 * MOVING, 0, 1):
            if core < 8 * size and _get_affinity(thread, size, mask) == 0:
                word, bit = mask + 8 * (core // 64), 1 << core % 64
                allowed = atomic_load(word)
                atomic_store(word, allowed & ~bit)
                if allowed & bit and _set_affinity(thread, size, mask) == 0:  # fails where no other core is left
                    atomic_store(slot + 8 * CORE, -1)  # until it says which
                    _wake(slot)
                    atomic_store(word, allowed)
                    _set_affinity(thread, size, mask)
            atomic_store(slot + 8 * MOVING, 0)
        _wake(slot)

else:
    _wake_elsewhere = _wake

# The rounding mode, and whether denormal numbers count, are each thread's own: a worker takes its caller's.
if llvm.address_of_symbol("fegetenv") and llvm.address_of_symbol("fesetenv"):
    _get_environment = types.ExternalFunction("fegetenv", types.int32(types.intp))
    _set_environment = types.ExternalFunction("fesetenv", types.int32(types.intp))
else:

    @part
    def _get_environment(place):  # type: ignore[no-untyped-def]
        return -1

    _set_environment = _get_environment


@jit(nogil=False)
def wake(slot, workers):  # type: ignore[no-untyped-def]
    """Microseconds of work: to have the GIL back may take longer."""
    while slot != 0 and workers > 0:
        if atomic_load(slot + 8 * STATUS) == FREE:
            atomic_store(slot + 8 * SPIN, 1)
            _wake_elsewhere(slot)
            workers -= 1
        slot = atomic_load(slot + 8 * FOLLOWING)


@part
def dispatch(state, call):  # type: ignore[no-untyped-def]
    """Makes ``call``, which ``repeat_call`` packed, here and on the workers that are free; returns when all have left it."""
    never_inline()
    function, arguments = call
    failed = address_of(state) + 8 * FAILED
    slot, workers, claimed = state[POOL], state[WORKERS], 0
    state[POOL] = 0  # before anyone is in: whoever makes the call again dispatches nothing
    while slot != 0 and workers > 0:
        if compare_exchange(slot + 8 * STATUS, FREE, CLAIMED):
            atomic_store(slot + 8 * FUNCTION, function)
            atomic_store(slot + 8 * ARGUMENTS, arguments)
            atomic_store(slot + 8 * FAILURE, failed)
            atomic_store(slot + 8 * NEXT_CLAIMED, claimed)
            _get_environment(slot + 8 * ENVIRONMENT)
            atomic_store(slot + 8 * SPIN, 0)  # nothing spins once the call has returned
            atomic_store(slot + 8 * STATUS, OFFERED)
            _wake(slot)
            claimed = slot
            workers -= 1
        slot = atomic_load(slot + 8 * FOLLOWING)
    if call_again(function, arguments) != 0:
        atomic_store(failed, ABORTED)  # workers that wait for a task of ours wait no longer
    while claimed != 0:
        slot, claimed = claimed, atomic_load(claimed + 8 * NEXT_CLAIMED)
        if compare_exchange(slot + 8 * STATUS, OFFERED, CLAIMED):
            atomic_store(slot + 8 * CORE, this_core())  # it did not come: as a rule it stands in line behind this thread
        else:
            turns, since = 0, 0
            while atomic_load(slot + 8 * STATUS) != DONE:
                since = _rest(turns, since)
                turns += 1
        atomic_store(slot + 8 * STATUS, FREE)


@jit
def _worker_loop(here):  # type: ignore[no-untyped-def]
    """What a worker does for ever: sleep, and take part in the call it is offered."""
    while True:
        turns, since = 0, 0
        while atomic_load(here + 8 * STATUS) != OFFERED and atomic_load(here + 8 * SPIN) and turns < _MOST_LOOKS:
            if since != 0 and nanoseconds() - since >= _PATIENCE:
                break
            since = _rest(turns, since)
            turns += 1
        if compare_exchange(here + 8 * STATUS, OFFERED, TAKEN):
            _set_environment(here + 8 * ENVIRONMENT)
            if call_again(atomic_load(here + 8 * FUNCTION), atomic_load(here + 8 * ARGUMENTS)) != 0:
                atomic_store(atomic_load(here + 8 * FAILURE), ABORTED)
            atomic_store(here + 8 * STATUS, DONE)  # from here on the caller may be gone, and what it had lent
            continue
        atomic_store(here + 8 * CORE, this_core())
        atomic_store(here + 8 * ASLEEP, 1)
        # An offer made before ASLEEP was set released no lock; one made after it did, and the lock is free at once.
        if atomic_load(here + 8 * STATUS) != OFFERED or not compare_exchange(here + 8 * ASLEEP, 1, 0):
            _acquire_lock(atomic_load(here + 8 * LOCK), 1)
        atomic_store(here + 8 * CORE, this_core())


def _worker_main(slot: Any) -> None:
    slot[THREAD] = _thread.get_native_id()
    _worker_loop(slot.ctypes.data)  # for ever; this frame keeps the slot


# Python's own locks, for code without the GIL: they are what every system has.
_allocate_lock = ctypes.pythonapi.PyThread_allocate_lock

_allocate_lock.restype = ctypes.c_void_p

_take_lock = ctypes.pythonapi.PyThread_acquire_lock

_take_lock.argtypes = [ctypes.c_void_p, ctypes.c_int]

_free_lock = ctypes.pythonapi.PyThread_free_lock

_free_lock.argtypes = [ctypes.c_void_p]

_pool = (0, 0)  # how many workers there are, and the address of the last one's slot


def _forget() -> None:
    global _pool
    _pool = (0, 0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _spawn_workers(workers: int) -> None:
    """Without a lock, which an interrupt might leave locked, and which a signal's handler that calls us might hold already."""
    global _pool
    need_the_compiler()
    workers = min(workers, _MOST_PER_CORE * available_cores() - 1)
    while _pool[0] < workers:
        _worker_loop.compile((types.int64,))  # not on the worker: Numba's lock may be gevent's or eventlet's
        before = _pool
        lock = _allocate_lock()
        if not lock:
            return
        _take_lock(lock, 1)
        slot = np.zeros(_SLOT, dtype=np.int64)
        slot[LOCK], slot[CORE], slot[FOLLOWING] = lock, -1, before[1]
        try:
            _thread.start_new_thread(_worker_main, (slot,))
        except RuntimeError:  # the system or the container gives no more threads: fewer will do
            _free_lock(lock)
            return
        # Where another thread was faster, ours sleeps for ever, unknown to all; so it does after an interrupt just here.
        if _pool is before:
            _pool = before[0] + 1, slot.ctypes.data


def wake_workers(threads: int) -> int:
    """Wake ``threads - 1`` workers for a `parallel_call` within some 200 microseconds: by then they are awake.

    Returns the address of the first slot, or 0.
    """
    if _pool[0] < threads - 1:
        _spawn_workers(threads - 1)
    first = _pool[1]
    if first:
        wake(first, threads - 1)
    return first


def parallel_call(threads: int, function: Callable[..., Any], state: Any, *arguments: Any) -> None:
    """Run the compiled ``function(state, *arguments)`` here and on up to ``threads - 1`` workers that are free, until all have
    left it.

    The function begins by ``if state[POOL]: dispatch(state, repeat_call()); return``, takes tasks by ``next_task(state)``, and
    where a task waits for others, it waits by ``wait_for``.
    """
    if threads > 1:
        state[POOL], state[WORKERS] = wake_workers(threads), threads - 1
    function(state, *arguments)
    assert state[POOL] == 0, "the function has dispatched nothing"
    if state[FAILED] == ABORTED:
        raise MemoryError("no memory for a thread's scratch")


@jit
def _begin(state):  # type: ignore[no-untyped-def]
    """Whether a watched call may begin: nobody has given it up."""
    return compare_exchange(address_of(state) + 8 * STAGE, _WAITING, _UNDER_WAY)


@jit
def _leave(state):  # type: ignore[no-untyped-def]
    """Ends a watched call, at its next task where it is under way, and returns when all have left it.

    Compiled, because it must not be cut short: a signal's handler, who may raise, runs when Python goes on.
    """
    here = address_of(state)
    if not compare_exchange(here + 8 * STAGE, _WAITING, _ENDED):
        if compare_exchange(here + 8 * STAGE, _UNDER_WAY, _GIVEN_UP):
            _stop(here)
        while atomic_load(here + 8 * STAGE) == _GIVEN_UP:
            sleep(_LONGEST_SLEEP)


def parallel_call_watched(
    threads: int, function: Callable[..., Any], state: Any, *arguments: Any, watch: Callable[[Any], None] | None = None
) -> None:
    """`parallel_call` for one that takes long: Ctrl-C and the handlers of signals are answered meanwhile.

    The call is made on a thread of its own, while this one sleeps and calls ``watch(state)`` now and then. Whatever is raised
    here meanwhile ends the call at its next task, and is raised when all threads have left it.
    """
    if _threads_are_coroutines():
        parallel_call(threads, function, state, *arguments)
        return
    compiled: Any = function
    compiled.compile(tuple(typeof(argument) for argument in (state, *arguments)))  # here, where it can be interrupted
    for own in (_begin, _leave):
        own.compile((typeof(state),))
    end = _thread.allocate_lock()
    end.acquire()
    errors: list[BaseException] = []

    def job() -> None:
        if _begin(state):
            try:
                parallel_call(threads, function, state, *arguments)
            except BaseException as error:  # for the caller to raise
                errors.append(error)
            state[STAGE] = _ENDED
            end.release()

    refused = False
    try:
        try:
            try:
                _thread.start_new_thread(job, ())
            except RuntimeError:  # no more threads to be had
                refused = True
            while not refused and state[STAGE] != _ENDED:
                if not end.acquire(timeout=_WATCH_EVERY) and watch is not None:
                    watch(state)
        finally:
            _leave(state)
    finally:  # where another interrupt came before that
        _leave(state)
    if refused:
        parallel_call(threads, function, state, *arguments)
    elif errors:
        raise errors.pop()


def thread_map(threads: int, count: int, function: Callable[[Iterator[int]], None], each: int = 1) -> None:
    """Run a function of Python here and on ``threads - 1`` threads made for it, or as many of them as there are to be had.

    They share the numbers below ``count``, ``function``'s argument; after an exception nobody is given another one. Their
    parallel calls are made on ``each`` threads, for which there are workers enough.
    """
    if threads > 1 and _pool[0] < threads * (each - 1):
        _spawn_workers(threads * (each - 1))
    numbers = iter(range(count))  # next() on it is indivisible
    errors: list[BaseException] = []

    def stop() -> None:
        for _ in numbers:
            pass

    def job(done: Any) -> None:
        try:
            function(numbers)
        except BaseException as error:  # for the caller to raise
            errors.append(error)
            stop()
        finally:
            done.release()

    others = []
    if _threads_are_coroutines():
        threads = 1
    try:
        for _ in range(threads - 1):
            done = _thread.allocate_lock()
            done.acquire()
            try:
                _thread.start_new_thread(job, (done,))
            except RuntimeError:
                break
            others.append(done)
        function(numbers)
    finally:
        stop()
        for done in others:
            done.acquire()
    if errors:
        raise errors[0]


def new_state(places: int = 0) -> Any:
    """A job's state, with so many places of its own."""
    need_the_compiler()
    return np.zeros(STATE + places, dtype=np.int64)


def need_the_compiler() -> None:
    """Raise the error of a process that has none."""
    if config.DISABLE_JIT:
        raise RuntimeError("fastard is compiled code and cannot run under NUMBA_DISABLE_JIT=1; unset it")
