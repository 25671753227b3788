"""GPyTorch's exact marginal log likelihood, its data term evaluated by fastard."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood as _GPyTorchs
from linear_operator import settings as linear_settings
from linear_operator.utils.errors import NotPSDError
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from fastard._arrays import Array
from fastard._engine.cross import point_gradient
from fastard._engine.evaluate import Evaluation, evaluate
from fastard._engine.terms import Term
from fastard._engine.workspace import Workspace
from fastard._numba.threads import default_threads
from fastard.exceptions import where
from fastard.gpytorch.recognition import _Numbers, _numbers, _Points, _Problem, _recognise, _State

_gpytorchs_forward = _GPyTorchs.forward


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
        """The marginal log likelihood over n, in nats, of the model's batch shape; see the class."""
        return _forward(self, function_dist, target, *params, **kwargs)

    def train(self, mode: bool = True) -> ExactMarginalLogLikelihood:
        """GPyTorch's; the buffer is given back when training ends."""
        if not mode:
            self.__dict__.pop("_fastard", None)
        super().train(mode)
        return self


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


class _DataTerm(torch.autograd.Function):
    """ln p(y | X) for each element of the batch, with its derivatives with respect to all that takes part."""

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
                by_x[i] = _input_gradient(term, points, found, workspace, threads)
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


def _input_gradient(term: Term, points: _Points, found: Evaluation, workspace: Workspace, threads: int) -> Array:
    """The gradient with respect to the inputs, (n, d): 2 sum_k Q_jk dK(x_j, x_k) / dx_j, Q = (alpha alpha' - K^-1) / 2."""
    Q = np.multiply.outer(found.alpha[:, 0], found.alpha[:, 0])
    Q -= workspace.symmetric(threads)  # K^-1
    gradient: Array = point_gradient(term, Q[np.newaxis], points.X, points.X, threads)[0]  # of 2 Q / 2
    return gradient
