"""Prior densities of the hyperparameters, with which ``fit`` finds a maximum a posteriori."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastard._validation import Array

# From k natural values to the log density and its derivatives by them, (k,).
LogPrior = Callable[[Array], tuple[float, Array]]

# By scipy.stats' names: the log density, up to a constant that SciPy gives, and its slope at z = (x - loc) / scale > 0.
_FORMS: dict[str, Callable[..., tuple[Array, Array]]] = {
    "lognorm": lambda z, s: (-np.log(z) - 0.5 * (np.log(z) / s) ** 2, -(1.0 + np.log(z) / s**2) / z),
    "gamma": lambda z, a: ((a - 1.0) * np.log(z) - z, (a - 1.0) / z - 1.0),
    "halfcauchy": lambda z: (-np.log1p(z**2), -2.0 * z / (1.0 + z**2)),
    "halfnorm": lambda z: (-0.5 * z**2, -z),
}


def log_prior(name: str, prior: Any, size: int) -> LogPrior | None:
    """The log density of ``size`` parameters from what a user gave as ``name``; None for no prior.

    ``size`` is -1 for a number, otherwise the length of an array of parameters, which may have a prior each.
    """
    if prior is None:
        return None
    count = abs(size)
    if _is_frozen(prior):
        return _frozen(name, prior, count)
    if callable(prior):
        return _called(name, prior, size)
    if size >= 0 and isinstance(prior, list | tuple):
        if len(prior) != size:
            raise ValueError(f"{name} must be one prior or {size} of them, got {len(prior)}")
        return _each([log_prior(f"{name}[{i}]", entry, -1) for i, entry in enumerate(prior)])
    raise TypeError(
        f"{name} must be a frozen scipy.stats distribution ({', '.join(_FORMS)}) or a callable that returns the log density "
        f"and its derivative by the natural parameter; got {prior!r}"
    )


def _is_frozen(prior: Any) -> bool:
    return all(hasattr(prior, attribute) for attribute in ("dist", "args", "kwds", "logpdf"))


def _frozen(name: str, prior: Any, count: int) -> LogPrior:
    distribution = prior.dist
    if distribution.name not in _FORMS:
        raise TypeError(
            f"{name} must be one of scipy.stats' {', '.join(_FORMS)}, got {distribution.name}; for another one pass a "
            "callable that returns the log density and its derivative by the natural parameter"
        )
    form = _FORMS[distribution.name]
    shapes = distribution.shapes.split(", ") if distribution.shapes else []
    given = dict(zip([*shapes, "loc", "scale"], prior.args, strict=False)) | prior.kwds
    try:
        loc, scale, *shape = (
            np.broadcast_to(np.asarray(given.get(key, default), dtype=float), count)
            for key, default in [("loc", 0.0), ("scale", 1.0), *((key, math.nan) for key in shapes)]
        )
    except ValueError:
        raise ValueError(f"{name} must have parameters that are numbers, or {count} of them") from None
    with np.errstate(all="ignore"):
        constant = float(np.sum(prior.logpdf(loc + scale) - form(np.ones(count), *shape)[0]))
    if not math.isfinite(constant):
        raise ValueError(f"{name} has parameters that make it no distribution: {given}")

    def log_density(x: Array) -> tuple[float, Array]:
        z = (x - loc) / scale
        if not (z > 0.0).all():
            return -math.inf, np.zeros(count)
        with np.errstate(all="ignore"):
            value, slope = form(z, *shape)
            return constant + float(np.sum(value)), slope / scale

    return log_density


def _called(name: str, prior: Callable[..., Any], size: int) -> LogPrior:
    def log_density(x: Array) -> tuple[float, Array]:
        answer = prior(x.copy() if size >= 0 else float(x[0]))
        try:
            value, slope = answer
            value, slope = float(value), np.array(slope, dtype=float).reshape(-1)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must return the log density and its derivative, got {answer!r}") from None
        if slope.size != abs(size):
            raise ValueError(f"{name} must return {abs(size)} derivatives, one for each parameter, got {slope.size}")
        return value, slope

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
