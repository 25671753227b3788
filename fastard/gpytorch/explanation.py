"""explain(): which code computes a model, and why."""

from __future__ import annotations

from typing import Any

import torch
from gpytorch.mlls import MarginalLogLikelihood

from fastard.gpytorch.fitting import fit_reason
from fastard.gpytorch.fully_bayesian import sampling_reason
from fastard.gpytorch.parameters import botorch_model
from fastard.gpytorch.recognition import _numbers, _recognise, _State


def explain(model: Any) -> str:
    """Which code evaluates the marginal log likelihood of a model on its training data, and which one fits it, and why.

    Parameters
    ----------
    model : gpytorch.models.ExactGP, a list of such models, or a marginal log likelihood of one
        Also ``botorch.models.ModelListGP``. It is left as it is.

    Returns
    -------
    text : str
        "fastard: ..." or "GPyTorch: ...", the latter with the first thing that was not recognised; for a list of models one
        line each. Of BoTorch's models it also says who does :func:`fit_gpytorch_mll`: "fitted by fastard", or "fitted by
        BoTorch: " and the reason. Of its fully Bayesian models it says who computes the sampler's data term: "fastard: ..." or
        "BoTorch: ...".

    Raises
    ------
    TypeError
        If it has no training data or no likelihood.
    """
    mll = model
    if isinstance(model, MarginalLogLikelihood):
        model = model.model
    if hasattr(model, "models"):
        return "\n".join(f"{i}: {explain(part)}" for i, part in enumerate(model.models))
    if hasattr(model, "pyro_model"):
        return _of_sampler(model.pyro_model)
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
    fitted = ""
    if botorch_model(model):
        reason = fit_reason(mll, problem)
        fitted = f"; fitted by BoTorch: {reason}" if reason else "; fitted by fastard"
    scales = problem.length_scale.shape[-1]
    return (
        f"fastard: {type(problem.kernel).__name__} with {scales} length scale{'s' if scales > 1 else ''}, "
        f"{type(model.likelihood).__name__}, {batch}n = {problem.x.shape[-2]}, d = {problem.x.shape[-1]}{fitted}"
    )


def _of_sampler(model: Any) -> str:
    reason = sampling_reason(model)
    if reason:
        return f"BoTorch: {reason}"
    n, d = model.train_X.shape
    noise = "noise sampled" if model.train_Yvar is None else "noise known"
    return f"fastard: Matern52 with {d} length scale{'s' if d > 1 else ''}, {noise}, n = {n}, d = {d}; sampled by NumPyro"
