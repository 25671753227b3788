"""Arrays and parameters in, C-contiguous float64 out; the only place that raises errors about what a user passed."""

import datetime
import difflib
import math
import operator
import reprlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard._arrays import Array, read_only
from fastard._numba.threads import available_cores, default_threads
from fastard.kernels import BY_NAME, Kernel

_FLOAT64 = np.dtype(np.float64)
_T = TypeVar("_T")

# Squares of differences must not overflow; nothing real comes near.
_LARGEST_SPREAD = 1e150

_SCALES_APART = 10.0  # of outputs that share their variances; functions of one process seldom differ by so much

_LEAST_UNIT = 1e-250  # of a variance or standard deviation; and 1 over it is the largest

# Of its largest magnitude: a column with a smaller range is constant but for its rounding errors, as (t + 0.7) - t is for t up
# to 127. Seconds since 1970 that range over more than 40 microseconds are not, nor integers near 1e15 over more than 22.
_ROUNDING = 100.0 * float(np.finfo(np.float64).eps)


def real_array(name: str, value: ArrayLike) -> Array:
    """Any real array-like as C-contiguous float64, finite, read-only; a view of the caller's array where it is one already."""
    if type(value) is np.ndarray and value.dtype == _FLOAT64 and value.flags.c_contiguous:  # the usual case, for one point too
        array = value
    else:
        array = _converted(name, value)
    lowest, highest = np.minimum.reduce(array, axis=None, initial=0.0), np.maximum.reduce(array, axis=None, initial=0.0)
    if not (math.isfinite(lowest) and math.isfinite(highest)):  # no temporary of the array's size
        bad = np.argwhere(~np.isfinite(array))
        where = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
        names = _column_names(value, array)
        column = f", column {names[bad[0][1]]!r}" if names is not None else ""
        raise ValueError(
            f"{name} must be finite, got {array[tuple(bad[0])]} at {name}{where}{column} ({len(bad)} such in all); "
            "drop or impute those rows"
        )
    return read_only(array)


def _converted(name: str, value: ArrayLike) -> Array:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries; fastard does not impute: drop those rows, or fill them")
    raw = _array(name, value)
    if raw.dtype.kind == "c":
        raise TypeError(f"{name} must be real, got {raw.dtype}; pass its real and imaginary parts as separate columns")
    if raw.dtype.kind not in "fiub":
        raw = _from_objects(name, value, raw)
    with np.errstate(all="ignore"):  # a long double past float64's range: told as infinity later
        return np.ascontiguousarray(raw, dtype=np.float64).reshape(raw.shape)


def _array(name: str, value: Any) -> NDArray[Any]:
    """What NumPy makes of it, or an error that names the kind of container that it can make no array of."""
    if type(value) is np.ndarray:
        return value
    issparse = getattr(sys.modules.get("scipy.sparse"), "issparse", None)  # who has not imported it has no such matrix
    if issparse is not None and issparse(value):
        raise TypeError(f"{name} must be a dense array, got a SciPy sparse one ({value.format}); pass {name}.toarray()")
    try:
        raw = np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # whatever the object's own conversion raises: a GPU's array, a tensor that needs a gradient
        if isinstance(value, list | tuple) and isinstance(error, ValueError):
            raise ValueError(f"{name} is not a rectangular array: {_unequal_rows(value) or error}") from None
        raise TypeError(f"{name} must hold numbers; NumPy can make no array of {_type_name(value)}: {error}") from error
    if raw.ndim == 0 and raw.dtype.kind in "OUS" and (value is None or _no_number(value) is not None):
        raise TypeError(f"{name} must hold numbers, got {_container(name, value)}")
    if _is_polars(value, "DataFrame"):  # which turns dates beside numbers into numbers, in units that nobody sees
        dates = [column for column, dtype in zip(value.columns, value.dtypes, strict=True) if dtype.is_temporal()]
        if dates:
            raise TypeError(
                f"{name} must hold numbers, got dates or times in column {dates[0]!r}; {_REMEDIES['dates or times']}"
            )
    return raw


def _unequal_rows(rows: Any) -> str | None:
    """Which row is the first of another length than row 0."""
    lengths = [len(row) if isinstance(row, Sized) else 1 for row in rows]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            return f"row {i} has length {length}, row 0 has {lengths[0]}"
    return None


