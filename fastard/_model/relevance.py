"""How fast the function varies along each input, compared with the others."""

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array


def relevance(X: Array, length_scale: Array, first: NDArray[np.int64] | None = None) -> Array:
    """Standard deviation of each column of X over its length scale, scaled to sum 1, (d,); 0 for constant columns.

    Where X is encoded, ``first`` says where the columns begin that each of d became: their variances add up.
    """
    deviations = np.std(X, axis=0)
    deviations[validate.constant(X)] = 0.0
    rates: Array = (deviations if first is None else np.hypot.reduceat(deviations, first)) / length_scale
    total = rates.sum()
    return rates / total if total > 0.0 else rates
