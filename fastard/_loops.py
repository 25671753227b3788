"""The compiled O(n^2 d) loops over pairs of points: fill the covariance, contract its derivatives, and the cross-covariance.

The points come scaled, as ``U[p, j] = (x_jp - x_0p) / length_scale_p``, shape (d, n): one data row is subtracted before
the division, because 10^6 standard deviations from the origin dividing first costs 6e-11 in s, this way 6e-14; a row and
not the mean, so that constant columns are exactly 0. A pair's s is the sum over p of (U[p, j] - U[p, i])^2.

Element (i, j), i >= j, of a symmetric matrix stands at ``A[j, i]``: LAPACK's lower triangle of ``A.T``. Its mirror place
is free and holds the profile's derivative w. Everything is done in tiles of TILE x TILE pairs, whose number and order
depend on n alone and which threads take one by one, so the results have the same bits on any number of threads.
"""

import numpy as np

from fastard._jit import REORDER, fetch_add, jit
from fastard.kernels import profile

TILE = 64  # 48 costs the contraction a tenth more, 96 and 128 gain 3 % and leave small n too few tiles to share


@jit
def scale(X, center, columns, length_scale):
    """U for the given columns of X, in the order given: one row a column, ``center`` (a data row) subtracted first."""
    n = X.shape[0]
    U = np.empty((columns.size, n))
    for p in range(columns.size):
        column = columns[p]
        origin, unit, target = center[column], length_scale[column], U[p]
        for j in range(n):
            target[j] = (X[j, column] - origin) / unit
    return U


