"""A term of the covariance, and its points in units of its length scales."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.loops import pairs
from fastard._numba.cpu import ROWS
from fastard.kernels import Kernel

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


@lru_cache(maxsize=64)
def _all_columns(d: int) -> NDArray[np.int64]:
    return np.arange(d)


def used_columns(term: Term, d: int) -> NDArray[np.int64]:
    """The columns of X that the term is over."""
    return _all_columns(d) if term.columns is None else np.asarray(term.columns, dtype=np.int64)


def scale(X: Array, center: Array, columns: NDArray[np.int64], length_scale: Array) -> Array:
    """The given columns of X, less the center, over their length scales: (columns, n and some zeros)."""
    U = np.zeros((columns.size, pairs.round_up(len(X), ROWS)))
    pairs.scale_points(read_only(X), read_only(center), columns, np.array(length_scale), U)
    return U


def central(X: Array) -> Array:
    """Of each column the value nearest its median, (d,): what is subtracted before the division, so that neither an outlier
    nor a distance from the origin costs the other points digits, and constant columns become exactly 0."""
    if X.shape[1] == 0:
        return np.empty(0)
    middle = X.shape[0] // 2
    values: Array = np.partition(X, middle, axis=0)[middle].copy()  # not a view that keeps all of X's size
    return values


def ordered_columns(term: Term, d: int) -> tuple[NDArray[np.int64], int, bool]:
    """The term's columns of X, the free ones first; how many are free, 1 where they are tied; whether they are."""
    columns = used_columns(term, d)
    if term.tied and columns.size > 0:
        return columns, 1, True
    free = columns.size
    if term.free is not None:
        is_free = term.free[columns]
        columns = np.concatenate([columns[is_free], columns[~is_free]])
        free = int(np.count_nonzero(is_free))
    return columns, free, False


def scaled(term: Term, X: Array, center: Array) -> Scaled:
    """The term's scaled points, the free columns first."""
    columns, free, tied = ordered_columns(term, X.shape[1])
    return Scaled(scale(X, center, columns, term.length_scale), free, tied, columns)


def term_gradient(term: Term, points: Scaled, total: Array, d: int) -> TermGradient:
    """What ``pairs.product_tile`` has found, summed over the tiles, in the places of X's d columns."""
    free = points.free
    return TermGradient(_spread_out(total[:free], points.columns, d), float(total[free]), total[free + 1 :])


def _spread_out(by_dimension: Array, columns: NDArray[np.int64], d: int) -> Array:
    """The free columns' derivatives in the places of X's d columns, 0 elsewhere."""
    if columns is _all_columns(d) and by_dimension.size == d:
        return by_dimension
    result = np.zeros(d)
    result[columns[: by_dimension.size]] = by_dimension
    return result
