"""In which order the points come, which of them are a block, and which earlier ones are its neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.neighbors import Indices, block_neighbors, cell_order, metric

_FIRST = 1024  # points of the exact block: the only one that sees structure of the longest range


class Blocks(NamedTuple):
    """Points in an order, in which each block comes after the points that it is conditioned on. A place is a row there."""

    order: Indices  # (n,), the row of X at each place
    first: int  # so many places are one exact block
    starts: Indices  # (B + 1,), block j is the places starts[j] ... starts[j + 1] - 1; starts[0] = first, starts[-1] = n
    neighbors: NDArray[np.int32]  # (B, m), places before the block's first, ascending

    def refreshed(self, points: Array, length_scale: Array, threads: int) -> Blocks:
        """The same order and blocks, with neighbours that are near in units of other length scales; ``points`` as ordered."""
        everything, m = np.arange(self.starts.size - 1), self.neighbors.shape[1]
        return self._replace(neighbors=self.neighbors_of(everything, m, points, length_scale, threads))

    def neighbors_of(self, which: Indices, m: int, points: Array, length_scale: Array, threads: int) -> NDArray[np.int32]:
        """So many neighbours of the blocks ``which`` (R,) alone, (R, m); there are to be as many places before each.

        Fewer neighbours, in units of the same length scales, are among them.
        """
        by = metric(points, length_scale)
        return block_neighbors(points, by, self.starts[:-1][which], self.starts[1:][which], m, threads)


def make_blocks(
    points: Array,
    length_scale: Array,
    neighbors: int,
    block_size: int,
    rng: np.random.Generator,
    threads: int,
    *,
    first: int = _FIRST,
) -> Blocks:
    """Blocks of `ordered_blocks`, with their neighbours: the nearest earlier point of each of the block's points, then the
    second nearest of each, and so on, until there are enough.
    """
    blocks = ordered_blocks(points, length_scale, neighbors, block_size, rng, first=first)
    return blocks.refreshed(points[blocks.order], length_scale, threads)


def ordered_blocks(
    points: Array, length_scale: Array, neighbors: int, block_size: int, rng: np.random.Generator, *, first: int = _FIRST
) -> Blocks:
    """Blocks of at most ``block_size`` of the points (n, d), near each other in units of the length scales (d,), that have yet
    to find their neighbours; the exact block has ``first`` points, or as many as there are to be neighbours.

    The order is one of levels: a random sample, a second one of the same size, a third one as large as both, and so on. Within
    a level, points near each other are a block, by medians along the widest side, and the blocks come in random order. So a
    block has near points before it whatever its level. Random orders and such blocks lose the least (Guinness, Permutation and
    grouping methods for sharpening Gaussian process approximations, Technometrics 60 (2018), 415-429).
    """
    n = len(points)
    first = min(n, max(first, neighbors))
    if n > first:
        validate.some_columns(points)
    by = metric(points, length_scale)
    order = rng.permutation(n)
    starts, stop = [np.array([first])], first
    while stop < n:
        level = slice(stop, min(n, 2 * stop))
        order[level], sizes = _shuffled(cell_order(points, by, order[level], block_size), block_size, rng)
        starts.append(stop + np.cumsum(sizes))
        stop = level.stop
    none = np.empty((0, min(neighbors, first)), dtype=np.int32)
    return Blocks(order, first, np.concatenate(starts), none)


def _shuffled(rows: Indices, size: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """The cells, ``size`` rows each but the last, in random order: their rows, and how many each has."""
    cells = rng.permutation(-(-rows.size // size))
    sizes = np.minimum(size, rows.size - size * cells)
    within = np.arange(rows.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows[np.repeat(size * cells, sizes) + within], sizes
