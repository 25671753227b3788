"""BoTorch's fully Bayesian models: the data term of their sampler by fastard, all else BoTorch's and NumPyro's."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np

from fastard._arrays import Array, read_only
from fastard._engine.evaluate import evaluate
from fastard._engine.terms import Term, central
from fastard._engine.workspace import Workspace, spare_workspace
from fastard._numba.threads import default_threads
from fastard._patching import Patch
from fastard._validation import min_length_scales
from fastard.kernels import Matern52

# Methods whose outcome is known here, by the class of BoTorch's that they must be from. Others, as of the priors of the length
# scales and of the output scale, may be a subclass's own.
_METHODS = {
    "sample": "MaternPyroModel",
    "set_inputs": "PyroModel",
    "sample_noise": "PyroModel",
    "sample_mean": "PyroModel",
    "sample_observations": "PyroModel",
    "_maybe_input_warp": "PyroModel",
    "_prepare_features": "PyroModel",
    "_maybe_multitask_transform": "PyroModel",
}

# All that BoTorch's `sample` asks for; in another release it may be something else.
_OF_SAMPLE = {
    "sample_outputscale", "_outputscale_prior_concentration", "_outputscale_prior_rate", "sample_mean", "sample_noise",
    "sample_lengthscale", "ard_num_dims", "_maybe_input_warp", "train_X_jax", "_prepare_features", "matern52_kernel",
    "_maybe_multitask_transform", "sample_observations",
}  # fmt: skip


def fit_fully_bayesian_model_nuts(model: Any, *arguments: Any, **options: Any) -> None:
    """A drop-in for ``botorch.fit.fit_fully_bayesian_model_nuts``: the same chain, sooner.

    The log marginal likelihood and its gradient, which every step of the sampler asks for, are fastard's, in float64, where
    the model is recognised; priors, NumPyro's sampler, thinning and the model of the draws stay what they are, and so does
    the whole fit of any other model. :func:`explain` tells which it will be, and why.

    Parameters
    ----------
    model : botorch.models.SaasFullyBayesianSingleTaskGP or FullyBayesianSingleTaskGP
        Any other fully Bayesian model is fitted by BoTorch.
    *arguments, **options
        BoTorch's.

    Raises
    ------
    ImportError
        Without BoTorch.

    Notes
    -----
    Where a covariance is not positive definite in float64 the density counts as 0, as a rejected proposal, and nothing is
    jittered; ``model.pyro_model.n_not_positive_definite`` has the number of such evaluations of the last fit, warm-up included
    (of fits within :func:`patched`, of all). The chain of a seed is BoTorch's own up to rounding, which after some dozens of
    draws has grown to the size of the posterior: then they are two chains of one distribution. JAX computes in float32 unless
    ``jax_enable_x64`` is set, and so do BoTorch's priors and the sampler then, here too.

    Examples
    --------
    >>> model = SaasFullyBayesianSingleTaskGP(X, Y)
    >>> fastard.gpytorch.fit_fully_bayesian_model_nuts(model)
    """
    from botorch.fit import fit_fully_bayesian_model_nuts as botorchs

    own = getattr(model, "pyro_model", None)
    if own is None or sampling_reason(own):
        botorchs(model, *arguments, **options)
        return
    own.sample, own.n_not_positive_definite = MethodType(_sample, own), 0
    try:
        botorchs(model, *arguments, **options)
    finally:
        del own.sample


def fully_bayesian_patch() -> Patch:
    """Lets BoTorch's own ``sample`` do it, by which every fully Bayesian model with this kernel is sampled."""
    from botorch.models import fully_bayesian as botorchs

    model = getattr(botorchs, "MaternPyroModel", None)
    theirs: Any = getattr(model, "sample", None)
    if model is None or _unknown_method(model, "sample"):
        return Patch(botorchs, {})

    def sample(self: Any) -> None:
        if sampling_reason(self):
            theirs(self)
        else:
            _sample(self)

    sample.__module__, sample.__qualname__ = theirs.__module__, theirs.__qualname__  # recognised as BoTorch's
    sample.__wrapped__ = theirs  # type: ignore[attr-defined]
    return Patch(model, {"sample": sample})


