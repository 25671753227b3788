"""The compiled predictions: mean, standard deviation and their gradients, some queries at a time.

With k the covariances of a query and the n training points, alpha = K^-1 y and v = L^-1 k, the mean is k'alpha and the
variance k(0) - v'v (Rasmussen & Williams 2006, Algorithm 2.1). A task is a block of queries, whose k, v and K^-1 k = L^-T v
take each other's place in one scratch of packed panels, [k][COLS queries], as the microkernel reads them; so nothing of size
n x q is made beyond the block. For many queries all flops that grow with n^2 are the microkernel's: some rows of L, which
stands at its transpose, are packed at a time, and COLS of them are left to a substitution in registers. For a few it does not
pay to pack: L is read once, as it stands (`forward_few`, `backward_few`). No part of L is inverted: where K is nearly
singular, products with an inverse would cost the variance digits.

A query's numbers come from the same operations whatever the block, so blocks may depend on the number of threads.
"""

import math
from functools import cache

import numpy as np
from numba import types

from fastard._engine.loops.pairs import differences, round_up, squared_distances
from fastard._engine.loops.profiles import covariance_and_slope
from fastard._engine.loops.sweep import STEP
from fastard._numba.atomics import address_of, atomic_store, never_inline, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS, SMALL
from fastard._numba.jit import CUBE, MATRIX, VECTOR, caller_at, jit, part, separate
from fastard._numba.microkernel import (
    add_product,
    copy_rows,
    dot_products,
    set_product,
    substitute_columns,
    subtract_combination,
    transpose_blocks,
)
from fastard._numba.threads import FAILED, POOL, STATE, dispatch, next_task

MEAN, DEVIATION, GRADIENT = 0, 1, 2  # what is wanted, each with what stands before it

# Places in the job's state: whether there were variances of 0 or less, and any below 0
NOT_POSITIVE, NEGATIVE = STATE, STATE + 1
PLACES = 2

OUT_OF_RANGE = 1  # FAILED, where a query is not finite or squares of differences may overflow

_WIDTH = 96  # rows of L that are one step of the blocked substitution

_DEPTH = 240  # of L's columns that are packed at a time: with COLS rows, and as many of ROWS queries, they fit the first cache

_ACROSS = 40 * ROWS  # training points of a strip of covariances
assert _WIDTH % SMALL == _DEPTH % SMALL == 0


@separate
def scale_queries(points, start, count, center, length_scale, farthest, U, V):
    """V[p, c] = scaled coordinate p of query start + c, zeros from ``count`` on; False where one is out of range."""
    for p in range(V.shape[0]):
        origin, unit, first, target = center[p], length_scale[p], U[p, 0], V[p]
        for c in range(count):
            x = (points[start + c, p] - origin) / unit
            if not abs(x - first) < farthest:  # nor where it is NaN
                return False
            target[c] = x
        for c in range(count, target.size):
            target[c] = 0.0
    return True


