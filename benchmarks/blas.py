"""BLAS: how many threads it uses, and the plain calls that fastard is measured against."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np


@cache
def _controller() -> Any:
    import scipy.linalg.lapack  # noqa: F401  # the controller knows the libraries loaded before it, and SciPy has its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def limited_to(threads: int) -> AbstractContextManager[Any]:
    """All BLAS libraries of this process on so many threads."""
    context: AbstractContextManager[Any] = _controller().limit(limits=threads)
    return context


def product(n: int) -> Callable[[], Any]:
    """numpy.dot of two n x n matrices into a third: 2 n^3 flops at the machine's best rate."""
    random = np.random.default_rng(0)
    A, B = random.standard_normal((2, n, n))
    out = np.empty((n, n))
    return lambda: np.dot(A, B, out=out)


def factor_and_invert(n: int) -> Callable[[], Any]:
    """LAPACK's dpotrf and dpotri in place: n^3 flops.

    The matrix is not restored, because the copy would be timed too: each call inverts the last call's inverse. With a
    condition number near 3 a thousand calls lose nothing that shows.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    K = np.full((n, n), 1.0 / n, order="F")
    K[np.diag_indices(n)] += 0.5

    def call() -> None:
        dpotrf(K, lower=1, overwrite_a=1, clean=0)
        dpotri(K, lower=1, overwrite_c=1)

    return call
