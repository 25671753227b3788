"""theta, the hyperparameters: their order, names, units, default bounds and starts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard.kernels import Kernel

FIXED, AT_BOUND = -1, -2  # among a model's slots

# Where the caller gives none, in standard deviations of the inputs and variances of the targets: bounds ...
_LENGTH_SCALE_BOUNDS = (1e-3, 1e5)

_SIGNAL_VARIANCE_BOUNDS = (1e-5, 1e5)

_NOISE_VARIANCE_BOUNDS = (1e-8, 1e2)

_SHAPE_BOUNDS = (1e-5, 1e5)

# ... and starts; the length scales' grow with sqrt(d), so that typical distances stay of the order of one.
_SIGNAL_VARIANCE, _NOISE_VARIANCE = 1.0, 0.1

Parameters = tuple[Array, float, float, Kernel]  # length_scale, signal_variance, noise_variance and the kernel


def _spread(X: Array, group_of: NDArray[np.int64]) -> Array:
    """Standard deviations of the columns; for a group of several their root mean square, and 1 for constant ones."""
    constant = validate.constant(X)
    deviations: Array = np.where(constant, 0.0, np.std(X, axis=0))
    for group in range(int(group_of.max(initial=-1)) + 1):
        members = group_of == group
        if np.count_nonzero(members) > 1:
            largest = deviations[members].max()
            if largest > 0.0:
                deviations[members] = largest * np.sqrt(np.mean((deviations[members] / largest) ** 2))
            constant[members] = constant[members].all()
    return np.where(constant, 1.0, deviations)
