"""What a search minimises at the free parameters: minus the log marginal likelihood, or the leave-one-out density, less the
priors' log densities."""

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from fastard._engine.loops import loo
from fastard._engine.loops.information import OF_SHAPES, average_information, by_shapes
from fastard._engine.loops.likelihood import OF_LENGTH_SCALES, OF_VARIANCE, VALUE, by_noise, log_marginal_likelihood
from fastard._engine.loops.pairs import contract, product
from fastard._engine.loops.priors import log_densities
from fastard._engine.loops.quasi_newton import EVALUATE, EVALUATE_WITH_INFORMATION, ITERATIONS, STARTED, TRIAL, advance
from fastard._engine.loops.sweep import ROUNDING
from fastard._engine.loops.trend import Trend, least_squares, take_out
from fastard._numba.jit import CUBE, INTEGERS, MATRIX, VECTOR, caller_at, jit, part, separate
from fastard._numba.threads import FAILED, POOL, WORKERS, reset, wake

FOUND, SINGULAR, NO_DENSITY, NEEDS_PYTHON = 0, 1, 2, 3  # what `loss` returns

NO_NOISE = 0.5 * ROUNDING  # of the signal's variance: noise below that leaves two equal rows a pivot that is only rounding

AT_BOUND = 1e-14  # relative: what exp(ln bound) is off by for a bound up to e^40, a few units in the last place, by some exps


@separate(entry=True, cold=True)
def natural(free_theta, theta, number, low, high, out):
    """out (P,) = the natural parameters: of each its free one's, or where its number is negative ``theta``'s, in bounds.

    NumPy's exp may differ in the last bit, and beside singular covariances that decides: Python has to call this too.
    """
    for i in range(theta.size):
        x = math.exp(free_theta[number[i]] if number[i] >= 0 else theta[i])
        if x >= high[i] * (1.0 - AT_BOUND):
            x = high[i]
        elif x <= low[i] * (1.0 + AT_BOUND):
            x = low[i]
        out[i] = x


@part
def mean_of_targets(mean, free_theta):
    """``mean[0]``, and where ``mean[1]`` is not 0, so many times the last free parameter."""
    return mean[0] + mean[1] * free_theta[free_theta.size - 1] if mean[1] != 0.0 else mean[0]


@separate(cold=True)
def estimate_mean(state, pool, workers, y, trend, A, R, diagonal, logs, weights, out, tile, takes_out):
    """`least_squares`, and where it ``takes_out`` the mean K^-1 becomes P; state[FAILED] where that is not to be had."""
    if not least_squares(y, trend, A, R, diagonal, logs, weights, out):
        state[FAILED] = 1
    elif takes_out:
        reset(state, pool, workers)
        take_out(state, trend.packed, A, y.shape[1], tile)


@separate(cold=True)
def without_each(
    state, pool, workers, kernel, shape, variance, U, free, tied, A, R, n, tile, weights, out, result, of_tiles, left_out
):
    """The leave-one-out density in ``result[0]``; its derivatives in ``of_tiles``, by ln(variance) in ``out``; ``weights`` for
    `by_noise`."""
    b, alpha = left_out.precision, left_out.alpha
    for j in range(n):
        b[j] = A[j, j]
        for t in range(alpha.shape[0]):
            alpha[t, j] = R[t, j]
    result[0] = loo.density(b, alpha, left_out.ratios, left_out.factors)
    reset(state, pool, workers)
    loo.contract(
        state, kernel, shape, variance, U, free, tied, A, n, tile, alpha, left_out.ratios, left_out.factors, left_out.moved,
        of_tiles, weights,
    )  # fmt: skip
    loo.clear_padding(A, n)
    out[OF_VARIANCE] = 0.0
    for q in range(of_tiles.shape[0]):
        out[OF_VARIANCE] += of_tiles[q, free]
    for j in range(n):
        weights[j] *= 2.0


_INT, _FLOAT, _BOOL = types.int64, types.float64, types.boolean

_TREND = types.NamedTuple((MATRIX, _BOOL, _BOOL, MATRIX, MATRIX, CUBE, MATRIX, MATRIX, VECTOR), Trend)

