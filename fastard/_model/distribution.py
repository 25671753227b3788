"""How are the inputs distributed? Independently: uniform over ranges, over periods and over levels, or as in the data."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.encoding import Encoding, Numbers

Rule = tuple[Array, Array]  # values of an input, and their weights

_MOST_AXES = 30  # of an array; some versions of NumPy have 32 at most


class Distribution(NamedTuple):
    """Of independent inputs, as numbers: a category's are those of its levels."""

    kinds: tuple[Any, ...]  # of the inputs, as an `Encoding` has them
    low: Array  # (d,)
    high: Array
    values: list[Array | None]  # of each input the sorted values that it is drawn from; None: uniform from low to high

    def points(self, uniform: Array) -> Array:
        """From numbers (q, d) between 0 and 1."""
        points: Array = self.low + (self.high - self.low) * uniform
        for i, values in enumerate(self.values):
            if values is not None:
                points[:, i] = _quantiles(values, uniform[:, i])
        return points

    def nodes(self, i: int, count: int, shift: float) -> Rule:
        """Values of input i and their weights: all, where there are few of them; or quantiles, which ``shift``, 0 to 1, moves.

        Over a range a Gauss-Legendre rule, over a period the trapezoidal one.
        """
        values, equal = self.values[i], (np.arange(count) + shift) / count
        if values is not None:
            distinct, counts = np.unique(values, return_counts=True)
            if distinct.size <= count:
                return distinct, counts / values.size
            return _quantiles(values, equal), np.full(count, 1.0 / count)
        low, width = self.low[i], self.high[i] - self.low[i]
        if self.is_period(i):
            return low + width * equal, np.full(count, 1.0 / count)
        nodes, weights = np.polynomial.legendre.leggauss(count)
        return low + width * 0.5 * (1.0 + nodes), 0.5 * weights

    def is_period(self, i: int) -> bool:
        """Whether the input is uniform over a whole period."""
        kind = self.kinds[i]
        return self.values[i] is None and isinstance(kind, float) and math.isclose(self.high[i] - self.low[i], kind)

    def is_part_of_period(self, i: int) -> bool:
        """Whether it is uniform over a part of one, or more than one."""
        is_range = self.values[i] is None and self.low[i] < self.high[i]
        return is_range and isinstance(self.kinds[i], float) and not self.is_period(i)

    def all_combinations(self, most: int) -> list[Rule] | None:
        """Of inputs that are all categories, their levels; None for others, and for more than ``most`` combinations."""
        sizes = [len(kind) if isinstance(kind, tuple) else most + 1 for kind in self.kinds]
        if not 0 < len(sizes) <= _MOST_AXES or math.prod(sizes) > most:
            return None
        return [self.nodes(i, size, 0.0) for i, size in enumerate(sizes)]


def distribution_of(model: Any, given: Any) -> Distribution:
    """From what a user gave: "uniform", "data", or ranges."""
    kinds = kinds_of(model)
    X = numbers_of(model)
    low, high = validate.input_distribution(given, X, model.feature_names, kinds)
    values: list[Array | None] = [np.arange(float(len(kind))) if isinstance(kind, tuple) else None for kind in kinds]
    if isinstance(given, str) and given == "data":
        values = list(np.sort(X, axis=0).T)
    return Distribution(kinds, low, high, values)


def kinds_of(model: Any) -> tuple[Any, ...]:
    """Of a model's inputs: None for numbers, a period, or levels."""
    encoding: Encoding | None = model._encoding
    return (None,) * model._X.shape[1] if encoding is None else encoding.kinds


def numbers_of(model: Any) -> Array:
    """The training points as numbers, (n, d)."""
    X: Array = model._X
    return X if model._encoding is None else model._encoding.numbers(X)


def as_given(model: Any, points: Array) -> Any:
    """Numbers as the model's methods take points."""
    return points if model._encoding is None else Numbers(points)


def encoded(model: Any, points: Array) -> Array:
    """Numbers as the kernel takes them."""
    encoding: Encoding | None = model._encoding
    return points if encoding is None else encoding.of_numbers(points)


def sequence(count: int, d: int) -> Array:
    """The first so many points of a Sobol' sequence, without any random number."""
    from scipy.stats import qmc

    return qmc.Sobol(d, scramble=False).random_base2(math.ceil(math.log2(count)))[:count]  # type: ignore[no-any-return]


def grid_along(points: Array, i: int, nodes: Array) -> Array:
    """The points (s, d), each with all the nodes (q,) in the place of input i: (s * q, d)."""
    grid = np.repeat(points, len(nodes), axis=0)
    grid[:, i] = np.tile(nodes, len(points))
    return grid


def full_grid(rules: list[Rule]) -> Rule:
    """All combinations of the inputs' values (q, d), the last one's first, and their weights (q,)."""
    points = np.stack(np.meshgrid(*(values for values, _ in rules), indexing="ij"), axis=-1)
    weights = functools.reduce(np.multiply.outer, [weights for _, weights in rules])
    return points.reshape(-1, len(rules)), np.ravel(weights)


def _quantiles(values: Array, places: Array) -> Array:
    """Of sorted values (n,), at numbers between 0 and 1."""
    quantiles: Array = values[np.minimum((places * values.size).astype(np.int64), values.size - 1)]
    return quantiles
