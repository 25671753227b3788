"""The compiled predictions from nearest neighbours: each point's from the exact Gaussian process of its own training points.

With K the covariance of a point's m neighbours with noise, K = LL', e_t = L^-1 y_t and v = L^-1 k, where k are the point's
covariances with them, the mean is v'e_t and the variance k(0) - v'v (Rasmussen & Williams 2006, Algorithm 2.1). Targets and k
are rows below K, which `vecchia.factor` solves for on its way. Coordinates are differences from the point itself.

Where rounding leaves no such L, as it may without noise, `predict_independent` takes one neighbour after another.
"""

import math

import numpy as np

from fastard._engine.loops.pairs import round_up
from fastard._engine.loops.profiles import covariance_and_slope
from fastard._engine.loops.sweep import ROUNDING
from fastard._engine.loops.vecchia import factor, fill
from fastard._numba.atomics import repeat_call
from fastard._numba.cpu import COLS
from fastard._numba.jit import jit, part
from fastard._numba.threads import POOL, dispatch, next_task

_TASK = 8  # points


@part
def gather(X, known, noise, inverse_scale, neighbors, x, V, diagonal):
    """The neighbours' coordinates V (d, m and some zeros) less those of x, in length scales, and the noise on K's diagonal."""
    m = neighbors.size
    for r in range(m):
        place = np.int64(neighbors[r])
        row = X[place]
        for p in range(x.size):
            V[p, r] = (row[p] - x[p]) * inverse_scale[p]
        diagonal[r] = noise + known[place] if known.size else noise
    for r in range(m, V.shape[1]):
        for p in range(x.size):
            V[p, r] = 0.0


@part
def covariances_with_origin(kernel, shape, variance, V, s, w, v):
    """s[i] = the covariance of point i of V with the one at the origin; w and v are scratch."""
    for i in range(s.size):
        s[i] = 0.0
    for p in range(V.shape[0]):
        u = V[p]
        for i in range(s.size):
            s[i] += u[i] * u[i]
    covariance_and_slope(kernel, shape, variance, False, s, w, v)


@jit
def predict(
    state, kernel, shape, variance, noise, negligible, X, y, known, inverse_scale, neighbors, points, offset, mean, left,
    failures,
):  # fmt: skip
    """mean[i, t] at point i, and left[i] = the variance of the function there, given neighbors[i].

    Where the covariance of a point's neighbours is not positive definite, failures[i] = which of them, and m more where it is
    equal to another.

    Parameters
    ----------
    negligible
        Noise up to which two equal training points are refused.
    X, y, known : (n, d), (n, T), (n,) or (0,)
        Training points, targets less ``offset`` (T,), and the known variances beside the ``noise``.
    inverse_scale : (d,)
        One over the length scales.
    neighbors, points : (q, m), (q, d)
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    q, m, d, targets = points.shape[0], neighbors.shape[1], X.shape[1], y.shape[1]
    width = round_up(m, COLS)
    V, diagonal = np.empty((d, width)), np.empty(width)
    L = np.empty(((width + targets + COLS) // COLS, width, COLS))  # one row more than targets
    triangles, pivots = np.empty((width, COLS)), np.empty(width)
    s, w = np.empty(COLS * width), np.empty(COLS * COLS * (width // COLS) * (width // COLS + 1) // 2)
    v, by_shape = np.empty((0, COLS * width)), np.empty((0, w.size))
    squares = np.zeros(width + round_up(targets + 1, COLS))
    below = L[width // COLS :]
    task = next_task(state)
    while task * _TASK < q:
        for i in range(task * _TASK, min(q, task * _TASK + _TASK)):
            own = neighbors[i]
            gather(X, known, noise, inverse_scale, own, points[i], V, diagonal)
            equal = fill(kernel, shape, variance, False, V, m, diagonal, negligible, L, s, v, w, by_shape)
            covariances_with_origin(kernel, shape, variance, V, s[:width], w[:width], v)
            for panel in range(below.shape[0]):
                for r in range(width):
                    for lane in range(COLS):
                        below[panel, r, lane] = 0.0
            for r in range(m):
                place = np.int64(own[r])
                for t in range(targets):
                    below[t // COLS, r, t % COLS] = y[place, t]
                below[targets // COLS, r, targets % COLS] = s[r]
            for j in range(squares.size):
                squares[j] = 0.0
            if equal >= 0:
                failures[i] = m + equal
                continue
            bad = factor(L, m, targets + 1, diagonal, variance, triangles, pivots, squares)
            if bad >= 0:
                failures[i] = bad
                continue
            solved, lane = below[targets // COLS], targets % COLS
            total = 0.0
            for r in range(m):
                total += solved[r, lane] * solved[r, lane]
            left[i] = variance - total
            for t in range(targets):
                e, column, total = below[t // COLS], t % COLS, 0.0
                for r in range(m):
                    total += solved[r, lane] * e[r, column]
                mean[i, t] = total + offset[t]
        task = next_task(state)


@jit
def predict_independent(
    state, kernel, shape, variance, noise, X, y, known, inverse_scale, neighbors, points, offset, mean, left
):  # fmt: skip
    """As `predict`, given those of a point's neighbours that are independent.

    The Cholesky factor with pivots: the next neighbour is the one that has most of its variance left given those before it,
    until rounding errors are all that is left of any (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
    10.3). In the order of the distances errors are a thousand times as large, because the nearest are the most dependent.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    q, m, d, targets = points.shape[0], neighbors.shape[1], X.shape[1], y.shape[1]
    width = round_up(m, COLS)
    size = width + targets + 1
    V, diagonal, shares = np.empty((d, width)), np.empty(width), np.empty(m)
    s, w, v, with_point = np.empty(width), np.empty(width), np.empty((0, width)), np.empty(width)
    R = np.empty((m, size))  # rows of the factor, each with its entries of the targets and of the point
    task = next_task(state)
    while task < q:
        own = neighbors[task]
        gather(X, known, noise, inverse_scale, own, points[task], V, diagonal)
        covariances_with_origin(kernel, shape, variance, V, with_point, w, v)
        for i in range(m):
            shares[i] = 1.0
        for t in range(targets):
            mean[task, t] = offset[t]
        total = variance
        for step in range(m):
            p = 0
            for i in range(m):
                if shares[i] > shares[p]:
                    p = i
            if not shares[p] > ROUNDING:
                break
            for i in range(width):
                s[i] = 0.0
            for a in range(d):
                u = V[a]
                x = u[p]
                for i in range(width):
                    s[i] += (u[i] - x) * (u[i] - x)
            covariance_and_slope(kernel, shape, variance, False, s, w, v)
            row, place = R[step], np.int64(own[p])
            for i in range(width):
                row[i] = s[i]
            for t in range(targets):
                row[width + t] = y[place, t]
            row[size - 1] = with_point[p]
            for before in range(step):
                times = R[before, p]
                for i in range(size):
                    R[step, i] -= times * R[before, i]
            scale = 1.0 / math.sqrt(shares[p] * (variance + diagonal[p]))
            for i in range(size):
                row[i] *= scale
            for i in range(m):
                shares[i] -= row[i] * row[i] / (variance + diagonal[i])
            shares[p] = 0.0
            for t in range(targets):
                mean[task, t] += row[width + t] * row[size - 1]
            total -= row[size - 1] * row[size - 1]
        left[task] = max(total, ROUNDING * variance)  # what was left out is not known better
        task = next_task(state)
