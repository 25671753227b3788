"""What does a column become? A category one column for each level, an angle its sine and cosine, a number itself.

The encoded columns of one column share its length scale. So the kernel sees, for a category, the squared distance 2 between
any two levels, and for an angle that of two points of the unit circle, 4 sin^2(pi (x - x') / period): with the squared
exponential kernel exp(-2 sin^2(pi (x - x') / period) / length_scale^2), MacKay's periodic kernel.

Rasmussen & Williams (2006), equation (4.31), page 92, with u = (sin x, cos x), which is MacKay's (1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only


@dataclass(frozen=True)
class Numbers:
    """Points (q, d) as `Encoding.numbers` has them, in the place of those that a user gives."""

    array: Array


@dataclass(frozen=True)
class Encoding:
    """Of each column of X what it is: None for numbers, its period, or the tuple of its levels."""

    kinds: tuple[Any, ...]

    @cached_property
    def of_column(self) -> NDArray[np.int64]:
        """Of each encoded column the column that it was made of, in order."""
        widths = [1 if kind is None else len(kind) if isinstance(kind, tuple) else 2 for kind in self.kinds]
        return np.repeat(np.arange(len(self.kinds)), widths)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Of each column the first that it became."""
        return np.searchsorted(self.of_column, np.arange(len(self.kinds)))

    def encode(self, X: Any, names: list[str] | None, order: NDArray[np.int64] | None = None) -> Array:
        """Encoded points; ``order``: where the columns stand in X."""
        return self.of_numbers(X.array if isinstance(X, Numbers) else validate.coded(X, self.kinds, names, order))

    def of_numbers(self, columns: Array) -> Array:
        """Encoded points, of what ``numbers`` returns."""
        encoded = np.empty((len(columns), self.of_column.size))
        for column, start, kind in zip(columns.T, self.first, self.kinds, strict=True):
            if isinstance(kind, tuple):
                encoded[:, start : start + len(kind)] = column[:, np.newaxis] == np.arange(len(kind))
            elif kind is not None:
                angle = _angle(column, kind)
                encoded[:, start], encoded[:, start + 1] = np.sin(angle), np.cos(angle)
            else:
                encoded[:, start] = column
        return read_only(encoded)

    def numbers(self, encoded: Array) -> Array:
        """What was encoded, (n, d): of categories the numbers of their levels, from 0, and of periods what is left of them."""
        numbers: Array = encoded[:, self.first]
        for j, (start, kind) in enumerate(zip(self.first, self.kinds, strict=True)):
            if isinstance(kind, tuple):
                numbers[:, j] = encoded[:, start : start + len(kind)].argmax(axis=1)
            elif kind is not None:
                angle = np.arctan2(encoded[:, start], encoded[:, start + 1])
                numbers[:, j] = np.mod(angle / (2.0 * math.pi), 1.0) * kind
        return numbers

    def gradient(self, encoded: Array, gradient: Array) -> Array:
        """By the columns (q, d, ...), from that by the encoded ones (q, d', ...); NaN for categories."""
        result: Array = gradient[:, self.first]
        for j, (start, kind) in enumerate(zip(self.first, self.kinds, strict=True)):
            if isinstance(kind, tuple):
                result[:, j] = np.nan
            elif kind is not None:
                sine, cosine = (encoded[:, start + k].reshape(-1, *[1] * (gradient.ndim - 2)) for k in (0, 1))
                along = cosine * gradient[:, start] - sine * gradient[:, start + 1]
                result[:, j] = 2.0 * math.pi / kind * along
        return result

    def column_names(self, names: list[str]) -> list[str]:
        """Of the encoded columns: material=wood, and sin(2 pi wind/360)."""
        result = []
        for name, kind in zip(names, self.kinds, strict=True):
            if isinstance(kind, tuple):
                result += [f"{name}={level}" for level in kind]
            else:
                result += [name] if kind is None else [f"{function}(2 pi {name}/{kind:g})" for function in ("sin", "cos")]
        return result

    def options(self, names: list[str] | None) -> dict[str, Any]:
        """``categorical`` and ``periodic``, as `fit` takes them."""
        called = names or range(len(self.kinds))
        pairs = list(zip(called, self.kinds, strict=True))
        return {
            "categorical": [name for name, kind in pairs if isinstance(kind, tuple)],
            "periodic": {name: kind for name, kind in pairs if isinstance(kind, float)},
        }


def encoding(X: Any, names: list[str] | None, categorical: Any, periodic: Any) -> Encoding | None:
    """Of training data, from arguments of `fit`; None where all columns are numbers."""
    kinds = validate.column_kinds(X, names, categorical, periodic)
    return None if kinds is None else Encoding(kinds)


def encoded_names(names: list[str] | None, of: Encoding | None) -> list[str] | None:
    """Of each encoded column the name, or else the number, of the column that it was made of; None for range(d)."""
    if of is None:
        return names
    return [str(i) if names is None else names[i] for i in of.of_column]


def distances(kind: Any, values: Array, others: Array) -> Array:
    """Between the numbers (k,) and (n,) of one column of that kind, as they are once encoded: (k, n)."""
    between: Array = values[:, np.newaxis] - others
    if isinstance(kind, tuple):
        between = math.sqrt(2.0) * (between != 0.0)
    elif kind is not None:
        between = 2.0 * np.abs(np.sin(math.pi / kind * between))
    return between


def places(of: Encoding | None, d: int, width: int, size: int) -> NDArray[np.int64]:
    """Where the parameters that users know of, d length scales and all others, stand in theta.

    That has ``size`` entries, the first ``width`` of them for the encoded columns.
    """
    scales = np.arange(d) if of is None else of.first
    return np.append(scales, np.arange(width, size))


def by_column(of: Encoding | None, flags: NDArray[np.bool_], combine: np.ufunc) -> Any:
    """What holds for encoded columns (d',), ``combine``d for the columns that they were made of, (d,)."""
    return flags if of is None else combine.reduceat(flags, of.first)


def _angle(column: Array, period: float) -> Array:
    """In radians, from -pi to pi, with no rounding but the last: a whole number of periods changes no bit."""
    left = np.fmod(column, period)
    left = np.where(left > 0.5 * period, left - period, left)
    left = np.where(left <= -0.5 * period, left + period, left)
    angle: Array = left / period * (2.0 * math.pi)
    return angle
