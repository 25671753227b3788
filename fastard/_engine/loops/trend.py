"""A mean that is linear in unknown coefficients: generalised least squares, from one inversion beside y and the basis.

With y = E' c + f + noise, E (p, n) the basis, everything follows from K^-1 [y, E']: A = E K^-1 E' = C C', c = A^-1 E K^-1 y,
and B = C^-1 E K^-1, whose B'B is what K^-1 exceeds P = K^-1 - K^-1 E' A^-1 E K^-1 by, the matrix that takes the mean out:
P y = K^-1 (y - E'c) = alpha.
"""

import math
from typing import NamedTuple

import numpy as np

from fastard._arrays import Array
from fastard._engine.loops.likelihood import OF_VARIANCE, VALUE, value
from fastard._engine.loops.loo import dot
from fastard._engine.loops.pairs import corners, round_up, triangle_corner
from fastard._engine.loops.sweep import STEP, pack, update
from fastard._numba.atomics import address_of, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS
from fastard._numba.jit import part, separate
from fastard._numba.threads import POOL, dispatch, next_task


class Trend(NamedTuple):
    """A basis, p = 0 functions or more, and scratch for it."""

    basis: Array  # (p, n), orthonormal rows
    restricted: bool  # whether the coefficients are integrated out
    own_variances: bool  # whether each target has a variance of its own, the most likely one
    gram: Array  # (p, p)
    B: Array  # (p, round_up(n, ROWS))
    packed: Array  # (round_up(n, ROWS) / COLS, p, COLS), B as panels of the microkernel
    coefficients: Array  # (m, p)
    rest: Array  # (m, n), y less the mean
    units: Array  # (m,), the roots of the targets' own variances


def trend_of(basis: Array, m: int, restricted: bool, own_variances: bool = False) -> Trend:
    """For m targets; the basis is (n, p)."""
    n, p = basis.shape
    width = round_up(n, ROWS)
    return Trend(
        np.array(basis.T, order="C"),
        restricted,
        own_variances,
        np.empty((p, p)),
        np.zeros((p, width)),
        np.empty((width // COLS, p, COLS)),
        np.empty((m, p)),
        np.empty((m, n)),
        np.ones(m),
    )


@part
def subtract(target, factor, source):
    for i in range(target.size):
        target[i] -= factor * source[i]


@separate(entry=True, cold=True)
def least_squares(y, trend, A, R, diagonal, logs, weights, out):
    """As though the mean were known: of an evaluation beside y and the basis, what one of y less the mean would have left.

    Harville, Biometrika 61 (1974), 383-385, and R&W (2.45): ``restricted``, the value is the log density of the n - p
    orthonormal contrasts that y has beside the basis; else the largest over c, R&W (2.30) of y - E'c. With ``own_variances``
    it is the largest over s too, target t's covariance being s_t K, and what is left is in units of sqrt(s_t).

    Parameters
    ----------
    y : (m, n)
    A, R, diagonal, logs
        As `work` left them; R's rows (K^-1 [y, E'])', of which the first m become alpha. A may hold L, without ``weights``.
    trend
        Gets B, the coefficients, the rest, and the targets' own units.
    weights : (n,) or (0,)
        Becomes the diagonal of alpha alpha' - m K^-1, ``restricted`` of alpha alpha' - m P.
    out
        [value, with ``weights`` the derivative by ln(variance)].

    Returns whether E K^-1 E' is positive definite, as it is but for rounding.
    """
    basis, gram, B, lanes = trend.basis, trend.gram, trend.B, np.empty(LANES)
    m, n, p = y.shape[0], y.shape[1], basis.shape[0]
    half_log_determinant, fit, count = 0.0, 0.0, n - p if trend.restricted else n
    of_units = 0.0
    for step in range(logs.shape[1]):
        half_log_determinant += logs[0, step]
    for a in range(p):
        row = B[a, :n]
        for i in range(n):
            row[i] = R[m + a, i]
        for b in range(a + 1):
            gram[a, b] = dot(basis[b], row, lanes)
    for a in range(p):
        row, factors = B[a, :n], gram[a]
        for b in range(a):
            for c in range(b):
                factors[b] -= factors[c] * gram[b, c]
            factors[b] /= gram[b, b]
            factors[a] -= factors[b] * factors[b]
        if not (factors[a] > 0.0 and factors[a] < math.inf):
            return False
        factors[a] = math.sqrt(factors[a])
        for b in range(a):
            subtract(row, factors[b], B[b, :n])
        for i in range(n):
            row[i] /= factors[a]
    for t in range(m):
        alpha, rest, c = R[t, :n], trend.rest[t], trend.coefficients[t]
        for a in range(p):
            c[a] = dot(B[a, :n], y[t], lanes)
            subtract(alpha, c[a], B[a, :n])
        for a in range(p - 1, -1, -1):  # C'c = By
            for b in range(a + 1, p):
                c[a] -= gram[b, a] * c[b]
            c[a] /= gram[a, a]
        for i in range(n):
            rest[i] = y[t, i]
        for a in range(p):
            subtract(rest, c[a], basis[a])
        own_fit = dot(rest, alpha, lanes)
        if trend.own_variances:
            unit = math.sqrt(own_fit / count)
            for i in range(n):
                alpha[i] /= unit
                rest[i] /= unit
            trend.units[t], of_units, own_fit = unit, of_units + math.log(unit), count
        fit += own_fit
    if trend.restricted:
        for a in range(p):
            half_log_determinant += math.log(gram[a, a])
    out[VALUE] = value(fit, half_log_determinant, count, m) - count * of_units
    rows = round_up(n, ROWS)
    pack(address_of(B), 8 * B.shape[1], False, rows, p, 1.0, address_of(trend.packed), p * STEP)
    if weights.size:
        of_variance = fit - count * m
        for i in range(n):
            weights[i] = -m * A[i, i]
        for t in range(m):
            alpha = R[t]
            for i in range(n):
                weights[i] += alpha[i] * alpha[i]
        if trend.restricted:
            for a in range(p):
                row = B[a]
                for i in range(n):
                    weights[i] += m * (row[i] * row[i])
        for i in range(n):
            of_variance -= diagonal[i] * weights[i]
        out[OF_VARIANCE] = 0.5 * of_variance
    return True


@separate(entry=True)
def take_out(state, packed, A, n, tile):
    """K^-1 in A becomes P; B as `least_squares` has packed it."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles, p = (n + tile - 1) // tile, packed.shape[1]
    z, panel_bytes, leading = address_of(packed), p * STEP, 8 * A.shape[1]
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        i0, i1, j0, j1 = corners(n, tile, i, j)
        target = address_of(A) + 8 * i0 + j0 * leading
        z_i, z_j = z + i0 // COLS * panel_bytes, z + j0 // COLS * panel_bytes
        update(z_i, z_j, panel_bytes, p, target, leading, i1 - i0, j1 - j0, -1.0, i0 == j0)
        task = next_task(state)
