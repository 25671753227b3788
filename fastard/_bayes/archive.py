"""The draws as an archive of arrays: NumPy's npz, without pickle."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastard._model.archive import write

FORMAT, VERSION = "fastard posterior", 1

IN_HEADER = ("n_evaluations", "n_not_positive_definite", "feature_names", "target_names")

ARRAYS = ("length_scale", "signal_variance", "noise_variance", "shape", "log_posterior", "diverging", "_X", "_y", "_y_mean")

MAY_LACK = ("global_scale", "_observation_variance")


def save(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the draws and the data; what follows from them is made again."""
    header = {"format": FORMAT, "version": VERSION, **{name: getattr(model, name) for name in IN_HEADER}}
    found = {name.lstrip("_"): getattr(model, name) for name in (*ARRAYS, *MAY_LACK)}
    arrays = {name: array for name, array in found.items() if array is not None}
    write(path, model.kernel, header, {**arrays, "diverging": model.diverging.astype(np.int32)})
