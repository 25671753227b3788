"""log_marginal_likelihood(): value and gradient by one call out of JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard import _xla
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
    return _xla.differentiable(_xla.HostCallback(_values_and_gradients(objective)))(theta)


def _values_and_gradients(objective: LogMarginalLikelihood) -> Callable[[Any], Array]:
    """The function of thetas (..., P): [value, gradient ...] of each, (..., P + 1)."""

    def evaluate(theta: Any) -> Array:
        given = np.asarray(theta)
        found = np.full((*given.shape[:-1], objective.n_parameters + 1), np.nan)
        if given.ndim == 1:  # with less around it than a batch has
            found[0], found[1:] = or_minus_infinity(objective, np.asarray(given, dtype=np.float64))
        else:
            thetas = np.array(given, dtype=np.float64).reshape(-1, objective.n_parameters)
            known = ~np.isnan(thetas).any(axis=1)
            if known.any():
                values, gradients = objective.batch(thetas[known], failures="-inf")
                found.reshape(len(thetas), -1)[known] = np.concatenate([values[:, np.newaxis], gradients], axis=1)
        with np.errstate(over="ignore"):
            return found.astype(given.dtype)

    return evaluate
