"""A trained exact model in a file: what its header and its arrays have to be."""

from __future__ import annotations

import math
import reprlib
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._model.additive import AdditiveGaussianProcess
from fastard._model.archive import _ARRAYS, _IN_HEADER, _VERSION, OF_MEAN
from fastard._model.encoding import Encoding
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.noise_groups import NoiseGroups
from fastard._model.npz import (
    TYPES,
    Format,
    Member,
    check_parameters,
    check_shapes,
    check_types,
    kernel_in,
    kernel_of,
    read_finite,
)
from fastard._model.polynomial import polynomial
from fastard._model.trend import KINDS, Trend
from fastard._objectives.terms import Sum, Term, encoded_columns
from fastard._parameters import kinds_of

# What training keeps of the arguments of `fit`, for the next one.
_SETTINGS = {f"{kind}_bounds" for kind in kinds_of(0)}
_SETTINGS |= {"length_scale_groups", "objective", "standardize", "mean", "mean_estimation", "output_variances"}

_LEVELS = (str, bool, int, float)  # of a category

# What the first files lack.
_LATER: dict[str, Any] = {"target_names": None, "search_values": [], "settings": {}}
_LATER |= {"mean": None, "encoding": None, "noise_groups": None, "terms": None, "term_settings": {}}

# What an exact model has in the header besides.
_TYPES: dict[str, tuple[type, ...]] = {
    "log_marginal_likelihood": (float,),
    "search_values": (list,),
    "settings": (dict,),
    "mean": (str, type(None)),
}


