"""Do X, y and what belongs to their rows fit each other, and the training's?"""

import math
import reprlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard._arrays import Array
from fastard._text import listed
from fastard._validation.arrays import real_array
from fastard._validation.names import by_column

_SCALES_APART = 10.0  # of outputs that share their variances; functions of one process seldom differ by so much

_LEAST_UNIT = 1e-250  # of a variance or standard deviation; and 1 over it is the largest

# Of its largest magnitude: a column with a smaller range is constant but for its rounding errors, as (t + 0.7) - t is for t up
# to 127. Seconds since 1970 that range over more than 40 microseconds are not, nor integers near 1e15 over more than 22.
ROUNDING = 100.0 * float(np.finfo(np.float64).eps)


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


def warn_of_row_order(X: Any, **others: Any) -> None:
    """Say that rows of pandas' with the same labels are in another order than those of X; all are taken by position."""
    index = _index(X)
    if index is None:
        return
    for name, value in others.items():
        theirs = _index(value)
        if theirs is None or theirs is index or len(theirs) != len(index) or theirs.equals(index):
            continue
        if theirs.is_unique and index.is_unique and theirs.isin(index).all():
            warnings.warn(
                f"{name} has the index of X in another order, but rows are taken by their position; pass {name}.loc[X.index], "
                f"or {name}.to_numpy() where the positions are right",
                stacklevel=3,
            )


def _index(value: Any) -> Any:
    """The labels of a pandas object's rows; None for anything else."""
    index = getattr(value, "index", None) if hasattr(value, "iloc") else None
    return index if hasattr(index, "equals") else None


def some_columns(X: Array) -> None:
    """Points that can be near each other."""
    if X.shape[1] == 0:
        raise ValueError(f"X must have at least one column for points to be neighbours, got shape {X.shape}; use fastard.fit")


def others_to_predict_from(n: int) -> None:
    """Training points, of which each is predicted from the others."""
    if n < 2:
        raise ValueError("accuracy() predicts points from the others, but the model was trained on one point only")


def targets(y: ArrayLike, n: int, d: int, outputs: int | None = None) -> Array:
    """Targets of n points (n, d), (n,) or (n, m) with m >= 1; ``outputs``: the m of training."""
    array = real_array("y", y)
    if array.ndim not in (1, 2) or array.shape[0] != n or 0 in array.shape:
        hint = f"; X has {d} columns: pass X.T if these are the points" if array.shape[:1] == (d,) and d != n else ""
        raise ValueError(f"y must have shape ({n},) or ({n}, m), one row for each row of X, got {array.shape}{hint}")
    if outputs is not None and array.size != n * outputs:
        raise ValueError(f"y must have {outputs} columns as in training, got shape {array.shape}")
    return array


def not_traced(name: str, traced: bool) -> None:
    """Numbers, and not what JAX traces a function by."""
    if traced:
        raise TypeError(f"{name} must be an array of numbers, not an argument of a traced function; only theta may be one")


def weights(Q: ArrayLike, n: int) -> Array:
    """Weights of a vector-Jacobian product, (n, n)."""
    array = real_array("Q", Q)
    if array.shape != (n, n):
        raise ValueError(f"Q must have shape ({n}, {n}), one row and column for each row of X, got {array.shape}")
    return array


def known_variances(value: ArrayLike | None, n: int) -> Array | None:
    """Known observation variances >= 0, (n,), or None."""
    if value is None:
        return None
    array = real_array("observation_variance", value)
    if array.shape != (n,):
        hint = ""
        if array.size == 1:
            hint = f"; for one variance of all rows pass numpy.full({n}, {float(array.reshape(()))!r})"
        raise ValueError(f"observation_variance must have shape ({n},), one for each row of X, got {array.shape}{hint}")
    if (array < 0.0).any():
        raise ValueError(f"observation_variance must be >= 0, got {float(array.min())!r}; it is a variance, not its logarithm")
    return array


def variances_of_more_points(value: ArrayLike | None, k: int, *, trained_with: bool) -> Array | None:
    """Known variances of k more training points, (k,), or None: as in training."""
    variances = known_variances(value, k)
    if (variances is not None) != trained_with:
        state = "with" if trained_with else "without"
        raise ValueError(f"observation_variance must be given in update as in training: the model was trained {state} it")
    return variances


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


def centred(y: Array) -> tuple[Array, Array]:
    """Targets (n, m) less their means, and these, (m,)."""
    with np.errstate(all="ignore"):
        mean = np.add.reduce(y, axis=0) / y.shape[0]
        result = y - mean
    finite = np.isfinite(result)
    if not finite.all():
        finite = finite.all(axis=0)
        bad = int(np.argmin(finite))
        raise ValueError(_out_of_range("y" if y.shape[1] == 1 else f"column {bad} of y", "large", y[:, bad]))
    return result, mean


