"""The loss in compiled code, minus an objective less the priors' log densities; and a search for the lowest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array, read_only
from fastard._engine.evaluate import watching_steps
from fastard._engine.loo import watching_tiles
from fastard._engine.loops import loo
from fastard._engine.loops.information import OF_INFORMATION, average_information
from fastard._engine.loops.likelihood import OF_LENGTH_SCALES, VALUE
from fastard._engine.loops.objective import (
    FOUND,
    LEFT_OUT,
    MEAN,
    NEEDS_PYTHON,
    NO_DENSITY,
    PRODUCT,
    SHAPES,
    SINGULAR,
    TAKE_OUT,
    TILES,
    addresses,
    descend,
    evaluate,
    natural,
)
from fastard._engine.loops.profiles import compiled
from fastard._engine.loops.quasi_newton import (
    ACCEPTED,
    EVALUATE,
    EVALUATE_WITH_INFORMATION,
    FAILED_BEFORE,
    FAILED_SINCE,
    GRADIENT,
    ITERATE,
    ITERATIONS,
    LITTLE_GAIN,
    LOSS,
    SMALL_GAIN,
    SMALL_GRADIENT,
    SMALL_SLOPE,
    STARTED,
    STATIONARY,
    STUCK,
    Memory,
    advance,
    memory,
)
from fastard._engine.loops.schedule import CONTRACT, FILL, INVERT
from fastard._engine.loops.trend import trend_of
from fastard._engine.priors import Densities
from fastard._engine.sizes import Watch, evaluation_threads, run
from fastard._engine.terms import Term, ordered_columns
from fastard._engine.workspace import Workspace
from fastard._numba.threads import need_the_compiler, new_state

__all__ = [
    "ACCEPTED",
    "EVALUATE",
    "EVALUATE_WITH_INFORMATION",
    "FAILED_BEFORE",
    "FAILED_SINCE",
    "FOUND",
    "ITERATIONS",
    "LITTLE_GAIN",
    "NEEDS_PYTHON",
    "NO_DENSITY",
    "SINGULAR",
    "SMALL_GAIN",
    "SMALL_GRADIENT",
    "SMALL_SLOPE",
    "STARTED",
    "STATIONARY",
    "STUCK",
    "Descent",
    "FreeParameters",
    "Loss",
    "Memory",
    "advance",
    "compile_search",
    "iterate",
    "memory",
    "natural",
    "search_is_cached",
]


def iterate(memory: Memory) -> tuple[Array, float, Array]:
    """Where the search stands, the loss and its gradient there."""
    return memory.vectors[ITERATE].copy(), float(memory.scalars[LOSS]), memory.vectors[GRADIENT].copy()


def search_is_cached() -> bool:
    """Whether what `compile_search` compiles lies on disk."""
    return bool(average_information.is_cached(OF_INFORMATION))


def compile_search() -> None:
    """Of what `descend` calls all but the loss, each by itself."""
    one = np.ones(1)
    advance(memory(one, np.array([[0.0, 2.0]]), one), 1.0, one, np.eye(1), False, False)
    average_information.address(OF_INFORMATION)


class FreeParameters(NamedTuple):
    """What the free parameters are: P - 1 logarithms and a mean, or P logarithms."""

    theta: Array  # (k,), logarithms of [length_scale ..., signal_variance, noise_variance, shape ...], where they are fixed
    number: NDArray[np.int64]  # (k,), which free parameter each one is; negative where fixed
    low: Array  # (k,), natural
    high: Array  # (k,)
    mean: Array  # (2,): the mean of y, and the unit of the last free parameter's departure from it; 0 where that is none


class Loss:
    """The loss at one point after another: of the likelihood (``restricted``: with the coefficients of the ``basis`` (n, p)
    integrated out) or the leave-one-out density.

    Attributes
    ----------
    result : ndarray, shape (1 + size,)
        Of the last evaluation: the loss, and its derivatives by the free parameters.
    """

    def __init__(
        self,
        term: Term,
        X: Array,
        center: Array,
        y: Array,
        known: Array | None,
        parameters: FreeParameters,
        priors: Densities,
        offset: float,
        size: int,
        threads: int,
        basis: Array | None = None,
        restricted: bool = False,
        leave_one_out: bool = False,
    ) -> None:
        need_the_compiler()
        n, m = y.shape
        columns, free, tied = ordered_columns(term, X.shape[1])
        self.threads, self.targets = threads, (m, n)
        self.shape = n, m if basis is None else m + basis.shape[1]
        self.natural = np.empty(parameters.theta.size)
        self.result, self.out = np.empty(1 + size), np.empty(OF_LENGTH_SCALES + free)
        self._outcome = np.empty(1, dtype=np.int64)
        self._columns, self._free, self._shapes = columns, free, len(term.kernel)
        self._contracts_apart = self._shapes > 0 or basis is not None or leave_one_out
        self._trend = trend_of(np.empty((n, 0)) if basis is None else basis, m, restricted)
        self._leaves_out, self._left_out = leave_one_out, loo.left_out(n if leave_one_out else 0, m)
        stages = [LEFT_OUT] if leave_one_out else [SHAPES, PRODUCT] if self._shapes else [TILES] if basis is not None else []
        self._stages_at = addresses(*stages, *([] if basis is None else [MEAN, TAKE_OUT]))
        self._before = (
            *parameters[:4], self.natural, priors.family, priors.rows, np.empty(self.natural.size), priors.constant, offset,
            parameters.mean, *compiled(term.kernel), read_only(X), read_only(center), columns, free, tied,
            np.array(y.T, order="C"), np.empty(0) if known is None else known.copy(),
        )  # fmt: skip
        self._after = np.empty(self.shape), np.empty(n), self.out, self.result
        self._workspace: Workspace | None = None

    def evaluate(self, free_theta: Array, workspace: Workspace) -> int:
        """``result`` at a point (size,), and FOUND where it is finite; otherwise why it is not."""
        self.run(evaluate, workspace, None, self._outcome, free_theta)
        return int(self._outcome[0])

    def run(self, function: Any, workspace: Workspace, watch: Watch | None, *own: Any) -> None:
        """A compiled function that takes arguments of its own and then those of `loss`."""
        if workspace is not self._workspace:
            self._workspace = workspace
            self._state = new_state(workspace.places)
            tiles = workspace.pairs_of_tiles
            apart = self._contracts_apart
            stages, contracted = (FILL | INVERT, 0) if apart else (FILL | INVERT | CONTRACT, tiles)
            of_tiles = np.empty((tiles if apart else 0, self._free + 1 + self._shapes))
            self._arguments = (
                *self._before, workspace.scaled_points(self._columns.size), workspace.diagonal, workspace.buffer,
                workspace.rhs, workspace.space, workspace.pivot, workspace.logs, np.empty((contracted, self._free)),
                workspace.tile, workspace.block, stages, *self._after, of_tiles, self._trend, self._left_out,
                self._stages_at,
            )  # fmt: skip
        self._state[:] = 0
        n = self.shape[0]
        run(
            float(n) ** 3, evaluation_threads(n, self.threads), function, self._state, *own, *self._arguments,
            watch=None if watch is None else self._watching(watch, workspace),
        )  # fmt: skip

    def _watching(self, watch: Watch, workspace: Workspace) -> Callable[[NDArray[np.int64]], None]:
        steps = workspace.logs.shape[1]
        if not self._leaves_out:
            return watching_steps(watch, steps, INVERT)
        first, second = watching_steps(lambda done: watch(0.5 * done), steps, INVERT), watching_tiles(watch, workspace)
        return lambda state: (second if state[loo.MIRRORED] else first)(state)

    @property
    def log_marginal_likelihood(self) -> float:
        """Of the last evaluation."""
        return float(self.out[VALUE])


class Descent:
    """A search whose every evaluation is compiled."""

    def __init__(self, loss: Loss) -> None:
        size = loss.result.size - 1
        self.loss = loss
        self.lowest, self.last = np.full(1 + 2 * size, np.inf), np.empty(size)
        self.counts = np.zeros(4, dtype=np.int64)
        self._scratch = np.empty((size, size)), np.empty(loss.targets)

    def go_on(
        self,
        memory: Memory,
        status: int,
        workspace: Workspace,
        most_evaluations: int,
        most_iterations: int,
        watch: Watch | None,
    ) -> None:
        """From the trial point on; see `descend` for ``counts`` and ``lowest``. ``status`` is what `advance` answered last."""
        self.counts[2] = status
        self.loss.run(
            descend, workspace, watch, most_evaluations, most_iterations, self.counts, memory, self.lowest, self.last,
            *self._scratch,
        )  # fmt: skip

    @property
    def lowest_point(self) -> tuple[Array, float, Array]:
        """Where, the loss and its gradient."""
        size = self.last.size
        return self.lowest[1 : 1 + size].copy(), float(self.lowest[0]), self.lowest[1 + size :].copy()
