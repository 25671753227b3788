"""How fastard compiles: one decorator. Everything compiled releases the GIL, is cached on disk where a writable place
exists, and divides as NumPy does."""

from collections.abc import Callable
from typing import Any

from numba import njit

# Products and sums may become fused multiply-adds. `reassoc` is left out: it folds the rounding trick in `exp` away, and lets
# the order of a sum depend on what else was compiled.
EXACT = {"contract", "nsz", "arcp"}

# Functions of one number, called in the innermost loops: LLVM vectorises the loop only when they are part of it.
INLINE: dict[str, Any] = {"error_model": "numpy", "fastmath": EXACT, "forceinline": True}


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile ``function`` lazily, without the GIL, cached; without a cache where no place is writable."""
    if function is None:
        return lambda f: jit(f, **options)
    options = {"nogil": True, "error_model": "numpy", "fastmath": EXACT, "no_cfunc_wrapper": True, **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba: "no locator available", a read-only install in a read-only home
        return njit(**options)(function)
