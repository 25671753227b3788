"""The O(n^3) part: factor, invert, log determinant, in place in one n x n buffer.

The matrix stands in LAPACK's lower triangle of ``A.T`` (element (i, j), i >= j, at ``A[j, i]``); the other is not touched.
"""

import numpy as np

from fastard._validation import Array


def factor(A: Array) -> int:
    """K becomes L with K = L L'. Returns -1, or the first row whose pivot is not a positive number."""
    from scipy.linalg.lapack import dpotrf

    _, info = dpotrf(A.T, lower=1, overwrite_a=1, clean=0)
    if info > 0:
        return int(info) - 1
    pivots = np.diagonal(A)
    good = np.isfinite(pivots) & (pivots > 0.0)  # potrf returns info = 0 on a NaN
    return -1 if good.all() else int(np.argmin(good))


def log_determinant(A: Array) -> float:
    """ln |K| from the factor."""
    return 2.0 * float(np.log(np.diagonal(A)).sum())


def solve(A: Array, y: Array) -> Array:
    """K^-1 y from the factor; y and the result are (n, m)."""
    from scipy.linalg.lapack import dpotrs

    result, _ = dpotrs(A.T, y, lower=1)
    return result  # type: ignore[no-any-return]


def invert(A: Array) -> None:
    """L becomes K^-1."""
    from scipy.linalg.lapack import dpotri

    dpotri(A.T, lower=1, overwrite_c=1)
