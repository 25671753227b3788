"""The compiled O(n^2 d) loops over pairs of points: fill the covariance, contract its derivatives, and the cross-covariance.

The points come scaled, as ``U[p, j] = (x_jp - x_0p) / length_scale_p``, shape (d, round_up(n, ROWS)), zeros beyond n: one
data row is subtracted before the division, because 10^6 standard deviations from the origin dividing first costs 6e-11 in
s, this way 6e-14; a row and not the mean, so that constant columns are exactly 0. A pair's s is the sum over p of
(U[p, j] - U[p, i])^2.

Element (i, j), i >= j, of a symmetric matrix stands at ``A[j, i]``; its mirror place is free and holds the profile's
derivative w. Everything is done in tiles, whose number and order depend on n alone and which threads take one by one, so
that the results have the same bits on any number of threads.
"""

import math

import numpy as np

from fastard._jit import REORDER, jit
from fastard._microkernel import COLS, ROWS, address_of, distances, never_inline
from fastard._threads import enter, leave, next_task
from fastard.kernels import profile


@jit
def round_up(x, unit):
    return (x + unit - 1) // unit * unit


@jit
def triangle_corner(q):
    """Element q of a triangle counted row by row: (0, 0), (1, 0), (1, 1), (2, 0) ..."""
    i = int((math.sqrt(8.0 * q + 1.0) - 1.0) * 0.5)
    i += (i + 1) * (i + 2) // 2 <= q
    return i, q - i * (i + 1) // 2


@jit
def scale(X, center, columns, length_scale):
    """U for the given columns of X, in the order given: one row a column, ``center`` (a data row) subtracted first."""
    n = X.shape[0]
    U = np.zeros((columns.size, round_up(n, ROWS)))
    for p in range(columns.size):
        column = columns[p]
        origin, unit, target = center[column], length_scale[column], U[p]
        for j in range(n):
            target[j] = (X[j, column] - origin) / unit
    return U


@jit
def squared_distances(U, i0, i1, V, j0, j1, s):
    """s[j - j0, i - i0] = sum_p (U[p, i] - V[p, j])^2 for i0 <= i < i1 and j0 <= j < j1, in whole blocks of ROWS x COLS."""
    never_inline()
    u, u_step, v, v_step = address_of(U), 8 * U.shape[1], address_of(V), 8 * V.shape[1]
    target, column = address_of(s), 8 * s.shape[1]
    for j in range(j0, j1, COLS):
        for i in range(i0, i1, ROWS):
            distances(u + 8 * i, u_step, v + 8 * j, v_step, U.shape[0], target + (j - j0) * column + 8 * (i - i0), column)


@jit
def covariance_and_slope(kernel, variance, s, w):
    """In place: s becomes variance k(s); w gets variance w(s). Flat, over a tile at once: row by row takes twice as long."""
    never_inline()
    for i in range(s.size):
        here, slope, _ = profile(kernel, s[i])
        s[i] = variance * here
        w[i] = variance * slope


@jit
def covariance_slope_and_shape(kernel, variance, s, w, v):
    """The same; v gets variance dk / d ln(shape)."""
    never_inline()
    for i in range(s.size):
        here, slope, of_shape = profile(kernel, s[i])
        s[i] = variance * here
        w[i] = variance * slope
        v[i] = variance * of_shape


@jit
def fill_tile(kernel, variance, U, A, diagonal, accumulate, i0, i1, j0, j1, s, w):
    """K of the tile, diagonal added, and w in its mirror place: row by row where both are full squares, else transposed.

    Where ``accumulate``, K is added to what is there, and no w is kept nor diagonal added.
    """
    never_inline()
    rows, columns = j1 - j0, i1 - i0
    square = i0 > j0 and rows == columns
    squared_distances(U, i0, i1, U, j0, j1, s)
    size = rows * s.shape[1]
    covariance_and_slope(kernel, variance, s.ravel()[:size], w.ravel()[:size])
    for j in range(rows):
        start = j if i0 == j0 else 0
        here, target = s[j, start:columns], A[j0 + j, i0 + start : i1]
        if accumulate:
            for i in range(here.size):
                target[i] += here[i]
            continue
        for i in range(here.size):
            target[i] = here[i]
        if i0 == j0:
            target[0] += diagonal[j0 + j]
        if square:
            slope, mirror = w[j, :columns], A[i0 + j, j0:j1]
            for i in range(columns):
                mirror[i] = slope[i]
    if not square and not accumulate:
        for i in range(i0, i1):
            mirror = A[i]
            for j in range(j0, min(j1, i)):
                mirror[j] = w[j - j0, i - i0]


