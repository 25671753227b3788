"""The door to GPyTorch and BoTorch: their exact marginal log likelihood, its data term evaluated by fastard.

What GPyTorch does not hand over stays its own: means, input transforms, constraints, priors, added loss terms, predictions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

try:
    import torch
    from gpytorch import beta_features, settings
    from gpytorch.distributions import MultivariateNormal
    from gpytorch.kernels import MaternKernel, RBFKernel, RQKernel, ScaleKernel
    from gpytorch.lazy import LazyEvaluatedKernelTensor
    from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
    from gpytorch.likelihoods.noise_models import FixedGaussianNoise, HomoskedasticNoise
    from gpytorch.mlls import ExactMarginalLogLikelihood as _GPyTorchs
    from gpytorch.mlls import MarginalLogLikelihood
    from linear_operator import settings as linear_settings
    from linear_operator.utils.errors import NotPSDError
    from linear_operator.utils.warnings import NumericalWarning
    from torch import Tensor
except ImportError as error:
    raise ImportError(f"fastard.gpytorch needs PyTorch and GPyTorch ({error}): pip install 'fastard[torch]'") from error

from fastard._engine import Evaluation, Term, Workspace, central, evaluate, spare_workspace
from fastard._patching import Patch
from fastard._threads import default_threads
from fastard._validation import Array, least_length_scales, read_only
from fastard.covariance import point_gradient
from fastard.exceptions import where
from fastard.kernels import MATERN, RBF, Kernel, RationalQuadratic

__all__ = ["ExactMarginalLogLikelihood", "explain", "patched"]

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
_gpytorchs_forward = _GPyTorchs.forward
# Under vmap, grad and their like tensors have no numbers to read; PyTorch's own Function asks in the same way.
_transformed = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


class ExactMarginalLogLikelihood(_GPyTorchs):
    r"""A drop-in for ``gpytorch.mlls.ExactMarginalLogLikelihood``: the same number and gradients, sooner.

    .. math:: \frac1n \left( -\tfrac12 r^\top K^{-1} r - \tfrac12 \ln|K| - \tfrac n2 \ln 2\pi
              + \text{added loss terms} + \text{ln of the priors} \right), \qquad r = y - m

    The data term is Rasmussen & Williams (2006), equation (2.30), page 19, always by an exact factorisation; its
    derivatives, equation (5.9), page 114, are found in the same pass and handed to autograd. What is not recognised goes to
    GPyTorch's own code; :func:`explain` tells which and why.

    Parameters
    ----------
    likelihood : gpytorch.likelihoods.GaussianLikelihood or FixedNoiseGaussianLikelihood
        Any other Gaussian likelihood is GPyTorch's matter.
    model : gpytorch.models.ExactGP
        For example a ``botorch.models.SingleTaskGP``.

    Raises
    ------
    RuntimeError
        For a likelihood that is not Gaussian, a model that is no GP, an output that is no multivariate normal (GPyTorch's
        own errors), and where a second derivative is asked for.
    linear_operator.utils.errors.NotPSDError
        If the covariance is not positive definite even with the jitter that
        ``linear_operator.settings.cholesky_jitter`` and ``cholesky_max_tries`` allow.

    Notes
    -----
    ``mll(output, target, *params)`` has the batch shape of the model, () for one output; ``output`` is ``model(inputs)``.
    The n x n buffer of an evaluation is kept for the next one until ``mll.eval()``.

    Examples
    --------
    >>> mll = fastard.gpytorch.ExactMarginalLogLikelihood(model.likelihood, model)
    >>> botorch.fit.fit_gpytorch_mll(mll)
    """

    def forward(self, function_dist: Any, target: Tensor, *params: Any, **kwargs: Any) -> Tensor:
        """The marginal log likelihood over n, in nats, (*batch); see the class."""
        return _forward(self, function_dist, target, *params, **kwargs)

    def train(self, mode: bool = True) -> ExactMarginalLogLikelihood:
        """GPyTorch's; the buffer is given back when training ends."""
        if not mode:
            self.__dict__.pop("_fastard", None)
        super().train(mode)
        return self


@contextmanager
def patched() -> Iterator[None]:
    """Let ``gpytorch.mlls.ExactMarginalLogLikelihood`` itself evaluate by fastard, for code that makes its own.

    Inside, in all threads, every instance of GPyTorch's class does what :class:`ExactMarginalLogLikelihood` does; after the
    last exit all is as it was.

    Examples
    --------
    >>> with fastard.gpytorch.patched():
    ...     fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    """
    with _PATCH.applied():
        yield


