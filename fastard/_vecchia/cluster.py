"""The blocks on a Dask cluster: hyperparameters go to the workers, sums come back."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.evaluate import Failure
from fastard._engine.neighbors import Metric, Tree, block_neighbors, metric, tree
from fastard._engine.terms import Term
from fastard._engine.vecchia import CHUNK, GRADIENT, BlockSums, Conditioned, evaluate_blocks, flops_of_block, tree_sum
from fastard._vecchia.blocks import Blocks

# Of each of the cluster's threads: where one is late for more than a second, the others take of its tasks. Fewer, where a
# task would have less work than this, some 0.1 s of it, because Dask takes some 3 ms of the processors for each.
_MOST_TASKS, _LEAST_FLOPS = 12, 2.5e9
_ROWS = 16  # of sums from each thread, or more: its tasks can be as large as another's

_LOSSES = 3  # of the points, in a row, that are made good

_LATEST: dict[str, Any] = {}  # on a worker: the latest search tree, which its next shards need too
_LOCK = threading.Lock()


class Shards:
    """The points on the workers of a cluster, and shards of the blocks, each with its neighbours.

    Every worker has all points, 8 (d + T) bytes each; of the neighbours each has its shards'. A shard is a task, and makes
    sums of aligned powers of two of the chunks that are summed in one order, so that the sums have the same bits on any number
    of workers, and as without a cluster. A worker that is lost takes its shards' neighbours along: Dask finds them again
    elsewhere. Where it had the last copy of the points, they are sent again.

    Dask drops all copies but one of what no task waits for, and would send the points anew for the next evaluation; so each
    worker's are the result of a task of its own.

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
        self._row, self._ranges = shards(blocks, X.shape[1], max(1, sum(client.nthreads().values())))
        self._points = np.asarray(X), np.asarray(y), known, blocks.starts
        self._own: dict[str, Any]  # by worker
        self._send()
        self.found: _Found | None = None

    def refresh(self, X: Array, length_scale: Array, m: int) -> None:
        """Find the neighbours anew, near in units of the length scales; ``X`` as in the blocks' order."""
        from dask.distributed import wait

        self.found = self._search(metric(X, length_scale), m)
        self._survived(lambda: wait(self._futures))
        self.client.run(_forget_tree)

    def submit(self, term: Term, noise: float, wanted: int) -> Sums:
        """The shards' sums, under way."""
        request = {"term": term, "noise": noise, "wanted": wanted}
        assert self.found is not None, "refresh comes first"
        of_shards = self._ranges, self.found.points, self.found.futures
        return Sums(self.client.map(_sums, *of_shards, row=self._row, pure=False, **request), request)

    def collect(self, sums: Sums) -> BlockSums | Failure:
        """The sums, some rows of each shard; or what is wrong in the first one that is not positive definite."""
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
        return BlockSums(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def gathered_neighbors(self) -> NDArray[np.int32]:
        """Of all blocks, (B, m), here."""
        return np.concatenate(self._survived(lambda: self.client.gather(self._futures)))

    @property
    def _futures(self) -> list[Any]:
        assert self.found is not None, "refresh comes first"
        return self.found.futures

    def _send(self) -> None:
        self._data, self._own = self.client.scatter(self._points, broadcast=True, hash=False), {}

    def _search(self, by: Metric, m: int) -> _Found:
        submit = partial(self.client.submit, pure=False, allow_other_workers=True)
        threads = [address for address, count in self.client.nthreads().items() for _ in range(count)]
        # To each thread as many, where it is still there; evaluations then take place where the neighbours are.
        workers = [threads[i * len(threads) // len(self._ranges)] for i in range(len(self._ranges))]
        self._own = {each: self._own.get(each) or submit(_points, self._data, workers=each) for each in set(workers)}
        points = [self._own[each] for each in workers]
        futures = [
            submit(_neighbors, *each, by=by, m=m, workers=worker)
            for *each, worker in zip(self._ranges, points, workers, strict=True)
        ]
        return _Found(by, m, points, futures)

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
    points: list[Any]  # for each shard, those of its worker
    futures: list[Any]  # one for each shard


class Sums(NamedTuple):
    """The shards' sums, under way, and what they are asked for."""

    futures: list[Any]
    request: dict[str, Any]


def shards(blocks: Blocks, d: int, threads: int) -> tuple[int, list[tuple[int, int]]]:
    """Of how many blocks a row of the sums is, and the shards, from which block to which, for a cluster of so many threads."""
    count, m = blocks.starts.size - 1, blocks.neighbors.shape[1]
    row = int(CHUNK * 2 ** max(0, math.floor(math.log2(max(1.0, count / (CHUNK * _ROWS * threads))))))
    rows = -(-count // row)
    own = float(blocks.starts[-1] - blocks.starts[0]) / count
    work = count * flops_of_block(m + own, own, d, GRADIENT)
    tasks = min(rows, threads * min(_MOST_TASKS, max(1, round(work / (threads * _LEAST_FLOPS)))))
    edges = [min(count, row * (rows * i // tasks)) for i in range(tasks)] + [count]
    return row, list(itertools.pairwise(edges))


def _points(data: tuple[Any, ...]) -> tuple[Any, ...]:
    return data


def _neighbors(where: tuple[int, int], data: tuple[Any, ...], *, by: Metric, m: int) -> NDArray[np.int32]:
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
    where: tuple[int, int],
    data: tuple[Any, ...],
    neighbors: NDArray[np.int32],
    *,
    term: Term,
    noise: float,
    wanted: int,
    row: int,
) -> BlockSums | Failure:
    X, y, known, starts = data
    low, high = where
    blocks = Conditioned(starts[low:high], starts[low + 1 : high + 1], neighbors)
    found = evaluate_blocks(term, X, y, known, noise, blocks, wanted=wanted, threads=1)
    if isinstance(found, Failure):
        return found
    chunks = row // CHUNK
    return BlockSums(*(_sums_of(each, chunks) if each.size else each for each in found))


def _sums_of(rows: Array, size: int) -> Array:
    """The sum of each ``size`` rows."""
    return np.stack([tree_sum(rows[i : i + size]) for i in range(0, len(rows), size)])
