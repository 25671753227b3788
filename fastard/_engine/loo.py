"""The leave-one-out density and its gradient, from K^-1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.loops import loo
from fastard._engine.loops.loo import LeftOut
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import Watch, evaluation_threads, run
from fastard._engine.terms import Term, TermGradient, scaled, term_gradient
from fastard._engine.workspace import Workspace
from fastard._numba.threads import NEXT, new_state


def log_density(workspace: Workspace, alpha: Array) -> tuple[float, LeftOut]:
    """Of the matrix that an evaluation left, K^-1 or P, and alpha (n, m)."""
    left_out = loo.left_out(*alpha.shape)
    left_out.precision[:] = workspace.matrix.diagonal()
    left_out.alpha[:] = alpha.T
    value = loo.density(left_out.precision, left_out.alpha, left_out.ratios, left_out.factors)
    return float(value), left_out


def contract(
    term: Term,
    X: Array,
    center: Array,
    workspace: Workspace,
    left_out: LeftOut,
    threads: int,
    watch: Watch | None,
) -> tuple[TermGradient, Array]:
    """<W, dK> and W's diagonal (n,) for the W with dL = <W, dK>: the lower triangle of Q, its diagonal halved.

    It uses the inverse up.
    """
    n = len(X)
    points = scaled(term, X, center)
    partial, diagonal = np.empty((workspace.pairs_of_tiles, points.free + 1 + len(term.kernel))), np.empty(n)
    try:
        run(
            float(n) ** 3, evaluation_threads(n, threads), loo.contract, new_state(loo.STATE_PLACES), *compiled(term.kernel),
            term.signal_variance, points.U, points.free, points.tied, workspace.buffer, n, workspace.tile, left_out.alpha,
            left_out.ratios, left_out.factors, left_out.moved, partial, diagonal,
            watch=None if watch is None else watching_tiles(watch, workspace),
        )  # fmt: skip
    finally:
        loo.clear_padding(workspace.buffer, n)
    return term_gradient(term, points, partial.sum(axis=0), X.shape[1]), diagonal


def watching_tiles(watch: Watch, workspace: Workspace) -> Callable[[NDArray[np.int64]], None]:
    """Tells ``watch`` how far the second half has come; mirroring and packing, which come first, cost next to nothing."""
    tiles = workspace.pairs_of_tiles
    before = tiles - (-workspace.n // loo.DEPTH)  # mirrored tiles and packed strips

    def look(state: NDArray[np.int64]) -> None:
        watch(0.5 + 0.5 * min(1.0, max(0.0, (int(state[NEXT]) - before) / tiles)))

    return look
