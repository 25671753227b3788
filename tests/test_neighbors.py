"""Blocks and their neighbours: what they are by definition, found by comparing all pairs."""

import itertools

import numpy as np
import pytest
from conftest import data
from scipy.spatial import cKDTree

from fastard._engine.neighbors import metric, nearest, tree
from fastard._vecchia.blocks import make_blocks


def in_rounds(lists, m):
    """The first m different entries of ``lists`` (members, rounds), taken column by column; ascending."""
    chosen = dict.fromkeys(np.asarray(lists).T.ravel().tolist())
    return sorted(list(chosen)[:m])


def squared_distances(X, Z, length_scale):
    return (((X[:, None, :] - Z[None, :, :]) / length_scale) ** 2).sum(axis=-1)


def by_comparing_all(X, length_scale, starts, m):
    """Neighbours of every block; equal distances by the place."""
    found = []
    for start, stop in itertools.pairwise(starts):
        away = squared_distances(X[start:stop], X[:start], length_scale)
        found.append(in_rounds(np.argsort(away, axis=1, kind="stable")[:, :m], m))
    return np.array(found, dtype=np.int32).reshape(-1, m)


def blocks_of(X, length_scale, m, size, *, first=64, threads=1, seed=0):
    """The blocks, and X in their order."""
    blocks = make_blocks(X, np.array(length_scale, dtype=float), m, size, np.random.default_rng(seed), threads, first=first)
    return blocks, X[blocks.order]


def clusters(n, d):
    rng = np.random.default_rng(5)
    return 100.0 * rng.standard_normal((3, d))[rng.integers(0, 3, n)] + 1e-6 * rng.standard_normal((n, d))


@pytest.mark.parametrize(
    ("n", "d", "m", "size"), [(700, 2, 30, 8), (900, 5, 64, 16), (400, 10, 20, 1), (600, 1, 10, 50), (300, 200, 40, 32)]
)
def test_blocks_are_what_they_are_defined_to_be(n, d, m, size):
    X, _ = data(n, d)
    length_scale = np.linspace(0.5, 3.0, d)
    blocks, ordered = blocks_of(X, length_scale, m, size)
    assert sorted(blocks.order) == list(range(n))
    assert blocks.starts[0] == blocks.first == 64
    assert blocks.starts[-1] == n
    sizes = np.diff(blocks.starts)
    assert sizes.min() > 0
    assert sizes.max() == size
    assert np.all(blocks.neighbors < blocks.starts[:-1, None])
    assert np.all(np.diff(blocks.neighbors, axis=1) > 0)
    np.testing.assert_array_equal(blocks.neighbors, by_comparing_all(ordered, length_scale, blocks.starts, m))


@pytest.mark.parametrize("d", [2, 7])
def test_a_tree_of_scipy_finds_the_same(d):
    X, _ = data(1500, d, seed=1)
    blocks, ordered = blocks_of(X, np.ones(d), 40, 16)
    for j in (0, 20, len(blocks.neighbors) - 1):
        start, stop = blocks.starts[j : j + 2]
        _, lists = cKDTree(ordered[:start]).query(ordered[start:stop], k=40)
        assert blocks.neighbors[j].tolist() == in_rounds(lists, 40)


