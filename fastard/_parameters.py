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

FIXED, AT_BOUND, AT_UPPER_BOUND = -1, -2, -3  # in the place of the number of a free parameter

# Where the caller gives none, in standard deviations of the inputs and variances of the targets: bounds ...
_BOUNDS = {
    "length_scale": (1e-3, 1e5),
    "signal_variance": (1e-5, 1e5),
    "noise_variance": (1e-8, 1e2),
    "shape": (1e-5, 1e5),
}
# ... and starts; the length scales' grow with sqrt(d), so that typical distances stay of the order of one.
_SIGNAL_VARIANCE, _NOISE_VARIANCE = 1.0, 0.1

# length_scale, signal_variance (of a sum one for each term, an array), noise_variance (so with noise groups) and the kernel
Parameters = tuple[Array, Any, Any, Kernel]


class Given(NamedTuple):
    """What a caller gave for the parameters of one kind; None where nothing."""

    start: Any
    bounds: Any
    warm_start: Any = None  # natural parameters of another model, moved into the bounds; where ``start`` is None


def kinds_of(d: int, noises: int = 1) -> dict[str, slice]:
    """Where the parameters of each kind stand; ``noises``: the number of noise variances."""
    return {
        "length_scale": slice(0, d),
        "signal_variance": slice(d, d + 1),
        "noise_variance": slice(d + 1, d + 1 + noises),
        "shape": slice(d + 1 + noises, None),
    }


class ParameterSpace:
    """The hyperparameters of a training: where they start, between what, and which are fixed or tied.

    Attributes
    ----------
    number : ndarray of int, shape (P,)
        Which free parameter each one is, from 0; tied ones are the same; FIXED.
    first_of_group : ndarray of int, shape (d,)
        Of each length scale the first one that it is tied to.
    columns : ndarray of int, or None
        Where the columns of X were encoded, the first one that each has become; users know of one length scale for each.
    column_groups : ndarray of int
        Of each column, before it was encoded, the first one that it is tied to.
    start, bounds : ndarray, shape (free,) and (free, 2)
        Of the free parameters, logarithms.
    first_places : ndarray of int, shape (free,)
        Where each free parameter stands in theta; of tied ones the first.
    is_length_scale : ndarray of bool, shape (free,)
    noises : int
        The number of noise variances; 0 for one that is a number, otherwise one for each group, an array.
    deviations : ndarray, shape (d,)
        Standard deviations of the columns of X, 1 for constant ones.
    own_length_scales : bool, or ndarray of bool, shape (free,)
        Whether the length scales start by default.
    given_bounds : dict
        Of each kind of parameter the bounds that a caller gave, as `fit` takes them: for each "fixed", a pair, or None.
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
        self.own_length_scales: Any = True
        self.unit_of_variance, self.unit_of_mean = 1.0, 0.0
        self.given_bounds: dict[str, list[Any]] = {}
        self.deviations = np.ones(d)
        self.noises = 0
        self.columns: NDArray[np.int64] | None = None
        self.column_groups = first_of_group

    @property
    def natural_arrays(self) -> tuple[Array, NDArray[np.int64], Array, Array]:
        """theta, where it is fixed, the ``number`` of each, and between what the natural parameters are, (P,) each."""
        return self._theta, self.number, self._low, self._high

    def natural(self, free_theta: Array) -> Parameters:
        """length_scale, signal_variance, noise_variance and the kernel."""
        values, d = np.empty(self._theta.size), self.d
        descent.natural(np.ascontiguousarray(free_theta), *self.natural_arrays, values)
        if not self.noises:
            return values[:d], float(values[d]), float(values[d + 1]), self.kernel.with_shape(values[d + 2 :].tolist())
        shapes = d + 1 + self.noises
        return values[:d], float(values[d]), values[d + 1 : shapes], self.kernel.with_shape(values[shapes:].tolist())

    def free_gradient(self, gradient: Array) -> Array:
        """With respect to the free parameters, from that with respect to theta: of tied ones the sum."""
        return np.bincount(self._number_of_free, gradient[self.is_free], self.start.size)  # type: ignore[return-value]

    def free_information(self, information: Array) -> Array:
        """(free, free), from (P, P): of tied ones the sums."""
        groups = tied_groups(self.number)
        result: Array = groups @ information @ groups.T
        return result

    def whole_gradient(self, free_gradient: Array) -> Array:
        """(P,): at each tied parameter that of their common logarithm, 0 where fixed."""
        result = np.zeros(self.size)
        result[self.is_free] = free_gradient[self._number_of_free]
        return result

    def by_column(self, values: Array) -> Array:
        """Of the length scales, or of all parameters, those that users know of."""
        return values if self.columns is None else values[np.append(self.columns, np.arange(self.d, values.size))]

    def at_bounds(self, free_theta: Array) -> dict[int, int]:
        """The places in theta of the free parameters that stand at a bound, and at which: AT_BOUND or AT_UPPER_BOUND."""
        is_at_bound = free_theta == self.bounds.T
        if not is_at_bound.any():
            return {}
        low, high = is_at_bound[:, self._number_of_free]
        places = np.flatnonzero(self.is_free)[low | high].tolist()
        return dict(zip(places, np.where(high & ~low, AT_UPPER_BOUND, AT_BOUND)[low | high].tolist(), strict=True))

    @property
    def fixed_noise(self) -> bool:
        """Whether the noise's variance is fixed."""
        return bool((self.number[kinds_of(self.d, self.noises or 1)["noise_variance"]] == FIXED).all())


