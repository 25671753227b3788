"""The block operations of one sweep that turns a symmetric positive-definite matrix into its inverse, without BLAS.

Block Gauss-Jordan on the lower triangle (Bientinesi, Gunter & van de Geijn, "Families of Algorithms Related to the Inversion
of a Symmetric Positive Definite Matrix", ACM TOMS 35(1), 2008). When the leading columns are done, the buffer holds
K00^-1, K10 K00^-1 and the Schur complement S of the rest. One step takes the next b columns (`pivot`, `panel`, `update`):

    S11 = L L'           log|K| += 2 sum log diag L
    W = L^-1 A10         V = S21 L^-T
    A00 += W'W           A20 -= V W           A22 -= V V'        <- one rank-b update of the whole triangle
    A10 = -L^-T W        A21 = V L^-1         A11 = L^-T L^-1

With F = A10' or S21 both panels are V = F L^-T and V L^-1, and with Z = [W'; -V] the three updates are C_ij += s Z_i Z_j',
s = -1 right of the pivot and +1 left of it. A right-hand side y is one more row below the matrix: its part right of the pivot
becomes y - K10 K00^-1 y, its part left of it (K00^-1 y)', and sum V_y^2 grows to y'K^-1 y. Counting the triangles of L^-1 as
triangles, all this is n^3 flops, and at every step the same number.

L^-1 of a pivot block is formed explicitly, itself by such a sweep over small blocks; with S11^-1 in its place the error would
grow with the square of the condition. The panel V, from which all that follows is computed, comes by substitution over blocks
of PANEL_DEPTH columns and their inverse triangles alone, which keeps K^-1 within twice the error of potrf + potri whatever
the block (tests/test_accuracy.py); products with the whole inverse triangle lose more with larger blocks.

Element (i, j), i >= j, stands at A[j, i]. Addresses and strides are in bytes. A packed panel is COLS rows of a matrix,
[k][row], so `panel_bytes` = 8 COLS (depth rounded up to COLS); Z and the two packings of L^-1 are arrays of such panels.
"""

import math

import numpy as np

from fastard._engine.loops.pairs import round_up
from fastard._numba.atomics import address_of, matrix_at, never_inline
from fastard._numba.cpu import COLS, ROWS, SMALL
from fastard._numba.jit import part, separate
from fastard._numba.microkernel import (
    add_product,
    add_product_below,
    copy_rows,
    rank_one,
    rank_one_half,
    set_product,
    set_product_below,
    transpose_blocks,
)

STEP = 8 * COLS  # bytes from one k to the next in a packed panel

# A pivot of no more than this part of K's diagonal is rounding error: equal rows without noise leave up to 25 times 2^-52.
ROUNDING = 32 * 2.0**-52

PANEL_DEPTH = 24  # columns of a pivot whose inverse triangle the panel uses: one small pivot
assert PANEL_DEPTH % SMALL == 0

CHOLESKY, TRIANGLE, INVERSE = 0, 1, 2  # what `panel` leaves behind: L, the inverse of L (inside a pivot block), K^-1


