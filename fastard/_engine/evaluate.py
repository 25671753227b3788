"""One evaluation of the log marginal likelihood and its gradient: scale, fill, factor, invert, contract."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.cross import product
from fastard._engine.loops import pairs
from fastard._engine.loops.likelihood import OF_LENGTH_SCALES, OF_VARIANCE, VALUE, log_marginal_likelihood
from fastard._engine.loops.objective import NO_NOISE
from fastard._engine.loops.profiles import compiled
from fastard._engine.loops.schedule import CONTRACT, FILL, INVERT, PIVOTS
from fastard._engine.loops.sweep import ROUNDING
from fastard._engine.sizes import PAIR_FLOPS, Watch, evaluation_threads, run
from fastard._engine.terms import (
    _NO_SHAPE,
    Scaled,
    Term,
    TermGradient,
    _spread_out,
    central,
    ordered_columns,
    scaled,
    term_gradient,
)
from fastard._engine.workspace import Workspace
from fastard._numba.threads import FAILED, new_state

_NO_COLUMNS = np.empty(0, dtype=np.int64)


class Failure(NamedTuple):
    """Where K is not positive definite."""

    row: int  # of X
    nearest_row: int | None  # of the rows before it
    distance: float  # between the two, in length scales


class Evaluation(NamedTuple):
    """What one evaluation found; nothing but the ``failure`` where K is not positive definite."""

    failure: Failure | None
    log_marginal_likelihood: float
    alpha: Array  # (n, m), K^-1 y
    diagonal_weights: Array  # (n,), the diagonal of Q = alpha alpha' - m K^-1; empty without the gradient
    gradients: tuple[TermGradient, ...]


def evaluate(
    terms: Sequence[Term],
    X: Array,
    y: Array,
    diagonal: Array | float,
    workspace: Workspace,
    *,
    gradient: bool,
    threads: int,
    center: Array | None = None,
    inverse: bool = False,
    watch: Watch | None = None,
) -> Evaluation:
    """The log marginal likelihood of K = sum of terms + diag(diagonal), and where asked its derivatives.

    R&W (2.30) and (5.9). X is (n, d) and y (n, m); ``center`` is ``central(X)``, for who calls often. Afterwards the
    workspace's matrix holds K^-1 with ``gradient`` or ``inverse``, and the Cholesky factor L otherwise. ``watch`` is called
    now and then with how much of a long evaluation is done, from 0 to 1; what it raises ends the evaluation.
    """
    n, m = y.shape
    center = central(X) if center is None else center
    threads = evaluation_threads(n, threads)
    signal = terms[0].signal_variance if len(terms) == 1 else sum(term.signal_variance for term in terms)
    if not (isinstance(diagonal, float) and diagonal > NO_NOISE * signal):
        failure = equal_rows([scaled(term, X, center).U[:, :n] for term in terms], diagonal, signal)
        if failure is not None:
            return _failed(failure)
    if isinstance(diagonal, float):
        workspace.diagonal.fill(diagonal)
    else:
        workspace.diagonal[:] = diagonal
    stages = INVERT if gradient or inverse else 0
    points: list[Scaled] = []
    if len(terms) == 1:
        stages |= FILL
        if gradient and len(terms[0].kernel) == 0:
            stages |= CONTRACT
    else:
        points = [scaled(term, X, center) for term in terms]
        for index, (term, of_term) in enumerate(zip(terms, points, strict=True)):
            run(
                0.5 * PAIR_FLOPS * n * n * (len(of_term.U) + 8), threads, pairs.fill, new_state(), *compiled(term.kernel),
                term.signal_variance, of_term.U, workspace.buffer, workspace.diagonal, n, workspace.tile, index > 0,
            )  # fmt: skip
    workspace.targets[:] = y
    columns, free, tied = ordered_columns(terms[0], X.shape[1]) if stages & FILL else (_NO_COLUMNS, 0, False)
    partial = np.empty((workspace.pairs_of_tiles if stages & CONTRACT else 0, free))
    state = new_state(workspace.places)
    alpha, weights, out = np.empty((n, m)), np.empty(n if gradient else 0), np.empty(OF_LENGTH_SCALES + free)
    run(
        float(n) ** 3 if stages & INVERT else float(n) ** 3 / 3.0, threads, log_marginal_likelihood, state,
        *compiled(terms[0].kernel), signal, read_only(X), read_only(center), columns, np.array(terms[0].length_scale), free,
        tied, workspace.scaled_points(columns.size), workspace.diagonal, workspace.buffer, workspace.rhs, n, m,
        workspace.space, workspace.pivot, workspace.logs, partial, workspace.tile, workspace.block, stages, alpha, weights,
        out,
        watch=None if watch is None else watching_steps(watch, workspace.logs.shape[1], stages),
    )  # fmt: skip
    if state[FAILED]:
        return _failed(failure_at([scaled(term, X, center).U for term in terms], int(state[FAILED]) - 1))
    value = float(out[VALUE])
    if not gradient:
        return Evaluation(None, value, alpha, weights, ())
    if stages & CONTRACT:
        by_dimension = _spread_out(out[OF_LENGTH_SCALES:], columns, X.shape[1])
        gradients = [TermGradient(by_dimension, float(out[OF_VARIANCE]), _NO_SHAPE)]
    else:
        gradients = []
        for term, of_term in zip(terms, points or [scaled(terms[0], X, center)], strict=True):
            total = product(term, of_term, workspace.buffer, workspace.rhs, m, n, workspace.tile, threads)
            gradients.append(term_gradient(term, of_term, total, X.shape[1]))
    return Evaluation(None, value, alpha, weights, tuple(gradients))


def watching_steps(watch: Watch, steps: int, stages: int) -> Callable[[NDArray[np.int64]], None]:
    """Tells ``watch`` how far `work` has come: the steps of the sweep cost the same, those of a factorisation ever less.

    It does not go back when the state begins anew, for what little comes after the sweep.
    """
    most = 0.0

    def look(state: NDArray[np.int64]) -> None:
        nonlocal most
        most = max(most, min(1.0, int(state[PIVOTS]) / steps))
        watch(most if stages & INVERT else 1.0 - (1.0 - most) ** 3)

    return look


def _failed(failure: Failure) -> Evaluation:
    return Evaluation(failure, -np.inf, np.empty((0, 0)), np.empty(0), ())


def least_pivot(diagonal: Array) -> Array:
    """What a pivot has to exceed, beside K's diagonal (n,): less is only rounding error."""
    return ROUNDING * diagonal