def tied_groups(number: NDArray[np.int64]) -> Array:
    """(free parameters, P): ones where a parameter is tied to others; ``number`` as in a :class:`ParameterSpace`."""
    groups: Array = (number == np.unique(number[number >= 0])[:, np.newaxis]).astype(float)
    return groups


def space(
    X: Array,
    y: Array,
    kernel: Kernel,
    given: dict[str, Given],
    groups: ArrayLike | str | None,
    standardize: bool,
    names: list[str] | None,
    of_column: NDArray[np.int64] | None = None,
    noises: int = 0,
) -> ParameterSpace:
    """From the arguments of `fit`; X (n, d) and y (n, m), ``names`` those of the columns.

    Where X is encoded, ``of_column`` says of each of its columns which of d columns it was made of. These have the names,
    starts and bounds, a length scale each, and as standard deviation the root of the sum of the variances. ``noises`` as in a
    :class:`ParameterSpace`.

    Raises
    ------
    ValueError, TypeError
        For a start, bounds or groups that are wrong, or units that are no float64.
    """
    places = np.arange(X.shape[1]) if of_column is None else np.unique(of_column, return_index=True)[1]
    d, own_places = places.size, None if of_column is None else places
    groups = validate.by_column("length_scale_groups", groups, names, d, [(None, i) for i in range(d)])
    group_of = validate.groups("length_scale_groups", groups, d)
    own_units = _units(X, y, group_of, names, own_places) if standardize else np.ones(d + 2)
    kinds, sizes = kinds_of(d, noises or 1), (d, 1, noises or 1, len(kernel))
    units = np.ones(sum(sizes))
    units[: d + 2] = own_units
    units[kinds["noise_variance"]] = own_units[d + 1]
    defaults = [_BOUNDS[name] for name, size in zip(kinds, sizes, strict=True) for _ in range(size)]
    limits, fixed = units[:, np.newaxis] * np.array(defaults), np.zeros(units.size, dtype=bool)
    start = units * np.array([math.sqrt(d)] * d + [_SIGNAL_VARIANCE] + [_NOISE_VARIANCE] * sizes[2] + [1.0] * len(kernel))
    start = np.minimum(np.maximum(start, limits[:, 0]), limits[:, 1])
    given_bounds: dict[str, list[Any]] = {}
    for (name, where), size in zip(kinds.items(), sizes, strict=True):
        own_start, own_bounds, warm_start = given[name]
        if own_start is None and own_bounds is None and warm_start is None:
            given_bounds[name] = [None] * size
            continue
        if name == "length_scale":
            own_bounds = validate.by_column(f"{name}_bounds", own_bounds, names, d, [None] * d)
        limits[where], fixed[where], by_default = validate.bounds(f"{name}_bounds", own_bounds, limits[where])
        low, high = limits[where].T
        given_bounds[name] = _as_given(low, high, fixed[where], by_default)
        otherwise = np.clip(start[where] if warm_start is None else warm_start, low, high)
        if warm_start is not None:
            otherwise = np.where(fixed[where] & (low < high), warm_start, otherwise)
        if name == "length_scale":
            own_start = validate.by_column(name, own_start, names, d, otherwise)
        if own_start is None:
            start[where] = otherwise
            continue
        start[where] = validate.starts(
            name, own_start, X if of_column is None else X[:, places], bool(fixed[where].all()), noises
        )
        # Bounds that nobody gave do not stand in the way of a start that somebody gave.
        low[by_default] = np.minimum(low, start[where])[by_default]
        high[by_default] = np.maximum(high, start[where])[by_default]
        validate.starts_within(name, start[where], limits[where], fixed[where])
    if given["length_scale"].start is None and given["length_scale"].warm_start is not None:
        start[:d] = _tied(start[:d], group_of)
    first_of_group = validate.one_each("length_scale", group_of, start[:d], limits[:d], fixed[:d])
    deviations = units[:d] if standardize else standard_deviations(X, group_of, own_places)
    if of_column is None:
        result = ParameterSpace(kernel, first_of_group, start, limits, fixed)
    else:
        whole = np.append(of_column, np.arange(d, start.size))
        result = ParameterSpace(kernel, places[first_of_group[of_column]], start[whole], limits[whole], fixed[whole])
        result.columns, result.column_groups = places, first_of_group
        deviations = deviations[of_column]
    result.noises = noises
    own = given["length_scale"]
    result.own_length_scales = own.start is None and own.warm_start is None
    result.given_bounds = given_bounds
    result.unit_of_variance = float(units[d])
    result.deviations = deviations
    return result


