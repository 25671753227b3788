"""A kernel's covariances of many pairs at once: the only compiled loop that knows the kernel.

It is compiled for each kernel, and all other loops once for all of them: they are given the ``kernel`` as the address of this
loop's machine code, and its ``shape`` parameters as an array (p,).
"""

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from fastard._numba.jit import INLINE, caller_at, jit
from fastard._numba.symbols import address, compiled_for
from fastard.kernels import Kernel, profile

_ROW, _ROWS = types.Array(types.float64, 1, "C"), types.Array(types.float64, 2, "C")

_TYPES = (_ROW, types.float64, types.boolean, _ROW, _ROW, _ROWS)

covariance_and_slope = caller_at(*_TYPES)
"""``covariance_and_slope(kernel, shape, variance, tied, s, w, v)`` in compiled code.

In place: s (size,) becomes variance k(s); w gets variance w(s), and where ``tied`` that times s; each row of v (p, size) gets
variance dk / d ln(shape), unless v has no rows.
"""


def store_entries(entries, factor, out, i):
    """out[p, i] = factor times the tuple's entry p. Compiled code only; Numba cannot index a tuple without entries."""
    raise NotImplementedError


@overload(store_entries, jit_options=INLINE)
def _store_entries(entries, factor, out, i):
    def nothing(entries, factor, out, i):
        pass

    def store_one(entries, factor, out, i):  # a loop over it would not be vectorised
        out[0, i] = factor * entries[0]

    def store(entries, factor, out, i):
        for p in range(len(entries)):
            out[p, i] = factor * entries[p]

    return {0: nothing, 1: store_one}.get(entries.count, store)


@cache
def loop(kernel_class: type[Kernel]) -> Any:
    """The loop for one kernel, ``loop(kernel_class)(shape, variance, tied, s, w, v)``."""
    count = len(kernel_class._fields)  # type: ignore[attr-defined]

    def covariance_and_slope(shape, variance, tied, s, w, v):
        kernel = kernel_class(*to_fixed_tuple(shape, count))
        if v.shape[0] == 0:
            for i in range(s.size):
                here, slope, _ = profile(kernel, s[i])
                w[i] = variance * slope * (s[i] if tied else 1.0)
                s[i] = variance * here
        else:
            for i in range(s.size):
                here, slope, by_shape = profile(kernel, s[i])
                w[i] = variance * slope * (s[i] if tied else 1.0)
                s[i] = variance * here
                store_entries(by_shape, variance, v, i)

    covariance_and_slope.__qualname__ += f"_{kernel_class.__qualname__}"  # its name in the cache
    return jit(covariance_and_slope)


@cache
def _address(kernel_class: type[Kernel]) -> int:
    return address(compiled_for(loop(kernel_class), _TYPES))


_NO_SHAPE = np.empty(0)


def compiled(kernel: Kernel) -> tuple[int, NDArray[np.float64]]:
    """The ``kernel`` and ``shape`` that the loops take."""
    return _address(type(kernel)), np.array(kernel, dtype=float) if len(kernel) else _NO_SHAPE
