"""A bounded quasi-Newton search that asks for evaluations: it knows no Gaussian process, and calls nothing.

`advance` is given the loss and its gradient at the point that it asked for, and writes the next one: reverse communication, so
that compiled code and Python drive it alike. The model of the loss is a dense matrix, which BFGS updates (Nocedal & Wright,
Numerical Optimization, 2006, sections 6.1 and 18.3: damped), or an information matrix that is given with the evaluations, with
the last updates on top. Each step minimises the model exactly within the bounds and a box around the iterate, which grows and
shrinks with how well the model foretells the loss.

Parameters are logarithms. Near the end, where little is left to gain, a length scale lambda is searched in
-ln(1 + (c / lambda)^2) / 2: the logarithm, up to a constant, where lambda is below c, and linear in lambda^-2 beyond, where
the loss is too, and where an input that does not matter reaches its bound in one step, not in twenty.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._numba.jit import part, separate

# What `advance` returns: evaluate at ``trial``, without or with the information matrix; or the search has ended, because
# the gradient is small, or little is left to gain, or no step that is long enough to tell lowers the loss.
EVALUATE, EVALUATE_WITH_INFORMATION, SMALL_GRADIENT, SMALL_GAIN, STUCK = range(5)

# Places in the memory's numbers ...
STARTED, TURNED, HAS_INFORMATION, N_PAIRS, ITERATIONS, ACCEPTED, FAILED_BEFORE, FAILED_SINCE = range(8)
FREE = 8  # from here on: scratch of `newton`
# ... its scalars: the iterate's loss, as measured and as the search takes it, how far a step may go, what the model promised
# of it, nats up to which rounding may hide which of two losses is lower, and the largest slope at which little is left ...
LOSS, TOLD, RADIUS, PROMISED, BLUR, LAST_GAIN, STEEP = range(7)
# ... its vectors, of which those from SEARCHED on are in the coordinates that are searched ...
LOW, HIGH, TURN, ITERATE, GRADIENT, TRIAL = range(6)
SEARCHED, LEAST, MOST, RATE, SLOPE, STEP, NEWTON, RESIDUAL, OTHER, PRODUCT, SOLVED = range(6, 17)
# ... and its matrices.
CURVATURE, MODEL, FACTOR, INFORMATION = range(4)

PAIRS = 5  # last updates on top of an information matrix

FIRST_RADIUS, LARGEST_RADIUS, LEAST_RADIUS = 1.0, 4.0, 1e-6  # in the logarithms

TURN_BELOW = 3.0  # nats to gain

LEAST_CURVATURE = 0.03  # in nats per squared unit of a logarithm, beside the information's

SMALL_SLOPE, STATIONARY, LITTLE_GAIN = 1e-5, 1e-3, 1e-5  # per unit of a logarithm; the same, and nats, together

WALL = 6.0  # times the slope that a failed step had: by so much it is taken to turn round, see `stiffen`

ABSURD_RISE, CLIFF = 10.0, 1e10  # against the promised fall; and a fall against the loss and 1 nat


class Memory(NamedTuple):
    """All that a search knows between two calls; see the places above."""

    numbers: NDArray[np.int64]  # (8 + P,)
    scalars: Array
    vectors: Array  # (17, P)
    matrices: Array  # (4, P, P)
    pairs: Array  # (2, PAIRS, P): steps, and by how much the gradient changed

    @property
    def trial(self) -> Array:
        """Where to evaluate."""
        view: Array = self.vectors[TRIAL]
        return view


def memory(start: Array, bounds: Array, turn: Array, blur: float = 0.0, stationary: float = STATIONARY) -> Memory:
    """Of a search from ``start``, (P,), within ``bounds``, (P, 2); the first evaluation is due there.

    ``turn``: ln c of the module's docstring, infinite where a parameter is no length scale. ``stationary``: the steepness
    above which a little gain does not end it.
    """
    size = start.size
    made = Memory(
        np.zeros(FREE + size, dtype=np.int64),
        np.zeros(7),
        np.zeros((17, size)),
        np.zeros((4, size, size)),
        np.zeros((2, PAIRS, size)),
    )
    made.vectors[LOW], made.vectors[HIGH] = bounds.T
    made.vectors[TURN] = turn
    made.vectors[TRIAL] = np.minimum(np.maximum(start, bounds[:, 0]), bounds[:, 1])
    made.scalars[BLUR], made.scalars[STEEP] = blur, stationary
    return made


@part
def dot(x, y):
    """x'y."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@separate
