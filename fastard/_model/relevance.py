"""How fast the function varies along each input, compared with the others."""

import numpy as np

from fastard import _validation as validate
from fastard._arrays import Array


def relevance(X: Array, length_scale: Array) -> Array:
    """Of length scales (..., d): standard deviation of each column of X over them, scaled to sum 1; 0 for constant columns."""
    rates: Array = np.std(X, axis=0) / length_scale
    rates[..., validate.constant(X)] = 0.0
    total = rates.sum(axis=-1, keepdims=True)
    return rates / np.where(total > 0.0, total, 1.0)
