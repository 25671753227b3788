"""The shapes of vectors and blocks on each kind of processor.

A new shape is one row of the table and, where its tests need other settings, one row in tests/test_cpu_shapes.py.
"""

from typing import NamedTuple

import llvmlite.binding as llvm
import numba

SMALL = 24  # rows of the innermost pivot, whose columns are SMALL / LANES vectors; every block and tile is a multiple of it


class Shape(NamedTuple):
    """The block of C that one microkernel call keeps in registers: BLIS's MR is ``rows``, its NR ``columns``."""

    name: str
    needs: frozenset[str]  # LLVM's names of the features that the processor must have
    lanes: int  # doubles in a vector
    rows: int
    columns: int


# The first row whose needs are met is taken.
SHAPES = (
    Shape("avx512", frozenset({"avx512f"}), 8, 24, 8),  # 24 of 32 registers
    Shape("avx2", frozenset({"avx2", "fma"}), 4, 12, 4),  # 12 of 16: 3 loads, 4 broadcasts and 12 multiply-adds a step
    Shape("neon", frozenset({"neon"}), 2, 12, 4),  # 24 of 32
    Shape("generic", frozenset(), 2, 4, 4),  # 8 of 16
)


def _check(shape: Shape) -> None:
    """What packing, masks and edges of the blocks rely on."""
    _, _, lanes, rows, columns = shape
    assert lanes.bit_count() == 1, f"{shape}: lanes must be a power of 2"
    assert columns.bit_count() == 1, f"{shape}: columns must be a power of 2"
    assert columns % lanes == 0, f"{shape}: a packed panel holds whole vectors"
    assert rows % columns == 0, f"{shape}: a block is whole packed panels"
    assert SMALL % rows == 0, f"{shape}: the innermost pivot is whole blocks"


for _shape in SHAPES:
    _check(_shape)


def _features() -> frozenset[str]:
    """What the processor has that code is compiled for."""
    if numba.config.CPU_NAME or numba.config.CPU_FEATURES:  # the user compiles for another machine: what all have
        wanted = (numba.config.CPU_FEATURES or "").split(",")
        return frozenset(feature[1:] for feature in wanted if feature.startswith("+"))
    try:
        return frozenset(feature for feature, there in llvm.get_host_cpu_features().items() if there)
    except RuntimeError:  # LLVM cannot tell on this platform
        return frozenset()


SHAPE = next(shape for shape in SHAPES if shape.needs <= _features())

LANES, ROWS, COLS = SHAPE.lanes, SHAPE.rows, SHAPE.columns
