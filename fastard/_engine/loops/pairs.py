"""The compiled O(n^2 d) loops over pairs of points: fill the covariance, contract its derivatives, and the cross-covariance.

The points come scaled, as ``U[p, j] = (x_jp - center_p) / length_scale_p``, shape (d, round_up(n, ROWS)), zeros beyond n: a
value of each column is subtracted before the division, because 10^6 standard deviations from the origin dividing first costs
6e-11 in s, this way 6e-14; one of the data and not the mean, so that constant columns are exactly 0. A pair's s is the sum
over p of (U[p, j] - U[p, i])^2.

Element (i, j), i >= j, of a symmetric matrix stands at ``A[j, i]``; its mirror place is free and holds the profile's
derivative w. Everything is done in tiles, whose number and order depend on n alone and which threads take one by one, so
that the results have the same bits on any number of threads. A tile is done in strips of COLS columns j of the matrix, so
that what lies between the distances and the result stays in the first cache; a strip is [COLS][rows], rows rounded up to
ROWS. No loop here may be reordered by the compiler (`reassoc`): compiled in one process and loaded from the cache in the
next, it would not give the same bits.
"""

import math

import numpy as np

from fastard._engine.loops.profiles import covariance_and_slope
from fastard._numba.atomics import address_of, never_inline, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS
from fastard._numba.jit import jit, part, separate
from fastard._numba.microkernel import distances, transpose_blocks, weighted_distances
from fastard._numba.threads import POOL, dispatch, next_task

OF_TILE = -1  # in the place of a number of targets: the weights are a tile's own

_ACROSS = 40 * ROWS  # columns of a cross-covariance's task: a strip of 480 to 960 and its w stay in the first two caches


@part
def round_up(x, unit):
    return (x + unit - 1) // unit * unit


@part
def triangle_corner(q):
    """Element q of a triangle counted row by row: (0, 0), (1, 0), (1, 1), (2, 0) ..."""
    i = int((math.sqrt(8.0 * q + 1.0) - 1.0) * 0.5)
    i += (i + 1) * (i + 2) // 2 <= q
    return i, q - i * (i + 1) // 2


@part
def scale(X, center, columns, length_scale, U):
    """U for the given columns of X, in the order given: one row a column, ``center`` subtracted first.

    U is (columns.size, round_up(n, ROWS)); what is beyond n stays as it is.
    """
    for p in range(columns.size):
        column = columns[p]
        origin, unit, target = center[column], length_scale[column], U[p]
        for j in range(X.shape[0]):
            target[j] = (X[j, column] - origin) / unit


scale_points = jit(scale)  # for Python


@part
def squared_distances(U, first, rows, V, j, s):
    """Strip s[c, i] = sum_p (U[p, first + i] - V[p, j + c])^2."""
    u, v, target = address_of(U) + 8 * first, address_of(V) + 8 * j, address_of(s)
    for i in range(0, rows, ROWS):
        distances(u + 8 * i, 8 * U.shape[1], v, 8 * V.shape[1], U.shape[0], target + 8 * i, 8 * rows)


@part
def strip_space(tile):
    """Doubles of one strip."""
    return COLS * round_up(tile, ROWS)


@part
def corners(n, tile, i, j):
    """i0, i1, j0, j1: the rows i0 <= row < i1 and columns j0 <= column < j1 of tile (i, j)."""
    return i * tile, min(n, i * tile + tile), j * tile, min(n, j * tile + tile)


