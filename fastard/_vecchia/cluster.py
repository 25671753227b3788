"""The blocks on a Dask cluster: hyperparameters go to the workers, sums come back."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.evaluate import Failure
from fastard._engine.neighbors import Metric, Tree, block_neighbors, metric, tree
from fastard._engine.terms import Term
from fastard._engine.vecchia import CHUNK, BlockSums, Conditioned, evaluate_blocks, tree_sum
from fastard._vecchia.blocks import Blocks

_SHARDS = 12  # of each of the cluster's threads, or more: where one is late, the others do not wait for long

_LOSSES = 3  # of the points, in a row, that are made good

_LATEST: dict[str, Any] = {}  # on a worker: the latest search tree, which its next shards need too
_LOCK = threading.Lock()


class Shards:
    """The points on the workers of a cluster, and shards of the blocks, each with its neighbours.

    Every worker has all points, 8 (d + T) bytes each; of the neighbours each has its shards'. A shard is an aligned power of
    two of the chunks that are summed in one order, so that the sums have the same bits on any number of workers, and as
    without a cluster. A worker that is lost takes its shards' neighbours along: Dask finds them again elsewhere. Where it had
    the last copy of the points, they are sent again.

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
        threads = sum(client.nthreads().values())
        chunks = -(-(blocks.starts.size - 1) // CHUNK)
        size = CHUNK * 2 ** max(0, math.floor(math.log2(max(1.0, chunks / (_SHARDS * threads)))))
        self._ranges = [(low, min(low + size, blocks.starts.size - 1)) for low in range(0, blocks.starts.size - 1, size)]
        self._points = np.asarray(X), np.asarray(y), known, blocks.starts
        self._send()
        self.found: _Found | None = None

    def refresh(self, X: Array, length_scale: Array, m: int) -> None:
        """Find the neighbours anew, near in units of the length scales; ``X`` as in the blocks' order."""
        from dask.distributed import wait

        self.found = self._search(metric(X, length_scale), m)
        self._survived(lambda: wait(self._futures))
        self.client.run(_forget_tree)

    def submit(self, term: Term, noise: float, wanted: int) -> Sums:
        """The sums of the shards, under way."""
        request = {"term": term, "noise": noise, "wanted": wanted}
        return Sums(self.client.map(_sums, self._ranges, self._futures, data=self._data, pure=False, **request), request)

    def collect(self, sums: Sums) -> BlockSums | Failure:
        """The sums, a row for each shard; or what is wrong in the first one that is not positive definite."""
        try:
            found = self._survived(
                lambda: self.client.gather(sums.futures), lambda: self.client.gather(self.submit(**sums.request).futures)
            )
        except BaseException:
            self.client.cancel(sums.futures)
            raise
        for each in found:
            if isinstance(each, Failure):
                return each
        return BlockSums(*(np.stack(columns) for columns in zip(*found, strict=True)))

    def gathered_neighbors(self) -> NDArray[np.int32]:
        """Of all blocks, (B, m), here."""
        return np.concatenate(self._survived(lambda: self.client.gather(self._futures)))

    @property
    def _futures(self) -> list[Any]:
        assert self.found is not None, "refresh comes first"
        return self.found.futures

    def _send(self) -> None:
        self._data = self.client.scatter(self._points, broadcast=True, hash=False)

    def _search(self, by: Metric, m: int) -> _Found:
        return _Found(by, m, self.client.map(_neighbors, self._ranges, data=self._data, by=by, m=m, pure=False))

    def _survived(self, action: Callable[[], Any], again: Callable[[], Any] | None = None) -> Any:
        """What an action finds, or it ``again``. Points that went with a worker are sent once more: as soon as no task waits
        for them Dask keeps a single copy, and it cannot make again what it was sent."""
        from dask.distributed import CancelledError

        for _ in range(_LOSSES):
            try:
                return action()
            except CancelledError:
                if self.client.status != "running":
                    raise
            self._send()
            assert self.found is not None
            self.found = self._search(self.found.by, self.found.m)
            action = again or action
        return action()


class _Found(NamedTuple):
    """Neighbours on the workers, and how they are found again."""

    by: Metric
    m: int
    futures: list[Any]  # one for each shard


class Sums(NamedTuple):
    """The shards' sums, under way, and what they are asked for."""

    futures: list[Any]
    request: dict[str, Any]


def _neighbors(where: tuple[int, int], *, data: tuple[Any, ...], by: Metric, m: int) -> NDArray[np.int32]:
    X, _, _, starts = data
    low, high = where
    return block_neighbors(X, by, starts[low:high], starts[low + 1 : high + 1], m, 1, _latest_tree)


def _forget_tree() -> None:
    with _LOCK:
        _LATEST.clear()


def _latest_tree(X: Array, by: Metric, stop: int) -> Tree:
    with _LOCK:
        latest = _LATEST.get("tree")
        same = latest is not None and latest.stop == stop and all(map(np.array_equal, latest.metric, by))
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
