"""Compact cells of points: medians along the widest side, down to a given number of points (a k-d tree).

Bentley (1975), "Multidimensional binary search trees used for associative searching", CACM 18(9). All cells but the last are
full: the left half of a node gets a whole number of them. The nodes of the tree are numbered from the root down, left before
right: of a node with k cells, the left child has k // 2 cells and the number node + 1, the right one node + 2 (k // 2).
"""

import math

import numpy as np

from fastard._numba.atomics import never_inline
from fastard._numba.jit import jit, part

LOWEST, CUT = 0, 1  # of a node: the lowest of its rows, and along which coordinate it is cut

_DEPTH = 64  # of a tree, at most


@part
def select(keys, rows, first, stop, k):
    """Reorder keys and rows first ... stop alike so that no key before place k is larger than one from k on: quickselect."""
    never_inline()
    low, high = first, stop - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                rows[i], rows[j] = rows[j], rows[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return


@jit
def split(X, columns, center, inverse_scale, rows, size, boxes, nodes):
    """Reorder the ``rows`` of X so that each next ``size`` of them are a cell.

    The sides of a node are those of its points' bounding box, in units of the length scales; ``columns`` of X (p,) count, and
    ``center`` and ``inverse_scale`` (p,) are theirs. ``boxes`` (nodes, p, 2) get each node's box, scaled, and ``nodes``
    (nodes, 2) its LOWEST and CUT, unless they have no rows.
    """
    count, p = rows.size, columns.size
    keys = np.empty(count)
    low, high = np.empty(p), np.empty(p)
    stack = np.empty((_DEPTH, 3), dtype=np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, 0, (count + size - 1) // size
    top = 0
    while top >= 0:
        node, cell, cells = stack[top, 0], stack[top, 1], stack[top, 2]
        top -= 1
        if cells == 1 and nodes.shape[0] == 0:
            continue
        first, stop = cell * size, min(count, (cell + cells) * size)
        for k in range(p):
            low[k], high[k] = math.inf, -math.inf
        lowest = rows[first]
        for i in range(first, stop):
            row = X[rows[i]]
            lowest = min(lowest, rows[i])
            for k in range(p):
                x = row[columns[k]]
                low[k] = x if x < low[k] else low[k]
                high[k] = x if x > high[k] else high[k]
        cut, widest = 0, -1.0
        for k in range(p):
            width = (high[k] - low[k]) * inverse_scale[k]
            if width > widest:
                cut, widest = k, width
        if nodes.shape[0] > 0:
            nodes[node, LOWEST], nodes[node, CUT] = lowest, cut
            for k in range(p):
                boxes[node, k, 0] = (low[k] - center[k]) * inverse_scale[k]
                boxes[node, k, 1] = (high[k] - center[k]) * inverse_scale[k]
        if cells > 1:
            half = cells // 2
            column = columns[cut]
            for i in range(first, stop):
                keys[i] = X[rows[i], column]
            select(keys, rows, first, stop, (cell + half) * size)
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = node + 2 * half, cell + half, cells - half
            stack[top + 2, 0], stack[top + 2, 1], stack[top + 2, 2] = node + 1, cell, half
            top += 2


@jit
def fill_leaves(X, columns, center, inverse_scale, rows, leaves, places):
    """The cells of ``rows``, as ``split`` has left them: leaves[leaf, k, i] = scaled coordinate k of its point i, and
    places[leaf, i] = the point's row, ascending; beyond the last one 0, and the largest number."""
    size = places.shape[1]
    for leaf in range(places.shape[0]):
        first, there = leaf * size, min(size, rows.size - leaf * size)
        target = places[leaf]
        for i in range(there):
            row, j = rows[first + i], i
            while j > 0 and target[j - 1] > row:
                target[j] = target[j - 1]
                j -= 1
            target[j] = row
        for i in range(there, size):
            target[i] = 2**31 - 1
        for k in range(columns.size):
            column, origin, unit, values = columns[k], center[k], inverse_scale[k], leaves[leaf, k]
            for i in range(there):
                values[i] = (X[target[i], column] - origin) * unit
            for i in range(there, size):
                values[i] = 0.0
