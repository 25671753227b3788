"""The value and the gradient in 80-bit floating point: the truth of the accuracy benchmarks, for a few hundred points."""

import numpy as np

from benchmarks.implementations import naive
from benchmarks.problems import Problem

LONG = np.longdouble
IS_LONGER = np.finfo(LONG).eps < 0.01 * np.finfo(np.float64).eps  # not on Windows, nor on Apple's processors


def reference(problem: Problem) -> tuple[np.longdouble, np.ndarray]:
    """R&W (2.30) and (5.9), nothing clever: 64 bits of mantissa leave 2000 times less error than float64's 53."""
    X, y = problem.X.astype(LONG), problem.y.astype(LONG)
    n = y.size
    scales, signal, noise, shape = problem.natural
    term = naive.Term(problem.kernel, scales.astype(LONG), LONG(signal), (LONG(shape),))
    L = cholesky(naive.covariance([term], X) + LONG(noise) * np.eye(n, dtype=LONG))
    half = solve_lower(L, np.column_stack([y, np.eye(n, dtype=LONG)]))
    z, T = half[:, 0], half[:, 1:]  # z = inv(L) y, T = inv(L)
    alpha = T.T @ z
    Q = np.outer(alpha, alpha) - T.T @ T
    value = -(z @ z + n * np.log(8 * np.arctan(LONG(1)))) / 2 - np.log(np.diag(L)).sum()
    gradient = np.insert(naive.vjp(Q, term, X), X.shape[1] + 1, noise * np.trace(Q))
    return value, gradient / 2


def cholesky(K: np.ndarray) -> np.ndarray:
    """The lower factor, a column at a time."""
    L = np.tril(K)
    for j in range(L.shape[0]):
        L[j:, j] /= np.sqrt(L[j, j])
        column = L[j + 1 :, j]
        L[j + 1 :, j + 1 :] -= np.tril(np.outer(column, column))
    return L


def solve_lower(L: np.ndarray, B: np.ndarray) -> np.ndarray:
    """inv(L) B by forward substitution."""
    Z = B.copy()
    for j in range(L.shape[0]):
        Z[j] = (Z[j] - L[j, :j] @ Z[:j]) / L[j, j]
    return Z