_LEFT_OUT = types.NamedTuple((VECTOR, VECTOR, MATRIX, MATRIX, MATRIX), loo.LeftOut)

# What is a part of some losses only is called by its address, and compiled when that is taken: its place in ``stages_at``, the
# function, and the types that it takes.
MEAN, TAKE_OUT, LEFT_OUT, PRODUCT, TILES, SHAPES = range(6)

_STAGES = {
    MEAN: (
        estimate_mean, INTEGERS, _INT, _INT, MATRIX, _TREND, MATRIX, MATRIX, VECTOR, MATRIX, VECTOR, VECTOR, _INT, _BOOL,
    ),
    TAKE_OUT: (take_out, INTEGERS, CUBE, MATRIX, _INT, _INT),
    LEFT_OUT: (
        without_each, INTEGERS, _INT, _INT, _INT, VECTOR, _FLOAT, MATRIX, _INT, _BOOL, MATRIX, MATRIX, _INT, _INT, VECTOR,
        VECTOR, VECTOR, MATRIX, _LEFT_OUT,
    ),
    PRODUCT: (
        product, INTEGERS, _INT, VECTOR, _FLOAT, MATRIX, _INT, _BOOL, MATRIX, MATRIX, _INT, _INT, _INT, MATRIX,
    ),
    TILES: (contract, INTEGERS, MATRIX, _INT, _BOOL, MATRIX, MATRIX, _INT, _INT, _INT, MATRIX),
    SHAPES: (by_shapes, *OF_SHAPES),  # called by `average_information`
}  # fmt: skip

_mean, _take_out, _left_out, _product, _tiles, _ = (caller_at(*kinds) for _, *kinds in _STAGES.values())


def addresses(*stages: int) -> NDArray[np.int64]:
    """``stages_at`` of a loss that has these stages."""
    found = np.zeros(len(_STAGES), dtype=np.int64)
    for stage in stages:
        function, *kinds = _STAGES[stage]
        found[stage] = function.address(tuple(kinds))
    return found


