"""evaluate(): the one door between everything above and the compiled code."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _loo, _loops
from fastard._loops import round_up
from fastard._microkernel import COLS, ROWS
from fastard._schedule import CONTRACT, FILL, INVERT, PIVOTS, block_rows, collect, space_doubles, state_places, work
from fastard._spd import ROUNDING, back_substitute
from fastard._threads import FAILED, new_state, rouse, share, share_watched
from fastard._validation import Array, large_array, read_only
from fastard.kernels import RBF, Kernel

# Below so many points one thread does all: waking a second takes 30 to 60 microseconds, an evaluation at n = 160 takes 350.
_SHARED_FROM = 160
# For a loop over pairs alone: pairs times dimensions.
_SERIAL_PAIRS = 300_000
# From so many flops on, a tenth of a second or more, Ctrl-C is answered meanwhile; that costs 0.1 ms.
_WATCHED_FROM = 8e9
NO_NOISE = 0.5 * ROUNDING  # of the signal's variance: noise below that leaves two equal rows a pivot that is only rounding
PAIR_FLOPS = 4.0  # of a pair of points and a dimension, roughly
Watch = Callable[[float], None]  # called with how much of something is done, from 0 to 1
_LOG_2_PI = float(np.log(2.0 * np.pi))
_NO_SHAPE = np.zeros(0)


class Term(NamedTuple):
    """One term of the covariance: signal_variance k(s), with s over ``columns`` of X (all where None)."""

    kernel: Kernel
    length_scale: Array  # (d,), for all columns of X
    signal_variance: float
    free: NDArray[np.bool_] | None = None  # (d,), the length scales whose derivatives are wanted; None: all
    columns: NDArray[np.int64] | None = None
    tied: bool = False  # all its length scales are one free parameter, whose derivative needs no loop over dimensions


class TermGradient(NamedTuple):
    """Derivatives of the log marginal likelihood with respect to one term's parameters."""

    log_length_scale: Array  # (d,), 0 where frozen or not among the term's columns; of tied ones the sum, at the first
    log_signal_variance: float
    log_shape: Array  # (p,)


class Scaled(NamedTuple):
    """A term's points in units of its length scales."""

    U: Array  # (columns.size, n and some zeros)
    free: int  # so many of its first columns have a derivative; 1 where tied
    tied: bool
    columns: NDArray[np.int64]  # of X


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


