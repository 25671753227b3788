"""A trained exact model in a file: what its header and its arrays have to be."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import read_only
from fastard._model.archive import _ARRAYS, _IN_HEADER, _VERSION_WITH_MEAN, OF_MEAN
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.npz import TYPES, Format, Member, check_parameters, check_shapes, check_types, kernel_in, read_finite
from fastard._model.trend import KINDS, Trend, functions_of
from fastard._parameters import kinds_of

# What training keeps of the arguments of `fit`, for the next one.
_SETTINGS = {f"{kind}_bounds" for kind in kinds_of(0)}
_SETTINGS |= {"length_scale_groups", "objective", "standardize", "mean", "mean_estimation"}

# What the first files lack.
_LATER: dict[str, Any] = {"target_names": None, "search_values": [], "settings": {}, "mean": None}

# What an exact model has in the header besides.
_TYPES: dict[str, tuple[type, ...]] = {
    "log_marginal_likelihood": (float,),
    "search_values": (list,),
    "settings": (dict,),
    "mean": (str, type(None)),
}


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
    if header["mean"] is not None:
        p = members["mean_transform"].shape[-1]
        of_mean = {"center": (d,), "scale": (d,), "transform": (p, p), "coefficients": (p, m), "factor": (p, p)}
        expected |= {f"mean_{name}": shape for name, shape in of_mean.items()}
        expected |= {"mean_basis": (n, p), "mean_solved": (n, p)}
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    check_shapes(members, expected, {"slots": np.int64})
    check_types(header, {**TYPES, **_TYPES})
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
        _trend=_trend(header, arrays),
        **{name: header[name.lstrip("_")] for name in _IN_HEADER},
    )


def _trend(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Trend | None:
    """The mean, where it has basis functions."""
    kind = header["mean"]
    if kind is None:
        return None
    d, p = arrays["X"].shape[1], len(arrays["mean_factor"])
    if kind not in KINDS or header["settings"].get("mean") != kind or functions_of(kind, d) not in (None, p):
        raise ValueError(f"its mean is {reprlib.repr(kind)}")
    if not (arrays["mean_factor"].diagonal() > 0.0).all() or not (arrays["mean_scale"] > 0.0).all():
        raise ValueError("its mean is that of no training")
    of_trend = {name: arrays[f"mean_{name}"] for name in OF_MEAN}
    return Trend(kind=kind, function=None, **of_trend | {"basis": read_only(of_trend["basis"])})


EXACT = Format(
    version=_VERSION_WITH_MEAN,
    arrays=frozenset({"factor", *(name.lstrip("_") for name in _ARRAYS)}),
    optional=frozenset({"observation_variance", *(f"mean_{name}" for name in OF_MEAN)}),
    model=_model,
)