def times(matrix, x, out):
    """out = matrix x, of a symmetric matrix: row after row, so that vectors of the sums are made at once, each in the order of
    `dot`."""
    size = x.size
    for i in range(size):
        out[i] = 0.0
    whole = size // 4 * 4
    for j in range(0, whole, 4):
        a, b, c, d = matrix[j], matrix[j + 1], matrix[j + 2], matrix[j + 3]
        of_a, of_b, of_c, of_d = x[j], x[j + 1], x[j + 2], x[j + 3]
        for i in range(size):
            total = out[i] + of_a * a[i]
            total += of_b * b[i]
            total += of_c * c[i]
            out[i] = total + of_d * d[i]
    for j in range(whole, size):
        row, of_row = matrix[j], x[j]
        for i in range(size):
            out[i] += of_row * row[i]


@part
def searched(theta, turn):
    """The coordinate that is searched, of a logarithm."""
    if turn == np.inf:
        return theta
    if theta - turn < -20.0:
        return theta - turn
    return -0.5 * np.log1p(np.exp(-2.0 * (theta - turn)))


@part
def logarithm(coordinate, turn):
    """The inverse of `searched`."""
    if turn == np.inf:
        return coordinate
    if coordinate < -20.0:
        return coordinate + turn
    return turn - 0.5 * np.log(np.expm1(-2.0 * coordinate))


@part
def rate(theta, turn):
    """d theta / d coordinate; no more than is left of it in float64, whose squares must not overflow."""
    return 1.0 if turn == np.inf else 1.0 + np.exp(2.0 * min(theta - turn, 30.0))


@separate(cold=True)
def set_coordinates(memory):
    """The iterate, its gradient and the bounds in the coordinates that are searched."""
    v, turned = memory.vectors, memory.numbers[TURNED] == 1
    for i in range(v.shape[1]):
        turn = v[TURN, i] if turned else np.inf
        v[SEARCHED, i] = searched(v[ITERATE, i], turn)
        v[RATE, i] = rate(v[ITERATE, i], turn)
        v[SLOPE, i] = v[GRADIENT, i] * v[RATE, i]


@part
def turn(memory):
    """Search 1 / lambda^2 of long length scales from now on; the curvature by the chain rule, as far as that is positive."""
    v, curvature = memory.vectors, memory.matrices[CURVATURE]
    memory.numbers[TURNED] = 1
    memory.numbers[N_PAIRS] = 0
    set_coordinates(memory)
    size = v.shape[1]
    for i in range(size):
        # The gradient times the second derivative of theta with respect to the coordinate, 2 rate (rate - 1).
        own = curvature[i, i] * (v[RATE, i] * v[RATE, i])
        corrected = max(own + 2.0 * v[SLOPE, i] * (v[RATE, i] - 1.0), 0.05 * own)
        v[OTHER, i] = v[RATE, i] * math.sqrt(min(corrected / own, 1.0))
    for i in range(size):
        for j in range(size):
            curvature[i, j] *= v[OTHER, i] * v[OTHER, j]


@separate(cold=True)
def update(matrix, step, change, product):
    """Damped BFGS: ``matrix`` afterwards takes ``step`` to ``change``, or so far towards it as keeps it positive definite."""
    size = step.size
    times(matrix, step, product)
    old, new, part = dot(step, product), dot(step, change), 1.0
    if not old > 0.0:
        return
    if new < 0.2 * old:
        part = 0.8 * old / (old - new)
        new = part * new + (1.0 - part) * old
    for i in range(size):
        own = part * change[i] + (1.0 - part) * product[i]
        for j in range(size):
            other = part * change[j] + (1.0 - part) * product[j]
            matrix[i, j] += own * other / new - product[i] * product[j] / old