class Workspace:
    """The one n x n buffer of an evaluation and O(n) beside it, to be used again; never by two threads at once."""

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m
        self.tile, self.block = sizes(n)
        leading = round_up(n, ROWS)
        if leading % 64 == 0:  # columns 512 bytes apart fall into the same few sets of the first cache
            leading += ROWS
        self.buffer = large_array(round_up(n, COLS), leading, training_points=n)
        self.clear_padding()
        self.rhs = np.zeros((round_up(m, ROWS), round_up(n, ROWS)))
        self.targets = self.rhs[:m, :n].T  # (n, m)
        self.space = np.empty(space_doubles(n, m, self.block))
        rows = block_rows(n, self.block)
        self.pivot = np.empty((rows, rows))
        self.logs = np.empty((1 + m, -(-n // self.block)))
        self.diagonal = np.empty(n)
        tiles = -(-n // self.tile)
        self.pairs_of_tiles = tiles * (tiles + 1) // 2
        self.places = state_places(n, self.tile, self.block)

    def clear_padding(self) -> None:
        """The zeros beyond n, which an evaluation needs and leaves."""
        self.buffer[self.n :] = 0.0
        self.buffer[: self.n, self.n :] = 0.0

    @property
    def matrix(self) -> Array:
        """(n, n): after an evaluation, K^-1 or L, element (i, j) with i >= j at [j, i]."""
        return self.buffer[: self.n, : self.n]

    def symmetric(self, threads: int) -> Array:
        """``matrix`` with its lower triangle filled from the upper one, in place: K^-1 whole."""
        share(threads_for(self.n * self.n, threads), _loo.mirror, new_state(), self.buffer, self.n, self.tile)
        return self.matrix

    def release(self) -> Array:
        """``matrix`` made contiguous in its own memory; the workspace is not to be used again."""
        n, leading = self.n, self.buffer.shape[1]
        flat = self.buffer.ravel()
        for j in range(1, n):  # forwards: each row moves to where earlier ones have gone
            flat[j * n : (j + 1) * n] = flat[j * leading : j * leading + n]
        return flat[: n * n].reshape(n, n)


def spare_workspace(spare: list[Workspace], n: int, m: int) -> Workspace:
    """A spare workspace where there is one that fits, or a new one: who takes it owns it, and may append it when done.

    Operations on a list are indivisible, and an interrupt between two loses a buffer where it would leave a lock locked.
    """
    try:
        workspace = spare.pop()
    except IndexError:  # the first evaluation, or another thread has it
        return Workspace(n, m)
    if (workspace.n, workspace.m) == (n, m):
        return workspace
    del workspace  # not two at once
    return Workspace(n, m)


@contextmanager
def borrowed(spare: list[Workspace], n: int, m: int) -> Iterator[Workspace]:
    """A workspace that nobody else has meanwhile, and that is the one spare one afterwards."""
    workspace = spare_workspace(spare, n, m)
    try:
        yield workspace
    finally:
        spare[:] = [workspace]


def sizes(n: int) -> tuple[int, int]:
    """Tile and block: the tasks are updates of tile x tile elements with depth block, the columns of a step of the sweep.

    CPU time on one thread over n^3 flops at one-thread dgemm's rate, whole evaluation: n = 100: (48, 48) 4.45, (24, 24) 4.8;
    n = 250: (72, 72) 1.78, (48, 48) 1.80 and more even tasks; n = 500: (72, 72) 1.40, (96, 96) 1.46, (48, 48) 1.53;
    n = 1000: (96, 96) 1.24, (72, 72) 1.28, (96, 192) 1.24; n = 2000: (96, 192) 1.10, (96, 96) 1.14, (72, 72) 1.2;
    n = 4000: (96, 192) 1.10, (96, 288) 1.13, (120, 240) 1.16. From n = 2000 on, Z (n x block) must fit a tenth of the matrix.
    """
    if n < 350:
        return 48, 48
    if n < 700:
        return 72, 72
    if n < 2000:
        return 96, 96
    if n < 2600:
        return 120, 120
    if n < 3400:
        return 72, 144
    return 96, 192


def evaluation_threads(n: int, threads: int) -> int:
    """``threads``, or 1 where n^3 flops are too few to share."""
    return threads if n >= _SHARED_FROM else 1


def announce(n: int, threads: int) -> None:
    """An evaluation follows at once: helpers wake up while Python prepares it."""
    if evaluation_threads(n, threads) > 1:
        rouse(threads)


def threads_for(work: int, threads: int) -> int:
    """``threads``, or 1 where a loop's work (pairs times dimensions) is too small to share."""
    return threads if work >= _SERIAL_PAIRS else 1


def run(flops: float, threads: int, function: Callable[..., Any], state: Any, *arguments: Any, watch: Any = None) -> None:
    """`share`, or `share_watched` where it takes so long that somebody may want to interrupt it."""
    if flops < _WATCHED_FROM:
        share(threads, function, state, *arguments)
    else:
        share_watched(threads, function, state, *arguments, watch=watch)


@lru_cache(maxsize=64)
def _all_columns(d: int) -> NDArray[np.int64]:
    return np.arange(d)


def used_columns(term: Term, d: int) -> NDArray[np.int64]:
    """The columns of X that the term is over."""
    return _all_columns(d) if term.columns is None else np.asarray(term.columns, dtype=np.int64)


def scale(X: Array, center: Array, columns: NDArray[np.int64], length_scale: Array) -> Array:
    """The given columns of X, less the center, over their length scales: (columns, n and some zeros)."""
    return _loops.scale(read_only(X), read_only(center), columns, read_only(length_scale))  # type: ignore[no-any-return]


def central(X: Array) -> Array:
    """Of each column the value nearest its median, (d,): what is subtracted before the division, so that neither an outlier
    nor a distance from the origin costs the other points digits, and constant columns become exactly 0."""
    if X.shape[1] == 0:
        return np.empty(0)
    middle = X.shape[0] // 2
    values: Array = np.partition(X, middle, axis=0)[middle].copy()  # not a view that keeps all of X's size
    return values


def scaled(term: Term, X: Array, center: Array) -> Scaled:
    """The term's scaled points, the free columns first."""
    columns = used_columns(term, X.shape[1])
    if term.tied and columns.size > 0:
        return Scaled(scale(X, center, columns, term.length_scale), 1, True, columns)
    free = columns.size
    if term.free is not None:
        is_free = term.free[columns]
        columns = np.concatenate([columns[is_free], columns[~is_free]])
        free = int(np.count_nonzero(is_free))
    return Scaled(scale(X, center, columns, term.length_scale), free, False, columns)


def product(term: Term, points: Scaled, Q: Array, alpha: Array, targets: int, n: int, tile: int, threads: int) -> Array:
    """Derivatives by [ln length_scale of the free columns, ln variance, ln shape ...]; see ``_loops.product``."""
    tiles = -(-n // tile)
    partial = np.empty((tiles * (tiles + 1) // 2, points.free + 1 + len(term.kernel)))
    run(
        0.5 * PAIR_FLOPS * n * n * (points.free + 8), threads, _loops.product, new_state(),
        term.kernel, term.signal_variance, points.U, points.free, points.tied, read_only(Q), alpha, targets, n, tile, partial,
    )  # fmt: skip
    return partial.sum(axis=0)  # type: ignore[no-any-return]


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
                0.5 * PAIR_FLOPS * n * n * (len(of_term.U) + 8), threads, _loops.fill, new_state(), term.kernel,
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


def term_gradient(term: Term, points: Scaled, total: Array, d: int) -> TermGradient:
    """What ``_loops.product_tile`` has found, summed over the tiles, in the places of X's d columns."""
    free = points.free
    return TermGradient(_spread_out(total[:free], points.columns, d), float(total[free]), total[free + 1 :])


def _spread_out(by_dimension: Array, columns: NDArray[np.int64], d: int) -> Array:
    """The free columns' derivatives in the places of X's d columns, 0 elsewhere."""
    if columns is _all_columns(d) and by_dimension.size == d:
        return by_dimension
    result = np.zeros(d)
    result[columns[: by_dimension.size]] = by_dimension
    return result
