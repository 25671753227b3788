"""Outputs with variances of their own: output t's covariance is s_t (k + g I), the correlation k and the ratio g are all's.

A model of them is that of y_t / sqrt(s_t), which share the variances 1 and g; what it answers is in units of sqrt(s_t).
"""

from __future__ import annotations

import numpy as np

from fastard._arrays import Array, read_only


def in_own_units(y: Array, alpha: Array, count: int) -> tuple[Array, Array, Array]:
    """s (m,) of targets y (n, m) less the mean, y / sqrt(s), and alpha / sqrt(s); ``alpha`` (n, m) is (k + g I)^-1 y.

    ``count`` is n, or where the mean's p coefficients are integrated out n - p: s_t is the most likely one then.
    """
    with np.errstate(all="ignore"):  # an underflow is nobody's error
        variances = np.einsum("jt,jt->t", y, alpha) / count
        units = np.sqrt(variances)
        return variances, read_only(y / units), alpha / units
