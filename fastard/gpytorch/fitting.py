"""BoTorch's fit_gpytorch_mll: where a model is recognised as a whole, by fastard's own search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpytorch.mlls import ExactMarginalLogLikelihood as _GPyTorchs
from gpytorch.mlls import SumMarginalLogLikelihood
from gpytorch.module import Module

from fastard._arrays import Array
from fastard._parameters import ParameterSpace, standard_deviations
from fastard._training.priors import PriorRow
from fastard._training.train import Optimum, train
from fastard.gpytorch.mll import ExactMarginalLogLikelihood, _forward, _gpytorchs_forward
from fastard.gpytorch.parameters import ModelParameter, ModelParameters, model_parameters
from fastard.gpytorch.recognition import _Numbers, _numbers, _Problem, _recognise, _State

_add_other_terms = _GPyTorchs._add_other_terms

# Searches from the model's length scales, from shorter and from longer ones: one alone ends at another optimum than BoTorch's
# now and then, and sometimes at a lower one; see `--optima` of benchmarks/botorch_fits.py. With more rows they end at one.
_STARTS, _FEW_ROWS = (1.0, 0.2, 5.0), 200


def fit_gpytorch_mll(
    mll: Any,
    closure: Callable[..., Any] | None = None,
    optimizer: Callable[..., Any] | None = None,
    closure_kwargs: dict[str, Any] | None = None,
    optimizer_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """A drop-in for ``botorch.fit.fit_gpytorch_mll``: the same optimum, sooner.

    Where a model is recognised as a whole, fastard's own search trains it, from its current parameters, and up to 200 rows
    from those with a fifth and five times the length scales too, of which the best end counts; anything else, and any argument
    that is meant for BoTorch's optimiser, goes to BoTorch's own function. :func:`explain` tells which and why.

    Parameters
    ----------
    mll : gpytorch.mlls.MarginalLogLikelihood
        GPyTorch's ``ExactMarginalLogLikelihood`` or fastard's, of a ``SingleTaskGP``, of several outputs too; or a
        ``SumMarginalLogLikelihood`` of a ``ModelListGP``, whose models are fitted one by one.
    closure, optimizer, closure_kwargs, optimizer_kwargs, **kwargs
        BoTorch's; with one of them the fit is BoTorch's.

    Returns
    -------
    mll
        The same object, in evaluation mode, its parameters at the optimum.

    Raises
    ------
    ImportError
        Without BoTorch.
    botorch.exceptions.ModelFittingError
        BoTorch's, where its attempts fail too.

    Notes
    -----
    The maximum is that of the marginal log likelihood and the priors of the recognised parameters: densities of the natural
    parameters, without a Jacobian, as GPyTorch adds them. Where the covariance is not positive definite at the start, or
    just beyond the best parameters found, BoTorch's own function starts where this one did: it adds jitter, and draws other
    starts from the priors.

    Examples
    --------
    >>> model = SingleTaskGP(X, Y)
    >>> fastard.gpytorch.fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    """
    from botorch import fit as botorchs
    from botorch.models import ModelListGP

    options = {
        "closure": closure,
        "optimizer": optimizer,
        "closure_kwargs": closure_kwargs,
        "optimizer_kwargs": optimizer_kwargs,
        **kwargs,
    }
    is_list = isinstance(mll, SumMarginalLogLikelihood) and isinstance(mll.model, ModelListGP)
    if is_list and not hasattr(mll.model, "custom_fit"):
        mll.train()
        for part in mll.mlls:
            fit_gpytorch_mll(part, **options)
        return mll if any(part.training for part in mll.mlls) else mll.eval()
    if has_options(options) or not fit_whole(mll):
        return botorchs.fit_gpytorch_mll(mll, **options)
    return mll


def has_options(options: dict[str, Any]) -> bool:
    """Whether a call says something that BoTorch's optimiser alone understands."""
    return any(value is not None and value != {} for value in options.values())


def fit_whole(mll: Any) -> bool:
    """Train an mll by fastard's search if that can be done; otherwise its parameters are as before.

    It is left in evaluation mode, or where there is nothing to train by fastard in training mode, as BoTorch begins.
    """
    if _mll_reason(mll):
        return False
    mll.train()
    model = mll.model
    with torch.no_grad():
        target = model.train_targets
        problem = _recognise(mll.likelihood, model(*model.train_inputs), target, (), {})
        if isinstance(problem, str):
            return False
        parameters = model_parameters(model, mll.likelihood, problem.batch)
        numbers = None if isinstance(parameters, str) else _numbers(problem, _State())
        if isinstance(parameters, str) or numbers is None:
            return False
        optima = _train(problem, parameters, numbers)
    if optima is None:
        return False
    _write(parameters, optima)
    mll.eval()
    return True