def sampling_reason(model: Any) -> str:
    """Why the data term of a Pyro model of BoTorch's is BoTorch's own; '' where it is fastard's."""
    from botorch.models import fully_bayesian as botorchs

    own = type(model)
    known = getattr(botorchs, "MaternPyroModel", None)
    if not getattr(botorchs, "_HAS_JAX", False) or known is None:
        return "this release of BoTorch does not sample by NumPyro"
    if not isinstance(model, known):
        return f"the {own.__name__} has another kernel than MaternPyroModel"
    for name in _METHODS:
        if name in vars(model) or _unknown_method(own, name):
            return f"the {own.__name__} has a {name} of its own"
    if model.use_input_warping:
        return "the inputs are warped"
    if model._prior_mode:
        return "the model is in prior mode"
    data = [model.train_X, model.train_Y, *([] if model.train_Yvar is None else [model.train_Yvar])]
    n, d = model.train_X.shape[-2:]
    if 0 in (n, d):
        return f"{n} points with {d} inputs"
    if not all(bool(tensor.isfinite().all()) for tensor in data):
        return "the inputs or targets are not finite"
    return ""


def _unknown_method(cls: type, name: str) -> bool:
    method: Any = getattr(cls, name, None)
    where = getattr(method, "__module__", ""), getattr(method, "__qualname__", "")
    if where != ("botorch.models.fully_bayesian", f"{_METHODS[name]}.{name}"):
        return True
    return name == "sample" and set(getattr(method, "__wrapped__", method).__code__.co_names) != _OF_SAMPLE


def _sample(model: Any) -> None:
    """BoTorch's model, site by site in its order, but the last: the targets' log density is a factor."""
    import jax.numpy as jnp
    import numpyro

    from fastard import _xla

    output_scale = model.sample_outputscale(
        concentration=model._outputscale_prior_concentration, rate=model._outputscale_prior_rate
    )
    mean = model.sample_mean()
    noise = model.sample_noise() if model.train_Yvar is None else 0.0
    length_scale = model.sample_lengthscale(dim=model.ard_num_dims)
    parts = jnp.broadcast_to(length_scale, (model.ard_num_dims,)), jnp.reshape(output_scale, 1)
    theta = jnp.concatenate([*parts, jnp.reshape(noise, 1), jnp.reshape(mean, 1)])
    numpyro.factor("Y", _xla.differentiable(_xla.HostCallback(_data_term(model)))(theta))


def _data_term(model: Any) -> Callable[[Any], Array]:
    """The function of thetas (..., d + 3), [length scales ..., output scale, noise, mean]: [value, gradient], (..., d + 4).

    It is of theta's type. By theta itself, not by its logarithms. [-inf, 0 ...] where there is no density.
    """
    X, Y = (read_only(tensor.detach().cpu().double().numpy().copy()) for tensor in (model.train_X, model.train_Y))
    known = None if model.train_Yvar is None else model.train_Yvar.detach().cpu().double().numpy()[:, 0].copy()
    n, d = X.shape
    center, shortest = central(X), min_length_scales(X)
    kernel, threads = Matern52(), default_threads()
    spare: list[Workspace] = []  # taken by pop and given back by append, which are indivisible

    def of_numbers(theta: Array) -> Array:
        result = np.zeros(d + 4)
        result[0] = -np.inf
        length_scale = theta[:d]
        variance, noise, mean = theta[d:].tolist()
        valid = np.isfinite(theta).all() and (length_scale > shortest).all() and variance > 0.0 and noise >= 0.0
        if not valid:
            return result
        workspace = spare_workspace(spare, n, 1)
        found = evaluate(
            [Term(kernel, length_scale, variance)], X, Y - mean, noise if known is None else noise + known, workspace,
            gradient=True, threads=threads, center=center,
        )  # fmt: skip
        spare[:] = [workspace]
        if found.failure is not None or not np.isfinite(found.log_marginal_likelihood):
            model.n_not_positive_definite = getattr(model, "n_not_positive_definite", 0) + 1
            return result
        by_logarithms = found.gradients[0]
        result[0] = found.log_marginal_likelihood
        result[1 : d + 1] = by_logarithms.log_length_scale / length_scale
        result[d + 1] = by_logarithms.log_signal_variance / variance
        result[d + 2] = 0.5 * np.add.reduce(found.diagonal_weights)
        result[d + 3] = np.add.reduce(found.alpha[:, 0])
        return result

    def data_term(theta: Any) -> Array:
        given = np.asarray(theta)
        thetas = given.reshape(-1, d + 3).astype(np.float64)
        result = np.array([of_numbers(each) for each in thetas]).reshape(*given.shape[:-1], d + 4)
        with np.errstate(over="ignore"):
            return result.astype(given.dtype)

    return data_term
