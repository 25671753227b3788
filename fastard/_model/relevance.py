"""How wiggly the function is along each input, compared with the others."""

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array


def relevance(X: Array, length_scale: Array, first: NDArray[np.int64] | None = None) -> Array:
    """Of length scales (..., d): standard deviation of each column of X over them, scaled to sum 1; 0 for constant columns.

    Where X is encoded, ``first`` says where the columns begin that each of d became: their variances add up.
    """
    with np.errstate(all="ignore"):  # an underflow is nobody's error
        deviations = np.std(X, axis=0)
    deviations[validate.constant(X)] = 0.0
    rates: Array = (deviations if first is None else np.hypot.reduceat(deviations, first)) / length_scale
    total = rates.sum(axis=-1, keepdims=True)
    return rates / np.where(total > 0.0, total, 1.0)
