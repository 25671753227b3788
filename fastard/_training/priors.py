"""Prior densities of the hyperparameters, with which ``fit`` finds a maximum a posteriori."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._parameters import ParameterSpace, kinds_of

# From k natural values to the log density and its derivatives with respect to them, (k,).
LogPrior = Callable[[Array], tuple[float, Array]]
Priors = list[tuple[str, slice, LogPrior]]

# By scipy.stats' names: the log density, up to a constant that SciPy gives, and its slope at z = (x - loc) / scale > 0.
_FORMS: dict[str, Callable[..., tuple[Array, Array]]] = {
    "lognorm": lambda z, s: (-np.log(z) - 0.5 * (np.log(z) / s) ** 2, -(1.0 + np.log(z) / s**2) / z),
    "gamma": lambda z, a: ((a - 1.0) * np.log(z) - z, (a - 1.0) / z - 1.0),
    "halfcauchy": lambda z: (-np.log1p(z**2), -2.0 * z / (1.0 + z**2)),
    "halfnorm": lambda z: (-0.5 * z**2, -z),
}


def log_priors(space: ParameterSpace, priors: dict[str, Any]) -> Priors:
    """Of the kinds of parameters that have a prior and are not all fixed: name, places in theta, and log density."""
    validate.shape_prior(priors["shape"], space.kernel)
    result = []
    for name, where in kinds_of(space.d).items():
        prior = log_prior(f"{name}_prior", priors[name], space.first_of_group if name == "length_scale" else None)
        if prior is not None and space.is_free[where].any():
            result.append((name, where, prior))
    return result


def log_prior(name: str, prior: Any, first_of_group: NDArray[np.int64] | None = None) -> LogPrior | None:
    """The log density of a number, or of an array of parameters, from what a user gave as ``name``; None for no prior.

    ``first_of_group`` is for an array, whose entries may have a prior each: of each entry the first one that it is tied to. Of
    tied ones, which are one parameter, one counts.
    """
    if prior is None:
        return None
    first = np.zeros(1, dtype=np.int64) if first_of_group is None else first_of_group
    kind = validate.prior_kind(name, prior, _FORMS, None if first_of_group is None else first.size)
    if kind == "distribution":
        return _distribution(name, prior, first)
    if kind == "callable":
        return _callable(name, prior, first_of_group is None)
    priors = validate.prior_of_each(name, prior, first)
    return _each([log_prior(f"{name}[{i}]", entry) for i, entry in enumerate(priors)])


def _distribution(name: str, prior: Any, first_of_group: NDArray[np.int64]) -> LogPrior:
    count = first_of_group.size
    counts = (first_of_group == np.arange(count)).astype(float)  # of tied parameters the first
    form = _FORMS[prior.dist.name]
    loc, scale, *shape = validate.prior_parameters(name, prior, first_of_group)
    with np.errstate(all="ignore"):
        constant = float(np.sum(counts * (prior.logpdf(loc + scale) - form(np.ones(count), *shape)[0])))
    per_unit = counts / scale

    def log_density(x: Array) -> tuple[float, Array]:
        z = (x - loc) / scale
        if not z.min(initial=1.0) > 0.0:
            return -math.inf, np.zeros(count)
        with np.errstate(all="ignore"):
            value, slope = form(z, *shape)
            return constant + float(counts @ value), per_unit * slope

    return log_density


def _callable(name: str, prior: Callable[..., Any], of_number: bool) -> LogPrior:
    def log_density(x: Array) -> tuple[float, Array]:
        return validate.prior_value(name, prior(float(x[0]) if of_number else x.copy()), x.size)

    return log_density


def _each(priors: list[LogPrior | None]) -> LogPrior:
    def log_density(x: Array) -> tuple[float, Array]:
        total, slopes = 0.0, np.zeros(len(priors))
        for i, prior in enumerate(priors):
            if prior is not None:
                value, slope = prior(x[i : i + 1])
                total += value
                slopes[i] = slope[0]
        return total, slopes

    return log_density
