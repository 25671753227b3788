"""LLVM vector kernels that Numba cannot express: products of packed panels, transposes, distances, what is near."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastard._numba.atomics import _F64, _I64, _at, _const
from fastard._numba.cpu import COLS, LANES, ROWS, SMALL

UNROLL = 4  # steps of the depth a turn of the loop

_VEC = ir.VectorType(_F64, LANES)

_PER_PANEL = COLS // LANES  # vectors a packed panel holds at each step of the depth


def _load(builder: Any, address: Any) -> Any:
    value = builder.load(_at(builder, address, _VEC))
    value.align = 8
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, _at(builder, address, _VEC)).align = 8


def _broadcast(builder: Any, value: Any) -> Any:
    undef = ir.Constant(_VEC, ir.Undefined)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(undef, value, ir.Constant(ir.IntType(32), 0)), undef, mask)


def _fmuladd(builder: Any) -> Any:
    """Vectors x, y, z to x y + z: one instruction where the machine has it (llvm.fma would be a library call where not)."""
    name = f"llvm.fmuladd.v{LANES}f64"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VEC, [_VEC] * 3), name)


def _zeroed(builder: Any) -> Any:
    """A place for a vector, which LLVM keeps in a register; zero."""
    cell = cgutils.alloca_once(builder, _VEC)
    builder.store(ir.Constant(_VEC, [0.0] * LANES), cell)
    return cell


def _one_copy(builder: Any, name: str, arguments: list[Any], write: Any, result: Any = None) -> ir.Function:
    """The function ``name`` of the module, written on first use; never inlined, merged between modules.

    It returns what ``write`` does where that has a type, ``result``.
    """
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(result or ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    value = write(inner, *function.args)
    if result is None:
        inner.ret_void()
    else:
        inner.ret(value)
    return function


def _make_product(accumulate: bool, masked: bool, rows: int = ROWS) -> Any:
    def write(builder, a, panel, b, depth, c, c_panel, c_column, sign, below):
        fma = _fmuladd(builder)
        vectors = range(rows // LANES)
        acc = [[_zeroed(builder) for _ in range(COLS)] for _ in vectors]
        a_start = [builder.add(a, builder.mul(panel, _const(i // _PER_PANEL))) for i in vectors]
        inside = [8 * LANES * (i % _PER_PANEL) for i in vectors]
        if accumulate:  # C comes from the second cache or beyond: ask for it before the products
            prefetch = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()] + [ir.IntType(32)] * 3),
                "llvm.prefetch.p0",
            )
            for j in range(COLS):
                for byte in [*range(0, 8 * rows, 64), 8 * rows - 8]:
                    where = builder.add(builder.add(c, builder.mul(c_column, _const(j))), _const(byte))
                    builder.call(
                        prefetch,
                        [_at(builder, where, ir.IntType(8))] + [ir.Constant(ir.IntType(32), x) for x in (1, 3, 1)],
                    )

        def step(offset, byte):
            here = builder.add(offset, _const(byte)) if byte else offset
            x = [_load(builder, builder.add(start, builder.add(here, _const(inside[i])))) for i, start in enumerate(a_start)]
            for j in range(COLS):
                y = builder.load(_at(builder, builder.add(builder.add(b, here), _const(8 * j)), _F64))
                y = _broadcast(builder, y)
                for i in vectors:
                    builder.store(builder.call(fma, [x[i], y, builder.load(acc[i][j])]), acc[i][j])

        turns = builder.sdiv(depth, _const(UNROLL))
        with cgutils.for_range(builder, turns, intp=_I64) as loop:
            base = builder.mul(loop.index, _const(8 * COLS * UNROLL))
            for u in range(UNROLL):
                step(base, 8 * COLS * u)
        done = builder.mul(turns, _const(UNROLL))
        with cgutils.for_range(builder, builder.sub(depth, done), intp=_I64) as loop:
            step(builder.mul(builder.add(done, loop.index), _const(8 * COLS)), 0)

        s = _broadcast(builder, sign)
        row = ir.VectorType(_I64, LANES)
        for j in range(COLS):
            column = builder.add(c, builder.mul(c_column, _const(j)))
            for i in vectors:
                where = builder.add(column, builder.add(builder.mul(c_panel, _const(i // _PER_PANEL)), _const(inside[i])))
                total = builder.load(acc[i][j])
                old = _load(builder, where) if accumulate or masked else None
                new = builder.call(fma, [s, total, old]) if accumulate else builder.fmul(s, total)
                if masked:
                    first = builder.add(below, _const(j))
                    first = builder.shuffle_vector(
                        builder.insert_element(ir.Constant(row, ir.Undefined), first, ir.Constant(ir.IntType(32), 0)),
                        ir.Constant(row, ir.Undefined),
                        ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
                    )
                    own = ir.Constant(row, [i * LANES + lane for lane in range(LANES)])
                    new = builder.select(builder.icmp_signed(">=", own, first), new, old)
                _store(builder, new, where)

    name = f"fastard_{'add' if accumulate else 'set'}_product{'_below' if masked else ''}_{LANES}_{rows}_{COLS}"

    @intrinsic
    def product(_, a, panel, b, depth, c, c_panel, c_column, sign, below):
        def codegen(context, builder, signature, args):
            function = _one_copy(builder, name, [_I64] * 7 + [_F64, _I64], write)
            builder.call(function, args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7, types.float64, types.int64), codegen

    return product


# C (ROWS x COLS) = sign A B' [+ C]. A is ROWS / COLS packed panels, ``panel`` bytes apart, from address a; B is one, from b; a
# packed panel is [k][COLS rows], so one packing serves as A and as B. C's columns are ``c_column`` bytes apart and each next
# COLS rows ``c_panel`` bytes on: 8 COLS in a column-major matrix, ``panel`` where C is itself packed. ``_below`` writes only
# rows i >= below + j of column j: the blocks that the diagonal crosses.
add_product = _make_product(accumulate=True, masked=False)

set_product = _make_product(accumulate=False, masked=False)

add_product_below = _make_product(accumulate=True, masked=True)

set_product_below = _make_product(accumulate=False, masked=True)

# The same for one packed panel of A, COLS rows: what is left of a matrix that is not whole blocks of ROWS.
add_panel_product = _make_product(accumulate=True, masked=False, rows=COLS)

set_panel_product = _make_product(accumulate=False, masked=False, rows=COLS)


def _make_distances(rows: int) -> Any:
    def write(builder, x, x_step, y, y_step, depth, s, s_column):
        fma = _fmuladd(builder)
        vectors = range(rows // LANES)
        acc = [[_zeroed(builder) for _ in range(COLS)] for _ in vectors]
        with cgutils.for_range(builder, depth, intp=_I64) as loop:
            here = builder.add(x, builder.mul(loop.index, x_step))
            there = builder.add(y, builder.mul(loop.index, y_step))
            xs = [_load(builder, builder.add(here, _const(8 * LANES * i))) for i in vectors]
            for j in range(COLS):
                yj = _broadcast(builder, builder.load(_at(builder, builder.add(there, _const(8 * j)), _F64)))
                for i in vectors:
                    difference = builder.fsub(xs[i], yj)
                    total = builder.load(acc[i][j])
                    builder.store(builder.call(fma, [difference, difference, total]), acc[i][j])
        for j in range(COLS):
            for i in vectors:
                where = builder.add(builder.add(s, builder.mul(s_column, _const(j))), _const(8 * LANES * i))
                _store(builder, builder.load(acc[i][j]), where)

    @intrinsic
    def distances(_, x, x_step, y, y_step, depth, s, s_column):
        def codegen(context, builder, signature, args):
            builder.call(_one_copy(builder, f"fastard_distances_{LANES}_{rows}_{COLS}", [_I64] * 7, write), args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), codegen

    return distances


# s (ROWS x COLS, columns `s_column` bytes apart) = sum_p (x[p, i] - y[p, j])^2; from p to p + 1 it is a step of bytes.
distances = _make_distances(ROWS)

panel_distances = _make_distances(COLS)  # of COLS x COLS pairs


@intrinsic
def weighted_distances(_, g, g_row, x, y, step, steps, depth, out):
    """out[p] (a vector) += sum_ij g[j, i] (x[p, i] - y[p, j])^2 over COLS rows j of g and LANES `steps` columns i, p < depth.

    g's rows are `g_row` bytes apart, from p to p + 1 it is `step` bytes. Only the sum over the vector's lanes is left to do.
    """

    def write(builder, g, g_row, x, y, step, steps, depth, out):
        fma = _fmuladd(builder)
        rows = [builder.add(g, builder.mul(g_row, _const(j))) for j in range(COLS)]
        acc = [cgutils.alloca_once(builder, _VEC) for _ in rows]
        with cgutils.for_range(builder, depth, intp=_I64) as over_p:
            offset = builder.mul(over_p.index, step)
            here, there = builder.add(x, offset), builder.add(y, offset)
            ys = [
                _broadcast(builder, builder.load(_at(builder, builder.add(there, _const(8 * j)), _F64))) for j in range(COLS)
            ]
            total = builder.add(out, builder.mul(over_p.index, _const(8 * LANES)))
            builder.store(_load(builder, total), acc[0])
            for cell in acc[1:]:
                builder.store(ir.Constant(_VEC, [0.0] * LANES), cell)
            with cgutils.for_range(builder, steps, intp=_I64) as over_i:
                i = builder.mul(over_i.index, _const(8 * LANES))
                xi = _load(builder, builder.add(here, i))
                for row, yj, cell in zip(rows, ys, acc, strict=True):
                    difference = builder.fsub(xi, yj)
                    weighted = builder.fmul(_load(builder, builder.add(row, i)), difference)
                    builder.store(builder.call(fma, [weighted, difference, builder.load(cell)]), cell)
            sums = [builder.load(cell) for cell in acc]
            while len(sums) > 1:
                sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
            _store(builder, sums[0], total)

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_weighted_distances_{LANES}_{COLS}", [_I64] * 8, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 8), codegen


def _make_rank_one(first: int) -> Any:
    @intrinsic
    def rank_one(_, target, factors, v):
        """Column k of the SMALL x SMALL block at target -= factors[k] v, rows `first` on; v stays in registers."""

        def write(builder, target, factors, v):
            fma = _fmuladd(builder)
            rows = range(8 * first, 8 * SMALL, 8 * LANES)
            vs = [builder.fneg(_load(builder, builder.add(v, _const(r)))) for r in rows]
            with cgutils.for_range(builder, _const(SMALL), intp=_I64) as loop:
                f = builder.load(_at(builder, builder.add(factors, builder.mul(loop.index, _const(8))), _F64))
                f = _broadcast(builder, f)
                column = builder.add(target, builder.mul(loop.index, _const(8 * SMALL)))
                for x, r in zip(vs, rows, strict=True):
                    where = builder.add(column, _const(r))
                    _store(builder, builder.call(fma, [x, f, _load(builder, where)]), where)

        def codegen(context, builder, signature, args):
            builder.call(_one_copy(builder, f"fastard_rank_one_{LANES}_{first}", [_I64] * 3, write), args)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return rank_one


rank_one, rank_one_half = _make_rank_one(0), _make_rank_one(SMALL // 2 // LANES * LANES)


@intrinsic
def copy_rows(_, source, source_step, target, target_step, steps, sign):
    """For each of ``steps``: COLS doubles, times sign, from source to target; each moves on by its step in bytes."""

    def write(builder, source, source_step, target, target_step, steps, sign):
        s = _broadcast(builder, sign)
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            x = builder.add(source, builder.mul(loop.index, source_step))
            y = builder.add(target, builder.mul(loop.index, target_step))
            for v in range(_PER_PANEL):
                byte = _const(8 * LANES * v)
                _store(builder, builder.fmul(s, _load(builder, builder.add(x, byte))), builder.add(y, byte))

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_copy_rows_{LANES}_{COLS}", [_I64] * 5 + [_F64], write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5, types.float64), codegen


@intrinsic
def transpose_blocks(_, source, source_row, source_step, target, target_row, target_step, blocks, sign):
    """For each of ``blocks``: a COLS x COLS block, transposed and times sign; rows and blocks are so many bytes apart."""

    def transposed(builder, rows):
        """LANES vectors: log2(LANES) rounds that interleave vector i with vector i + LANES / 2."""
        half = LANES // 2
        low = [lane // 2 + LANES * (lane % 2) for lane in range(LANES)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), [x + shift for x in low]) for shift in (0, half)]
        size = 1
        while size < LANES:
            rows = [builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in masks]
            size *= 2
        return rows

    def write(builder, source, source_row, source_step, target, target_row, target_step, blocks, sign):
        s = _broadcast(builder, sign)
        with cgutils.for_range(builder, blocks, intp=_I64) as loop:
            x = builder.add(source, builder.mul(loop.index, source_step))
            y = builder.add(target, builder.mul(loop.index, target_step))
            for r in range(_PER_PANEL):
                for q in range(_PER_PANEL):
                    rows = []
                    for lane in range(LANES):
                        where = builder.add(x, builder.mul(source_row, _const(r * LANES + lane)))
                        rows.append(_load(builder, builder.add(where, _const(8 * LANES * q))))
                    for lane, vector in enumerate(transposed(builder, rows)):
                        where = builder.add(y, builder.mul(target_row, _const(q * LANES + lane)))
                        _store(builder, builder.fmul(s, vector), builder.add(where, _const(8 * LANES * r)))

    def codegen(context, builder, signature, args):
        name = f"fastard_transpose_blocks_{LANES}_{COLS}"
        builder.call(_one_copy(builder, name, [_I64] * 7 + [_F64], write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7, types.float64), codegen


@intrinsic
def substitute_columns(_, z, step, panel_bytes, panels, triangle, squares):
    """In each of ``panels`` packed panels at z, COLS of its columns x, ``step`` bytes apart, become those that solve T x' = x.

    T is lower triangular: ``triangle`` is the address of COLS x COLS doubles [k][j], element (j, k) of T for k < j and one
    over the diagonal. ``squares``, COLS doubles a panel, grow by the squares of the solution.
    """

    def write(builder, z, step, panel_bytes, panels, triangle, squares):
        fma = _fmuladd(builder)
        with cgutils.for_range(builder, panels, intp=_I64) as loop:
            here = builder.add(z, builder.mul(loop.index, panel_bytes))
            sums = builder.add(squares, builder.mul(loop.index, _const(8 * COLS)))
            for v in range(_PER_PANEL):
                byte = _const(8 * LANES * v)
                total, solved = _load(builder, builder.add(sums, byte)), []
                for j in range(COLS):
                    where = builder.add(builder.add(here, byte), builder.mul(step, _const(j)))
                    x = _load(builder, where)
                    for k in range(j + 1):
                        t = builder.load(_at(builder, builder.add(triangle, _const(8 * (k * COLS + j))), _F64))
                        t = _broadcast(builder, t)
                        x = builder.fmul(x, t) if k == j else builder.call(fma, [builder.fneg(t), solved[k], x])
                    _store(builder, x, where)
                    solved.append(x)
                    total = builder.call(fma, [x, x, total])
                _store(builder, total, builder.add(sums, byte))

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_substitute_columns_{LANES}_{COLS}", [_I64] * 6, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def dot_products(_, x, y, y_row, steps, sums):
    """sums[k] (a vector) += x[i] y[k, i], k < COLS, over LANES ``steps`` entries i; y's rows are ``y_row`` bytes apart."""

    def write(builder, x, y, y_row, steps, sums):
        fma = _fmuladd(builder)
        acc = [cgutils.alloca_once(builder, _VEC) for _ in range(COLS)]
        rows = [builder.add(y, builder.mul(y_row, _const(k))) for k in range(COLS)]
        for k, cell in enumerate(acc):
            builder.store(_load(builder, builder.add(sums, _const(8 * LANES * k))), cell)
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            i = builder.mul(loop.index, _const(8 * LANES))
            xi = _load(builder, builder.add(x, i))
            for row, cell in zip(rows, acc, strict=True):
                builder.store(builder.call(fma, [xi, _load(builder, builder.add(row, i)), builder.load(cell)]), cell)
        for k, cell in enumerate(acc):
            _store(builder, builder.load(cell), builder.add(sums, _const(8 * LANES * k)))

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_dot_products_{LANES}_{COLS}", [_I64] * 5, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def subtract_combination(_, x, y, y_row, weights, steps):
    """x[i] -= sum_k weights[k] y[k, i], k < COLS, over LANES ``steps`` entries i; y's rows are ``y_row`` bytes apart."""

    def write(builder, x, y, y_row, weights, steps):
        fma = _fmuladd(builder)
        rows = [builder.add(y, builder.mul(y_row, _const(k))) for k in range(COLS)]
        by = [
            builder.fneg(_broadcast(builder, builder.load(_at(builder, builder.add(weights, _const(8 * k)), _F64))))
            for k in range(COLS)
        ]
        with cgutils.for_range(builder, steps, intp=_I64) as loop:
            i = builder.mul(loop.index, _const(8 * LANES))
            where = builder.add(x, i)
            total = _load(builder, where)
            for row, weight in zip(rows, by, strict=True):
                total = builder.call(fma, [weight, _load(builder, builder.add(row, i)), total])
            _store(builder, total, where)

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_subtract_combination_{LANES}_{COLS}", [_I64] * 5, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def factor_columns(_, block, triangle, pivots):
    """The Cholesky factor L of a COLS x COLS block, [k][COLS rows], in its place; above the diagonal it is anything.

    ``triangle`` becomes the same with one over the diagonal, as `substitute_columns` takes it, and ``pivots`` the squares of
    L's diagonal. Where one of these is not positive, what follows is NaN.
    """

    def write(builder, block, triangle, pivots):
        fma = _fmuladd(builder)
        i32 = ir.IntType(32)
        root = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_F64, [_F64]), "llvm.sqrt.f64")
        bytes_of = [8 * LANES * v for v in range(_PER_PANEL)]
        columns = [[_load(builder, builder.add(block, _const(8 * COLS * k + byte))) for byte in bytes_of] for k in range(COLS)]
        for k, column in enumerate(columns):
            own = ir.Constant(i32, k % LANES)
            pivot = builder.extract_element(column[k // LANES], own)
            builder.store(pivot, _at(builder, builder.add(pivots, _const(8 * k)), _F64))
            inverse = builder.fdiv(ir.Constant(_F64, 1.0), builder.call(root, [pivot]))
            scale = _broadcast(builder, inverse)
            for v in range(k // LANES, _PER_PANEL):
                column[v] = builder.fmul(column[v], scale)
            for j in range(k + 1, COLS):
                mask = ir.Constant(ir.VectorType(i32, LANES), [j % LANES] * LANES)
                factor = builder.shuffle_vector(column[j // LANES], ir.Constant(_VEC, ir.Undefined), mask)
                factor = builder.fneg(factor)
                for v in range(j // LANES, _PER_PANEL):
                    columns[j][v] = builder.call(fma, [factor, column[v], columns[j][v]])
            for v, byte in enumerate(bytes_of):
                _store(builder, column[v], builder.add(block, _const(8 * COLS * k + byte)))
                _store(builder, column[v], builder.add(triangle, _const(8 * COLS * k + byte)))
            builder.store(inverse, _at(builder, builder.add(triangle, _const(8 * COLS * k + 8 * k)), _F64))

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_factor_columns_{LANES}_{COLS}", [_I64] * 3, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), codegen


LEAF = 32  # points that `near_points` takes at once

_DEPTH_OF_A_LOOK = 8  # coordinates after which it looks whether any point may still be near


def _bits(builder: Any, condition: Any) -> Any:
    """A vector of booleans as an int64 with so many bits."""
    return builder.zext(builder.bitcast(condition, ir.IntType(LANES)), _I64)


@intrinsic
def near_points(_, x, y, depth, bound, s):
    """s[i] = sum_p (x[p, i] - y[p])^2 of LEAF points i, x is [depth][LEAF]; returns the bits i of those that are <= bound.

    Where none is, s may hold sums over the first coordinates alone.
    """

    def write(builder, x, y, depth, bound, s):
        fma = _fmuladd(builder)
        vectors = range(LEAF // LANES)
        acc = [_zeroed(builder) for _ in vectors]
        result = cgutils.alloca_once_value(builder, _const(0))
        limit = _broadcast(builder, bound)
        looks = builder.sdiv(builder.add(depth, _const(_DEPTH_OF_A_LOOK - 1)), _const(_DEPTH_OF_A_LOOK))
        with cgutils.for_range(builder, looks, intp=_I64) as over_looks:
            first = builder.mul(over_looks.index, _const(_DEPTH_OF_A_LOOK))
            rest = builder.sub(depth, first)
            there = builder.select(builder.icmp_signed("<", rest, _const(_DEPTH_OF_A_LOOK)), rest, _const(_DEPTH_OF_A_LOOK))
            with cgutils.for_range(builder, there, intp=_I64) as loop:
                p = builder.add(first, loop.index)
                here = builder.add(x, builder.mul(p, _const(8 * LEAF)))
                yp = builder.load(_at(builder, builder.add(y, builder.mul(p, _const(8))), _F64))
                yp = _broadcast(builder, yp)
                for v, cell in zip(vectors, acc, strict=True):
                    difference = builder.fsub(_load(builder, builder.add(here, _const(8 * LANES * v))), yp)
                    builder.store(builder.call(fma, [difference, difference, builder.load(cell)]), cell)
            mask = _const(0)
            for v, cell in zip(vectors, acc, strict=True):
                near = _bits(builder, builder.fcmp_ordered("<=", builder.load(cell), limit))
                mask = builder.or_(mask, builder.shl(near, _const(LANES * v)))
            builder.store(mask, result)
            with builder.if_then(builder.icmp_signed("==", mask, _const(0))):
                over_looks.do_break()
        for v, cell in zip(vectors, acc, strict=True):
            _store(builder, builder.load(cell), builder.add(s, _const(8 * LANES * v)))
        return builder.load(result)

    def codegen(context, builder, signature, args):
        name = f"fastard_near_points_{LANES}_{LEAF}"
        return builder.call(_one_copy(builder, name, [_I64, _I64, _I64, _F64, _I64], write, _I64), args)

    return types.int64(types.int64, types.int64, types.int64, types.float64, types.int64), codegen


@intrinsic
def near_box(_, box, y, y_step, depth, vectors, bounds, s):
    """s[c] = the squared distance of point c from a box, of LANES ``vectors`` points; returns the bits c of those that are
    <= bounds[c].

    ``box`` is [depth][lower, upper], y has a step in bytes from coordinate to coordinate. By the same operations as
    `near_points`, so that rounding makes no point of the box nearer than the box.
    """

    def write(builder, box, y, y_step, depth, vectors, bounds, s):
        fma = _fmuladd(builder)
        acc = _zeroed(builder)
        zero = ir.Constant(_VEC, [0.0] * LANES)
        result = cgutils.alloca_once_value(builder, _const(0))

        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        with cgutils.for_range(builder, vectors, intp=_I64) as over_vectors:
            byte = builder.mul(over_vectors.index, _const(8 * LANES))
            here = builder.add(y, byte)
            builder.store(zero, acc)
            with cgutils.for_range(builder, depth, intp=_I64) as loop:
                yp = _load(builder, builder.add(here, builder.mul(loop.index, y_step)))
                ends = builder.add(box, builder.mul(loop.index, _const(16)))
                lower = _broadcast(builder, builder.load(_at(builder, ends, _F64)))
                upper = _broadcast(builder, builder.load(_at(builder, builder.add(ends, _const(8)), _F64)))
                gap = larger(larger(builder.fsub(lower, yp), builder.fsub(yp, upper)), zero)
                builder.store(builder.call(fma, [gap, gap, builder.load(acc)]), acc)
            total = builder.load(acc)
            _store(builder, total, builder.add(s, byte))
            near = _bits(builder, builder.fcmp_ordered("<=", total, _load(builder, builder.add(bounds, byte))))
            near = builder.shl(near, builder.mul(over_vectors.index, _const(LANES)))
            builder.store(builder.or_(builder.load(result), near), result)
        return builder.load(result)

    def codegen(context, builder, signature, args):
        return builder.call(_one_copy(builder, f"fastard_near_box_{LANES}", [_I64] * 7, write, _I64), args)

    return types.int64(*[types.int64] * 7), codegen


@intrinsic
def at_most(_, s, bounds, vectors):
    """The bits c of those of LANES ``vectors`` doubles that are s[c] <= bounds[c]."""

    def write(builder, s, bounds, vectors):
        result = cgutils.alloca_once_value(builder, _const(0))
        with cgutils.for_range(builder, vectors, intp=_I64) as loop:
            byte = builder.mul(loop.index, _const(8 * LANES))
            x, y = _load(builder, builder.add(s, byte)), _load(builder, builder.add(bounds, byte))
            near = builder.shl(_bits(builder, builder.fcmp_ordered("<=", x, y)), builder.mul(loop.index, _const(LANES)))
            builder.store(builder.or_(builder.load(result), near), result)
        return builder.load(result)

    def codegen(context, builder, signature, args):
        return builder.call(_one_copy(builder, f"fastard_at_most_{LANES}", [_I64] * 3, write, _I64), args)

    return types.int64(*[types.int64] * 3), codegen


@intrinsic
def lowest_bit(_, bits):
    """The number of the lowest bit that is set; of 0, 64."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen
