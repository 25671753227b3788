"""The compiled search for nearest neighbours among earlier points: exact, whatever the tree and the number of threads.

A tree over the points (`cells`) is walked for up to GROUP points together, whose coordinates stand side by side: the squared
distances of all of them from a node's box are one pass, and a node is entered where it may hold a neighbour of any. Distances,
of points and of boxes, come from the same operations in the same order, each of them monotone in what it is given; so no
point is nearer than a box that holds it, by rounding neither, and the result is that of comparing all pairs. Equal distances
are told apart by the place, the lower first.

A block's neighbours are taken in rounds over its members: each one's nearest earlier point, then each one's second, and so on,
until there are enough. How many a member needs to know is not known before: where the first guess, which changes nothing but
the time, was too low, the search is made again.
"""

import math

import numpy as np

from fastard._engine.loops.cells import CUT, LOWEST
from fastard._numba.atomics import address_of, never_inline, repeat_call
from fastard._numba.cpu import LANES
from fastard._numba.jit import jit, part, separate
from fastard._numba.microkernel import LEAF, at_most, lowest_bit, near_box, near_points
from fastard._numba.threads import POOL, dispatch, next_task

GROUP = 32  # points that are searched for together: a bit each
assert GROUP % LANES == 0

_TASK = 8  # blocks, or groups of points, that are one task

_DEPTH = 64  # of a tree, at most

_NOWHERE = 2**31 - 1  # later than every place


@part
def insert(distance, place, depth, s, where):
    """One more candidate in ascending lists of ``depth``, by distance and then place; what was last falls out."""
    i = depth - 1
    while i > 0 and (s < distance[i - 1] or (s == distance[i - 1] and where < place[i - 1])):
        distance[i], place[i] = distance[i - 1], place[i - 1]
        i -= 1
    distance[i], place[i] = s, where


@part
def without_ties(mask, away, lowest, place, depth, bounds):
    """The bits of those members for whom a node may hold a nearer point, or one as near at an earlier place."""
    never_inline()
    left = mask
    while left != 0:
        c = lowest_bit(left)
        left &= left - 1
        if away[c] == bounds[c] and lowest > place[c, depth - 1]:
            mask &= ~(1 << c)
    return mask


@separate
def search(boxes, nodes, leaves, places, across, along, members, limit, depth, distance, place):
    """The ``depth`` nearest of the points at places below ``limit``, of each of the first ``members`` points.

    Parameters
    ----------
    boxes, nodes : (nodes, p, 2), (nodes, 2)
        As `cells.split` makes them.
    leaves, places : (leaves, p, LEAF), (leaves, LEAF)
        As `cells.fill_leaves` makes them.
    across, along : (p, GROUP), (GROUP, p)
        The members' scaled coordinates, twice.
    distance, place : (members, at least depth)
        Become squared distances and places, nearest first.
    """
    p = boxes.shape[1]
    vectors = (members + LANES - 1) // LANES
    bounds, middle, sums = np.empty(GROUP), np.zeros(p), np.empty(LEAF)
    away = np.zeros((_DEPTH, GROUP))  # of each node on the stack, and two more
    stack = np.empty((_DEPTH, 3), dtype=np.int64)
    for c in range(GROUP):
        bounds[c] = math.inf if c < members else -1.0
    for c in range(members):
        for i in range(depth):
            distance[c, i], place[c, i] = math.inf, _NOWHERE
        for k in range(p):
            middle[k] += along[c, k] / members
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, 0, leaves.shape[0]
    top, repeated = 0, False  # whether a member is as often among the points as it has neighbours
    while top >= 0:
        node, leaf, count = stack[top, 0], stack[top, 1], stack[top, 2]
        mask = at_most(address_of(away[top]), address_of(bounds), vectors)
        if repeated and mask != 0:
            mask = without_ties(mask, away[top], nodes[node, LOWEST], place, depth, bounds)
        if mask == 0 or nodes[node, LOWEST] >= limit:
            top -= 1
            continue
        if count > 1:
            half, cut = count // 2, nodes[node, CUT]
            left, right = node + 1, node + 2 * half
            left_first = 2.0 * middle[cut] < boxes[left, cut, 1] + boxes[right, cut, 0]
            for turn in range(2):  # the nearer one last, on top
                if (turn == 1) == left_first:
                    stack[top, 0], stack[top, 1], stack[top, 2] = left, leaf, half
                else:
                    stack[top, 0], stack[top, 1], stack[top, 2] = right, leaf + half, count - half
                child = stack[top, 0]
                if nodes[child, LOWEST] < limit and near_box(
                    address_of(boxes[child]),
                    address_of(across),
                    8 * GROUP,
                    p,
                    vectors,
                    address_of(bounds),
                    address_of(away[top]),
                ):
                    top += 1
            top -= 1
            continue
        x, own = address_of(leaves[leaf]), places[leaf]
        while mask != 0:
            c = lowest_bit(mask)
            mask &= mask - 1
            near = near_points(x, address_of(along[c]), p, bounds[c], address_of(sums))
            while near != 0:
                i = lowest_bit(near)
                near &= near - 1
                if own[i] >= limit:
                    break
                last = distance[c, depth - 1]
                if sums[i] < last or (sums[i] == last and own[i] < place[c, depth - 1]):
                    insert(distance[c], place[c], depth, sums[i], own[i])
                    bounds[c] = distance[c, depth - 1]
                    repeated = repeated or bounds[c] == 0.0
        top -= 1


