"""The log marginal likelihood and its derivatives as one compiled call: scale, the schedule's tasks, and their sums."""

import math

from fastard._engine.loops.pairs import scale
from fastard._engine.loops.schedule import INVERT, collect, work
from fastard._engine.loops.sweep import back_substitute
from fastard._numba.jit import EXACT, jit, part, separate
from fastard._numba.threads import FAILED

VALUE, OF_VARIANCE, OF_LENGTH_SCALES = 0, 1, 2  # places in ``out``

LOG_2_PI = math.log(2.0 * math.pi)


@jit(fastmath=EXACT - {"contract"})
def value(fit, half_log_determinant, n, m):
    """R&W (2.30) for m targets, from sum_t y_t' K^-1 y_t and half of ln|K|."""
    return -0.5 * fit - m * half_log_determinant - 0.5 * n * m * LOG_2_PI


@part
def by_noise(noise, weights):
    """The derivative with respect to ln(noise), the variance of it on all of K's diagonal."""
    total = 0.0
    for j in range(weights.size):
        total += weights[j]
    return 0.5 * noise * total


@separate(entry=True, cold=True)
def log_marginal_likelihood(
    state, kernel, shape, variance, X, center, columns, length_scale, free, tied, U, diagonal, A, R, n, m, space, S, logs,
    partial, tile, block, stages, alpha, weights, out,
):  # fmt: skip
    """out = [value, derivative with respect to ln(variance), to ln(length scale) of the free columns ...].

    Where K is not positive definite, nothing but state[FAILED]. K^-1, or L without the stage INVERT, stays in A.

    Parameters
    ----------
    X, center, columns, length_scale, U
        What `scale` takes, the columns whose length scales are ``free`` first, and makes.
    state, kernel, shape, variance, free, tied, diagonal, A, R, n, m, space, S, logs, partial, tile, block, stages
        As for `work`.
    alpha : (n, m)
        Becomes K^-1 y.
    weights : (n,) or (0,)
        Becomes the diagonal of alpha alpha' - m K^-1; empty: no derivatives.
    out : (2 + free,)
    """
    scale(X, center, columns, length_scale, U)
    work(state, kernel, shape, variance, U, free, tied, diagonal, A, R, n, m, space, S, logs, partial, tile, block, stages)
    if state[FAILED]:
        return
    if stages & INVERT == 0:
        back_substitute(A, R, n, m)
    half_log_determinant, fit, of_variance = collect(
        A, R, n, m, logs, partial, free, diagonal, alpha, weights, out[OF_LENGTH_SCALES:]
    )
    out[VALUE] = value(fit, half_log_determinant, n, m)
    out[OF_VARIANCE] = of_variance
