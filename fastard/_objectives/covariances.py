"""The covariance of points, and its vector-Jacobian product: the derivative of <Q, K> for any weights Q."""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.cross import cross_covariance, vjp
from fastard._engine.terms import Term
from fastard.kernels import Kernel


def covariance(
    X: ArrayLike,
    Z: ArrayLike | None = None,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    kernel: str | Kernel = "rbf",
    n_threads: int | None = None,
) -> Array:
    r"""Covariance of the function's values at X and at Z, without noise.

    .. math:: K_{jk} = \sigma_f^2\, k(s_{jk}), \qquad s_{jk} = \sum_i \frac{(x_{ji} - z_{ki})^2}{\lambda_i^2}

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
        Rasmussen & Williams (2006), section 4.2.1, has k for each kernel.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    """
    X = validate.inputs(X)
    others = X if Z is None else validate.inputs(Z, "Z", X.shape[1])
    scales = validate.length_scales(length_scale, X)
    if Z is not None:
        validate.length_scale_range(validate.min_length_scales(X, others), scales)
    term = Term(validate.as_kernel(kernel), scales, validate.number("signal_variance", signal_variance))
    return cross_covariance(term, X, others, validate.thread_count(n_threads))


def covariance_vjp(
    Q: ArrayLike,
    X: ArrayLike,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    kernel: str | Kernel = "rbf",
    n_threads: int | None = None,
) -> Array:
    r"""Derivatives of <Q, K> = sum_jk Q_jk K(x_j, x_k) for any weights Q: a vector-Jacobian product.

    .. math:: \frac{\partial \langle Q, K \rangle}{\partial \ln\lambda_i} =
              \sum_{jk} Q_{jk}\, \sigma_f^2\, w(s_{jk}) \frac{(x_{ji} - x_{ki})^2}{\lambda_i^2}, \qquad w = -2 k'

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
