"""The one n x n buffer of an evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastard._arrays import Array, large_array
from fastard._engine.loops import pairs
from fastard._engine.loops.pairs import round_up
from fastard._engine.loops.schedule import block_rows, space_doubles, state_places
from fastard._engine.sizes import sizes, threads_for
from fastard._numba.cpu import COLS, ROWS
from fastard._numba.threads import new_state, parallel_call

_COPIED = 256  # points up to which a matrix beside the buffer is no matter


class Workspace:
    """The one n x n buffer of an evaluation and O(n) beside it, to be used again; never by two threads at once."""

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m
        self.tile, self.block = sizes(n)
        leading = round_up(n, ROWS)
        if leading % 64 == 0:  # columns 512 bytes apart fall into the same few sets of the first cache
            leading += ROWS
        self.buffer = large_array(round_up(n, COLS), leading, training_points=n)
        self.clear_padding()
        self.rhs = np.zeros((round_up(m, ROWS), round_up(n, ROWS)))
        self.targets = self.rhs[:m, :n].T  # (n, m)
        self.space = np.empty(space_doubles(n, m, self.block))
        rows = block_rows(n, self.block)
        self.pivot = np.empty((rows, rows))
        self.logs = np.empty((1 + m, -(-n // self.block)))
        self.diagonal = np.empty(n)
        self._U = np.empty((0, 0))
        tiles = -(-n // self.tile)
        self.pairs_of_tiles = tiles * (tiles + 1) // 2
        self.places = state_places(n, self.tile, self.block)

    def scaled_points(self, columns: int) -> Array:
        """Room for one term's points, (columns, round_up(n, ROWS)), zeros beyond n."""
        if len(self._U) != columns or self._U.size == 0:
            self._U = np.zeros((columns, round_up(self.n, ROWS)))
        return self._U

    def clear_padding(self) -> None:
        """The zeros beyond n, which an evaluation needs and leaves."""
        self.buffer[self.n :] = 0.0
        self.buffer[: self.n, self.n :] = 0.0

    @property
    def matrix(self) -> Array:
        """(n, n): after an evaluation, K^-1 or L, element (i, j) with i >= j at [j, i]."""
        return self.buffer[: self.n, : self.n]

    def symmetric(self, threads: int) -> Array:
        """``matrix`` with its lower triangle filled from the upper one, in place: K^-1 whole."""
        parallel_call(threads_for(self.n * self.n, threads), pairs.mirror, new_state(), self.buffer, self.n, self.tile)
        return self.matrix

    def release(self) -> Array:
        """``matrix`` made contiguous in its own memory; the workspace is not to be used again."""
        n, leading = self.n, self.buffer.shape[1]
        if n <= _COPIED:
            return self.matrix.copy()
        flat = self.buffer.ravel()
        for j in range(1, n):  # forwards: each row moves to where earlier ones have gone
            flat[j * n : (j + 1) * n] = flat[j * leading : j * leading + n]
        return flat[: n * n].reshape(n, n)


def spare_workspace(spare: list[Workspace], n: int, m: int) -> Workspace:
    """A spare workspace where there is one that fits, or a new one: who takes it owns it, and may append it when done.

    Operations on a list are indivisible, and an interrupt between two loses a buffer where it would leave a lock locked.
    """
    try:
        workspace = spare.pop()
    except IndexError:  # the first evaluation, or another thread has it
        return Workspace(n, m)
    if (workspace.n, workspace.m) == (n, m):
        return workspace
    del workspace  # not two at once
    return Workspace(n, m)


@contextmanager
def borrowed(spare: list[Workspace], n: int, m: int) -> Iterator[Workspace]:
    """A workspace that nobody else has meanwhile, and that is the one spare one afterwards."""
    workspace = spare_workspace(spare, n, m)
    try:
        yield workspace
    finally:
        spare[:] = [workspace]
