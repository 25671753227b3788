"""Tables on stdout."""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastard._progress import _draws
from fastard._text import printable

if TYPE_CHECKING:
    from fastard._cli.study import Study

_BAR = 16  # characters of the longest bar


class Grid(NamedTuple):
    """Rows of text under a title; ``align`` has one of "<" and ">" for each column."""

    title: str
    align: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def printable(self) -> "Grid":
        """With escapes for what a terminal would obey or hide: names come from files."""
        header, *rows = (tuple(map(printable, row)) for row in (self.header, *self.rows))
        return Grid(printable(self.title), self.align, header, rows)


def show(grid: Grid) -> None:
    """Print a grid on stdout."""
    grid = grid.printable()
    if _draws(sys.stdout):
        _draw(grid)
        return
    lines = [grid.header, *grid.rows] if grid.header else list(grid.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if grid.title:
        print(grid.title)
    if grid.header:
        lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        cells = [f"{cell:{side}{width}}" for cell, side, width in zip(line, grid.align, widths, strict=True)]
        print("  " + "  ".join(cells).rstrip())
    print()


def _draw(grid: Grid) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(grid.title, style="bold") if grid.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_header=bool(grid.header),
    )
    for column, side in enumerate(grid.align):
        table.add_column(
            Text(grid.header[column]) if grid.header else "",
            justify="left" if side == "<" else "right",
            overflow="fold",
            no_wrap=bool(grid.header) and column > 0,  # names give way to numbers
            style="bold" if column == 0 else None,
        )
    for row in grid.rows:
        table.add_row(*map(Text, row))  # Text: brackets in a column's name are not markup
    Console().print(table)


def show_study(study: "Study") -> None:
    """Print the inputs by relevance, then what was learned and how well it predicts."""
    show(_inputs(study))
    show(_summary(study))


def _inputs(study: "Study") -> Grid:
    model, names, spread = study.model, study.training.input_names, study.input_spread
    largest = float(model.relevance.max()) or 1.0
    rows = []
    for i in study.by_relevance:
        scale, relevance = model.length_scale[i], model.relevance[i]
        deviations = f"{scale / spread[i]:.3g}" if relevance > 0.0 else "constant"
        rows.append((names[i], f"{scale:.4g}", deviations, f"{relevance:.3f}", bar(relevance / largest)))
    header = ("input", "length scale", "scale / std", "relevance", "")
    return Grid(f"Inputs of {study.training.target_name} by relevance", "<>>><", header, rows)


def _summary(study: "Study") -> Grid:
    model, held_out = study.model, study.held_out
    n, d = study.training.X.shape
    shapes = "".join(f", shape {value:.4g}" for value in model.kernel)
    noise = f"standard deviation {math.sqrt(model.noise_variance):.4g}, variance {model.noise_variance:.4g}"
    signal = f"standard deviation {math.sqrt(model.signal_variance):.4g}, variance {model.signal_variance:.4g}"
    rows = [
        ("trained on", f"{n} rows, {d} inputs, kernel {study.kernel_name}{shapes}"),
        ("log marginal likelihood", f"{model.log_marginal_likelihood:.4f}"),
        ("noise", noise),
        ("signal", signal),
    ]
    if held_out is not None:
        count = f"{held_out.n} rows" if held_out.n > 1 else "1 row"
        rows += [
            ("held-out RMSE", f"{held_out.rmse:.4g} on {count} (predicting the mean: {held_out.rmse_of_mean:.4g})"),
            ("held-out log density", f"{held_out.mean_log_predictive_density:.4g} nats a row, noise included"),
        ]
    ended = "converged" if model.converged else f"not converged: {model.message.strip().rstrip(':')}"
    rows += [("training", f"{study.seconds:.2f} s, {model.n_evaluations} evaluations"), ("search", ended)]
    return Grid(f"Model, in units of {study.training.target_name}", "<<", (), rows)


def bar(share: float) -> str:
    """A bar of text, ``share`` of the longest."""
    block = "█"
    try:
        block.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        block = "#"
    return block * round(_BAR * share)
