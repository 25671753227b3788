"""Predictions of a Gaussian process whose covariance is a sum of terms: mean, variance or covariance, and their gradients."""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastard._arrays import Array
from fastard._blas import solve, subtract_gram
from fastard._engine.cross import cross_covariance, point_gradient
from fastard._engine.terms import Term

_BLOCK_ENTRIES = 2**22  # 32 MB of cross-covariance at a time: larger blocks are no faster at n = 1000 to 4000


def covariance(terms: Sequence[Term], X: Array, Z: Array, threads: int) -> Array:
    """The sum of the terms' covariances."""
    total = cross_covariance(terms[0], X, Z, threads)
    for term in terms[1:]:
        total += cross_covariance(term, X, Z, threads)
    return total


def _variance(terms: Sequence[Term], noise: float, solved: Array) -> Array:
    """Variances (q,) from L^-1 k, (n, q)."""
    result: Array = sum(term.signal_variance for term in terms) + noise - np.einsum("nq,nq->q", solved, solved)
    return result


def predict(
    terms: Sequence[Term],
    noise: float,
    X: Array,
    alpha: Array,
    factor: Array,
    points: Array,
    spread: Literal["variance", "covariance"] | None,
    threads: int,
) -> tuple[Array, Array]:
    """Mean (q, m) and, where asked for, variance (q,) or covariance (q, q), R&W (2.25) and (2.24), Algorithm 2.1.

    ``factor`` (n, n) holds L at its transpose, ``alpha`` is (n, m). ``noise`` is added to every variance, which may come out
    below 0 by rounding. Mean and variance are computed block by block, without an n x q array.
    """
    q = points.shape[0]
    mean = np.empty((q, alpha.shape[1]))
    result = np.empty(q)
    step = q if spread == "covariance" else max(1, _BLOCK_ENTRIES // X.shape[0])
    for start in range(0, q, step):
        block = slice(start, start + step)
        cross = covariance(terms, points[block], X, threads)
        with np.errstate(all="ignore"):  # an underflow of ours is nobody's error
            mean[block] = cross @ alpha
            if spread is None:
                continue
            solved = solve(factor, cross.T, overwrite=True)
            if spread == "variance":
                result[block] = _variance(terms, noise, solved)
            else:
                result = covariance(terms, points, points, threads)
                subtract_gram(result, solved)
                result.ravel()[:: q + 1] += noise
    return mean, result


def warn_of_zeros(variance: Array, diagonal: ArrayLike, X: Array, points: Array) -> None:
    """Tell the caller's caller how many of the variances (q,) are 0 or less by rounding.

    ``diagonal`` is the training data's noise, a number or (n,). At a training point without noise, 0 is the right variance.
    """
    if np.minimum.reduce(variance) > 0.0:
        return
    zeros = [int(i) for i in np.flatnonzero(variance <= 0.0)]
    if zeros:
        exact = np.broadcast_to(np.asarray(diagonal) == 0.0, X.shape[0])
        rows = {row.tobytes() for row in X[exact] + 0.0}  # + 0.0: -0.0 is 0.0
        zeros = [i for i in zeros if (points[i] + 0.0).tobytes() not in rows]
    if zeros:
        warnings.warn(
            f"{len(zeros)} of {variance.size} predicted variances are not above 0 because of rounding errors, and their "
            "standard deviations are 0. A larger noise variance, or a larger lower bound for it in training, resolves them",
            stacklevel=3,
        )


def gradients(
    terms: Sequence[Term], noise: float, X: Array, alpha: Array, factor: Array, points: Array, threads: int
) -> tuple[Array, Array, Array]:
    """Derivatives of the mean (q, d, m) and of the standard deviation (q, d) by the points' coordinates; variances (q,).

    With k(x) the covariances of x and the data, the mean is k(x)' alpha and the variance const - k(x)' K^-1 k(x), so that
    each derivative is a sum of dk_i / dx, with the weights alpha and -2 K^-1 k(x) (R&W 2.25 and 2.26). A standard deviation
    of 0 has the derivative 0.
    """
    mean_grad = np.zeros((alpha.shape[1], *points.shape))
    std_grad = np.zeros(points.shape)
    variance = np.empty(points.shape[0])
    step = max(1, _BLOCK_ENTRIES // X.shape[0])
    with np.errstate(all="ignore"):  # an underflow of ours is nobody's error
        for term in terms:
            mean_grad += point_gradient(term, np.ascontiguousarray(alpha.T)[:, np.newaxis], points, X, threads)
        for start in range(0, points.shape[0], step):
            block = slice(start, start + step)
            solved = solve(factor, covariance(terms, points[block], X, threads).T, overwrite=True)  # L^-1 k, (n, q)
            variance[block] = _variance(terms, noise, solved)
            weights = solve(factor, solved, transposed=True, overwrite=True).T[np.newaxis]  # K^-1 k
            for term in terms:
                std_grad[block] -= point_gradient(term, weights, points[block], X, threads)[0]
            std_grad[block] *= np.where(variance[block] > 0.0, 1.0 / np.sqrt(variance[block]), 0.0)[:, np.newaxis]
    return np.moveaxis(mean_grad, 0, -1), std_grad, variance
