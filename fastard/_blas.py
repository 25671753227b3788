"""What calls BLAS and LAPACK: a limit to one thread while ours compute, triangular solves, symmetric updates, factors."""

from __future__ import annotations

import os
import sys
import weakref
from _thread import get_ident
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, large_array


class _Library(NamedTuple):
    """One BLAS of this process."""

    get_threads: Callable[[], int | None]
    set_threads: Callable[[int], Any]


@lru_cache(maxsize=1)
def _libraries() -> list[_Library]:
    """Those of this process that threadpoolctl knows, found once (0.5 to 3 ms).

    Where threadpoolctl lets only one Python thread set OpenBLAS's number, and notes which under a lock of its own, that is
    passed by: it would stay with this thread after our limit, and a signal's handler that came just then would wait for ever.
    """
    import scipy.linalg  # noqa: F401  # so that its BLAS is there
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return [_Library(it.get_num_threads, getattr(it, "_real_set_num_threads", it.set_num_threads)) for it in found]


def one_blas_thread() -> _Limit:
    """``with one_blas_thread() as limited:`` has BLAS work on one thread inside, in the whole process, and afterwards on as
    many as before. Gives whether it is so.

    Around SciPy's L-BFGS-B, whose steps on tiny matrices wake OpenBLAS's threads, which would then spin beside our
    evaluations (docs/design/engine.md). Of several threads that are inside together, the first sets the limit and takes it
    back; so nobody takes another's limit for the usual number. (Who limits BLAS by threadpoolctl in another thread meanwhile
    may: that library keeps no count.)

    There is no lock: a signal's handler or a finaliser may train while its own thread is anywhere in here. Where an interrupt
    keeps a limit from being taken back, that is done when its object goes, or by who comes next.
    """
    return _Limit()


class _Limit:
    def __init__(self) -> None:
        self.before: list[tuple[_Library, int]] = []  # the usual numbers, if it is this one who has to take the limit back
        self.thread = get_ident()
        self.frame: FrameType | None = None  # that the ``with`` stands in
        self.claim = weakref.ref(self)

    def __enter__(self) -> bool:
        libraries = _libraries()
        try:
            self.frame = sys._getframe(1)
            if libraries and self._is_first():
                self.__class__ = _Held
                if not self.before:
                    numbers = [(library, library.get_threads()) for library in libraries]
                    self.before = [(library, number) for library, number in numbers if number is not None]
                for library, _ in self.before:
                    library.set_threads(1)
        except BaseException:
            self.__exit__()
            raise
        return bool(libraries)

    def __exit__(self, *_: object) -> None:
        global _claims
        self.restore()
        if list(_claims.values())[-1:] == [self.claim]:
            _claims = {}
        self.frame = None
        self.__class__ = _Limit

    def _is_first(self) -> bool:
        """Whether nobody else is inside; takes over from whoever went without taking the limit back."""
        while True:
            claims = _claims
            gone: list[_Limit | None] = []
            while (claim := claims.setdefault(len(gone), self.claim)) is not self.claim:  # indivisible
                other = claim()
                if other is not None and other._is_inside():
                    return False
                gone.append(other)
            for other in gone:
                if other is not None and other.before:
                    self.before, other.before = other.before, []
            if claims is _claims:
                return True

    def _is_inside(self) -> bool:
        """Whether the ``with`` is under way: its frame on this thread's stack, or its thread alive."""
        if self.thread != get_ident():
            return self.thread in sys._current_frames()
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.frame:
            frame = frame.f_back
        return frame is not None

    def restore(self) -> None:
        """At any time, and as often as one likes."""
        for library, number in self.before:
            library.set_threads(number)
        self.before = []


class _Held(_Limit):
    """Only while it has to be taken back: what a signal's handler raises during ``__del__`` is lost."""

    def __del__(self) -> None:
        self.restore()


_claims: dict[int, weakref.ref[_Limit]] = {}  # in order; all but the last one's have gone without taking the limit back


def _after_fork() -> None:
    """A child forked meanwhile has nobody else to give the threads back."""
    global _claims
    for claim in _claims.values():
        if (limit := claim()) is not None:
            limit.restore()
    _claims = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_STRIP = 256  # rows at a time, while a triangle is copied into the other


def solve(factor: Array, matrix: Array, *, transposed: bool = False, right: bool = False, overwrite: bool = False) -> Array:
    """L^-1 or L^-T times a matrix, or the matrix times it.

    ``factor`` has L in its upper triangle, by rows: element (i, j), i >= j, at [j, i]. The result takes the matrix's place
    where that may be overwritten and is held by columns.
    """
    from scipy.linalg.blas import dtrsm

    options = {"lower": 1, "trans_a": int(transposed), "side": int(right), "overwrite_b": int(overwrite)}
    return dtrsm(1.0, factor.T, matrix, **options)  # type: ignore[no-any-return]


def subtract_gram(matrix: Array, solved: Array) -> None:
    """Subtract solved' solved from a symmetric matrix (q, q), by rows, in place; solved (n, q) is held by columns."""
    from scipy.linalg.blas import dsyrk

    dsyrk(-1.0, solved, beta=1.0, c=matrix.T, trans=1, lower=1, overwrite_c=1)  # the upper triangle, by rows
    for start in range(0, matrix.shape[0], _STRIP):
        block = matrix[start : start + _STRIP, start : start + _STRIP]
        block[:] = np.triu(block) + np.triu(block, 1).T
        matrix[start + _STRIP :, start : start + _STRIP] = matrix[start : start + _STRIP, start + _STRIP :].T


def extend_factor(factor: Array, cross: Array, own: Array, noise: Array, least: Array) -> Array | int:
    """The factor of K with k more rows, laid out as in `solve`, from that of K, (n, n).

    ``cross`` (k, n) and ``own`` (k, k) are the new rows, whose diagonal lacks ``noise`` (k,); both are overwritten. Where a
    pivot is not finite and above its ``least`` (k,), the result is the number of the first such among the new rows.
    """
    from scipy.linalg.lapack import dpotrf

    n, k = factor.shape[0], own.shape[0]
    solved = solve(factor, cross.T, overwrite=True)  # V = L^-1 cross', (n, k)
    subtract_gram(own, solved)
    own.ravel()[:: k + 1] += noise
    own, info = dpotrf(own.T, lower=1, overwrite_a=1)
    complete = info - 1 if info > 0 else k
    pivots = np.zeros(k)
    pivots[:complete] = own.diagonal()[:complete] ** 2
    positive = (pivots > least) & (pivots < np.inf)
    if not positive.all():
        return int(np.argmin(positive))
    extended = large_array(n + k, n + k)
    extended[:n, :n] = factor
    extended[:n, n:] = solved
    extended[n:, :n] = 0.0
    extended[n:, n:] = own.T
    return extended


def semidefinite_factor(covariance: Array) -> tuple[Array, NDArray[np.int64]]:
    """A (q, rank) and the order of its rows, A A' = covariance in that order; the covariance (q, q) is overwritten.

    By a Cholesky factorisation with pivoting, which ends where the variances left are rounding errors.
    """
    from scipy.linalg.lapack import dpstrf

    factor, order, rank, _ = dpstrf(covariance.T, lower=1, overwrite_a=1)
    for column in range(1, rank):
        factor[:column, column] = 0.0  # the other triangle
    return factor[:, :rank], order - 1
