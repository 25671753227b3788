"""The gradient of the leave-one-out density."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.loops import loo
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import Watch, evaluation_threads, run
from fastard._engine.terms import Term, TermGradient, scaled, term_gradient
from fastard._engine.workspace import Workspace
from fastard._numba.threads import NEXT, new_state


def _contract(
    term: Term,
    X: Array,
    center: Array,
    workspace: Workspace,
    alpha: Array,
    b: Array,
    e: Array,
    threads: int,
    watch: Watch | None,
) -> tuple[TermGradient, Array]:
    """<W, dK> and W's diagonal (n,) for the W with dL = <W, dK>: the lower triangle of Q, its diagonal halved.

    It uses the inverse up.
    """
    n, m = alpha.shape
    tile, points = workspace.tile, scaled(term, X, center)
    partial, diagonal = np.empty((workspace.pairs_of_tiles, points.free + 1 + len(term.kernel))), np.empty(n)

    def watch_tiles(state: NDArray[np.int64]) -> None:
        """Mirroring and packing, which come first, cost next to nothing."""
        assert watch is not None
        pairs = workspace.pairs_of_tiles
        contracted = int(state[NEXT]) - pairs - -(-n // loo.DEPTH)
        watch(0.5 + 0.5 * min(1.0, max(0.0, contracted / pairs)))

    try:
        run(
            float(n) ** 3, evaluation_threads(n, threads), loo.contract, new_state(loo.STATE_PLACES), *compiled(term.kernel),
            term.signal_variance, points.U, points.free, points.tied, workspace.buffer, n, tile, np.ascontiguousarray(alpha.T),
            np.ascontiguousarray(alpha.T / b), np.sqrt(e), np.empty((m, n)), partial, diagonal,
            watch=None if watch is None else watch_tiles,
        )  # fmt: skip
    finally:
        workspace.clear_padding()
    return term_gradient(term, points, partial.sum(axis=0), X.shape[1]), diagonal