@jit(fastmath=REORDER)
def contract(U, free, G, i0, columns, j0, rows, out):
    """out[p] += sum_ij G[j, i] (U[p, i0 + i] - U[p, j0 + j])^2 for the first ``free`` dimensions p.

    Four rows at once share the load of U and one sum: 0.14 ns a pair and dimension where one row at a time takes 0.19.
    """
    never_inline()
    fours = rows - rows % 4
    for j in range(0, fours, 4):
        g0, g1, g2, g3 = G[j, :columns], G[j + 1, :columns], G[j + 2, :columns], G[j + 3, :columns]
        for p in range(free):
            u, v = U[p, i0 : i0 + columns], U[p, j0 + j : j0 + j + 4]
            v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
            total = 0.0
            for i in range(columns):
                d0, d1, d2, d3 = u[i] - v0, u[i] - v1, u[i] - v2, u[i] - v3
                total += (g0[i] * d0) * d0 + (g1[i] * d1) * d1 + ((g2[i] * d2) * d2 + (g3[i] * d3) * d3)
            out[p] += total
    for j in range(fours, rows):
        g = G[j, :columns]
        for p in range(free):
            u, v0 = U[p, i0 : i0 + columns], U[p, j0 + j]
            total = 0.0
            for i in range(columns):
                d0 = u[i] - v0
                total += (g[i] * d0) * d0
            out[p] += total


@jit(fastmath=REORDER)
def dot(a, b):
    """sum_i a[i] b[i]."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@jit
def likelihood_weights(inverse, alpha, targets, i0, j, q):
    """q[i] = sum_t alpha_t[j] alpha_t[i0 + i] - m K^-1[j, i0 + i]: the likelihood's weights, R&W (5.9), made on the fly."""
    here, there = alpha[0, j], alpha[0, i0 : i0 + q.size]
    if targets == 1:
        for i in range(q.size):
            q[i] = here * there[i] - inverse[i]
        return
    for i in range(q.size):
        q[i] = here * there[i] - targets * inverse[i]
    for t in range(1, targets):
        here, there = alpha[t, j], alpha[t, i0 : i0 + q.size]
        for i in range(q.size):
            q[i] += here * there[i]


@jit
def contract_tile(U, free, A, alpha, targets, i0, i1, j0, j1, G, out):
    """out[p] = d l / d ln length_scale_p of one tile's pairs, with the w that ``fill_tile`` left in the mirror places.

    R&W (5.9) has a half before the sum over all (i, j); here each pair is met once, which is the same.
    """
    never_inline()
    rows, columns = j1 - j0, i1 - i0
    square = i0 > j0 and rows == columns
    if not square:
        for j in range(rows):
            for i in range(columns):
                G[j, i] = 0.0
        for i in range(i0, i1):
            mirror = A[i]
            for j in range(j0, min(j1, i)):
                G[j - j0, i - i0] = mirror[j]
    q = np.empty(columns)
    for j in range(rows):
        g = G[j, :columns]
        w = A[i0 + j, j0:j1] if square else g
        likelihood_weights(A[j0 + j, i0:i1], alpha, targets, i0, j0 + j, q)
        if i0 == j0:  # the buffer's upper triangle holds w, not K^-1: w's place in G is 0 there, but 0 times inf is not
            for i in range(j + 1):
                q[i] = 0.0
        for i in range(columns):
            g[i] = q[i] * w[i]
    for p in range(free):
        out[p] = 0.0
    contract(U, free, G, i0, columns, j0, rows, out)


