"""The parameters of a BoTorch model that is recognised as a whole: where they are, between what, their priors, as numbers.

Strict: what is not exactly one of these classes, registered as GPyTorch's and BoTorch's own constructors do it, is BoTorch's.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from gpytorch.constraints import GreaterThan, Interval, LessThan, Positive
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, RQKernel, ScaleKernel
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood, GaussianLikelihood
from gpytorch.likelihoods.noise_models import HomoskedasticNoise
from gpytorch.means import ConstantMean, ZeroMean
from gpytorch.models import ExactGP
from gpytorch.module import Module
from gpytorch.priors import GammaPrior, HalfCauchyPrior, HalfNormalPrior, LogNormalPrior, NormalPrior
from gpytorch.utils.transforms import inv_sigmoid, inv_softplus
from torch import Tensor

from fastard._arrays import Array
from fastard._training.priors import PriorRow

_KERNELS = (RBFKernel, MaternKernel, RQKernel)

_CONSTRAINTS = (Positive, GreaterThan, LessThan, Interval)

# BoTorch's, by name, since it need not be installed. All are the same function at each call, and none draws random numbers.
_INPUT_TRANSFORMS = {
    "AffineInputTransform",
    "ChainedInputTransform",
    "FilterFeatures",
    "InputStandardize",
    "Log10",
    "Normalize",
    "Round",
}

# A transform comes this near to an end that it never reaches: softplus, exp and the sigmoid at -30.
_NEAR_THE_END = float(np.exp(-30.0))

# Where nothing bounds a parameter it stays between these, in units of the data. A shape beyond them GPyTorch could not use:
# its rational quadratic with an alpha of 1e10 has lost 6 digits, and does not factor.
_WIDEST, _WIDEST_SHAPE = (1e-10, 1e10), (1e-5, 1e5)

# How a prior is registered for a module's own parameter: GPyTorch's methods, a name, or `lambda module: module.lengthscale`.
_GETTERS = {
    "lengthscale": Kernel._lengthscale_param,
    "outputscale": ScaleKernel._outputscale_param,
    "noise": HomoskedasticNoise._noise_param,
}


def _code_named(function: Any, name: str) -> CodeType | None:
    constants = function.__code__.co_consts
    return next((code for code in constants if isinstance(code, CodeType) and code.co_name == name), None)


_BY_NAME = _code_named(Module.register_prior, "closure_new")
_BY_ATTRIBUTE = (lambda module: module.name).__code__


class ModelParameter(NamedTuple):
    """One parameter of a model, a number or one for each length scale, for each element of the batch."""

    raw: Tensor  # (*batch, ...)
    constraint: Interval | None
    prior: Any

    @property
    def is_free(self) -> bool:
        return bool(self.raw.requires_grad)

    def natural(self, k: int) -> Array:
        """Its values for a batch of k, (k, count)."""
        raw = self.raw.detach()
        array: Array = (raw if self.constraint is None else self.constraint.transform(raw)).numpy().reshape(k, -1)
        return array

    def bounds(self, unit: Array | None, start: Array) -> Array:
        """Low and high for a batch of k, (2, k, count), around natural values ``start`` (k, count).

        ``unit`` (count,) is the parameter's in the data, None for a shape, which has none.
        """
        assert self.constraint is not None  # the mean alone has none
        low, high = (
            np.broadcast_to(bound.detach().double().numpy(), self.raw.shape).reshape(start.shape)
            for bound in (self.constraint.lower_bound, self.constraint.upper_bound)
        )
        if self.constraint.enforced:
            near = _NEAR_THE_END * np.where(np.isfinite(low) & np.isfinite(high), high - low, 1.0)
            low, high = low + near + _rounding(low), high - near - _rounding(high)
        least, most = np.multiply.outer(_WIDEST_SHAPE if unit is None else _WIDEST, 1.0 if unit is None else unit)
        low = np.maximum(low, np.minimum(least, start))
        high = np.minimum(high, np.maximum(most, start))
        return np.stack([low, high])

    def prior_rows(self, k: int, first_place: int) -> list[list[PriorRow]]:
        """For each of the batch's k the rows of those that have a prior and are free."""
        if self.prior is None or not self.is_free:
            return [[] for _ in range(k)]
        family, *values = _family(self.prior)
        columns = [
            np.broadcast_to(value.detach().double().numpy(), self.raw.shape).reshape(k, -1).tolist() for value in values
        ]
        return [
            [PriorRow(first_place + i, family, *_standard(family, *own)) for i, own in enumerate(zip(*rows, strict=True))]
            for rows in zip(*columns, strict=True)
        ]

    def write(self, natural: Array) -> None:
        """Set it to natural values (k, count), by its constraint."""
        if not self.is_free:
            return
        with torch.no_grad():
            value = torch.from_numpy(np.ascontiguousarray(natural)).reshape(self.raw.shape)
            self.raw.copy_(value if self.constraint is None else self.constraint.inverse_transform(value))


