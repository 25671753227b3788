"""A trained model of many points in a file: what its header and its arrays have to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._model.npz import TYPES, Format, Member, check_parameters, check_shapes, check_types, kernel_in, read_finite
from fastard._vecchia.archive import IN_HEADER, VERSION
from fastard._vecchia.blocks import Blocks
from fastard._vecchia.likelihood import VecchiaLogLikelihood
from fastard._vecchia.model import VecchiaGaussianProcess


def _model(header: dict[str, Any], members: dict[str, Member], threads: int) -> VecchiaGaussianProcess:
    kernel = kernel_in(header)
    check_types(header, {**TYPES, "log_likelihood": (float,), "neighbors": (int,), "block_size": (int,)})
    validate.number("log_likelihood", header["log_likelihood"], least=-np.inf)
    neighbors = validate.count("neighbors", header["neighbors"], least=1)
    block_size = validate.count("block_size", header["block_size"], least=1)
    n, d = members["X"].shape
    m = members["y"].shape[1]
    (n_starts,) = members["starts"].shape
    expected: dict[str, tuple[int, ...]] = {
        "length_scale": (d,),
        "X": (n, d),
        "y": (n, m),
        "y_mean": (m,),
        "slots": (d + 2 + len(kernel),),
        "order": (n,),
        "starts": (n_starts,),
        # The first block may have too few points to be so many neighbours: that is looked at with its size
        "neighbors": (n_starts - 1, members["neighbors"].shape[1]),
    }
    if "observation_variance" in members:
        expected["observation_variance"] = (n,)
    check_shapes(members, expected, {"slots": np.int64, "order": np.int64, "starts": np.int64, "neighbors": np.int32})
    arrays = read_finite(members)
    known = check_parameters(header, arrays)
    blocks = _blocks(arrays, neighbors, block_size)
    likelihood = VecchiaLogLikelihood.of_ordered(
        arrays["X"], arrays["y"], known, kernel=kernel, blocks=blocks, neighbors=neighbors, block_size=block_size,
        n_threads=threads,
    )  # fmt: skip
    return VecchiaGaussianProcess(
        kernel=kernel,
        length_scale=arrays["length_scale"],
        _likelihood=likelihood,
        _y_mean=arrays["y_mean"],
        _slots=arrays["slots"].astype(np.int64),
        **{name: header[name] for name in IN_HEADER},
    )


def _blocks(arrays: dict[str, NDArray[Any]], neighbors: int, block_size: int) -> Blocks:
    """Of which no place is outside: compiled loops go by them without a look."""
    order, starts = arrays["order"].astype(np.int64), arrays["starts"].astype(np.int64)
    near = np.ascontiguousarray(arrays["neighbors"], dtype=np.int32)
    n = order.size
    if order.min() < 0 or order.max() >= n or np.bincount(order, minlength=n).max() > 1:
        raise ValueError("its order is none of the points")
    first, sizes = int(starts[0]), np.diff(starts)
    if first < 1 or starts[-1] != n or (sizes.size and (sizes.min() < 1 or sizes.max() > block_size)):
        raise ValueError("its blocks are not those of the points")
    if near.shape[1] != min(neighbors, first):
        raise ValueError(f"its blocks have {near.shape[1]} neighbours each")
    if sizes.size and (near[:, 0].min() < 0 or (near[:, -1] >= starts[:-1]).any() or (np.diff(near, axis=1) < 1).any()):
        raise ValueError("its neighbours are not points before their block")
    return Blocks(order, first, starts, near)


VECCHIA = Format(
    version=VERSION,
    arrays=frozenset({"length_scale", "X", "y", "y_mean", "slots", "order", "starts", "neighbors"}),
    optional=frozenset({"observation_variance"}),
    model=_model,
)
