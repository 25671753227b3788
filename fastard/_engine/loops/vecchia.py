"""The block Vecchia likelihood and its derivatives: blocks of points, each conditioned on some that stand before it.

Vecchia, JRSS B 50 (1988), 297-312, for blocks: Stein, Chi & Welty, JRSS B 66 (2004), 275-296. A block has k = m + b points,
first the m that it is conditioned on, c, then its own. With K their covariance with noise, K = LL', e = L^-1 y and
W = L^-T [0; I], the last b rows of L^-1 transposed,

    ln p(y_b | y_c) = -sum_b ln L_jj - e_b'e_b / 2 - b ln(2 pi) / 2
    beta = [K_cc^-1 y_c; 0]      alpha = K^-1 y      Q = alpha alpha' - beta beta' - W W'

and every derivative is <Q, dK> / 2: ln p(y_b | y_c) is the difference of the two points' sets' log likelihoods, and W W' that
of their inverse covariances. With several targets alpha alpha' and beta beta' are sums, and W W' counts as often. Likewise the
average information of `information` is a difference, with w_a = (dK / da) alpha and v_a = (dK_cc / da) beta:
(w_a' K^-1 w_b - v_a' K_cc^-1 v_b) / 2.

All of it stays in the second cache. Matrices are packed panels of the microkernel, [k][COLS rows], whatever they hold: the
product of panels is again one, so nothing is packed on the way. L is factored column by column of panels (left-looking), and
targets are rows below K, which become e. The slopes w(s) stand in strips, as `pairs` has them, one after the other. The
coordinates of a block are differences from its first own point, which costs fewer digits than those from any center.

A task is a chunk of blocks, whose sums stand in a row of ``partial``: bits depend on the chunks alone.
"""

import math

import numpy as np

from fastard._engine.loops.likelihood import value
from fastard._engine.loops.pairs import add_lanes, clear_lanes, contract_strip, round_up
from fastard._engine.loops.profiles import covariance_and_slope
from fastard._engine.loops.sweep import ROUNDING, STEP
from fastard._numba.atomics import address_of, atomic_load, atomic_store, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS
from fastard._numba.jit import jit, part, separate
from fastard._numba.microkernel import (
    add_panel_product,
    add_product,
    copy_rows,
    distances,
    factor_columns,
    panel_distances,
    set_panel_product,
    set_product,
    substitute_columns,
    transpose_blocks,
)
from fastard._numba.threads import FAILED, POOL, dispatch, next_task

VALUE, HALF_LOG_DETERMINANT, DERIVATIVES = 0, 1, 2  # places in a row of ``partial``: the derivatives, then the information

LIKELIHOOD, GRADIENT, INFORMATION = 0, 1, 2  # what is wanted, each with what stands before it

NOT_POSITIVE_DEFINITE = 1  # FAILED

_ALL = ROWS // COLS  # panels of a whole block of the microkernel


@part
def subtract_products(a, target, panel_bytes, panels, b, depth):
    """COLS columns at ``target`` of so many panels, less the product of their ``depth`` columns at a with the panel at b."""
    q = 0
    while q + _ALL <= panels:
        here = q * panel_bytes
        add_product(a + here, panel_bytes, b, depth, target + here, panel_bytes, STEP, -1.0, 0)
        q += _ALL
    while q < panels:
        here = q * panel_bytes
        add_panel_product(a + here, panel_bytes, b, depth, target + here, panel_bytes, STEP, -1.0, 0)
        q += 1


@part
def set_products(a, panel_bytes, panels, b, depth, target, column_bytes):
    """Columns at ``target``, ``column_bytes`` apart, become the product of the panels at a with the one at b."""
    q = 0
    while q + _ALL <= panels:
        set_product(a + q * panel_bytes, panel_bytes, b, depth, target + q * STEP, STEP, column_bytes, 1.0, 0)
        q += _ALL
    while q < panels:
        set_panel_product(a + q * panel_bytes, panel_bytes, b, depth, target + q * STEP, STEP, column_bytes, 1.0, 0)
        q += 1