def explain(model: Any) -> str:
    """Which code evaluates the marginal log likelihood of a model on its training data, and why.

    Parameters
    ----------
    model : gpytorch.models.ExactGP, a list of such models, or a marginal log likelihood of one
        Also ``botorch.models.ModelListGP``. It is left as it is.

    Returns
    -------
    text : str
        "fastard: ..." or "GPyTorch: ...", the latter with the first thing that was not recognised; for a list of models one
        line each.

    Raises
    ------
    TypeError
        If it has no training data or no likelihood.
    """
    if isinstance(model, MarginalLogLikelihood):
        model = model.model
    if hasattr(model, "models"):
        return "\n".join(f"{i}: {explain(part)}" for i, part in enumerate(model.models))
    inputs, target = getattr(model, "train_inputs", None), getattr(model, "train_targets", None)
    if inputs is None or target is None or not hasattr(model, "likelihood"):
        raise TypeError(f"model must be a GPyTorch ExactGP with training data, got {type(model).__name__}; pass the GP itself")
    with torch.no_grad():
        output = model.forward(*inputs)  # the prior, also of a model that is in evaluation mode
        problem = _recognise(model.likelihood, output, target, inputs, {})
        if not isinstance(problem, str) and _numbers(problem, _State()) is None:
            problem = "a parameter, input or target is not finite, or a length scale or variance not positive"
    if isinstance(problem, str):
        return f"GPyTorch: {problem}"
    batch = f"{problem.batch.numel()} outputs, " if problem.batch else ""
    scales = problem.length_scale.shape[-1]
    return (
        f"fastard: {type(problem.kernel).__name__} with {scales} length scale{'s' if scales > 1 else ''}, "
        f"{type(model.likelihood).__name__}, {batch}n = {problem.x.shape[-2]}, d = {problem.x.shape[-1]}"
    )


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
    least: Array  # (d,)


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
        points = [_Points(X, central(X), least_length_scales(X)) for X in x]
        self.last = x, points
        return points

    def take(self, n: int) -> Workspace:
        """A buffer for n points that nobody else has."""
        return spare_workspace(self.workspaces, n, 1)


def _forward(mll: Any, function_dist: Any, target: Tensor, *params: Any, **kwargs: Any) -> Tensor:
    """What ``forward`` of the class above does, and inside ``patched`` that of GPyTorch's."""
    problem = _recognise(mll.likelihood, function_dist, target, params, kwargs)
    if not isinstance(problem, str):
        state = mll.__dict__.setdefault("_fastard", _State())
        numbers = _numbers(problem, state)
        if numbers is not None:
            value = _DataTerm.apply(problem, numbers, state, torch.is_grad_enabled(), *problem.tensors)
            return mll._add_other_terms(value, params).div_(problem.x.shape[-2])
    return _gpytorchs_forward(mll, function_dist, target, *params, **kwargs)


_PATCH = Patch(_GPyTorchs, {"forward": _forward})


def _is(module: Any, known: type) -> bool:
    """Whether a module does what ``known`` did when this file was imported: no method is another."""
    own = type(module)
    return issubclass(own, known) and all(
        getattr(own, name) is method and name not in module.__dict__ for name, method in _KNOWN[known].items()
    )


def _recognise(likelihood: Any, output: Any, target: Tensor, params: Any, kwargs: Any) -> _Problem | str:
    """The problem, or the first reason why it is not one for fastard."""
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

    kernel, output_scale, shape = lazy.kernel, None, None
    if _is(kernel, ScaleKernel):
        output_scale, kernel = kernel.outputscale, kernel.base_kernel
    if _is(kernel, RBFKernel):
        ours: Kernel = RBF()
    elif _is(kernel, MaternKernel) and kernel.nu in MATERN:
        ours = MATERN[kernel.nu]
    elif _is(kernel, RQKernel):
        ours, shape = RationalQuadratic(), kernel.alpha
    else:
        return f"the kernel is a {type(kernel).__name__}, not [a ScaleKernel of] an RBFKernel, MaternKernel or RQKernel"
    x, length_scale = lazy.x1, kernel.lengthscale
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

    ranks = [x.shape[:-2], length_scale.shape[:-2], noise.shape[:-1]]
    if output_scale is not None:
        ranks.append(output_scale.shape)
    if shape is not None:
        ranks.append(shape.shape[:-1])
    residual = target - mean
    batch = residual.shape[:-1]
    if any(ranks):
        try:
            own = torch.broadcast_shapes(*ranks)
            together = torch.broadcast_shapes(own, batch)
        except RuntimeError:
            return f"batches of shapes {', '.join(str(tuple(rank)) for rank in (*ranks, batch))}"
        if batch != together and not (len(batch) < len(own) and own == together):
            return f"targets of batch shape {tuple(batch)} for covariances of batch shape {tuple(own)}"
        batch = together
    return _Problem(ours, batch, x, residual, length_scale, output_scale, shape, noise)


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
    if any((scales <= own.least).any() for scales, own in zip(length_scale, points, strict=True)):
        return None
    return _Numbers(points, residual, length_scale, output_scale, shape, noise)


