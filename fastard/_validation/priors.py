"""Is it a prior density, or one for each parameter?"""

import math
import reprlib
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._text import listed
from fastard.kernels import Kernel


def about_shape(name: str, value: Any, kernel: Kernel) -> None:
    """None for a kernel without a shape parameter."""
    if value is not None and len(kernel) == 0:
        raise ValueError(f"{name} is given, but {kernel!r} has no shape parameter")


def prior_name(name: str, value: str) -> None:
    """The name of a prior of length scales that a maximum a posteriori has a meaning for."""
    if value == "saas":
        raise ValueError(
            f"{name}='saas' has a global scale beside the length scales, whose joint density has no useful maximum: draw from "
            "it, fastard.sample_posterior(X, y, length_scale_prior='saas')"
        )
    if value != "dimension_scaled":
        raise ValueError(f"{name} must be a prior, or 'dimension_scaled', or for sample_posterior 'saas'; got {value!r}")


def a_prior_for_each(name: str, value: Any, first_of_group: NDArray[np.int64], is_free: NDArray[np.bool_]) -> None:
    """Of a list of priors: one for every free parameter, without which there may be no posterior distribution."""
    if not isinstance(value, list | tuple) or len(value) != first_of_group.size:
        return  # another check's
    has_one = np.zeros(first_of_group.size, dtype=bool)
    for first, prior in zip(first_of_group.tolist(), value, strict=True):
        has_one[first] |= prior is not None
    lacking = np.flatnonzero(is_free & ~has_one[first_of_group])
    if lacking.size:
        raise ValueError(
            f"{name} must have a prior for every length scale that is drawn, got none for column {int(lacking[0])}; a flat "
            "one is no distribution"
        )


def density_at_start(objection: str) -> None:
    """The priors have one where chains are to begin."""
    if objection:
        raise ValueError(f"{objection}, where the chains are to begin; give a prior with a wider support")


def prior_kind(
    name: str, prior: Any, distributions: Collection[str], size: int | None
) -> Literal["distribution", "callable", "list"]:
    """Which of these a prior is: a frozen distribution, or, where it may have one for each of ``size`` parameters, a list."""
    if all(hasattr(prior, attribute) for attribute in ("dist", "args", "kwds", "logpdf")):
        if prior.dist.name not in distributions:
            raise TypeError(
                f"{name} must be one of scipy.stats' {', '.join(distributions)}, got {prior.dist.name}; for another one pass "
                "a callable that returns the log density and its derivative with respect to the natural parameter"
            )
        return "distribution"
    if callable(prior) and not hasattr(prior, "logpdf"):
        return "callable"
    if size is not None and isinstance(prior, list | tuple):
        if len(prior) != size:
            raise ValueError(f"{name} must be one prior or {size} of them, got {len(prior)}")
        return "list"
    if callable(prior):
        raise TypeError(f"{name} must be a frozen distribution: call {prior.name} with its parameters")
    raise TypeError(
        f"{name} must be a frozen scipy.stats distribution ({', '.join(distributions)}) or a callable that returns the log "
        f"density and its derivative with respect to the natural parameter; got {prior!r}"
    )


def prior_of_each(name: str, priors: Sequence[Any], first_of_group: NDArray[np.int64]) -> list[Any]:
    """The priors of tied parameters, which must be the same object or None: at the first parameter, and None at the others."""
    result: list[Any] = [None] * first_of_group.size
    for first, prior in zip(first_of_group.tolist(), priors, strict=True):
        if prior is not None and result[first] is not None and result[first] is not prior:
            raise ValueError(
                f"{name} has several priors for one parameter: give tied length scales one, and None to the others"
            )
        if prior is not None:
            result[first] = prior
    return result


def prior_parameters(name: str, prior: Any, first_of_group: NDArray[np.int64]) -> list[Array]:
    """A frozen distribution's loc, scale and shapes, each for all parameters, and equal for tied ones."""
    shapes = prior.dist.shapes.split(", ") if prior.dist.shapes else []
    given = dict(zip([*shapes, "loc", "scale"], prior.args, strict=False)) | prior.kwds
    size = first_of_group.size
    try:
        parameters = [
            np.array(np.broadcast_to(np.asarray(given.get(key, default), dtype=float), size))
            for key, default in [("loc", 0.0), ("scale", 1.0), *((key, math.nan) for key in shapes)]
        ]
    except ValueError:
        raise ValueError(f"{name} must have parameters that are numbers, or {size} of them") from None
    for values in parameters:
        if not np.array_equal(values, values[first_of_group], equal_nan=True):
            raise ValueError(
                f"{name} has several values for one parameter, [{listed(values.tolist())}]: tied length scales need the same"
            )
    loc, scale = parameters[:2]
    with np.errstate(all="ignore"):
        if not np.isfinite(prior.logpdf(loc + scale)).all():
            raise ValueError(f"{name} has parameters that make it no distribution: {given}")
    return parameters


def prior_value(name: str, answer: Any, size: int) -> tuple[float, Array]:
    """The log density that a user's callable returned, and its derivatives with respect to ``size`` parameters."""
    try:
        value, slope = answer
        value, slope = float(value), np.array(slope, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must return the log density and its derivative, got {reprlib.repr(answer)}") from None
    if slope.size != size:
        raise ValueError(f"{name} must return {size} derivatives, one for each parameter, got {slope.size}")
    return value, slope
