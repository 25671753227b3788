"""One evaluation as a list of tasks that any number of threads work off: fill, factor, invert, contract.

The list depends on n alone. A thread takes the next task, waits until the few tasks that it needs are done - they stand
earlier in the list, so some thread has them already - does it, and says so. There is no barrier, and no thread that has to
come: one thread alone does the same list, so the results have the same bits on any number of threads.

The matrix is cut into `tile` x `tile` tiles, and a step of the sweep (see `sweep`) takes a block of whole tiles as its pivot:

    step p:    PANEL t, k     Z, and the pivot's row or column, for SMALL rows of every other tile t; needs PIVOT p
               PANEL of the right-hand sides; the inverse of the pivot block
               UPDATE         the tiles that are the next pivot
               PIVOT p + 1    serial, but the others update meanwhile
               UPDATE         the right-hand sides, then all other tiles

Tiles are numbered from the one after the pivot on, around the end, so that the next pivot's come first. The first touch of a
tile (step 0, whose panels are whole tiles) fills it and the last one (the last step) contracts it, while it is in the cache.
"""

import numpy as np

from fastard._engine.loops.pairs import contract_tile, corners, fill_tile, round_up, strip_space, triangle_corner
from fastard._engine.loops.sweep import CHOLESKY, INVERSE, STEP, panel, pivot, pivot_doubles, pivot_inverse, update
from fastard._numba.atomics import address_of, atomic_load, atomic_store, fetch_add, load_double, repeat_call
from fastard._numba.cpu import COLS, LANES, ROWS, SMALL
from fastard._numba.jit import part
from fastard._numba.threads import FAILED, POOL, STATE, dispatch, next_task, wait_for

FILL, INVERT, CONTRACT = 1, 2, 4  # stages beside the factorisation

PIVOTS, RHS_PANELS, COUNTS = STATE, STATE + 8, STATE + 16  # places in a job's state

PANEL, RHS_PANEL, PIVOT_INVERSE, PIVOT, RHS_UPDATE, UPDATE = 0, 1, 2, 3, 4, 5  # kinds of tasks

COMPLETE = 1 << 40  # added to a counter by the last of its tasks: a waiter need not know how many there are