@separate(cold=True)
def loss(
    state, pool, workers, free_theta, theta, number, low, high, parameters, family, prior, slopes, of_priors, offset, mean,
    kernel, shape, X, center, columns, free, tied, y, known, U, diagonal, A, R, space, S, logs, partial, tile,
    block, stages, alpha, weights, out, result, of_tiles, trend, left_out, stages_at,
):  # fmt: skip
    """result = [loss, its derivatives by the free parameters]; what is returned says whether it is.

    Parameters
    ----------
    free_theta, theta, number, low, high, parameters
        As for `natural`, which makes ``parameters`` = [length_scale ..., variance, noise, shape ...].
    mean : (2,)
        As for `mean_of_targets`: whether the last free parameter is one, and its unit.
    family, prior, slopes, of_priors
        As for `log_densities`, and the logarithm of the densities' constant factors.
    offset
        Added to the log marginal likelihood.
    pool, workers
        The address of the pool's first slot, 0 for this thread alone, and how many workers to ask.
    of_tiles : (tiles (tiles + 1) / 2, free + 1 + shapes)
        Scratch for derivatives that are a pass of their own, for which ``stages`` has no contraction: of a kernel with shape
        parameters, with a trend, of leave-one-out. No rows otherwise.
    trend : Trend
        With the stage MEAN, a basis beside the mean of y, which is no free parameter then.
    left_out : LeftOut
        With the stage LEFT_OUT the loss is of the leave-one-out density; out[VALUE] is the log marginal likelihood all the
        same.
    stages_at
        The `addresses` of the stages that not every loss has, 0 where this one has not.
    state, kernel, ..., out
        As for `log_marginal_likelihood`, and ``shape`` becomes that of ``parameters``; y (m, n), less the mean, is what R
        gets, and ``known`` (n,) or (0,) is added to K's diagonal beside the noise.
    """
    if pool != 0:
        wake(pool, workers)
    natural(free_theta, theta, number, low, high, parameters)
    d = columns.size
    variance, noise = parameters[d], parameters[d + 1]
    for p in range(shape.size):
        shape[p] = parameters[d + 2 + p]
    least = noise
    for j in range(known.size):
        least = min(least if j else math.inf, noise + known[j])
    if not least > NO_NOISE * variance:
        return NEEDS_PYTHON  # which looks for equal rows
    n, m, last = X.shape[0], y.shape[0], free_theta.size - 1
    centre = mean_of_targets(mean, free_theta)
    density = of_priors + log_densities(family, prior, parameters, slopes)
    for k in range(result.size):
        result[k] = 0.0
    for i in range(theta.size):
        if number[i] >= 0:
            result[1 + number[i]] -= parameters[i] * slopes[i]  # d / d ln x = x d / dx
    if not math.isfinite(density):
        return NO_DENSITY
    for k in range(result.size):
        if not math.isfinite(result[k]):
            return NO_DENSITY
    for j in range(n):
        diagonal[j] = noise + known[j] if known.size else noise
        for t in range(m):
            R[t, j] = y[t, j] - centre
    basis = trend.basis
    for a in range(basis.shape[0]):
        for j in range(n):
            R[m + a, j] = basis[a, j]
    reset(state, pool, workers)
    log_marginal_likelihood(
        state, kernel, shape, variance, X, center, columns, parameters, free, tied, U, diagonal, A, R, n, m + basis.shape[0],
        space, S, logs, partial, tile, block, stages, alpha, weights, out,
    )  # fmt: skip
    if state[FAILED]:
        return SINGULAR
    if stages_at[MEAN] != 0:
        takes_out = trend.restricted or stages_at[LEFT_OUT] != 0
        _mean(stages_at[MEAN], state, pool, workers, y, trend, A, R, diagonal, logs, weights, out, tile, takes_out)
        if state[FAILED]:
            return SINGULAR
    result[0] = out[VALUE]
    if stages_at[LEFT_OUT] != 0:
        if stages_at[MEAN] != 0 and loo.stands_alone(A, n):
            return NEEDS_PYTHON  # which says so
        _left_out(
            stages_at[LEFT_OUT], state, pool, workers, kernel, shape, variance, U, free, tied, A, R, n, tile, weights, out,
            result, of_tiles, left_out,
        )  # fmt: skip
    elif stages_at[PRODUCT] != 0:
        reset(state, pool, workers)
        _product(stages_at[PRODUCT], state, kernel, shape, variance, U, free, tied, A, R, m, n, tile, of_tiles)
    elif stages_at[TILES] != 0:
        reset(state, pool, workers)
        _tiles(stages_at[TILES], state, U, free, tied, A, R, m, n, tile, of_tiles)
    if state[FAILED]:
        return SINGULAR
    for q in range(of_tiles.shape[0]):
        for p in range(free):
            out[OF_LENGTH_SCALES + p] += of_tiles[q, p]
        for p in range(shape.size):
            if number[d + 2 + p] >= 0:
                result[1 + number[d + 2 + p]] -= of_tiles[q, free + 1 + p]
    result[0] = -(result[0] + density + offset)
    for p in range(free):
        k = number[columns[p]]
        if k >= 0:
            result[1 + k] -= out[OF_LENGTH_SCALES + p]
    if number[d] >= 0:
        result[1 + number[d]] -= out[OF_VARIANCE]
    if number[d + 1] >= 0:
        result[1 + number[d + 1]] -= by_noise(noise, weights)
    if mean[1] != 0.0:
        for t in range(m):
            for j in range(n):
                result[1 + last] -= mean[1] * alpha[j, t]
    for k in range(result.size):
        if not math.isfinite(result[k]):
            return SINGULAR
    return FOUND


