"""BLAS is limited to one thread while SciPy's optimiser runs, and then as it was."""

import os
import threading

import pytest
import scipy.linalg  # noqa: F401  # so that BLAS is loaded
import threadpoolctl
from conftest import run_python
from helpers import at_opcode, interrupt

from fastard import _blas
from fastard._blas import one_blas_thread

pytestmark = pytest.mark.usefixtures("several_blas_threads")


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


def limited():
    return set(blas_threads()) == {1}


def test_a_signal_handler_that_trains_waits_for_nobody():
    """It interrupts its own thread anywhere in the limit's code, at each opcode in turn."""

    def nested():
        with one_blas_thread():
            pass

    before = blas_threads()
    for opcode in range(1000):
        if not at_opcode(opcode, use_once, nested, (_blas.__file__, __file__)):
            break
        assert blas_threads() == before
    assert opcode > 100


def use_once():
    with one_blas_thread():
        pass


def test_an_interrupt_at_any_moment_leaves_no_limit():
    before = blas_threads()
    for opcode in range(1000):
        try:
            if not at_opcode(opcode, use_once, interrupt, (_blas.__file__, __file__)):
                break
        except KeyboardInterrupt:
            pass
        assert blas_threads() == before, opcode
    assert opcode > 100


def test_who_comes_after_an_interrupt_that_is_not_forgotten():
    """An interactive session keeps the last exception, and by it what the interrupt came upon."""
    before, kept = blas_threads(), []
    left_behind = 0
    for opcode in range(1000):
        try:
            if not at_opcode(opcode, use_once, interrupt, (_blas.__file__, __file__)):
                break
        except KeyboardInterrupt as error:
            kept.append(error)
        left_behind += blas_threads() != before
        with one_blas_thread():
            assert limited()
            with one_blas_thread():
                assert limited()
            assert limited()
        assert blas_threads() == before, opcode
        kept.clear()
        assert blas_threads() == before, opcode
    assert opcode > 100
    assert left_behind > 0


def test_a_limit_whose_thread_is_gone_is_taken_over():
    before, kept = blas_threads(), []

    def other():
        kept.append(one_blas_thread())
        kept[0].__enter__()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert limited()
    use_once()
    assert blas_threads() == before
    kept.clear()
    assert blas_threads() == before


def test_many_threads_at_once():
    before, errors = blas_threads(), []

    def work():
        try:
            for _ in range(200):
                with one_blas_thread():
                    blas_threads()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert blas_threads() == before


def test_another_thread_may_use_threadpoolctl_afterwards():
    """From its version 3.7 on only one thread may set OpenBLAS's number: not we for ever."""
    script = """
import threading, threadpoolctl
from fastard._blas import one_blas_thread
with one_blas_thread():
    pass
def other():
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        print({library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"})
thread = threading.Thread(target=other)
thread.start()
thread.join()
"""
    assert run_python(script).strip() == "{2}"
