"""Is it a mean, are its basis functions those of these points, and is it one that a method can do with?"""

import difflib
from typing import Any

import numpy as np

from fastard._arrays import Array
from fastard._validation.arrays import real_array
from fastard._validation.options import choice

MEANS = ("constant", "zero", "linear", "quadratic")

ESTIMATIONS = ("ml", "reml")

_DEPENDENT = 1e-10  # of a column's length, less than which no other column has to explain of it


def mean_kind(value: Any) -> str:
    """One of MEANS, or "basis" for a matrix or a callable."""
    if isinstance(value, str):
        if value not in MEANS:
            near = difflib.get_close_matches(value.strip().lower(), MEANS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"mean must be one of {', '.join(map(repr, MEANS))}, an array of basis functions (n, p), or a callable from X "
                f"to one; got {value!r}{hint}"
            )
        return value
    if value is None or isinstance(value, (bool, int, float)):
        raise TypeError(
            f"mean must be one of {', '.join(map(repr, MEANS))}, an array of basis functions (n, p), or a callable from X to "
            f"one; got {value!r}. A known mean is for you to subtract from y, with mean='zero'"
        )
    return "basis"


def mean_of_encoded(value: Any) -> None:
    """Refuse a function of the inputs where some of these are encoded."""
    if callable(value):
        raise ValueError(
            "a callable mean is of inputs that are all numbers, and X has categorical or periodic columns (those of "
            "categorical= and periodic=, and of text); pass mean='linear', 'quadratic', or an array of basis functions (n, p)"
        )


def mean_estimation(value: Any, has_coefficients: bool, remedy: str) -> None:
    """One of ESTIMATIONS, of which the restricted one needs coefficients."""
    choice("mean_estimation", value, ESTIMATIONS)
    if value == "reml" and not has_coefficients:
        raise ValueError(f"mean_estimation='reml' integrates out the mean's coefficients, and there are none: {remedy}")


def basis(name: str, value: Any, n: int, functions: int | None = None) -> Array:
    """Values of basis functions at n points, (n, p); ``functions``: the p of training."""
    array = real_array(name, value)
    if array.ndim == 1 and functions == 1 and array.size == n:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[0] != n or array.shape[1] == 0:
        raise ValueError(
            f"{name} must have shape ({n}, p), a row for each row of X and a column for each basis function; got {array.shape}"
        )
    if functions is not None and array.shape[1] != functions:
        raise ValueError(f"{name} must have {functions} columns as in training, got shape {array.shape}")
    return array


def independent(name: str, H: Array, what: list[str]) -> None:
    """Refuse basis functions (n, p) whose coefficients the points do not determine; ``what`` they are called."""
    from scipy.linalg import qr

    n, p = H.shape
    if n <= p:
        raise ValueError(f"{name} has {p} basis functions, for which there must be more than {p} points; got {n}")
    with np.errstate(all="ignore"):
        lengths = np.sqrt(np.sum(H * H, axis=0))
    if not np.isfinite(lengths).all():
        raise ValueError(f"{name} has the basis function {what[int(np.argmax(lengths))]}, whose squares overflow; rescale it")
    triangle, order = qr(H / np.where(lengths > 0.0, lengths, 1.0), mode="r", pivoting=True)
    left = np.abs(triangle.diagonal())
    if left[-1] <= _DEPENDENT:
        functions = ", ".join(what[i] for i in order[left <= _DEPENDENT])
        raise ValueError(
            f"{name} has basis functions that depend linearly on the others at these points, so that their coefficients are "
            f"not determined: {functions}; leave them out"
        )


def basis_of_points(kind: str, given: Any, has_function: bool) -> None:
    """``basis`` has to be given at new points if, and only if, the mean is a matrix."""
    if kind == "basis" and not has_function and given is None:
        raise ValueError(
            "the mean is an array of basis functions, so their values at the new points have to be given: pass basis (q, p). "
            "(A callable mean makes them itself, but is not saved with a model)"
        )
    if kind != "basis" or has_function:
        no_basis(given)


def differentiable_mean(kind: str) -> None:
    """One whose derivatives by the inputs are known."""
    if kind == "basis":
        raise ValueError(
            "predict_gradient needs the derivatives of the mean's basis functions, and those of an array or a callable are "
            "not known"
        )


def constant_mean(what: str, has_trend: bool) -> None:
    """Refuse a mean with basis functions where only a constant one is possible."""
    if has_trend:
        raise ValueError(
            f"{what} has no counterpart of a mean with basis functions: train with mean='constant' or 'zero' for it"
        )


def mean_anywhere(what: str, is_array: bool) -> None:
    """Refuse an array of basis functions where the model is asked at points of its own choice."""
    if is_array:
        raise ValueError(
            f"{what} needs the mean's basis functions at points of its own, and this model has them as an array: train with a "
            "callable mean"
        )


def no_leverage(precision: Array) -> None:
    """Refuse to leave out a point that alone determines a coefficient of the mean: its 1 / variance (n,) is only rounding."""
    alone = np.flatnonzero(precision <= 1e-10 * precision.max())
    if alone.size:
        raise ValueError(
            f"row {int(alone[0])} of X alone determines a coefficient of the mean, so that the others do not predict it; "
            "leave out the basis function, or the row"
        )


def no_basis(given: Any) -> None:
    """Refuse basis functions at new points where there are none at the training points."""
    if given is not None:
        raise ValueError("basis is only for a model whose mean is an array of basis functions; leave it out")


def has_basis_functions(has_trend: bool) -> None:
    """A mean that has coefficients."""
    if not has_trend:
        raise ValueError("the mean has no basis functions: train with mean='linear', say, for coefficients")


def mean_given_again(has_function: bool, options: Any) -> None:
    """Refuse to train again without the array of basis functions."""
    if not has_function and "mean" not in options:
        raise ValueError("the model was trained with an array of basis functions: pass mean for the rows of X")