@part
def add_place(chosen, count, where):
    """One more in the ascending list of ``count``, unless it is there; how many there are then."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if chosen[middle] < where:
            low = middle + 1
        else:
            high = middle
    if low < count and chosen[low] == where:
        return count
    for i in range(count, low, -1):
        chosen[i] = chosen[i - 1]
    chosen[low] = where
    return count + 1


@part
def take_in_rounds(place, members, depth, m, chosen):
    """The first m different places of the members' first ones, then their second ones ...; how many rounds that took, or
    depth + 1 where the lists are too short."""
    never_inline()
    count = 0
    for turn in range(depth):
        for c in range(members):
            count = add_place(chosen, count, place[c, turn])
            if count == m:
                return turn + 1
    return depth + 1


@part
def load_points(X, columns, center, inverse_scale, start, count, across, along):
    """The scaled coordinates of rows start ... start + count of X."""
    for c in range(count):
        row = X[start + c]
        for k in range(columns.size):
            x = (row[columns[k]] - center[k]) * inverse_scale[k]
            along[c, k] = x
            across[k, c] = x


@part
def leaf_of(boxes, nodes, leaves, x):
    """The number of the leaf on whose side of each cut a scaled point is."""
    node, leaf, count = 0, 0, leaves
    while count > 1:
        half, cut = count // 2, nodes[node, CUT]
        if 2.0 * x[cut] < boxes[node + 1, cut, 1] + boxes[node + 2 * half, cut, 0]:
            node, count = node + 1, half
        else:
            node, leaf, count = node + 2 * half, leaf + half, count - half
    return leaf


@jit
def locate(boxes, nodes, leaves, X, columns, center, inverse_scale, begin, end, found):
    """found[j] = the leaf of the middle of rows begin[j] ... end[j] - 1 of X."""
    x = np.empty(columns.size)
    for j in range(found.size):
        for k in range(columns.size):
            total = 0.0
            for i in range(begin[j], end[j]):
                total += (X[i, columns[k]] - center[k]) * inverse_scale[k]
            x[k] = total / (end[j] - begin[j])
        found[j] = leaf_of(boxes, nodes, leaves, x)


@jit
def block_neighbors(
    state, boxes, nodes, leaves, places, X, columns, center, inverse_scale, begin, end, sequence, largest, out
):
    """out[j] (m,) = the neighbours of block j, places begin[j] ... end[j] - 1 of X, among the places before it, ascending.

    The blocks are those of the ``sequence``, in which such as are near each other follow one another; ``largest`` is the size
    of the largest.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    p, m = columns.size, out.shape[1]
    across, along = np.zeros((p, GROUP)), np.zeros((GROUP, p))
    distance, place = np.empty((largest, m)), np.empty((largest, m), dtype=np.int64)
    chosen = np.empty(m, dtype=np.int64)
    guess = 0
    task = next_task(state)
    while task * _TASK < sequence.size:
        for q in range(task * _TASK, min(sequence.size, task * _TASK + _TASK)):
            j = sequence[q]
            first, members = begin[j], end[j] - begin[j]
            depth = min(m, guess if guess > 0 else 2 + 2 * (m // members))
            while True:
                for c in range(0, members, GROUP):
                    there = min(GROUP, members - c)
                    load_points(X, columns, center, inverse_scale, first + c, there, across, along)
                    search(boxes, nodes, leaves, places, across, along, there, first, depth, distance[c:], place[c:])
                rounds = take_in_rounds(place, members, depth, m, chosen)
                if rounds <= depth:
                    break
                depth = min(m, depth + depth // 2 + 1)
            guess = rounds + rounds // 4 + 1
            target = out[j]
            for i in range(m):
                target[i] = chosen[i]
        task = next_task(state)


@jit
def nearest(state, boxes, nodes, leaves, places, X, columns, center, inverse_scale, sequence, group, limit, out):
    """out[i] (m,) = the places of the m points before ``limit`` that are nearest to row i of X, ascending.

    ``group`` points that follow one another in the ``sequence`` are searched for together.
    """
    if state[POOL]:
        dispatch(state, repeat_call())
        return
    p, m = columns.size, out.shape[1]
    across, along = np.zeros((p, GROUP)), np.zeros((GROUP, p))
    distance, place = np.empty((group, m)), np.empty((group, m), dtype=np.int64)
    chosen = np.empty(m, dtype=np.int64)
    task = next_task(state)
    while task * group < sequence.size:
        start = task * group
        members = min(group, sequence.size - start)
        for c in range(members):
            row = X[sequence[start + c]]
            for k in range(p):
                x = (row[columns[k]] - center[k]) * inverse_scale[k]
                along[c, k] = x
                across[k, c] = x
        search(boxes, nodes, leaves, places, across, along, members, limit, m, distance, place)
        for c in range(members):
            count, target = 0, out[sequence[start + c]]
            for i in range(m):
                count = add_place(chosen, count, place[c, i])
            for i in range(m):
                target[i] = chosen[i]
        task = next_task(state)
