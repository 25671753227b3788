"""The blocks on a Dask cluster: hyperparameters go to the workers, sums come back."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.evaluate import Failure
from fastard._engine.neighbors import Metric, Tree, block_neighbors, metric, tree
from fastard._engine.terms import Term
from fastard._engine.vecchia import CHUNK, BlockSums, Conditioned, evaluate_blocks, tree_sum
from fastard._vecchia.blocks import Blocks

_SHARDS = 12  # of each of the cluster's threads, or more: where one is late, the others do not wait for long

_LATEST: dict[str, Any] = {}  # on a worker: the latest search tree, which its next shards need too
_LOCK = threading.Lock()


class Shards:
    """The points on the workers of a cluster, and shards of the blocks, each with its neighbours.

    Every worker has all points, 8 (d + T) bytes each; of the neighbours each has its shards'. A shard is an aligned power of
    two of the chunks that are summed in one order, so that the sums have the same bits on any number of workers, and as
    without a cluster. A worker that is lost takes its shards' neighbours along: Dask finds them again elsewhere.

    Parameters
    ----------
    client : dask.distributed.Client
    X, y, known : (n, d), (n, T), (n,) or None
        In the blocks' order.
    blocks : Blocks
        Without their neighbours.
    """

    def __init__(self, client: Any, X: Array, y: Array, known: Array | None, blocks: Blocks) -> None:
        self.client = client
        threads = max(1, sum(client.nthreads().values()))
        chunks = -(-(blocks.starts.size - 1) // CHUNK)
        size = CHUNK * 2 ** max(0, math.floor(math.log2(max(1.0, chunks / (_SHARDS * threads)))))
        self._ranges = [(low, min(low + size, blocks.starts.size - 1)) for low in range(0, blocks.starts.size - 1, size)]
        self._data = client.scatter((np.asarray(X), np.asarray(y), known, blocks.starts), broadcast=True, hash=False)
        self._neighbors: list[Any] = []

    def refresh(self, X: Array, length_scale: Array, m: int) -> None:
        """Find the neighbours anew, near in units of the length scales; ``X`` as in the blocks' order."""
        by = metric(X, length_scale)
        self._neighbors = self.client.map(_neighbors, self._ranges, data=self._data, by=by, m=m, pure=False)
        from dask.distributed import wait

        wait(self._neighbors)
        self.client.run(_LATEST.clear)

    def submit(self, term: Term, noise: float, wanted: int) -> list[Any]:
        """The sums of the shards, under way."""
        return self.client.map(  # type: ignore[no-any-return]
            _sums, self._ranges, self._neighbors, data=self._data, term=term, noise=noise, wanted=wanted, pure=False
        )

    def collect(self, futures: list[Any]) -> BlockSums | Failure:
        """The sums, a row for each shard; or what is wrong in the first one that is not positive definite."""
        try:
            found = self.client.gather(futures)
        except BaseException:
            self.client.cancel(futures)
            raise
        for sums in found:
            if isinstance(sums, Failure):
                return sums
        return BlockSums(*(np.stack(columns) for columns in zip(*found, strict=True)))

    def gathered_neighbors(self) -> NDArray[np.int32]:
        """Of all blocks, (B, m), here."""
        return np.concatenate(self.client.gather(self._neighbors))


def _neighbors(where: tuple[int, int], *, data: tuple[Any, ...], by: Metric, m: int) -> NDArray[np.int32]:
    X, _, _, starts = data
    low, high = where
    return block_neighbors(X, by, starts[low:high], starts[low + 1 : high + 1], m, 1, _latest_tree)


def _latest_tree(X: Array, by: Metric, stop: int) -> Tree:
    with _LOCK:
        latest = _LATEST.get("tree")
        same = latest is not None and latest.stop == stop and np.array_equal(latest.metric.inverse_scale, by.inverse_scale)
        if not same or _LATEST["of"] is not X:
            _LATEST.clear()
            _LATEST.update({"tree": tree(X, by, stop), "of": X})
        return _LATEST["tree"]  # type: ignore[no-any-return]


def _sums(
    where: tuple[int, int], neighbors: NDArray[np.int32], *, data: tuple[Any, ...], term: Term, noise: float, wanted: int
) -> BlockSums | Failure:
    X, y, known, starts = data
    low, high = where
    blocks = Conditioned(starts[low:high], starts[low + 1 : high + 1], neighbors)
    found = evaluate_blocks(term, X, y, known, noise, blocks, wanted=wanted, threads=1)
    return found if isinstance(found, Failure) else BlockSums(*(tree_sum(rows) if rows.size else rows for rows in found))
