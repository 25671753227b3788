"""One evaluation with what generalised least squares estimate beside it: the mean's coefficients, the outputs' variances.

With y = E c + f + noise, E (n, p) the basis, everything follows from the solution of K [.] = [y, E], which one evaluation
gives: A = E' K^-1 E = C C', c = A^-1 E' K^-1 y, and B = K^-1 E C^-T, whose B B' is what K^-1 exceeds
P = K^-1 - K^-1 E A^-1 E' K^-1 by, the matrix that takes the mean out: P y = K^-1 (y - E c) = alpha. The value's derivatives
are <Q, dK> / 2 with Q = alpha alpha' - m K^-1, because c is where the likelihood is largest; or with P in the place of K^-1
where the coefficients are integrated out.

Where each output t has a variance s_t of its own, the likelihood is largest at s_t = y_t' P y_t / n, and what is left is an
evaluation of y_t / sqrt(s_t), for the same reason: Q has alpha_t / sqrt(s_t) in the place of alpha_t.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from fastard._arrays import Array
from fastard._blas import one_blas_thread
from fastard._engine.cross import product
from fastard._engine.evaluate import Evaluation, _failed, evaluate, failure_at
from fastard._engine.loops import pairs
from fastard._engine.sizes import PAIR_FLOPS, Watch, evaluation_threads, run
from fastard._engine.terms import _NO_SHAPE, Scaled, Term, TermGradient, _spread_out, ordered_columns, scaled, term_gradient
from fastard._engine.workspace import Workspace
from fastard._numba.threads import new_state

_ROWS = 256  # of the inverse at a time


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
    P with ``inverse``, K^-1 with ``gradient`` alone, otherwise L.
    """
    (n, m), p = y.shape, basis.shape[1]
    restricted = restricted and p > 0
    found = evaluate(
        terms, X, np.hstack([y, basis]) if p else y, diagonal, workspace, gradient=False, threads=threads, center=center,
        inverse=gradient or inverse, watch=watch,
    )  # fmt: skip
    if found.failure is not None:
        return found
    alpha, B = found.alpha, basis
    # An overflow is the caller's to see in the value.
    with one_blas_thread() if p else contextlib.nullcontext(), np.errstate(all="ignore"):
        if p:
            solved = found.alpha[:, m:]
            try:
                factor = np.linalg.cholesky(basis.T @ solved)  # of which it reads one triangle
            except np.linalg.LinAlgError:  # positive definite as K is, but for rounding
                return _failed(failure_at([scaled(term, X, center).U[:, :n] for term in terms], n - 1))
            half = np.linalg.inv(factor)
            B = solved @ half.T
            coefficients = half.T @ (B.T @ y)
            alpha, y = found.alpha[:, :m] - solved @ coefficients, y - basis @ coefficients
        fits, count = np.einsum("jt,jt->t", y, alpha), n - p if restricted else n
        units = np.sqrt(fits / count) if own_variances else np.ones(m)
        fit = count * m if own_variances else float(np.add.reduce(fits))
        value = -0.5 * fit - m * float(np.add.reduce(workspace.logs[0])) - 0.5 * count * m * math.log(2.0 * math.pi)
        value -= count * float(np.add.reduce(np.log(units)))
        if restricted:
            value -= m * float(np.log(factor.diagonal()).sum())
        weights = np.empty(0)
        gradients: tuple[TermGradient, ...] = ()
        if gradient:
            in_units = alpha / units
            weights = np.einsum("jt,jt->j", in_units, in_units) - m * workspace.matrix.diagonal()
            if restricted:
                weights += m * np.sum(B**2, axis=1)
            of_variance = 0.5 * (fit - count * m - float(np.sum(diagonal * weights)))
            rows, share = (np.hstack([in_units, math.sqrt(m) * B]), m / (m + p)) if restricted else (in_units, 1.0)
            gradients = _contracted(terms, X, center, workspace, rows / math.sqrt(share), share, of_variance, threads)
        if inverse and p:
            for start in range(0, n, _ROWS):  # the upper triangle, by rows
                workspace.matrix[start : start + _ROWS, start:] -= B[start : start + _ROWS] @ B[start:].T
    return Evaluation(None, value, np.ascontiguousarray(alpha), weights, gradients)


def _contracted(
    terms: Sequence[Term],
    X: Array,
    center: Array,
    workspace: Workspace,
    rows: Array,
    share: float,
    of_variance: float,
    threads: int,
) -> tuple[TermGradient, ...]:
    """The derivatives for the weights share (rows rows' - t K^-1), rows (n, t): the sum that the compiled loops know."""
    n, t = rows.shape
    threads = evaluation_threads(n, threads)
    workspace.rhs[:t, :n] = rows.T
    if len(terms) > 1 or len(terms[0].kernel):
        found = []
        for term in terms:
            points = scaled(term, X, center)
            total = product(term, points, workspace.buffer, workspace.rhs, t, n, workspace.tile, threads)
            found.append(term_gradient(term, points, share * total, X.shape[1]))
        return tuple(found)
    columns, free, tied = ordered_columns(terms[0], X.shape[1])
    points = Scaled(workspace.scaled_points(columns.size), free, tied, columns)  # as the evaluation has left them
    partial = np.empty((workspace.pairs_of_tiles, free))
    run(
        0.5 * PAIR_FLOPS * n * n * (free + 8), threads, pairs.contract, new_state(), points.U, free, tied, workspace.buffer,
        workspace.rhs, t, n, workspace.tile, partial,
    )  # fmt: skip
    return (TermGradient(_spread_out(share * partial.sum(axis=0), columns, X.shape[1]), of_variance, _NO_SHAPE),)
