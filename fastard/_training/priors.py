"""Prior densities of the hyperparameters, with which ``fit`` finds a maximum a posteriori."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._parameters import ParameterSpace, kinds_of
from fastard._validation import listed

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
    result = []
    for name, where in kinds_of(space.d).items():
        if name == "shape" and priors[name] is not None and len(space.kernel) == 0:
            raise ValueError(f"shape_prior is given, but {space.kernel!r} has no shape parameter")
        prior = log_prior(f"{name}_prior", priors[name], space.first_of_group if name == "length_scale" else None)
        if prior is not None and space.is_free[where].any():
            result.append((name, where, prior))
    return result


def log_prior(name: str, prior: Any, same: NDArray[np.int64] | None = None) -> LogPrior | None:
    """The log density of a number, or of an array of parameters, from what a user gave as ``name``; None for no prior.

    ``same`` is for an array, whose entries may have a prior each: of each entry the first one that it is tied to. Of tied
    ones, which are one parameter, one counts.
    """
    if prior is None:
        return None
    if _is_frozen(prior):
        return _frozen(name, prior, np.zeros(1, dtype=np.int64) if same is None else same)
    if callable(prior) and not hasattr(prior, "logpdf"):
        return _called(name, prior, None if same is None else same.size)
    if same is not None and isinstance(prior, list | tuple):
        if len(prior) != same.size:
            raise ValueError(f"{name} must be one prior or {same.size} of them, got {len(prior)}")
        return _each([log_prior(f"{name}[{i}]", entry) for i, entry in enumerate(_one_for_all(name, prior, same))])
    if callable(prior) and hasattr(prior, "logpdf"):
        raise TypeError(f"{name} must be a frozen distribution: call {prior.name} with its parameters")
    raise TypeError(
        f"{name} must be a frozen scipy.stats distribution ({', '.join(_FORMS)}) or a callable that returns the log density "
        f"and its derivative with respect to the natural parameter; got {prior!r}"
    )


def _is_frozen(prior: Any) -> bool:
    return all(hasattr(prior, attribute) for attribute in ("dist", "args", "kwds", "logpdf"))


def _one_for_all(name: str, priors: Sequence[Any], same: NDArray[np.int64]) -> list[Any]:
    """Of tied parameters' priors one, where they are the same object or None, and None for the others."""
    result: list[Any] = [None] * same.size
    for first, prior in zip(same.tolist(), priors, strict=True):
        if prior is not None and result[first] is not None and result[first] is not prior:
            raise ValueError(
                f"{name} has several priors for one parameter: give tied length scales one, and None to the others"
            )
        if prior is not None:
            result[first] = prior
    return result


def _frozen(name: str, prior: Any, same: NDArray[np.int64]) -> LogPrior:
    distribution, count = prior.dist, same.size
    counts = (same == np.arange(count)).astype(float)  # of tied parameters the first
    if distribution.name not in _FORMS:
        raise TypeError(
            f"{name} must be one of scipy.stats' {', '.join(_FORMS)}, got {distribution.name}; for another one pass a "
            "callable that returns the log density and its derivative with respect to the natural parameter"
        )
    form = _FORMS[distribution.name]
    shapes = distribution.shapes.split(", ") if distribution.shapes else []
    given = dict(zip([*shapes, "loc", "scale"], prior.args, strict=False)) | prior.kwds
    try:
        loc, scale, *shape = (
            np.array(np.broadcast_to(np.asarray(given.get(key, default), dtype=float), count))
            for key, default in [("loc", 0.0), ("scale", 1.0), *((key, math.nan) for key in shapes)]
        )
    except ValueError:
        raise ValueError(f"{name} must have parameters that are numbers, or {count} of them") from None
    for values in (loc, scale, *shape):
        if not np.array_equal(values, values[same], equal_nan=True):
            raise ValueError(
                f"{name} has several values for one parameter, [{listed(values.tolist())}]: tied length scales need the same"
            )
    with np.errstate(all="ignore"):
        constant = float(np.sum(counts * (prior.logpdf(loc + scale) - form(np.ones(count), *shape)[0])))
    if not math.isfinite(constant):
        raise ValueError(f"{name} has parameters that make it no distribution: {given}")

    per_unit = counts / scale

    def log_density(x: Array) -> tuple[float, Array]:
        z = (x - loc) / scale
        if not z.min(initial=1.0) > 0.0:
            return -math.inf, np.zeros(count)
        with np.errstate(all="ignore"):
            value, slope = form(z, *shape)
            return constant + float(counts @ value), per_unit * slope

    return log_density


def _called(name: str, prior: Callable[..., Any], size: int | None) -> LogPrior:
    def log_density(x: Array) -> tuple[float, Array]:
        answer = prior(float(x[0]) if size is None else x.copy())
        try:
            value, slope = answer
            value, slope = float(value), np.array(slope, dtype=float).reshape(-1)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must return the log density and its derivative, got {reprlib.repr(answer)}") from None
        if slope.size != x.size:
            raise ValueError(f"{name} must return {x.size} derivatives, one for each parameter, got {slope.size}")
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
