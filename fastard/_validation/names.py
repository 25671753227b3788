"""What are the columns and the targets called, and which of them does a name mean?"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._text import listed
from fastard._validation.arrays import names_of


def names_of_targets(y: Any) -> list[str] | None:
    """The names of a DataFrame's columns, or of a Series; None for what has none."""
    names = names_of(y)
    if names is not None or not (hasattr(y, "to_frame") and hasattr(y, "name")):
        return names
    return None if isinstance(y, type) or y.name is None or str(y.name) == "" else [str(y.name)]


def order_of_columns(X: Any, expected: list[str] | None) -> NDArray[np.int64] | None:
    """Where the columns of training stand in a DataFrame; None where they stand as in training, or nobody knows.

    Refuses one that lacks a column, or has another one besides.
    """
    names = names_of(X)
    if names is None or expected is None or names == expected:
        return None
    lacks = [repr(name) for name in dict.fromkeys(expected) if name not in names]
    has = [repr(name) for name in dict.fromkeys(names) if name not in expected]
    what = [f"it lacks {listed(lacks)}"] * bool(lacks) + [f"it has {listed(has)} besides"] * bool(has)
    if not what and len(set(names)) < len(names):
        what = ["it has them in another order, and a name twice, so that nobody can tell which is which"]
    elif not what and len(names) != len(expected):
        what = ["columns of training had a name in common, and it has fewer"]
    if what:
        raise ValueError(f"X must have the columns of training, which model.feature_names lists; {'; '.join(what)}")
    return np.array([names.index(name) for name in expected], dtype=np.int64)


def by_column(name: str, value: Any, columns: list[str] | None, d: int, default: Sequence[Any]) -> Any:
    """What a user gave for each column: a dictionary by columns' names becomes a list, with ``default`` for those it lacks.

    Where X is no DataFrame the columns are called by their numbers, from 0. Anything but a dictionary is handed back.
    """
    if not isinstance(value, Mapping):
        return value
    names = columns if columns is not None else [str(i) for i in range(d)]
    result = list(default)
    for key, entry in value.items():
        count = names.count(str(key))
        if count != 1:
            known = f"columns of X: {listed([repr(each) for each in names])}" if columns is not None else f"0 to {d - 1}"
            problem = f"has the key {reprlib.repr(key)}, which {'several columns have' if count else 'is no column'}"
            remedy = "" if columns is not None else "; X is no DataFrame, so its columns are called by their numbers"
            raise ValueError(f"{name} {problem}; there are {known}{remedy}")
        result[names.index(str(key))] = entry
    return result


def model_to_start_from(model: Any, kind: Any, columns: list[str] | None, d: int) -> Any:
    """The length scales of a model, in the order of X's columns; None where there is no model.

    Refuses what is no model of the class ``kind``, or one of other inputs.
    """
    if model is None:
        return None
    if not isinstance(model, kind):
        raise TypeError(f"start must be a model that fastard.fit returned, got {reprlib.repr(model)}")
    if model.length_scale.size != d:
        raise ValueError(f"start must be a model of the {d} columns of X, got one of {model.length_scale.size}")
    theirs = model.feature_names
    if theirs is None or columns is None or theirs == columns:
        return model.length_scale
    if sorted(theirs) != sorted(columns) or len(set(columns)) < d:
        lacks = [repr(name) for name in columns if name not in theirs]
        raise ValueError(f"start must be a model of the columns of X, got one of {listed(theirs)}; it lacks {listed(lacks)}")
    return model.length_scale[[theirs.index(name) for name in columns]]
