"""Which columns of X are categories, or periodic, and which category is each entry?"""

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, NamedColumns
from fastard._text import MOST_CATEGORIES, are_categories, listed
from fastard._validation.arrays import kind_of_text, real_array
from fastard._validation.data import inputs
from fastard._validation.names import by_column

# Of a column: None for numbers, its period, or its levels, the categories that it has.
Kind = None | float | tuple[Any, ...]

_MOST_SHOWN = 8  # categories in a message

_LEVELS = (str, bool, int, float)  # what a file can hold


def column_kinds(X: Any, names: list[str] | None, categorical: Any, periodic: Any) -> tuple[Kind, ...] | None:
    """The kind of each column of X, of which a DataFrame's text and categories are found; None where all are numbers."""
    if categorical is None and periodic is None and (names is None or _has_numeric_dtypes(X)):
        return None
    table = _table(X)
    if table.ndim != 2:
        inputs(X)  # says what is wrong
    d = table.shape[1]
    is_category = by_column("categorical", _keys(categorical), names, d, [False] * d)
    if not (periodic is None or isinstance(periodic, Mapping)):
        raise TypeError(f"periodic must be a dictionary of columns and their periods, got {reprlib.repr(periodic)}")
    periods = by_column("periodic", periodic or {}, names, d, [None] * d)
    kinds: list[Kind] = []
    for j in range(d):
        column = _called(j, names)
        if is_category[j] and periods[j] is not None:
            raise ValueError(f"{column} is in categorical and in periodic; leave one of them out")
        order = _declared(X, j) if names is not None else None
        if periods[j] is not None:
            kinds.append(_period(column, periods[j]))
        elif is_category[j] or order is not None:
            kinds.append(levels(column, table[:, j], order))
        elif names is not None and _is_text(table[:, j]):
            _come_again(column, table[:, j])
            kinds.append(levels(column, table[:, j], None))
        else:
            kinds.append(None)
    return tuple(kinds) if any(kind is not None for kind in kinds) else None


def coded(X: Any, kinds: tuple[Kind, ...], names: list[str] | None, order: NDArray[np.int64] | None = None) -> Array:
    """X as numbers (n, d), with the number of its level in the place of each category; refuses levels of no ``kinds``.

    ``order``: where the columns of training stand in X.
    """
    table = _table(X)
    if table.ndim != 2 or (isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X)):
        inputs(X)  # says what is wrong
    inputs(np.zeros(table.shape), dimensions=len(kinds))
    numbers = table.copy() if order is None else table[:, order]
    for j, levels in enumerate(kinds):
        if isinstance(levels, tuple):
            numbers[:, j] = codes(_called(j, names), numbers[:, j], levels)
    return inputs(numbers if names is None else NamedColumns(numbers, names), dimensions=len(kinds))


def only_numbers(kinds: tuple[Kind, ...] | None, what: str) -> None:
    """Refuse categories and periodic columns where nothing can be said of them yet."""
    if kinds is not None:
        raise ValueError(
            f"{what} is for models whose inputs are all numbers, and this one has categorical or periodic columns; encode the "
            "columns by hand and train on those"
        )


def sorted_levels(j: int, names: list[str] | None, levels: tuple[Any, ...]) -> tuple[list[int], list[Any]]:
    """Numbers of the levels and the levels themselves as scikit-learn takes them: in order, and not of text and numbers."""
    if len({isinstance(level, str) for level in levels}) > 1:
        raise ValueError(
            f"to_sklearn: {_called(j, names)} has text and numbers as categories, which scikit-learn's OneHotEncoder does not "
            "take together; make them all text before training"
        )
    order = sorted(range(len(levels)), key=levels.__getitem__)
    return order, [levels[i] for i in order]


def _has_numeric_dtypes(X: Any) -> bool:
    """Whether a pandas DataFrame says so; of others nobody knows."""
    return all(getattr(dtype, "kind", "O") in "fiubcmM" for dtype in getattr(X, "dtypes", "?"))


def _table(X: Any) -> NDArray[Any]:
    """Its entries as objects; of what is no table, an array of another shape."""
    try:
        return np.asarray(X, dtype=object)
    except (TypeError, ValueError):
        return np.asarray(real_array("X", X))  # says what is wrong


