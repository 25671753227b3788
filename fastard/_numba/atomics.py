"""Addresses, atomic operations and calls without the GIL, which Numba cannot express."""

import sys
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

_I64, _F64 = ir.IntType(64), ir.DoubleType()


def _const(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _at(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic
def never_inline(_):
    """Marks the function it stands in: LLVM would copy its body to every caller, and compile it as often."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def address_of(_, array):
    """The address of an array's first element."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, _I64)

    return types.int64(array), codegen


@intrinsic
def matrix_at(_, address, rows, columns):
    """The doubles at ``address`` as a C-contiguous array (rows, columns); who holds them sees to it that they stay."""
    kind = types.Array(types.float64, 2, "C")

    def codegen(context, builder, signature, args):
        place, rows, columns = args
        array = context.make_array(kind)(context, builder)
        step = _const(8)
        strides = [builder.mul(columns, step), step]
        populate_array(array, _at(builder, place, _F64), [rows, columns], strides, step, None)
        return array._getvalue()

    return kind(types.int64, types.int64, types.int64), codegen


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


# Where the operating system can be asked without Python.
_HAS_YIELD = sys.platform in ("linux", "darwin")


@intrinsic
def yield_processor(_):
    """Lets another thread run, where one waits for this core and the system can be asked; otherwise nothing."""

    def codegen(context, builder, signature, args):
        if _HAS_YIELD:
            kind = ir.FunctionType(_I32, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def sleep(_, microseconds):
    """Gives the core away for so long, and a little longer, where the system can be asked; otherwise nothing."""

    def codegen(context, builder, signature, args):
        if _HAS_YIELD:
            kind = ir.FunctionType(_I32, [_I32])
            usleep = cgutils.get_or_insert_function(builder.module, kind, "usleep")
            builder.call(usleep, [builder.trunc(args[0], _I32)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def nanoseconds(_):
    """A clock's time since whenever, 0 where only Python could tell."""
    clocks = {"linux": 1, "darwin": 6}  # CLOCK_MONOTONIC

    def codegen(context, builder, signature, args):
        if sys.platform not in clocks:
            return _const(0)
        time = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))  # seconds, nanoseconds
        kind = ir.FunctionType(_I32, [_I32, time.type])
        read = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(read, [ir.Constant(_I32, clocks[sys.platform]), time])
        seconds, rest = (builder.extract_value(builder.load(time), i) for i in range(2))
        return builder.add(builder.mul(seconds, _const(10**9)), rest)

    return types.int64(), codegen


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