@part
def forget(memory):
    """A multiple of the identity as curvature: a step to the steepest parameter's end of the box, or nearly so."""
    v, curvature = memory.vectors, memory.matrices[CURVATURE]
    steepest = 2.0
    for i in range(v.shape[1]):
        steepest = max(steepest, abs(v[GRADIENT, i]))
    for i in range(v.shape[1]):
        for j in range(v.shape[1]):
            curvature[i, j] = 0.0
        curvature[i, i] = 0.5 * steepest * (v[RATE, i] * v[RATE, i])
    memory.numbers[N_PAIRS] = 0
    memory.numbers[HAS_INFORMATION] = 0
    memory.scalars[RADIUS] = FIRST_RADIUS


@separate(cold=True)
def make_model(memory):
    """The matrix of the quadratic that the next step minimises."""
    v, model, information = memory.vectors, memory.matrices[MODEL], memory.matrices[INFORMATION]
    size = v.shape[1]
    if memory.numbers[HAS_INFORMATION] == 0:
        for i in range(size):
            for j in range(size):
                model[i, j] = memory.matrices[CURVATURE, i, j]
        return
    for i in range(size):
        for j in range(size):
            model[i, j] = information[i, j] * v[RATE, j] * v[RATE, i]
        model[i, i] += LEAST_CURVATURE
    n_pairs = memory.numbers[N_PAIRS]
    for p in range(max(0, n_pairs - PAIRS), n_pairs):
        update(model, memory.pairs[0, p % PAIRS], memory.pairs[1, p % PAIRS], v[OTHER])


@separate(cold=True)
def newton(matrix, factor, right, held, free, x, result):
    """Solve matrix @ result = -right among what is not held, with 0 at the rest; False if not positive definite.

    ``free`` and ``x`` are scratch.
    """
    size = 0
    for i in range(right.size):
        result[i] = 0.0
        if held[i] == 0.0:
            free[size] = i
            size += 1
    for i in range(size):
        source = matrix[free[i]]
        for j in range(i + 1):
            factor[j, i] = source[free[j]]
    for k in range(size):  # L' row by row; the loops along rows are vectorised
        row, first = factor[k], k // 4 * 4
        for i in range(first, k):  # those of the same four; all before have been subtracted
            above = factor[i]
            share = above[k]
            for j in range(k, size):
                row[j] -= share * above[j]
        if not row[k] > 0.0:
            return False
        x[k] = -right[free[k]]
        root = 1.0 / math.sqrt(row[k])
        for j in range(k, size):
            row[j] *= root
        if k == first + 3:
            a, b, c = factor[first], factor[first + 1], factor[first + 2]
            for i in range(k + 1, size):
                target = factor[i]
                of_a, of_b, of_c, of_row = a[i], b[i], c[i], row[i]
                for j in range(i, size):
                    left = target[j] - of_a * a[j]
                    left -= of_b * b[j]
                    left -= of_c * c[j]
                    target[j] = left - of_row * row[j]
    for k in range(size):
        row = factor[k]
        x[k] /= row[k]
        for j in range(k + 1, size):
            x[j] -= row[j] * x[k]
    for k in range(size - 1, -1, -1):
        row, total = factor[k], x[k]
        for j in range(k + 1, size):
            total -= row[j] * x[j]
        x[k] = total / row[k]
    for k in range(size):
        result[free[k]] = x[k]
    return True


