"""The compiled O(n^3) part of leave-one-out: B diag(e) B for a symmetric B, shared out over the pool, without BLAS."""

import numpy as np

from fastard._jit import jit
from fastard._loops import corners, round_up, triangle_corner
from fastard._microkernel import COLS, ROWS, address_of, repeat_call
from fastard._spd import STEP, pack, update
from fastard._threads import CREW, hand_out, next_task

DEPTH = 192  # of a packed panel, and a multiple of COLS: two panels of a tile stay in the second cache


@jit
def multiply_and_scale(A, n, factors, v, moved):
    """moved[t] = A v[t] for a symmetric A; then row k of A times factors[k]."""
    for k in range(n):
        row, factor = A[k, :n], factors[k]
        for t in range(v.shape[0]):
            weight, target = v[t, k], moved[t]
            for i in range(n):
                target[i] += weight * row[i]
        for i in range(n):
            row[i] *= factor


@jit
def less_gram(state, A, n, u, v, tile, out):
    """out = sum_t (u_t v_t' + v_t u_t') - A'A, elements (i, j), i >= j, at out[j, i]; its diagonal halved.

    A and out are padded with zeros: (round_up(n, COLS), at least round_up(n, ROWS)). A tile of out is a task.
    """
    if state[CREW]:
        hand_out(state, repeat_call())
        return
    tiles = (n + tile - 1) // tile
    panel_bytes = DEPTH * STEP
    size = round_up(tile, ROWS) * DEPTH
    space_i, space_j = np.empty(size), np.empty(size)
    a, leading = address_of(A), 8 * A.shape[1]
    task = next_task(state)
    while task < tiles * (tiles + 1) // 2:
        z_i, z_j = address_of(space_i), address_of(space_j)  # in the loop: Numba frees an array after its last use
        i, j = triangle_corner(task)
        i0, i1, j0, j1 = corners(n, tile, i, j)
        by_rows = i < j  # never: a variable, because Numba compiles `pack` anew for a literal
        target, target_leading = address_of(out) + 8 * i0 + 8 * j0 * out.shape[1], 8 * out.shape[1]
        for k0 in range(0, n, DEPTH):
            depth = min(DEPTH, n - k0)
            pack(a + k0 * leading + 8 * i0, leading, by_rows, round_up(i1 - i0, ROWS), depth, 1.0, z_i, panel_bytes)
            if i != j:
                pack(a + k0 * leading + 8 * j0, leading, by_rows, round_up(j1 - j0, ROWS), depth, 1.0, z_j, panel_bytes)
            other = z_i if i == j else z_j
            update(z_i, other, panel_bytes, depth, target, target_leading, i1 - i0, j1 - j0, -1.0, i == j)
        for column in range(j0, j1):
            start = max(i0, column)
            here = out[column, start:i1]
            for t in range(u.shape[0]):
                x, y, across_u, across_v = u[t, column], v[t, column], u[t, start:i1], v[t, start:i1]
                for row in range(here.size):
                    here[row] += x * across_v[row] + y * across_u[row]
            if i == j:
                here[0] *= 0.5
        task = next_task(state)


def padded(n: int) -> tuple[int, int]:
    """The shape of ``out``."""
    return round_up(n, COLS), round_up(n, ROWS)
