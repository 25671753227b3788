"""Tables on stdout."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastard._cli.kinds import EPOCH
from fastard._model.summary import MOST_ROWS, cells_of
from fastard._progress import _draws
from fastard._text import listed, printable, table

if TYPE_CHECKING:
    from fastard._cli.study import Study
    from fastard._model.trend import MeanCoefficients
    from fastard._vecchia.accuracy import Accuracy


_BAR = 16  # characters of the longest bar


class Grid(NamedTuple):
    """Rows of text under a title; ``align`` has one of "<" and ">" for each column."""

    title: str
    align: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""
    gives_way: int = 0  # the column that is folded where a terminal is narrow; by default names, not numbers

    def printable(self) -> "Grid":
        """With escapes for what a terminal would obey or hide: names come from files."""
        header, *rows = (tuple(map(printable, row)) for row in (self.header, *self.rows))
        return self._replace(title=printable(self.title), caption=printable(self.caption), header=header, rows=rows)


def show(grid: Grid) -> None:
    """Print a grid on stdout."""
    grid = grid.printable()
    if _draws(sys.stdout):
        _draw(grid)
        return
    if grid.title:
        print(grid.title)
    for line in table(grid.header, grid.rows, grid.align):
        print(line)
    if grid.caption:
        print(f"  {grid.caption}")
    print()


def _draw(grid: Grid) -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        title=Text(grid.title, style="bold") if grid.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_header=bool(grid.header),
    )
    for column, side in enumerate(grid.align):
        drawn.add_column(
            Text(grid.header[column]) if grid.header else "",
            justify="left" if side == "<" else "right",
            overflow="fold",
            no_wrap=bool(grid.header) and column != grid.gives_way,
            style="bold" if column == 0 else None,
        )
    for row in grid.rows:
        drawn.add_row(*map(Text, row))  # Text: brackets in a column's name are not markup
    console = Console()
    console.print(drawn)
    if grid.caption:
        console.print(Padding(Text(grid.caption), (0, 0, 1, 2)))


def show_study(study: "Study") -> None:
    """Print the inputs by relevance, then what was learned and how well it predicts."""
    show(_inputs(study))
    if study.coefficients is not None:
        show(coefficients(study.coefficients))
    show(Grid(f"Model, in units of {study.training.target_name}", "<<", (), facts(study)))


def _inputs(study: "Study") -> Grid:
    summary = study.summary
    largest = float(study.model.relevance.max(initial=0.0)) or 1.0
    rows = []
    for row in summary.inputs:
        *cells, remark = cells_of(row)
        rows.append((*cells, remark or bar(row.relevance / largest)))
    title = f"Inputs of {study.training.target_name} by relevance"
    return Grid(title, "<>>>><", summary.header, rows, caption=summary.about_relevance)


def coefficients(found: "MeanCoefficients") -> Grid:
    """The first of them, and how many more."""
    columns = (found.names, found.coefficients, found.standard_errors)
    rows = [(name, f"{value:.4g}", f"{error:.2g}") for name, value, error in zip(*columns, strict=True)]
    left = len(rows) - MOST_ROWS
    more = [(f"and {left} more, which --json has", "", "")] if left > 0 else []
    return Grid("Coefficients of the mean", "<>>", ("of", "coefficient", "±"), [*rows[:MOST_ROWS], *more])


def facts(study: "Study") -> list[tuple[str, str]]:
    """What was learned, how well it predicts, and how the search went."""
    model, held_out, summary = study.model, study.held_out, study.summary
    n, d = study.training.X.shape
    shapes = "".join(f", shape {value:.4g}" for value in model.kernel)
    rows = [("warning", note) for note in summary.notes]
    rows += [("trained on", f"{n} rows, {d} input{'s' * (d != 1)}, kernel {study.kernel_name}{shapes}")]
    dates = listed(study.training.date_names)
    rows += [("dates", f"{dates} (days since {EPOCH})")] * bool(dates)
    rows += summary.facts
    if held_out is not None:
        count = f"{held_out.n} rows" if held_out.n > 1 else "1 row"
        rows += [
            ("held-out RMSE", f"{held_out.rmse:.4g} on {count} (predicting the mean: {held_out.rmse_of_mean:.4g})"),
            ("held-out log density", f"{held_out.mean_log_predictive_density:.4g} nats per row, noise included"),
        ]
    rows += _approximation(study.accuracy) if study.accuracy is not None else []
    compilation = "with any compilation" if study.includes_compilation else "without compilation"
    return [*rows, ("seconds", f"{study.seconds:.2f} of training, {compilation}")]


def _approximation(accuracy: "Accuracy") -> list[tuple[str, str]]:
    """What is lost, and what to do where that is much."""
    lines = str(accuracy).splitlines()
    return list(zip(("approximation", *[""] * len(lines)), lines, strict=False))


def bar(share: float) -> str:
    """A bar of text, ``share`` of the longest."""
    block = "█"
    try:
        block.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        block = "#"
    return block * round(_BAR * share)