@jit
def weights_tile(Q, alpha, targets, i0, i1, j0, j1, q):
    """q[j, i] = the weight of the pair (i0 + i, j0 + j), i > j, 0 for i < j, and of the diagonal for i = j.

    With ``targets`` = 0, Q holds any weights and both of its triangles count: the derivative of <Q, K>. Otherwise Q holds
    K^-1 at [j, i], i >= j, and the result is that of half the weights sum_t alpha_t alpha_t' - m K^-1.
    """
    rows, columns = j1 - j0, i1 - i0
    if targets == 0:
        for i in range(columns):
            across = Q[i0 + i]
            for j in range(rows):
                q[j, i] = across[j0 + j]
    for j in range(rows):
        target, row = q[j, :columns], Q[j0 + j, i0:i1]
        if targets > 0:
            likelihood_weights(row, alpha, targets, i0, j0 + j, target)
        else:
            for i in range(columns):
                target[i] += row[i]
        if i0 == j0:
            for i in range(j):
                target[i] = 0.0
            target[j] *= 0.5


@jit
def product_tile(kernel, variance, U, free, Q, alpha, targets, i0, i1, j0, j1, q, s, w, v, out):
    """out = the tile's share of the derivatives by [ln length_scale ..., ln variance, ln shape], profile computed anew.

    For the weights of ``weights_tile``. A point with itself: k(0) = 1, which neither a length scale nor a shape changes.
    """
    never_inline()
    rows, columns = j1 - j0, i1 - i0
    weights_tile(Q, alpha, targets, i0, i1, j0, j1, q)
    squared_distances(U, i0, i1, U, j0, j1, s)
    size = rows * s.shape[1]
    covariance_slope_and_shape(kernel, variance, s.ravel()[:size], w.ravel()[:size], v.ravel()[:size])
    of_variance, of_shape = 0.0, 0.0
    for j in range(rows):
        of_variance += dot(q[j, :columns], s[j, :columns])
        of_shape += dot(q[j, :columns], v[j, :columns])
        weight, slope = q[j, :columns], w[j, :columns]
        for i in range(columns):
            weight[i] *= slope[i]
    for p in range(free):
        out[p] = 0.0
    contract(U, free, q, i0, columns, j0, rows, out)
    out[free] = of_variance
    out[free + 1] = of_shape


@jit
def fill(state, kernel, variance, U, A, diagonal, n, tile, accumulate):
    """Every tile of the covariance of n points."""
    if not enter(state):
        return
    tiles = (n + tile - 1) // tile
    s, w = np.empty((tile, tile)), np.empty((tile, tile))
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        i0, j0 = i * tile, j * tile
        fill_tile(kernel, variance, U, A, diagonal, accumulate, i0, min(n, i0 + tile), j0, min(n, j0 + tile), s, w)
        task = next_task(state)
    leave(state)


@jit
def product(state, kernel, variance, U, free, Q, alpha, targets, n, tile, partial):
    """partial[tile] = that tile's share, by ``product_tile``."""
    if not enter(state):
        return
    tiles = (n + tile - 1) // tile
    q, s, w, v = np.empty((tile, tile)), np.empty((tile, tile)), np.empty((tile, tile)), np.empty((tile, tile))
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        i0, j0 = i * tile, j * tile
        i1, j1 = min(n, i0 + tile), min(n, j0 + tile)
        product_tile(kernel, variance, U, free, Q, alpha, targets, i0, i1, j0, j1, q, s, w, v, partial[task])
        task = next_task(state)
    leave(state)


@jit
def cross_covariance(state, kernel, variance, U, V, tile, out):
    """out[j, i] = variance k(s) of point j of V and point i of U."""
    if not enter(state):
        return
    rows, columns = out.shape
    across = (columns + tile - 1) // tile
    s, w = np.empty((tile, tile)), np.empty((tile, tile))
    task = next_task(state)
    while task < (rows + tile - 1) // tile * across:
        j0, i0 = task // across * tile, task % across * tile
        j1, i1 = min(rows, j0 + tile), min(columns, i0 + tile)
        squared_distances(U, i0, i1, V, j0, j1, s)
        size = (j1 - j0) * tile
        covariance_and_slope(kernel, variance, s.ravel()[:size], w.ravel()[:size])
        for j in range(j0, j1):
            here, target = s[j - j0, : i1 - i0], out[j, i0:i1]
            for i in range(here.size):
                target[i] = here[i]
        task = next_task(state)
    leave(state)
