"""The draws and the data from a file."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from fastard import _validation as validate
from fastard._arrays import read_only
from fastard._bayes.archive import _ARRAYS, _FORMAT, _IN_HEADER, _MAY_LACK, _VERSION
from fastard._bayes.model import BayesianGaussianProcess
from fastard.kernels import BY_NAME


def load_posterior(path: str | os.PathLike[str], *, n_threads: int | None = None) -> BayesianGaussianProcess:
    """Draws that :meth:`fastard.BayesianGaussianProcess.save` wrote; they predict with the same bits.

    Parameters
    ----------
    path : str or path-like
        The file.
    n_threads : int, optional
        Threads for the compiled loops; all available by default.

    Returns
    -------
    BayesianGaussianProcess

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If it is no posterior of fastard's, is damaged, or was written by a later version.
    """
    threads = validate.thread_count(n_threads)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        if header["version"] > _VERSION:
            raise ValueError(f"fastard {header['fastard']} wrote it in a later format; upgrade fastard to read it")
        return _model(header, arrays, threads)
    except (ValueError, TypeError, LookupError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no posterior that fastard saved, or is damaged: {error}") from error


def _model(header: dict[str, Any], arrays: dict[str, Any], threads: int) -> BayesianGaussianProcess:
    kernel = validate.as_kernel(BY_NAME[header["kernel"]](*header["start"]))
    (n, d), m = arrays["X"].shape, arrays["y"].shape[1]
    of_each = arrays["signal_variance"].shape
    expected = {"length_scale": (*of_each, d), "shape": (*of_each, len(kernel)), "X": (n, d), "y": (n, m), "y_mean": (m,)}
    expected["observation_variance"] = (n,)
    for name, array in arrays.items():
        if array.shape != expected.get(name, of_each) or array.dtype != (bool if name == "diverging" else np.float64):
            raise ValueError(f"its {name} is {array.dtype} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"its {name} does not hold finite numbers")
    if len(of_each) != 2 or 0 in of_each:
        raise ValueError(f"its draws have the shape {of_each}")
    if not all((arrays[name] > 0.0).all() for name in ("length_scale", "signal_variance", "shape")):
        raise ValueError("its hyperparameters are not positive")
    found = {name: arrays[name.lstrip("_")] for name in _ARRAYS} | {name: arrays.get(name.lstrip("_")) for name in _MAY_LACK}
    found["_X"] = read_only(found["_X"])
    return BayesianGaussianProcess(kernel=kernel, n_threads=threads, **found, **{name: header[name] for name in _IN_HEADER})