def less_mean(y: Array, mean: ArrayLike) -> tuple[Array, Array]:
    """Targets (n, m) less a given mean, one or one for each output; and this, (m,)."""
    m = y.shape[1]
    if isinstance(mean, str) or callable(mean):
        raise ValueError(
            f"mean must be a number, or one for each output, got {reprlib.repr(mean)}: sample_posterior has a constant mean "
            "only, by default that of y; fastard.fit has others"
        )
    array = real_array("mean", mean)
    if array.ndim > 1 or array.size not in (1, m):
        raise ValueError(f"mean must be a number{'' if m == 1 else f', or {m} of them'}, got shape {array.shape}")
    result: Array = np.array(np.broadcast_to(array, m))
    return y - result, result


def constant(columns: Array) -> NDArray[np.bool_]:
    """Which columns (n, k) have equal entries, but for what rounding errors explain: (k,)."""
    lowest, highest = np.minimum.reduce(columns, axis=0), np.maximum.reduce(columns, axis=0)
    with np.errstate(all="ignore"):
        return highest - lowest <= ROUNDING * np.maximum(np.abs(lowest), np.abs(highest))  # type: ignore[no-any-return]


def units(values: list[float], columns: Array, what: Callable[[int], str]) -> None:
    """Refuse columns (n, k) whose variance or standard deviation leaves no room in a float64 for bounds and squares.

    ``what(place)`` is what to call one.
    """
    for place, value in enumerate(values):
        if not _LEAST_UNIT < value < 1.0 / _LEAST_UNIT:
            raise ValueError(_out_of_range(what(place), "small" if value < 1.0 else "large", columns[:, place]))


def input_distribution(
    value: Any, X: Array, columns: list[str] | None, kinds: tuple[float | tuple[Any, ...] | None, ...]
) -> tuple[Array, Array]:
    """Between what the inputs lie, (d,) each: "uniform" or "data" for the range of X, or a pair for each column.

    A period goes from 0 on, unless a range is given; of categories X has the numbers of the levels, and there is no range.
    """
    low, high = X.min(axis=0), X.max(axis=0)
    for j, kind in enumerate(kinds):
        if isinstance(kind, float):
            low[j], high[j] = 0.0, kind
    if isinstance(value, str) and value in ("uniform", "data"):
        return low, high
    expected = "distribution must be 'uniform', 'data', or a pair (low, high) for each column of X with low <= high"
    categories = [j for j, kind in enumerate(kinds) if isinstance(kind, tuple)]
    if categories:
        names = listed([repr(columns[j]) if columns else j for j in categories])
        expected = (
            f"distribution must be 'uniform', 'data', or a dictionary of pairs (low, high) with low <= high for columns that "
            f"are no categories; of these, {names}, all levels are equally likely"
        )
    if isinstance(value, str) or (categories and not isinstance(value, Mapping)):
        raise ValueError(f"{expected}; got {reprlib.repr(value)}")
    pairs = np.column_stack([low, high]).tolist()
    given = by_column("distribution", value, columns, X.shape[1], pairs)
    if any(given[j] is not pairs[j] for j in categories):
        raise ValueError(f"{expected}; got {reprlib.repr(value)}")
    ranges = real_array("distribution", given)
    if ranges.shape != (X.shape[1], 2) or (ranges[:, 0] > ranges[:, 1]).any():
        raise ValueError(f"{expected}; got {reprlib.repr(value)}")
    return ranges[:, 0], ranges[:, 1]


def _out_of_range(what: str, size: str, column: Array) -> str:
    lowest, highest = float(column.min()), float(column.max())
    return f"{what} is too {size} for its variance to be a float64: it goes from {lowest!r} to {highest!r}; rescale it"


def warn_of_scales(y: Array) -> None:
    """Say that outputs (n, m) whose scales differ widely share their variances."""
    if y.shape[1] == 1:
        return
    with np.errstate(all="ignore"):
        deviations = np.where(constant(y), 0.0, np.std(y, axis=0))
    least, most = int(deviations.argmin()), int(deviations.argmax())
    if deviations[most] > _SCALES_APART * deviations[least]:
        warnings.warn(
            "the outputs share signal_variance and noise_variance, but their standard deviations differ widely, from "
            f"{deviations[least]:.3g} (column {least} of y) to {deviations[most]:.3g} (column {most}): one predicted standard "
            "deviation for all of them means little; scale the columns of y alike, or give each its own variances by "
            "fastard.fit(..., output_variances='own')",
            stacklevel=3,
        )


def no_overflow(what: str, value: float, *arrays: Array) -> None:
    """Refuse targets for which an objective, or an array that comes with it, leaves float64."""
    if not (math.isfinite(value) and all(np.isfinite(array).all() for array in arrays)):
        raise ValueError(f"{what} overflows float64: y is too large for the variances; rescale y")