def state_places(n, tile, block):
    """Places of the job's own in `state`."""
    tiles, steps = -(-n // tile), -(-n // block)
    return COUNTS - STATE + 2 * steps + 3 * tiles + tiles * (tiles + 1) // 2


@part
def block_rows(n, block):
    """Rows of the pivot's scratch."""
    return round_up(min(n, block), SMALL)


@part
def z_doubles(n, m, block):
    """Doubles of one step's Z."""
    return (round_up(n, ROWS) + round_up(m, ROWS)) * round_up(min(n, block), COLS)


@part
def space_doubles(n, m, block, buffers):
    """Doubles of `space`: so many Z, both packings of L^-1, and the pivot's scratch."""
    rows = block_rows(n, block)
    return buffers * z_doubles(n, m, block) + 2 * rows * rows + pivot_doubles(rows)


@part
def count_off(place, total):
    """One more of `total` tasks is done."""
    if fetch_add(place, 1) == total - 1:
        fetch_add(place, COMPLETE)


@part
def tile_place(base, i, j):
    """The address of tile (i, j)'s element in a triangle of int64 at address `base`."""
    return base + 8 * (i * (i + 1) // 2 + j)


@part
def sum_of_squares(z, panel_bytes, depth, t):
    """Of row t of a packed panel."""
    row, total = z + t // COLS * panel_bytes + 8 * (t % COLS), 0.0
    for k in range(depth):
        x = load_double(row + k * STEP)
        total += x * x
    return total


@part
def panel_pieces(p, tile):
    """Tasks that a tile's panel is cut into, so that the next pivot waits for one piece's time."""
    return tile // SMALL if p > 0 else 1


@part
def task_of(q, others, pieces, ahead, is_last):
    """Task q of a step as (kind, u, v), u and v counted from the tile after the pivot; of a panel v is the piece."""
    if q < others * pieces:
        return PANEL, q // pieces, q % pieces
    q -= others * pieces
    if q < 2:
        return (RHS_PANEL if q == 0 else PIVOT_INVERSE), 0, 0
    q -= 2
    if q >= ahead:
        if not is_last:
            if q == ahead:
                return PIVOT, 0, 0
            q -= 1
        if q < ahead + others:
            return RHS_UPDATE, q - ahead, q - ahead
        q -= others
    u, v = triangle_corner(q)
    return UPDATE, u, v


@part
def work(state, kernel, shape, variance, U, free, tied, diagonal, A, R, n, m, space, S, logs, partial, tile, block, stages):
    """Takes tasks until there are none; the caller and any workers run this with the same arguments.

    Parameters
    ----------
    kernel, shape, U, free, tied, diagonal
        What `fill_tile` and `contract_tile` take: U (d, round_up(n, ROWS)), zeros beyond n; diagonal (n,) is added to K's.
    variance
        K's diagonal before that: the signal variance, of all terms together where they were filled before.
    A : (round_up(n, COLS), at least round_up(n, ROWS))
        The matrix, element (i, j), i >= j, at A[j, i]; zeros beyond n. On return K^-1, or L without INVERT.
    R : (round_up(m, ROWS), round_up(n, ROWS))
        y in the first m rows, zeros elsewhere. On return alpha, (K^-1 y)', or (L^-1 y)' without INVERT.
    space, S
        Scratch, `space_doubles` for one or two buffers, and `block_rows` square.
    logs : (1 + m, steps)
        Row 0: half the log determinant, step by step; row 1 + t: y_t' K^-1 y_t, step by step. To be summed.
    partial : (tiles (tiles + 1) / 2, free)
        Each tile's share of the derivatives.
    state : new_state(state_places)
        Zeros. state[FAILED] becomes 1 + the row of a pivot that is not positive beyond rounding.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    here = address_of(state)
    failed = here + 8 * FAILED
    pivots, rhs_panels = here + 8 * PIVOTS, here + 8 * RHS_PANELS
    tiles, steps, per_block = (n + tile - 1) // tile, (n + block - 1) // block, block // tile
    # Tasks of a step that are done, and how many steps a tile of Z, of the right-hand sides, of the matrix has behind it.
    panels_done = here + 8 * COUNTS
    updates_done = panels_done + 8 * steps
    panel_of = updates_done + 8 * steps
    pieces_of = panel_of + 8 * tiles
    rhs_of = pieces_of + 8 * tiles
    tile_of = rhs_of + 8 * tiles

    invert, fill, contract = stages & INVERT != 0, stages & FILL != 0, stages & CONTRACT != 0
    result = INVERSE if invert else CHOLESKY
    a, leading, rhs, rhs_leading = address_of(A), 8 * A.shape[1], address_of(R), 8 * R.shape[1]
    z_bytes, l_bytes = 8 * z_doubles(n, m, block), 8 * block_rows(n, block) * block_rows(n, block)
    z_space = address_of(space)
    # With two Z a step's panel need not wait for the last update of the step before.
    buffers = (8 * space.size - 8 * space_doubles(n, m, block, 0)) // z_bytes
    l_rows = z_space + buffers * z_bytes
    l_columns = l_rows + l_bytes
    pivot_z = l_columns + l_bytes
    scratch, totals = np.empty((2, strip_space(tile))), np.empty((free, LANES))

    p, base, count = -1, 0, 1  # before step 0 stands one task, the first pivot
    first, after, others, pieces, ahead, is_last, updates = 0, 0, 0, 1, 0, False, 0
    while p < steps and atomic_load(failed) == 0:
        q = next_task(state)
        while q >= base + count and p < steps:  # on to the step that has this task
            p += 1
            base += count
            is_last = p == steps - 1
            first, after = p * per_block, min(tiles, (p + 1) * per_block)  # the pivot's tiles
            others = tiles - (after - first) if invert else tiles - after  # tiles that the step updates in each direction
            pieces = panel_pieces(p, tile)
            following = min(per_block, tiles - after)
            ahead = following * (following + 1) // 2  # tiles that are the next pivot: their updates come first
            rows = tiles if is_last and contract else others  # the last pivot's own tiles have no update, but a contraction
            updates = others + others * (others + 1) // 2
            count = others * pieces + 2 + others + rows * (rows + 1) // 2 + (0 if is_last else 1)
        if p == steps:
            break
        kind, u, v = (PIVOT, 0, 0) if p < 0 else task_of(q - base, others, pieces, ahead, is_last)
        piece = v
        u, v = (after + u) % tiles, (after + v) % tiles
        p0 = p * block
        b = min(block, n - p0)
        panel_bytes = round_up(b, COLS) * STEP
        z = z_space + p % buffers * z_bytes
        z_rhs = z + round_up(n, ROWS) // COLS * panel_bytes

        # The panel: Z, and the pivot's rows and columns of the matrix
        if kind <= PIVOT_INVERSE:
            for s in range(first, after):
                i, j = max(s, u), min(s, u)
                if kind == RHS_PANEL:
                    wait_for(rhs_of + 8 * s, p, failed)
                elif kind == PANEL and p == 0 and fill:
                    fill_tile(kernel, shape, variance, tied, U, A, diagonal, False, n, tile, i, j, scratch)
                elif kind == PANEL:
                    wait_for(tile_place(tile_of, i, j), p, failed)
            wait_for(pivots, p + 1, failed)
            if p >= buffers:
                wait_for(updates_done + 8 * (p - buffers), COMPLETE, failed)  # they read the Z that is now written
            if kind != PIVOT_INVERSE:
                height = tile // pieces
                t0 = u * tile + piece * height
                rows = round_up(max(0, min(n, t0 + height) - t0), ROWS)
                left = kind == RHS_PANEL or u < first  # held transposed: rows of A, or of the right-hand sides
                source, source_leading, target = a + p0 * leading + 8 * t0, leading, z + t0 // COLS * panel_bytes
                if kind == RHS_PANEL:
                    source, source_leading, target, rows = rhs + 8 * p0, rhs_leading, z_rhs, round_up(m, ROWS)
                elif left:
                    source = a + t0 * leading + 8 * p0
                sign = 1.0 if kind == PANEL and left else -1.0
                panel(source, source_leading, left, sign, rows, b, l_rows, l_columns, target, panel_bytes, result)
            if kind == PANEL and (pieces == 1 or fetch_add(pieces_of + 8 * u, 1) % pieces == pieces - 1):
                for s in range(first, after):
                    atomic_store(tile_place(tile_of, max(s, u), min(s, u)), p + 1)
                atomic_store(panel_of + 8 * u, p + 1)
            elif kind == RHS_PANEL:
                for t in range(m):
                    logs[1 + t, p] = sum_of_squares(z_rhs, panel_bytes, b, t)
                for s in range(first, after):
                    atomic_store(rhs_of + 8 * s, p + 1)
                atomic_store(rhs_panels, p + 1)
            elif kind == PIVOT_INVERSE:
                if invert:
                    pivot_inverse(l_columns, panel_bytes, b, a + p0 * leading + 8 * p0, leading)
                for i in range(first, after):
                    for j in range(first, i + 1):
                        atomic_store(tile_place(tile_of, i, j), p + 1)
            count_off(panels_done + 8 * p, others * pieces + 2)

        # The next pivot's factor and inverse triangle
        elif kind == PIVOT:
            first_tile, r0 = (p + 1) * per_block, (p + 1) * block
            rb = min(block, n - r0)
            for i in range(first_tile, min(tiles, first_tile + per_block)):
                for j in range(first_tile, i + 1):
                    if p < 0 and fill:
                        fill_tile(kernel, shape, variance, tied, U, A, diagonal, False, n, tile, i, j, scratch)
                    else:
                        wait_for(tile_place(tile_of, i, j), p + 1, failed)
            if p >= 0:
                wait_for(panels_done + 8 * p, COMPLETE, failed)  # they read the L^-1 that is now written
            if atomic_load(failed) == 0:
                panel_bytes = round_up(rb, COLS) * STEP
                bad = pivot(
                    A,
                    r0,
                    rb,
                    S,
                    pivot_z,
                    l_rows,
                    l_columns,
                    panel_bytes,
                    not invert,
                    diagonal,
                    variance,
                    logs[0, p + 1 : p + 2],
                )
                if bad >= 0:
                    atomic_store(failed, r0 + bad + 1)
                atomic_store(pivots, p + 2)

        # The update of one tile, in the last step also its contraction
        else:
            i, j = max(u, v), min(u, v)
            i0, i1, j0, j1 = corners(n, tile, i, j)
            outside = (i < first or i >= after) and (j < first or j >= after)  # the pivot's own rows and columns are done
            if kind == RHS_UPDATE:
                mark = rhs_of + 8 * u
                wait_for(rhs_panels, p + 1, failed)
            else:
                mark = tile_place(tile_of, i, j)
            if kind == UPDATE and p == 0 and fill and outside:
                fill_tile(kernel, shape, variance, tied, U, A, diagonal, False, n, tile, i, j, scratch)
            else:
                wait_for(mark, p if outside else p + 1, failed)
            if outside:
                target, target_leading = a + 8 * i0 + j0 * leading, leading
                z_j, columns = z + j0 // COLS * panel_bytes, j1 - j0
                if kind == RHS_UPDATE:
                    i0, i1 = u * tile, min(n, u * tile + tile)
                    target, target_leading = rhs + 8 * i0, rhs_leading
                    z_j, columns = z_rhs, round_up(m, COLS)
                wait_for(panel_of + 8 * i, p + 1, failed)
                wait_for(panel_of + 8 * j, p + 1, failed)
                update(
                    z + i0 // COLS * panel_bytes,
                    z_j,
                    panel_bytes,
                    b,
                    target,
                    target_leading,
                    i1 - i0,
                    columns,
                    -1.0 if j >= after else 1.0,
                    kind == UPDATE and i == j,
                )
                atomic_store(mark, p + 1)
                count_off(updates_done + 8 * p, updates)
            if kind == UPDATE and is_last and contract:
                wait_for(rhs_of + 8 * i, steps, failed)
                wait_for(rhs_of + 8 * j, steps, failed)
                contract_tile(U, free, tied, A, R, m, n, tile, i, j, scratch, totals, partial[i * (i + 1) // 2 + j])


@part
def collect(A, R, n, m, logs, partial, free, diagonal, alpha, weights, by_dimension):
    """What `work` left in its parts, added up in their order: half of ln|K|, sum_t y_t' K^-1 y_t, and with the gradient
    (``weights`` not empty) the derivative by ln(variance), weights = diag(alpha alpha' - m K^-1), and by_dimension.

    The derivative by ln(variance) needs no loop over pairs: it is y'alpha - n m less the diagonal's, halved.
    """
    half_log_determinant, fit, of_variance = 0.0, 0.0, 0.0
    for p in range(logs.shape[1]):
        half_log_determinant += logs[0, p]
        for t in range(m):
            fit += logs[1 + t, p]
    for t in range(m):
        for j in range(n):
            alpha[j, t] = R[t, j]
    if weights.size:
        for j in range(n):
            total = -m * A[j, j]
            for t in range(m):
                total += R[t, j] * R[t, j]
            weights[j] = total
            of_variance += diagonal[j] * total
        of_variance = 0.5 * (fit - n * m - of_variance)
        for p in range(free):
            by_dimension[p] = 0.0
        for q in range(partial.shape[0]):
            for p in range(free):
                by_dimension[p] += partial[q, p]
    return half_log_determinant, fit, of_variance
