"""Are the kernel and the hyperparameters, their bounds and ties what they must be?"""

import difflib
import math
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard._arrays import Array, read_only
from fastard._validation.arrays import FLOAT64, real_array
from fastard._validation.options import either
from fastard.kernels import BY_NAME, Kernel

# Squares of differences must not overflow; nothing real comes near.
_LARGEST_RANGE = 1e150

# Of the squared exponential kernel, elsewhere.
_ALIASES = ("gaussian", "se", "squaredexponential", "exponentiatedquadratic", "sqexp", "rbfkernel")


def as_kernel(kernel: Any) -> Kernel:
    """A kernel object, from one or from its name."""
    if isinstance(kernel, str) and kernel in BY_NAME:
        return BY_NAME[kernel]()
    names = ", ".join(map(repr, BY_NAME))
    if isinstance(kernel, str):
        near = _near(kernel)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"kernel must be one of {names}, got {kernel!r}{hint}")
    if type(kernel) not in BY_NAME.values():
        got = f"the class {kernel.__name__}; call it" if isinstance(kernel, type) else repr(kernel)
        raise TypeError(f"kernel must be one of {names} or an object such as fastard.RBF(), got {got}")
    return kernel.with_shape(  # type: ignore[no-any-return]
        number(f"{type(kernel).__name__}'s {name}", value) for name, value in zip(kernel.shape_names, kernel, strict=True)
    )


def _near(name: str) -> list[str]:
    """Names of kernels that may be meant: what differs in nothing but its case and signs, or else the nearest."""
    plain = {known.replace("_", ""): known for known in BY_NAME} | dict.fromkeys(_ALIASES, "rbf")
    meant = "".join(letter for letter in name.lower() if letter.isalnum())
    near = [meant] if meant in plain else difflib.get_close_matches(meant, plain, n=2)
    return list(dict.fromkeys(plain[each] for each in near))


def number(
    name: str, value: Any, *, least: float = 0.0, may_equal: bool = False, for_least: str = "it is not the logarithm"
) -> float:
    """A finite real scalar > least, or >= least; ``for_least``: what to say where it is least and must not be."""
    if isinstance(value, float) and math.isfinite(value):  # nearly always
        result = float(value)
    else:
        _not_fixed(name, value)
        array = real_array(name, value)
        if array.ndim != 0 and array.size != 1:
            raise ValueError(f"{name} must be a scalar, got shape {array.shape}")
        result = float(array.reshape(()))
    if not (result > least or (may_equal and result == least)):
        relation = ">=" if may_equal else ">"
        hint = for_least if result == least else "it is not the logarithm"
        raise ValueError(f"{name} must be {relation} {least:g}, got {result!r}; {hint}")
    return result


def _not_fixed(name: str, value: Any) -> None:
    """Refuse "fixed", which is a bound."""
    if isinstance(value, str) and value == "fixed":
        raise TypeError(
            f"{name} must hold numbers, got 'fixed'; to keep a value as it is pass it, and {name}_bounds='fixed' beside it"
        )


def length_scales(value: Any, X: Array, least: Array | None = None) -> Array:
    """Length scales > 0, (d,); a scalar is broadcast. ``least``: ``min_length_scales(X)``, for who has it."""
    d = X.shape[1]
    if isinstance(value, float) and math.isfinite(value):
        array = read_only(np.full(d, value))
    else:
        _not_fixed("length_scale", value)
        array = real_array("length_scale", value)
    if array.ndim == 0 or (array.shape == (1,) and d != 1):
        if array.ndim == 1:
            raise ValueError(f"length_scale must be a scalar or have shape ({d},), one for each column of X, got (1,)")
        array = read_only(np.full(d, array))
    if array.shape != (d,):
        raise ValueError(f"length_scale must be a scalar or have shape ({d},), one for each column of X, got {array.shape}")
    if not (array > 0.0).all():
        raise ValueError(f"length_scale must be > 0, got {array[~(array > 0.0)][0]}; it is not the logarithm")
    length_scale_range(min_length_scales(X) if least is None else least, array)
    return array


