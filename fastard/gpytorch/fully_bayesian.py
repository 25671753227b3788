"""BoTorch's fully Bayesian models: the data term of their sampler by fastard, all else BoTorch's and NumPyro's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial, wraps
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

# What a model knows of its data, and what fastard adds; a model with more may have priors that depend on it.
_OF_DATA = {
    "use_input_warping", "indices", "_eps", "train_X", "train_Y", "train_Yvar", "ard_num_dims", "train_X_jax", "train_Y_jax",
    "train_Yvar_jax", "sample", "n_not_positive_definite",
}  # fmt: skip

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
    draws has grown to the size of the posterior: then they are two chains of one distribution. What has been compiled is kept
    for the next fits with as many inputs and the same settings, on any number of points, with the same draws. JAX computes in
    float32 unless ``jax_enable_x64`` is set, and so do BoTorch's priors and the sampler then, here too.

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
        with chains_patch().applied():
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

    sample.is_fastards = True  # type: ignore[attr-defined]
    sample.__module__, sample.__qualname__ = theirs.__module__, theirs.__qualname__  # recognised as BoTorch's
    sample.__wrapped__ = theirs  # type: ignore[attr-defined]
    return Patch(model, {"sample": sample})


@cache
def chains_patch() -> Patch:
    """Lets NumPyro's ``MCMC.run`` keep what it compiled for the next fit, where the model is known to differ in data alone."""
    from numpyro.infer import MCMC

    theirs = MCMC.run

    @wraps(theirs)
    def run(self: Any, rng_key: Any, *args: Any, **kwargs: Any) -> None:
        key = None if args or kwargs else _key(self, rng_key)
        if key is None:
            theirs(self, rng_key, *args, **kwargs)
            return
        from fastard.gpytorch import chains

        model = self.sampler.model.__self__
        chain = chains.take(key) or chains.Chain(key, self, _sites_of(model))
        self._states, self._last_state = chain.run(rng_key, _data_term(model))
        self._args, self._kwargs = (), {}
        chains.give_back(chain)

    return Patch(MCMC, {"run": run})


def _key(mcmc: Any, rng_key: Any) -> Hashable:
    """All that a chain depends on beside the data term; None for one that is not known well enough."""
    import jax
    from botorch.models import fully_bayesian as botorchs
    from numpyro.infer import MCMC, NUTS

    sampler = mcmc.sampler
    sample = getattr(sampler, "model", None)
    model: Any = getattr(sample, "__self__", None)
    if type(mcmc) is not MCMC or type(sampler) is not NUTS or not getattr(sample, "is_fastards", False):
        return None
    own = type(model)
    if own not in (botorchs.MaternPyroModel, botorchs.SaasPyroModel) or not vars(model).keys() <= _OF_DATA:
        return None
    if "sample" not in vars(model) and sampling_reason(model):
        return None
    if isinstance(rng_key, jax.core.Tracer) or not _is_usual(mcmc):
        return None
    noise_known = model.train_Yvar is not None
    priors = [getattr(own, name) for name in ("sample_outputscale", "sample_mean", "sample_noise", "sample_lengthscale")]
    numbers = model._outputscale_prior_concentration, model._outputscale_prior_rate, botorchs.MIN_INFERRED_NOISE_LEVEL
    of_sampler = sorted((name, value) for name, value in vars(sampler).items() if name != "_model")
    of_chain = mcmc.num_warmup, mcmc.num_samples, mcmc.thinning, mcmc.progress_bar, jax.config.jax_enable_x64
    key = own, model.ard_num_dims, noise_known, *priors, *numbers, *of_sampler, *of_chain
    try:
        hash(key)
    except TypeError:  # a mass matrix, say
        return None
    return key


def _is_usual(mcmc: Any) -> bool:
    """Whether it is new, of one chain, and has no settings but those that :func:`_key` asks for."""
    from numpyro.infer import MCMC

    settings = {name: getattr(mcmc, name) for name in ("num_warmup", "num_samples", "thinning", "progress_bar")}
    return bool(vars(mcmc) == vars(MCMC(mcmc.sampler, **settings)))


def _sites_of(model: Any) -> Callable[[Any], None]:
    """`_sites` of a model like this one, without its data."""
    like = type(model)()
    like.train_Yvar_jax = None  # for `sample_noise`, which is not asked where the noise is known
    return partial(_sites, like, model.ard_num_dims, model.train_Yvar is not None)


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
    from fastard import _xla

    _sites(model, model.ard_num_dims, model.train_Yvar is not None, _xla.HostCallback(_data_term(model)))


_sample.is_fastards = True  # type: ignore[attr-defined]


def _sites(model: Any, d: int, noise_known: bool, data_term: Any) -> None:
    import jax.numpy as jnp
    import numpyro

    from fastard import _xla

    output_scale = model.sample_outputscale(
        concentration=model._outputscale_prior_concentration, rate=model._outputscale_prior_rate
    )
    mean = model.sample_mean()
    noise = 0.0 if noise_known else model.sample_noise()
    length_scale = model.sample_lengthscale(dim=d)
    parts = jnp.broadcast_to(length_scale, (d,)), jnp.reshape(output_scale, 1)
    theta = jnp.concatenate([*parts, jnp.reshape(noise, 1), jnp.reshape(mean, 1)])
    numpyro.factor("Y", _xla.differentiable(data_term)(theta))


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
