"""The pool when something goes wrong: nobody waits for ever, and the next call is served as ever."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import data
from helpers import at_opcode, interrupt
from numba import njit, types

import fastard
from fastard._numba import threads as _threads
from fastard._numba.atomics import address_of, atomic_load, atomic_store, fetch_add, pause, repeat_call
from fastard._numba.threads import FAILED, POOL, STATE, dispatch, wait_for

NEVER = 1 << 60
CALLER, CAME, LEFT = STATE, STATE + 1, STATE + 2
thread_ident = types.ExternalFunction("PyThread_get_thread_ident", types.int64())


@njit(nogil=True)
def fails(state, on_the_caller):
    """Of two threads one fails, while the other waits for what it will never do."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    came, failed = address_of(state) + 8 * CAME, address_of(state) + 8 * FAILED
    fetch_add(came, 1)
    wait_for(came, 2, failed)
    if (thread_ident() == state[CALLER]) == on_the_caller:
        raise MemoryError("no scratch")
    wait_for(came, NEVER, failed)
    atomic_store(address_of(state) + 8 * LEFT, 1)


@pytest.mark.parametrize("on_the_caller", [False, True])
def test_an_error_in_compiled_code_is_the_callers(on_the_caller):
    for _ in range(3):  # the worker lives on
        state = _threads.new_state(3)
        state[CALLER] = threading.get_ident()
        with pytest.raises(MemoryError, match="no memory for a thread's scratch"):
            _threads.parallel_call(2, fails, state, on_the_caller)
        assert state[LEFT] == 1  # the other has left when we return


def test_an_error_in_python_on_a_helper_is_the_callers():
    came = threading.Event()

    def fails(numbers):
        if threading.current_thread() is threading.main_thread():
            came.wait(10.0)
            return
        came.set()
        raise KeyError("worker")

    for _ in range(3):
        came.clear()
        with pytest.raises(KeyError, match="worker"):
            _threads.thread_map(2, 2, fails)


def test_an_error_in_python_on_the_caller():
    def fails(numbers):
        if threading.current_thread() is threading.main_thread():
            raise KeyError("caller")

    for _ in range(3):
        with pytest.raises(KeyError, match="caller"):
            _threads.thread_map(2, 2, fails)


