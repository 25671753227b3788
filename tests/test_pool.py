"""The pool when something goes wrong: nobody waits for ever, and the next call is served as ever."""

import threading
import time

import numpy as np
import pytest
from conftest import data

import fastard
from fastard import _threads


def fails_on_a_helper(state, came):
    if threading.current_thread() is threading.main_thread():
        came.wait(10.0)
        return
    came.set()
    raise MemoryError("no scratch")


def fails_on_the_caller(state, left):
    if threading.current_thread() is threading.main_thread():
        raise MemoryError("no scratch")
    while state[_threads.FAILED] == 0:
        time.sleep(0.001)
    left.set()


def test_an_error_on_a_helper_is_the_callers():
    for _ in range(3):  # the helper lives on
        with pytest.raises(MemoryError, match="no scratch"):
            _threads.share(2, fails_on_a_helper, _threads.new_state(), threading.Event())


def test_an_error_on_the_caller_ends_the_helpers_wait():
    with pytest.raises(MemoryError, match="no scratch"):
        _threads.share(2, fails_on_the_caller, _threads.new_state(), threading.Event())


def test_the_pool_serves_afterwards():
    X, y = data(300, 4)
    objective = fastard.LogMarginalLikelihood(X, y, n_threads=2)
    theta = np.zeros(6)
    expected = objective(theta)
    test_an_error_on_a_helper_is_the_callers()
    test_an_error_on_the_caller_ends_the_helpers_wait()
    found = objective(theta)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


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