def min_length_scales(*points: Array) -> Array:
    """Length scales must be longer than these, (d,), lest squares of differences overflow between any of the points."""
    lowest, highest = np.minimum.reduce(points[0], axis=0), np.maximum.reduce(points[0], axis=0)
    for X in points[1:]:
        lowest, highest = np.minimum(lowest, X.min(axis=0)), np.maximum(highest, X.max(axis=0))
    with np.errstate(all="ignore"):
        return (highest - lowest) / _LARGEST_RANGE  # type: ignore[no-any-return]


def length_scale_range(min_length_scales: Array, length_scale: Array) -> None:
    """Refuse length scales that are not longer than the points' ``min_length_scales``."""
    long = length_scale > min_length_scales
    if not long.all():
        column = int(np.argmin(long))
        raise ValueError(
            f"length_scale is too small for X: {float(length_scale[column])!r} for column {column}, which spans more than "
            f"{_LARGEST_RANGE:g} of it; rescale X or raise length_scale"
        )


def log_parameters(theta: ArrayLike, size: int, zero: int, min_length_scales: Array, safe: float) -> Array:
    """Logarithms of ``size`` parameters, of which the one at ``zero`` may vanish; as natural parameters.

    The first are length scales, longer than ``min_length_scales``; those are whose logarithms are at least ``safe``.
    """
    if type(theta) is not np.ndarray or theta.dtype != FLOAT64:
        if np.asarray(theta).dtype.kind not in "fiub":
            raise TypeError(f"theta must hold real numbers, got {reprlib.repr(theta)}")
        theta = np.asarray(theta, dtype=np.float64)
    if theta.shape != (size,):
        raise ValueError(
            f"theta must have shape ({size},): the logarithms of the length scales, signal_variance, noise_variance and the "
            f"kernel's shape parameters; got {theta.shape}"
        )
    values = theta.tolist()
    for value in values:
        if not safe <= value <= 709.0:
            break
    else:  # nearly always, and the way to tell that is short
        return _exp(theta)
    # exp of more than 709 is infinite, of less than -708 no normal number
    for i, value in enumerate(values):
        if not (-708.0 <= value <= 709.0 or (i == zero and value < -708.0)):
            raise ValueError(f"theta must hold logarithms of positive float64 numbers, got {value!r} at theta[{i}]")
    if values[zero] < -708.0:
        theta = theta.copy()
        theta[zero] = -np.inf
    natural = _exp(theta)
    length_scale_range(min_length_scales, natural[: min_length_scales.size])
    return natural


def theta_of_floats(shape: tuple[int, ...], size: int, floats: bool) -> None:
    """Of an array that only its owner can read: one vector of floating-point numbers."""
    if shape != (size,) or not floats:
        raise ValueError(
            f"theta must have shape ({size},) and hold floating-point numbers: the logarithms of the length scales, "
            f"signal_variance, noise_variance and the kernel's shape parameters; got shape {shape}"
        )


def _exp(theta: Array) -> Array:
    natural: Array = np.exp(theta)
    natural.flags.writeable = False
    return natural


def safe_logarithm(min_length_scales: Array) -> float:
    """A logarithm not below this is of a normal number, and of a length scale that is long enough."""
    longest = float(min_length_scales.max(initial=0.0))
    return max(-708.0, math.log(longest) + 1e-9) if longest > 0.0 else -708.0


