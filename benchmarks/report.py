"""Tables for people: markdown, and the machine that figures are from."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path


def markdown(headings: list[str], rows: list[list[object]]) -> str:
    """A markdown table, numbers to the right, its columns aligned for reading as it stands."""
    cells = [headings, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def milliseconds(seconds: float) -> str:
    """Three digits, and no powers of ten."""
    return f"{1e3 * seconds:.3g}" if seconds < 0.9995 else f"{1e3 * seconds:.0f}"


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe_machine() -> str:
    """One line: CPU, cores, Python, the versions that decide the speed, and the date."""
    import fastard

    versions = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "scipy"))
    return (
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, "
        f"fastard {fastard.__version__}, {versions}; {datetime.date.today().isoformat()}"
    )


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