@part
def strip_of(i0, i1, j):
    """The first row of the strip at column j of a tile with rows i0 ... i1, and its number of rows, rounded up.

    Of a diagonal tile it is the lower triangle, from the block of ROWS on that the diagonal crosses.
    """
    first = max(i0, j // ROWS * ROWS)
    return first, round_up(i1 - first, ROWS)


@separate
def fill_tile(kernel, shape, variance, tied, U, A, diagonal, accumulate, n, tile, i, j, scratch):
    """K of tile (i, j), diagonal added, and w in its mirror place: row by row where both are full squares, else transposed.

    Where ``tied``, w s stands there: what the derivative by a length scale common to all dimensions is made of.
    Where ``accumulate``, K is added to what is there, and no w is kept nor diagonal added.
    """
    i0, i1, j0, j1 = corners(n, tile, i, j)
    square = i0 > j0 and i1 - i0 == j1 - j0
    for j in range(j0, j1, COLS):
        first, rows = strip_of(i0, i1, j)
        s, w = scratch[0, : COLS * rows], scratch[1, : COLS * rows]
        squared_distances(U, first, rows, U, j, s)
        covariance_and_slope(kernel, shape, variance, tied, s, w, scratch[2:])
        for c in range(min(COLS, j1 - j)):
            start = max(first, j + c)
            here, target = s[c * rows + start - first : c * rows + i1 - first], A[j + c, start:i1]
            if accumulate:
                for i in range(here.size):
                    target[i] += here[i]
                continue
            for i in range(here.size):
                target[i] = here[i]
            if i0 == j0:
                target[0] += diagonal[j + c]
            if square:
                slope, mirror = w[c * rows : c * rows + i1 - first], A[i0 + j + c - j0, j0:j1]
                for i in range(slope.size):
                    mirror[i] = slope[i]
        if not square and not accumulate:
            start = max(first, j + COLS)
            blocks = (i1 - start + COLS - 1) // COLS
            transpose_blocks(
                address_of(w) + 8 * (start - first),
                8 * rows,
                8 * COLS,
                address_of(A) + 8 * (start * A.shape[1] + j),
                8 * A.shape[1],
                8 * COLS * A.shape[1],
                blocks,
                1.0,
            )
            if i0 == j0:  # the block that the diagonal crosses
                for i in range(j, min(j + COLS, i1)):
                    for c in range(i - j):
                        A[i, j + c] = w[c * rows + i - first]


@part
def likelihood_weights(A, alpha, targets, first, j, q):
    """q[i] = sum_t alpha_t[j] alpha_t[first + i] - m K^-1[first + i, j]: R&W's (5.9), made on the fly."""
    inverse, here, there = A[j, first : first + q.size], alpha[0, j], alpha[0, first : first + q.size]
    if targets == 1:
        for i in range(q.size):
            q[i] = here * there[i] - inverse[i]
        return
    for i in range(q.size):
        q[i] = here * there[i] - targets * inverse[i]
    for t in range(1, targets):
        here, there = alpha[t, j], alpha[t, first : first + q.size]
        for i in range(q.size):
            q[i] += here * there[i]


@part
def contract_strip(U, free, tied, first, rows, j, g, total):
    """total[p, lane] += sum_ci g[c, i] (U[p, first + i] - U[p, j + c])^2 for the first ``free`` dimensions p.

    Where ``tied``, g has that square's sum over all dimensions in it already, and total has one row.
    """
    if tied:
        for i in range(0, COLS * rows, LANES):
            here, target = g[i : i + LANES], total[0]
            for lane in range(LANES):
                target[lane] += here[lane]
        return
    u, step = address_of(U), 8 * U.shape[1]
    weighted_distances(address_of(g), 8 * rows, u + 8 * first, u + 8 * j, step, rows // LANES, free, address_of(total))


@part
def add_lanes(total, free, out):
    """out[p] = the sum over the lanes of total[p], in their order."""
    for p in range(free):
        out[p] = 0.0
        for lane in range(LANES):
            out[p] += total[p, lane]


@part
def clear_lanes(total, rows):
    """The first so many rows of lanes are 0."""
    for p in range(rows):
        for lane in range(LANES):
            total[p, lane] = 0.0


@separate
def contract_tile(U, free, tied, A, alpha, targets, n, tile, i, j, scratch, total, out):
    """out[p] = d l / d ln length_scale_p of tile (i, j)'s pairs, with the w that ``fill_tile`` left in the mirror places.

    R&W (5.9) has a half before the sum over all (i, j); here each pair is met once, which is the same.
    """
    i0, i1, j0, j1 = corners(n, tile, i, j)
    square = i0 > j0 and i1 - i0 == j1 - j0
    clear_lanes(total, free)
    q_all = scratch[1]
    for j in range(j0, j1, COLS):
        first, rows = strip_of(i0, i1, j)
        g = scratch[0, : COLS * rows]
        for i in range(g.size):
            g[i] = 0.0
        if not square:
            start = max(first, j + COLS)
            blocks = (i1 - start + COLS - 1) // COLS
            transpose_blocks(
                address_of(A) + 8 * (start * A.shape[1] + j),
                8 * A.shape[1],
                8 * COLS * A.shape[1],
                address_of(g) + 8 * (start - first),
                8 * rows,
                8 * COLS,
                blocks,
                1.0,
            )
            if i0 == j0:
                for i in range(j, min(j + COLS, i1)):
                    for c in range(i - j):
                        g[c * rows + i - first] = A[i, j + c]
        for c in range(COLS):
            if c >= j1 - j:  # beyond the matrix
                for i in range(rows):
                    g[c * rows + i] = 0.0
                continue
            start = max(first, j + c + 1)
            weight, q = g[c * rows + start - first : c * rows + i1 - first], q_all[: i1 - start]
            w = A[i0 + j + c - j0, j0:j1] if square else weight
            likelihood_weights(A, alpha, targets, start, j + c, q)
            for i in range(q.size):
                weight[i] = q[i] * w[i]
            for i in range(i1 - first, rows):
                g[c * rows + i] = 0.0
        contract_strip(U, free, tied, first, rows, j, g, total)
    add_lanes(total, free, out)


@part
def weights_strip(Q, alpha, targets, i0, j0, first, rows, i1, j, j1, q):
    """Strip q[c, i] = the weight of the pair (first + i, j + c), of the diagonal where they are one, and 0 above it.

    With ``targets`` = 0, Q holds any weights and both of its triangles count: the derivative of <Q, K>. With OF_TILE, the
    weight of (i, j), i >= j, of the tile at (i0, j0) is Q[j - j0, i - i0]. Otherwise Q holds K^-1 and the result is that of
    half the weights sum_t alpha_t alpha_t' - m K^-1.
    """
    for i in range(q.size):
        q[i] = 0.0
    if targets == 0:
        for i in range(first, i1):
            across = Q[i]
            for c in range(min(COLS, j1 - j)):
                if i >= j + c:
                    q[c * rows + i - first] = across[j + c]
    for c in range(min(COLS, j1 - j)):
        start = max(first, j + c)
        target = q[c * rows + start - first : c * rows + i1 - first]
        if targets == OF_TILE:
            row = Q[j + c - j0, start - i0 : i1 - i0]
            for i in range(target.size):
                target[i] = row[i]
            continue
        if targets > 0:
            likelihood_weights(Q, alpha, targets, start, j + c, target)
        else:
            row = Q[j + c, start:i1]
            for i in range(target.size):
                target[i] += row[i]
        if start == j + c:
            target[0] *= 0.5


@part
def product_tile(kernel, shape, variance, U, free, tied, Q, alpha, targets, n, tile, i, j, scratch, out):
    """out = tile (i, j)'s share of the derivatives by [ln length_scale ..., ln variance, ln shape ...], profile computed anew.

    For the weights of ``weights_strip``. A point with itself: k(0) = 1, which neither a length scale nor a shape changes.
    """
    never_inline()
    i0, i1, j0, j1 = corners(n, tile, i, j)
    total = np.empty((free, LANES))
    clear_lanes(total, free)
    of_variance, of_shape = np.zeros(strip_space(i1 - i0)), np.zeros((shape.size, strip_space(i1 - i0)))
    for j in range(j0, j1, COLS):
        first, rows = strip_of(i0, i1, j)
        size = COLS * rows
        q, s, w, v = scratch[0, :size], scratch[1, :size], scratch[2, :size], scratch[3:]
        weights_strip(Q, alpha, targets, i0, j0, first, rows, i1, j, j1, q)
        squared_distances(U, first, rows, U, j, s)
        covariance_and_slope(kernel, shape, variance, tied, s, w, v)
        for p in range(shape.size):
            sums, values = of_shape[p], v[p]
            for i in range(size):
                sums[i] += q[i] * values[i]
        for i in range(size):  # a sum a place: the compiler may not reorder a single one to use vectors
            of_variance[i] += q[i] * s[i]
            q[i] *= w[i]
        contract_strip(U, free, tied, first, rows, j, q, total)
    add_lanes(total, free, out)
    out[free : free + 1 + shape.size] = 0.0
    for i in range(of_variance.size):
        out[free] += of_variance[i]
        for p in range(shape.size):
            out[free + 1 + p] += of_shape[p, i]


@jit
def fill(state, kernel, shape, variance, U, A, diagonal, n, tile, accumulate):
    """Every tile of the covariance of n points."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    scratch = np.empty((2, strip_space(tile)))
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        fill_tile(kernel, shape, variance, False, U, A, diagonal, accumulate, n, tile, i, j, scratch)
        task = next_task(state)


@separate(entry=True)
def contract(state, U, free, tied, A, alpha, targets, n, tile, partial):
    """partial[tile] = that tile's share, by ``contract_tile``: of weights that were not known when K was inverted."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    scratch, total = np.empty((2, strip_space(tile))), np.empty((free, LANES))
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        contract_tile(U, free, tied, A, alpha, targets, n, tile, i, j, scratch, total, partial[task])
        task = next_task(state)


@separate(entry=True)
def product(state, kernel, shape, variance, U, free, tied, Q, alpha, targets, n, tile, partial):
    """partial[tile] = that tile's share, by ``product_tile``."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    scratch = np.empty((3 + shape.size, strip_space(tile)))
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        product_tile(kernel, shape, variance, U, free, tied, Q, alpha, targets, n, tile, i, j, scratch, partial[task])
        task = next_task(state)


@jit
def cross_covariance(state, kernel, shape, variance, U, V, out):
    """out[j, i] = variance k(s) of point j of V and point i of U; a strip is a task."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    n, columns = out.shape
    scratch = np.empty((2, strip_space(_ACROSS)))
    task = next_task(state)
    while task < (n + COLS - 1) // COLS:
        j = task * COLS
        for first in range(0, columns, _ACROSS):
            stop = min(columns, first + _ACROSS)
            rows = round_up(stop - first, ROWS)
            s, w = scratch[0, : COLS * rows], scratch[1, : COLS * rows]
            squared_distances(U, first, rows, V, j, s)
            covariance_and_slope(kernel, shape, variance, False, s, w, scratch[2:])
            for c in range(min(COLS, n - j)):
                here, target = s[c * rows : c * rows + stop - first], out[j + c, first:stop]
                for i in range(here.size):
                    target[i] = here[i]
        task = next_task(state)


@part
def differences(U, first, rows, g, V, j, moment):
    """moment[p, lane] += sum_i g[i] (U[p, first + i] - V[p, j]), the slope towards point j of V; each lane every ROWS-th i."""
    for p in range(U.shape[0]):
        u, origin, total = U[p, first : first + rows], V[p, j], moment[p]
        for i in range(0, rows, ROWS):
            here, weight = u[i : i + ROWS], g[i : i + ROWS]
            for lane in range(ROWS):  # a sum a lane: the compiler may not reorder a single one to use vectors
                total[lane] += weight[lane] * (here[lane] - origin)


@jit
def point_gradient(state, kernel, shape, variance, U, V, Q, out):
    """out[t, p, j] = sum_i Q[t, j, i] d K(v_j, u_i) / d v_jp, v and u scaled; the points j that share a strip are a task.

    Q is (targets, 1 or points, n): weights of each pair, or the same for every point.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    targets, shared, n = Q.shape[0], Q.shape[1] == 1, Q.shape[2]
    scratch = np.empty((3, strip_space(_ACROSS)))
    task = next_task(state)
    while task < (out.shape[2] + COLS - 1) // COLS:
        start = task * COLS
        members = min(COLS, out.shape[2] - start)
        moments = np.zeros((COLS, targets, U.shape[0], ROWS))
        for first in range(0, n, _ACROSS):
            stop = min(n, first + _ACROSS)
            rows = round_up(stop - first, ROWS)
            s, w, g = scratch[0, : COLS * rows], scratch[1, : COLS * rows], scratch[2, :rows]
            squared_distances(U, first, rows, V, start, s)
            covariance_and_slope(kernel, shape, variance, False, s, w, scratch[3:])
            for c in range(members):
                slope = w[c * rows : c * rows + stop - first]
                for t in range(targets):
                    weight = Q[t, 0 if shared else start + c, first:stop]
                    for i in range(slope.size):
                        g[i] = weight[i] * slope[i]
                    for i in range(slope.size, rows):
                        g[i] = 0.0
                    differences(U, first, rows, g, V, start + c, moments[c, t])
        for c in range(members):
            for t in range(targets):
                for p in range(U.shape[0]):
                    total = 0.0
                    for lane in range(ROWS):
                        total += moments[c, t, p, lane]
                    out[t, p, start + c] = total
        task = next_task(state)


@part
def mirror_tile(A, n, tile, i, j):
    """The elements of tile (i, j), held at A[j, i] for i >= j, in their mirror places too; A is padded as a workspace's."""
    i0, i1, j0, j1 = corners(n, tile, i, j)
    a, leading = address_of(A), 8 * A.shape[1]
    for j in range(j0, j1, COLS):
        start = max(i0, j + COLS)
        blocks = (i1 - start + COLS - 1) // COLS
        transpose_blocks(
            a + j * leading + 8 * start, leading, 8 * COLS, a + start * leading + 8 * j, leading, COLS * leading, blocks, 1.0
        )
        if i0 == j0:  # the block that the diagonal crosses
            for i in range(j, min(j + COLS, i1)):
                for c in range(i - j):
                    A[i, j + c] = A[j + c, i]


@jit
def mirror(state, A, n, tile):
    """The upper triangle of A in its lower one."""
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        i, j = triangle_corner(task)
        mirror_tile(A, n, tile, i, j)
        task = next_task(state)
