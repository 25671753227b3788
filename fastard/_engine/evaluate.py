"""One evaluation of the log marginal likelihood and its gradient: scale, fill, factor, invert, contract."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.cross import product
from fastard._engine.loops import pairs
from fastard._engine.loops.schedule import CONTRACT, FILL, INVERT, PIVOTS, collect, work
from fastard._engine.loops.sweep import ROUNDING, back_substitute
from fastard._engine.sizes import PAIR_FLOPS, Watch, evaluation_threads, run
from fastard._engine.terms import _NO_SHAPE, Term, TermGradient, _spread_out, central, scaled, term_gradient
from fastard._engine.workspace import Workspace
from fastard._numba.threads import FAILED, new_state
from fastard.kernels import RBF

NO_NOISE = 0.5 * ROUNDING  # of the signal's variance: noise below that leaves two equal rows a pivot that is only rounding

_LOG_2_PI = float(np.log(2.0 * np.pi))


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
    d = X.shape[1]
    center = central(X) if center is None else center
    points = [scaled(term, X, center) for term in terms]
    signal = terms[0].signal_variance if len(terms) == 1 else sum(term.signal_variance for term in terms)
    if not (isinstance(diagonal, float) and diagonal > NO_NOISE * signal):
        failure = equal_rows([of_term.U[:, :n] for of_term in points], diagonal, signal)
        if failure is not None:
            return _failed(failure)
    threads = evaluation_threads(n, threads)
    if isinstance(diagonal, float):
        workspace.diagonal.fill(diagonal)
    else:
        workspace.diagonal[:] = diagonal
    stages = INVERT if gradient or inverse else 0
    kernel = terms[0].kernel
    U, free, tied, columns = points[0]
    if len(terms) == 1:
        stages |= FILL
        if gradient and len(kernel) == 0:
            stages |= CONTRACT
    else:
        for index, (term, of_term) in enumerate(zip(terms, points, strict=True)):
            run(
                0.5 * PAIR_FLOPS * n * n * (len(of_term.U) + 8), threads, pairs.fill, new_state(), term.kernel,
                term.signal_variance, of_term.U, workspace.buffer, workspace.diagonal, n, workspace.tile, index > 0,
            )  # fmt: skip
        kernel = RBF()  # not used, and compiled already
    workspace.targets[:] = y
    partial = np.empty((workspace.pairs_of_tiles if stages & CONTRACT else 0, free))
    state = new_state(workspace.places)
    flops = float(n) ** 3 if stages & INVERT else float(n) ** 3 / 3.0
    run(
        flops, threads, work, state,
        kernel, signal, U, free, tied, workspace.diagonal, workspace.buffer, workspace.rhs, n, m, workspace.space,
        workspace.pivot, workspace.logs, partial, workspace.tile, workspace.block, stages,
        watch=None if watch is None else _watching_steps(watch, workspace.logs.shape[1], stages),
    )  # fmt: skip
    alpha, weights, by_dimension = np.empty((n, m)), np.empty(n if gradient else 0), np.empty(free)
    if state[FAILED]:
        return _failed(failure_at([of_term.U for of_term in points], int(state[FAILED]) - 1))
    if not stages & INVERT:
        back_substitute(workspace.buffer, workspace.rhs, n, m)
    half_log_determinant, fit, of_variance = collect(
        workspace.buffer, workspace.rhs, n, m, workspace.logs, partial, free, workspace.diagonal, alpha, weights, by_dimension
    )
    value = -0.5 * fit - m * half_log_determinant - 0.5 * n * m * _LOG_2_PI
    if not gradient:
        return Evaluation(None, value, alpha, weights, ())
    if stages & CONTRACT:
        gradients = [TermGradient(_spread_out(by_dimension, columns, d), of_variance, _NO_SHAPE)]
    else:
        gradients = []
        for term, of_term in zip(terms, points, strict=True):
            total = product(term, of_term, workspace.buffer, workspace.rhs, m, n, workspace.tile, threads)
            gradients.append(term_gradient(term, of_term, total, d))
    return Evaluation(None, value, alpha, weights, tuple(gradients))


def _watching_steps(watch: Watch, steps: int, stages: int) -> Callable[[NDArray[np.int64]], None]:
    """Tells ``watch`` how far `work` has come: the steps of the sweep cost the same, those of a factorisation ever less."""

    def look(state: NDArray[np.int64]) -> None:
        done = min(1.0, int(state[PIVOTS]) / steps)
        watch(done if stages & INVERT else 1.0 - (1.0 - done) ** 3)

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
