"""Draws from the posterior at many points: each point given its nearest training points and the points drawn before it."""

from __future__ import annotations

import math

import numpy as np

from fastard._arrays import Array
from fastard._blas import one_blas_thread
from fastard._engine.cross import cross_covariance
from fastard._engine.evaluate import equal_rows
from fastard._engine.local import LocalPosterior, failure, most_by_rounding, rounding_errors
from fastard._engine.neighbors import Indices, nearest
from fastard.exceptions import NotPositiveDefiniteError

_NOTHING_LEFT = 1e-10  # shares of the signal's variance: such a point says nothing beside those that it was drawn given


def draw(
    model: LocalPosterior,
    points: Array,
    m: int,
    size: int,
    random: np.random.Generator,
    threads: int,
    leaves_out: bool = False,
) -> Array:
    """Values (size, q, T) at the points (q, d), which come in random order, each given the m nearest before it.

    Where training points among these are not independent, it ``leaves_out`` some as `local.predict`, or there is an error.
    """
    distinct, number = np.unique(points, axis=0, return_inverse=True)
    q, outputs = len(distinct), model.y.shape[1]
    order = random.permutation(q)
    normals = random.standard_normal((q, size, outputs))
    by = model.term.length_scale
    U, m_near = distinct / by, min(m, len(model.X))
    near = nearest(model.tree, distinct, m_near, threads)
    values = np.empty((q, size, outputs))
    tells = np.zeros(q, dtype=bool)
    with one_blas_thread(), np.errstate(all="ignore"):  # its threads would be woken for each point; underflows are no error
        for i, normal in zip(order.tolist(), normals, strict=True):
            rows, drawn = near[i].astype(np.int64), np.flatnonzero(tells)
            squares = np.concatenate([((model.X[rows] / by - U[i]) ** 2).sum(axis=1), ((U[drawn] - U[i]) ** 2).sum(axis=1)])
            chosen = np.sort(np.argsort(squares, kind="stable")[:m])
            rows, drawn = rows[chosen[chosen < rows.size]], drawn[chosen[chosen >= rows.size] - rows.size]
            L, rows, drawn = _factor(model, rows, distinct, drawn, leaves_out)
            given = np.concatenate([np.repeat(model.y[rows][:, np.newaxis], size, axis=1), values[drawn]])
            mean, variance = _conditional(model, L, np.vstack([model.X[rows], distinct[drawn]]), given, distinct[i])
            tells[i] = variance > _NOTHING_LEFT * model.term.signal_variance
            values[i] = mean + math.sqrt(max(variance, 0.0)) * normal
    values += model.offset
    return np.ascontiguousarray(values[number.ravel()].transpose(1, 0, 2))


def _factor(
    model: LocalPosterior, rows: Indices, points: Array, drawn: Indices, leaves_out: bool
) -> tuple[Array, Indices, Indices]:
    """The Cholesky factor of the covariance of training rows, with their noise, and of some of the points drawn; and which of
    these those are: one whose pivot is nothing but rounding says nothing beside those before it. A training row like that is
    an error, or left out unless it is equal to another.
    """
    from scipy.linalg.lapack import dpotrf, dpstrf

    while True:
        X = np.vstack([model.X[rows], points[drawn]])
        noise = np.broadcast_to(model.noise + (model.known[rows] if model.known.size else 0.0), rows.size)
        K = cross_covariance(model.term, X, X, 1)
        K[np.arange(rows.size), np.arange(rows.size)] += noise
        L, order = dpotrf(K, lower=True)  # 0, or of the first minor that is not positive
        done = order - 1 if order > 0 else len(K)
        nothing = rounding_errors(L.diagonal()[:done] ** 2, K.diagonal()[:done])
        if nothing.size == 0 and order == 0:
            return L, rows, drawn
        bad = int(nothing[0]) if nothing.size else done
        if bad >= rows.size:
            drawn = np.delete(drawn, bad - rows.size)
            continue
        equal = equal_rows([(model.X[rows] / model.term.length_scale).T], noise, model.term.signal_variance)
        if equal is not None or not leaves_out:
            found = failure(model, rows, bad if equal is None else equal.row)
            raise NotPositiveDefiniteError(found.row, found.nearest_row, found.distance)
        of_rows = K[: rows.size, : rows.size]
        _, pivots, rank, _ = dpstrf(of_rows, tol=most_by_rounding(of_rows.diagonal()), lower=True)
        rows = rows[pivots[:rank] - 1] if rank < rows.size else np.delete(rows, bad)


def _conditional(model: LocalPosterior, L: Array, X: Array, values: Array, point: Array) -> tuple[Array, float]:
    """Mean (size, T) and variance at a point, given ``values`` (k, size, T) at X (k, d), whose covariance is LL'."""
    from scipy.linalg import solve_triangular

    k = cross_covariance(model.term, point[np.newaxis], X, 1)[0]
    v = solve_triangular(L, k, lower=True)
    e = solve_triangular(L, values.reshape(len(values), -1), lower=True)
    return (v @ e).reshape(values.shape[1:]), float(model.term.signal_variance - v @ v)
