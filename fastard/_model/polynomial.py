"""Which basis functions has a linear or quadratic mean, what are they called, and what are their derivatives?

Of categories there is an intercept for each level but the first, and of periodic columns sine and cosine; squares and products
are of numbers only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._model.encoding import Encoding


class Polynomial(NamedTuple):
    """1, columns of encoded points, and products of two of these columns."""

    linear: NDArray[np.int64]
    left: NDArray[np.int64]  # columns of each product, which are linear ones too
    right: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many functions there are, p."""
        return 1 + self.linear.size + self.left.size

    def at(self, Z: Array) -> Array:
        """(q, p), at encoded points Z (q, d); row by row in memory, by which BLAS rounds."""
        return np.hstack([np.ones((len(Z), 1)), Z.take(self.linear, axis=1), Z[:, self.left] * Z[:, self.right]])

    def slopes(self, Z: Array) -> Array:
        """Their derivatives by Z, (q, d, p)."""
        result = np.zeros((*Z.shape, self.size))
        result[:, self.linear, 1 + np.arange(self.linear.size)] = 1.0
        for place, (i, j) in enumerate(zip(self.left, self.right, strict=True), start=1 + self.linear.size):
            result[:, i, place] += Z[:, j]
            result[:, j, place] += Z[:, i]
        return result

    def uncentred(self, center: Array, scale: Array) -> Array:
        """(p, p), what coefficients for z = (x - center) / scale are multiplied by to be those for x."""
        result = np.zeros((self.size, self.size))
        result[0, 0] = 1.0
        places = 1 + np.arange(self.linear.size)
        result[places, places] = 1.0 / scale[self.linear]
        result[0, places] = -center[self.linear] / scale[self.linear]
        of_column = dict(zip(self.linear.tolist(), places.tolist(), strict=True))
        for place, (i, j) in enumerate(zip(self.left.tolist(), self.right.tolist(), strict=True), start=1 + self.linear.size):
            unit = scale[i] * scale[j]
            result[place, place] = 1.0 / unit
            result[of_column[i], place] -= center[j] / unit
            result[of_column[j], place] -= center[i] / unit
            result[0, place] = center[i] * center[j] / unit
        return result

    def names(self, inputs: list[str], encoding: Encoding | None) -> list[str]:
        """1, a, b, and of a quadratic mean a^2, a b, b^2; material=wood, and sin(2 pi wind/360)."""
        columns = inputs if encoding is None else encoding.column_names(inputs)
        products = [
            f"{columns[i]}^2" if i == j else f"{columns[i]} {columns[j]}" for i, j in zip(self.left, self.right, strict=True)
        ]
        return ["1", *(columns[i] for i in self.linear), *products]


def polynomial(kind: str, width: int, encoding: Encoding | None) -> Polynomial | None:
    """Of a mean of that kind over ``width`` encoded columns; None where the basis is the user's."""
    if kind not in ("linear", "quadratic"):
        return None
    linear = numbers = np.arange(width)
    if encoding is not None:
        linear = np.setdiff1d(linear, encoding.first[[isinstance(each, tuple) for each in encoding.kinds]])
        numbers = encoding.first[[each is None for each in encoding.kinds]]
    i, j = np.triu_indices(numbers.size if kind == "quadratic" else 0)
    return Polynomial(linear, numbers[i], numbers[j])