def _container(name: str, value: Any) -> str:
    """What a user passed that is no array, and what to pass in its place."""
    if value is None:
        return "None"
    if isinstance(value, str | bytes):
        return f"the text {reprlib.repr(value)}; pass the numbers themselves"
    if isinstance(value, type):
        return f"the class {value.__name__}; pass an object with the data"
    if _is_polars(value, "LazyFrame"):
        return f"a polars LazyFrame; pass {name}.collect()"
    kind = type(value).__name__
    article = "an" if kind[0] in "aeiouAEIO" else "a"
    if isinstance(value, Mapping):
        columns = any(isinstance(entry, Sized) for entry in value.values())
        values = f"np.column_stack(list({name}.values()))" if columns else f"list({name}.values())"
        return f"{article} {kind}; pass {values}"
    if isinstance(value, set | frozenset):
        return f"{article} {kind}, which has no order; pass a list"
    if isinstance(value, Iterator):
        return f"{article} {kind}, which can be read only once; pass list({name})"
    if isinstance(value, Iterable):
        return f"{_type_name(value)}, which is no array; pass list({name}) if that holds the numbers"
    return f"{_type_name(value)}, which is no array"


def _is_polars(value: Any, kind: str) -> bool:
    return isinstance(value, getattr(sys.modules.get("polars"), kind, ()))


def _type_name(value: Any) -> str:
    module, kind = type(value).__module__, type(value).__qualname__
    return f"an object of the type {kind if module == 'builtins' else f'{module}.{kind}'}"


# What an array or a DataFrame holds that is no number, and what to do about it.
_REMEDIES = {
    "text": "encode text as numbers, a column of 0 and 1 for each category say (or read it as numbers where it is such)",
    "dates or times": "make dates and times numbers, the days since the first say",
    "missing values": "drop or impute what is missing",
    "complex numbers": "pass real and imaginary parts as separate columns",
    "objects": "leave out what is no number",
}

_PLAIN_NUMBERS = (int, float, np.integer, np.floating, np.bool_, type(None))  # None becomes NaN, told with its place


def _no_number(entry: Any) -> str | None:
    """Which of these an entry of an array of objects is; None for a number."""
    if isinstance(entry, str | bytes):
        return "text"
    if isinstance(entry, datetime.date | datetime.time | datetime.timedelta | np.datetime64 | np.timedelta64):
        return "dates or times"
    if isinstance(entry, complex | np.complexfloating):
        return "complex numbers"
    if isinstance(entry, _PLAIN_NUMBERS):
        return None
    if type(entry).__name__ == "NAType":  # pandas.NA
        return "missing values"
    if isinstance(entry, np.ndarray) and entry.ndim > 0:
        return "objects"
    try:
        float(entry)
    except (TypeError, ValueError):
        return "objects"
    except OverflowError:  # told below
        return None
    return None


def _from_objects(name: str, value: Any, raw: NDArray[Any]) -> NDArray[Any]:
    """The numbers of an array of objects, such as a DataFrame of mixed number types makes; refuses all that are none."""
    if raw.dtype.names is not None:
        raise TypeError(
            f"{name} must hold numbers, got a structured array with the fields {reprlib.repr(raw.dtype.names)}; pass "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})"
        )
    if raw.dtype.kind in "US" and isinstance(value, list | tuple):
        raw = np.asarray(value, dtype=object)  # one text among numbers has made text of all of them
    if not all(kind is not np.timedelta64 and issubclass(kind, _PLAIN_NUMBERS) for kind in set(map(type, raw.flat))):
        _refuse_objects(name, raw, _column_names(value, raw))
    try:
        return raw.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number that is too large for float64: {error}") from None


def _refuse_objects(name: str, raw: NDArray[Any], names: list[str] | None) -> None:
    """A TypeError that names the columns with an entry that is no number, if there are such."""
    columns = raw.reshape(raw.shape[0] if raw.ndim else 1, -1)
    found = []  # of each such column: of what kind, and where the first one is
    for j in range(columns.shape[1]):
        for i, entry in enumerate(columns[:, j]):
            kind = _no_number(entry)
            if kind is not None:
                place = ", ".join(map(str, np.unravel_index(i * columns.shape[1] + j, raw.shape)))
                what = f"objects of the type {type(entry).__name__}" if kind == "objects" else kind
                column = "" if names is None else f" in column {names[j]!r}"
                shown = str(entry) if kind == "dates or times" else reprlib.repr(entry)
                found.append((kind, f"{what}{column} ({shown} at {name}{f'[{place}]' if place else ''})"))
                break
    if found:
        others = f" and in {len(found) - 3} more" if len(found) > 3 else ""
        remedies = "; ".join(dict.fromkeys(_REMEDIES[kind] for kind, _ in found))
        raise TypeError(f"{name} must hold numbers, got {', '.join(text for _, text in found[:3])}{others}; {remedies}")


