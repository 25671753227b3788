"""What a person sees: progress during training, on stderr, and tables after it, on stdout.

In a terminal rich draws both, if it is installed; anywhere else they are plain lines.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastard._cache import compiling_is_shown
from fastard._text import printable

if TYPE_CHECKING:
    from fastard._study import Study
    from fastard.training import TrainingState

_BAR = 16  # characters of the longest bar
_WORTH_SAYING = 3.0  # seconds that an evaluation takes
_LONGEST_SILENCE = 60.0  # seconds between plain lines of progress; the first come sooner


def note(line: str) -> None:
    """A line on stderr; nothing where there is no stderr, or it cannot be written to, which is no reason to end a training."""
    if sys.stderr is None:
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    text = printable(line).encode(encoding, "replace").decode(encoding)
    with contextlib.suppress(OSError, ValueError):  # a ValueError where it is closed
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress() -> Iterator["TrainingProgress"]:
    """Show a training's evaluations on stderr while it works; yields the callback for ``fit``.

    In a terminal it is one line, redrawn by a thread of its own; elsewhere a line now and then, ever more rarely.
    """
    drawn = _draws(sys.stderr)
    so_far = TrainingProgress(prints=not drawn)
    with contextlib.ExitStack() as stack:
        if drawn:
            stack.enter_context(compiling_is_shown())
            stack.enter_context(_live_line(so_far))
        yield so_far
    if so_far.latest is not None:
        note(f"fastard: {so_far.summary()}")


class TrainingProgress:
    """What is known of a training under way: the callback of `fit`, which calls `announce` and `evaluating` too."""

    def __init__(self, *, prints: bool) -> None:
        self.latest: TrainingState | None = None
        self.best = -math.inf
        self._done = 0.0  # of the evaluation under way, or of the last factorisation
        self._finishing = False
        self._prints = prints
        self._began = time.perf_counter()
        self._next_line, self._silence = 0.0, 1.0

    def __call__(self, state: "TrainingState") -> None:
        self.best = max(self.best, state.value)
        self.latest, self._done = state, 0.0
        self._print_now_and_then()

    def announce(self, n: int, d: int, seconds: float) -> None:
        """Before the first evaluation: what each one costs, where that is worth saying."""
        if seconds < _WORTH_SAYING:
            return
        memory = 8.0 * n * n / 2**30
        note(f"fastard: {n} points in {d} dimensions: {memory:.2g} GiB, and about {duration(seconds)} per evaluation")

    def evaluating(self, done: float) -> None:
        """``done`` of an evaluation, from 0 to 1."""
        self._done = done
        self._print_now_and_then()

    def finishing(self, message: str) -> None:
        """After the search, before the last factorisation of many points; ``message``: how the search ended."""
        self._done, self._next_line, self._finishing = 0.0, 0.0, True
        note(f"fastard: {message}; factoring the covariance once more")

    def _print_now_and_then(self) -> None:
        elapsed = self.elapsed()
        if self._prints and elapsed >= self._next_line:
            note(f"fastard: {self}")
            self._next_line = elapsed + self._silence
            self._silence = min(2.0 * self._silence, _LONGEST_SILENCE)

    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    def summary(self) -> str:
        count = self.latest.evaluation if self.latest is not None else 0
        return f"{count} evaluations   best ℓ {self.best:.2f}   {self.elapsed():.1f} s with compilation"

    def __str__(self) -> str:
        elapsed = f"{self.elapsed():.1f} s"
        state = self.latest
        count = 1 if state is None else state.evaluation + 1
        what = "factored" if self._finishing else f"of evaluation {count}"
        under_way = f"{self._done:.0%} {what}   " if self._done > 0.0 else ""
        if state is None:
            return f"{under_way or 'compiling, and the first evaluation   '}{elapsed}"
        with np.errstate(all="ignore"):
            steepness = float(np.linalg.norm(state.gradient))
        return (  # what 80 columns have no room for comes last
            f"evaluation {state.evaluation}   ℓ {state.value:.2f}   best {self.best:.2f}   {under_way}{elapsed}   "
            f"‖gradient‖ {steepness:.1e}"
        )


def duration(seconds: float) -> str:
    """In words, to two digits: 12 s, 7 min, 3 h."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"


def _draws(stream: Any) -> bool:
    """Whether rich is there and the stream is a terminal that it can draw on."""
    try:
        if not stream.isatty():
            return False
    except (AttributeError, ValueError):  # None, something with only a write method, or closed
        return False
    try:
        from rich.console import Console
    except ImportError:
        return False
    return Console(file=stream).is_interactive


def _live_line(so_far: TrainingProgress) -> contextlib.AbstractContextManager[Any]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("line")

    def line() -> Spinner:
        spinner.update(text=Text(str(so_far), no_wrap=True, overflow="ellipsis"))
        return spinner

    # stdout stays what it is: redirecting it here would send a pipeline's data to the terminal.
    return Live(get_renderable=line, console=Console(stderr=True), transient=True, redirect_stdout=False)


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
