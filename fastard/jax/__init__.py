"""The log marginal likelihood as a function that JAX differentiates, for NumPyro, BlackJAX and others."""

try:
    from fastard.jax.likelihood import log_marginal_likelihood
except ImportError as error:
    raise ImportError(f"fastard.jax needs JAX ({error}): pip install 'fastard[jax]'") from error

__all__ = ["log_marginal_likelihood"]
