"""A trained model as an archive of arrays: NumPy's npz, without pickle, every number with its bits."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from fastard._arrays import Array
from fastard._files import replace_file
from fastard._version import __version__
from fastard.kernels import BY_NAME

_FORMAT, _VERSION = "fastard model", 1

_IN_HEADER = (
    "signal_variance", "noise_variance", "log_marginal_likelihood", "objective", "n_evaluations", "converged", "message",
    "feature_names", "target_names", "search_values", "_settings",
)  # fmt: skip

_ARRAYS = ("length_scale", "_X", "_y", "_y_mean", "_alpha", "_slots")


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the model; of the factor one triangle."""
    kernel = {kind: name for name, kind in BY_NAME.items()}[type(model.kernel)]
    header = {"format": _FORMAT, "version": _VERSION, "fastard": __version__, "kernel": kernel, "shape": [*model.kernel]}
    groups = model._noise_groups
    header["noise_groups"] = None if groups is None else [[*groups.labels], groups.variances.tolist()]
    header["encoding"] = None if model._encoding is None else model._encoding.kinds
    header |= {name.lstrip("_"): getattr(model, name) for name in _IN_HEADER}
    arrays = {name.lstrip("_"): getattr(model, name) for name in _ARRAYS}
    if model._observation_variance is not None:
        arrays["observation_variance"] = model._observation_variance
    if groups is not None:
        arrays["noise_group_of_row"] = groups.of_row
    arrays |= {"header": np.array(json.dumps(header)), "factor": _packed(model._factor)}
    replace_file(path, lambda file: np.savez(file, **arrays))


def _packed(factor: Array) -> Array:
    """The rows of the upper triangle, one after the other: half the file."""
    n = factor.shape[0]
    packed, start = np.empty(n * (n + 1) // 2), 0
    for j in range(n):
        packed[start : start + n - j] = factor[j, j:]
        start += n - j
    return packed
