"""Which points are a block, and which are its neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array

_FIRST = 512  # points of the exact block


class Blocks(NamedTuple):
    """Points in an order, in which each block comes after the points that it is conditioned on."""

    order: NDArray[np.int64]  # (n,), the row of X at each place
    first: int  # so many places are one exact block
    starts: NDArray[np.int64]  # (B + 1,), block j is the places starts[j] ... starts[j + 1] - 1
    neighbors: NDArray[np.int32]  # (B, m), places before the block's first, ascending


def make_blocks(points: Array, length_scale: Array, neighbors: int, block_size: int, rng: Any, threads: int) -> Blocks:
    """By brute force."""
    n = len(points)
    first = min(n, max(_FIRST, neighbors))
    order = rng.permutation(n).astype(np.int64)
    U = (points / length_scale)[order]
    rest = first + np.lexsort(U[first:].T) if n > first else np.empty(0, dtype=np.int64)
    order[first:] = order[rest]
    U = (points / length_scale)[order]
    starts = np.append(np.arange(first, n, block_size), n).astype(np.int64)
    chosen = np.empty((starts.size - 1, min(neighbors, first)), dtype=np.int32)
    for j, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        squares = ((U[:start] - U[start:stop].mean(axis=0)) ** 2).sum(axis=1)
        chosen[j] = np.sort(np.argsort(squares, kind="stable")[: chosen.shape[1]])
    return Blocks(order, first, starts, chosen)
