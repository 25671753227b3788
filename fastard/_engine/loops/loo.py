"""The compiled part of leave-one-out: <Q, dK> / 2 with Q = u v' + v u' - B diag(e) B, tile by tile, without BLAS.

B = K^-1 is the only n x n array: it is made whole, then its rows are packed in their own place, DEPTH at a time, as the
microkernel reads them, and each tile of Q is a product of two of those panels that lives in a thread's scratch until it is
contracted. One list of tasks: MIRROR a tile, PACK some rows (all are mirrored), CONTRACT a tile (all are packed).
"""

import math
from typing import NamedTuple

import numpy as np

from fastard._arrays import Array
from fastard._engine.loops.likelihood import LOG_2_PI
from fastard._engine.loops.pairs import OF_TILE, corners, mirror_tile, product_tile, round_up, strip_space, triangle_corner
from fastard._engine.loops.sweep import STEP, update
from fastard._numba.atomics import address_of, fetch_add, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS, SMALL
from fastard._numba.jit import part, separate
from fastard._numba.microkernel import copy_rows
from fastard._numba.threads import FAILED, POOL, STATE, dispatch, next_task, wait_for

DEPTH = 96  # rows of B that are packed together; from 48 to 384 the time is the same
assert DEPTH % SMALL == 0  # and so of every shape's ROWS and COLS

# Places in a job's state: how many of these tasks are done. `schedule` has others, so that who looks on knows which it is.
MIRRORED, PACKED = STATE + 1, STATE + 9

STATE_PLACES = 16


class LeftOut(NamedTuple):
    """Scratch of an evaluation with n points and m targets."""

    precision: Array  # (n,), the diagonal of K^-1
    factors: Array  # (n,)
    alpha: Array  # (m, n)
    ratios: Array  # (m, n)
    moved: Array  # (m, n)


def left_out(n: int, m: int) -> LeftOut:
    """For n points and m targets."""
    return LeftOut(np.empty(n), np.empty(n), np.empty((m, n)), np.empty((m, n)), np.empty((m, n)))


@part
def stands_alone(P, n):
    """Whether a point may be one that alone determines a coefficient of the mean: its 1 / variance is next to nothing."""
    least, most = math.inf, 0.0
    for j in range(n):
        least, most = min(least, P[j, j]), max(most, P[j, j])
    return not least > 1e-9 * most


@separate(entry=True, cold=True)
def density(b, alpha, ratios, factors):
    """The log predictive density, R&W (5.10) to (5.12); for `contract`, ratios = alpha / b and factors = sqrt(e).

    b (n,) is the diagonal of K^-1, alpha (m, n).
    """
    m, n = alpha.shape
    log_determinants, misfit = 0.0, 0.0
    for j in range(n):
        square = 0.0
        for t in range(m):
            square += alpha[t, j] * alpha[t, j]
            ratios[t, j] = alpha[t, j] / b[j]
        square /= b[j]
        factors[j] = math.sqrt((m + square) / b[j])
        log_determinants += math.log(b[j])
        misfit += square
    return 0.5 * (m * log_determinants - misfit) - 0.5 * (n * m) * LOG_2_PI


@part
def dot(x, y, lanes):
    """x'y; a sum a lane, because the compiler may not reorder a single one to use vectors."""
    whole, total = x.size // LANES * LANES, 0.0
    for lane in range(LANES):
        lanes[lane] = 0.0
    for i in range(0, whole, LANES):
        a, b = x[i : i + LANES], y[i : i + LANES]
        for lane in range(LANES):
            lanes[lane] += a[lane] * b[lane]
    for i in range(whole, x.size):
        total += x[i] * y[i]
    for lane in range(LANES):
        total += lanes[lane]
    return total


