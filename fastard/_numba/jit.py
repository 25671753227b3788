"""How fastard compiles: one decorator. Everything compiled releases the GIL, is cached on disk where a writable place
exists, and divides as NumPy does."""

from collections.abc import Callable
from typing import Any

from numba import config, njit

from fastard._numba.cache import Cache

# Products and sums may become fused multiply-adds. `reassoc` is left out: it folds the rounding trick in `exp` away, and lets
# the order of a sum depend on what else was compiled.
EXACT = {"contract", "nsz", "arcp"}

# Functions of one number, called in the innermost loops: LLVM vectorises the loop only when they are part of it.
INLINE: dict[str, Any] = {"error_model": "numpy", "fastmath": EXACT, "forceinline": True}


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile ``function`` lazily, without the GIL, cached."""
    if function is None:
        return lambda f: jit(f, **options)
    options = {"nogil": True, "error_model": "numpy", "fastmath": EXACT, "no_cfunc_wrapper": True, **options}
    compiled: Any = njit(**options)(function)
    if not config.DISABLE_JIT:  # else it is the function of Python
        compiled._cache = Cache(compiled)  # in the place of Numba's own
    return compiled