@separate(cold=True)
def minimise_model(memory, radius):
    """The step from the iterate that minimises the model within bounds and box, by projected Newton steps; what it gains.

    Bertsekas, SIAM Journal on Control and Optimization 20 (1982), 221-246. Negative if the model is not positive definite.
    """
    v, model = memory.vectors, memory.matrices[MODEL]
    turned = memory.numbers[TURNED] == 1
    size = v.shape[1]
    step, residual, direction, held, product = v[STEP], v[RESIDUAL], v[NEWTON], v[OTHER], v[PRODUCT]
    factor, free = memory.matrices[FACTOR], memory.numbers[FREE:]
    steepest = 0.0
    for i in range(size):
        c = v[TURN, i] if turned else np.inf
        v[LEAST, i] = searched(max(v[LOW, i], v[ITERATE, i] - radius), c) - v[SEARCHED, i]
        v[MOST, i] = searched(min(v[HIGH, i], v[ITERATE, i] + radius), c) - v[SEARCHED, i]
        step[i] = 0.0
        residual[i] = v[SLOPE, i]
        steepest = max(steepest, abs(v[SLOPE, i]))
    gain = 0.0
    for _ in range(10 + 2 * size):
        largest = 0.0
        for i in range(size):
            out = (step[i] <= v[LEAST, i] and residual[i] > 0.0) or (step[i] >= v[MOST, i] and residual[i] < 0.0)
            held[i] = 1.0 if out else 0.0
            if not out:
                largest = max(largest, abs(residual[i]))
        if largest <= 1e-12 * steepest:
            break
        if not newton(model, factor, residual, held, free, v[SOLVED], direction):
            return -1.0
        part, better = 1.0, False
        for _ in range(40):
            for i in range(size):
                v[TRIAL, i] = min(max(step[i] + part * direction[i], v[LEAST, i]), v[MOST, i])
            times(model, v[TRIAL], product)
            fall = 0.0
            for i in range(size):
                fall -= v[TRIAL, i] * (v[SLOPE, i] + 0.5 * product[i])
            if fall > gain:
                better = True
                break
            part *= 0.5
        if not better:
            break
        gain = fall
        for i in range(size):
            step[i] = v[TRIAL, i]
            residual[i] = v[SLOPE, i] + product[i]
    return gain


@part
def steepness(memory):
    """The largest entry of the gradient that does not point out of the bounds."""
    v, largest = memory.vectors, 0.0
    for i in range(v.shape[1]):
        slope = v[GRADIENT, i]
        held = (v[ITERATE, i] <= v[LOW, i] and slope > 0.0) or (v[ITERATE, i] >= v[HIGH, i] and slope < 0.0)
        if not held:
            largest = max(largest, abs(slope))
    return largest


@part
def propose(memory):
    """The next trial point, or why there is none."""
    v, s = memory.vectors, memory.scalars
    size = v.shape[1]
    steep = steepness(memory)
    if steep <= SMALL_SLOPE:
        return SMALL_GRADIENT
    if not s[RADIUS] >= LEAST_RADIUS:
        return STUCK
    while True:
        make_model(memory)
        gain = minimise_model(memory, s[RADIUS])
        if not gain > 0.0:
            return STUCK
        if memory.numbers[TURNED] == 1 or gain >= TURN_BELOW:
            break
        turn(memory)
    is_level = steep <= s[STEEP] and memory.numbers[ITERATIONS] > 0 and s[LAST_GAIN] < 100.0 * LITTLE_GAIN
    if is_level and gain < LITTLE_GAIN:
        # The gain of a step that may go further than the radius, which failures may have made short.
        if s[RADIUS] >= FIRST_RADIUS or minimise_model(memory, FIRST_RADIUS) < LITTLE_GAIN:
            return SMALL_GAIN
        gain = minimise_model(memory, s[RADIUS])
    s[PROMISED] = gain
    for i in range(size):
        c = v[TURN, i] if memory.numbers[TURNED] == 1 else np.inf
        if v[STEP, i] >= v[MOST, i]:
            theta = v[ITERATE, i] + s[RADIUS]
        elif v[STEP, i] <= v[LEAST, i]:
            theta = v[ITERATE, i] - s[RADIUS]
        else:
            theta = logarithm(v[SEARCHED, i] + v[STEP, i], c)
        v[TRIAL, i] = min(max(theta, v[LOW, i]), v[HIGH, i])
    return EVALUATE_WITH_INFORMATION if memory.numbers[TURNED] == 1 else EVALUATE


@part
def accept(memory, loss, told, gradient, information, has_information):
    """The trial point is the iterate from now on."""
    v = memory.vectors
    for i in range(v.shape[1]):
        v[ITERATE, i] = v[TRIAL, i]
        v[GRADIENT, i] = gradient[i]
    memory.scalars[LOSS], memory.scalars[TOLD] = loss, told
    memory.numbers[HAS_INFORMATION] = 0
    if has_information:
        memory.numbers[HAS_INFORMATION] = 1
        for i in range(v.shape[1]):
            for j in range(v.shape[1]):
                memory.matrices[INFORMATION, i, j] = information[i, j]
    set_coordinates(memory)