@part
def small_pivot(S, c, b, N, L, scratch, diagonal, first, variance):
    """N = L^-1 and L of the SMALL x SMALL block of S at c (its first b rows; identity beyond), upper triangles 0.

    The sweep above with b = 1 and without its rows above the pivot. Returns -1, or the first row whose pivot is not positive
    beyond rounding; K's diagonal is ``variance + diagonal[first + row]``.
    """
    never_inline()
    v, factors = scratch[0], scratch[1]
    for j in range(SMALL):
        column, factor = N[j], L[j]
        for r in range(SMALL):
            column[r] = 0.0
            factor[r] = 0.0
        if j < b:
            source = S[c + j]
            for r in range(j, b):
                column[r] = source[c + r]
        else:
            column[j] = factor[j] = 1.0
    for j in range(b):
        column, factor = N[j], L[j]
        pivot = column[j]
        if not (pivot > ROUNDING * (variance + diagonal[first + j]) and pivot < math.inf):
            return j
        x = 1.0 / math.sqrt(pivot)
        factor[j] = pivot * x
        for r in range(j + 1):
            v[r] = 0.0
        for r in range(j + 1, SMALL):
            v[r] = factor[r] = factors[r] = column[r] * x
        for k in range(j):
            factors[k] = N[k, j] * x
        factors[j] = 0.0
        if 2 * j + 2 < SMALL:
            rank_one(address_of(N), address_of(factors), address_of(v))
        else:
            rank_one_half(address_of(N), address_of(factors), address_of(v))
        for k in range(j):
            N[k, j] = -factors[k]
        for r in range(j + 1, SMALL):
            column[r] = v[r] * x
        column[j] = x
    for k in range(SMALL):
        for r in range(k):
            N[k, r] = 0.0
    return -1


