"""load(): what was saved from a file: an exact model, one of many points, or draws from a posterior."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastard import _validation as validate
from fastard._arrays import read_only
from fastard._bayes.archive import ARRAYS, FORMAT, IN_HEADER, MAY_LACK, VERSION
from fastard._bayes.model import BayesianGaussianProcess
from fastard._model.archive import _FORMAT as EXACT_FORMAT
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.npz import TYPES, Format, Member, check_names, check_shapes, check_types, kernel_in, read_finite
from fastard._model.npz import read as read_npz
from fastard._model.storage import EXACT
from fastard._vecchia.archive import FORMAT as VECCHIA_FORMAT
from fastard._vecchia.model import VecchiaGaussianProcess
from fastard._vecchia.storage import VECCHIA


def load(
    path: str | os.PathLike[str], *, n_threads: int | None = None
) -> GaussianProcess | VecchiaGaussianProcess | BayesianGaussianProcess:
    """A model that its ``save`` wrote; it predicts with the same bits.

    Nothing in the file is executed: it holds arrays and text.

    Parameters
    ----------
    path : str or path-like
        The file.
    n_threads : int, optional
        Threads for the compiled loops of the model; all available by default.

    Returns
    -------
    model : GaussianProcess, VecchiaGaussianProcess or BayesianGaussianProcess
        Whichever was saved.

    Raises
    ------
    OSError
        If there is no such file, or it may not be read.
    ValueError
        If it is no fastard model, is damaged, or was written by a later version.
    MemoryError
        If its arrays do not fit the memory.

    Notes
    -----
    Names, sizes and kinds are looked at before any array is read. A compressed file is taken too (``save`` writes none) unless
    it would expand to more than a hundred times its size and 16 MiB.
    """
    return read_npz(path, _FORMATS, validate.thread_count(n_threads))  # type: ignore[no-any-return]


def _model(header: dict[str, Any], members: dict[str, Member], threads: int) -> BayesianGaussianProcess:
    kernel = kernel_in(header)
    check_types(header, {name: TYPES.get(name, (int,)) for name in IN_HEADER})
    (n, d), m = members["X"].shape, members["y"].shape[1]
    chains, draws = members["signal_variance"].shape
    expected: dict[str, tuple[int, ...]] = dict.fromkeys(members, (chains, draws))
    expected |= {"length_scale": (chains, draws, d), "shape": (chains, draws, len(kernel))}
    expected |= {"X": (n, d), "y": (n, m), "y_mean": (m,)}
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    check_shapes(members, expected, {"diverging": np.int32})
    arrays = read_finite(members)
    if 0 in (n, m, chains, draws):
        raise ValueError(f"it has {chains} chains of {draws} draws, {n} points and {m} targets")
    if not 0 <= header["n_not_positive_definite"] <= header["n_evaluations"]:
        raise ValueError(f"of its {header['n_evaluations']} evaluations {header['n_not_positive_definite']} failed")
    if not np.isin(arrays["diverging"], (0, 1)).all():
        raise ValueError("its diverging are not 0 or 1")
    for name in {"length_scale", "signal_variance", "shape", "global_scale"} & arrays.keys():
        if not (arrays[name] > 0.0).all():
            raise ValueError(f"its {name} is not positive")
    if not (arrays["noise_variance"] >= 0.0).all():
        raise ValueError("its noise_variance is negative")
    validate.length_scales(arrays["length_scale"].min(axis=(0, 1)), validate.inputs(arrays["X"]))
    check_names(header, d, m)
    validate.known_variances(arrays.get("observation_variance"), n)
    arrays |= {name: read_only(arrays[name]) for name in ("X", "y", "observation_variance") if name in arrays}
    arrays["diverging"] = arrays["diverging"].astype(bool)
    found: dict[str, Any] = {name: arrays[name.lstrip("_")] for name in ARRAYS} | {
        name: arrays.get(name.lstrip("_")) for name in MAY_LACK
    }
    return BayesianGaussianProcess(kernel=kernel, n_threads=threads, **found, **{name: header[name] for name in IN_HEADER})


_FORMATS = {
    EXACT_FORMAT: EXACT,
    VECCHIA_FORMAT: VECCHIA,
    FORMAT: Format(
        version=VERSION,
        arrays=frozenset(name.lstrip("_") for name in ARRAYS),
        optional=frozenset(name.lstrip("_") for name in MAY_LACK),
        model=_model,
    ),
}