class _DataTerm(torch.autograd.Function):
    """ln p(y | X) for each element of the batch, with its derivatives by all that takes part."""

    @staticmethod
    def forward(
        ctx: Any, problem: _Problem, numbers: _Numbers, state: _State, gradient: bool, *tensors: Tensor | None
    ) -> Tensor:
        wanted = ctx.needs_input_grad[4:] if gradient else (False,) * len(tensors)
        n, d = problem.x.shape[-2:]
        k = len(numbers.points)
        values = np.empty(k)
        # Each with the batch's elements first; those not wanted stay empty.
        tails: list[tuple[int, ...]] = [(n, d), (n,), (1, d), (), (1,), (n,)]
        results = [np.empty((k, *tail)) if is_wanted else None for tail, is_wanted in zip(tails, wanted, strict=True)]
        by_x, by_residual, by_length_scale, by_output_scale, by_shape, by_noise = results
        free = np.zeros(d, dtype=bool) if by_length_scale is None else None
        tied = free is None and problem.length_scale.shape[-1] == 1
        threads = default_threads()
        workspace = state.take(n)
        for i, points in enumerate(numbers.points):
            kernel = problem.kernel if numbers.shape is None else problem.kernel.with_shape(numbers.shape[i])
            variance = float(numbers.output_scale[i, 0])
            term = Term(kernel, numbers.length_scale[i], variance, free, tied=tied)
            y = numbers.residual[i][:, np.newaxis]
            found = _positive_definite(term, points, y, numbers.noise[i], workspace, any(wanted), threads)
            values[i] = found.log_marginal_likelihood
            if by_residual is not None:
                by_residual[i] = -found.alpha[:, 0]
            if by_length_scale is not None:
                by_length_scale[i, 0] = found.gradients[0].log_length_scale / term.length_scale
            if by_output_scale is not None:
                by_output_scale[i] = found.gradients[0].log_signal_variance / variance
            if by_shape is not None:
                by_shape[i] = found.gradients[0].log_shape / kernel
            if by_noise is not None:
                by_noise[i] = 0.5 * found.diagonal_weights
            if by_x is not None:
                by_x[i] = _by_points(term, points, found, workspace, threads)
        state.workspaces.append(workspace)
        if any(wanted):
            derivatives = (
                None if result is None else torch.from_numpy(result.reshape(problem.batch + result.shape[1:]))
                for result in results
            )
            ctx.save_for_backward(*tensors, *derivatives)
        return torch.from_numpy(values.reshape(problem.batch))

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, derivatives = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        gradients: list[Tensor | None] = []
        for tensor, derivative in zip(inputs, derivatives, strict=True):
            if derivative is None:
                gradients.append(None)
                continue
            of_each = weight.reshape(weight.shape + (1,) * (derivative.dim() - weight.dim()))
            gradients.append((of_each * derivative).sum_to_size(tensor.shape))
        if torch.is_grad_enabled():  # create_graph=True
            leaves = [tensor for tensor in inputs if tensor is not None]
            known = _NoSecondDerivative.apply(*(g for g in gradients if g is not None), *leaves)
            known = iter(known)
            gradients = [None if gradient is None else next(known) for gradient in gradients]
        return (None, None, None, None, *gradients)


class _NoSecondDerivative(torch.autograd.Function):
    """The first derivatives, tied to all that they depend on, so that deriving them again is an error and not a zero."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.clone() for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> Any:
        raise RuntimeError(
            "fastard.gpytorch has first derivatives of the marginal log likelihood, and a second was asked for; use "
            "gpytorch.mlls.ExactMarginalLogLikelihood for it"
        )


def _positive_definite(
    term: Term, points: _Points, y: Array, noise: Array, workspace: Workspace, gradient: bool, threads: int
) -> Evaluation:
    """An evaluation, with as much jitter as linear_operator's settings allow where it needs some."""

    def attempt(jitter: float) -> Evaluation:
        return evaluate(
            [term], points.X, y, noise + jitter, workspace, gradient=gradient, threads=threads, center=points.center
        )

    found = attempt(0.0)
    jitter = 0.0
    for i in range(linear_settings.cholesky_max_tries.value()):
        if found.failure is None:
            return found
        jitter = linear_settings.cholesky_jitter.value(torch.float64) * 10**i
        warnings.warn(
            f"the covariance is not positive definite: added jitter of {jitter:.1e} to its diagonal",
            NumericalWarning,
            stacklevel=2,
        )
        found = attempt(jitter)
    if found.failure is None:
        return found
    raise NotPSDError(
        f"the covariance is not positive definite, even with jitter of {jitter:.1e} on its diagonal: {where(*found.failure)}; "
        "raise the noise, drop duplicate points, or allow more with linear_operator.settings.cholesky_jitter"
    )


def _by_points(term: Term, points: _Points, found: Evaluation, workspace: Workspace, threads: int) -> Array:
    """Derivatives by the inputs, (n, d): twice the sum over k of Q_jk dK(x_j, x_k) / dx_j, Q = (alpha alpha' - K^-1) / 2."""
    Q = np.multiply.outer(found.alpha[:, 0], found.alpha[:, 0])
    Q -= workspace.symmetric(threads)  # K^-1
    gradient: Array = point_gradient(term, Q[np.newaxis], points.X, points.X, threads)[0]  # of 2 Q / 2
    return gradient
