"""Which of GPyTorch's models fastard computes, and why not."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gpytorch import beta_features, settings
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import MaternKernel, RBFKernel, RQKernel, ScaleKernel
from gpytorch.lazy import LazyEvaluatedKernelTensor
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.likelihoods.noise_models import FixedGaussianNoise, HomoskedasticNoise
from linear_operator import settings as linear_settings
from torch import Tensor

from fastard._arrays import Array, read_only
from fastard._engine.terms import central
from fastard._engine.workspace import Workspace, spare_workspace
from fastard._validation import min_length_scales
from fastard.kernels import MATERN, RBF, Kernel, RationalQuadratic

# What fastard knows the outcome of. A class whose methods are others, by a subclass or by hand, is not recognised.
_KERNEL_METHODS = ("__call__", "forward", "covar_dist", "num_outputs_per_input")

_LIKELIHOOD_METHODS = ("__call__", "marginal", "_shaped_noise_covar")

_NOISE_METHODS = ("__call__", "forward")

_KNOWN: dict[type, dict[str, Any]] = {
    known: {name: getattr(known, name) for name in names}
    for classes, names in (
        ((ScaleKernel, RBFKernel, MaternKernel, RQKernel), _KERNEL_METHODS),
        ((GaussianLikelihood, FixedNoiseGaussianLikelihood), _LIKELIHOOD_METHODS),
        ((HomoskedasticNoise, FixedGaussianNoise), _NOISE_METHODS),
    )
    for known in classes
}

# Under vmap, grad and their like tensors have no numbers to read; PyTorch's own Function asks in the same way.
_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


class _Problem(NamedTuple):
    """What was recognised: the data term's tensors, (*batch of its own, ...) each."""

    kernel: Kernel
    batch: torch.Size  # all of theirs together
    x: Tensor  # (*, n, d)
    residual: Tensor  # (*, n)
    length_scale: Tensor  # (*, 1, d) or (*, 1, 1)
    output_scale: Tensor | None  # (*)
    shape: Tensor | None  # (*, 1)
    noise: Tensor  # (*, n) or (*, 1)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        return self[2:]


class _Points(NamedTuple):
    """One batch element's inputs, and what of them does not depend on the parameters."""

    X: Array  # (n, d)
    center: Array  # (d,)
    min_length_scales: Array  # (d,)


class _Numbers(NamedTuple):
    """The same as arrays, one row for each of the batch's k elements."""

    points: list[_Points]  # k
    residual: Array  # (k, n)
    length_scale: Array  # (k, d)
    output_scale: Array  # (k, 1)
    shape: Array | None  # (k, 1)
    noise: Array  # (k, n) or (k, 1)


class _State:
    """What one marginal log likelihood keeps between evaluations: buffers, and the inputs of the last one. A copy has none."""

    def __init__(self) -> None:
        self.workspaces: list[Workspace] = []  # taken by pop and given back by append, which are indivisible
        self.last: tuple[Array, list[_Points]] | None = None

    def __reduce__(self) -> tuple[type[_State], tuple[()]]:
        return _State, ()

    def points(self, x: Array) -> list[_Points] | None:
        """Of inputs (k, n, d), for each of the k; None where they are not finite."""
        last = self.last
        if last is not None and np.array_equal(last[0], x):
            return last[1]
        if not np.isfinite(x).all():
            return None
        x = read_only(x.copy())
        points = [_Points(X, central(X), min_length_scales(X)) for X in x]
        self.last = x, points
        return points

    def take(self, n: int) -> Workspace:
        """A buffer for n points that nobody else has."""
        return spare_workspace(self.workspaces, n, 1)


def _is(module: Any, known: type) -> bool:
    """Whether a module does what ``known`` did when this file was imported: no method is another."""
    own = type(module)
    return issubclass(own, known) and all(
        getattr(own, name) is method and name not in module.__dict__ for name, method in _KNOWN[known].items()
    )


def _recognise(likelihood: Any, output: Any, target: Tensor, params: Any, kwargs: Any) -> _Problem | str:
    """The problem, or the first reason why it is not one for fastard."""
    objection = _objection(output, kwargs)
    if objection:
        return objection
    lazy = output.lazy_covariance_matrix
    recognised = _kernel(lazy.kernel)
    if isinstance(recognised, str):
        return recognised
    kernel, length_scale, output_scale, shape = recognised
    x = lazy.x1
    n, d = x.shape[-2:]
    if length_scale.shape[-2:] not in ((1, d), (1, 1)) or 0 in x.shape:
        return f"length scales of shape {tuple(length_scale.shape)} for inputs of shape {tuple(x.shape)}"
    noise = _noise(likelihood, n, params)
    if isinstance(noise, str):
        return noise
    mean = output.loc
    if target.shape[-1:] != (n,) or mean.shape[-1:] != (n,):
        return f"a target of shape {tuple(target.shape)} and a mean of shape {tuple(mean.shape)} for {n} points"
    for name, tensor in (
        ("inputs", x),
        ("target", target),
        ("mean", mean),
        ("length scale", length_scale),
        ("output scale", output_scale),
        ("alpha", shape),
        ("noise", noise),
    ):
        if tensor is not None and not (tensor.dtype is torch.float64 and tensor.is_cpu):
            return f"the {name} is {tensor.dtype} on {tensor.device}, not torch.float64 on the cpu; see model.double()"
    residual = target - mean
    ranks = [x.shape[:-2], length_scale.shape[:-2], noise.shape[:-1]]
    if output_scale is not None:
        ranks.append(output_scale.shape)
    if shape is not None:
        ranks.append(shape.shape[:-1])
    batch = _common_batch(ranks, residual.shape[:-1])
    if isinstance(batch, str):
        return batch
    return _Problem(kernel, batch, x, residual, length_scale, output_scale, shape, noise)


