"""What Numba can not say: the microkernel of vectors, transposes inside registers, and atomic operations.

Everything here takes int64 addresses in bytes, so that nothing overflows at n >= 46341. One generator writes the code for
every host: the vector's length comes from the features that LLVM finds (Numba's cache keys on them too).
"""

import sys
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _shape() -> tuple[int, int, int]:
    """(doubles in a vector, rows, columns) of the block of C that one microkernel call keeps in registers."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:  # the user compiles for another machine: what all have
        has: dict[str, bool] = {}
        for feature in (numba.config.CPU_FEATURES or "").split(","):
            has[feature.lstrip("+-")] = feature.startswith("+")
    else:
        try:
            has = dict(llvm.get_host_cpu_features())
        except RuntimeError:  # LLVM can not tell on this platform
            has = {}
    if has.get("avx512f"):
        return 8, 24, 8  # 24 of 32 registers
    if has.get("avx2") and has.get("fma"):
        return 4, 12, 4  # 12 of 16: 3 loads, 4 broadcasts and 12 multiply-adds a step
    if has.get("neon"):
        return 2, 12, 4  # 24 of 32
    return 2, 4, 4  # 8 of 16


LANES, ROWS, COLS = _shape()
UNROLL = 4  # steps of the depth a turn of the loop

_I64, _F64 = ir.IntType(64), ir.DoubleType()
_VEC = ir.VectorType(_F64, LANES)
_PER_PANEL = COLS // LANES  # vectors a packed panel holds at each step of the depth


def _const(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


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


def _one_copy(builder: Any, name: str, arguments: list[Any], write: Any) -> ir.Function:
    """The function ``name`` of the module, written on first use; never inlined, merged between modules."""
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    inner = ir.IRBuilder(function.append_basic_block("entry"))
    write(inner, *function.args)
    inner.ret_void()
    return function


def _make_product(accumulate: bool, masked: bool) -> Any:
    def write(builder, a, panel, b, depth, c, c_panel, c_column, sign, below):
        fma = _fmuladd(builder)
        vectors = range(ROWS // LANES)
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
                for byte in [*range(0, 8 * ROWS, 64), 8 * ROWS - 8]:
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
                    rows = ir.Constant(row, [i * LANES + lane for lane in range(LANES)])
                    new = builder.select(builder.icmp_signed(">=", rows, first), new, old)
                _store(builder, new, where)

    name = f"fastard_{'add' if accumulate else 'set'}_product{'_below' if masked else ''}_{LANES}_{ROWS}_{COLS}"

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


@intrinsic
def distances(_, x, x_step, y, y_step, depth, s, s_column):
    """s (ROWS x COLS, columns `s_column` bytes apart) = sum_p (x[p, i] - y[p, j])^2; from p to p + 1 it is a step of bytes."""

    def write(builder, x, x_step, y, y_step, depth, s, s_column):
        fma = _fmuladd(builder)
        vectors = range(ROWS // LANES)
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

    def codegen(context, builder, signature, args):
        builder.call(_one_copy(builder, f"fastard_distances_{LANES}_{ROWS}_{COLS}", [_I64] * 7, write), args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


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


SMALL = 24  # the innermost pivot: rank-one updates of a block whose columns are 24 / LANES vectors; 12 and 48: see _spd


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
def never_inline(_):
    """Marks the function it stands in: LLVM would copy its body to every caller, and compile it as often."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


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
def address_of(_, array):
    """The address of an array's first element."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, _I64)

    return types.int64(array), codegen


@intrinsic
def fetch_add(_, address, amount):
    """The int64 at ``address`` grows by ``amount`` in one indivisible step; returns the value before."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", _at(builder, args[0], _I64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(_, address):
    """The int64 at ``address``, and with it everything its writer had written before."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_at(builder, args[0], _I64), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def atomic_store(_, address, value):
    """The int64 at ``address`` becomes ``value`` after everything this thread has written before."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[1], _at(builder, args[0], _I64), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def compare_exchange(_, address, expected, value):
    """Where the int64 at ``address`` is ``expected`` it becomes ``value``, in one indivisible step; whether it was."""

    def codegen(context, builder, signature, args):
        where = _at(builder, args[0], _I64)
        return builder.extract_value(builder.cmpxchg(where, args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


_I32 = ir.IntType(32)


@intrinsic
def repeat_call(_):
    """The call that it stands in, to be made again on whatever thread until it returns: a pair for ``call_again``, the address
    of a function ``int32 f(int64 arguments)``, which returns 0, or not 0 after an exception, and of the arguments.

    Nothing of Python is touched, so a thread without the GIL can take part in a call whose arguments another one unpacked.
    Arrays arrive without their owners (Numba's i8 pointers; so no arrays of bytes, please): who keeps them alive is the call.
    """
    byte_pointer = ir.IntType(8).as_pointer()

    def codegen(context, builder, signature, args):
        function = builder.function
        given = function.args[2:]  # Numba's first two: where the result and an exception go
        packed = ir.LiteralStructType([x.type for x in given])

        def field(builder, place, i):
            return builder.gep(place, [ir.Constant(_I32, 0), ir.Constant(_I32, i)])

        place = cgutils.alloca_once(builder, packed)
        for i, x in enumerate(given):
            x = ir.Constant(byte_pointer, None) if x.type == byte_pointer else x
            builder.store(x, field(builder, place, i))
        again = ir.Function(builder.module, ir.FunctionType(_I32, [_I64]), f"{function.name}.again")
        again.linkage = "internal"
        inner = ir.IRBuilder(again.append_basic_block("entry"))
        results = [inner.alloca(x.type.pointee) for x in function.args[:2]]
        there = _at(inner, again.args[0], packed)
        inner.ret(inner.call(function, [*results, *(inner.load(field(inner, there, i)) for i in range(len(given)))]))
        pair = [builder.ptrtoint(again, _I64), builder.ptrtoint(place, _I64)]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(types.int64, 2)(), codegen


@intrinsic
def call_again(_, function, arguments):
    """Makes the call that ``repeat_call`` packed."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_I32, [_I64])
        return builder.sext(builder.call(_at(builder, args[0], kind), [args[1]]), _I64)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def pause(_):
    """Tells the processor that this thread spins."""
    triple = llvm.get_process_triple()

    def codegen(context, builder, signature, args):
        if triple.startswith(("x86_64", "i386", "i686", "amd64")):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        elif triple.startswith(("aarch64", "arm64")):
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), codegen


HAS_YIELD = sys.platform in ("linux", "darwin")


@intrinsic
def yield_processor(_):
    """Lets another thread run where the operating system can be asked without Python; otherwise nothing."""

    def codegen(context, builder, signature, args):
        if HAS_YIELD:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def this_core(_):
    """The number of the core that this thread runs on, -1 where only Python could tell."""

    def codegen(context, builder, signature, args):
        if sys.platform != "linux":
            return _const(-1)
        kind = ir.FunctionType(_I32, [])
        return builder.sext(builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_getcpu"), []), _I64)

    return types.int64(), codegen


@intrinsic
def load_double(_, address):
    """The double at an address."""

    def codegen(context, builder, signature, args):
        return builder.load(_at(builder, args[0], _F64))

    return types.float64(types.int64), codegen
