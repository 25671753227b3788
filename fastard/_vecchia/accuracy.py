"""How much is lost: the Vecchia likelihood beside that of blocks with many more neighbours, and predictions held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.neighbors import block_neighbors, metric
from fastard._engine.vecchia import GRADIENT, BlockSums
from fastard._vecchia.likelihood import VecchiaLogLikelihood

TIMES = (4, 16)  # as many neighbours

_RUNS = 10  # places in the order from which blocks are taken: each needs a search tree of its own

# From rows of X and a number of neighbours to the mean and standard deviation of their targets, from the others.
LeftOut = Callable[["NDArray[np.int64]", int], tuple[Array, Array]]


class HeldOut(NamedTuple):
    """Predictions of a sample of the training points, each from its nearest others.

    Attributes
    ----------
    n : int
        Points in the sample.
    neighbors : tuple of 2 ints
        That each was predicted from: as many as ``predict`` takes by default, and four times that.
    rmse : ndarray, shape (2,)
        Root mean square errors, in units of y.
    log_density : ndarray, shape (2,)
        Mean log predictive density, noise included, in nats a point.
    coverage : ndarray, shape (2,)
        Share of the targets within their central 95 % interval.
    """

    n: int
    neighbors: tuple[int, int]
    rmse: Array
    log_density: Array
    coverage: Array


class Accuracy(NamedTuple):
    """What the neighbours left out would have changed; :meth:`fastard.VecchiaGaussianProcess.accuracy` makes it.

    Each array has an entry, or a row, for four times and for sixteen times the neighbours. Where the second tells hardly more
    than the first, hardly more is to be known.

    Attributes
    ----------
    neighbors : tuple of 2 ints
        How many the sample's blocks were conditioned on instead; at most all points before.
    nats_lost, nats_lost_error : ndarray, shape (2,)
        Estimated Kullback-Leibler divergence from the model with so many neighbours, in nats a point, and its standard error
        by the sample. It needs no y.
    gain, gain_error : ndarray, shape (2,)
        By how much the log likelihood of y would change at the same parameters, in nats a point.
    names : list of str
        Of the parameters, P.
    shift, shift_error : ndarray, shape (2, P)
        How far each parameter's logarithm would move, in its standard errors, to first order; NaN where it has none.
    held_out : HeldOut
    """

    neighbors: tuple[int, int]
    nats_lost: Array
    nats_lost_error: Array
    gain: Array
    gain_error: Array
    names: list[str]
    shift: Array
    shift_error: Array
    held_out: HeldOut

    def __str__(self) -> str:
        lost, error, more = self.nats_lost[-1], self.nats_lost_error[-1], self.neighbors[-1]
        worst = int(np.nanargmax(np.abs(self.shift[-1]))) if np.isfinite(self.shift[-1]).any() else -1
        lines = [f"{lost:.2g} ± {error:.1g} nats a point are lost against blocks of {more} neighbours"]
        if worst >= 0:
            shift, its_error = self.shift[-1, worst], self.shift_error[-1, worst]
            lines.append(f"with these {self.names[worst]} would move most: by {shift:+.2g} ± {its_error:.1g} standard errors")
        held = self.held_out
        lines.append(
            f"held out, {held.n} points from {held.neighbors[0]} neighbours each: RMSE {held.rmse[0]:.4g}, log density "
            f"{held.log_density[0]:.4g} nats a point, {held.coverage[0]:.1%} within 95 %"
        )
        return "\n".join(lines)


def accuracy(
    likelihood: VecchiaLogLikelihood,
    theta: Array,
    length_scale: Array,
    covariance: Array,
    names: list[str],
    sample: int,
    held_out: HeldOut,
) -> Accuracy:
    """See :meth:`fastard.VecchiaGaussianProcess.accuracy`; ``covariance`` (P, P) is that of the logarithms."""
    blocks, m = likelihood.blocks, likelihood.neighbors
    count = blocks.starts.size - 1
    kept, widths = _sample(count, sample), tuple(min(times * m, int(blocks.starts[-2])) for times in TIMES)
    by = metric(likelihood.X, length_scale)
    own = likelihood.of_blocks(theta, np.concatenate(kept))
    lost, gain, shift = np.empty((3, 2, 2)), np.empty((2, 2)), np.empty((2, 2, len(names)))
    sizes = np.diff(blocks.starts)[np.concatenate(kept)]
    for i, times in enumerate(TIMES):
        parts = []
        for run in kept:
            begin, end = int(run[0]), int(run[-1]) + 1
            wider = min(times * m, int(blocks.starts[begin]))
            found = block_neighbors(likelihood.X, by, blocks.starts, wider, begin, end, likelihood.n_threads)
            parts.append(likelihood.of_blocks(theta, run, found))
