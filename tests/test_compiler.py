"""What `fastard._numba.compiler` leaves out of Numba's compiler changes no result, and nothing of the user's."""

import gc
import operator
import os
from typing import ClassVar

import numpy as np
import pytest
from numba import njit, types
from numba.core import event, typed_passes, untyped_passes
from numba.core.compiler_machinery import CompilerPass
from numba.core.errors import NumbaError

from fastard._numba.compiler import NOT_NEEDED, Compiler
from fastard._numba.jit import jit, part, separate

pytestmark = pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="nothing is compiled")


@part
def square(x):
    return x * x


@jit
def sum_of_squares(x):
    total = 0.0
    for k in range(3):
        total += square(x + k)
    return total


@part
def pair(x):
    out = np.empty(2)
    out[0], out[1] = x, square(x)
    return out


@jit
def uses_a_pair(x):
    return pair(x)[0]


@jit
def returns_arrays(x):
    return x, np.zeros(2)


@separate
def twice(x):
    return 2.0 * x


@jit
def four_times(x):
    return twice(twice(x))


def test_every_pass_left_out_is_one_of_numbas():
    held = [*vars(typed_passes).values(), *vars(untyped_passes).values()]
    assert {
        getattr(kind, "_name", "") for kind in held if isinstance(kind, type) and issubclass(kind, CompilerPass)
    } >= NOT_NEEDED


def test_python_calls_a_part_as_it_stands():
    assert square(3) == 9
    assert square(2**40) == 2**80  # which no int64 holds


def test_compiled_code_takes_parts_in():
    assert sum_of_squares(3.0) == 9.0 + 16.0 + 25.0


@pytest.mark.parametrize("function", [uses_a_pair, returns_arrays])
def test_nothing_compiled_returns_arrays(function):
    """Where its caller does not count references, an array would never be freed, or while it is in use."""
    with pytest.raises((AssertionError, NumbaError), match="let it write into an array of its caller's"):
        function(1.0)


def test_python_does_not_call_what_has_no_way_in():
    assert four_times(1.5) == 6.0
    with pytest.raises(AssertionError, match="twice is called by compiled code only"):
        twice(1.5)


OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "lt", "eq", "pow"]


@pytest.mark.parametrize(
    "kinds", [(a, b) for a in (types.int64, types.float64) for b in (types.int64, types.float64)], ids=str
)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_have_numbas_types(name, kinds):
    """Also the second time, from memory."""
    apply = getattr(operator, name)

    def one(x, y):
        return apply(x, y)

    numbas = njit(one, error_model="numpy")
    numbas.compile(kinds)
    for _ in range(2):
        ours = njit(one, error_model="numpy", pipeline_class=Compiler)
        ours.compile(kinds)
        assert ours.overloads[kinds].signature.return_type == numbas.overloads[kinds].signature.return_type


@jit
def three_rows(n):
    return np.empty((3, n)).size + np.zeros((3, n)).size


@separate
def four_rows(n):
    return np.empty((4, n)).size + np.zeros((4, n)).size


def test_an_allocator_is_compiled_once():
    """And not again for a caller with other options."""
    assert three_rows(2) == 12

    class Listener(event.Listener):
        compiled: ClassVar[list[str]] = []

        def on_start(self, event):
            self.compiled.append(event.data["dispatcher"].py_func.__module__)

        def on_end(self, event):
            pass

    with event.install_listener("numba:compile", Listener()):
        four_rows.address((types.int64,))
    assert set(Listener.compiled) <= {__name__}


def test_operators_on_arrays_have_a_memory():
    """An element, a row, a slice and a comparison, each twice, of arrays of other dimensions and types in between."""

    @jit
    def apply(x, A, k):
        row, part = A[1], x[1:3]
        row[0] = part[1] + x[2]
        k[0] += A[0, 1] > k[1]
        return row[0] * A[1, 0] + k[k[0]] + x[k[0]]

    def numbers():
        return np.arange(4.0), np.arange(6.0).reshape(2, 3), np.array([1, 0, 2])

    assert apply(*numbers()) == apply.py_func(*numbers())


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_before(enabled):
    was_enabled = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:

        @jit
        def new(x):
            return x + 1.0

        @jit
        def wrong(x):
            return x.no_such_attribute

        assert new(1.0) == 2.0
        assert gc.isenabled() == enabled
        with pytest.raises(NumbaError):
            wrong(1.0)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