def _model(header: dict[str, Any], members: dict[str, Member], threads: int) -> GaussianProcess:
    header = _LATER | header
    encoding = _encoding(header["encoding"])
    labels, variances = _noise_groups(header["noise_groups"])
    n, width = members["X"].shape
    d = width if encoding is None else len(encoding.kinds)
    m = members["y"].shape[1]
    terms = _terms(header["terms"], header["term_settings"], d, encoding)
    kernel = kernel_in(header) if terms is None else terms.kernel
    scales, encoded_scales, signals = (d, width, 1) if terms is None else terms.sizes
    expected: dict[str, tuple[int, ...]] = {
        "length_scale": (scales,),
        "X": (n, width),
        "y": (n, m),
        "y_mean": (m,),
        "alpha": (n, m),
        "slots": (encoded_scales + signals + (len(labels) or 1) + len(kernel),),
        "factor": (n * (n + 1) // 2,),
    }
    if header["mean"] is not None:
        p = members["mean_transform"].shape[-1]
        of_mean = {"center": (width,), "scale": (width,), "transform": (p, p), "coefficients": (p, m), "factor": (p, p)}
        expected |= {f"mean_{name}": shape for name, shape in of_mean.items()}
        expected |= {"mean_basis": (n, p), "mean_solved": (n, p)}
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    if terms is not None:
        expected["signal_variances"] = (signals,)
    if labels:
        expected["noise_group_of_row"] = (n,)
    own_variances = "output_variance" in members
    if own_variances:
        expected["output_variance"] = (m,)
    if encoding is not None and encoding.of_column.size != width:
        raise ValueError(f"its X has {width} columns, and its encoding {encoding.of_column.size}")
    check_shapes(members, expected, {"slots": np.int64, "noise_group_of_row": np.int64})
    check_types(header, {**TYPES, **_TYPES})
    validate.number("log_marginal_likelihood", header["log_marginal_likelihood"], least=-np.inf)
    arrays = read_finite(members, "factor")
    of_sum: dict[str, Any] = {}
    if terms is None:
        known = check_parameters(header, arrays, None if encoding is None else encoding.of_column)
    else:
        known = check_parameters(header, arrays, terms.of_scales, terms.kernel.all_columns, d)
        for variance in arrays["signal_variances"].tolist():
            validate.number("signal_variances", variance)
        of_sum = {"signal_variances": arrays["signal_variances"], "_columns": terms.columns}
        of_sum["_term_settings"] = header["term_settings"]
    if not all(type(value) is float for value in header["search_values"]):
        raise ValueError(f"its search_values are {reprlib.repr(header['search_values'])}")
    if not header["settings"].keys() <= _SETTINGS:
        raise ValueError(f"its settings are {reprlib.repr(header['settings'])}")
    groups = None
    if labels:
        of_row = arrays["noise_group_of_row"].astype(np.int64)
        if of_row.min() < 0 or of_row.max() >= len(labels):
            raise ValueError("its noise_group_of_row are the numbers of no groups")
        groups = NoiseGroups(labels, variances, of_row)
    of_outputs = _of_outputs(header, arrays["output_variance"]) if own_variances else {}
    factor = members["factor"].read_factor(n)
    return (GaussianProcess if terms is None else AdditiveGaussianProcess)(
        kernel=kernel,
        length_scale=arrays["length_scale"],
        n_threads=threads,
        _encoding=encoding,
        _noise_groups=groups,
        _X=read_only(arrays["X"]),
        _y=read_only(arrays["y"]),
        _y_mean=arrays["y_mean"],
        _observation_variance=known,
        _slots=arrays["slots"].astype(np.int64),
        _alpha=arrays["alpha"],
        _factor=factor,
        _trend=_trend(header, arrays, encoding),
        _noise_ratio=header["noise_variance"] if own_variances else None,
        **{name: header[name.lstrip("_")] for name in _IN_HEADER} | of_outputs,
        **of_sum,
    )


class _Terms(NamedTuple):
    """Of a sum: its kernel, the columns of each term, and of each encoded one the length scale."""

    kernel: Sum
    columns: list[list[int]]
    of_scales: NDArray[np.int64]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of length scales, of encoded columns that they are of, and of terms."""
        return sum(map(len, self.columns)), self.of_scales.size, len(self.columns)


def _terms(rows: Any, settings: Any, d: int, encoding: Encoding | None) -> _Terms | None:
    """From what the header says of each term: its name, kernel, shape parameters, and columns of d."""
    if rows is None:
        return None
    names, kernels, columns = [], [], []
    for name, kernel, shape, own in rows:
        if type(name) is not str or not own or not all(type(i) is int and 0 <= i < d for i in own) or len(set(own)) < len(own):
            raise ValueError(f"its terms are {reprlib.repr(rows)}")
        names.append(name)
        kernels.append(kernel_of(kernel, shape))
        columns.append(own)
    known = {field.name for field in fields(Term)}
    if not names or len(set(names)) < len(names) or list(settings) != names:
        raise ValueError(f"its terms are {reprlib.repr(rows)}")
    if not all(type(one) is dict and one.keys() <= known for one in settings.values()):
        raise ValueError(f"its term_settings are {reprlib.repr(settings)}")
    of_column = np.arange(d) if encoding is None else encoding.of_column
    encoded, of_which = zip(*(encoded_columns(own, of_column) for own in columns), strict=True)
    starts = np.cumsum([0, *map(len, columns[:-1])])
    of_scales = [start + which for start, which in zip(starts, of_which, strict=True)]
    return _Terms(Sum(names, kernels, encoded), columns, np.concatenate(of_scales))


def _trend(header: dict[str, Any], arrays: dict[str, NDArray[Any]], encoding: Encoding | None) -> Trend | None:
    """The mean, where it has basis functions."""
    kind = header["mean"]
    if kind is None:
        return None
    of_inputs = polynomial(kind, arrays["X"].shape[1], encoding)
    is_known = kind in KINDS and (of_inputs is None or of_inputs.size == len(arrays["mean_factor"]))
    if not is_known or header["settings"].get("mean") != kind:
        raise ValueError(f"its mean is {reprlib.repr(kind)}")
    if not (arrays["mean_factor"].diagonal() > 0.0).all() or not (arrays["mean_scale"] > 0.0).all():
        raise ValueError("its mean is that of no training")
    of_trend = {name: arrays[f"mean_{name}"] for name in OF_MEAN}
    return Trend(kind=kind, polynomial=of_inputs, function=None, **of_trend | {"basis": read_only(of_trend["basis"])})


def _of_outputs(header: dict[str, Any], variances: Array) -> dict[str, Array]:
    """Each output's, of which the header has the noise's ratio to the signal's."""
    if header["signal_variance"] != 1.0 or header["settings"].get("output_variances") != "own" or not (variances > 0.0).all():
        raise ValueError("its output_variance is that of no training")
    return {"signal_variance": variances, "noise_variance": header["noise_variance"] * variances}


def _encoding(kinds: Any) -> Encoding | None:
    """From what the header says of each column: null, a period, or a list of levels."""
    if kinds is None:
        return None
    found = [tuple(kind) if type(kind) is list else kind for kind in kinds]
    for kind in found:
        is_period = type(kind) is float and 0.0 < kind < math.inf
        if not (kind is None or is_period or (type(kind) is tuple and _are_labels(kind))):
            raise ValueError(f"its encoding is {reprlib.repr(kinds)}")
    return Encoding(tuple(found))


def _noise_groups(pair: Any) -> tuple[tuple[Any, ...], Array]:
    """Labels and variances, from what the header says of them: null or a pair of lists."""
    if pair is None:
        return (), np.empty(0)
    labels, variances = pair
    if not (_are_labels(labels) and all(type(x) is float and 0.0 <= x < math.inf for x in variances)):
        raise ValueError(f"its noise_groups are {reprlib.repr(pair)}")
    return tuple(labels), np.array(variances).reshape(len(labels))


def _are_labels(values: Any) -> bool:
    return len(values) > 0 and all(type(x) in _LEVELS for x in values) and len(values) == len(set(values))


EXACT = Format(
    version=_VERSION,
    arrays=frozenset({"factor", *(name.lstrip("_") for name in _ARRAYS)}),
    optional=frozenset(
        {
            "observation_variance",
            "output_variance",
            "noise_group_of_row",
            "signal_variances",
            *(f"mean_{name}" for name in OF_MEAN),
        }
    ),
    model=_model,
)
