"""The implementations compared: each takes a problem and returns ``evaluate() -> (value, gradient)``, all in float64.

The gradient is with respect to the logarithms of [length_scale ..., signal_variance, noise_variance, shape where there
is one]. An implementation that cannot do a problem raises NotImplementedError, asv's word for "skip". Libraries are
imported where they are used, because the peers' environments run this file too and hold one library each.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import Problem

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import naive  # the tests' plain formulas, which need NumPy only

Evaluate = Callable[[], tuple[float, np.ndarray]]


def fastard(problem: Problem, n_threads: int | None = None) -> Evaluate:
    """fastard's reusable objective: what its own training calls."""
    import fastard

    objective = fastard.LogMarginalLikelihood(problem.X, problem.y, kernel=problem.kernel, n_threads=n_threads)
    return lambda: objective(problem.theta)


def numpy_all_dimensions(problem: Problem) -> Evaluate:
    """Plain NumPy that keeps every dimension's squared distances in one n x n x d array."""
    X = problem.X

    def evaluate():
        squares = ((X[:, None, :] - X[None, :, :]) / problem.natural.length_scale) ** 2
        return _assemble(problem, squares.sum(axis=2), lambda G: np.einsum("jk,jki->i", G, squares))

    return evaluate


def numpy_by_dimension(problem: Problem) -> Evaluate:
    """Plain NumPy that never holds more than a few n x n arrays, a dimension at a time."""
    X = problem.X

    def squares():
        for column in (X / problem.natural.length_scale).T:
            yield (column[:, None] - column[None, :]) ** 2

    def evaluate():
        return _assemble(problem, sum(squares()), lambda G: np.array([np.vdot(G, square) for square in squares()]))

    return evaluate


def scikit_learn(problem: Problem) -> Evaluate:
    """scikit-learn's GaussianProcessRegressor, its kernel neither cloned nor changed at an evaluation."""
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
    except ImportError:
        raise NotImplementedError("scikit-learn is not installed") from None

    scales, signal, noise, _ = problem.natural
    if problem.kernel == "rational_quadratic":
        raise NotImplementedError("scikit-learn's rational quadratic has one length scale")
    if problem.kernel == "matern72":
        raise NotImplementedError("scikit-learn's gradient for nu = 7/2 is a difference")
    smoothness = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}
    shape = RBF(scales) if problem.kernel == "rbf" else Matern(scales, nu=smoothness[problem.kernel])
    kernel = ConstantKernel(signal) * shape + WhiteKernel(noise)
    model = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(problem.X, problem.y)
    theta, d = model.kernel_.theta, scales.size

    def evaluate():
        value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True, clone_kernel=False)
        return value, np.concatenate([gradient[1 : d + 1], gradient[:1], gradient[d + 1 :]])

    return evaluate


IMPLEMENTATIONS = {
    "fastard": fastard,
    "numpy-all-dimensions": numpy_all_dimensions,
    "numpy-by-dimension": numpy_by_dimension,
    "scikit-learn": scikit_learn,
}


def largest_array(name: str, n: int, d: int) -> int:
    """Bytes of the largest array that an implementation makes: what decides whether a size is sensible for it."""
    return 8 * n * n * (d if name in {"numpy-all-dimensions", "scikit-learn"} else 1)


def _assemble(problem: Problem, s: np.ndarray, contract: Callable[[np.ndarray], Any]) -> tuple[float, np.ndarray]:
    """Value and gradient from the scaled squared distances; ``contract(G)`` is sum_jk G_jk of each dimension's squares.

    R&W (2.30) and (5.9), with LAPACK's potrf and potri, n^3 flops together: the comparison is of the n^2 d part.
    """
    from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

    y = problem.y
    n = y.size
    _, signal, noise, _ = problem.natural
    k, w, of_shape = naive.profile(problem.kernel, s, (problem.natural.shape,))
    K = signal * k
    K[np.diag_indices(n)] += noise
    L, info = dpotrf(K.T, lower=1, overwrite_a=1)  # K is symmetric: its transpose is what LAPACK takes without a copy
    if info:
        raise np.linalg.LinAlgError("not positive definite")
    alpha, _ = dpotrs(L, y, lower=1)
    value = -0.5 * (y @ alpha + n * np.log(2.0 * np.pi)) - np.log(np.diag(L)).sum()
    inverse, _ = dpotri(L, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    Q = np.outer(alpha, alpha) - inverse
    gradient = [*contract(Q * (signal * w)), signal * np.vdot(Q, k), noise * np.trace(Q)]
    gradient += [signal * np.vdot(Q, derivative) for derivative in of_shape]
    return value, 0.5 * np.array(gradient)