@part
def pack(source, leading, transposed, rows, depth, sign, z, panel_bytes):
    """sign times `rows` rows of `depth` columns into packed panels; the source holds columns, or rows where `transposed`."""
    never_inline()
    for q in range(rows // COLS):
        target = z + q * panel_bytes
        if transposed:
            blocks = (depth + COLS - 1) // COLS
            transpose_blocks(source + COLS * q * leading, leading, STEP, target, STEP, COLS * STEP, blocks, sign)
        else:
            copy_rows(source + STEP * q, leading, target, STEP, depth, sign)


@part
def unpack(z, panel_bytes, rows, depth, sign, target, leading, transposed):
    """The way back."""
    never_inline()
    for q in range(rows // COLS):
        source = z + q * panel_bytes
        if transposed:
            blocks = (depth + COLS - 1) // COLS
            transpose_blocks(source, STEP, COLS * STEP, target + COLS * q * leading, leading, STEP, blocks, sign)
        else:
            copy_rows(source, STEP, target + STEP * q, leading, depth, sign)


@separate
def panel(source, leading, transposed, sign, rows, b, l_rows, l_columns, z, panel_bytes, leave):
    """`rows` rows of the panel: Z = sign F L^-T packed at z, and in their place what `leave` says.

    Z comes by substitution over blocks of PANEL_DEPTH columns, each by its own inverse triangle; the result by L^-1 whole.
    `l_rows` and `l_columns`, from `pivot`, are round_up(b, ROWS) / COLS packed panels of depth b each.

    Left of the pivot the matrix holds F transposed, and takes the result transposed by a change of roles in the product.
    """
    pack(source, leading, transposed, rows, b, sign, z, panel_bytes)
    for i in range(0, rows, ROWS):
        here = z + i // COLS * panel_bytes
        for c in range(0, b, PANEL_DEPTH):
            stop = min(c + PANEL_DEPTH, round_up(b, COLS))
            if c > 0:
                for j in range(c, stop, COLS):  # less what the columns before c explain: l_rows holds -L there
                    l_panel = l_rows + j // COLS * panel_bytes
                    add_product(here, panel_bytes, l_panel, c, here + j * STEP, panel_bytes, STEP, 1.0, 0)
            for j in range(stop - COLS, c - COLS, -COLS):  # from the right, in place: column j needs c ... j + COLS only
                l_panel = l_rows + j // COLS * panel_bytes + c * STEP
                depth = min(j + COLS, b) - c
                set_product(here + c * STEP, panel_bytes, l_panel, depth, here + j * STEP, panel_bytes, STEP, 1.0, 0)
    if leave == INVERSE or (leave == TRIANGLE and not transposed):
        if transposed:
            for k in range(0, b, ROWS):
                for i in range(0, rows, COLS):
                    set_product(
                        l_columns + k // COLS * panel_bytes + k * STEP,
                        panel_bytes,
                        z + i // COLS * panel_bytes + k * STEP,
                        b - k,
                        source + i * leading + 8 * k,
                        STEP,
                        leading,
                        -1.0,
                        0,
                    )
        else:
            for i in range(0, rows, ROWS):
                for j in range(0, b, COLS):
                    set_product(
                        z + i // COLS * panel_bytes + j * STEP,
                        panel_bytes,
                        l_columns + j // COLS * panel_bytes + j * STEP,
                        b - j,
                        source + 8 * i + j * leading,
                        STEP,
                        leading,
                        -1.0,
                        0,
                    )
    else:
        unpack(z, panel_bytes, rows, b, -1.0, source, leading, transposed)


@separate
def update(z_i, z_j, panel_bytes, depth, c, leading, rows, columns, sign, diagonal):
    """C += sign Z_i Z_j', only the lower triangle of a diagonal tile: its upper one holds what the contraction needs."""
    for i in range(0, rows, ROWS):
        here = z_i + i // COLS * panel_bytes
        for j in range(0, min(columns, i) if diagonal else columns, COLS):
            add_product(
                here, panel_bytes, z_j + j // COLS * panel_bytes, depth, c + 8 * i + j * leading, STEP, leading, sign, 0
            )
        if diagonal:
            for j in range(i, min(columns, i + ROWS), COLS):
                add_product_below(
                    here,
                    panel_bytes,
                    z_j + j // COLS * panel_bytes,
                    depth,
                    c + 8 * i + j * leading,
                    STEP,
                    leading,
                    sign,
                    j - i,
                )


@part
def pivot_doubles(rows):
    """Doubles of `pivot`'s z, for a block of so many rows, a multiple of SMALL."""
    return (rows + 4 * SMALL + 2) * SMALL


@separate
def pivot(A, p0, b, S, z, l_rows, l_columns, panel_bytes, keep_factor, diagonal, variance, half_log_det):
    """What `panel` takes for the b x b block of A at p0, and half its log determinant; L in its place if wanted.

    `l_rows` gets L^-1's blocks of PANEL_DEPTH on the diagonal and -L left of them, `l_columns` the whole of L^-1.

    S (round_up(b, SMALL) square) and z (`pivot_doubles`) are scratch. K's diagonal is ``variance + diagonal``, (n,).
    Returns -1, or the block's row whose pivot is not positive beyond rounding.
    """
    # Copy the block in, its rest zeros
    width = round_up(b, SMALL)
    s, s_leading = address_of(S), 8 * S.shape[1]
    a, leading = address_of(A), 8 * A.shape[1]
    for j in range(width):
        target = S[j]
        for r in range(width):
            target[r] = 0.0
        if j < b:
            source = A[p0 + j]
            for r in range(j, b):
                target[r] = source[p0 + r]
    square = SMALL * SMALL * 8
    n_rows = z + width * SMALL * 8
    n_columns = n_rows + square
    N, L = matrix_at(n_columns + square, SMALL, SMALL), matrix_at(n_columns + 2 * square, SMALL, SMALL)
    scratch = matrix_at(n_columns + 3 * square, 2, SMALL)
    n_panel = SMALL * STEP
    total = 0.0
    small, leave = min(SMALL, width), TRIANGLE if width > 0 else INVERSE  # variables: Numba compiles anew for a literal
    # The sweep over small pivots: factor, pack both ways, panel, keep L, update
    for c in range(0, width, SMALL):
        bad = small_pivot(S, c, min(SMALL, b - c), N, L, scratch, diagonal, p0 + c, variance)
        if bad >= 0:
            return c + bad
        for j in range(min(SMALL, b - c)):
            total += math.log(L[j, j])
        for way in range(2):
            pack(address_of(N), 8 * SMALL, way == 1, small, small, 1.0, n_columns if way else n_rows, n_panel)
        for j in range(SMALL):
            source, target = N[j], S[c + j]
            for r in range(SMALL):
                target[c + r] = source[r]
        below = c + SMALL
        for left in range(1, -1, -1):  # the rows of L^-1 that stand above, and the rows of S below
            source = s + 8 * c if left else s + c * s_leading + 8 * below
            rows = c if left else width - below
            panel(
                source,
                s_leading,
                left == 1,
                1.0 if left else -1.0,
                rows,
                small,
                n_rows,
                n_columns,
                z if left else z + below // COLS * n_panel,
                n_panel,
                leave,
            )
        for j in range((c // PANEL_DEPTH + 1) * PANEL_DEPTH, round_up(b, ROWS), COLS):  # z holds -L
            l_panel = l_rows + j // COLS * panel_bytes + c * STEP
            copy_rows(z + j // COLS * n_panel, STEP, l_panel, STEP, SMALL, 1.0)
        if keep_factor:
            for j in range(min(SMALL, b - c)):
                for r in range(j, min(SMALL, b - c)):
                    A[p0 + c + j, p0 + c + r] = L[j, r]
            unpack(
                z + below // COLS * n_panel,
                n_panel,
                round_up(b, ROWS) - below,
                min(SMALL, b - c),
                -1.0,
                a + (p0 + c) * leading + 8 * (p0 + below),
                leading,
                small < SMALL,
            )
        for i in range(below, width, ROWS):
            z_i = z + i // COLS * n_panel
            for j in range(0, i + ROWS, COLS):
                if j < c or j >= below:
                    target = s + j * s_leading + 8 * i
                    if j < i:
                        add_product(
                            z_i, n_panel, z + j // COLS * n_panel, SMALL, target, STEP, s_leading, 1.0 if j < c else -1.0, 0
                        )
                    else:
                        add_product_below(z_i, n_panel, z + j // COLS * n_panel, SMALL, target, STEP, s_leading, -1.0, j - i)
    # Pack L^-1 out
    for j in range(0, round_up(b, ROWS), COLS):
        c = j // PANEL_DEPTH * PANEL_DEPTH
        l_panel = l_rows + j // COLS * panel_bytes + c * STEP
        copy_rows(s + 8 * j + c * s_leading, s_leading, l_panel, STEP, max(0, min(j + COLS, b) - c), 1.0)
        first = j // ROWS * ROWS
        transpose_blocks(
            s + j * s_leading + 8 * first,
            s_leading,
            STEP,
            l_columns + j // COLS * panel_bytes + first * STEP,
            STEP,
            COLS * STEP,
            (b - first + COLS - 1) // COLS,
            1.0,
        )
    half_log_det[0] = total
    return -1


@separate
def pivot_inverse(l_columns, panel_bytes, b, a, leading):
    """A11 = L^-T L^-1, its lower triangle."""
    for i in range(0, b, ROWS):
        for j in range(0, min(b, i + ROWS), COLS):
            x = l_columns + i // COLS * panel_bytes + i * STEP
            y = l_columns + j // COLS * panel_bytes + i * STEP
            if j < i:
                set_product(x, panel_bytes, y, b - i, a + j * leading + 8 * i, STEP, leading, 1.0, 0)
            else:
                set_product_below(x, panel_bytes, y, b - i, a + j * leading + 8 * i, STEP, leading, 1.0, j - i)


@part
def back_substitute(A, R, n, m):
    """R's rows t < m, (L^-1 y_t)', become alpha_t = K^-1 y_t, with L at A[j, i], i >= j; n^2 m flops on one thread."""
    sums = np.empty(8)
    for t in range(m):
        x = R[t, :n]
        for j in range(n - 1, -1, -1):
            column, rest = A[j, j + 1 : n], x[j + 1 : n]
            eights = rest.size - rest.size % 8
            sums[:] = 0.0
            for i in range(0, eights, 8):  # eight sums side by side, in a fixed order
                for lane in range(8):
                    sums[lane] += column[i + lane] * rest[i + lane]
            total = 0.0
            for lane in range(8):
                total += sums[lane]
            for i in range(eights, rest.size):
                total += column[i] * rest[i]
            x[j] = (x[j] - total) / A[j, j]