class ModelParameters(NamedTuple):
    """All that a fit of a model trains, or would if it were free; None where it has no such parameter."""

    length_scale: ModelParameter
    signal_variance: ModelParameter | None
    noise_variance: ModelParameter | None
    shape: ModelParameter | None
    mean: ModelParameter | None
    known_variances: Tensor | None  # (*, n)


def botorch_model(model: Any) -> bool:
    """Whether it is a model of BoTorch's, which is not imported for this."""
    module = sys.modules.get("botorch.models.model")
    return module is not None and isinstance(model, module.Model)


def model_parameters(model: Any, likelihood: Any, batch: torch.Size) -> ModelParameters | str:
    """Those of a model whose data term is recognised, or the first reason why its fit is BoTorch's own."""
    reason = _model_reason(model) or _mean_reason(model.mean_module)
    if reason:
        return reason
    kernel, mean = model.covar_module, model.mean_module
    base = kernel.base_kernel if type(kernel) is ScaleKernel else kernel
    if type(base) not in _KERNELS:
        return f"the kernel is a {type(base).__name__}, a subclass"
    if type(likelihood) is GaussianLikelihood:
        learned, known = likelihood.noise_covar, None
    elif type(likelihood) is FixedNoiseGaussianLikelihood:
        learned, known = likelihood.second_noise_covar, likelihood.noise_covar.noise
    else:
        return f"the likelihood is a {type(likelihood).__name__}, a subclass"
    if learned is not None and type(learned) is not HomoskedasticNoise:
        return f"the noise is a {type(learned).__name__}, a subclass"

    # Of each parameter: the module that holds it, its name there, its shape after the batch's, and who may have its prior.
    places: dict[str, tuple[Any, str, tuple[int, ...], list[Any]]] = {
        "length_scale": (base, "lengthscale", tuple(base.raw_lengthscale.shape[-2:]), [base])
    }
    if kernel is not base:
        places["signal_variance"] = (kernel, "outputscale", (), [kernel])
    if learned is not None:
        places["noise_variance"] = (learned, "noise", (1,), [learned, likelihood] if known is None else [learned])
    if type(base) is RQKernel:
        places["shape"] = (base, "alpha", (1,), [base])
    if type(mean) is ConstantMean:
        places["mean"] = (mean, "constant", (), [])
    priors = _priors(model, places)
    if isinstance(priors, str):
        return priors
    result: dict[str, ModelParameter] = {}
    for name, (module, attribute, tail, _) in places.items():
        raw = getattr(module, f"raw_{attribute}")
        constraint = module._constraints.get(f"raw_{attribute}_constraint")
        reason = _constraint_reason(constraint, module, attribute) if name != "mean" else ""
        if reason:
            return reason
        if tuple(raw.shape) != (*batch, *tail):
            return f"raw_{attribute} has the shape {tuple(raw.shape)} for a batch of shape {tuple(batch)}"
        prior = priors.get(name)
        if prior is not None and not all(_expands(value, raw) for value in _family(prior)[1:]):
            return f"the prior of {attribute} has parameters of another shape"
        result[name] = ModelParameter(raw, constraint, prior)
    own = {id(parameter.raw) for parameter in result.values()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in own:
            return f"{name} is trained too"
    if not any(parameter.is_free for parameter in result.values()):
        return "no parameter is free"
    by_name = {name: result.get(name) for name in ModelParameters._fields[:5]}
    return ModelParameters(**by_name, known_variances=known)  # type: ignore[arg-type]


def _model_reason(model: Any) -> str:
    """Why the model does not compute what SingleTaskGP does, or ''."""
    regression, models = sys.modules.get("botorch.models.gp_regression"), sys.modules.get("botorch.models.model")
    own = type(model)
    if regression is None or models is None or not isinstance(model, regression.SingleTaskGP):
        return f"the model is a {own.__name__}, not a SingleTaskGP"
    expected = {
        "forward": regression.SingleTaskGP.forward,
        "__call__": ExactGP.__call__,
        "transform_inputs": models.Model.transform_inputs,
        "named_priors": Module.named_priors,
        "added_loss_terms": Module.added_loss_terms,
    }
    for name, method in expected.items():
        if getattr(own, name) is not method or name in model.__dict__:
            return f"{own.__name__} has a {name} of its own"
    if hasattr(model, "custom_fit"):
        return f"{own.__name__} has a fit of its own"
    if model._is_fully_bayesian or model._is_ensemble:
        return f"{own.__name__} is an ensemble"
    if any(True for _ in model.added_loss_terms()):
        return "it has added loss terms"
    return _transform_reason(getattr(model, "input_transform", None))


def _transform_reason(transform: Any) -> str:
    if transform is None:
        return ""
    own = type(transform)
    if own.__module__ != "botorch.models.transforms.input" or own.__name__ not in _INPUT_TRANSFORMS:
        return f"the input transform is a {own.__name__}"
    if own.__name__ == "ChainedInputTransform":
        return next(filter(None, map(_transform_reason, transform.values())), "")
    return "the input transform has a forward of its own" if "forward" in transform.__dict__ else ""


def _mean_reason(mean: Any) -> str:
    if type(mean) not in (ConstantMean, ZeroMean):
        return f"the mean is a {type(mean).__name__}, not a ConstantMean or ZeroMean"
    if "forward" in mean.__dict__:
        return "the mean has a forward of its own"
    if mean._priors or mean._constraints or hasattr(mean, "raw_constant_constraint"):
        return "the mean has a prior or constraint"
    if type(mean) is ZeroMean and mean.batch_shape is not None and any(True for _ in mean.parameters()):
        return "the mean has parameters"
    return ""


def _priors(model: Any, places: dict[str, Any]) -> dict[str, Any] | str:
    """The priors by the names of the parameters, or why one is not known."""
    result: dict[str, Any] = {}
    for full_name, module, prior, closure, _ in model.named_priors():
        owner = next(
            (
                name
                for name, (_, attribute, _, may_have) in places.items()
                if any(module is one for one in may_have) and _gets(closure, module, attribute)
            ),
            None,
        )
        if owner is None:
            return f"the prior {full_name} is not of one parameter alone"
        if owner in result:
            return f"{places[owner][1]} has more than one prior"
        own = type(prior)
        if own not in _FAMILIES or "log_prob" in prior.__dict__:
            return f"the prior {full_name} is a {own.__name__}"
        if prior._transform is not None:
            return f"the prior {full_name} has a transform"
        result[owner] = prior
    return result


def _gets(closure: Any, module: Any, attribute: str) -> bool:
    """Whether a prior's closure returns the module's parameter as it is."""
    if isinstance(closure, MethodType):
        return closure.__func__ is _GETTERS.get(attribute) and closure.__self__ is module
    if not isinstance(closure, FunctionType):
        return False
    code = closure.__code__
    if code is _BY_NAME:
        return bool(closure.__closure__ and closure.__closure__[0].cell_contents == attribute)
    same = code.co_code == _BY_ATTRIBUTE.co_code and code.co_names == (attribute,)
    return same and code.co_argcount == 1 and not code.co_freevars


def _constraint_reason(constraint: Any, module: Any, attribute: str) -> str:
    own = type(constraint)
    if own not in _CONSTRAINTS or getattr(module, f"raw_{attribute}_constraint", None) is not constraint:
        return f"the constraint of {attribute} is a {own.__name__}"
    forth, back = (getattr(constraint, name) for name in ("_transform", "_inv_transform"))
    if forth is None:
        return ""
    if own is Interval:
        known = forth is torch.sigmoid and back is inv_sigmoid
    else:
        softplus = type(forth) is torch.nn.Softplus and (forth.beta, forth.threshold) == (1.0, 20.0)
        known = (softplus and back is inv_softplus) or (forth is torch.exp and back is torch.log)
    return "" if known else f"the constraint of {attribute} has a transform of its own"


# Of each class scipy.stats' name for it, and how its parameters are read. Those of transformed distributions are their base's.
_FAMILIES: dict[type, tuple[str, Any]] = {
    GammaPrior: ("gamma", lambda prior: (prior.concentration, prior.rate)),
    LogNormalPrior: ("lognorm", lambda prior: (prior.base_dist.loc, prior.base_dist.scale)),
    HalfCauchyPrior: ("halfcauchy", lambda prior: (prior.base_dist.scale,)),
    HalfNormalPrior: ("halfnorm", lambda prior: (prior.base_dist.scale,)),
    NormalPrior: ("norm", lambda prior: (prior.loc, prior.scale)),
}


def _family(prior: Any) -> tuple[Any, ...]:
    """scipy.stats' name and the prior's own parameters."""
    name, values = _FAMILIES[type(prior)]
    return name, *values(prior)


def _standard(family: str, *own: float) -> tuple[float, ...]:
    """loc, scale and shape from a prior's own parameters."""
    if family == "gamma":
        return 0.0, 1.0 / own[1], own[0]
    if family == "lognorm":
        return 0.0, float(np.exp(own[0])), own[1]
    return own if family == "norm" else (0.0, own[0])


def _rounding(bound: Array) -> Array:
    """A few units in the last place; 0 at infinity."""
    return np.where(np.isfinite(bound), 1e-14 * np.abs(bound), 0.0)


def _expands(value: Tensor, raw: Tensor) -> bool:
    try:
        return value.dim() == 0 or bool(torch.broadcast_shapes(value.shape, raw.shape) == raw.shape)
    except RuntimeError:
        return False
