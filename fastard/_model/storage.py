"""A trained exact model in a file: what its header and its arrays have to be."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from fastard import _validation as validate
from fastard._arrays import read_only
from fastard._model.archive import _ARRAYS, _IN_HEADER, _VERSION
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.npz import TYPES, Format, Member, check_parameters, check_shapes, check_types, kernel_in, read_finite
from fastard._parameters import kinds_of

# What training keeps of the arguments of `fit`, for the next one.
_SETTINGS = {f"{kind}_bounds" for kind in kinds_of(0)} | {"length_scale_groups", "objective", "standardize"}

# What the first files lack.
_LATER: dict[str, Any] = {"target_names": None, "search_values": [], "settings": {}}


def _model(header: dict[str, Any], members: dict[str, Member], threads: int) -> GaussianProcess:
    header = _LATER | header
    kernel = kernel_in(header)
    n, d = members["X"].shape
    m = members["y"].shape[1]
    expected: dict[str, tuple[int, ...]] = {
        "length_scale": (d,),
        "X": (n, d),
        "y": (n, m),
        "y_mean": (m,),
        "alpha": (n, m),
        "slots": (d + 2 + len(kernel),),
        "factor": (n * (n + 1) // 2,),
    }
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    check_shapes(members, expected, {"slots": np.int64})
    check_types(header, {**TYPES, "log_marginal_likelihood": (float,), "search_values": (list,), "settings": (dict,)})
    validate.number("log_marginal_likelihood", header["log_marginal_likelihood"], least=-np.inf)
    arrays = read_finite(members, "factor")
    known = check_parameters(header, arrays)
    if not all(type(value) is float for value in header["search_values"]):
        raise ValueError(f"its search_values are {reprlib.repr(header['search_values'])}")
    if not header["settings"].keys() <= _SETTINGS:
        raise ValueError(f"its settings are {reprlib.repr(header['settings'])}")
    factor = members["factor"].read_factor(n)
    return GaussianProcess(
        kernel=kernel,
        length_scale=arrays["length_scale"],
        n_threads=threads,
        _X=read_only(arrays["X"]),
        _y=read_only(arrays["y"]),
        _y_mean=arrays["y_mean"],
        _observation_variance=known,
        _slots=arrays["slots"].astype(np.int64),
        _alpha=arrays["alpha"],
        _factor=factor,
        **{name: header[name.lstrip("_")] for name in _IN_HEADER},
    )


EXACT = Format(
    version=_VERSION,
    arrays=frozenset({"factor", *(name.lstrip("_") for name in _ARRAYS)}),
    optional=frozenset({"observation_variance"}),
    model=_model,
)
