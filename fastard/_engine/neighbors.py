"""Compact cells of points, and the nearest of earlier points: what the likelihood from neighbours is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.loops import cells
from fastard._engine.loops import neighbors as loops
from fastard._engine.sizes import run
from fastard._engine.terms import central
from fastard._numba.microkernel import LEAF
from fastard._numba.threads import new_state

Indices = NDArray[np.int64]

_GROUP = 16  # queries that are searched for together

_FLOPS = 1e5  # of a point's search, very roughly: what decides whether Ctrl-C is answered meanwhile

_NO_BOXES, _NO_NODES = np.empty((0, 0, 2)), np.empty((0, 2), dtype=np.int64)


class Metric(NamedTuple):
    """How points are scaled for the search: (x[columns[k]] - center[k]) * inverse_scale[k], with the same bits everywhere."""

    columns: Indices  # of X, the one with the widest range first; constant ones are left out, all but one
    center: Array
    inverse_scale: Array


class Tree(NamedTuple):
    """Points in cells of LEAF, see `loops.cells`."""

    metric: Metric
    stop: int  # the places below this are in it
    boxes: Array  # (nodes, p, 2)
    nodes: Indices  # (nodes, 2)
    leaves: Array  # (leaves, p, LEAF)
    places: NDArray[np.int32]  # (leaves, LEAF)


def metric(X: Array, length_scale: Array) -> Metric:
    """Of the points X (n, d) in units of the length scales (d,)."""
    inverse_scale = 1.0 / length_scale
    ranges = (X.max(axis=0) - X.min(axis=0)) * inverse_scale
    columns = np.argsort(-ranges, kind="stable")
    columns = columns[: max(1, int(np.count_nonzero(ranges)))]
    center = np.concatenate([np.empty(0), *(central(X[:, k : k + 1]) for k in columns)])  # by columns: no copy of all of X
    return Metric(read_only(columns), read_only(center), read_only(inverse_scale[columns]))


def cell_order(X: Array, by: Metric, rows: Indices, size: int) -> Indices:
    """The ``rows`` of X in such an order that each next ``size`` of them are a compact cell; the last one may be smaller."""
    ordered = np.array(rows, dtype=np.int64)
    cells.split(read_only(X), *by, ordered, size, _NO_BOXES, _NO_NODES)
    return ordered


def tree(X: Array, by: Metric, stop: int) -> Tree:
    """Of the first ``stop`` rows of X."""
    assert 0 < stop < 2**31
    p, leaves = by.columns.size, -(-stop // LEAF)
    rows = np.arange(stop)
    boxes, nodes = np.empty((2 * leaves - 1, p, 2)), np.empty((2 * leaves - 1, 2), dtype=np.int64)
    coordinates, places = np.empty((leaves, p, LEAF)), np.empty((leaves, LEAF), dtype=np.int32)
    cells.split(read_only(X), *by, rows, LEAF, boxes, nodes)
    cells.fill_leaves(read_only(X), *by, rows, coordinates, places)
    return Tree(by, stop, read_only(boxes), read_only(nodes), read_only(coordinates), read_only(places))


def block_neighbors(
    X: Array,
    by: Metric,
    begin: Indices,
    end: Indices,
    m: int,
    threads: int,
    tree_of: Callable[[Array, Metric, int], Tree] = tree,
) -> NDArray[np.int32]:
    """The m neighbours of each of some blocks, (B, m): earlier places in ascending order.

    Block j is the rows begin[j] ... end[j] - 1 of X; at least m rows stand before it. Its neighbours are taken in rounds over
    its members, the nearest earlier point of each, then the second one of each ..., until there are m: so they are among those
    for a larger m. They do not depend on the other blocks that are asked for, nor on the threads.
    ``tree_of``: `tree`, or what remembers the latest one.
    """
    found = np.empty((begin.size, m), dtype=np.int32)
    X, begin, end = read_only(X), read_only(begin), read_only(end)
    by_place = np.argsort(begin, kind="stable")
    starts = begin[by_place]
    assert starts.size == 0 or m <= starts[0]
    j = 0
    while j < starts.size:
        # One tree for all blocks with no more points before them than the next power of two.
        stop = min(len(X), 1 << (int(starts[j]) - 1).bit_length())
        k = int(np.searchsorted(starts, stop, side="right"))
        points, chosen = tree_of(X, by, stop), by_place[j:k]
        where, members = np.empty(k - j, dtype=np.int64), end[chosen] - begin[chosen]
        loops.locate(
            points.boxes, points.nodes, len(points.leaves), X, *by, read_only(begin[chosen]), read_only(end[chosen]), where
        )
        run(
            _FLOPS * float(members.sum()), threads, loops.block_neighbors, new_state(), points.boxes, points.nodes,
            points.leaves, points.places, X, *by, begin, end, read_only(chosen[np.argsort(where, kind="stable")]),
            int(members.max()), found,
        )  # fmt: skip
        del points  # before the next one
        j = k
    return found


def nearest(points: Tree, queries: Array, m: int, threads: int) -> NDArray[np.int32]:
    """The places of the m points nearest to each of the queries (q, d), (q, m), in ascending order."""
    assert 0 < m <= points.stop
    assert np.isfinite(queries).all()
    q = len(queries)
    found = np.empty((q, m), dtype=np.int32)
    where = np.empty(q, dtype=np.int64)
    queries = read_only(queries)
    loops.locate(
        points.boxes,
        points.nodes,
        len(points.leaves),
        queries,
        *points.metric,
        read_only(np.arange(q)),
        read_only(np.arange(1, q + 1)),
        where,
    )
    sequence = np.argsort(where, kind="stable")
    run(
        _FLOPS * q, threads, loops.nearest, new_state(), points.boxes, points.nodes, points.leaves, points.places,
        queries, *points.metric, read_only(sequence), _GROUP, points.stop, found,
    )  # fmt: skip
    return found