def failure_at(scaled_points: Sequence[Array], row: int) -> Failure:
    """The failure of a row, and the nearest of the rows before it."""
    if row == 0:
        return Failure(row, None, np.nan)
    with np.errstate(all="ignore"):
        squares = sum(((U[:, :row] - U[:, row, np.newaxis]) ** 2).sum(axis=0) for U in scaled_points)
    nearest = int(np.argmin(squares))
    return Failure(row, nearest, float(np.sqrt(squares[nearest])))


def equal_rows(scaled_points: Sequence[Array], diagonal: Array | float, variance: float) -> Failure | None:
    """The first row that is equal to one before it, (d, n) in each term, where both have no noise to speak of.

    K is singular then, but rounding may leave a positive pivot.
    """
    negligible = NO_NOISE * variance
    if isinstance(diagonal, float):
        if diagonal > negligible:
            return None
        rows = np.arange(scaled_points[0].shape[1])
    else:
        rows = np.flatnonzero(diagonal <= negligible)
    if rows.size < 2:
        return None
    U = np.concatenate([np.zeros((1, rows.size)), *(U[:, rows] for U in scaled_points)])  # there may be no column
    order = np.lexsort(U)  # equal rows stand together, and in their order
    repeated = np.flatnonzero((U[:, order[1:]] == U[:, order[:-1]]).all(axis=0))
    if repeated.size == 0:
        return None
    place = repeated[np.argmin(order[repeated + 1])]
    return Failure(int(rows[order[place + 1]]), int(rows[order[place]]), 0.0)