@part
def pack_rows(factor, row, width, column, depth, packed):
    """L's rows row ... row + width and columns column ... column + depth into panels [q, k, COLS], zeros beyond its rows."""
    never_inline()
    for q in range((width + COLS - 1) // COLS):
        there = min(COLS, width - q * COLS)
        source = address_of(factor) + 8 * (column * factor.shape[1] + row + q * COLS)
        if there == COLS:
            copy_rows(source, 8 * factor.shape[1], address_of(packed[q]), STEP, depth, 1.0)
        else:
            for k in range(depth):
                line, target = factor[column + k], packed[q, k]
                for r in range(COLS):
                    target[r] = line[row + q * COLS + r] if r < there else 0.0


@part
def pack_columns(factor, column, width, row, depth, packed):
    """The same of L's transpose: its columns column ... column + width, and the rows row ... row + depth of them."""
    never_inline()
    for q in range((width + COLS - 1) // COLS):
        target = packed[q]
        for r in range(COLS):
            j = column + q * COLS + r
            if q * COLS + r < width:
                line = factor[j, row : row + depth]
                for k in range(depth):
                    target[k, r] = line[k]
            else:
                for k in range(depth):
                    target[k, r] = 0.0


@part
def subtract_products(z, panel_bytes, queries, source, depth, packed, target, width):
    """Z's columns target ..., in packed panels, less products of its columns source ... source + depth with ``packed``."""
    never_inline()
    for i in range(0, queries, ROWS):
        here = z + i // COLS * panel_bytes
        for q in range((width + COLS - 1) // COLS):
            add_product(
                here + source * STEP,
                panel_bytes,
                address_of(packed[q]),
                depth,
                here + (target + q * COLS) * STEP,
                panel_bytes,
                STEP,
                -1.0,
                0,
            )


@separate
def forward(factor, Z, panel_bytes, count, rows, packed, triangle, squares):
    """Each query's row k of Z becomes L^-1 k, zeros beyond n; ``squares`` (queries,) become the sums of their squares.

    ``rows``, ``packed`` and the ``triangle``, zeros before, are scratch.
    """
    n, z, queries = factor.shape[0], address_of(Z), round_up(count, ROWS)
    for c in range(queries):
        squares[c] = 0.0
    for c in range(0, n, _WIDTH):
        width = min(_WIDTH, n - c)
        for k in range(0, c, _DEPTH):
            depth = min(_DEPTH, c - k)
            pack_rows(factor, c, width, k, depth, packed)
            subtract_products(z, panel_bytes, queries, k, depth, packed, c, width)
        for j in range(c, c + width, COLS):
            there = min(COLS, n - j)
            if j > c:
                pack_rows(factor, j, there, c, j - c, packed)
                subtract_products(z, panel_bytes, queries, c, j - c, packed, j, there)
            for k in range(COLS):
                line = factor[j + min(k, there - 1)]
                for r in range(k, COLS):
                    triangle[k, r] = 0.0 if r >= there else 1.0 / line[j + r] if r == k else line[j + r]
            substitute_columns(z + j * STEP, STEP, panel_bytes, queries // COLS, address_of(triangle), address_of(squares))


@separate
def backward(factor, z, panel_bytes, queries, packed, triangle, squares):
    """Each query's row v of Z becomes L^-T v; the rest is scratch."""
    n = factor.shape[0]
    for c in range((n - 1) // _WIDTH * _WIDTH, -1, -_WIDTH):
        width = min(_WIDTH, n - c)
        stop = c + width
        for k in range(stop, n, _DEPTH):
            depth = min(_DEPTH, n - k)
            pack_columns(factor, c, width, k, depth, packed)
            subtract_products(z, panel_bytes, queries, k, depth, packed, c, width)
        for j in range(c + (width - 1) // COLS * COLS, c - 1, -COLS):
            there = min(COLS, n - j)
            if j + COLS < stop:
                pack_columns(factor, j, there, j + COLS, stop - j - COLS, packed)
                subtract_products(z, panel_bytes, queries, j + COLS, stop - j - COLS, packed, j, there)
            for a in range(COLS):  # from the last column to the first
                for b in range(a, COLS):
                    k, r = COLS - 1 - a, COLS - 1 - b
                    if k >= there:
                        triangle[a, b] = 0.0
                    else:
                        value = factor[j + r, j + k]
                        triangle[a, b] = 1.0 / value if r == k else value
            substitute_columns(
                z + (j + COLS - 1) * STEP, -STEP, panel_bytes, queries // COLS, address_of(triangle), address_of(squares)
            )


@separate
def forward_few(factor, Z, panel_bytes, count, rows, packed, triangle, squares):
    """The same as ``forward`` for few queries, each a row of its own: L is read once, as it stands, and not packed."""
    n = factor.shape[0]
    address, leading = address_of(factor), 8 * factor.shape[1]
    for c in range(count):
        for k in range(n):
            rows[c, k] = Z[c // COLS, k, c % COLS]
    for j in range(0, n, COLS):
        stop = min(n, j + COLS)
        whole = (n - stop) // LANES
        for c in range(count):
            x = rows[c]
            for k in range(j, stop):
                line = factor[k]
                x[k] /= line[k]
                for i in range(k + 1, stop):
                    x[i] -= line[i] * x[k]
            if stop < n:
                here = 8 * stop
                subtract_combination(address_of(x) + here, address + j * leading + here, leading, address_of(x) + 8 * j, whole)
                for i in range(stop + whole * LANES, n):
                    for k in range(j, stop):
                        x[i] -= factor[k, i] * x[k]
    for c in range(count):
        squares[c] = 0.0
        for k in range(n):
            squares[c] += rows[c, k] * rows[c, k]


@separate
def backward_few(factor, Z, count, rows):
    """The same as ``backward`` for the rows that ``forward_few`` has left."""
    n = factor.shape[0]
    address, leading = address_of(factor), 8 * factor.shape[1]
    sums = np.empty((COLS, LANES))
    for j in range((n - 1) // COLS * COLS, -1, -COLS):
        stop = min(n, j + COLS)
        whole = (n - stop) // LANES
        for c in range(count):
            x = rows[c]
            if stop < n:
                for k in range(COLS):
                    for lane in range(LANES):
                        sums[k, lane] = 0.0
                here = 8 * stop
                dot_products(address_of(x) + here, address + j * leading + here, leading, whole, address_of(sums))
                for k in range(j, stop):
                    total = 0.0
                    for lane in range(LANES):
                        total += sums[k - j, lane]
                    for i in range(stop + whole * LANES, n):
                        total += factor[k, i] * x[i]
                    x[k] -= total
            for k in range(stop - 1, j - 1, -1):
                line = factor[k]
                for i in range(k + 1, stop):
                    x[k] -= line[i] * x[i]
                x[k] /= line[k]
    for c in range(count):
        for k in range(n):
            Z[c // COLS, k, c % COLS] = rows[c, k]


@separate
def write_means(z, panel_bytes, n, alpha, start, count, scale, offset, tile, mean):
    """mean[start + c, t] = scale[t] k_c'alpha_t + offset[t]; ``alpha`` in packed panels (m / COLS, n, COLS).

    ``tile`` (COLS, ROWS) is scratch.
    """
    for i in range(0, count, ROWS):
        for q in range(alpha.shape[0]):
            set_product(
                z + i // COLS * panel_bytes, panel_bytes, address_of(alpha[q]), n, address_of(tile), STEP, 8 * ROWS, 1.0, 0
            )
            for t in range(q * COLS, min(mean.shape[1], q * COLS + COLS)):
                for c in range(min(ROWS, count - i)):
                    mean[start + i + c, t] = scale[t] * tile[t - q * COLS, c] + offset[t]


@separate
def write_deviations(state, prior, squares, start, count, noise, scale, deviation, inverse):
    """deviation[start + c, t] = scale[t] sqrt(variance), 0 where that is not positive, which the state then says.

    The variance is ``prior`` less ``squares[c]``, plus ``noise[start + c]`` where there is such. ``inverse`` becomes one over
    its root, or 0.
    """
    for c in range(count):
        variance = prior - squares[c]
        if noise.size > 0:
            variance += noise[start + c]
        root = 0.0
        if variance > 0.0:
            root = math.sqrt(variance)
        else:
            atomic_store(address_of(state) + 8 * NOT_POSITIVE, 1)
            if variance < 0.0:
                atomic_store(address_of(state) + 8 * NEGATIVE, 1)
        inverse[c] = 1.0 / root if root > 0.0 else 0.0
        for t in range(scale.size):
            deviation[start + c, t] = scale[t] * root


@separate
def add_slopes(U, first, stop, w, alpha, Z, V, c, members, g, moments):
    """Adds what the strip's points, with slopes w, contribute to the derivatives of the queries from c on: moments[c, t] with
    the weights alpha_t, and the last t with those of Z, a packed panel."""
    rows, targets = w.size // COLS, moments.shape[1] - 1
    for member in range(members):
        slope = w[member * rows : member * rows + stop - first]
        for t in range(targets + 1):
            weights, lane = (Z, member) if t == targets else (alpha[t // COLS], t % COLS)
            for i in range(slope.size):
                g[i] = weights[first + i, lane] * slope[i]
            for i in range(slope.size, rows):
                g[i] = 0.0
            differences(U, first, rows, g, V, c + member, moments[member, t])


@separate
def write_gradients(moments, row, members, inverse, length_scale, scale, mean_grad, deviation_grad):
    """The derivatives with respect to the coordinates of queries row, row + 1 ...; ``inverse`` is ``write_deviations``'s."""
    targets = moments.shape[1] - 1
    for member in range(members):
        for p in range(length_scale.size):
            for t in range(targets + 1):
                total = 0.0
                for lane in range(ROWS):
                    total += moments[member, t, p, lane]
                total /= length_scale[p]
                if t < targets:
                    mean_grad[row + member, p, t] = scale[t] * total
                else:
                    for u in range(targets):
                        deviation_grad[row + member, p, u] = -scale[u] * total * inverse[member]


@part
def covariance_strip(kernel, shape, variance, U, first, stop, V, c, strips):
    """strips[0] and [1] = covariances and slopes [COLS, rows] between training points first ... stop and the queries from c
    on; returns rows."""
    never_inline()
    rows = round_up(stop - first, ROWS)
    s, w = strips[0, : COLS * rows], strips[1, : COLS * rows]
    squared_distances(U, first, rows, V, c, s)
    covariance_and_slope(kernel, shape, variance, False, s, w, strips[3:])
    return rows


_FIXED_VECTOR, _FIXED_MATRIX, _FIXED_CUBE = (kind.copy(readonly=True) for kind in (VECTOR, MATRIX, CUBE))

_GRADIENT_TYPES = (
    types.int64, VECTOR, types.float64, _FIXED_MATRIX, _FIXED_CUBE, _FIXED_MATRIX, CUBE, types.int64, MATRIX, types.int64,
    types.int64, types.boolean, MATRIX, CUBE, MATRIX, MATRIX, MATRIX, _FIXED_VECTOR, _FIXED_VECTOR, CUBE, CUBE,
)  # fmt: skip

_gradients = caller_at(*_GRADIENT_TYPES)


@separate
def gradients(
    kernel, shape, variance, U, alpha, factor, Z, panel_bytes, V, start, count, few, rows, packed, triangle, strips,
    squares, length_scale, scale, mean_grad, deviation_grad,
):  # fmt: skip
    """The gradients at queries start ... start + count, whose v are in Z, or in ``rows`` where they are few."""
    n, d, z = factor.shape[0], U.shape[0], address_of(Z)
    moments = np.empty((COLS, scale.size + 1, d, ROWS))
    if few:
        backward_few(factor, Z, count, rows)
    else:
        backward(factor, z, panel_bytes, round_up(count, ROWS), packed, triangle, squares[0])
    for c in range(0, count, COLS):
        there = min(COLS, count - c)
        for member in range(there):
            for t in range(scale.size + 1):
                for p in range(d):
                    for lane in range(ROWS):
                        moments[member, t, p, lane] = 0.0
        for first in range(0, n, _ACROSS):
            stop = min(n, first + _ACROSS)
            length = covariance_strip(kernel, shape, variance, U, first, stop, V, c, strips)
            w = strips[1, : COLS * length]
            add_slopes(U, first, stop, w, alpha, Z[c // COLS], V, c, there, strips[2], moments)
        write_gradients(moments, start + c, there, squares[1, c : c + there], length_scale, scale, mean_grad, deviation_grad)


_SOLVE_TYPES = (_FIXED_MATRIX, CUBE, types.int64, types.int64, MATRIX, CUBE, MATRIX, VECTOR)

_solve = caller_at(*_SOLVE_TYPES)


@cache
def solve_address(few: bool) -> int:
    """What `predict` takes for standard deviations: no program waits for the way of many queries before it has many."""
    address: int = (forward_few if few else forward).address(_SOLVE_TYPES)
    return address


@cache
def gradients_address() -> int:
    """What `predict` takes: most programs never ask for gradients, and need not wait until all that is compiled."""
    address: int = gradients.address(_GRADIENT_TYPES)
    return address


@jit
def predict(
    state, kernel, shape, variance, noise, U, center, length_scale, alpha, factor, points, farthest,
    noise_of_points, scale, offset, wanted, solve_at, gradients_at, few, block, mean, deviation, mean_grad, deviation_grad,
):  # fmt: skip
    """Predictions at the points (q, d), ``block`` of them a task; a multiple of ROWS.

    Parameters
    ----------
    noise : float
        Added to every variance; ``noise_of_points`` (q,), where not empty, to each its own.
    U : (d, round_up(n, ROWS))
        Scaled training points; ``center`` and ``length_scale`` (d,) scale the others.
    farthest : float
        Scaled coordinates of a query are to be nearer than that to the first training point's.
    alpha : (m / COLS, n, COLS)
        In packed panels.
    factor : (n, n)
        L at its transpose.
    scale, offset : (m,)
        What turns predictions into the targets' units.
    wanted : int
        MEAN, DEVIATION or GRADIENT: which of the results, (q, m) and (q, d, m), are written.
    solve_at, gradients_at : int
        From DEVIATION on, ``solve_address(few)``, and with GRADIENT ``gradients_address()``.
    few : bool
        Whether each query's system is solved on its own.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    n, d, q = factor.shape[0], U.shape[0], points.shape[0]
    panel_bytes = round_up(n, SMALL) * STEP
    Z = np.empty((block // COLS, round_up(n, SMALL), COLS))
    V, squares, packed = np.empty((d, block)), np.empty((2, block)), np.empty((_WIDTH // COLS, _DEPTH, COLS))
    rows = np.empty((block if few else 0, n))
    strips = np.empty((3, COLS * min(_ACROSS, round_up(n, ROWS))))
    triangle, tile = np.zeros((COLS, COLS)), np.empty((COLS, ROWS))
    z = address_of(Z)
    task = next_task(state)
    while task * block < q:
        start = task * block
        count = min(block, q - start)
        queries = round_up(count, ROWS)
        if not scale_queries(points, start, count, center, length_scale, farthest, U, V):
            atomic_store(address_of(state) + 8 * FAILED, OUT_OF_RANGE)
            break
        for c in range(0, queries, COLS):
            if c >= count:  # no query's, but the microkernel's
                empty = Z[c // COLS]
                for k in range(empty.shape[0]):
                    for lane in range(COLS):
                        empty[k, lane] = 0.0
                continue
            for first in range(0, n, _ACROSS):
                stop = min(n, first + _ACROSS)
                length = covariance_strip(kernel, shape, variance, U, first, stop, V, c, strips)
                target = z + c // COLS * panel_bytes + first * STEP
                transpose_blocks(address_of(strips), 8 * length, STEP, target, STEP, COLS * STEP, length // COLS, 1.0)
        write_means(z, panel_bytes, n, alpha, start, count, scale, offset, tile, mean)
        if wanted != MEAN:
            _solve(solve_at, factor, Z, panel_bytes, count, rows, packed, triangle, squares[0])
            write_deviations(state, variance + noise, squares[0], start, count, noise_of_points, scale, deviation, squares[1])
        if wanted == GRADIENT:
            _gradients(
                gradients_at, kernel, shape, variance, U, alpha, factor, Z, panel_bytes, V, start, count, few, rows, packed,
                triangle, strips, squares, length_scale, scale, mean_grad, deviation_grad,
            )  # fmt: skip
        task = next_task(state)
