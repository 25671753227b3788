"""A trained model as a file: NumPy's npz, without pickle, every number with its bits."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastard import _validation as validate
from fastard._validation import Array
from fastard.kernels import BY_NAME
from fastard.posterior import AT_BOUND, GaussianProcess

_FORMAT, _VERSION = "fastard model", 1
_IN_HEADER = (
    "signal_variance", "noise_variance", "log_marginal_likelihood", "objective", "n_evaluations", "converged", "message",
    "feature_names",
)  # fmt: skip
_ARRAYS = ("length_scale", "_X", "_y", "_y_mean", "_alpha", "_slots")


def save(model: GaussianProcess, path: str | os.PathLike[str]) -> None:
    """Write the model; of the factor one triangle."""
    from fastard import __version__

    kernel = {kind: name for name, kind in BY_NAME.items()}[type(model.kernel)]
    header = {"format": _FORMAT, "version": _VERSION, "fastard": __version__, "kernel": kernel, "shape": [*model.kernel]}
    header |= {name: getattr(model, name) for name in _IN_HEADER}
    arrays = {name.lstrip("_"): getattr(model, name) for name in _ARRAYS}
    if model._observation_variance is not None:
        arrays["observation_variance"] = model._observation_variance
    arrays |= {"header": np.array(json.dumps(header)), "factor": _packed(model._factor)}
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():  # a pipe, say; a folder is an error
            with target.open("wb") as file:
                np.savez(file, **arrays)
            return
        unfinished = target.with_name(f".{secrets.token_hex(8)}.unfinished")  # a full disk leaves an earlier file whole
        try:
            with unfinished.open("xb") as file:
                if target.exists():
                    shutil.copymode(target, unfinished)
                np.savez(file, **arrays)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def load(path: str | os.PathLike[str], *, n_threads: int | None = None) -> GaussianProcess:
    """A model that :meth:`fastard.GaussianProcess.save` wrote; it predicts with the same bits.

    Nothing in the file is executed: it holds arrays and text.

    Parameters
    ----------
    path : str or path-like
        The file.
    n_threads : int, optional
        Threads for the compiled loops of the model; all available by default.

    Returns
    -------
    model : GaussianProcess

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If it is no fastard model, is damaged, or was written by a later version.
    MemoryError
        If its arrays, or what a damaged file says of their sizes, do not fit the memory.
    """
    threads = validate.thread_count(n_threads)
    with Path(path).open("rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is no npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                header = json.loads(str(archive["header"]))
                if header["format"] != _FORMAT:
                    raise ValueError(f"its format is {header['format']!r}")
                if type(header["version"]) is not int or header["version"] < 1:
                    raise ValueError(f"its version is {header['version']!r}")
                if header["version"] > _VERSION:
                    raise _TooNewError(header["fastard"])
                return _model(header, {name: archive[name] for name in archive.files if name != "header"}, threads)
        except _TooNewError as error:
            raise ValueError(f"{path} was written by fastard {error}, in a later format; upgrade fastard to read it") from None
        except (
            ValueError, TypeError, LookupError, AttributeError, OSError, EOFError, NotImplementedError, RuntimeError,
            struct.error, zlib.error, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise ValueError(f"{path} is not a model that fastard saved, or is damaged: {error}; save it again") from error


class _TooNewError(Exception):
    """A format that this version does not know."""


def _model(header: dict[str, Any], arrays: dict[str, Array], threads: int) -> GaussianProcess:
    kernel = validate.as_kernel(BY_NAME[header["kernel"]](*header["shape"]))
    n, d = arrays["X"].shape
    m = arrays["y"].shape[1]
    expected: dict[str, tuple[int, ...]] = {
        "length_scale": (d,),
        "X": (n, d),
        "y": (n, m),
        "y_mean": (m,),
        "alpha": (n, m),
        "slots": (d + 2 + len(kernel),),
        "factor": (n * (n + 1) // 2,),
    }
    if "observation_variance" in arrays:
        expected["observation_variance"] = (n,)
    found = {name: arrays[name].shape for name in arrays}
    if found != expected:
        raise ValueError(f"its arrays have the shapes {found}")
    for name, array in arrays.items():
        if array.dtype != (np.int64 if name == "slots" else np.float64) or not np.isfinite(array).all():
            raise ValueError(f"its {name} does not hold finite numbers")
    kinds: dict[str, tuple[type, ...]] = {
        "signal_variance": (float,),
        "noise_variance": (float,),
        "log_marginal_likelihood": (float,),
        "objective": (str,),
        "n_evaluations": (int,),
        "converged": (bool,),
        "message": (str,),
        "feature_names": (list, type(None)),
    }
    for name, allowed in kinds.items():
        if type(header[name]) not in allowed:
            raise ValueError(f"its {name} is {header[name]!r}")
    validate.number("signal_variance", header["signal_variance"])
    validate.number("noise_variance", header["noise_variance"], may_equal=True)
    validate.number("log_marginal_likelihood", header["log_marginal_likelihood"], least=-np.inf)
    validate.length_scales(arrays["length_scale"], validate.inputs(arrays["X"]))
    known = validate.known_variances(arrays.get("observation_variance"), n)
    if header["n_evaluations"] < 1 or arrays["slots"].min() < AT_BOUND or arrays["slots"].max() >= arrays["slots"].size:
        raise ValueError("its parameters are those of no training")
    names = header["feature_names"]
    if names is not None and (len(names) != d or not all(isinstance(name, str) for name in names)):
        raise ValueError(f"its feature_names are {names!r}")
    factor = _unpacked(arrays.pop("factor"), n)
    if not (factor.diagonal() > 0.0).all():
        raise ValueError("its factor is that of no covariance")
    return GaussianProcess(
        kernel=kernel,
        length_scale=arrays["length_scale"],
        n_threads=threads,
        _X=validate.read_only(arrays["X"]),
        _y=validate.read_only(arrays["y"]),
        _y_mean=arrays["y_mean"],
        _observation_variance=known,
        _slots=arrays["slots"].astype(np.int64),
        _alpha=arrays["alpha"],
        _factor=factor,
        **{name: header[name] for name in _IN_HEADER},
    )


def _packed(factor: Array) -> Array:
    """The rows of the upper triangle, one after the other: half the file."""
    n = factor.shape[0]
    packed, start = np.empty(n * (n + 1) // 2), 0
    for j in range(n):
        packed[start : start + n - j] = factor[j, j:]
        start += n - j
    return packed


def _unpacked(packed: Array, n: int) -> Array:
    factor, start = validate.large_array(n, n), 0
    factor[:] = 0.0
    for j in range(n):
        factor[j, j:] = packed[start : start + n - j]
        start += n - j
    return factor
