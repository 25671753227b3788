"""Triangular solves with the Cholesky factor of a trained model, by BLAS."""

from fastard._validation import Array


def solve(factor: Array, matrix: Array, *, transposed: bool = False, right: bool = False, overwrite: bool = False) -> Array:
    """L^-1 or L^-T times a matrix, or the matrix times it.

    ``factor`` has L in its upper triangle, by rows: element (i, j), i >= j, at [j, i]. The result takes the matrix's place
    where that may be overwritten and is held by columns.
    """
    from scipy.linalg.blas import dtrsm

    options = {"lower": 1, "trans_a": int(transposed), "side": int(right), "overwrite_b": int(overwrite)}
    return dtrsm(1.0, factor.T, matrix, **options)  # type: ignore[no-any-return]
