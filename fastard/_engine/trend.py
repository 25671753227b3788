"""One evaluation with what generalised least squares estimate beside it: the mean's coefficients, the outputs' variances.

The value's derivatives are <Q, dK> / 2 with Q = alpha alpha' - m K^-1, because the coefficients are where the likelihood is
largest; or with P in the place of K^-1 where they are integrated out. See `loops/trend`.

Where each output t has a variance s_t of its own, the likelihood is largest at s_t = y_t' P y_t / n, and what is left is an
evaluation of y_t / sqrt(s_t), for the same reason: Q has alpha_t / sqrt(s_t) in the place of alpha_t.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastard._arrays import Array
from fastard._engine.cross import product
from fastard._engine.evaluate import Evaluation, _failed, evaluate, failure_at
from fastard._engine.loops import pairs
from fastard._engine.loops.likelihood import OF_VARIANCE, VALUE
from fastard._engine.loops.trend import least_squares, take_out, trend_of
from fastard._engine.sizes import PAIR_FLOPS, Watch, evaluation_threads, run
from fastard._engine.terms import _NO_SHAPE, Scaled, Term, TermGradient, _spread_out, ordered_columns, scaled, term_gradient
from fastard._engine.workspace import Workspace
from fastard._numba.threads import new_state


def evaluate_with_basis(
    terms: Sequence[Term],
    X: Array,
    y: Array,
    basis: Array,
    diagonal: Array | float,
    workspace: Workspace,
    *,
    restricted: bool,
    own_variances: bool = False,
    gradient: bool,
    threads: int,
    center: Array,
    inverse: bool = False,
    watch: Watch | None = None,
) -> Evaluation:
    """As `evaluate`, for y (n, m) with the mean basis @ c, the basis (n, p) with orthonormal columns, or none where p = 0.

    The value is the largest over c, R&W (2.30) of y - E c; or, ``restricted``, with c integrated out under a flat prior, R&W
    (2.45), which is the log density of the n - p orthonormal contrasts that y has beside the basis: Harville, Biometrika 61
    (1974), 383-385. With ``own_variances`` output t has the covariance s_t K, and the value is the largest over s too:
    Gu & Berger, Ann. Appl. Stat. 10 (2016), 1317-1347. Alpha is P y. The workspace is for m + p targets, and its matrix holds
    P with ``inverse``, with ``gradient`` alone K^-1 or where ``restricted`` P, otherwise L.
    """
    (n, m), p = y.shape, basis.shape[1]
    found = evaluate(
        terms, X, np.hstack([y, basis]), diagonal, workspace, gradient=False, threads=threads, center=center,
        inverse=gradient or inverse, watch=watch,
    )  # fmt: skip
    if found.failure is not None:
        return found
    trend = trend_of(basis, m, restricted and p > 0, own_variances)
    weights, out = np.empty(n if gradient else 0), np.empty(2)
    targets = np.array(y.T, order="C")
    if not least_squares(targets, trend, workspace.buffer, workspace.rhs, workspace.diagonal, workspace.logs, weights, out):
        return _failed(failure_at([scaled(term, X, center).U[:, :n] for term in terms], n - 1))
    with np.errstate(all="ignore"):  # an overflow is the caller's to see in the value
        alpha = np.ascontiguousarray((workspace.rhs[:m, :n] * trend.units[:, np.newaxis]).T)

    def without_mean() -> None:
        arguments = new_state(), trend.packed, workspace.buffer, n, workspace.tile
        run(float(trend.basis.size) * n, evaluation_threads(n, threads), take_out, *arguments)

    gradients: tuple[TermGradient, ...] = ()
    if trend.restricted and gradient:
        without_mean()
    if gradient:
        gradients = _contracted(terms, X, center, workspace, m, float(out[OF_VARIANCE]), threads)
    if inverse and p > 0 and not (trend.restricted and gradient):
        without_mean()
    return Evaluation(None, float(out[VALUE]), alpha, weights, gradients)


def _contracted(
    terms: Sequence[Term], X: Array, center: Array, workspace: Workspace, m: int, of_variance: float, threads: int
) -> tuple[TermGradient, ...]:
    """The derivatives for alpha alpha' - m times what stands in the buffer, alpha in the first m right-hand sides."""
    n = len(X)
    threads = evaluation_threads(n, threads)
    if len(terms) > 1 or len(terms[0].kernel):
        found = []
        for term in terms:
            points = scaled(term, X, center)
            total = product(term, points, workspace.buffer, workspace.rhs, m, n, workspace.tile, threads)
            found.append(term_gradient(term, points, total, X.shape[1]))
        return tuple(found)
    columns, free, tied = ordered_columns(terms[0], X.shape[1])
    points = Scaled(workspace.scaled_points(columns.size), free, tied, columns)  # as the evaluation has left them
    partial = np.empty((workspace.pairs_of_tiles, free))
    run(
        0.5 * PAIR_FLOPS * n * n * (free + 8), threads, pairs.contract, new_state(), points.U, free, tied, workspace.buffer,
        workspace.rhs, m, n, workspace.tile, partial,
    )  # fmt: skip
    return (TermGradient(_spread_out(partial.sum(axis=0), columns, X.shape[1]), of_variance, _NO_SHAPE),)
