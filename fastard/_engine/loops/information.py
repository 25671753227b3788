"""The average information: Gilmour, Thompson & Cullis, Biometrics 51 (1995), 1440-1450, equation (7).

With w_a = (dK / da) alpha for each free parameter a it is sum_t w_a' K^-1 w_b / 2 over the targets t: the mean of the
observed and the expected information where K is linear in its parameters, positive semidefinite everywhere. K^-1 and the
slopes w of an evaluation stand in its buffer, and both are multiplied with a few vectors, which is O(n^2) a parameter:

    w_a[i] = sum_j w_ij (u_i - u_j)^2 alpha_j = u_i^2 (w alpha)_i - 2 u_i (w (u alpha))_i + (w (u^2 alpha))_i.
"""

import math

import numpy as np
from numba import types

from fastard._engine.loops.pairs import corners, round_up, squared_distances, strip_space
from fastard._engine.loops.profiles import covariance_and_slope
from fastard._engine.loops.sweep import STEP, pack
from fastard._numba.atomics import address_of, repeat_call
from fastard._numba.cpu import COLS, ROWS
from fastard._numba.jit import CUBE, INTEGERS, MATRIX, VECTOR, caller_at, part, separate
from fastard._numba.microkernel import add_product
from fastard._numba.threads import FAILED, POOL, dispatch, next_task, reset


@part
def square(A, slopes, i0, i1, j0, j1, T):
    """T[k, row] = element (i0 + row, j0 + k) of what stands in A: of a diagonal tile, or of slopes that stand row by row."""
    rows = i1 - i0
    for k in range(j1 - j0):
        target = T[k]
        for row in range(rows, round_up(rows, ROWS)):
            target[row] = 0.0
    if i0 != j0:
        for row in range(rows):
            source = A[i0 + row, j0:j1]
            for k in range(source.size):
                T[k, row] = source[k]
        return
    for k in range(rows):
        source, target = A[i0 + k, i0:i1], T[k]
        if slopes:
            target[k] = 0.0
            for row in range(k):
                target[row] = T[row, k] = source[row]
        else:
            for row in range(k, rows):
                target[row] = T[row, k] = source[row]


@separate
def products(state, A, slopes, n, tile, panels, R, S):
    """S[v, i] = sum_j M_ij R_vj with M = K^-1, or where ``slopes`` the w of an evaluation; the rows i of a tile are a task.

    R holds the vectors v as packed panels of the microkernel, (panels or more, round_up(n, tile), COLS), zeros beyond n, and S
    is (panels * COLS or more, round_up(n, tile) + ROWS).
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    a, leading = address_of(A), 8 * A.shape[1]
    z, panel_bytes = np.empty((round_up(tile, ROWS), round_up(tile, COLS))), STEP * round_up(tile, COLS)
    T, t = np.zeros((tile, round_up(tile, ROWS))), 8 * round_up(tile, ROWS)
    r, r_panel, s, s_leading = address_of(R), 8 * R.shape[1] * COLS, address_of(S), 8 * S.shape[1]
    i = next_task(state)
    while i < tiles:
        for v in range(panels * COLS):
            target = S[v]
            for row in range(i * tile, i * tile + tile):
                target[row] = 0.0
        for j in range(tiles):
            i0, i1, j0, j1 = corners(n, tile, i, j)
            rows, depth = round_up(i1 - i0, ROWS), j1 - j0
            partial = i1 - i0 < tile
            if i == j or (slopes and partial):
                square(A, slopes, i0, i1, j0, j1, T)
                source, source_leading, transposed = address_of(T), t, False
            elif slopes and j1 - j0 < tile:  # the last tiles' slopes, mirrored
                source, source_leading, transposed = a + j0 * leading + 8 * i0, leading, False
            elif slopes:
                source, source_leading = a + max(i0, j0) * leading + 8 * min(i0, j0), leading
                transposed = j > i
            else:
                source, source_leading = a + min(i0, j0) * leading + 8 * max(i0, j0), leading
                transposed = j > i
            pack(source, source_leading, transposed, rows, depth, 1.0, address_of(z), panel_bytes)
            for row in range(0, rows, ROWS):
                for q in range(panels):
                    add_product(
                        address_of(z) + row // COLS * panel_bytes,
                        panel_bytes,
                        r + q * r_panel + j0 * STEP,
                        depth,
                        s + 8 * (i0 + row) + q * COLS * s_leading,
                        STEP,
                        s_leading,
                        1.0,
                        0,
                    )
        i = next_task(state)


@separate
def shape_products(state, kernel, shape, variance, U, n, tile, alpha, out):
    """out[p, t] = (dK / d ln shape_p) alpha_t, (shapes, targets, n), zeros before; the rows of a tile are a task."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles, scratch = (n + tile - 1) // tile, np.empty((2 + shape.size, strip_space(tile)))
    task = next_task(state)
    while task < tiles:
        i0, i1 = task * tile, min(n, task * tile + tile)
        rows = round_up(i1 - i0, ROWS)
        for j in range(0, n, COLS):
            s, w, v = scratch[0, : COLS * rows], scratch[1, : COLS * rows], scratch[2:]
            squared_distances(U, i0, rows, U, j, s)
            covariance_and_slope(kernel, shape, variance, False, s, w, v)
            for p in range(shape.size):
                for t in range(out.shape[1]):
                    target = out[p, t, i0:i1]
                    for c in range(min(COLS, n - j)):
                        slopes, factor = v[p, c * rows : c * rows + i1 - i0], alpha[t, j + c]
                        for i in range(target.size):
                            target[i] += factor * slopes[i]
        task = next_task(state)


