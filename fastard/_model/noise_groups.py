"""Noise by groups: the variance of each group's targets, and which group each training point is in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array


@dataclass(frozen=True, eq=False)
class NoiseGroups:
    """What a model keeps of them: their labels, variances (g,), and the number of each row's group (n,)."""

    labels: tuple[Any, ...]
    variances: Array
    of_row: NDArray[np.int64]

    @property
    def of_rows(self) -> Array:
        """The variance of each row, (n,)."""
        result: Array = self.variances[self.of_row]
        return result

    def with_rows(self, labels: Any, k: int) -> NoiseGroups:
        """The same with k rows more."""
        more = validate.noise_group_numbers(labels, k, self.labels)
        return replace(self, of_row=np.append(self.of_row, more))

    def at(self, labels: Any, q: int) -> Array:
        """The variances of new points, (q,), from a label for each, or one for all."""
        result: Array = self.variances[validate.noise_group_numbers(labels, q, self.labels)]
        return result

    def of_labels(self, labels: tuple[Any, ...]) -> Array:
        """Their variances, and where a label is new, the mean over all rows."""
        known = dict(zip(self.labels, self.variances.tolist(), strict=True))
        mean = float(self.of_rows.mean())
        return np.array([known.get(label, mean) for label in labels])
