"""The shapes of vectors and blocks on each kind of processor."""

import llvmlite.binding as llvm
import numba


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

SMALL = 24  # the innermost pivot: rank-one updates of a block whose columns are 24 / LANES vectors; 12 and 48: see _spd
