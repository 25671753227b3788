"""Prior densities that compiled code evaluates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.loops import priors as loops
from fastard._engine.loops.priors import FAMILIES

__all__ = ["FAMILIES", "Densities", "densities", "together"]


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


_LOG_CONSTANTS: dict[str, Callable[[float], float]] = {
    "lognorm": lambda a: -math.log(a) - 0.5 * math.log(2.0 * math.pi),
    "gamma": lambda a: -math.lgamma(a),
    "halfcauchy": lambda _: math.log(2.0 / math.pi),
    "halfnorm": lambda _: 0.5 * math.log(2.0 / math.pi),
    "norm": lambda _: -0.5 * math.log(2.0 * math.pi),
}


def densities(names: Sequence[str | None], loc: Array, scale: Array, shape: Array) -> Densities:
    """Of the families by scipy.stats' names, (k,); None where a parameter has no prior. ``shape`` is 1 where it has none."""
    of_each = zip(names, scale.tolist(), shape.tolist(), strict=True)
    constant = sum(_LOG_CONSTANTS[name](a) - math.log(unit) for name, unit, a in of_each if name is not None)
    family = np.array([-1 if name is None else FAMILIES[name] for name in names], dtype=np.int64)
    return Densities(family, np.column_stack([loc, scale, shape]), constant)


def together(of_each: Sequence[Densities | None]) -> Densities:
    """Of parameters one after another, with a density each; None where a parameter has no prior."""
    none = Densities(np.array([-1]), np.ones((1, 3)), 0.0)
    own = [none if one is None else one for one in of_each]
    family, rows = np.concatenate([one.family for one in own]), np.concatenate([one.rows for one in own])
    return Densities(family, rows, sum(one.constant for one in own))