def _objection(output: Any, kwargs: Any) -> str | None:
    """Why a model's output, or the settings that it is evaluated under, are not known; None where they are."""
    if type(output) is not MultivariateNormal:
        return f"the model's output is a {type(output).__name__}, not a MultivariateNormal"
    if kwargs:
        return f"keyword arguments are passed to the likelihood ({', '.join(kwargs)})"
    lazy = output.lazy_covariance_matrix
    if type(lazy) is not LazyEvaluatedKernelTensor:
        return f"the covariance is a {type(lazy).__name__}, not that of one kernel, lazily evaluated"
    if lazy.x1 is not lazy.x2 or lazy.last_dim_is_batch or lazy.params:
        return "the kernel is called with other points or with parameters"
    if lazy._is_grad_enabled is not torch.is_grad_enabled():
        return "the output was made with gradients on and is used with gradients off, or the other way round"
    if settings.observation_nan_policy.value() != "ignore":
        return f"observation_nan_policy is {settings.observation_nan_policy.value()!r}"
    if settings.trace_mode.on() or linear_settings.skip_logdet_forward.on() or beta_features.checkpoint_kernel.value():
        return "one of GPyTorch's settings trace_mode, skip_logdet_forward, checkpoint_kernel is on"
    if _transformed():
        return "a transform of torch.func is at work"
    return None


def _kernel(kernel: Any) -> tuple[Kernel, Tensor, Tensor | None, Tensor | None] | str:
    """Fastard's kernel, length scales, output scale and shape, or why the kernel is not known."""
    output_scale: Tensor | None = None
    if _is(kernel, ScaleKernel):
        output_scale, kernel = kernel.outputscale, kernel.base_kernel
    if _is(kernel, RBFKernel):
        return RBF(), kernel.lengthscale, output_scale, None
    if _is(kernel, MaternKernel) and kernel.nu in MATERN:
        return MATERN[kernel.nu], kernel.lengthscale, output_scale, None
    if _is(kernel, RQKernel):
        return RationalQuadratic(), kernel.lengthscale, output_scale, kernel.alpha
    return f"the kernel is a {type(kernel).__name__}, not [a ScaleKernel of] an RBFKernel, MaternKernel or RQKernel"


def _common_batch(of_parameters: list[torch.Size], of_targets: torch.Size) -> torch.Size | str:
    """The batch that the parameters' and the targets' make together, or why it is not known."""
    if not any(of_parameters):
        return of_targets
    try:
        own = torch.broadcast_shapes(*of_parameters)
        together = torch.broadcast_shapes(own, of_targets)
    except RuntimeError:
        return f"batches of shapes {', '.join(str(tuple(rank)) for rank in (*of_parameters, of_targets))}"
    if of_targets != together and not (len(of_targets) < len(own) and own == together):
        return f"targets of batch shape {tuple(of_targets)} for covariances of batch shape {tuple(own)}"
    return together


def _noise(likelihood: Any, n: int, params: Any) -> Tensor | str:
    """The noise variances, (*batch, 1) or (*batch, n), or why they are not known."""
    fixed: Tensor | None = None
    if _is(likelihood, GaussianLikelihood):
        learned = likelihood.noise_covar
    elif _is(likelihood, FixedNoiseGaussianLikelihood):
        fixed, learned = getattr(likelihood.noise_covar, "noise", None), likelihood.second_noise_covar
        if not _is(likelihood.noise_covar, FixedGaussianNoise) or fixed is None or fixed.shape[-1:] != (n,):
            return f"the fixed noise is not one variance for each of {n} points"
        if params and not all(isinstance(p, Tensor) and p.dim() > 1 and p.shape[-2] == n for p in params):
            return f"the likelihood is called with other parameters than inputs of {n} points"
        if learned is None:
            return fixed
    else:
        return f"the likelihood is a {type(likelihood).__name__}, not a GaussianLikelihood or FixedNoiseGaussianLikelihood"
    if not _is(learned, HomoskedasticNoise) or learned.noise.shape[-1:] != (1,):
        return f"the noise is a {type(learned).__name__}, not a HomoskedasticNoise"
    return learned.noise if fixed is None else fixed + learned.noise


def _numbers(problem: _Problem, state: _State) -> _Numbers | None:
    """The problem's arrays; None where one is not finite or not positive, which GPyTorch has its own errors for."""
    batch = tuple(problem.batch)
    k = math.prod(batch)
    d = problem.x.shape[-1]

    def rows(tensor: Tensor, *shape: int) -> Array:
        array: Array = tensor.detach().numpy()
        if array.size != k * math.prod(shape):
            array = np.broadcast_to(array, batch + shape)
        result: Array = array.reshape(k, *shape)
        return result

    points = state.points(rows(problem.x, *problem.x.shape[-2:]))
    residual = rows(problem.residual, problem.residual.shape[-1])
    length_scale = rows(problem.length_scale, 1, d)[:, 0]
    noise = rows(problem.noise, problem.noise.shape[-1])
    output_scale = np.ones((k, 1)) if problem.output_scale is None else rows(problem.output_scale.detach().unsqueeze(-1), 1)
    shape = None if problem.shape is None else rows(problem.shape, 1)
    if points is None or not np.isfinite(residual).all() or not (noise.min() >= 0.0 and noise.max() < np.inf):
        return None
    for array in (length_scale, output_scale, shape):
        if array is not None and not (array.min() > 0.0 and array.max() < np.inf):
            return None
    if any((scales <= own.min_length_scales).any() for scales, own in zip(length_scale, points, strict=True)):
        return None
    return _Numbers(points, residual, length_scale, output_scale, shape, noise)