@jit(cold=True)
def evaluate(
    state, outcome, free_theta, theta, number, low, high, parameters, family, prior, slopes, of_priors, offset, mean, kernel,
    shape, X, center, columns, free, tied, y, known, U, diagonal, A, R, space, S, logs, partial, tile, block, stages, alpha,
    weights, out, result, of_tiles, trend, left_out, stages_at,
):  # fmt: skip
    """`loss` once: ``outcome[0]`` is what it returns."""
    pool, workers = state[POOL], state[WORKERS]
    state[POOL] = 0
    outcome[0] = loss(
        state, pool, workers, free_theta, theta, number, low, high, parameters, family, prior, slopes, of_priors, offset, mean,
        kernel, shape, X, center, columns, free, tied, y, known, U, diagonal, A, R, space, S, logs, partial, tile, block,
        stages, alpha, weights, out, result, of_tiles, trend, left_out, stages_at,
    )  # fmt: skip


@jit(cold=True)
def descend(
    state, most_evaluations, most_iterations, counts, memory, lowest, last, information, residual, theta, number, low, high,
    parameters, family, prior, slopes, of_priors, offset, mean, kernel, shape, X, center, columns, free, tied, y, known, U,
    diagonal, A, R, space, S, logs, partial, tile, block, stages, alpha, weights, out, result, of_tiles, trend, left_out,
    stages_at,
):  # fmt: skip
    """Go on with a quasi-Newton search from its trial point on, until it ends or has had so many evaluations or iterations.

    Parameters
    ----------
    counts : (4,)
        On return: evaluations, the last one's outcome, one of the codes above, what `advance` has answered, and the outcome of
        the last evaluation that had no value, FOUND where all had. NEEDS_PYTHON is not an evaluation yet: the search waits for
        one. Nor is one that cannot be finished (state[FAILED] < 0), which ends the call, or a start that has no value.
    memory, information
        Of the search, and (P, P) for `advance`.
    lowest, last : (1 + 2 P,), (P,)
        The least loss found, where, and the gradient there, replaced by what is lower; and the last evaluation's point.
    residual : (m, n)
        Scratch.
    theta, ..., stages_at
        As for `loss`.
    """
    pool, workers = state[POOL], state[WORKERS]
    size, status = result.size - 1, counts[2]
    counts[0], counts[3] = 0, FOUND
    state[POOL] = 0
    while True:
        trial = last  # what `advance` writes is the next one
        for k in range(size):
            trial[k] = memory.vectors[TRIAL, k]
        counts[1] = loss(
            state, pool, workers, trial, theta, number, low, high, parameters, family, prior, slopes, of_priors, offset, mean,
            kernel, shape, X, center, columns, free, tied, y, known, U, diagonal, A, R, space, S, logs, partial, tile, block,
            stages, alpha, weights, out, result, of_tiles, trend, left_out, stages_at,
        )  # fmt: skip
        if counts[1] == NEEDS_PYTHON or state[FAILED] < 0:
            return
        if counts[1] != FOUND and memory.numbers[STARTED] == 0:
            return
        counts[0] += 1
        found = counts[1] == FOUND
        if not found:
            counts[3] = counts[1]
        has_information = stages_at[LEFT_OUT] == 0 and found and status == EVALUATE_WITH_INFORMATION
        if found and result[0] < lowest[0]:
            lowest[0] = result[0]
            for k in range(size):
                lowest[1 + k], lowest[1 + size + k] = trial[k], result[1 + k]
        if has_information:
            centre = mean_of_targets(mean, trial)
            for t in range(y.shape[0]):
                for j in range(y.shape[1]):
                    residual[t, j] = trend.rest[t, j] if stages_at[MEAN] != 0 else y[t, j] - centre
            if stages_at[MEAN] != 0 and not trend.restricted:
                reset(state, pool, workers)
                _take_out(stages_at[TAKE_OUT], state, trend.packed, A, y.shape[1], tile)
                if state[FAILED] < 0:
                    return
            average_information(
                state, pool, workers, A, U, free, tied, columns, R, residual, diagonal, parameters[columns.size + 1], tile,
                number, mean[1], information, kernel, shape, parameters[columns.size], stages_at[SHAPES],
            )  # fmt: skip
            if state[FAILED] < 0:
                return
        status = advance(memory, result[0], result[1:], information, has_information, not found)
        counts[2] = status
        if status != EVALUATE and status != EVALUATE_WITH_INFORMATION:
            return
        if counts[0] >= most_evaluations or memory.numbers[ITERATIONS] >= most_iterations:
            return