def _column_names(value: Any, array: NDArray[Any]) -> list[str] | None:
    """The names of a DataFrame's columns, if they are the array's."""
    names = names_of(value)
    return names if names is not None and array.ndim == 2 and len(names) == array.shape[1] else None


def log_parameters(theta: ArrayLike, size: int, zero: int, least: Array, usual: float) -> Array:
    """Logarithms of ``size`` parameters, of which the one at ``zero`` may vanish; as natural parameters.

    The first are length scales, longer than ``least``, as any is whose logarithm is at least ``usual_logarithms(least)``.
    """
    if type(theta) is not np.ndarray or theta.dtype != _FLOAT64:
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
        if not usual <= value <= 709.0:
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
    spread(least, natural[: least.size])
    return natural


def _exp(theta: Array) -> Array:
    natural: Array = np.exp(theta)
    natural.flags.writeable = False
    return natural


def usual_logarithms(least: Array) -> float:
    """A logarithm not below this is of a normal number, and of a length scale that is long enough."""
    longest = float(least.max(initial=0.0))
    return max(-708.0, math.log(longest) + 1e-9) if longest > 0.0 else -708.0


def batch(
    thetas: ArrayLike, y: ArrayLike | None, size: int, zero: int, n: int, least: Array, usual: float, failures: str
) -> tuple[Array, NDArray[np.bool_], Array | None]:
    """Natural parameters (k, size) of many thetas, which of them float64 holds (k,), and each one's targets (k, n, m) or None.

    With ``failures`` "raise" those that it does not hold are an error.
    """
    if failures not in ("raise", "-inf"):
        raise ValueError(f"failures must be 'raise' or '-inf', got {failures!r}")
    rows = np.asarray(thetas)
    if rows.ndim != 2:
        raise ValueError(f"thetas must have shape (k, {size}), got {rows.shape}")
    natural, valid = np.ones((len(rows), size)), np.ones(len(rows), dtype=bool)
    for i, row in enumerate(rows):
        try:
            natural[i] = log_parameters(row, size, zero, least, usual)
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


def inputs(X: ArrayLike, name: str = "X", dimensions: int | None = None) -> Array:
    """Points, (n, d) with n >= 1."""
    array = real_array(name, X)
    if array.ndim != 2:
        hint = ""
        if array.ndim == 1 and dimensions is not None and array.size == dimensions:
            hint = f"; for one point pass [{name}]"
        elif array.ndim == 1:
            frame = hasattr(X, "to_frame")  # a Series, of pandas or polars
            hint = f"; for one input dimension pass {name}{'.to_frame()' if frame else '[:, None]'}"
        raise ValueError(f"{name} must have shape (n, d), got {array.shape}{hint}")
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}")
    if dimensions is not None and array.shape[1] != dimensions:
        raise ValueError(f"{name} must have {dimensions} columns as the training inputs have, got shape {array.shape}")
    return array


def names_of(X: Any) -> list[str] | None:
    """The column names of a DataFrame, or of a pyarrow table; None for anything else."""
    if isinstance(X, type) or _is_polars(X, "LazyFrame"):  # no data, and columns that warn when they are asked for
        return None
    if hasattr(type(X), "column_names"):  # pyarrow's, whose columns are the data
        return [str(name) for name in X.column_names]
    return [str(name) for name in X.columns] if hasattr(X, "columns") else None


def same_names(X: Any, expected: list[str] | None) -> None:
    """Refuse a DataFrame whose columns have other names, or another order, than those of training."""
    names = names_of(X)
    if names is None or expected is None or names == expected:
        return
    lacks = [repr(name) for name in dict.fromkeys(expected) if name not in names]
    has = [repr(name) for name in dict.fromkeys(names) if name not in expected]
    what = [f"it lacks {listed(lacks)}"] * bool(lacks) + [f"it has {listed(has)} besides"] * bool(has)
    raise ValueError(
        "X must have the columns of training in their order, which is that of model.feature_names; "
        + ("; ".join(what) or "it has them in another order")
    )


def targets(y: ArrayLike, n: int) -> Array:
    """Targets, (n,) or (n, m) with m >= 1."""
    array = real_array("y", y)
    if array.ndim not in (1, 2) or array.shape[0] != n or 0 in array.shape:
        raise ValueError(f"y must have shape ({n},) or ({n}, m), one row for each row of X, got {array.shape}")
    return array


