"""How fast the function varies along each input, compared with the others."""

import numpy as np

from fastard import _validation as validate
from fastard._arrays import Array


def relevance(X: Array, length_scale: Array) -> Array:
    """Standard deviation of each column of X over its length scale, scaled to sum 1, (d,); 0 for constant columns."""
    rates: Array = np.std(X, axis=0) / length_scale
    rates[validate.constant(X)] = 0.0
    total = rates.sum()
    return rates / total if total > 0.0 else rates
