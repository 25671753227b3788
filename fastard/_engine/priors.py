"""Prior densities that compiled code evaluates."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.loops import priors as loops
from fastard._engine.loops.priors import FAMILIES

__all__ = ["FAMILIES", "Densities", "densities"]


@dataclass(frozen=True, slots=True)
class Densities:
    """Of k parameters; see `log_densities`. Called with them (k,), their log density and its derivatives by each."""

    family: NDArray[np.int64]  # (k,)
    rows: Array  # (k, 3)
    constant: float

    def __call__(self, x: Array) -> tuple[float, Array]:
        slopes = np.empty(x.size)
        value = self.constant + loops.log_densities(self.family, self.rows, np.ascontiguousarray(x), slopes)
        return value, slopes if math.isfinite(value) else np.zeros(x.size)


def densities(name: str, loc: Array, scale: Array, shape: Array, counts: NDArray[np.bool_], at_one: Array) -> Densities:
    """Of one family by scipy.stats' name, for those parameters that count; ``at_one`` are the log densities at loc + scale."""
    family, rows = np.where(counts, FAMILIES[name], -1), np.column_stack([loc, scale, shape])
    constant = float(at_one[counts].sum()) - loops.log_densities(family, rows, loc + scale, np.empty(loc.size))
    return Densities(family, rows, constant)
