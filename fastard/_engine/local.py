"""Predictions from nearest neighbours: each point's from the exact Gaussian process of the training points near it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.evaluate import Failure, failure_at
from fastard._engine.loops import local as loops
from fastard._engine.loops.objective import NO_NOISE
from fastard._engine.loops.profiles import compiled
from fastard._engine.loops.sweep import ROUNDING
from fastard._engine.neighbors import Tree, metric, nearest, tree
from fastard._engine.sizes import run
from fastard._engine.terms import Term
from fastard._numba.threads import new_state

_STEP, _ENTRIES = 4096, 2**22  # points whose neighbours are held at a time, and how many neighbours at most

_NOTHING = read_only(np.empty(0))


class LocalPosterior(NamedTuple):
    """What predictions take of the training data, whatever the points: O(n d) numbers."""

    term: Term
    noise: float
    X: Array  # (n, d)
    y: Array  # (n, T), less the offset
    known: Array  # (n,) variances beside the noise, or (0,)
    offset: Array  # (T,), which the mean then has added
    tree: Tree  # of X


class LocalPredictions(NamedTuple):
    """At q points, of T outputs."""

    mean: Array  # (q, T)
    deviation: Array  # (q,), the same for all outputs; 0 where rounding left no positive variance


def local_posterior(term: Term, noise: float, X: Array, y: Array, known: Array | None, offset: Array) -> LocalPosterior:
    """Of a term over all columns of the training points X (n, d)."""
    points = tree(X, metric(X, term.length_scale), len(X))
    own = _NOTHING if known is None else read_only(known)
    return LocalPosterior(term, noise, read_only(X), read_only(y), own, read_only(offset), points)


def predict(
    model: LocalPosterior,
    points: Array,
    m: int,
    noise: float,
    noise_of_points: Array | None,
    threads: int,
    leaves_out: bool = False,
) -> LocalPredictions | Failure:
    """Means and standard deviations at the points (q, d), each from the m training points nearest to it in length scales.

    ``noise`` and, where given, ``noise_of_points`` (q,) are added to the variances. A point's numbers depend on no other point
    than its neighbours. A failure, whose rows are X's, where the covariance of a point's neighbours is not positive definite;
    where it ``leaves_out`` those that are not independent, only where two are equal and have no noise.
    """
    n, m = len(model.X), min(m, len(model.X))

    def chosen(here: slice) -> NDArray[np.int32]:
        if m < n:
            return nearest(model.tree, points[here], m, threads)
        everything: NDArray[np.int32] = np.tile(np.arange(n, dtype=np.int32), (len(points[here]), 1))
        return everything

    added = noise if noise_of_points is None else noise + noise_of_points
    return _predict(model, points, m, chosen, added, threads, leaves_out)


def predict_left_out(
    model: LocalPosterior, rows: NDArray[np.int64], m: int, threads: int, leaves_out: bool = False
) -> LocalPredictions | Failure:
    """The same at some of the training points, without their noise, each from the m others that are nearest to it."""
    m = min(m, len(model.X) - 1)
    points = model.X[rows]

    def chosen(here: slice) -> NDArray[np.int32]:
        near = nearest(model.tree, points[here], m + 1, threads)
        own = near == rows[here, np.newaxis]
        own[~own.any(axis=1), 0] = True  # m + 1 others are as near as the point itself: any of them may go
        others: NDArray[np.int32] = near[~own].reshape(-1, m)
        return others

    return _predict(model, points, m, chosen, 0.0, threads, leaves_out)


def _predict(
    model: LocalPosterior,
    points: Array,
    m: int,
    neighbors_of: Callable[[slice], NDArray[np.int32]],
    noise: float | Array,
    threads: int,
    leaves_out: bool,
) -> LocalPredictions | Failure:
    q, d, term = len(points), model.X.shape[1], model.term
    mean, variance = np.empty((q, model.y.shape[1])), np.empty(q)
    step = min(_STEP, max(1, _ENTRIES // m))
    for start in range(0, q, step):
        here = slice(start, start + step)
        neighbors, chosen = neighbors_of(here), read_only(points[here])
        kernel, failures = compiled(term.kernel), np.full(len(chosen), -1)
        data = (model.X, model.y, model.known, 1.0 / term.length_scale)
        run(
            len(chosen) * (m**3 / 3.0 + m**2 * (1.5 * d + 10.0)), threads, loops.predict, new_state(), *kernel,
            term.signal_variance, model.noise, NO_NOISE * term.signal_variance, *data, read_only(neighbors), chosen,
            model.offset, mean[here], variance[here], failures,
        )  # fmt: skip
        bad, refused = np.flatnonzero(failures >= 0), np.flatnonzero(failures >= (m if leaves_out else 0))
        if refused.size:
            return failure(model, neighbors[refused[0]], int(failures[refused[0]] % m))
        if bad.size:
            of_bad = np.empty((bad.size, model.y.shape[1])), np.empty(bad.size)
            run(
                bad.size * m**2 * (m + 2.0 * d + 20.0), threads, loops.predict_independent, new_state(), *kernel,
                term.signal_variance, model.noise, *data, read_only(neighbors[bad]), read_only(chosen[bad]), model.offset,
                *of_bad,
            )  # fmt: skip
            mean[here][bad], variance[here][bad] = of_bad
    return LocalPredictions(mean, np.sqrt(np.maximum(variance + noise, 0.0)))


def failure(model: LocalPosterior, neighbors: NDArray[np.integer[Any]], row: int) -> Failure:
    """The failure of one of a point's neighbours, as rows of X."""
    U = ((model.X[neighbors] - model.X[neighbors[row]]) / model.term.length_scale).T
    _, nearest_row, distance = failure_at([U], row)
    return Failure(int(neighbors[row]), None if nearest_row is None else int(neighbors[nearest_row]), distance)


def most_by_rounding(diagonal: Array) -> float:
    """The largest pivot of a matrix with that diagonal that is nothing but rounding."""
    return float(ROUNDING * diagonal.max())


def rounding_errors(pivots: Array, diagonal: Array) -> NDArray[np.int64]:
    """Which pivots of a matrix with that diagonal are nothing but rounding."""
    return np.flatnonzero(pivots <= ROUNDING * diagonal)