DEGENERATE = {
    "duplicates": lambda: np.repeat(data(40, 3)[0], 20, axis=0),
    "all equal": lambda: np.ones((500, 2)),
    "no range in one column": lambda: np.column_stack([data(500, 2)[0], np.full(500, 7.0)]),
    "lattice": lambda: np.stack(np.meshgrid(*[np.arange(9.0)] * 3), axis=-1).reshape(-1, 3),
    "clusters": lambda: clusters(500, 4),
    "far from the origin": lambda: 1e8 + np.round(data(500, 3)[0], 2),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_data(name):
    X = DEGENERATE[name]()
    blocks, ordered = blocks_of(X, np.ones(X.shape[1]), 30, 8)
    np.testing.assert_array_equal(blocks.neighbors, by_comparing_all(ordered, 1.0, blocks.starts, 30))


@pytest.mark.parametrize("n", [1, 2, 64, 65, 66, 128, 129])
def test_few_points(n):
    X, _ = data(n, 2)
    blocks, ordered = blocks_of(X, [1.0, 2.0], 5, 4)
    assert blocks.first == min(n, 64)
    assert sorted(blocks.order) == list(range(n))
    assert blocks.neighbors.shape == (blocks.starts.size - 1, min(n, 5))
    np.testing.assert_array_equal(blocks.neighbors, by_comparing_all(ordered, [1.0, 2.0], blocks.starts, min(n, 5)))


def test_the_first_block_has_all_the_neighbors_that_are_wanted():
    X, _ = data(200, 2)
    blocks, _ = blocks_of(X, [1.0, 1.0], 150, 8)
    assert blocks.first == 150
    assert blocks.neighbors[0].tolist() == list(range(150))


def test_threads_and_shards_give_the_same():
    X, _ = data(3000, 4)
    length_scale = np.array([0.3, 1.0, 2.0, 5.0])
    (one, ordered), (two, _) = (blocks_of(X, length_scale, 30, 16, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.order, two.order)
    np.testing.assert_array_equal(one.neighbors, two.neighbors)
    count = len(one.neighbors)
    parts = [0, 1, 7, 50, count - 1, count]
    shards = [one.neighbors_of(np.arange(a, b), 30, ordered, length_scale, 2) for a, b in itertools.pairwise(parts)]
    np.testing.assert_array_equal(np.concatenate(shards), one.neighbors)


def test_some_blocks_in_any_order_and_more_neighbors():
    X, _ = data(900, 3)
    blocks, ordered = blocks_of(X, np.ones(3), 20, 16)
    which = np.array([40, 3, 17, 52])
    np.testing.assert_array_equal(blocks.neighbors_of(which, 20, ordered, np.ones(3), 1), blocks.neighbors[which])
    more = blocks.neighbors_of(which, 64, ordered, np.ones(3), 1)
    np.testing.assert_array_equal(more, by_comparing_all(ordered, 1.0, blocks.starts, 64)[which])
    for few, many in zip(blocks.neighbors[which], more, strict=True):
        assert set(few) <= set(many)


def test_order_is_the_generators():
    X, _ = data(300, 2)
    orders = [blocks_of(X, [1.0, 1.0], 5, 4, seed=seed)[0].order for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert np.any(orders[0] != orders[2])


def test_blocks_are_compact():
    """In two dimensions a block of 16 among 1000 spans a small part of the range; of an input that does nothing, all of it."""
    X = np.random.default_rng(3).uniform(size=(4000, 3))
    blocks, ordered = blocks_of(X, [1.0, 1.0, 1e6], 10, 16)
    spans = np.array([np.ptp(ordered[a:b], axis=0) for a, b in zip(blocks.starts[-100:-1], blocks.starts[-99:], strict=True)])
    assert np.all(np.median(spans, axis=0)[:2] < 0.25)
    assert np.median(spans, axis=0)[2] > 0.7


def test_refresh_keeps_the_order():
    X, _ = data(600, 2)
    blocks, ordered = blocks_of(X, [1.0, 1.0], 20, 8)
    other = blocks.refreshed(ordered, np.array([0.1, 10.0]), 1)
    assert other.order is blocks.order
    assert other.starts is blocks.starts
    np.testing.assert_array_equal(other.neighbors, by_comparing_all(ordered, [0.1, 10.0], blocks.starts, 20))


@pytest.mark.parametrize("m", [1, 33, 500])
def test_nearest_training_points(m):
    X, _ = data(500, 3)
    queries = np.concatenate([data(70, 3, seed=9)[0], X[:5], 1e6 * np.ones((1, 3))])
    length_scale = np.array([0.5, 1.0, 3.0])
    points = tree(X, metric(X, length_scale), len(X))
    found = nearest(points, queries, m, 2)
    expected = np.sort(np.argsort(squared_distances(queries, X, length_scale), axis=1, kind="stable")[:, :m], axis=1)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(nearest(points, queries[40:41], m, 1), expected[40:41])