@part
def pack_rows(A, n, start, stop, v, factors, moved, scratch):
    """moved[t, k] = A[k] v[t] for the rows start <= k < stop; then those rows, times their factors, packed in their place."""
    width, lanes = round_up(n, ROWS), np.empty(LANES)
    for k in range(start, stop):
        row, factor, copy = A[k, :width], factors[k], scratch[k - start, :width]
        for t in range(v.shape[0]):
            moved[t, k] = dot(row[:n], v[t], lanes)
        for i in range(width):
            copy[i] = factor * row[i]
    rows = stop - start
    target = address_of(A) + 8 * start * A.shape[1]
    for q in range(width // COLS):
        copy_rows(address_of(scratch) + q * STEP, 8 * scratch.shape[1], target + q * rows * STEP, STEP, rows, 1.0)


@part
def tile_of_weights(A, n, i0, i1, j0, j1, u, v, Q):
    """Q[j - j0, i - i0] = sum_t (u_t v_t' + v_t u_t') - Z'Z, Z the packed rows, for i >= j; the diagonal halved."""
    for j in range(Q.shape[0]):
        for i in range(Q.shape[1]):
            Q[j, i] = 0.0
    for start in range(0, n, DEPTH):
        rows = min(DEPTH, n - start)
        z, panel_bytes = address_of(A) + 8 * start * A.shape[1], rows * STEP
        z_i, z_j = z + i0 // COLS * panel_bytes, z + j0 // COLS * panel_bytes
        update(z_i, z_j, panel_bytes, rows, address_of(Q), 8 * Q.shape[1], i1 - i0, j1 - j0, -1.0, i0 == j0)
    for j in range(j0, j1):
        start = max(i0, j)
        here = Q[j - j0, start - i0 : i1 - i0]
        for t in range(u.shape[0]):
            x, y, across_u, across_v = u[t, j], v[t, j], u[t, start:i1], v[t, start:i1]
            for i in range(here.size):
                here[i] += x * across_v[i] + y * across_u[i]
        if i0 == j0:
            here[0] *= 0.5


@separate(entry=True)
def contract(state, kernel, shape, variance, U, free, tied, A, n, tile, alpha, v, factors, moved, partial, diagonal):
    """partial[tile] = that tile's share of <W, dK>, as ``product_tile`` has it, and W's diagonal, for the lower triangle W of
    Q = sum_t (u_t alpha_t' + alpha_t u_t') - A diag(factors^2) A, u = A v, its diagonal halved.

    A is a workspace's buffer whose upper triangle holds a symmetric matrix; it is used up. moved (targets, n) gets u.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    here = address_of(state)
    mirrored, packed, failed = here + 8 * MIRRORED, here + 8 * PACKED, here + 8 * FAILED
    tiles, strips = (n + tile - 1) // tile, (n + DEPTH - 1) // DEPTH
    pairs = tiles * (tiles + 1) // 2
    rows, scratch = np.empty((min(n, DEPTH), A.shape[1])), np.empty((3 + shape.size, strip_space(tile)))
    Q = np.empty((round_up(tile, COLS), round_up(tile, ROWS)))
    task = next_task(state)
    while task < 2 * pairs + strips:
        if task < pairs:
            i, j = triangle_corner(task)
            mirror_tile(A, n, tile, i, j)
            fetch_add(mirrored, 1)
        elif task < pairs + strips:
            wait_for(mirrored, pairs, failed)
            start = (task - pairs) * DEPTH
            pack_rows(A, n, start, min(n, start + DEPTH), v, factors, moved, rows)
            fetch_add(packed, 1)
        else:
            wait_for(packed, strips, failed)
            task -= pairs + strips
            i, j = triangle_corner(task)
            i0, i1, j0, j1 = corners(n, tile, i, j)
            tile_of_weights(A, n, i0, i1, j0, j1, moved, alpha, Q)
            if i == j:
                for k in range(i0, i1):
                    diagonal[k] = Q[k - i0, k - i0]
            product_tile(kernel, shape, variance, U, free, tied, Q, alpha, OF_TILE, n, tile, i, j, scratch, partial[task])
        task = next_task(state)


@separate(entry=True, cold=True)
def clear_padding(A, n):
    """Zeros beyond n, which an evaluation needs, and where `contract` has packed rows."""
    for j in range(A.shape[0]):
        row = A[j, n if j < n else 0 :]
        for i in range(row.size):
            row[i] = 0.0