def warn_of_scales(y: Array) -> None:
    """Say that outputs (n, m) whose scales differ widely share their variances."""
    with np.errstate(all="ignore"):
        deviations = np.where(constant(y), 0.0, np.std(y, axis=0))
    least, most = int(deviations.argmin()), int(deviations.argmax())
    if deviations[most] > _SCALES_APART * deviations[least]:
        warnings.warn(
            "the outputs share signal_variance and noise_variance, but their standard deviations differ widely, from "
            f"{deviations[least]:.3g} (column {least} of y) to {deviations[most]:.3g} (column {most}): one predicted standard "
            "deviation for all of them means little; scale the columns of y alike, or train a model for each",
            stacklevel=3,
        )


def weights(Q: ArrayLike, n: int) -> Array:
    """Weights of a vector-Jacobian product, (n, n)."""
    array = real_array("Q", Q)
    if array.shape != (n, n):
        raise ValueError(f"Q must have shape ({n}, {n}), one row and column for each row of X, got {array.shape}")
    return array


def length_scales(value: ArrayLike, X: Array) -> Array:
    """Length scales > 0, (d,); a scalar is broadcast."""
    array = real_array("length_scale", value)
    d = X.shape[1]
    if array.ndim == 0 or (array.shape == (1,) and d != 1):
        if array.ndim == 1:
            raise ValueError(f"length_scale must be a scalar or have shape ({d},), one for each column of X, got (1,)")
        array = read_only(np.full(d, array))
    if array.shape != (d,):
        raise ValueError(f"length_scale must be a scalar or have shape ({d},), one for each column of X, got {array.shape}")
    if not (array > 0.0).all():
        raise ValueError(f"length_scale must be > 0, got {array[~(array > 0.0)][0]}; it is not the logarithm")
    spread(least_length_scales(X), array)
    return array


def least_length_scales(*points: Array) -> Array:
    """Length scales must be longer than these, (d,), lest squares of differences overflow between any of the points."""
    lowest = np.min([X.min(axis=0) for X in points], axis=0)
    highest = np.max([X.max(axis=0) for X in points], axis=0)
    with np.errstate(all="ignore"):
        return (highest - lowest) / _LARGEST_SPREAD  # type: ignore[no-any-return]


def constant(columns: Array) -> NDArray[np.bool_]:
    """Which columns (n, k) have equal entries, but for what rounding errors explain: (k,)."""
    lowest, highest = columns.min(axis=0), columns.max(axis=0)
    with np.errstate(all="ignore"):
        return highest - lowest <= _ROUNDING * np.maximum(np.abs(lowest), np.abs(highest))  # type: ignore[no-any-return]


def centred(y: Array) -> tuple[Array, Array]:
    """Targets (n, m) less their means, and these, (m,)."""
    with np.errstate(all="ignore"):
        mean = y.mean(axis=0)
        result = y - mean
    finite = np.isfinite(result).all(axis=0)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(_out_of_range("y" if y.shape[1] == 1 else f"column {bad} of y", "large", y[:, bad]))
    return result, mean


def unit(what: str, value: float, column: Array) -> None:
    """Refuse a column whose variance or standard deviation leaves no room in a float64 for bounds and squares."""
    if not _LEAST_UNIT < value < 1.0 / _LEAST_UNIT:
        raise ValueError(_out_of_range(what, "small" if value < 1.0 else "large", column))


def _out_of_range(what: str, size: str, column: Array) -> str:
    lowest, highest = float(column.min()), float(column.max())
    return f"{what} is too {size} for its variance to be a float64: it goes from {lowest!r} to {highest!r}; rescale it"


def spread(least: Array, length_scale: Array) -> None:
    """Refuse length scales that are not longer than ``least_length_scales`` of the points."""
    long = length_scale > least
    if not long.all():
        column = int(np.argmin(long))
        raise ValueError(
            f"length_scale is too small for X: {float(length_scale[column])!r} for column {column}, which spans more than "
            f"{_LARGEST_SPREAD:g} of it; rescale X or raise length_scale"
        )