@njit(nogil=True)
def sums(state, first, second, scale, third):
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    task = _threads.next_task(state)
    while task < second.size:
        third[task] += scale * (first[task // 7, task % 7] + second[task])
        task = _threads.next_task(state)


@njit(nogil=True)
def alone(state):
    pass


def test_a_function_that_dispatches_nothing_is_noticed():
    with pytest.raises(AssertionError, match="dispatched nothing"):
        _threads.parallel_call(2, alone, _threads.new_state())


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_every_task_is_done_once(n_threads):
    first, second = np.arange(7000.0).reshape(1000, 7), np.arange(7000.0)
    for _ in range(200):
        third = np.zeros(7000)
        _threads.parallel_call(n_threads, sums, _threads.new_state(), first, second, 0.5, third)
        np.testing.assert_array_equal(third, second)


@njit
def atomic(address):
    return atomic_load(address)


def places(place):
    """What stands there in the slots of all workers."""
    slot, found = _threads._pool[1], []
    while slot:
        found.append(atomic(slot + 8 * place))
        slot = atomic(slot + 8 * _threads.FOLLOWING)
    return found


def parallel_call_once(threads=2, n=700):
    third = np.zeros(n)
    _threads.parallel_call(threads, sums, _threads.new_state(), np.ones((n // 7, 7)), np.ones(n), 0.5, third)
    np.testing.assert_array_equal(third, 1.0)


def test_no_one_is_asked_twice_or_lost():
    """Several threads share at once; afterwards every worker is free."""

    def work():
        for _ in range(100):
            parallel_call_once(3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places(_threads.STATUS) == [_threads.FREE] * _threads._pool[0]


def is_interrupted(call, opcode):
    """Whether a KeyboardInterrupt before that opcode of the pool's Python code meets `call`, rather than its end."""
    try:
        at_opcode(opcode, call, interrupt, (_threads.__file__,))
    except KeyboardInterrupt:
        return True
    return False


def watched_call_once(n=700):
    third = np.zeros(n)
    _threads.parallel_call_watched(2, sums, _threads.new_state(), np.ones((n // 7, 7)), np.ones(n), 0.5, third)
    np.testing.assert_array_equal(third, 1.0)


@pytest.mark.parametrize(
    ("call", "first"),
    [
        (watched_call_once, False),
        (parallel_call_once, False),
        (parallel_call_once, True),
        (lambda: _threads.wake_workers(2), False),
        (lambda: _threads.thread_map(2, 2, list), False),
    ],
    ids=["watched call", "call", "first call", "wake workers", "thread map"],
)
def test_an_interrupt_at_any_moment(call, first):
    """Whatever line of Python Ctrl-C stops: every worker is free, and a next call is served."""
    parallel_call_once()
    opcode, interrupted = 0, True
    while interrupted:
        if first:
            _threads._forget()
        interrupted = is_interrupted(call, opcode)
        opcode += 1
        assert all(status == _threads.FREE for status in places(_threads.STATUS))
    assert opcode > 10
    assert not hasattr(os, "sched_getaffinity") or set(affinities()) == {frozenset(os.sched_getaffinity(0))}
    parallel_call_once()
    test_an_error_in_compiled_code_is_the_callers(False)  # that needs a worker


@njit(nogil=True)
def stops_late(state):
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    atomic_store(address_of(state) + 8 * CAME, 1)
    while atomic_load(address_of(state) + 8 * FAILED) == 0:
        pause()
    for _ in range(5_000_000):
        pause()
    atomic_store(address_of(state) + 8 * LEFT, 1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer")
def test_another_interrupt_while_a_watched_call_ends():
    """Ctrl-C twice: the second one neither loses the threads that still write, nor is lost."""
    raised = []

    def handler(*_):
        raised.append(KeyError(len(raised)))
        if len(raised) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        raise raised[-1]

    def watch(state):
        if state[CAME]:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

    state = _threads.new_state(3)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(KeyError) as caught:
            _threads.parallel_call_watched(2, stops_late, state, watch=watch)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert state[LEFT] == 1
    assert len(raised) == 2
    assert caught.value is raised[1]


@njit(nogil=True)
def begins_again(state, turns):
    state[POOL] = 0
    while atomic_load(address_of(state) + 8 * FAILED) == 0 and turns[0] < 300_000_000:
        turns[0] += 1
        _threads.reset(state, 0, 0)


def test_an_interrupt_between_two_jobs_of_a_call_is_not_lost():
    """The second job's state is set back to zeros, and with it what ends the first."""
    turns = np.zeros(1, dtype=np.int64)

    def watch(_):
        raise KeyError

    with pytest.raises(KeyError):
        _threads.parallel_call_watched(1, begins_again, _threads.new_state(), turns, watch=watch)
    assert 0 < turns[0] < 300_000_000


def affinities():
    return [frozenset(os.sched_getaffinity(thread)) for thread in places(_threads.THREAD)]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no such thing")
def test_a_helper_on_our_core_may_be_anywhere_afterwards():
    test_an_error_in_compiled_code_is_the_callers(False)  # a worker is there, and has run
    before = set(affinities())
    for core in os.sched_getaffinity(0):
        for _ in range(5):
            slot = _threads._pool[1]
            while slot:
                store(slot + 8 * _threads.CORE, core)  # as if it stood in line behind us
                slot = atomic(slot + 8 * _threads.FOLLOWING)
            parallel_call_once(4)
    assert set(affinities()) == before


@njit
def store(address, value):
    atomic_store(address, value)


def test_nothing_spins_after_a_call():
    """Nor after one that never comes: CPU time of the whole process while it sleeps."""
    parallel_call_once(4)
    for call in (lambda: parallel_call_once(4), lambda: _threads.wake_workers(4)):
        call()
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.02


def test_the_pool_serves_afterwards():
    X, y = data(300, 4)
    objective = fastard.LogMarginalLikelihood(X, y, n_threads=2)
    theta = np.zeros(6)
    expected = objective(theta)
    test_an_error_in_compiled_code_is_the_callers(False)
    test_an_error_in_compiled_code_is_the_callers(True)
    test_an_error_in_python_on_a_helper_is_the_callers()
    found = objective(theta)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


def test_python_goes_on_during_one_evaluation():
    """The compiled code holds no GIL: `fit` can draw its progress, and Python's other threads work."""
    X, y = data(1500, 4)
    objective = fastard.LogMarginalLikelihood(X, y)
    objective(np.zeros(6))
    turns, stop = [0], threading.Event()

    def tick():
        while not stop.wait(0.001):
            turns[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        before = turns[0]
        objective(np.zeros(6))  # 100 ms or more
        during = turns[0] - before
    finally:
        stop.set()
        thread.join()
    assert during >= 5


def test_no_more_threads_to_be_had(monkeypatch):
    """A container's limit, say: the caller does the work."""

    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_threads._thread, "start_new_thread", refuse)
    _threads._forget()
    X, y = data(300, 4)
    value = fastard.log_marginal_likelihood(X, y, length_scale=1.0, n_threads=7)
    assert value == fastard.log_marginal_likelihood(X, y, length_scale=1.0, n_threads=1)


def test_an_interrupted_objective_goes_on():
    """A buffer may be lost; nothing is locked for ever."""
    X, y = data(60, 3)
    objective = fastard.LogMarginalLikelihood(X, y)
    expected = objective(np.zeros(5))
    assert len(objective._last) == 1
    objective._last.clear()
    found = objective(np.zeros(5))
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert objective.release().shape == (60, 60)
    with pytest.raises(RuntimeError, match="no matrix to release"):
        objective.release()
