"""The block Vecchia likelihood: the compiled loop over the blocks, and the sum of what its tasks have found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.evaluate import Failure, failure_at
from fastard._engine.loops import vecchia as loops
from fastard._engine.loops.objective import NO_NOISE
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import Watch, run
from fastard._engine.terms import Term, ordered_columns
from fastard._numba.threads import FAILED, NEXT, new_state

LIKELIHOOD, GRADIENT, INFORMATION = loops.LIKELIHOOD, loops.GRADIENT, loops.INFORMATION

CHUNK = 64  # blocks of a task, whose sums are added in one order: part of what the bits depend on

_NOTHING = read_only(np.empty(0))


class Conditioned(NamedTuple):
    """Blocks of consecutive points, each with the points that it is conditioned on."""

    begin: NDArray[np.int64]  # (B,)
    end: NDArray[np.int64]  # (B,), after the last one
    neighbors: NDArray[np.int32]  # (B, m)


class BlockSums(NamedTuple):
    """Sums over blocks, or of several rows of them, each; derivatives in theta's order, 0 where fixed.

    theta is [length_scale ..., signal_variance, noise_variance, shape ...], P logarithms; of tied length scales the sum stands
    at the first. What was not asked for is empty.
    """

    log_likelihood: Array  # (rows,), ln p(y_b | y_c)
    half_log_determinant: Array  # (rows,), of y_b's covariance given y_c
    gradient: Array  # (rows, P)
    information: Array  # (rows, P, P), the average information


def evaluate_blocks(
    term: Term,
    X: Array,
    y: Array,
    known: Array | None,
    noise: float,
    blocks: Conditioned,
    *,
    wanted: int,
    threads: int,
    chunk: int = CHUNK,
    watch: Watch | None = None,
) -> BlockSums | Failure:
    """The sums over each ``chunk`` of the blocks, a row each; or where a block's covariance is not positive definite.

    X is (n, d) and y (n, T), ``known`` (n,); the rows of a failure are theirs. ``watch`` is called now and then with how much
    is done, from 0 to 1; what it raises ends the evaluation.
    """
    columns, free, tied = ordered_columns(term, X.shape[1])
    count, m = blocks.neighbors.shape
    size = free + 2 + len(term.kernel)
    width = loops.DERIVATIVES + (size if wanted >= GRADIENT else 0) + (size * size if wanted >= INFORMATION else 0)
    tasks = -(-count // chunk)
    partial, failures = np.empty((tasks, width)), np.full((tasks, 2), -1)
    state = new_state()
    own = float((blocks.end - blocks.begin).mean()) if count else 0.0
    flops = count * flops_of_block(m + own, own, columns.size, wanted)
    run(
        flops, min(threads, max(1, tasks)), loops.evaluate, state, *compiled(term.kernel), term.signal_variance, noise,
        NO_NOISE * term.signal_variance, read_only(X), read_only(y), _NOTHING if known is None else read_only(known), columns,
        1.0 / term.length_scale[columns], free, tied, read_only(blocks.begin), read_only(blocks.end),
        read_only(blocks.neighbors), chunk, wanted, partial, failures,
        watch=None if watch is None else lambda state: watch(min(1.0, int(state[NEXT]) / tasks)),
    )  # fmt: skip
    if state[FAILED]:
        block, row = failures[np.flatnonzero(failures[:, 0] >= 0)[0]].tolist()
        return _failure(term, X, columns, blocks, block, row)
    return _in_order(partial, columns, free, size, X.shape[1])


def flops_of_block(points: float, own: float, d: int, wanted: int) -> float:
    """Of one block of so many points in all, of which it has so many itself; roughly."""
    before = points - own
    total = points**2 * (1.5 * d + 10.0) + points**3 / 3.0
    if wanted >= GRADIENT:
        total += (before + own) * before * own + own**3 / 3.0 + points**2 * (own + 4.0 + 2.0 * d)
    if wanted >= INFORMATION:
        total += (points**2 + before**2) * (2.0 * (1 + 2 * d) + d + 2)
    return total


def tree_sum(rows: Array) -> Array:
    """The sum of rows by a fixed binary tree: each node is that of an aligned power of two of them, wherever it is added."""
    while len(rows) > 1:
        if len(rows) % 2:
            rows = np.concatenate([rows, np.zeros_like(rows[:1])])
        rows = rows[0::2] + rows[1::2]
    total: Array = rows[0]
    return total


def _in_order(partial: Array, columns: NDArray[np.int64], free: int, size: int, d: int) -> BlockSums:
    """Each row's derivatives in theta's order."""
    rows, width = partial.shape
    start = loops.DERIVATIVES
    places = np.concatenate([columns[:free], np.arange(d, d + size - free)])
    P = d + size - free
    gradient, information = np.zeros((rows if width > start else 0, P)), np.zeros((rows if width > start + size else 0, P, P))
    if gradient.size:
        gradient[:, places] = partial[:, start : start + size]
    if information.size:
        found = partial[:, start + size :].reshape(rows, size, size)
        information[:, places[:, np.newaxis], places] = 0.5 * (found + found.transpose(0, 2, 1))
    return BlockSums(partial[:, loops.VALUE], partial[:, loops.HALF_LOG_DETERMINANT], gradient, information)


def _failure(term: Term, X: Array, columns: NDArray[np.int64], blocks: Conditioned, block: int, row: int) -> Failure:
    """The failure of a block's row, as rows of X."""
    rows = np.concatenate([blocks.neighbors[block].astype(np.int64), np.arange(blocks.begin[block], blocks.end[block])])
    U = ((X[rows] - X[rows[row]])[:, columns] / term.length_scale[columns]).T
    _, nearest, distance = failure_at([U], row)
    return Failure(int(rows[row]), None if nearest is None else int(rows[nearest]), distance)