def batch(
    thetas: ArrayLike, y: ArrayLike | None, size: int, zero: int, n: int, min_length_scales: Array, safe: float, failures: str
) -> tuple[Array, NDArray[np.bool_], Array | None]:
    """Natural parameters (k, size) of many thetas, which of them float64 holds (k,), and each one's targets (k, n, m) or None.

    With ``failures`` "raise" those that it does not hold are an error.
    """
    either("failures", failures, "raise", "-inf")
    rows = np.asarray(thetas)
    if rows.ndim != 2:
        raise ValueError(f"thetas must have shape (k, {size}), got {rows.shape}")
    natural, valid = np.ones((len(rows), size)), np.ones(len(rows), dtype=bool)
    for i, row in enumerate(rows):
        try:
            natural[i] = log_parameters(row, size, zero, min_length_scales, safe)
        except ValueError:
            if failures == "raise" or row.shape != (size,) or np.isnan(row).any():
                raise
            valid[i] = False
    if y is None:
        return natural, valid, None
    array = real_array("y", y)
    if array.ndim not in (2, 3) or array.shape[:2] != (len(rows), n) or 0 in array.shape[1:]:
        raise ValueError(f"y must have shape ({len(rows)}, {n}) or ({len(rows)}, {n}, m), got {array.shape}")
    return natural, valid, array.reshape(len(rows), n, -1) if len(rows) else array[..., np.newaxis]


def bounds(name: str, value: Any, default: Array) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Bounds (k, 2) for k parameters, which are fixed, and which nobody gave, so that they are those of ``default``.

    ``value`` is a pair, "fixed" or None, for the default; or k of these.
    """
    k = default.shape[0]
    result, fixed, by_default = default.copy(), np.zeros(k, dtype=bool), np.zeros(k, dtype=bool)
    if value is None:
        return result, fixed, ~by_default
    if isinstance(value, str) and value == "fixed":
        return result, ~fixed, by_default
    expected = f"{name} must be a pair (low, high) with 0 < low <= high, 'fixed', or None for the default"
    if k != 1:
        expected += f", or {k} of these"
    try:
        entries = list(value)
    except TypeError:
        raise TypeError(f"{expected}; got {value!r}") from None
    if isinstance(value, str):
        raise ValueError(f"{expected}; got {value!r}")
    if len(entries) == 2 and all(not isinstance(entry, str | None) and np.ndim(entry) == 0 for entry in entries):
        entries = [entries] * k
    if len(entries) != k:
        raise ValueError(f"{expected}; got {reprlib.repr(value)}")
    for i, entry in enumerate(entries):
        if isinstance(entry, str):
            if entry != "fixed":
                raise ValueError(f"{expected}; got {entry!r}")
            fixed[i] = True
            continue
        if entry is None:
            by_default[i] = True
            continue
        try:
            pair = np.array(entry, dtype=np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{expected}; got {entry!r}") from None
        if pair.shape == (2,) and not np.isfinite(pair).all():
            raise ValueError(f"{expected}; got {entry!r}: both are to be finite numbers, 1e-10 or 1e10 say")
        if pair.shape != (2,) or not 0.0 < pair[0] <= pair[1]:
            raise ValueError(f"{expected}; got {entry!r}; they are not logarithms")
        result[i] = pair
        fixed[i] = pair[0] == pair[1]
    return result, fixed, by_default


def starts(name: str, value: Any, X: Array, all_fixed: bool, noises: int = 0) -> Array:
    """Where the parameters of a kind start, which may be 0 only for a noise that is fixed; ``noises`` of groups."""
    if name == "length_scale":
        return length_scales(value, X)
    options: dict[str, Any] = {}
    if name == "noise_variance":
        options = {"may_equal": all_fixed, "for_least": f'for none pass {name}_bounds="fixed" too'}
        if noises:
            value = real_array(name, value)
            if value.shape not in ((), (noises,)):
                raise ValueError(f"{name} must be a number or {noises} of them, one for each noise group, got {value.shape}")
            value = np.broadcast_to(value, noises)
    entries = value if name == "shape" or (name == "noise_variance" and noises) else (value,)
    return np.array([number(name, entry, **options) for entry in entries])


def starts_within(name: str, start: Array, limits: Array, fixed: NDArray[np.bool_]) -> None:
    """Refuse starts beyond their limits (k, 2)."""
    at_start = fixed & (limits[:, 0] < limits[:, 1])  # "fixed", and not between equal bounds
    within = (start >= limits[:, 0]) & (start <= limits[:, 1]) | at_start
    if not within.all():
        bad = int(np.argmin(within))
        raise ValueError(
            f"{name} must start within its bounds, got {float(start[bad])!r} with bounds {tuple(limits[bad].tolist())}; "
            f"widen {name}_bounds or move the start"
        )


def fixed_parameters(value: Any, kinds: Collection[str], kernel: Kernel) -> dict[str, Any]:
    """Values by the names of kinds of parameters; a shape parameter's as a sequence."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"fixed must be a dictionary of values by the parameters' names, got {reprlib.repr(value)}")
    known = [name for name in kinds if name != "shape" or len(kernel)]
    for name in value:
        if name not in known:
            raise ValueError(f"fixed must name some of {', '.join(known)}, got {name!r}")
    result = dict(value)
    if "shape" in result:
        shape = np.ravel(result["shape"]).tolist()
        if len(shape) != len(kernel):
            raise ValueError(f"fixed must have {len(kernel)} value for shape, got {result['shape']!r}")
        result["shape"] = shape
    return result


