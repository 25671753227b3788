"""Predictions of one term's Gaussian process in one compiled call: what is kept of a model for them, and the call."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastard._arrays import Array, read_only
from fastard._engine.loops import posterior as loops
from fastard._engine.loops.profiles import compiled
from fastard._engine.sizes import prediction_plan, run
from fastard._engine.terms import Term, central, scale, used_columns
from fastard._numba.cpu import COLS
from fastard._numba.threads import FAILED, new_state

MEAN, DEVIATION, GRADIENT = loops.MEAN, loops.DEVIATION, loops.GRADIENT

_FARTHEST = 4e149  # length scales from the first training point: two queries are less than 1e150 from each other

_NOTHING, _NO_GRADIENT = read_only(np.empty(0)), np.empty((0, 0, 0))


class Posterior(NamedTuple):
    """What predictions take of a trained model, whatever the queries: O(n (d + m)) numbers beside the factor."""

    term: Term
    U: Array  # (d, n and some zeros), the scaled training points
    center: Array  # (d,)
    length_scale: Array  # (d,)
    alpha: Array  # in packed panels, (m / COLS, n, COLS)
    factor: Array  # (n, n), L in the lower triangle of its transpose
    output_scale: Array  # (m,), which mean and standard deviation are multiplied by
    offset: Array  # (m,), which the mean then has added


class Predictions(NamedTuple):
    """At q points, of m outputs. What was not asked for is empty."""

    mean: Array  # (q, m)
    deviation: Array  # (q, m)
    mean_grad: Array  # (q, d, m)
    deviation_grad: Array  # (q, d, m), 0 where the deviation is
    not_positive: bool  # whether a variance was 0 or less
    negative: bool  # whether one was less


def posterior(term: Term, X: Array, alpha: Array, factor: Array, output_scale: Array, offset: Array) -> Posterior:
    """Of a term over all columns of the training points X (n, d); ``alpha`` is (n, m)."""
    n, m = alpha.shape
    center = central(X)
    packed = np.zeros((-(-m // COLS), n, COLS))
    for t in range(m):
        packed[t // COLS, :, t % COLS] = alpha[:, t]
    U = scale(X, center, used_columns(term, X.shape[1]), term.length_scale)
    arrays = (U, center, np.array(term.length_scale), packed, factor, output_scale, offset)
    return Posterior(term, *map(read_only, arrays))


def predict(
    model: Posterior,
    points: Array,
    wanted: int,
    noise: float,
    noise_of_points: Array | None,
    threads: int,
    *,
    in_range: bool = False,
) -> Predictions | None:
    """Mean, standard deviation (from DEVIATION on) and their gradients (GRADIENT) at the points (q, d), R&W (2.25), (2.26).

    ``noise`` and, where given, ``noise_of_points`` (q,) are added to the variances. Unless the points are known to be
    ``in_range``, None where one is not finite, or so far away that squares of differences might overflow.
    """
    q, d = points.shape
    n, m = model.factor.shape[0], model.offset.size
    mean, deviation = np.empty((q, m)), np.empty((q if wanted != MEAN else 0, m))
    mean_grad, deviation_grad = np.empty((2, q, d, m)) if wanted == GRADIENT else (_NO_GRADIENT, _NO_GRADIENT)
    work = float(q) * n * (wanted * n + 4 * d + 32)
    threads, block, few = prediction_plan(q, work, threads)
    state = new_state(loops.PLACES)
    own_noise = _NOTHING if noise_of_points is None else read_only(noise_of_points)
    run(
        2.0 * work, threads, loops.predict, state, *compiled(model.term.kernel), model.term.signal_variance, noise,
        model.U, model.center, model.length_scale, model.alpha, model.factor, points,
        math.inf if in_range else _FARTHEST, own_noise, model.output_scale, model.offset,
        wanted, loops.solve_address(few) if wanted != MEAN else 0, loops.gradients_address() if wanted == GRADIENT else 0,
        few, block, mean, deviation, mean_grad, deviation_grad,
    )  # fmt: skip
    if state[FAILED]:
        return None
    return Predictions(
        mean, deviation, mean_grad, deviation_grad, bool(state[loops.NOT_POSITIVE]), bool(state[loops.NEGATIVE])
    )
