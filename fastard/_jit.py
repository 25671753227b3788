"""How fastard compiles: one decorator, and the atomic operations that let threads share out tiles.

Everything compiled in fastard releases the GIL, is cached on disk where a writable place exists, and divides as NumPy does.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Sums may be contracted to fused multiply-adds. `reassoc` is left out: it folds the rounding trick in `exp` away.
EXACT = {"contract", "nsz", "arcp"}
# For loops that only add and multiply: lets LLVM keep several partial sums in vector registers.
REORDER = EXACT | {"reassoc"}


# Functions of one number, called in the innermost loops: LLVM vectorises the loop only when they are part of it.
INLINE: dict[str, Any] = {"error_model": "numpy", "fastmath": EXACT, "forceinline": True}


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile ``function`` lazily, without the GIL, cached; without a cache where no place is writable."""
    if function is None:
        return lambda f: jit(f, **options)
    options = {"nogil": True, "error_model": "numpy", "fastmath": EXACT, **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba: "no locator available", a read-only install in a read-only home
        return njit(**options)(function)


def _element(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def fetch_add(_: Any, array: Any, index: Any, amount: Any) -> Any:
    """``array[index] += amount`` as one indivisible step; returns the value before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _element(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def atomic_load(_: Any, array: Any, index: Any) -> Any:
    """``array[index]``, read anew each time and seen after everything its writer wrote before it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_element(context, builder, signature, args), "seq_cst", 8, typ=ir.IntType(64))

    return types.int64(array, types.int64), codegen
