"""The chart of docs/performance.md, from its first table: ``python -m benchmarks.chart``; needs matplotlib."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
LEAVE_OUT = {"numpy-all-dimensions"}  # a line that says the same as its neighbour
MILLISECONDS = re.compile(r"([\d.]+) ms")


def first_table(text):
    """Names of columns, and rows of cells."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    stop = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:stop])
    return header, rows


def main():
    """Writes docs/_static/evaluation.svg."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "fastard", "svg.fonttype": "none", "font.family": "sans-serif"})
    header, rows = first_table((DOCS / "performance.md").read_text(encoding="utf-8"))
    sizes = [f"{row[0]}\n{row[1]}" for row in rows]
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    colors = ["#0072B2", "#999999", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # Okabe & Ito's, and a grey
    names = [name for name in header[2:] if name not in LEAVE_OUT]
    for name, color, marker in zip(names, colors, "osv^DPX", strict=True):
        times = [float(MILLISECONDS.match(row[header.index(name)])[1]) for row in rows]
        ours = name == "fastard"
        axes.plot(
            sizes, times, marker=marker, color=color, label=name, linewidth=3 if ours else 1.2, markersize=5, zorder=2 + ours
        )
    axes.set_yscale("log")
    axes.set_ylabel("one value and gradient, ms")
    axes.set_xlabel("points n (above) and inputs d (below)")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(DOCS / "_static" / "evaluation.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
