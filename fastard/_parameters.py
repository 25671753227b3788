"""theta, the hyperparameters: their order, names, units, bounds, starts and ties.

The order is [length_scale ..., signal_variance, noise_variance, shape ...], P parameters in all; theta holds their natural
logarithms. A search moves the free ones, of which tied ones are one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine import descent
from fastard.kernels import Kernel

FIXED, AT_BOUND = -1, -2  # in the place of the number of a free parameter

# Where the caller gives none, in standard deviations of the inputs and variances of the targets: bounds ...
_BOUNDS = {
    "length_scale": (1e-3, 1e5),
    "signal_variance": (1e-5, 1e5),
    "noise_variance": (1e-8, 1e2),
    "shape": (1e-5, 1e5),
}
# ... and starts; the length scales' grow with sqrt(d), so that typical distances stay of the order of one.
_SIGNAL_VARIANCE, _NOISE_VARIANCE = 1.0, 0.1

Parameters = tuple[Array, float, float, Kernel]  # length_scale, signal_variance, noise_variance and the kernel


class Given(NamedTuple):
    """What a caller gave for the parameters of one kind; None where nothing."""

    start: Any
    bounds: Any


def kinds_of(d: int) -> dict[str, slice]:
    """Where the parameters of each kind stand."""
    return {
        "length_scale": slice(0, d),
        "signal_variance": slice(d, d + 1),
        "noise_variance": slice(d + 1, d + 2),
        "shape": slice(d + 2, None),
    }


class ParameterSpace:
    """The hyperparameters of a training: where they start, between what, and which are fixed or tied.

    Attributes
    ----------
    number : ndarray of int, shape (P,)
        Which free parameter each one is, from 0; tied ones are the same; FIXED.
    first_of_group : ndarray of int, shape (d,)
        Of each length scale the first one that it is tied to.
    start, bounds : ndarray, shape (free,) and (free, 2)
        Of the free parameters, logarithms.
    first_places : ndarray of int, shape (free,)
        Where each free parameter stands in theta; of tied ones the first.
    is_length_scale : ndarray of bool, shape (free,)
    deviations : ndarray, shape (d,)
        Standard deviations of the columns of X, 1 for constant ones.
    own_length_scales : bool
        Whether the length scales start by default.
    unit_of_variance : float
    unit_of_mean : float
        Where it is not 0, the last free parameter is the mean of y in such units.
    """

    def __init__(self, kernel: Kernel, first_of_group: NDArray[np.int64], start: Array, limits: Array, fixed: Any) -> None:
        d = first_of_group.size
        self.kernel, self.d, self.size, self.first_of_group = kernel, d, start.size, first_of_group
        # Natural parameters, and between what: rounding in exp(ln x) moves none out of its bounds, nor a fixed one at all.
        self._low, self._high = np.where(fixed, start, limits.T)
        number, places = [FIXED] * start.size, list[int]()
        of_group: dict[int, int] = {}  # by its first member, which comes first
        for place, (first, is_fixed) in enumerate(zip((*first_of_group.tolist(), *range(d, start.size)), fixed, strict=True)):
            if not is_fixed:
                if first not in of_group:
                    of_group[first] = len(places)
                    places.append(place)
                number[place] = of_group[first]
        self.number = np.array(number, dtype=np.int64)
        self.is_free = self.number != FIXED
        self._number_of_free = self.number[self.is_free]
        representatives = np.array(places, dtype=np.int64)
        with np.errstate(divide="ignore"):  # no noise
            self._theta = np.log(start)
        self.start = self._theta[representatives]
        self.bounds = np.empty((representatives.size, 2))
        self.bounds[:, 0], self.bounds[:, 1] = self._low[representatives], self._high[representatives]
        np.log(self.bounds, out=self.bounds)
        self.first_places, self.is_length_scale = representatives, representatives < d
        # The length scales' part in the engine's terms: which are free, None for all; and whether they are one parameter.
        of_scales = number[:d]
        all_free = FIXED not in of_scales
        self.free_length_scales = None if all_free else self.is_free[:d]
        self.isotropic = all_free and len(set(of_scales)) == 1
        self.own_length_scales, self.unit_of_variance, self.unit_of_mean = True, 1.0, 0.0
        self.deviations = np.ones(d)

    @property
    def natural_arrays(self) -> tuple[Array, NDArray[np.int64], Array, Array]:
        """theta, where it is fixed, the ``number`` of each, and between what the natural parameters are, (P,) each."""
        return self._theta, self.number, self._low, self._high

    def natural(self, free_theta: Array) -> Parameters:
        """length_scale, signal_variance, noise_variance and the kernel."""
        values, d = np.empty(self._theta.size), self.d
        descent.natural(np.ascontiguousarray(free_theta), *self.natural_arrays, values)
        return values[:d], float(values[d]), float(values[d + 1]), self.kernel.with_shape(values[d + 2 :].tolist())

    def free_gradient(self, gradient: Array) -> Array:
        """With respect to the free parameters, from that with respect to theta: of tied ones the sum."""
        return np.bincount(self._number_of_free, gradient[self.is_free], self.start.size)  # type: ignore[return-value]

    def whole_gradient(self, free_gradient: Array) -> Array:
        """(P,): at each tied parameter that of their common logarithm, 0 where fixed."""
        result = np.zeros(self.size)
        result[self.is_free] = free_gradient[self._number_of_free]
        return result

    def at_bounds(self, free_theta: Array) -> list[int]:
        """The places in theta of the free parameters that stand at a bound."""
        is_at_bound = (free_theta[:, np.newaxis] == self.bounds).any(axis=1)
        if not is_at_bound.any():
            return []
        places: list[int] = np.flatnonzero(self.is_free)[is_at_bound[self._number_of_free]].tolist()
        return places

    @property
    def fixed_noise(self) -> bool:
        """Whether the noise's variance is fixed."""
        return bool(self.number[self.d + 1] == FIXED)