def groups(name: str, value: Any, d: int) -> NDArray[np.int64]:
    """Of each of d length scales the number of its group, counted from 0: equal labels, one group; None: each its own."""
    if value is None:
        return np.arange(d)
    expected = f"{name} must be 'isotropic' or {d} labels, one for each column of X"
    if isinstance(value, str):
        if value != "isotropic":
            raise ValueError(f"{expected}; got {value!r}")
        return np.zeros(d, dtype=np.int64)
    try:
        labels = list(value)
        number = {label: count for count, label in enumerate(dict.fromkeys(labels))}
    except TypeError:
        raise TypeError(f"{expected}; got {reprlib.repr(value)}") from None
    if len(labels) != d:
        raise ValueError(f"{expected}; got {len(labels)}")
    return np.array([number[label] for label in labels], dtype=np.int64)


def one_each(
    name: str, group_of: NDArray[np.int64], start: Array, limits: Array, fixed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Of each parameter the first one of its group; refuses groups whose members start, are bounded or fixed differently."""
    own = np.arange(group_of.size)
    if np.array_equal(group_of, own):  # each stands alone
        return own
    first = np.array([np.flatnonzero(group_of == group)[0] for group in group_of], dtype=np.int64)
    for what, values in [("", start[:, np.newaxis]), ("_bounds", np.column_stack([limits, fixed]))]:
        differ = np.any(values != values[first], axis=1)
        if differ.any():
            bad = int(np.argmax(differ))
            raise ValueError(
                f"{name}{what} must be equal within a group of length_scale_groups: those of columns {first[bad]} and {bad} "
                f"are {values[first[bad]].tolist()} and {values[bad].tolist()}"
            )
    return first


def parameter_names(
    d: int, kernel: Kernel, columns: list[str] | None = None, noise_groups: Iterable[Any] | None = None
) -> list[str]:
    """theta's, in its order; a length scale by its column's name where there is one, otherwise by its number."""
    return [
        *(f"length_scale[{name}]" for name in columns or range(d)),
        "signal_variance",
        *(["noise_variance"] if noise_groups is None else [f"noise_variance[{label}]" for label in noise_groups]),
        *kernel.shape_names,
    ]


def one_length_scale(length_scale: Array, whose: str) -> float:
    """The one that all of them are; refuses others, which ``whose`` kernel does not have."""
    if length_scale.size == 0 or (length_scale != length_scale[0]).any():
        raise ValueError(
            f"{whose} has one length scale for all inputs, and the model one for each; train with "
            "length_scale_groups='isotropic', or another kernel"
        )
    return float(length_scale[0])


def known_elsewhere(kernel: Kernel, unknown: tuple[type[Kernel], ...], whose: str) -> None:
    """Refuse a kernel that another library has not."""
    if type(kernel) in unknown:
        raise ValueError(f"{whose} has no kernel like {kernel!r}; train with another one, 'matern52' say")
