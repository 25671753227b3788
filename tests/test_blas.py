"""BLAS is limited to one thread while SciPy's optimiser runs, and then as it was."""

import os
import threading

import pytest
from conftest import data, run_python

import fastard
from fastard._blas import one_blas_thread

threadpoolctl = pytest.importorskip("threadpoolctl")
import scipy.linalg  # noqa: E402, F401  # so that BLAS is loaded


def blas_threads():
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def test_inside_and_after():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
        with one_blas_thread():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_of_two_threads_inside_the_first_gives_it_back():
    before = blas_threads()
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        assert entered.wait(60)
    assert blas_threads() == before
    leave.set()
    thread.join()
    assert blas_threads() == before
    with one_blas_thread():
        assert set(blas_threads()) == {1}


def test_after_an_error():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert blas_threads() == before


def test_training_limits_it_and_gives_it_back():
    X, y = data(30, 2)
    before, seen = blas_threads(), []
    fastard.fit(X, y, max_iterations=3, callback=lambda state: seen.append(blas_threads()))
    assert {1} == {count for counts in seen for count in counts}
    assert blas_threads() == before


def test_training_without_threadpoolctl():
    script = """
import sys
sys.modules["threadpoolctl"] = None
import numpy as np, fastard
X = np.linspace(0.0, 1.0, 20)[:, None]
print(fastard.fit(X, np.sin(5.0 * X[:, 0])).converged)
"""
    assert run_python(script).strip() in ("True", "False")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_threads():
    before = blas_threads()
    with one_blas_thread():
        child = os.fork()
        if child == 0:
            after = blas_threads()
            with one_blas_thread():
                inside = blas_threads()
            os._exit(0 if after == before and set(inside) == {1} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
