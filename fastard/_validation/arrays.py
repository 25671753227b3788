"""Is it an array of finite real numbers? If not: what is it, and what to pass in its place."""

import datetime
import math
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard._arrays import Array, read_only
from fastard._text import has_decimal_comma, is_date

FLOAT64 = np.dtype(np.float64)


def real_array(name: str, value: ArrayLike) -> Array:
    """Any real array-like as C-contiguous float64, finite, read-only; a view of the caller's array where it is one already."""
    if type(value) is np.ndarray and value.dtype == FLOAT64 and value.flags.c_contiguous:  # the usual case, for one point too
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
    if is_polars(value, "DataFrame"):  # which turns dates beside numbers into numbers, in units that nobody sees
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
    if is_polars(value, "LazyFrame"):
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


def is_polars(value: Any, kind: str) -> bool:
    return isinstance(value, getattr(sys.modules.get("polars"), kind, ()))


def _type_name(value: Any) -> str:
    module, kind = type(value).__module__, type(value).__qualname__
    return f"an object of the type {kind if module == 'builtins' else f'{module}.{kind}'}"


_DAYS = (
    "make dates numbers, days since 1970-01-01 say, as the command line does: (pandas.to_datetime(column, utc=True, "
    "format='ISO8601') - pandas.Timestamp(0, tz='UTC')) / pandas.Timedelta(days=1); times of the day numbers of "
    "hours; dates such as 5 Jan 2024 want format='%d %b %Y'"
)

_POINTS = "write a point for the comma: column.str.replace(',', '.').astype(float)"

# What an array or a DataFrame holds that is no number, and what to do about it.
_REMEDIES = {
    "text": "pass numbers",
    "text of numbers": "the text reads as numbers: pass numpy.asarray({name}, dtype=float)",
    "text with decimal commas": _POINTS,
    "dates or times": _DAYS,
    "text of dates or times": _DAYS,
    "durations": "make durations numbers: column / pandas.Timedelta(days=1), say",
    "missing values": "drop or impute what is missing",
    "complex numbers": "pass real and imaginary parts as separate columns",
    "objects": "leave out what is no number",
}

_CATEGORIES = "where it is categories, train with the column in fastard.fit's categorical="

# The same of inputs, which may be categories, and of targets.
_REMEDIES_OF_INPUTS = {
    "text": "encode text by hand, a column of 0 and 1 for each category (pandas.get_dummies); fastard.fit, and no other "
    "function, does so itself with the columns in its categorical=",
    "text of numbers": "the text reads as numbers: convert it, column.astype(float) or numpy.asarray({name}, dtype=float); "
    f"{_CATEGORIES}",
    "text with decimal commas": f"{_POINTS}; {_CATEGORIES}",
    "text of dates or times": f"{_DAYS}; {_CATEGORIES}",
}
_REMEDIES_OF = {
    "X": _REMEDIES_OF_INPUTS,
    "Z": _REMEDIES_OF_INPUTS,
    "y": {"text": "targets are numbers: fastard does regression, not classification"},
}

_PLAIN_NUMBERS = (int, float, np.integer, np.floating, np.bool_, type(None))  # None becomes NaN, told with its place


def _no_number(entry: Any) -> str | None:
    """Which of these an entry of an array of objects is; None for a number."""
    if isinstance(entry, str | bytes):
        return kind_of_text(entry)
    if isinstance(entry, datetime.timedelta | np.timedelta64):
        return "durations"
    if isinstance(entry, datetime.date | datetime.time | np.datetime64):
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
    found = []  # of each such column: of what kind, its words, and where the first one is
    for j in range(columns.shape[1]):
        kinds = list(map(_no_number, columns[:, j]))
        wrong = [i for i, kind in enumerate(kinds) if kind is not None]
        if wrong:
            i = next((i for i in wrong if kinds[i] != "text of numbers"), wrong[0])
            kind, entry = str(kinds[i]), columns[i, j]
            place = ", ".join(map(str, np.unravel_index(i * columns.shape[1] + j, raw.shape)))
            what = {"objects": f"objects of the type {type(entry).__name__}", "text of numbers": "text"}.get(kind, kind)
            column = "" if names is None else f" in column {names[j]!r}"
            plain = entry.item() if isinstance(entry, np.str_ | np.bytes_) else entry
            shown = str(entry) if kind in ("dates or times", "durations") else reprlib.repr(plain)
            found.append((kind, f"{what}{column}", f"{shown} at {name}{f'[{place}]' if place else ''}"))
    if found:
        places: dict[str, list[str]] = {}  # columns without names have the same words
        for _, what, place in found[:3]:
            places.setdefault(what, []).append(place)
        told = ", ".join(f"{what} ({', '.join(each)})" for what, each in places.items())
        others = f" and in {len(found) - 3} more" if len(found) > 3 else ""
        known = _REMEDIES | _REMEDIES_OF.get(name, {})
        remedies = "; ".join(dict.fromkeys(known[kind].format(name=name) for kind, *_ in found))
        raise TypeError(f"{name} must hold numbers, got {told}{others}; {remedies}")


def kind_of_text(entry: str | bytes) -> str:
    """Which of these a text is: "text" where it reads as nothing else."""
    if is_digits(entry):
        return "text of numbers"
    if isinstance(entry, str) and has_decimal_comma(entry):
        return "text with decimal commas"
    return "text of dates or times" if isinstance(entry, str) and is_date(entry.strip()) else "text"


def is_digits(text: str | bytes) -> bool:
    """Whether it reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column_names(value: Any, array: NDArray[Any]) -> list[str] | None:
    """The names of a DataFrame's columns, if they are the array's."""
    names = names_of(value)
    return names if names is not None and array.ndim == 2 and len(names) == array.shape[1] else None


def plain_points(X: Any, d: int) -> Array | None:
    """X itself, read-only, where it is an array (q, d) as ``inputs`` gives, of which only the numbers have to be looked at."""
    if type(X) is not np.ndarray or X.dtype != np.float64 or X.ndim != 2 or X.shape[1] != d or X.shape[0] == 0:
        return None
    return read_only(X) if X.flags.c_contiguous else None


def names_of(X: Any) -> list[str] | None:
    """The column names of a DataFrame, or of a pyarrow table; None for anything else."""
    if isinstance(X, type) or is_polars(X, "LazyFrame"):  # no data, and columns that warn when they are asked for
        return None
    if hasattr(type(X), "column_names"):  # pyarrow's, whose columns are the data
        return [str(name) for name in X.column_names]
    return [str(name) for name in X.columns] if hasattr(X, "columns") else None