@separate(cold=True)
def by_shapes(state, pool, workers, kernel, shape, variance, U, n, tile, alpha, places, W):
    """What `average_information` has in W for the shape parameters; ``places`` are their free parameters' numbers."""
    targets = W.shape[0]
    by_shape = np.zeros((shape.size, targets, n))
    reset(state, pool, workers)
    shape_products(state, kernel, shape, variance, U, n, tile, alpha, by_shape)
    for p in range(shape.size):
        if places[p] >= 0:
            for t in range(targets):
                for i in range(n):
                    W[t, places[p], i] = by_shape[p, t, i]


# What `by_shapes` takes, whose address `average_information` needs for a kernel with shape parameters.
OF_SHAPES = (
    INTEGERS, types.int64, types.int64, types.int64, VECTOR, types.float64, MATRIX, types.int64, types.int64, MATRIX, INTEGERS,
    CUBE,
)  # fmt: skip

_by_shapes = caller_at(*OF_SHAPES)


@separate
def set_vector(R, v, values, factors, power):
    """Vector v of R's = values times factors ** power, for power 0, 1 or 2."""
    panel, c = R[v // COLS], v % COLS
    for k in range(values.size):
        panel[k, c] = values[k] * (1.0 if power == 0 else factors[k] if power == 1 else factors[k] * factors[k])


@separate(cold=True)
def by_length_scales(state, A, U, free, tied, each, columns, alpha, n, tile, number, R, S, W):
    """W for the free length scales; ``each``, R and S: the vectors of a target, and scratch for all of theirs."""
    targets = W.shape[0]
    for t in range(targets):
        for v in range(each):
            set_vector(R, t * each + v, alpha[t, :n], U[(v - 1) // 2 if v else 0], 0 if v == 0 else 1 + (v - 1) % 2)
    products(state, A, True, n, tile, round_up(targets * each, COLS) // COLS, R, S)
    for t in range(targets):
        for p in range(free):
            k = number[columns[p]]
            if k >= 0:
                target, u, first = W[t, k], U[p], t * each
                for i in range(n):
                    if tied:
                        target[i] += S[first, i]
                    else:
                        target[i] += u[i] * (u[i] * S[first, i] - 2.0 * S[first + 1 + 2 * p, i]) + S[first + 2 + 2 * p, i]


@separate(cold=True)
def by_variances(alpha, residual, diagonal, noise, of_variance, of_noise, unit_of_mean, W):
    """W for the signal's and the noise's variance, the numbers of their free parameters, and for the mean."""
    for t in range(W.shape[0]):
        for i in range(W.shape[2]):
            if of_variance >= 0:
                W[t, of_variance, i] = residual[t, i] - diagonal[i] * alpha[t, i]
            if of_noise >= 0:
                W[t, of_noise, i] = noise * alpha[t, i]
            if unit_of_mean != 0.0:
                W[t, W.shape[1] - 1, i] = -math.sqrt(2.0) * unit_of_mean


@separate
def add_products(W, S, across, information):
    """information = half of the sum of w_a' K^-1 w_b over the targets; S holds the products K^-1 w, ``across`` is scratch."""
    targets, size, n = W.shape
    for a in range(size):
        for b in range(size):
            information[a, b] = 0.0
    for t in range(targets):
        for b in range(size):
            for i in range(n):
                across[i, b] = S[t * size + b, i]
        for a in range(size):
            x, sums = W[t, a], information[a]
            for i in range(n):
                factor, y = x[i], across[i]
                for b in range(a + 1):
                    sums[b] += factor * y[b]
    for a in range(size):
        for b in range(a + 1):
            information[a, b] = information[b, a] = 0.5 * information[a, b]


# What `average_information` takes from `descend`.
OF_INFORMATION = (
    INTEGERS, types.int64, types.int64, MATRIX, MATRIX, types.int64, types.boolean, INTEGERS, MATRIX, MATRIX, VECTOR,
    types.float64, types.int64, INTEGERS, types.float64, MATRIX, types.int64, VECTOR, types.float64, types.int64,
)  # fmt: skip


@separate(cold=True)
def average_information(
    state, pool, workers, A, U, free, tied, columns, alpha, residual, diagonal, noise, tile, number, unit_of_mean, information,
    kernel, shape, variance, shapes_at,
):  # fmt: skip
    """information (P, P) by the free parameters, after `log_marginal_likelihood` with its derivatives.

    Where it cannot be finished, nothing but state[FAILED].

    Parameters
    ----------
    state, pool, workers, A, U, free, tied, columns, diagonal, tile
        As that function had them.
    alpha : (targets or more, n or more)
        K^-1 (y - mean) of each target.
    residual : (targets, n)
        y less the mean.
    noise
        Its variance, a part of ``diagonal``.
    number : (d + 2 + shapes,)
        The free parameter of each length scale, the variance, the noise and the shape; negative where it is fixed.
    unit_of_mean
        Where it is not 0, the last free parameter is the mean in such units.
    kernel, shape, variance, shapes_at
        Of a kernel with shape parameters, and the address of `by_shapes`; 0 for one without.
    """
    targets, n, size, d = residual.shape[0], residual.shape[1], information.shape[0], columns.size
    each = 1 if tied else 1 + 2 * free if free > 0 else 0  # vectors of a target
    width, most = round_up(n, tile), round_up(targets * max(each, size), COLS)
    W, across = np.zeros((targets, size, n)), np.empty((n, size))
    R, S = np.zeros((most // COLS, width, COLS)), np.empty((most, width + ROWS))
    if each > 0:
        reset(state, pool, workers)
        by_length_scales(state, A, U, free, tied, each, columns, alpha, n, tile, number, R, S, W)
        if state[FAILED]:
            return
    by_variances(alpha, residual, diagonal, noise, number[d], number[d + 1], unit_of_mean, W)
    if shapes_at != 0:
        _by_shapes(shapes_at, state, pool, workers, kernel, shape, variance, U, n, tile, alpha, number[d + 2 :], W)
        if state[FAILED]:
            return
    for t in range(targets):
        for a in range(size):
            set_vector(R, t * size + a, W[t, a], W[t, a], 0)
    reset(state, pool, workers)
    products(state, A, False, n, tile, round_up(targets * size, COLS) // COLS, R, S)
    if state[FAILED]:
        return
    add_products(W, S, across, information)
