"""The evaluation as it is written in plain NumPy, with an n x n x d array: what fastard is timed against, and checked by."""

import numpy as np

from fastard._arrays import Array


def log_marginal_likelihood(
    X: Array, y: Array, length_scale: Array, signal_variance: float, noise_variance: float
) -> tuple[float, Array]:
    """Value and gradient for the RBF kernel, Rasmussen & Williams (2006), Algorithm 2.1 and equation (5.9)."""
    from scipy.linalg import cho_solve, cholesky

    n = y.size
    D = ((X[:, np.newaxis, :] - X[np.newaxis, :, :]) / length_scale) ** 2  # (n, n, d)
    covariance = signal_variance * np.exp(-0.5 * D.sum(axis=2))
    L = cholesky(covariance + noise_variance * np.eye(n), lower=True)
    alpha = cho_solve((L, True), y)
    value = -0.5 * y @ alpha - np.log(np.diag(L)).sum() - 0.5 * n * np.log(2.0 * np.pi)
    Q = np.outer(alpha, alpha) - cho_solve((L, True), np.eye(n))
    weights = 0.5 * Q * covariance
    of_length_scale = np.tensordot(weights, D, axes=2)
    return float(value), np.concatenate([of_length_scale, [weights.sum(), 0.5 * noise_variance * np.trace(Q)]])
