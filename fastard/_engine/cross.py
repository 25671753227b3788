"""Covariances of two sets of points, and products with the derivatives of a covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, large_array, read_only
from fastard._engine.loops import pairs
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import PAIR_FLOPS, PRODUCT_TILE, run, threads_for
from fastard._engine.terms import Scaled, Term, central, scale, scaled, term_gradient, used_columns
from fastard._numba.threads import new_state

_NO_TARGETS = np.empty((0, 0))


def cross_covariance(term: Term, X: Array, Z: Array, threads: int) -> Array:
    """The same for valid arguments."""
    U, V, _ = _both_scaled(term, X, Z)
    K = large_array(X.shape[0], Z.shape[0])
    work = K.size * (X.shape[1] + 8)
    run(
        PAIR_FLOPS * work,
        threads_for(work, threads),
        pairs.cross_covariance,
        new_state(),
        *compiled(term.kernel),
        term.signal_variance,
        U,
        V,
        K,
    )
    return K


def _both_scaled(term: Term, X: Array, Z: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Scaled points of Z, then of X, and the columns that they have."""
    columns = used_columns(term, X.shape[1])
    center = central(Z)  # not of X, so that a point's row does not depend on what other points are asked for
    return scale(Z, center, columns, term.length_scale), scale(X, center, columns, term.length_scale), columns


def point_gradient(term: Term, Q: Array, X: Array, Z: Array, threads: int) -> Array:
    """G[t, j] = sum_i Q[t, j, i] dK(x_j, z_i) / dx_j for the points X (q, d), Z (n, d), as (targets, q, d).

    Q is (targets, q, n), or (targets, 1, n) for the same weights at every point. Matérn 1/2 has no derivative where a point
    of X is one of Z: that pair counts nothing.
    """
    U, V, columns = _both_scaled(term, X, Z)
    moments = np.empty((Q.shape[0], columns.size, X.shape[0]))
    work = X.shape[0] * Z.shape[0] * (columns.size * (Q.shape[0] + 1) + 8)
    run(
        PAIR_FLOPS * work, threads_for(work, threads), pairs.point_gradient, new_state(),
        *compiled(term.kernel), term.signal_variance, U, V, read_only(Q), moments,
    )  # fmt: skip
    result = np.zeros((Q.shape[0], *X.shape))
    result[:, :, columns] = moments.transpose(0, 2, 1) / term.length_scale[columns]
    return result


def vjp(term: Term, X: Array, Q: Array, threads: int) -> Array:
    """The same for valid arguments; 0 for length scales that are not free, and of tied ones the sum at the first."""
    points = scaled(term, X, central(X))
    workers = threads_for(Q.size * (points.free + 8), threads)
    total = product(term, points, Q, _NO_TARGETS, 0, X.shape[0], PRODUCT_TILE, workers)
    found = term_gradient(term, points, total, X.shape[1])
    return np.concatenate([found.log_length_scale, [found.log_signal_variance], found.log_shape])


def product(term: Term, points: Scaled, Q: Array, alpha: Array, targets: int, n: int, tile: int, threads: int) -> Array:
    """Derivatives by [ln length_scale of the free columns, ln variance, ln shape ...]; see ``pairs.product``."""
    tiles = -(-n // tile)
    partial = np.empty((tiles * (tiles + 1) // 2, points.free + 1 + len(term.kernel)))
    run(
        0.5 * PAIR_FLOPS * n * n * (points.free + 8), threads, pairs.product, new_state(),
        *compiled(term.kernel), term.signal_variance, points.U, points.free, points.tied, read_only(Q), alpha, targets, n,
        tile, partial,
    )  # fmt: skip
    return partial.sum(axis=0)  # type: ignore[no-any-return]
