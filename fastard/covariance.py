"""The covariance of points, and its vector-Jacobian product: the derivative of <Q, K> for any weights Q."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _loops
from fastard import _validation as validate
from fastard._engine import PAIR_FLOPS, Term, central, product, run, scale, scaled, term_gradient, threads_for, used_columns
from fastard._threads import new_state
from fastard._validation import Array
from fastard.kernels import Kernel

TILE = 96  # three tiles of doubles fit the second cache; 48 costs a tenth more
_NO_TARGETS = np.empty((0, 0))


def covariance(
    X: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    kernel: str | Kernel = "rbf",
    n_threads: int | None = None,
) -> Array:
    """Covariance of the function's values at X and at Z, without noise.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Points.
    Z : array-like, shape (k, d), optional
        Other points; X itself where None.
    length_scale, signal_variance, kernel, n_threads
        As for :func:`fastard.log_marginal_likelihood`.

    Returns
    -------
    K : ndarray, shape (n, k)
        ``signal_variance * k(s)``, s = sum_i (x_i - z_i)^2 / length_scale_i^2 (Rasmussen & Williams 2006, section 4.2.1).

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    """
    X = validate.inputs(X)
    others = X if Z is None else validate.inputs(Z, "Z", X.shape[1])
    scales = validate.length_scales(length_scale, X)
    if Z is not None:
        validate.spread(validate.least_length_scales(X, others), scales)
    term = Term(validate.as_kernel(kernel), scales, validate.number("signal_variance", signal_variance))
    return cross_covariance(term, X, others, validate.thread_count(n_threads))


def cross_covariance(term: Term, X: Array, Z: Array, threads: int) -> Array:
    """The same for valid arguments."""
    U, V, _ = _both_scaled(term, X, Z)
    K = validate.large_array(X.shape[0], Z.shape[0])
    work = K.size * (X.shape[1] + 8)
    run(
        PAIR_FLOPS * work,
        threads_for(work, threads),
        _loops.cross_covariance,
        new_state(),
        term.kernel,
        term.signal_variance,
        U,
        V,
        K,
    )
    return K


def _both_scaled(term: Term, X: Array, Z: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Scaled points of Z, then of X, and the columns that they have."""
    columns = used_columns(term, X.shape[1])
    center = central(Z)  # not of X, so that a point's row does not depend on what other points are asked for
    return scale(Z, center, columns, term.length_scale), scale(X, center, columns, term.length_scale), columns


def point_gradient(term: Term, Q: Array, X: Array, Z: Array, threads: int) -> Array:
    """G[t, j] = sum_i Q[t, j, i] dK(x_j, z_i) / dx_j for the points X (q, d), Z (n, d), as (targets, q, d).

    Q is (targets, q, n), or (targets, 1, n) for the same weights at every point. Matérn 1/2 has no derivative where a point
    of X is one of Z: that pair counts nothing.
    """
    U, V, columns = _both_scaled(term, X, Z)
    moments = np.empty((Q.shape[0], columns.size, X.shape[0]))
    work = X.shape[0] * Z.shape[0] * (columns.size * (Q.shape[0] + 1) + 8)
    run(
        PAIR_FLOPS * work, threads_for(work, threads), _loops.point_gradient, new_state(),
        term.kernel, term.signal_variance, U, V, validate.read_only(Q), moments,
    )  # fmt: skip
    result = np.zeros((Q.shape[0], *X.shape))
    result[:, :, columns] = moments.transpose(0, 2, 1) / term.length_scale[columns]
    return result


def covariance_vjp(
    Q: ArrayLike,
    X: ArrayLike,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    kernel: str | Kernel = "rbf",
    n_threads: int | None = None,
) -> Array:
    """Derivatives of <Q, K> = sum_jk Q_jk K(x_j, x_k) for any weights Q: a vector-Jacobian product.

    One pass over the pairs, O(n d) memory beside Q; no derivative matrix is made. The marginal likelihood's gradient is
    this product with Q = (alpha alpha' - K^-1) / 2 (Rasmussen & Williams 2006, equation 5.9, page 114).

    Parameters
    ----------
    Q : array-like, shape (n, n)
        Weights, symmetric or not: both triangles are read. A C-contiguous float64 array is neither copied nor changed.
    X : array-like, shape (n, d)
        Points.
    length_scale, signal_variance, kernel, n_threads
        As for :func:`fastard.log_marginal_likelihood`. K holds no noise.

    Returns
    -------
    gradient : ndarray, shape (d + 1 + p,)
        With respect to the natural logarithms of length_scale, signal_variance and the kernel's p shape parameters.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    """
    X = validate.inputs(X)
    Q = validate.weights(Q, X.shape[0])
    scales = validate.length_scales(length_scale, X)
    term = Term(validate.as_kernel(kernel), scales, validate.number("signal_variance", signal_variance))
    return vjp(term, X, Q, validate.thread_count(n_threads))


def vjp(term: Term, X: Array, Q: Array, threads: int) -> Array:
    """The same for valid arguments; 0 for length scales that are not free, and of tied ones the sum at the first."""
    points = scaled(term, X, central(X))
    workers = threads_for(Q.size * (points.free + 8), threads)
    total = product(term, points, Q, _NO_TARGETS, 0, X.shape[0], TILE, workers)
    found = term_gradient(term, points, total, X.shape[1])
    return np.concatenate([found.log_length_scale, [found.log_signal_variance], found.log_shape])