def fit_reason(mll: Any, problem: _Problem) -> str:
    """Why an mll, or the model of one, whose data term is recognised, is fitted by BoTorch; '' where fastard does it."""
    model = getattr(mll, "model", mll)
    reason = _mll_reason(mll) if model is not mll else ""
    parameters = reason or model_parameters(model, model.likelihood, problem.batch)
    return parameters if isinstance(parameters, str) else ""


def _mll_reason(mll: Any) -> str:
    """Why an mll is not the exact marginal log likelihood, or ''."""
    own = type(mll)
    if not (
        isinstance(mll, _GPyTorchs)
        and own.forward in (_gpytorchs_forward, _forward, ExactMarginalLogLikelihood.forward)
        and own._add_other_terms is _add_other_terms
        and own.__call__ is Module.__call__
        and not {"forward", "_add_other_terms"} & mll.__dict__.keys()
    ):
        return f"the objective is a {own.__name__}, with a forward of its own"
    return "" if mll.likelihood is mll.model.likelihood else "the likelihood is not the model's"


def _train(problem: _Problem, parameters: ModelParameters, numbers: _Numbers) -> list[Optimum] | None:
    """The optimum of each element of the batch; None where a search cannot be trusted."""
    k, n = numbers.residual.shape
    d = problem.x.shape[-1]
    # theta's order; what a model has not is fixed: no output scale, no noise beside the known.
    defaults = (None, 1.0, 0.0, None)
    starts, limits, fixed = [], [], []
    rows: list[list[PriorRow]] = [[] for _ in range(k)]
    tied = parameters.length_scale.raw.shape[-1] == 1 and d > 1
    place = 0
    for parameter, default, units in zip(parameters[:4], defaults, _units(numbers, d, tied), strict=True):
        if parameter is None:
            if default is not None:
                starts.append(np.full((k, 1), default))
                limits.append(np.full((2, k, 1), default))
                fixed.append(np.ones(1, dtype=bool))
                place += 1
            continue
        start = parameter.natural(k)
        bounds = parameter.bounds(units, start)
        if parameter.is_free:
            start = np.clip(start, *bounds)
        for own, more in zip(rows, parameter.prior_rows(k, place), strict=True):
            own.extend(more)
        count = d if place == 0 else 1
        starts.append(np.broadcast_to(start, (k, count)))
        limits.append(np.broadcast_to(bounds, (2, k, count)))
        fixed.append(np.full(count, not parameter.is_free))
        place += count
    start, bounds = np.concatenate(starts, axis=1), np.concatenate(limits, axis=2)
    is_fixed = np.concatenate(fixed)
    first_of_group = np.zeros(d, dtype=np.int64) if tied else np.arange(d)
    mean = np.zeros((k, 1)) if parameters.mean is None else parameters.mean.natural(k)
    trains_mean = parameters.mean is not None and parameters.mean.is_free
    known = parameters.known_variances
    variances = None if known is None else known.detach().expand(*problem.batch, n).numpy().reshape(k, n)

    deviations = standard_deviations(numbers.points[0].X, np.arange(d))
    optima = []
    for i in range(k):
        space = ParameterSpace(problem.kernel, first_of_group, start[i], bounds[:, i].T, is_fixed)
        space.own_length_scales, space.deviations = False, deviations
        try:
            found = train(
                numbers.points[i].X,
                numbers.residual[i] + mean[i],
                space,
                rows[i],
                observation_variance=None if variances is None else variances[i],
                mean=float(mean[i, 0]),
                trains_mean=trains_mean,
                length_scale_factors=_STARTS if n <= _FEW_ROWS else _STARTS[:1],
            )
        except ValueError:  # not positive definite at the start, or an overflow
            return None
        if not found.converged and "not positive definite" in found.message:
            return None
        optima.append(found)
    return optima


def _units(numbers: _Numbers, d: int, tied: bool) -> list[Array | None]:
    """What the widest bounds are measured in: (count,) for each kind of parameter."""
    X = numbers.points[0].X
    columns = np.ptp(X, axis=0)
    columns = np.where(columns > 0.0, columns, 1.0)
    variance = np.array([float(np.var(numbers.residual)) or 1.0])
    return [columns.max(keepdims=True) if tied else columns, variance, variance, None]


def _write(parameters: ModelParameters, optima: list[Optimum]) -> None:
    length_scales = np.array([found.length_scale for found in optima])
    count = parameters.length_scale.raw.shape[-1]
    values: list[tuple[ModelParameter | None, Any]] = [
        (parameters.length_scale, length_scales[:, :count]),
        (parameters.signal_variance, [found.signal_variance for found in optima]),
        (parameters.noise_variance, [found.noise_variance for found in optima]),
        (parameters.shape, [tuple(found.kernel) for found in optima]),
        (parameters.mean, [found.mean for found in optima]),
    ]
    for parameter, natural in values:
        if parameter is not None:
            parameter.write(np.asarray(natural, dtype=np.float64).reshape(len(optima), -1))
