"""The pool when something goes wrong: nobody waits for ever, and the next call is served as ever."""

import threading

import numpy as np
import pytest
from conftest import data
from numba import njit

import fastard
from fastard import _threads
from fastard._microkernel import address_of, atomic_load, atomic_store, repeat_call
from fastard._threads import ARGUMENTS, CREW, FAILED, STATE, hand_out, wait_for

NEVER = 1 << 60


@njit(nogil=True)
def fails_on_a_helper(state):
    came, failed = address_of(state) + 8 * STATE, address_of(state) + 8 * FAILED
    if state[CREW]:
        hand_out(state, repeat_call(state[CREW] + 8 * ARGUMENTS))
        wait_for(came, NEVER, failed)
        return
    atomic_store(came, 1)
    raise MemoryError("no scratch")


@njit(nogil=True)
def fails_on_the_caller(state):
    came, failed = address_of(state) + 8 * STATE, address_of(state) + 8 * FAILED
    if state[CREW]:
        hand_out(state, repeat_call(state[CREW] + 8 * ARGUMENTS))
        wait_for(came, 1, failed)
        raise MemoryError("no scratch")
    atomic_store(came, 1)
    wait_for(came, NEVER, failed)
    atomic_store(came, 2)


def test_an_error_on_a_helper_is_the_callers():
    for _ in range(3):  # the helper lives on
        with pytest.raises(MemoryError, match="no memory for the scratch"):
            _threads.share(2, fails_on_a_helper, _threads.new_state(1))


def test_an_error_on_the_caller_ends_the_helpers_wait():
    state = _threads.new_state(1)
    with pytest.raises(MemoryError, match="no scratch"):
        _threads.share(2, fails_on_the_caller, state)
    assert state[STATE] == 2  # it has left when we return


def test_an_error_in_python_on_a_helper_is_the_callers():
    came = threading.Event()

    def fails():
        if threading.current_thread() is threading.main_thread():
            came.wait(10.0)
            return
        came.set()
        raise KeyError("helper")

    for _ in range(3):
        came.clear()
        with pytest.raises(KeyError, match="helper"):
            _threads.together(2, fails)


def test_an_error_in_python_on_the_caller():
    def fails():
        if threading.current_thread() is threading.main_thread():
            raise KeyError("caller")

    for _ in range(3):
        with pytest.raises(KeyError, match="caller"):
            _threads.together(2, fails)


@njit(nogil=True)
def sums(state, first, second, scale, third):
    if state[CREW]:
        hand_out(state, repeat_call(state[CREW] + 8 * ARGUMENTS))
    task = _threads.next_task(state)
    while task < second.size:
        third[task] += scale * (first[task // 7, task % 7] + second[task])
        task = _threads.next_task(state)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_every_task_is_done_once(n_threads):
    first, second = np.arange(7000.0).reshape(1000, 7), np.arange(7000.0)
    for _ in range(200):
        third = np.zeros(7000)
        _threads.share(n_threads, sums, _threads.new_state(), first, second, 0.5, third)
        np.testing.assert_array_equal(third, second)


def test_no_one_is_asked_twice_or_lost():
    """Several threads share at once; afterwards every helper is back and asleep or about to be."""

    def work():
        for _ in range(100):
            third = np.zeros(700)
            _threads.share(3, sums, _threads.new_state(), np.ones((100, 7)), np.ones(700), 0.5, third)
            np.testing.assert_array_equal(third, 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_threads._idle) == len(set(_threads._idle)) == _threads._helpers
    assert all(atomic(helper.address) == _threads.NOTHING for helper in _threads._idle)


@njit
def atomic(address):
    return atomic_load(address)


def test_the_pool_serves_afterwards():
    X, y = data(300, 4)
    objective = fastard.LogMarginalLikelihood(X, y, n_threads=2)
    theta = np.zeros(6)
    expected = objective(theta)
    test_an_error_on_a_helper_is_the_callers()
    test_an_error_on_the_caller_ends_the_helpers_wait()
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

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(_threads, "_helpers", 0)
    X, y = data(300, 4)
    value = fastard.log_marginal_likelihood(X, y, length_scale=1.0, n_threads=7)
    assert value == fastard.log_marginal_likelihood(X, y, length_scale=1.0, n_threads=1)


def test_an_objective_whose_turn_never_ends():
    """As a fork leaves it in the child while another thread evaluates."""
    X, y = data(60, 3)
    objective = fastard.LogMarginalLikelihood(X, y)
    expected = objective(np.zeros(5))
    with objective._turn:
        found = objective(np.zeros(5))
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
