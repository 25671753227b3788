"""How much is lost: the Vecchia likelihood beside that of blocks with many more neighbours, and predictions held out."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._engine.vecchia import BlockSums
from fastard._vecchia.likelihood import VecchiaLogLikelihood
from fastard.exceptions import NotPositiveDefiniteError

TIMES = (4, 16)  # as many neighbours

_FAR = 2.0  # standard errors that a parameter would move, beyond which more neighbours are advised
_CERTAIN = 2.0  # errors by the sample that a shift has to exceed to be told

_95_PERCENT = 1.959963984540054  # standard deviations


class HeldOut(NamedTuple):
    """Predictions of a sample of the training points, each from its nearest others.

    Attributes
    ----------
    n : int
        Points in the sample.
    neighbors : tuple of 2 ints
        That each was predicted from: as many as ``predict`` takes by default, and twice as many.
    rmse : ndarray, shape (2,)
        Root mean square errors, in units of y.
    log_density : ndarray, shape (2,)
        Mean log predictive density, noise included, in nats per point.
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
    than the first, hardly more is to be known. The standard errors are NaN where there is only one block, and all is NaN where
    the covariance of so many neighbours is not positive definite.

    Attributes
    ----------
    neighbors : tuple of 2 ints
        How many the sample's blocks were conditioned on instead; at most all points before.
    nats_lost, nats_lost_error : ndarray, shape (2,)
        Estimated Kullback-Leibler divergence from the model with so many neighbours, in nats per point, and its standard error
        by the sample. It needs no y.
    gain, gain_error : ndarray, shape (2,)
        By how much the log likelihood of y would change at the same parameters, in nats per point.
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
        told = np.flatnonzero(np.isfinite(self.nats_lost))
        if told.size == 0:
            return f"what is lost cannot be told: {_singular(self.neighbors[0])}\n{self._of_held_out()}"
        last = int(told[-1])
        lost, error, more = self.nats_lost[last], self.nats_lost_error[last], self.neighbors[last]
        lines = [f"{lost:.2g} ± {error:.1g} nats per point are lost against blocks of {more} neighbours"]
        if np.isfinite(self.shift[last]).any():
            lines.append(self._of_shifts(self.shift[last], self.shift_error[last]))
        return "\n".join([*lines, self._of_held_out()])

    def _of_shifts(self, shift: Array, error: Array) -> str:
        """The largest of those that the sample is certain of."""
        certain = np.abs(shift) > _CERTAIN * error  # not where either is NaN
        if not certain.any():
            return "with these, no parameter is known to move: no shift is more than twice its error by the sample"
        worst = int(np.argmax(np.where(certain, np.abs(shift), 0.0)))
        remedy = "; train with more neighbors" if abs(shift[worst]) > _FAR else ""
        return (
            f"with these, {self.names[worst]} would move by {shift[worst]:+.2g} ± {error[worst]:.2g} of its standard errors, "
            f"further than any other that is known to move{remedy}"
        )

    def _of_held_out(self) -> str:
        held = self.held_out
        if np.isnan(held.rmse[0]):
            return f"held out, {held.n} points are not predicted: {_singular(held.neighbors[0])}; pass fewer neighbors"
        return (
            f"held out, {held.n} points from {held.neighbors[0]} neighbours each: RMSE {held.rmse[0]:.4g}, log density "
            f"{held.log_density[0]:.4g} nats per point, {held.coverage[0]:.1%} in 95 % intervals"
        )


def _singular(neighbors: int) -> str:
    return f"with {neighbors} neighbours the covariance is not positive definite"


def accuracy(
    likelihood: VecchiaLogLikelihood,
    theta: Array,
    covariance: Array,
    names: list[str],
    sample: int,
    random: np.random.Generator,
    held_out: HeldOut,
) -> Accuracy:
    """See :meth:`fastard.VecchiaGaussianProcess.accuracy`; ``covariance`` (P, P) is that of the logarithms."""
    blocks, m, outputs = likelihood.blocks, likelihood.neighbors, likelihood.y.shape[1]
    length_scale = likelihood.natural(theta)[0]
    count = blocks.starts.size - 1
    neighbors = (min(TIMES[0] * m, int(blocks.starts[-2])), min(TIMES[1] * m, int(blocks.starts[-2]))) if count else (m, m)
    if count == 0:
        nothing, of_each = np.zeros(len(TIMES)), np.zeros((len(TIMES), len(names)))
        return Accuracy(neighbors, nothing, nothing, nothing, nothing, names, of_each, of_each, held_out)
    which = np.sort(random.choice(count, min(count, sample), replace=False))
    sizes = np.diff(blocks.starts)[which]
    own: BlockSums | None = None
    with contextlib.suppress(NotPositiveDefiniteError):  # training may end where the rounding of logarithms decides
        own = likelihood.of_blocks(theta, which)
    lost, gain = np.empty((2, len(TIMES))), np.empty((2, len(TIMES)))
    shift = np.empty((2, len(TIMES), len(names)))
    errors = np.sqrt(covariance.diagonal())
    known = np.isfinite(errors)
    # Of all points, from those in the sample
    whole = (len(likelihood.X) - blocks.first) / sizes.sum()
    for i, times in enumerate(TIMES):
        lost[:, i] = gain[:, i] = shift[:, i] = np.nan
        if own is None:
            continue
        parts = []
        early = blocks.starts[which] < times * m  # blocks with fewer points before them
        try:
            for some, wider in ((which[early], int(blocks.starts[which[0]])), (which[~early], times * m)):
                near = blocks.neighbors_of(some, wider, likelihood.X, length_scale, likelihood.n_threads)
                parts.append(likelihood.of_blocks(theta, some, near))
        except NotPositiveDefiniteError:
            continue
        found = BlockSums(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        lost[:, i] = _per_point(outputs * (own.half_log_determinant - found.half_log_determinant), sizes)
        gain[:, i] = _per_point(found.log_likelihood - own.log_likelihood, sizes)
        change = (found.gradient - own.gradient)[:, known]
        solved = change @ covariance[np.ix_(known, known)] / errors[known]
        shift[0, i, known] = whole * solved.sum(axis=0)
        if len(solved) > 1:
            shift[1, i, known] = whole * np.sqrt(len(solved)) * solved.std(axis=0, ddof=1)
    return Accuracy(neighbors, lost[0], lost[1], gain[0], gain[1], names, shift[0], shift[1], held_out)


def judge(y: Array, mean: Array, deviation: Array, neighbors: tuple[int, int]) -> HeldOut:
    """Of targets (n, T), from the means and standard deviations (2, n, T) that so many neighbours give."""
    with np.errstate(all="ignore"):  # without noise a deviation may be 0
        residual = (y - mean) / deviation
        density = -0.5 * residual**2 - np.log(deviation) - 0.5 * math.log(2.0 * math.pi)
    axes = (1, 2)
    return HeldOut(
        n=len(y),
        neighbors=neighbors,
        rmse=np.sqrt(np.mean((y - mean) ** 2, axis=axes)),
        log_density=np.mean(density.sum(axis=2), axis=1),
        coverage=np.mean(np.where(np.isnan(residual), np.nan, np.abs(residual) <= _95_PERCENT), axis=axes),
    )


def _per_point(values: Array, sizes: NDArray[np.int64]) -> tuple[float, float]:
    """The ratio of the sums, and its standard error over the blocks: of a single one there is none."""
    ratio = float(values.sum() / sizes.sum())
    if values.size == 1:
        return ratio, math.nan
    spread = np.sqrt(np.sum((values - ratio * sizes) ** 2) * values.size / (values.size - 1))
    return ratio, float(spread / sizes.sum())
