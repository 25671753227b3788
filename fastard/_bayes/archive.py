"""The draws as an archive of arrays: NumPy's npz, without pickle."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from fastard._files import replace_file
from fastard._version import __version__
from fastard.kernels import BY_NAME

_FORMAT, _VERSION = "fastard posterior", 1

_IN_HEADER = ("n_evaluations", "n_not_positive_definite", "feature_names", "target_names")
_ARRAYS = ("length_scale", "signal_variance", "noise_variance", "shape", "log_posterior", "diverging", "_X", "_y", "_y_mean")
_MAY_LACK = ("global_scale", "_observation_variance")


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the draws and the data; what follows from them is made again."""
    kernel = {kind: name for name, kind in BY_NAME.items()}[type(model.kernel)]
    header = {"format": _FORMAT, "version": _VERSION, "fastard": __version__, "kernel": kernel, "start": [*model.kernel]}
    header |= {name: getattr(model, name) for name in _IN_HEADER}
    arrays = {name: getattr(model, name) for name in (*_ARRAYS, *_MAY_LACK)}
    arrays = {name.lstrip("_"): array for name, array in arrays.items() if array is not None}
    replace_file(path, lambda file: np.savez(file, header=np.array(json.dumps(header)), **arrays))