def space(
    X: Array,
    y: Array,
    kernel: Kernel,
    given: dict[str, Given],
    groups: ArrayLike | str | None,
    standardize: bool,
    names: list[str] | None,
) -> ParameterSpace:
    """From the arguments of `fit`; X (n, d) and y (n, m), ``names`` those of the columns.

    Raises
    ------
    ValueError, TypeError
        For a start, bounds or groups that are wrong, or units that are no float64.
    """
    d = X.shape[1]
    group_of = validate.groups("length_scale_groups", groups, d)
    own_units = _units(X, y, group_of, names) if standardize else np.ones(d + 2)
    kinds, sizes = kinds_of(d), (d, 1, 1, len(kernel))
    units = np.ones(sum(sizes))
    units[: d + 2] = own_units
    defaults = [_BOUNDS[name] for name, size in zip(kinds, sizes, strict=True) for _ in range(size)]
    limits, fixed = units[:, np.newaxis] * np.array(defaults), np.zeros(units.size, dtype=bool)
    start = units * np.array([math.sqrt(d)] * d + [_SIGNAL_VARIANCE, _NOISE_VARIANCE] + [1.0] * len(kernel))
    start = np.minimum(np.maximum(start, limits[:, 0]), limits[:, 1])
    for name, where in kinds.items():
        own = given[name]
        if own.start is None and own.bounds is None:
            continue
        limits[where], fixed[where], by_default = validate.bounds(f"{name}_bounds", own.bounds, limits[where])
        if own.start is None:
            start[where] = np.clip(start[where], limits[where, 0], limits[where, 1])
            continue
        start[where] = validate.starts(name, own.start, X, bool(fixed[where].all()))
        low, high = limits[where].T  # bounds that nobody gave do not stand in the way of a start that somebody gave
        low[by_default] = np.minimum(low, start[where])[by_default]
        high[by_default] = np.maximum(high, start[where])[by_default]
        validate.starts_within(name, start[where], limits[where], fixed[where])
    first_of_group = validate.one_each("length_scale", group_of, start[:d], limits[:d], fixed[:d])
    result = ParameterSpace(kernel, first_of_group, start, limits, fixed)
    result.own_length_scales = given["length_scale"].start is None
    result.unit_of_variance = float(units[d])
    result.deviations = units[:d] if standardize else standard_deviations(X, group_of)
    return result


def _units(X: Array, y: Array, group_of: NDArray[np.int64], names: list[str] | None) -> Array:
    """Standard deviations of the columns of X, and twice the mean variance of those of y; 1 for what is constant: (d + 2,)."""
    with np.errstate(all="ignore"):
        scales = standard_deviations(X, group_of)
        constant = validate.constant(y)
        variances = np.where(constant, 0.0, _variances(y))
        variance = 1.0 if constant.all() else float(np.add.reduce(variances)) / variances.size
    validate.units(scales.tolist(), X, lambda column: f"column {column} of X{f' ({names[column]!r})' if names else ''}")
    largest = int(variances.argmax())
    what = "y" if y.shape[1] == 1 else f"column {largest} of y"
    validate.units([variance], y[:, largest : largest + 1], lambda _: what)
    return np.array([*scales, variance, variance])


def standard_deviations(X: Array, group_of: NDArray[np.int64]) -> Array:
    """Of the columns; for a group of several their root mean square, and 1 for constant ones."""
    constant = validate.constant(X)
    deviations: Array = np.where(constant, 0.0, np.sqrt(_variances(X)))
    for group in np.flatnonzero(np.bincount(group_of) > 1).tolist() if group_of.size else ():
        members = group_of == group
        largest = deviations[members].max()
        if largest > 0.0:
            deviations[members] = largest * np.sqrt(np.mean((deviations[members] / largest) ** 2))
        constant[members] = constant[members].all()
    return np.where(constant, 1.0, deviations)


def _variances(columns: Array) -> Array:
    """As ``np.var`` gives them, to the bit and with less around it: (k,) of (n, k)."""
    departures = columns - np.add.reduce(columns, axis=0) / columns.shape[0]
    np.multiply(departures, departures, out=departures)
    variances: Array = np.add.reduce(departures, axis=0) / columns.shape[0]
    return variances
