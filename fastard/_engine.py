"""evaluate(): the one door between everything above and the compiled code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _loops, _spd
from fastard._threads import share
from fastard._validation import Array, read_only, square_buffer
from fastard.kernels import Kernel

# Below this many pairs times dimensions one thread does all: waking a second takes 30 to 60 microseconds.
_SERIAL_WORK = 300_000


class Term(NamedTuple):
    """One term of the covariance: signal_variance k(s), with s over ``columns`` of X (all where None)."""

    kernel: Kernel
    length_scale: Array  # (d,), for all columns of X
    signal_variance: float
    free: NDArray[np.bool_] | None = None  # (d,), the length scales whose derivatives are wanted; None: all
    columns: NDArray[np.int64] | None = None


class TermGradient(NamedTuple):
    """Derivatives of the log marginal likelihood with respect to one term's parameters."""

    log_length_scale: Array  # (d,), 0 where frozen or not among the term's columns
    log_signal_variance: float
    log_shape: Array  # (p,)


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found; ``failed_pivot`` is -1, or the row of X at which K is not positive definite."""

    failed_pivot: int
    log_marginal_likelihood: float
    alpha: Array  # (n, m), K^-1 y
    diagonal_weights: Array = field(
        default_factory=lambda: np.empty(0)
    )  # (n,), the diagonal of Q = alpha alpha' - m K^-1; with the gradient
    gradients: tuple[TermGradient, ...] = ()


class Workspace:
    """The one n x n buffer of an evaluation, to be used again; never by two threads at once."""

    def __init__(self, n: int) -> None:
        self.buffer = square_buffer(n)


def threads_for(work: int, threads: int) -> int:
    """``threads``, or 1 where the work (pairs times dimensions) is too small to share."""
    return threads if work >= _SERIAL_WORK else 1


def scale(X: Array, center: Array, columns: NDArray[np.int64], length_scale: Array) -> Array:
    """The given columns of X, less the center, over their length scales: (columns, n)."""
    return _loops.scale(read_only(X), read_only(center), columns, read_only(length_scale))  # type: ignore[no-any-return]


def scaled(term: Term, X: Array) -> tuple[Array, int, NDArray[np.int64]]:
    """The term's scaled points (its columns, d_term x n), how many of them are free, and which: free columns first."""
    columns = np.arange(X.shape[1]) if term.columns is None else np.asarray(term.columns, dtype=np.int64)
    free = columns.size
    if term.free is not None:
        is_free = term.free[columns]
        columns = np.concatenate([columns[is_free], columns[~is_free]])
        free = int(is_free.sum())
    return scale(X, X[0], columns, term.length_scale), free, columns


def evaluate(
    terms: Sequence[Term],
    X: Array,
    y: Array,
    diagonal: Array | float,
    workspace: Workspace,
    *,
    gradient: bool,
    threads: int,
) -> Evaluation:
    """The log marginal likelihood of K = sum of terms + diag(diagonal), and where asked its derivatives.

    R&W (2.30) and (5.9). X is (n, d) and y (n, m). Afterwards the workspace's buffer holds, in the lower triangle of its
    transpose, K^-1 with ``gradient`` and the Cholesky factor L without; its other strict triangle holds nothing of use.
    """
    n, m = y.shape
    A = workspace.buffer
    pairs = n * (n + 1) // 2
    tiles = _loops.tile_count(n)
    points = [scaled(term, X) for term in terms]
    for index, (term, (U, _, _)) in enumerate(zip(terms, points, strict=True)):
        workers = threads_for(pairs * (U.shape[0] + 8), threads)
        share(_loops.fill, tiles, workers, term.kernel, term.signal_variance, U, A, index > 0)
    A.ravel()[:: n + 1] += diagonal

    failed_pivot = _spd.factor(A)
    if failed_pivot >= 0:
        return Evaluation(failed_pivot, -np.inf, np.empty((0, m)))
    alpha = _spd.solve(A, y)
    fit = float(np.einsum("nt,nt->", y, alpha))
    value = -0.5 * (fit + m * _spd.log_determinant(A) + n * m * np.log(2.0 * np.pi))
    if not gradient:
        return Evaluation(-1, value, alpha)

    _spd.invert(A)
    rows = np.ascontiguousarray(alpha.T)
    diagonal_weights = np.einsum("tn,tn->n", rows, rows) - m * np.diagonal(A)
    gradients = []
    for term, (U, free, columns) in zip(terms, points, strict=True):
        d = X.shape[1]
        by_dimension = np.zeros(d)
        workers = threads_for(pairs * (U.shape[0] + 8), threads)
        if len(terms) == 1 and len(term.kernel) == 0:
            partial = np.zeros((tiles, free))
            if free:
                share(_loops.likelihood_product, tiles, workers, U, free, A, rows, partial)
            of_variance = 0.5 * (fit - n * m - float(np.sum(diagonal_weights * diagonal)))
            of_shape = np.zeros(0)
            by_dimension[columns[:free]] = partial.sum(axis=0)
        else:
            partial = np.zeros((tiles, free + 2))
            share(_loops.product, tiles, workers, term.kernel, term.signal_variance, U, free, read_only(A), rows, partial)
            total = partial.sum(axis=0)
            by_dimension[columns[:free]] = total[:free]
            of_variance, of_shape = float(total[free]), total[free + 1 : free + 1 + len(term.kernel)]
        gradients.append(TermGradient(by_dimension, of_variance, of_shape))
    return Evaluation(-1, value, alpha, diagonal_weights, tuple(gradients))
