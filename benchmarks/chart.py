"""The charts of docs/performance.md, from its own tables: ``python -m benchmarks.chart``; needs matplotlib."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
LEAVE_OUT = {"numpy-all-dimensions"}  # a line that says the same as its neighbour
COLORS = ["#0072B2", "#999999", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # Okabe & Ito's, and a grey
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def tables(text):
    """Of each table a dict from the column's name to its cells."""
    for table in TABLE.findall(text):
        header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        yield dict(zip(header, zip(*rows, strict=True), strict=True))


def number(cell):
    """The first one in a cell."""
    return float(re.match(r"[\d.]+", cell)[0])


def draw_libraries(axes, table):
    """Each library's time at each size."""
    sizes = [f"{n}\n{d}" for n, d in zip(table["n"], table["d"], strict=True)]
    names = [name for name in table if name not in {"n", "d"} | LEAVE_OUT]
    for name, color, marker in zip(names, COLORS, "osv^DPX", strict=True):
        width, order = (3.0, 3) if name == "fastard" else (1.2, 2)
        times = [number(cell) for cell in table[name]]
        axes.plot(sizes, times, marker=marker, color=color, label=name, linewidth=width, markersize=5, zorder=order)
    axes.set(yscale="log", ylabel="one value and gradient, ms", xlabel="points n (above) and inputs d (below)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_growth(by_points, by_inputs, by_threads, table, inputs):
    """Times over n beside the floor and LAPACK's, times over d, and what the second thread brings."""
    n = [number(cell) for cell in table["n"]]
    styles = {"fastard, ms": "o", "floor, ms": "s", "dpotrf + dpotri, ms": "^"}
    for (name, marker), color in zip(styles.items(), COLORS, strict=False):
        by_points.plot(
            n, [number(cell) for cell in table[name]], marker, color=color, label=name.removesuffix(", ms"), markersize=5
        )
    by_points.set(xscale="log", yscale="log", xlabel="points n", ylabel="one value and gradient, ms")
    by_points.legend(frameon=False)
    d = [number(cell) for cell in inputs["inputs d"]]
    by_inputs.plot(d, [number(cell) for cell in inputs["fastard, ms"]], "o", color=COLORS[0], markersize=5)
    by_inputs.set(xscale="log", xlabel="inputs d", ylabel="the same at n = 1000, ms")
    by_inputs.set_ylim(0.0, 1.1 * by_inputs.get_ylim()[1])
    by_threads.plot(n, [number(cell) for cell in table["one thread over all"]], "o", color=COLORS[0], markersize=5)
    by_threads.axhline(2.0, color=COLORS[1], linewidth=1)
    by_threads.set(xscale="log", xlabel="points n", ylabel="speed-up by a second thread", ylim=(0.9, 2.15))


def main():
    """Writes docs/_static/evaluation.svg and growth.svg."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "fastard", "svg.fonttype": "none", "font.family": "sans-serif"})
    libraries, limits, inputs = tables((DOCS / "performance.md").read_text(encoding="utf-8"))
    one, two = Figure(figsize=(7.6, 4.4), layout="constrained"), Figure(figsize=(9.6, 3.2), layout="constrained")
    draw_libraries(one.subplots(), libraries)
    draw_growth(*two.subplots(1, 3), limits, inputs)
    two.get_layout_engine().set(wspace=0.05)
    for name, figure in {"evaluation": one, "growth": two}.items():
        for axes in figure.axes:
            axes.grid(axis="y", alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(DOCS / "_static" / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