@part
def learn(memory, step, change):
    """By how much the gradient changed over a step: for the curvature, and on top of the next information matrices."""
    update(memory.matrices[CURVATURE], step, change, memory.vectors[OTHER])
    place = memory.numbers[N_PAIRS] % PAIRS
    for i in range(step.size):
        memory.pairs[0, place, i] = step[i]
        memory.pairs[1, place, i] = change[i]
    memory.numbers[N_PAIRS] += 1


@part
def stiffen(memory):
    """As though the slope had turned round at the end of the step, which failed: so the next one leads along the wall. Whether
    there is such a change to learn."""
    v = memory.vectors
    step, change = v[STEP], v[RESIDUAL]
    slope, square = dot(step, v[SLOPE]), dot(step, step)
    if not (slope < 0.0 and square > 0.0):
        return False
    for i in range(step.size):
        change[i] = WALL * abs(slope) / square * step[i]
    return True


@separate(entry=True, cold=True)
def advance(memory, loss, gradient, information, has_information, failed):
    """Go on with the loss, its gradient, (P,), and perhaps the information, (P, P), all with respect to the logarithms, at
    the trial point; or with ``failed``, if it has none. Returns one of the codes above; the start must not fail.
    """
    v, s, numbers = memory.vectors, memory.scalars, memory.numbers
    step, change = v[STEP], v[RESIDUAL]
    size, told = v.shape[1], loss
    learns, accepts, forgets = False, False, False
    numbers[ACCEPTED] = 0
    longest = 0.0
    for i in range(size):
        longest = max(longest, abs(v[TRIAL, i] - v[ITERATE, i]))
    if numbers[STARTED] == 0:
        numbers[STARTED] = 1
        accepts, forgets = True, True
    elif failed or not math.isfinite(loss):
        numbers[FAILED_SINCE] = 1
        s[RADIUS] = 0.25 * longest
        learns = stiffen(memory)
    else:
        slope, end_slope = 0.0, 0.0
        for i in range(size):
            c = v[TURN, i] if numbers[TURNED] == 1 else np.inf
            step[i] = searched(v[TRIAL, i], c) - v[SEARCHED, i]
            there = gradient[i] * rate(v[TRIAL, i], c)
            change[i] = there - v[SLOPE, i]
            slope += step[i] * v[SLOPE, i]
            end_slope += step[i] * there
        # Where rounding may hide it, the rise is what the slopes say, by the trapezoidal rule: the gradient is the better
        # judge of short steps there (Hager & Zhang, SIAM Journal on Optimization 16 (2005), 170-192).
        rise = s[TOLD] + 0.5 * (slope + end_slope)
        told = rise if abs(loss - rise) <= s[BLUR] else loss
        fall = s[TOLD] - told
        learns = -fall <= ABSURD_RISE * abs(slope)
        if fall < 0.1 * s[PROMISED]:
            # To where the cubic with these values and slopes has its minimum.
            z = slope + end_slope + 3.0 * fall
            square, part = z * z - slope * end_slope, 0.5
            if square >= 0.0:
                root = math.sqrt(square)
                below = end_slope - slope + 2.0 * root
                if below != 0.0:
                    part = 1.0 - (end_slope + root - z) / below
            s[RADIUS] = min(max(part, 0.1), 0.5) * longest if math.isfinite(part) else 0.25 * longest
        elif fall > 0.75 * s[PROMISED] and longest > 0.99 * s[RADIUS]:
            s[RADIUS] = min(2.0 * s[RADIUS], LARGEST_RADIUS)
        if fall > 0.0:
            s[LAST_GAIN] = fall
            numbers[ACCEPTED] = 1
            numbers[ITERATIONS] += 1
            numbers[FAILED_BEFORE], numbers[FAILED_SINCE] = numbers[FAILED_SINCE], 0
            accepts = True
            forgets = fall > CLIFF * (1.0 + abs(loss))  # the curvature up there, by which all steps would be too short
    if learns:
        learn(memory, step, change)
    if accepts:
        accept(memory, loss, told, gradient, information, has_information)
    if forgets:
        forget(memory)
    return propose(memory)
