"""The compiled part of the exact Hessian: some rows times every derivative of K, which are made anew tile by tile."""

import numpy as np

from fastard._engine.loops.pairs import round_up, squared_distances, strip_space
from fastard._engine.loops.profiles import covariance_and_slope
from fastard._engine.loops.sweep import STEP
from fastard._numba.atomics import address_of, repeat_call
from fastard._numba.cpu import COLS, ROWS, SMALL
from fastard._numba.jit import jit, part
from fastard._numba.microkernel import add_product, transpose_blocks
from fastard._numba.threads import POOL, dispatch, next_task

LENGTH_SCALE, SIGNAL, NOISE, SHAPE = 0, 1, 2, 3  # what a group of parameters is; the second shape is SHAPE + 1

_DEPTH = 96  # points k of a block of derivatives

_TASK = 24  # columns j of a task
assert _DEPTH % SMALL == _TASK % SMALL == 0  # and so of every shape's ROWS and COLS


@part
def derivative_strip(kind, noise, U, first, rows, j, s, w, v, out):
    """Strip out[c, i] = dK(first + i, j + c) by the logarithms of a group, U the points by its length scales alone."""
    if kind == LENGTH_SCALE:
        squared_distances(U, first, rows, U, j, out)
        for i in range(out.size):
            out[i] *= w[i]
    elif kind == SIGNAL:
        for i in range(out.size):
            out[i] = s[i]
    elif kind >= SHAPE:
        for i in range(out.size):
            out[i] = v[kind - SHAPE, i]
    else:
        for i in range(out.size):
            out[i] = 0.0
        for c in range(COLS):
            if first <= j + c < first + rows:
                out[c * rows + j + c - first] = noise


@jit
def times_derivatives(state, kernel, shape, variance, noise, U, kinds, starts, Z, S):
    """S[j, b, i] += sum_k Z[i, k] dK(k, j) / db for all groups b; some columns j are a task.

    Parameters
    ----------
    noise
        The noise's variance.
    U : (d, at least the rows of S)
        The scaled points.
    kinds, starts : (g,), (g + 1,)
        Group b is of that kind; of LENGTH_SCALE it is those of the rows starts[b] ... starts[b + 1] of U.
    Z : (h / COLS, k, COLS)
        The rows, packed as the microkernel reads them.
    S : (round_up(k, COLS), g, h)
        h a multiple of ROWS.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    stop, count, height = Z.shape[1], S.shape[1], S.shape[2]
    z, panel_bytes, target = address_of(Z), stop * STEP, address_of(S)
    scratch, packed = np.empty((3 + shape.size, strip_space(_DEPTH))), np.empty(COLS * _DEPTH)
    task = next_task(state)
    while task * _TASK < S.shape[0]:
        for j in range(task * _TASK, min(S.shape[0], (task + 1) * _TASK), COLS):
            for first in range(0, stop, _DEPTH):
                depth = min(_DEPTH, stop - first)
                rows = round_up(depth, ROWS)
                size = COLS * rows
                s, w, part, v = scratch[0, :size], scratch[1, :size], scratch[2, :size], scratch[3:]
                squared_distances(U, first, rows, U, j, s)
                covariance_and_slope(kernel, shape, variance, False, s, w, v)
                for b in range(count):
                    if kinds[b] == NOISE and (j + COLS <= first or j >= first + rows):
                        continue
                    derivative_strip(kinds[b], noise, U[starts[b] : starts[b + 1]], first, rows, j, s, w, v, part)
                    blocks = (depth + COLS - 1) // COLS
                    transpose_blocks(address_of(part), 8 * rows, STEP, address_of(packed), STEP, COLS * STEP, blocks, 1.0)
                    for i in range(0, height, ROWS):
                        add_product(
                            z + i // COLS * panel_bytes + first * STEP,
                            panel_bytes,
                            address_of(packed),
                            depth,
                            target + 8 * ((j * count + b) * height + i),
                            STEP,
                            8 * count * height,
                            1.0,
                            0,
                        )
        task = next_task(state)
