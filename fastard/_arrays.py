"""Arrays: their type, views that are not to be written, and allocations that may be too large."""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastard._limits import memory

Array = NDArray[np.float64]
_AnyArray = TypeVar("_AnyArray", bound=NDArray[Any])

_FOR_THE_MATRIX = 0.9  # of the memory


class NamedColumns:
    """An array (n, d) whose columns have names, as a DataFrame's have."""

    def __init__(self, array: NDArray[Any], columns: list[str]) -> None:
        self._array, self.columns, self.dtypes = array, columns, [array.dtype] * len(columns)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self._array if dtype is None else self._array.astype(dtype)


def read_only(array: _AnyArray) -> _AnyArray:
    """The same data, not to be written: what the caller owns stays as it is.

    Numba compiles a loop once for arrays that may be written and once for those that may not, so loops that only read
    are always given the latter.
    """
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def large_array(rows: int, columns: int, *, training_points: int | None = None) -> Array:
    """An uninitialised (rows, columns) array for a covariance, or a MemoryError that says what was needed, before the
    machine swaps. ``training_points``: it holds the covariance of so many, which cannot be taken a part at a time."""
    there = memory()
    if there is None or 8 * rows * columns <= there:
        try:
            return np.empty((rows, columns))
        except MemoryError:
            pass
    need = f"{8 * rows * columns / 2**30:.3g} GiB of memory"
    if there is not None:
        need += f", where {there / 2**30:.3g} GiB are available"
    if training_points is None:
        raise MemoryError(f"a covariance of {rows} x {columns} points needs {need}; use fewer points at a time")
    if there is not None:
        need += f", enough for n = {int(math.sqrt(_FOR_THE_MATRIX * there / 8.0)) // 1000 * 1000}"
    raise MemoryError(f"exact training on n = {training_points} points needs {need}; use a part of the rows")