@jit
def squared_distances(U, point, V, first, s):
    """s[i] = sum_p (V[p, first + i] - point[p])^2, four dimensions a pass."""
    d, m = V.shape[0], s.size
    s[:] = 0.0
    fours = d - d % 4
    for p in range(0, fours, 4):
        v0, v1 = V[p, first : first + m], V[p + 1, first : first + m]
        v2, v3 = V[p + 2, first : first + m], V[p + 3, first : first + m]
        u0, u1, u2, u3 = U[p, point], U[p + 1, point], U[p + 2, point], U[p + 3, point]
        for i in range(m):
            d0, d1, d2, d3 = v0[i] - u0, v1[i] - u1, v2[i] - u2, v3[i] - u3
            s[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for p in range(fours, d):
        v, u = V[p, first : first + m], U[p, point]
        for i in range(m):
            difference = v[i] - u
            s[i] += difference * difference


@jit
def profile_row(kernel, variance, s, w, v):
    """In place: s becomes variance k(s); w and v get variance w(s) and variance dk / d ln(shape)."""
    for i in range(s.size):
        here, slope, of_shape = profile(kernel, s[i])
        s[i] = variance * here
        w[i] = variance * slope
        v[i] = variance * of_shape


@jit
def covariance_row(kernel, variance, s):
    """In place: s becomes variance k(s)."""
    for i in range(s.size):
        here, _, _ = profile(kernel, s[i])
        s[i] = variance * here


@jit
def tile_corner(q):
    """Tile q of a triangle counted row by row: (0, 0), (1, 0), (1, 1), (2, 0) ... as (larger, smaller)."""
    larger = int((np.sqrt(8.0 * q + 1.0) - 1.0) * 0.5)
    larger += (larger + 1) * (larger + 2) // 2 <= q
    return larger, q - larger * (larger + 1) // 2


@jit
def tile_count(n):
    tiles = (n + TILE - 1) // TILE
    return tiles * (tiles + 1) // 2


@jit
def fill_tile(kernel, variance, U, A, q, accumulate):
    """variance k(s) into tile q of the triangle (added where ``accumulate``), variance w(s) into its mirror place."""
    n = A.shape[0]
    larger, smaller = tile_corner(q)
    i0, j0 = larger * TILE, smaller * TILE
    i1, j1 = min(i0 + TILE, n), min(j0 + TILE, n)
    w = np.empty((TILE, TILE))
    s, v = np.empty(TILE), np.empty(TILE)
    for j in range(j0, j1):
        start = max(i0, j)
        here, target = s[: i1 - start], A[j, start:i1]
        squared_distances(U, j, U, start, here)
        if accumulate:
            covariance_row(kernel, variance, here)
            target += here
        else:
            profile_row(kernel, variance, here, w[j - j0, start - i0 : i1 - i0], v)
            target[:] = here
    if not accumulate:
        for i in range(i0, i1):
            mirror = A[i]
            for j in range(j0, min(j1, i)):
                mirror[j] = w[j - j0, i - i0]


@jit(fastmath=REORDER)
def contract(U, free, G, j0, rows, i0, columns, out):
    """out[p] += sum_ij G[j, i] (U[p, i0 + i] - U[p, j0 + j])^2 for the first ``free`` dimensions p.

    Four rows at once share the load of U and one sum: 0.14 ns a pair and dimension where one row at a time takes 0.19.
    """
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
    """sum_i a[i] b[i] over the length of a."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@jit
def likelihood_weights(A, alpha, j, start, q):
    """q = sum_t alpha_t alpha_t' - m K^-1 at (start ..., j): the likelihood's weights, R&W (5.9), made on the fly."""
    targets = alpha.shape[0]
    inverse = A[j, start : start + q.size]
    for i in range(q.size):
        q[i] = -targets * inverse[i]
    for t in range(targets):
        here, there = alpha[t, j], alpha[t, start : start + q.size]
        for i in range(q.size):
            q[i] += here * there[i]


@jit
def likelihood_tile(U, free, A, alpha, tile, out):
    """out[p] += d l / d ln length_scale_p of one tile's pairs, w taken from the mirror places that ``fill_tile`` filled.

    R&W (5.9) has a half before the sum over all (i, j); here each pair is met once, which is the same.
    """
    n = A.shape[0]
    larger, smaller = tile_corner(tile)
    i0, j0 = larger * TILE, smaller * TILE
    i1, j1 = min(i0 + TILE, n), min(j0 + TILE, n)
    G = np.zeros((TILE, TILE))
    for i in range(i0, i1):
        mirror = A[i]
        for j in range(j0, min(j1, i)):
            G[j - j0, i - i0] = mirror[j]
    q = np.empty(TILE)
    for j in range(j0, j1):
        start = max(i0, j + 1)
        weights, g = q[: i1 - start], G[j - j0, start - i0 : i1 - i0]
        likelihood_weights(A, alpha, j, start, weights)
        for i in range(g.size):
            g[i] *= weights[i]
    contract(U, free, G, j0, j1 - j0, i0, i1 - i0, out)


@jit
def product_tile(kernel, variance, U, free, Q, alpha, tile, out):
    """The same for any weights and with the profile computed anew: out is [ln length_scale ..., ln variance, ln shape].

    With alpha of no rows, Q holds the weights of both triangles: the derivative of <Q, K>. Otherwise Q is K^-1 in the
    likelihood's storage, and the result that of half the weights alpha alpha' - m K^-1, diagonal included.
    """
    n = Q.shape[0]
    larger, smaller = tile_corner(tile)
    i0, j0 = larger * TILE, smaller * TILE
    i1, j1 = min(i0 + TILE, n), min(j0 + TILE, n)
    G = np.zeros((TILE, TILE))
    given = alpha.shape[0] == 0
    if given:  # both triangles: the one across, column by column, into the tile first
        for i in range(i0, i1):
            across = Q[i]
            for j in range(j0, min(j1, i)):
                G[j - j0, i - i0] = across[j]
    s, weights, v = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    of_variance, of_shape = 0.0, 0.0
    for j in range(j0, j1):
        start = max(i0, j + 1)
        here, q, g = s[: i1 - start], weights[: i1 - start], G[j - j0, start - i0 : i1 - i0]
        if given:
            row = Q[j, start:i1]
            for i in range(q.size):
                q[i] = row[i] + g[i]
        else:
            likelihood_weights(Q, alpha, j, start, q)
        squared_distances(U, j, U, start, here)
        profile_row(kernel, variance, here, g, v)
        of_variance += dot(q, here)
        of_shape += dot(q, v)
        g *= q
        if larger == smaller:  # k(0) = 1, and neither a length scale nor a shape changes it
            if given:
                of_variance += variance * Q[j, j]
            else:
                likelihood_weights(Q, alpha, j, j, weights[:1])
                of_variance += 0.5 * variance * weights[0]
    contract(U, free, G, j0, j1 - j0, i0, i1 - i0, out)
    out[free] += of_variance
    out[free + 1] += of_shape


@jit
def fill(state, kernel, variance, U, A, accumulate):
    """Every tile of the covariance; any number of threads may run this with the same ``state`` at once."""
    count = tile_count(A.shape[0])
    while True:
        tile = fetch_add(state, 0, 1)
        if tile >= count:
            return
        fill_tile(kernel, variance, U, A, tile, accumulate)
        fetch_add(state, 1, 1)


@jit
def likelihood_product(state, U, free, A, alpha, partial):
    """partial[tile] = that tile's share of the derivatives with respect to ln length_scale."""
    count = tile_count(A.shape[0])
    while True:
        tile = fetch_add(state, 0, 1)
        if tile >= count:
            return
        likelihood_tile(U, free, A, alpha, tile, partial[tile])
        fetch_add(state, 1, 1)


@jit
def product(state, kernel, variance, U, free, Q, alpha, partial):
    """partial[tile] = that tile's share of the derivatives with respect to [ln length_scale, ln variance, ln shape]."""
    count = tile_count(Q.shape[0])
    while True:
        tile = fetch_add(state, 0, 1)
        if tile >= count:
            return
        product_tile(kernel, variance, U, free, Q, alpha, tile, partial[tile])
        fetch_add(state, 1, 1)


@jit
def cross_covariance(state, kernel, variance, U, V, out):
    """out[j, i] = variance k(s) of point j of U and point i of V, a row a task."""
    rows, columns = out.shape
    while True:
        j = fetch_add(state, 0, 1)
        if j >= rows:
            return
        for start in range(0, columns, 512):  # 4 KB of a row stay in the first cache through the d / 4 passes
            target = out[j, start : min(start + 512, columns)]
            squared_distances(U, j, V, start, target)
            covariance_row(kernel, variance, target)
        fetch_add(state, 1, 1)