def _as_given(low: Array, high: Array, fixed: NDArray[np.bool_], by_default: NDArray[np.bool_]) -> list[Any]:
    """Bounds as `fit` takes them, one entry for each parameter; "fixed" where there is a start of its own."""
    entries: list[Any] = []
    for pair, is_fixed, is_default in zip(np.column_stack([low, high]).tolist(), fixed, by_default, strict=True):
        entries.append("fixed" if is_fixed and pair[0] < pair[1] else None if is_default else pair)
    return entries


def _tied(length_scale: Array, group_of: NDArray[np.int64]) -> Array:
    """Of each group of several the geometric mean, within what its members span."""
    result = length_scale.copy()
    for group in np.unique(group_of):
        members = group_of == group
        least, most = length_scale[members].min(), length_scale[members].max()
        if least < most:
            result[members] = min(max(float(np.exp(np.log(length_scale[members]).mean())), least), most)
    return result


def _units(X: Array, y: Array, group_of: NDArray[np.int64], names: list[str] | None, first: NDArray[np.int64] | None) -> Array:
    """Standard deviations of the columns of X, and twice the mean variance of those of y; 1 for what is constant: (d + 2,)."""
    with np.errstate(all="ignore"):
        scales = standard_deviations(X, group_of, first)
        constant = validate.constant(y)
        variances = np.where(constant, 0.0, _variances(y))
        variance = 1.0 if constant.all() else float(np.add.reduce(variances)) / variances.size
    own = X if first is None else X[:, first]
    validate.units(scales.tolist(), own, lambda column: f"column {column} of X{f' ({names[column]!r})' if names else ''}")
    largest = int(variances.argmax())
    what = "y" if y.shape[1] == 1 else f"column {largest} of y"
    validate.units([variance], y[:, largest : largest + 1], lambda _: what)
    return np.array([*scales, variance, variance])


def standard_deviations(X: Array, group_of: NDArray[np.int64], first: NDArray[np.int64] | None = None) -> Array:
    """Of the columns; for a group of several their root mean square, and 1 for constant ones.

    Where X is encoded, ``first`` says where the columns begin that each column became: their variances add up.
    """
    constant = validate.constant(X)
    deviations: Array = np.where(constant, 0.0, np.sqrt(_variances(X)))
    if first is not None:
        deviations, constant = np.hypot.reduceat(deviations, first), np.logical_and.reduceat(constant, first)
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
