"""Products with the derivatives of K, for its Hessian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.loops.hessian import LENGTH_SCALE, NOISE, SHAPE, SIGNAL, times_derivatives
from fastard._engine.loops.pairs import round_up
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import run, threads_for
from fastard._engine.terms import Term, central, scale
from fastard._numba.cpu import COLS, ROWS
from fastard._numba.threads import new_state


class Derivatives:
    """K's derivatives by groups (g, P) of tied parameters, ready to be made where they are needed."""

    def __init__(
        self,
        term: Term,
        X: Array,
        noise_variance: float | Array,
        groups: Array,
        threads: int,
        noise_groups: NDArray[np.int64] | None = None,
    ) -> None:
        d = X.shape[1]
        self.noise_groups = noise_groups
        noises = 1 if isinstance(noise_variance, float) else noise_variance.size
        self.noises: dict[int, int] = {}  # of groups of parameters that are a noise variance, which one
        self.term, self.noise_variance, self.threads = term, noise_variance, threads
        members = [np.flatnonzero(group[:d]) for group in groups]
        others = np.flatnonzero(groups[:, :d].sum(axis=0) == 0.0)
        self.U = scale(X, central(X), np.concatenate([*members, others]), term.length_scale)
        self.starts = np.cumsum([0, *(len(columns) for columns in members)], dtype=np.int64)
        self.kinds = np.full(len(groups), LENGTH_SCALE, dtype=np.int64)
        for b, group in enumerate(groups):
            if members[b].size == 0:
                place = int(np.flatnonzero(group)[0]) - d - 1
                self.kinds[b] = SIGNAL if place < 0 else NOISE if place < noises else SHAPE + place - noises
                if self.kinds[b] == NOISE:
                    self.noises[b] = place

    def times(self, rows: Array) -> Array:
        """out[j, b, i] = sum_k rows[i, k] K_b(k, j) for k, j < K, from rows (h, K); h is rounded up to ROWS, with zeros."""
        count = self.kinds.size
        height, stop = round_up(len(rows), ROWS), rows.shape[1]
        padded = np.zeros((height, stop))
        padded[: len(rows)] = rows
        packed = np.ascontiguousarray(padded.reshape(-1, COLS, stop).transpose(0, 2, 1))
        out = np.zeros((round_up(stop, COLS), count, height))
        noise = self.noise_variance if isinstance(self.noise_variance, float) else 0.0
        run(
            2.0 * height * stop * stop * count, threads_for(stop * stop * count, self.threads), times_derivatives,
            new_state(), *compiled(self.term.kernel), self.term.signal_variance, noise, self.U, self.kinds,
            self.starts, packed, out,
        )  # fmt: skip
        if self.noise_groups is not None and not isinstance(self.noise_variance, float):
            for b, place in self.noises.items():
                variances = np.where(self.noise_groups[:stop] == place, self.noise_variance[place], 0.0)
                out[:stop, b, : len(rows)] = variances[:, np.newaxis] * rows.T
        return out[:stop]
