"""A trained model as an archive of arrays: NumPy's npz, without pickle, every number with its bits."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._files import replace_file
from fastard._objectives.terms import Sum
from fastard._version import __version__
from fastard.kernels import BY_NAME, Kernel

# Files that need not the third version are of the second or of the first, for earlier versions of fastard to read.
_FORMAT, _FIRST_VERSION, _SECOND_VERSION, _VERSION = "fastard model", 1, 2, 3

OF_MEAN = ("center", "scale", "transform", "basis", "coefficients", "solved", "factor")  # its arrays

_IN_HEADER = (
    "signal_variance", "noise_variance", "log_marginal_likelihood", "objective", "n_evaluations", "converged", "message",
    "feature_names", "target_names", "search_values", "_settings",
)  # fmt: skip

_ARRAYS = ("length_scale", "_X", "_y", "_y_mean", "_alpha", "_slots")


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the model; of the factor one triangle."""
    trend, encoding, groups = model._trend, model._encoding, model._noise_groups
    own_variances, is_sum = model._noise_ratio is not None, isinstance(model.kernel, Sum)
    is_first = not (model._settings.get("mean") or own_variances) and encoding is None and groups is None
    header = {"format": _FORMAT, "version": _VERSION if is_sum else _FIRST_VERSION if is_first else _SECOND_VERSION}
    header |= {name.lstrip("_"): getattr(model, name) for name in _IN_HEADER}
    arrays = {name.lstrip("_"): getattr(model, name) for name in _ARRAYS}
    if trend is not None:
        header["mean"] = trend.kind
        arrays |= {f"mean_{name}": getattr(trend, name) for name in OF_MEAN}
    if encoding is not None:
        header["encoding"] = encoding.kinds
    if groups is not None:
        header["noise_groups"] = [[*groups.labels], groups.variances.tolist()]
        arrays["noise_group_of_row"] = groups.of_row
    if own_variances:
        arrays["output_variance"] = model.signal_variance
        header["signal_variance"], header["noise_variance"] = model._variances
    if is_sum:
        parts = zip(model.kernel.names, model.kernel.kernels, model._columns, strict=True)
        header["terms"] = [[name, _name_of(kernel), [*kernel], columns] for name, kernel, columns in parts]
        header["term_settings"] = model._term_settings
        arrays["signal_variances"] = model.signal_variances
    if model._observation_variance is not None:
        arrays["observation_variance"] = model._observation_variance
    write(path, model.kernel, header, {**arrays, "factor": _packed(model._factor)})


def write(path: str | os.PathLike[str], kernel: Kernel, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Arrays, and a header in JSON that names the kernel and this version of fastard too."""
    if not isinstance(kernel, Sum):  # whose terms are in the header
        header = {**header, "kernel": _name_of(kernel), "shape": [*kernel]}
    text = json.dumps({**header, "fastard": __version__})
    members: dict[str, Any] = {"header": np.array(text), **arrays}
    replace_file(path, lambda file: np.savez(file, **members))


def _name_of(kernel: Kernel) -> str:
    return next(name for name, kind in BY_NAME.items() if type(kernel) is kind)


def _packed(factor: Array) -> Array:
    """The rows of the upper triangle, one after the other: half the file."""
    n = factor.shape[0]
    packed, start = np.empty(n * (n + 1) // 2), 0
    for j in range(n):
        packed[start : start + n - j] = factor[j, j:]
        start += n - j
    return packed
