"""Triangular solves with the Cholesky factor of a trained model, and what is left of a covariance, by BLAS."""

import numpy as np

from fastard._validation import Array

_STRIP = 256  # rows at a time, while a triangle is copied into the other


def solve(factor: Array, matrix: Array, *, transposed: bool = False, right: bool = False, overwrite: bool = False) -> Array:
    """L^-1 or L^-T times a matrix, or the matrix times it.

    ``factor`` has L in its upper triangle, by rows: element (i, j), i >= j, at [j, i]. The result takes the matrix's place
    where that may be overwritten and is held by columns.
    """
    from scipy.linalg.blas import dtrsm

    options = {"lower": 1, "trans_a": int(transposed), "side": int(right), "overwrite_b": int(overwrite)}
    return dtrsm(1.0, factor.T, matrix, **options)  # type: ignore[no-any-return]


def less_gram(matrix: Array, solved: Array) -> None:
    """A symmetric matrix (q, q), by rows, becomes itself less solved' solved, in place; solved (n, q) is held by columns."""
    from scipy.linalg.blas import dsyrk

    dsyrk(-1.0, solved, beta=1.0, c=matrix.T, trans=1, lower=1, overwrite_c=1)  # the upper triangle, by rows
    for start in range(0, matrix.shape[0], _STRIP):
        block = matrix[start : start + _STRIP, start : start + _STRIP]
        block[:] = np.triu(block) + np.triu(block, 1).T
        matrix[start + _STRIP :, start : start + _STRIP] = matrix[start : start + _STRIP, start + _STRIP :].T
