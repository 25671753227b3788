"""Progress of long computations: to callbacks, and on stderr."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastard._arrays import Array
from fastard._numba.cache import compiling_is_shown
from fastard._text import printable

_WORTH_SAYING, _LONG = 3.0, 60.0  # seconds that an evaluation takes

_LONGEST_SILENCE = 60.0  # seconds between plain lines of progress; the first come sooner


def note(line: str) -> None:
    """A line on stderr; nothing where there is no stderr, or it cannot be written to, which is no reason to end a training."""
    if sys.stderr is None:
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    text = printable(line).encode(encoding, "replace").decode(encoding)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or something without flush
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(advice: str = "") -> Iterator[TrainingProgress]:
    """Show a training's evaluations on stderr while it works; yields the callback for ``fit``.

    ``advice``: what to say where an evaluation takes long.

    In a terminal it is one line, redrawn by a thread of its own; elsewhere a line now and then, ever more rarely.
    """
    drawn = _draws(sys.stderr)
    so_far = TrainingProgress(prints=not drawn, advice=advice)
    with _live_line(so_far) if drawn else contextlib.nullcontext():
        yield so_far
    if so_far.latest is not None:
        note(f"fastard: {so_far.summary()}")


@contextlib.contextmanager
def sampling_progress(draws: int) -> Iterator[SamplingProgress]:
    """Show how many of the draws of all chains have been made, in the same way; yields what is to be told of each."""
    drawn = _draws(sys.stderr)
    so_far = SamplingProgress(draws, prints=not drawn)
    with _live_line(so_far) if drawn else contextlib.nullcontext():
        yield so_far
    note(f"fastard: {draws} draws   {so_far.elapsed():.1f} s")


class _SoFar:
    """What is known of something under way: told now and then, ever more rarely, where nothing is drawn."""

    def __init__(self, *, prints: bool) -> None:
        self._prints = prints
        self._began = time.perf_counter()
        self._next_line, self._silence = 0.0, 1.0

    def _print_now_and_then(self) -> None:
        elapsed = self.elapsed()
        if self._prints and elapsed >= self._next_line:
            note(f"fastard: {self}")
            self._next_line = elapsed + self._silence
            self._silence = min(2.0 * self._silence, _LONGEST_SILENCE)

    def elapsed(self) -> float:
        return time.perf_counter() - self._began


class SamplingProgress(_SoFar):
    """What is known of chains under way: ``drawn`` is called after each draw, by whatever thread."""

    def __init__(self, draws: int, *, prints: bool) -> None:
        super().__init__(prints=prints)
        self._draws, self._count, self._done = draws, itertools.count(1), 0
        self._compiled = 0.0  # when the first draw was there

    def drawn(self) -> None:
        self._done = next(self._count)
        if self._done == 1:
            self._compiled = self.elapsed()
        self._print_now_and_then()

    def __str__(self) -> str:
        elapsed, done = self.elapsed(), self._done
        left = ""
        if done > 1:
            left = f"   about {duration((elapsed - self._compiled) / (done - 1) * (self._draws - done))} left"
        return f"draw {done} of {self._draws} with warm-up   {elapsed:.1f} s{left}"


class TrainingProgress(_SoFar):
    """What is known of a training under way: the callback of `fit`, which calls `announce`, `searching` and others too."""

    def __init__(self, *, prints: bool, advice: str = "") -> None:
        super().__init__(prints=prints)
        self.latest: TrainingState | None = None
        self.best = -math.inf
        self._done = 0.0  # of the evaluation under way, or of the last factorisation
        self._finishing = False
        self._phase = ""  # what is under way where it is no evaluation
        self._advice = advice
        self._search, self._searches, self._searching_since = 1, 1, 0.0  # the last one as in `elapsed`

    def __call__(self, state: TrainingState) -> None:
        self.best = max(self.best, state.value)
        self.latest, self._done = state, 0.0
        self._print_now_and_then()

    def announce(self, n: int, d: int, seconds: float) -> None:
        """Before the first evaluation: what each one costs, where that is worth saying."""
        if seconds < _WORTH_SAYING:
            return
        memory = 8.0 * n * n / 2**30
        note(f"fastard: {n} points in {d} dimensions: {memory:.2g} GiB, and about {duration(seconds)} per evaluation")
        if seconds >= _LONG and self._advice:
            note(f"fastard: {self._advice}")

    def searching(self, search: int, searches: int) -> None:
        """Before each of the searches from several starts."""
        self._search, self._searches, self._searching_since = search, searches, self.elapsed()

    def evaluating(self, done: float) -> None:
        """``done`` of an evaluation, from 0 to 1."""
        self._done = done
        self._print_now_and_then()

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """While something else than an evaluation is done."""
        self._phase = phase
        self._print_now_and_then()
        yield
        self._phase = ""

    def finishing(self, message: str) -> None:
        """After the search, before the last factorisation of many points; ``message``: how the search ended."""
        self._done, self._next_line, self._finishing = 0.0, 0.0, True
        note(f"fastard: {message}; factoring the covariance once more")

    def summary(self) -> str:
        count = self.latest.evaluation if self.latest is not None else 0
        return f"{count} evaluations   best ℓ {self.best:.2f}   {self.elapsed():.1f} s with any compilation"

    def _of_search(self) -> str:
        """Which one it is, and how long it will take if those to come take as long as those before."""
        if self._searches == 1:
            return ""
        text, done = f"search {self._search} of {self._searches}", self._search - 1
        if done and not self._finishing:
            each = self._searching_since / done
            left = max(0.0, each - (self.elapsed() - self._searching_since)) + each * (self._searches - self._search)
            text += f", about {duration(left)} left" if left >= 1.0 else ""
        return f"{text}   "

    def _of_stage(self, stage: int, evaluation: int) -> str:
        if self._done > 0.0:
            return f"stage {stage}, evaluation {evaluation + 1}: {self._done:.0%}"
        return f"stage {stage}, evaluation {evaluation}"

    def __str__(self) -> str:
        elapsed = f"{self.elapsed():.1f} s"
        state = self.latest
        count = 1 if state is None else state.evaluation + 1
        what = "factored" if self._finishing else f"of evaluation {count}"
        under_way = f"{self._done:.0%} {what}   " if self._done > 0.0 else ""
        if state is None:
            return f"{self._phase or under_way.rstrip() or 'first evaluation, with any compilation'}   {elapsed}"
        if state.stage is not None:
            return f"{self._phase or self._of_stage(state.stage, state.evaluation)}   {state._found}   {elapsed}"
        with np.errstate(all="ignore"):
            steepness = float(np.linalg.norm(state.gradient))
        return (  # what 80 columns have no room for comes last
            f"{self._of_search()}evaluation {state.evaluation}   ℓ {state.value:.2f}   "
            f"best {self.best:.2f}   {under_way}{elapsed}   ‖gradient‖ {steepness:.1e}"
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


@contextlib.contextmanager
def _live_line(so_far: _SoFar) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("line")

    def line() -> Spinner:
        spinner.update(text=Text(str(so_far), no_wrap=True, overflow="ellipsis"))
        return spinner

    # stdout stays what it is: redirecting it here would send a pipeline's data to the terminal.
    with (
        compiling_is_shown(),
        Live(get_renderable=line, console=Console(stderr=True), transient=True, redirect_stdout=False),
    ):
        yield


@dataclass(frozen=True)
class TrainingState:
    """What a callback is given after each evaluation.

    Attributes
    ----------
    evaluation : int
        Number of this evaluation, from 1, over all restarts.
    log_marginal_likelihood : float
    value : float
        What is maximised: the log marginal likelihood or the leave-one-out density, and the priors' log densities.
    gradient : ndarray, shape (d + 2 + p,)
        Of ``value`` with respect to the logarithms of the parameters, 0 where fixed; of tied ones each entry is that of
        their common logarithm.
    parameters : dict
        length_scale (d,), signal_variance, noise_variance and shape (p,), in the units of X and y. Where each output has its
        own variances, signal_variance is 1 and noise_variance the ratio that they share.
    stage : int, optional
        Of :func:`fastard.fit_vecchia`, from 1: the neighbours are found anew before each.
    gain : float, optional
        Of the same: nats that were foretold to be left at the best point of the evaluation before, NaN for the first one.
    """

    evaluation: int
    log_marginal_likelihood: float
    value: float
    gradient: Array
    parameters: dict[str, Any]
    stage: int | None = None
    gain: float | None = None

    @property
    def _found(self) -> str:
        """The value and what is left to gain, in few columns."""
        gain = "" if self.gain is None or math.isnan(self.gain) else f"   {self.gain:.2g} to gain"
        return f"ℓ {self.value:.1f}{gain}"


Callback = Callable[[TrainingState], bool | None]

_SILENCE = 5.0  # seconds between lines of progress


class Progress:
    """Says on stderr what is to come, and now and then how much of it is done."""

    def __init__(self, wanted: bool, what: str, flops: float) -> None:
        self.wanted, self.began = wanted, time.perf_counter()
        self.said = self.began
        if wanted:
            note(f"fastard: {what}, {flops:.1e} flops")

    def done(self, share: float) -> None:
        now = time.perf_counter()
        if self.wanted and (share == 1.0 or now - self.said > _SILENCE):
            seconds = now - self.began
            left = seconds / share - seconds
            note(f"fastard: {share:.0%} done, {seconds:.1f} s, {left:.0f} s left")
            self.said = now
