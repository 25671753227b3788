"""log_marginal_likelihood(): value and gradient by one call out of JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._objectives.likelihood import LogMarginalLikelihood, or_minus_infinity
from fastard.kernels import Kernel


def log_marginal_likelihood(
    theta: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    kernel: str | Kernel = "rbf",
    observation_variance: ArrayLike | None = None,
    n_threads: int | None = None,
) -> Any:
    """The log marginal likelihood at ``theta``, for JAX: under ``jit``, ``grad`` and ``vmap``.

    Value and gradient are computed together, in float64 whatever JAX's default is, in one call out of JAX; X and y stay
    outside of its program. Several thetas, by ``vmap``, go to :meth:`fastard.LogMarginalLikelihood.batch`.

    Parameters
    ----------
    theta : array, shape (d + 2 + p,)
        Natural logarithms of [length_scale ..., signal_variance, noise_variance, shape ...].
    X, y, kernel, observation_variance, n_threads
        As for :func:`fastard.log_marginal_likelihood`; arrays of numbers, not traced ones. The mean of y is taken to be zero.

    Returns
    -------
    value : array, shape ()
        In nats, of theta's floating-point type; -inf, with the gradient 0, where the covariance is not positive definite in
        float64, which a sampler rejects. NaN where theta has a NaN.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.

    Notes
    -----
    First derivatives in reverse mode only: no ``jvp``, no Hessian.
    """
    data: dict[str, Any] = {"X": X, "y": y, "observation_variance": observation_variance}
    for name, value in data.items():
        validate.not_traced(name, isinstance(value, jax.core.Tracer))
    objective = LogMarginalLikelihood(**data, kernel=kernel, n_threads=n_threads)
    theta = jnp.asarray(theta)
    validate.theta_of_floats(theta.shape, objective.n_parameters, bool(jnp.issubdtype(theta.dtype, jnp.floating)))
    return _of(objective)(theta)


def _of(objective: LogMarginalLikelihood) -> Any:
    """The function of theta alone."""

    def evaluate(theta: Any) -> tuple[Array, Array]:
        """Values and gradients at thetas (..., P)."""
        given = np.asarray(theta)
        if given.ndim == 1:  # with less around it than a batch has
            value, gradient = or_minus_infinity(objective, np.asarray(given, dtype=np.float64))
            with np.errstate(over="ignore"):
                return np.asarray(value).astype(given.dtype), gradient.astype(given.dtype)
        thetas = np.array(given, dtype=np.float64).reshape(-1, objective.n_parameters)
        known = ~np.isnan(thetas).any(axis=1)
        values, gradients = np.full(len(thetas), np.nan), np.full(thetas.shape, np.nan)
        if known.any():
            values[known], gradients[known] = objective.batch(thetas[known], failures="-inf")
        with np.errstate(over="ignore"):
            return values.reshape(given.shape[:-1]).astype(given.dtype), gradients.reshape(given.shape).astype(given.dtype)

    def value_and_gradient(theta: Any) -> Any:
        shapes = jax.ShapeDtypeStruct((), theta.dtype), jax.ShapeDtypeStruct(theta.shape, theta.dtype)
        return jax.pure_callback(evaluate, shapes, theta, vmap_method="expand_dims")

    @jax.custom_vjp
    def value(theta: Any) -> Any:
        return value_and_gradient(theta)[0]

    value.defvjp(value_and_gradient, lambda gradient, of_value: (of_value * gradient,))
    return value