def _keys(categorical: Any) -> dict[Any, bool]:
    if categorical is None:
        return {}
    if isinstance(categorical, str | bytes | Mapping) or not isinstance(categorical, Iterable):
        raise TypeError(f"categorical must be a list of columns, got {reprlib.repr(categorical)}")
    return dict.fromkeys(categorical, True)


def _called(j: int, names: list[str] | None) -> str:
    return f"column {j if names is None else repr(names[j])} of X"


def _declared(X: Any, j: int) -> list[Any] | None:
    """The categories of a pandas column of such, in their order; None for another one."""
    if not hasattr(X, "iloc") or str(X.dtypes.iloc[j]) != "category":
        return None
    return list(X.dtypes.iloc[j].categories)


def _is_text(column: NDArray[Any]) -> bool:
    """Whether it holds text, and missing values at most besides; not what mostly reads as numbers or dates."""
    text = [entry for entry in column if not _is_missing(entry)]
    if not text or not all(isinstance(entry, str) for entry in text):
        return False
    others = sum(kind_of_text(entry) != "text" for entry in text)
    return 2 * others <= len(text)


def _come_again(column: str, entries: NDArray[Any]) -> None:
    """Refuse text of which too many rows have their own, as names of rows are."""
    text = [entry for entry in entries if not _is_missing(entry)]
    if not are_categories(text):
        raise ValueError(
            f"{column} has {len(set(text))} different texts in {len(entries)} rows, and text is taken for categories only "
            f"where they are {MOST_CATEGORIES} at most and come again; leave the column out, or name it in categorical="
        )


def _is_missing(entry: Any) -> bool:
    if entry is None or type(entry).__name__ == "NAType":
        return True
    return isinstance(entry, float | np.floating) and math.isnan(entry)


def _period(column: str, value: Any) -> float:
    period = np.asarray(value)
    if period.ndim or period.dtype.kind not in "fiu" or not 0.0 < float(period) < math.inf:
        raise ValueError(f"periodic must have a period > 0 for {column}, in its units, 360 for degrees say; got {value!r}")
    return float(period)


def levels(column: str, entries: NDArray[Any], order: list[Any] | None) -> tuple[Any, ...]:
    """The different entries: sorted, or in the order of a pandas column's categories."""
    found = set()
    for entry in _plain(column, entries):
        if not isinstance(entry, _LEVELS):
            raise TypeError(f"{column} has {reprlib.repr(entry)} as a category, which must be text, a number or a boolean")
        found.add(entry)
    if order is None:
        return tuple(sorted(found, key=lambda level: (isinstance(level, str), level)))
    return tuple(level for level in _plain(column, np.array(order, dtype=object)) if level in found)


def scalar_entries(values: Any) -> NDArray[Any]:
    """Of a list, an array or a Series, as objects."""
    return np.asarray(values, dtype=object)


def _plain(column: str, entries: NDArray[Any]) -> list[Any]:
    """The entries as Python's own objects; refuses missing ones."""
    for i, entry in enumerate(entries):
        if _is_missing(entry):
            raise ValueError(
                f"{column} has a missing value in row {i}; drop such rows, or make a category of it, 'unknown' say"
            )
    return [entry.item() if isinstance(entry, np.generic) else entry for entry in entries]


def codes(column: str, entries: NDArray[Any], levels: tuple[Any, ...]) -> list[int]:
    """Of each entry the number of its level."""
    numbers = {level: number for number, level in enumerate(levels)}
    plain = _plain(column, entries)
    unknown = [entry for entry in plain if not isinstance(entry, _LEVELS) or entry not in numbers]
    if unknown:
        theirs = list(dict.fromkeys(map(reprlib.repr, unknown)))
        raise ValueError(
            f"{column} has {_some(theirs)}, unknown in training, where it had {_some(list(map(repr, levels)))}; train with "
            "rows of it, or leave these rows out"
        )
    return [numbers[entry] for entry in plain]


def _some(words: list[str]) -> str:
    more = len(words) - _MOST_SHOWN
    return listed(words) if more <= 0 else f"{', '.join(words[:_MOST_SHOWN])} and {more} more"
