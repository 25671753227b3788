"""Prior densities of the hyperparameters, with which ``fit`` finds a maximum a posteriori."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.priors import FAMILIES, Densities, densities, together
from fastard._parameters import Parameters, ParameterSpace, kinds_of

# From k natural values to the log density and its derivatives with respect to them, (k,).
LogPrior = Callable[[Array], tuple[float, Array]]
Priors = Sequence[tuple[str, slice | NDArray[np.int64], LogPrior]]


class PriorRow(NamedTuple):
    """The prior of one parameter: a density of the natural parameter, in its units."""

    place: int  # in theta
    family: str  # a scipy.stats name among those above
    loc: float
    scale: float
    shape: float = math.nan  # of lognorm (s) and gamma (a)


def log_priors(
    space: ParameterSpace,
    X: Array,
    names: list[str] | None,
    *,
    length_scale: Any = None,
    signal_variance: Any = None,
    noise_variance: Any = None,
    shape: Any = None,
) -> Priors:
    """Of the kinds of parameters that have a prior and are not all fixed: name, places in theta, and log density.

    ``names`` are those of the columns, by which the length scales' may be a dictionary.
    """
    validate.about_shape("shape_prior", shape, space.kernel)
    d = space.column_groups.size
    of_scales = validate.by_column("length_scale_prior", length_scale, names, d, [None] * d)
    priors = dict(zip(kinds_of(d), (of_scales, signal_variance, noise_variance, shape), strict=True))
    result = []
    for name, own_places in kinds_of(space.d, space.noises or 1).items():
        where = space.columns if name == "length_scale" and space.columns is not None else own_places
        groups = space.column_groups if name == "length_scale" else None
        if name == "noise_variance" and space.noises:
            groups = np.arange(space.noises)
        prior: LogPrior | None
        if name == "length_scale" and isinstance(priors[name], str):
            validate.prior_name(f"{name}_prior", priors[name])
            prior = _dimension_scaled(space.column_groups, X, space.columns)
        else:
            prior = log_prior(f"{name}_prior", priors[name], groups)
        if prior is not None and space.is_free[where].any():
            result.append((name, where, prior))
    return result


def log_density(priors: Priors, parameters: Parameters, size: int) -> tuple[float, Array, str]:
    """All priors' log density, its gradient with respect to theta (size,), and what is wrong where they are not finite."""
    total, gradient = 0.0, np.zeros(size)
    if not priors:
        return total, gradient, ""
    values = np.concatenate([parameters[0], np.atleast_1d(parameters[1]), np.atleast_1d(parameters[2]), tuple(parameters[3])])
    for name, where, prior in priors:
        value, slope = prior(values[where])
        total += value
        with np.errstate(all="ignore"):
            gradient[where] = values[where] * slope  # d / d ln x = x d / dx
        if not (np.isfinite(value) and np.isfinite(gradient[where]).all()):
            at = validate.listed(values[where].tolist())
            return total, gradient, f"{name}_prior has no finite log density and derivative at {name} = [{at}]"
    return total, gradient, ""


def log_prior(name: str, prior: Any, first_of_group: NDArray[np.int64] | None = None) -> LogPrior | None:
    """The log density of a number, or of an array of parameters, from what a user gave as ``name``; None for no prior.

    ``first_of_group`` is for an array, whose entries may have a prior each: of each entry the first one that it is tied to. Of
    tied ones, which are one parameter, one counts.
    """
    if prior is None:
        return None
    first = np.zeros(1, dtype=np.int64) if first_of_group is None else first_of_group
    kind = validate.prior_kind(name, prior, FAMILIES, None if first_of_group is None else first.size)
    if kind == "distribution":
        return _distribution(name, prior, first)
    if kind == "callable":
        return _callable(name, prior, first_of_group is None)
    priors = validate.prior_of_each(name, prior, first)
    return _each([log_prior(f"{name}[{i}]", entry) for i, entry in enumerate(priors)])


def _dimension_scaled(first_of_group: NDArray[np.int64], X: Array, columns: NDArray[np.int64] | None) -> LogPrior:
    """Log-normal, of X in the unit cube: Hvarfner, Hellsten & Nardi (2024), with BoTorch's parameters."""
    d = first_of_group.size
    scale = ranges(X, first_of_group, columns) * math.exp(math.sqrt(2.0) + 0.5 * math.log(max(d, 1)))
    names = ["lognorm" if first == i else None for i, first in enumerate(first_of_group.tolist())]
    return densities(names, np.zeros(d), scale, np.full(d, math.sqrt(3.0)))


def ranges(X: Array, first_of_group: NDArray[np.int64], columns: NDArray[np.int64] | None = None) -> Array:
    """Of the columns of X, (d,), 1 for constant ones; of those that are tied the largest.

    Where X is encoded, ``columns`` says where the columns begin that each of d became: of these too the largest.
    """
    result: Array = np.where(validate.constant(X), 0.0, X.max(axis=0) - X.min(axis=0))
    if columns is not None:
        result = np.maximum.reduceat(result, columns)
    largest = np.zeros_like(result)
    np.maximum.at(largest, first_of_group, result)
    result = largest[first_of_group]
    return np.where(result > 0.0, result, 1.0)


def _distribution(name: str, prior: Any, first_of_group: NDArray[np.int64]) -> LogPrior:
    counts = first_of_group == np.arange(first_of_group.size)  # of tied parameters the first
    loc, scale, *shape = validate.prior_parameters(name, prior, first_of_group)
    names = [prior.dist.name if counted else None for counted in counts]
    return densities(names, loc, scale, shape[0] if shape else np.ones(loc.size))


def of_rows(rows: Sequence[PriorRow]) -> Priors:
    """The log densities of the parameters that the rows name; a second row of one parameter stands in a second entry."""
    entries: list[dict[int, PriorRow]] = []
    for row in sorted(rows, key=lambda row: row.place):
        entry = next((entry for entry in entries if row.place not in entry), None)
        if entry is None:
            entries.append(entry := {})
        entry[row.place] = row
    result = []
    for entry in entries:
        loc, scale, shape = np.array([row[2:] for row in entry.values()]).T
        names = [row.family for row in entry.values()]
        density = densities(names, loc, scale, np.where(np.isnan(shape), 1.0, shape))
        result.append(("hyperparameter", np.array(list(entry)), density))
    return result


def _callable(name: str, prior: Callable[..., Any], of_number: bool) -> LogPrior:
    def log_density(x: Array) -> tuple[float, Array]:
        return validate.prior_value(name, prior(float(x[0]) if of_number else x.copy()), x.size)

    return log_density


def _each(priors: list[LogPrior | None]) -> LogPrior:
    if all(prior is None or isinstance(prior, Densities) for prior in priors):
        return together([prior if isinstance(prior, Densities) else None for prior in priors])

    def log_density(x: Array) -> tuple[float, Array]:
        total, slopes = 0.0, np.zeros(len(priors))
        for i, prior in enumerate(priors):
            if prior is not None:
                value, slope = prior(x[i : i + 1])
                total += value
                slopes[i] = slope[0]
        return total, slopes

    return log_density