@part
def gather(X, y, known, noise, columns, inverse_scale, neighbors, begin, end, V, targets, diagonal):
    """A block's coordinates V (d, k) in units of the length scales, its targets (T, k), and the noise on K's diagonal (k,)."""
    m, k = neighbors.size, neighbors.size + end - begin
    origin = X[begin]
    for r in range(k):
        place = np.int64(neighbors[r]) if r < m else begin + r - m
        row = X[place]
        for p in range(columns.size):
            column = columns[p]
            V[p, r] = (row[column] - origin[column]) * inverse_scale[p]
        for t in range(targets.shape[0]):
            targets[t, r] = y[place, t]
        diagonal[r] = noise + known[place] if known.size else noise
    for r in range(k, round_up(k, COLS)):
        for p in range(columns.size):
            V[p, r] = 0.0


@part
def equal_pair(s, rows, j, k, diagonal, negligible):
    """The row of a pair in the strip whose distance is 0 and who have no noise to speak of, or -1."""
    for c in range(min(COLS, k - j)):
        if diagonal[j + c] <= negligible:
            for i in range(c + 1, k - j):
                if s[c * rows + i] == 0.0 and diagonal[j + i] <= negligible:
                    return j + i
    return -1


@separate
def fill(kernel, shape, variance, tied, V, k, diagonal, negligible, L, s_all, v_all, w, by_shape):
    """K, with its ``diagonal``, into L's panels, w into the strips one after the other, and dk / d ln(shape) likewise.

    Padded to whole panels by the identity. Returns -1, or a row that is equal to one before it.
    """
    width, offset, singular = round_up(k, COLS), 0, -1
    least = math.inf
    for r in range(k):
        least = min(least, diagonal[r])
    lower, panel_bytes = address_of(L), STEP * L.shape[1]
    step = 8 * V.shape[1]
    for j in range(0, width, COLS):
        rows = width - j
        size = COLS * rows
        s, slope, here = s_all[:size], w[offset : offset + size], address_of(V) + 8 * j
        i = 0
        while i + ROWS <= rows:
            distances(here + 8 * i, step, here, step, V.shape[0], address_of(s) + 8 * i, 8 * rows)
            i += ROWS
        while i < rows:
            panel_distances(here + 8 * i, step, here, step, V.shape[0], address_of(s) + 8 * i, 8 * rows)
            i += COLS
        if least <= negligible:
            found = equal_pair(s, rows, j, k, diagonal, negligible)
            if found >= 0 and (singular < 0 or found < singular):
                singular = found
        covariance_and_slope(kernel, shape, variance, tied, s, slope, v_all)
        for p in range(by_shape.shape[0]):
            source, target = v_all[p], by_shape[p, offset : offset + size]
            for q in range(size):
                target[q] = source[q]
        for i in range(0, rows, COLS):
            target_panel = lower + (j + i) // COLS * panel_bytes + j * STEP
            copy_rows(address_of(s) + 8 * i, 8 * rows, target_panel, STEP, COLS, 1.0)
        for c in range(min(COLS, k - j)):
            L[j // COLS, j + c, c] = variance + diagonal[j + c]
        offset += size
    for r in range(k, width):
        panel, lane = L[r // COLS], r % COLS
        for j in range(width):
            panel[j, lane] = 0.0
        for q in range(COLS):
            panel[r, q] = 0.0
        panel[r, lane] = 1.0
    return singular


@separate
def factor(L, k, rows_below, diagonal, variance, triangles, pivots, squares):
    """L L' = K in K's place, and the panels from round_up(k, COLS) / COLS on become what is L^-1 times their rows.

    ``triangles`` are those of `factor_columns`, one for each panel. Returns -1, or the row whose pivot is not positive beyond
    rounding.
    """
    width = round_up(k, COLS)
    panels = (width + rows_below + COLS - 1) // COLS
    lower, panel_bytes = address_of(L), STEP * L.shape[1]
    for j in range(0, width, COLS):
        here = lower + j // COLS * panel_bytes
        left = panels - j // COLS
        if j > 0:
            subtract_products(here, here + j * STEP, panel_bytes, left, here, j)
        triangle = address_of(triangles) + j * STEP
        factor_columns(here + j * STEP, triangle, address_of(pivots) + 8 * j)
        for r in range(j, min(j + COLS, k)):
            if not (pivots[r] > ROUNDING * (variance + diagonal[r]) and pivots[r] < math.inf):
                return r
        substitute_columns(here + panel_bytes + j * STEP, STEP, panel_bytes, left - 1, triangle, address_of(squares))
    return -1


@separate
def solve_back(L, k, m, targets, triangles, packed, reverse, Z, rows_of_Z, squares):
    """Rows of Z: W' (b), alpha_t', beta_t'; and ``rows_of_Z`` the same by panels of k, [row of Z][COLS points]."""
    width, b = round_up(k, COLS), k - m
    queries = round_up(b + 2 * targets, COLS)
    lower, panel_bytes, z, z_bytes = address_of(L), STEP * L.shape[1], address_of(Z), STEP * Z.shape[1]
    for q in range(queries // COLS):
        panel = Z[q]
        for r in range(width):
            for lane in range(COLS):
                panel[r, lane] = 0.0
    for q in range(b):
        Z[q // COLS, m + q, q % COLS] = 1.0
    for t in range(targets):
        e, lane = L[(width + t) // COLS], t % COLS
        for which in range(2):
            row = b + which * targets + t
            target, own = Z[row // COLS], row % COLS
            for r in range(k if which == 0 else m):
                target[r, own] = e[r, lane]
    step, there = address_of(packed), address_of(reverse)
    for j in range(width - COLS, -1, -COLS):
        depth, none = width - j - COLS, max(0, j - m) // COLS  # so many panels of W' are zero here
        here, count = z + none * z_bytes, queries // COLS - none
        if depth > 0:
            below = lower + (j // COLS + 1) * panel_bytes + j * STEP
            transpose_blocks(below, STEP, panel_bytes, step, STEP, COLS * STEP, depth // COLS, 1.0)
            subtract_products(here + (j + COLS) * STEP, here + j * STEP, z_bytes, count, step, depth)
        for a in range(COLS):
            for c in range(a, COLS):
                reverse[a, c] = triangles[j + COLS - 1 - c, COLS - 1 - a]
        substitute_columns(here + (j + COLS - 1) * STEP, -STEP, z_bytes, count, there, address_of(squares))
    for q in range(queries // COLS):
        target = address_of(rows_of_Z) + q * COLS * STEP
        transpose_blocks(z + q * z_bytes, STEP, COLS * STEP, target, STEP, STEP * rows_of_Z.shape[1], width // COLS, 1.0)


@separate
def contract(V, free, tied, k, m, targets, rows_of_Z, packed, diagonal, w, by_shape, g_all, of_scales, of_shapes):
    """of_scales[p, lane] and of_shapes[q, lane] grow by <Q, dK> / 2; returns Q's trace and that with the diagonal."""
    width, b, offset = round_up(k, COLS), k - m, 0
    x, x_bytes, depth = address_of(rows_of_Z), STEP * rows_of_Z.shape[1], b + 2 * targets
    y = address_of(packed)
    trace, weighted = 0.0, 0.0
    for j in range(0, width, COLS):
        rows = width - j
        size = COLS * rows
        g, here = g_all[:size], x + j // COLS * x_bytes
        copy_rows(here, STEP, y, STEP, b, -float(targets))
        copy_rows(here + b * STEP, STEP, y + b * STEP, STEP, targets, 1.0)
        copy_rows(here + (b + targets) * STEP, STEP, y + (b + targets) * STEP, STEP, targets, -1.0)
        set_products(here, x_bytes, rows // COLS, y, depth, address_of(g), 8 * rows)
        for c in range(COLS):
            if j + c < k:
                trace += g[c * rows + c]
                weighted += diagonal[j + c] * g[c * rows + c]
            for i in range(c + 1):
                g[c * rows + i] = 0.0
        for p in range(by_shape.shape[0]):
            values, sums = by_shape[p, offset : offset + size], of_shapes[p]
            for i in range(0, size, LANES):
                for lane in range(LANES):
                    sums[lane] += g[i + lane] * values[i + lane]
        slope = w[offset : offset + size]
        for i in range(size):
            g[i] *= slope[i]
        if free > 0:
            contract_strip(V, free, tied, j, rows, j, g, of_scales)
        offset += size
    return trace, weighted


@part
def symmetric(strips, width, panels):
    """The matrix whose lower triangle stands in the strips, whole and in panels; 0 on the diagonal."""
    offset, p, panel_bytes = 0, address_of(panels), STEP * panels.shape[1]
    for j in range(0, width, COLS):
        rows = width - j
        source = address_of(strips) + 8 * offset
        for i in range(0, rows, COLS):
            copy_rows(source + 8 * i, 8 * rows, p + (j + i) // COLS * panel_bytes + j * STEP, STEP, COLS, 1.0)
        if rows > COLS:
            target = p + j // COLS * panel_bytes + (j + COLS) * STEP
            transpose_blocks(source + STEP, 8 * rows, STEP, target, STEP, COLS * STEP, rows // COLS - 1, 1.0)
        for c in range(COLS):
            panels[j // COLS, j + c, c] = 0.0
        offset += COLS * rows


@part
def times_vectors(panels, width, R, count, packed, S):
    """S[v, i] = sum_j M_ij R[v, j] for vectors v < count, padded to whole panels."""
    x, x_bytes = address_of(panels), STEP * panels.shape[1]
    for v in range(0, count, COLS):
        source = address_of(R) + 8 * v * R.shape[1]
        transpose_blocks(source, 8 * R.shape[1], STEP, address_of(packed), STEP, COLS * STEP, width // COLS, 1.0)
        target = address_of(S) + 8 * v * S.shape[1]
        set_products(x, x_bytes, width // COLS, address_of(packed), width, target, 8 * S.shape[1])


@separate
def information(
    V, free, tied, k, m, y, diagonal, noise, rows_of_Z, L, triangles, w, by_shape, panels, packed, R, S, F, P, squares, gram,
    out,
):  # fmt: skip
    """out (size, size) grows by the block's average information, by [ln length scale of the free ..., variance, noise, shape].

    y (T, k) are the targets; the rest is what the steps before have left, and scratch.
    """
    width, b, targets, shapes = round_up(k, COLS), k - m, y.shape[0], by_shape.shape[0]
    size = free + 2 + shapes
    lower, lower_bytes = address_of(L), STEP * L.shape[1]
    p, p_bytes = address_of(P), STEP * P.shape[1]
    rows = round_up(2 * size, COLS)
    if free > 0:
        symmetric(w, width, panels[0])
    for s in range(shapes):
        symmetric(by_shape[s], width, panels[1 + s])
    for t in range(targets):
        for row in range(rows):
            target = F[row]
            for i in range(width):
                target[i] = 0.0
        for which in range(2):  # alpha and all points; beta and those of the condition
            of_z, points = b + which * targets + t, m if which else k
            vector = R[0]
            for i in range(0, width, COLS):
                source, target = rows_of_Z[i // COLS, of_z], vector[i : i + COLS]
                for lane in range(COLS):
                    target[lane] = source[lane]
            scales = F[which * size : which * size + size]
            of_variance, of_noise = scales[free], scales[free + 1]
            for i in range(points):
                of_variance[i] = y[t, i] - diagonal[i] * vector[i]
                of_noise[i] = noise * vector[i]
            if free > 0:
                if not tied:
                    for a in range(free):
                        u, first, second = V[a], R[1 + 2 * a], R[2 + 2 * a]
                        for i in range(width):
                            first[i] = u[i] * vector[i]
                            second[i] = u[i] * first[i]
                times_vectors(panels[0], round_up(points, COLS), R, 1 if tied else 1 + 2 * free, packed, S)
                sums = S[0]
                for a in range(free):
                    target = scales[a]
                    if tied:
                        for i in range(points):
                            target[i] = sums[i]
                    else:
                        u, first, second = V[a], S[1 + 2 * a], S[2 + 2 * a]
                        for i in range(points):
                            target[i] = u[i] * (u[i] * sums[i] - 2.0 * first[i]) + second[i]
            for s in range(shapes):
                times_vectors(panels[1 + s], round_up(points, COLS), R, 1, packed, S)
                target, sums = scales[free + 2 + s], S[0]
                for i in range(points):
                    target[i] = sums[i]
        for q in range(0, rows, COLS):
            source = address_of(F) + 8 * q * F.shape[1]
            transpose_blocks(source, 8 * F.shape[1], STEP, p + q // COLS * p_bytes, STEP, COLS * STEP, width // COLS, 1.0)
        for j in range(0, width, COLS):
            if j > 0:
                subtract_products(p, p + j * STEP, p_bytes, rows // COLS, lower + j // COLS * lower_bytes, j)
            triangle = address_of(triangles) + j * STEP
            substitute_columns(p + j * STEP, STEP, p_bytes, rows // COLS, triangle, address_of(squares))
        for which in range(2):
            start = which * size
            for q in range(start // COLS, (start + size + COLS - 1) // COLS):
                target = address_of(gram) + 8 * COLS * q * gram.shape[1]
                set_products(p, p_bytes, rows // COLS, p + q * p_bytes, m if which else k, target, 8 * gram.shape[1])
            for a in range(size):
                target, source = out[a], gram[start + a, start : start + size]
                for c in range(size):
                    target[c] += (-0.5 if which else 0.5) * source[c]


@jit
def evaluate(
    state, kernel, shape, variance, noise, negligible, X, y, known, columns, inverse_scale, free, tied, begin, end, neighbors,
    chunk, wanted, partial, failures,
):  # fmt: skip
    """partial[task] = [value, half ln|S|, derivatives ..., information ...], summed over the blocks of chunk ``task``.

    S = K_bb - K_bc K_cc^-1 K_cb. The derivatives, with GRADIENT, are by [ln length scale of the free columns ...,
    ln variance, ln noise, ln shape ...], and so is the information, row by row, with INFORMATION. Where a block's K is not
    positive definite, state[FAILED] and failures[task] = that block, and which of its points.

    Parameters
    ----------
    negligible
        Noise up to which two equal points are refused.
    X, y, known : (n, d), (n, T), (n,) or (0,)
        Points, targets, and the known variances beside the ``noise``.
    columns, inverse_scale : (d',)
        The columns of X that the kernel is over, the ``free`` first, and one over their length scales. Where ``tied``, these
        are one parameter, and ``free`` is 1.
    begin, end, neighbors : (B,), (B,), (B, m)
        Block j is the points begin[j] ... end[j] - 1, conditioned on neighbors[j].
    chunk
        Blocks of a task.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    blocks, m, d, targets = begin.size, neighbors.shape[1], columns.size, y.shape[1]
    most = 0
    for q in range(blocks):
        most = max(most, end[q] - begin[q])
    width = round_up(m + most, COLS)
    shapes = shape.size if wanted >= GRADIENT else 0
    size = free + 2 + shape.size
    queries = round_up(most + 2 * targets, COLS)
    strips = COLS * COLS * (width // COLS) * (width // COLS + 1) // 2
    V, rhs, diagonal = np.empty((d, width)), np.empty((targets, width)), np.empty(width)
    L = np.empty(((width + targets + COLS - 1) // COLS, width, COLS))
    triangles, pivots = np.empty((width, COLS)), np.empty(width)
    reverse, packed = np.empty((COLS, COLS)), np.empty((max(width, queries), COLS))
    s, v, w, by_shape = np.empty(COLS * width), np.empty((shapes, COLS * width)), np.empty(strips), np.empty((shapes, strips))
    Z = np.empty((queries // COLS if wanted >= GRADIENT else 0, width, COLS))
    rows_of_Z = np.empty((width // COLS if wanted >= GRADIENT else 0, queries, COLS))
    of_scales, of_shapes = np.empty((free, LANES)), np.empty((shapes, LANES))
    each, pairs = round_up(1 if tied else 1 + 2 * free, COLS), round_up(2 * size, COLS)
    informed = wanted >= INFORMATION
    panels = np.empty((1 + shapes if informed else 0, width // COLS, width, COLS))
    R, S = np.zeros((each, width)), np.empty((each, width))
    F, P, gram = np.empty((pairs, width)), np.empty((pairs // COLS, width, COLS)), np.empty((pairs, pairs))
    squares = np.zeros(max(width + round_up(targets, COLS), queries, pairs))
    task = next_task(state)
    while task * chunk < blocks:
        out = partial[task]
        for q in range(out.size):
            out[q] = 0.0
        clear_lanes(of_scales, free)
        clear_lanes(of_shapes, shapes)
        for q in range(squares.size):
            squares[q] = 0.0
        derivatives = out[DERIVATIVES : DERIVATIVES + size] if wanted >= GRADIENT else out[:0]
        for block in range(task * chunk, min(blocks, task * chunk + chunk)):
            b = end[block] - begin[block]
            k = m + b
            gather(X, y, known, noise, columns, inverse_scale, neighbors[block], begin[block], end[block], V, rhs, diagonal)
            bad = fill(kernel, shape, variance, tied, V, k, diagonal, negligible, L, s, v, w, by_shape)
            below = L[round_up(k, COLS) // COLS :]
            everything = below.reshape(-1)
            for q in range(everything.size):
                everything[q] = 0.0
            for t in range(targets):
                panel, lane, source = below[t // COLS], t % COLS, rhs[t]
                for r in range(k):
                    panel[r, lane] = source[r]
            if bad < 0:
                bad = factor(L, k, targets, diagonal, variance, triangles, pivots, squares)
            if bad >= 0:
                failures[task, 0], failures[task, 1] = block, bad
                atomic_store(address_of(state) + 8 * FAILED, NOT_POSITIVE_DEFINITE)
                break
            half, fit = 0.0, 0.0
            for r in range(m, k):
                half += math.log(pivots[r])
                for t in range(targets):
                    fit += below[t // COLS, r, t % COLS] ** 2
            half *= 0.5
            out[VALUE] += value(fit, half, b, targets)
            out[HALF_LOG_DETERMINANT] += half
            if wanted >= GRADIENT:
                solve_back(L, k, m, targets, triangles, packed, reverse, Z, rows_of_Z, squares)
                trace, weighted = contract(
                    V, free, tied, k, m, targets, rows_of_Z, packed, diagonal, w, by_shape, s, of_scales, of_shapes
                )
                derivatives[free] += 0.5 * (fit - targets * b - weighted)
                derivatives[free + 1] += 0.5 * noise * trace
            if informed:
                information(
                    V, free, tied, k, m, rhs, diagonal, noise, rows_of_Z, L, triangles, w, by_shape, panels, packed, R, S, F,
                    P, squares, gram, out[DERIVATIVES + size :].reshape((size, size)),
                )  # fmt: skip
        if wanted >= GRADIENT:
            add_lanes(of_scales, free, derivatives)
            add_lanes(of_shapes, shapes, derivatives[free + 2 :])
        if atomic_load(address_of(state) + 8 * FAILED) != 0:  # only now, so that no earlier chunk is left out
            break
        task = next_task(state)
