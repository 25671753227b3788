"""What are inputs and outputs called?"""

from __future__ import annotations


def input_names(given: list[str] | None, d: int) -> list[str]:
    """The names that d inputs were ``given``, or x0, x1 ..."""
    return given or [f"x{i}" for i in range(d)]


def output_names(given: list[str] | None, m: int) -> list[str]:
    """The names that m outputs were ``given``, or y, or y0, y1 ..."""
    return given or (["y"] if m == 1 else [f"y{t}" for t in range(m)])