def number(
    name: str, value: Any, *, least: float = 0.0, may_equal: bool = False, for_least: str = "it is not the logarithm"
) -> float:
    """A finite real scalar > least, or >= least; ``for_least``: what to say where it is least and must not be."""
    array = real_array(name, value)
    if array.ndim != 0 and array.size != 1:
        raise ValueError(f"{name} must be a scalar, got shape {array.shape}")
    result = float(array.reshape(()))
    if not (result > least or (may_equal and result == least)):
        relation = ">=" if may_equal else ">"
        hint = for_least if result == least else "it is not the logarithm"
        raise ValueError(f"{name} must be {relation} {least:g}, got {result!r}; {hint}")
    return result


def known_variances(value: ArrayLike | None, n: int) -> Array | None:
    """Known observation variances >= 0, (n,), or None."""
    if value is None:
        return None
    array = real_array("observation_variance", value)
    if array.shape != (n,):
        raise ValueError(f"observation_variance must have shape ({n},), one for each row of X, got {array.shape}")
    if (array < 0.0).any():
        raise ValueError(f"observation_variance must be >= 0, got {float(array.min())!r}; it is a variance, not its logarithm")
    return array


def variances_of_points(value: ArrayLike | None, q: int, *, include_noise: bool, trained_with: bool) -> Array | None:
    """Known variances of noisy targets at q new points, (q,), or None; a scalar is broadcast."""
    if value is None:
        if include_noise and trained_with:
            raise ValueError(
                "observation_variance must be given with include_noise: the model was trained with known variances, and those "
                "of new targets are not in noise_variance; pass one for each row of X, or 0 for none"
            )
        return None
    if not include_noise:
        raise ValueError(
            "observation_variance is given, but include_noise is false; pass include_noise=True for noisy targets"
        )
    array = real_array("observation_variance", value)
    return known_variances(np.full(q, array) if array.ndim == 0 else array, q)


def as_kernel(kernel: Any) -> Kernel:
    """A kernel object, from one or from its name."""
    names = ", ".join(map(repr, BY_NAME))
    if isinstance(kernel, str):
        if kernel not in BY_NAME:
            near = difflib.get_close_matches(kernel.lower().replace("-", "_").replace(" ", "_"), BY_NAME, n=2)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise ValueError(f"kernel must be one of {names}, got {kernel!r}{hint}")
        return BY_NAME[kernel]()
    if type(kernel) not in BY_NAME.values():
        got = f"the class {kernel.__name__}; call it" if isinstance(kernel, type) else repr(kernel)
        raise TypeError(f"kernel must be one of {names} or an object such as fastard.RBF(), got {got}")
    return kernel.with_shape(  # type: ignore[no-any-return]
        number(f"{type(kernel).__name__}'s {name}", value) for name, value in zip(kernel.shape_names, kernel, strict=True)
    )


def thread_count(n_threads: int | None) -> int:
    """A positive number of threads, at most one per core: more only wait for each other. None is all that Numba would use."""
    if n_threads is None:
        return default_threads()
    return min(count("n_threads", n_threads, least=1), available_cores())


def count(name: str, value: Any, *, least: int) -> int:
    """An integer >= least."""
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}") from None
    if result < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return result


def choice(name: str, value: Any, choices: Mapping[str, _T]) -> _T:
    """What one of several names stands for."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[value]


def callback(value: Any) -> None:
    """A training's callback, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"callback must be callable with a TrainingState, or None; got {value!r}")


def generator(rng: Any) -> np.random.Generator:
    """A generator of our own: the global random state is neither read nor moved."""
    if isinstance(rng, np.random.RandomState):
        return np.random.default_rng(rng.randint(2**31))
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng must be None, an integer >= 0 or a NumPy generator: {error}") from None


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


def starts(name: str, value: Any, X: Array, all_fixed: bool) -> Array:
    """Where the parameters of a kind start, which may be 0 only for a noise that is fixed."""
    if name == "length_scale":
        return length_scales(value, X)
    options: dict[str, Any] = {}
    if name == "noise_variance":
        options = {"may_equal": all_fixed, "for_least": f'for none pass {name}_bounds="fixed" too'}
    return np.array([number(name, entry, **options) for entry in (value if name == "shape" else (value,))])


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


def listed(items: Sequence[object]) -> str:
    """The first dozen of them, and how many more there are."""
    most = 12
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def parameter_names(d: int, kernel: Kernel, columns: list[str] | None = None) -> list[str]:
    """theta's, in its order; a length scale by its column's name where there is one, otherwise by its number."""
    return [
        *(f"length_scale[{name}]" for name in columns or range(d)),
        "signal_variance",
        "noise_variance",
        *kernel.shape_names,
    ]
