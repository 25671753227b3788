"""The search: a quasi-Newton method over the logarithms of the free hyperparameters, from several starts."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine import descent
from fastard._engine.priors import Densities
from fastard._engine.sizes import side_by_side
from fastard._engine.terms import Term
from fastard._numba.threads import thread_map
from fastard._objectives import leave_one_out
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._objectives.terms import Sum
from fastard._parameters import Parameters, ParameterSpace
from fastard._progress import Callback, TrainingProgress, TrainingState
from fastard._training.priors import Priors, log_density
from fastard.exceptions import NotPositiveDefiniteError

# Rounding is measured by the losses of so many points this near, in the logarithms; it may do three times as much elsewhere.
_PROBES, _NEAR, _BLUR = 4, 1e-11, 3.0

# Times sqrt(d) standard deviations: a length scale beyond which an input's effect is nearly linear in its -2nd power.
_TURN = 3.0

_ENDED = {
    descent.SMALL_GRADIENT: f"the gradient is below {descent.SMALL_SLOPE:g} per unit of a logarithm",
    descent.SMALL_GAIN: f"less than {descent.LITTLE_GAIN:g} nats are left to gain",
    descent.STUCK: "no further step gains",
}

_SMALL_ENOUGH = "the gradient is as small as rounding lets it be"

NO_DENSITY = "a prior's density ends"

SINGULAR = "the covariance is not positive definite"

_LARGE, _SAMPLE = 5000, 1500  # points: from where on an evaluation may take seconds, and on how many one is timed

_SLICE = 0.05  # seconds of compiled search, until Python has a look at signals

_SLOWEST = 1e-9  # seconds per operation, before an evaluation has been timed: more than any processor takes

_RESUMPTIONS = 10  # of a search that ended where the gradient is not small: each from there, with an empty history

_BY_SLOPES = 30  # iterations of one that rounding had ended: of 25 that found a small gradient 24 took 16 at most


def _marginal_likelihood(
    likelihood: LogMarginalLikelihood, parameters: Parameters, free: NDArray[np.bool_] | None, tied: bool
) -> tuple[float, float, Array]:
    """The objective's value, the log marginal likelihood, and the objective's gradient.

    Of the length scales it has the entries that are ``free`` (None: all), or where ``tied`` their sum at the first.
    """
    evaluation = likelihood.evaluate(*parameters, gradient=True, free=free, tied=tied)
    value = evaluation.log_marginal_likelihood
    return value, value, likelihood.assemble(evaluation, parameters[2])


def _leave_one_out(
    likelihood: LogMarginalLikelihood, parameters: Parameters, free: NDArray[np.bool_] | None, tied: bool
) -> tuple[float, float, Array]:
    """The same."""
    evaluation = leave_one_out.evaluate(likelihood, *parameters, gradient=True, free=free, tied=tied)
    return evaluation.log_predictive_density, evaluation.log_marginal_likelihood, evaluation.gradient


_Objective = Callable[[LogMarginalLikelihood, Parameters, "NDArray[np.bool_] | None", bool], tuple[float, float, Array]]

OBJECTIVES: dict[str, _Objective] = {"log_marginal_likelihood": _marginal_likelihood, "loo": _leave_one_out}


class _StopSearchError(Exception):
    """A callback returned True."""


class NoStartError(Exception):
    """A search cannot begin where it was to: ``reason`` says why. No code of a user's raises it."""

    def __init__(self, reason: NotPositiveDefiniteError | ValueError) -> None:
        self.reason = reason


class _Point(NamedTuple):
    free_theta: Array
    loss: float  # minus the objective, in standardised units
    gradient: Array  # of the loss


class _End(NamedTuple):
    """Of a local search."""

    converged: bool
    message: str
    point: _Point
    rounding: float = math.inf  # where rounding errors ended it, nats by which they move the loss


_Outcome = _End | NoStartError


def at_the_end(
    space: ParameterSpace, free_theta: Array, message: str, names: Callable[[], list[str]]
) -> tuple[NDArray[np.int64], str]:
    """A model's ``_slots``, and the ``message`` with what stands at a bound; ``names`` are those of theta's entries."""
    slots, at_bounds = space.number.copy(), space.at_bounds(free_theta)
    if at_bounds:
        slots[list(at_bounds)] = list(at_bounds.values())
        named = names()
        message = f"{message}; at a bound: {validate.listed(list(dict.fromkeys(named[i] for i in at_bounds)))}"
    return slots, message


def turning_points(space: ParameterSpace) -> Array:
    """Logarithms of the length scales beyond which a search moves their -2nd powers; infinite for other parameters."""
    turn = np.log(_TURN * math.sqrt(max(space.d, 1)) * space.deviations)
    result = np.full(space.start.size, np.inf)
    result[space.is_length_scale] = turn[space.first_places[space.is_length_scale]]
    return result


def remedy_for(space: ParameterSpace) -> str:
    """Of a covariance that is not positive definite."""
    return "raise the noise variance" if space.fixed_noise else "raise the noise's lower bound"


def just_beyond(why: str, remedy: str) -> str:
    """The message of a search that ended because trial points beside its best have no value, and ``why``."""
    return f"{why} just beyond the best parameters" + (f": {remedy}" if why == SINGULAR else "")


class Search:
    """Searches over the free logarithms from several starts, keeping the best point over all."""

    def __init__(
        self,
        likelihood: LogMarginalLikelihood,
        objective: _Objective,
        space: ParameterSpace,
        priors: Priors,
        max_iterations: int,
        callback: Callback | None,
    ) -> None:
        self.likelihood, self.objective, self.space, self.priors = likelihood, objective, space, priors
        self.max_iterations = max_iterations
        self.remedy = remedy_for(space)
        self.stationary = descent.STATIONARY  # what the gradient has to be below where little is left to gain
        self.offset = 0.5 * likelihood.y.size * math.log(space.unit_of_variance)
        self.takes_long = len(likelihood.X) >= _LARGE
        self.callbacks: list[Callback] = [callback] if callback else []
        self.best: _Point | None = None
        self._best_end: _Point | None = None  # of the local searches that have ended
        self.n_evaluations = 0
        self.converged = self.interrupted = False
        self.message = ""
        self.values: list[float] = []  # of the objective, where each local search ended; NaN where one could not begin
        # Of the local search under way: its last accepted point, and why its last trial point had no value.
        self._iterate: _Point | None = None
        self._why = ""
        # The lowest of its points, and nats up to which rounding may hide which of two is lower.
        self._lowest: _Point | None = None
        self._blur = 0.0
        self._given_up = threading.Event()  # of searches side by side: that none goes on

    def _evaluate(self, likelihood: LogMarginalLikelihood, parameters: Parameters) -> tuple[float, float, Array]:
        return self.objective(likelihood, parameters, self.space.free_length_scales, self.space.isotropic)

    def expected_seconds(self) -> float:
        """How long an evaluation will take, from one on some of the rows: 0 where they tell nothing."""
        whole, n = self.likelihood, len(self.likelihood.X)
        rows = np.linspace(0, n - 1, _SAMPLE).astype(int)
        known = whole.observation_variance
        sample = LogMarginalLikelihood(
            whole.X[rows],
            whole.y[rows],
            kernel=whole.kernel,
            observation_variance=None if known is None else known[rows],
            n_threads=whole.n_threads,
        )
        sample.noise_groups = None if whole.noise_groups is None else whole.noise_groups[rows]
        sample.own_variances = whole.own_variances
        parameters, seconds = self.space.natural(self.space.start), 0.0
        for _ in range(2):  # the first call compiles
            began = time.perf_counter()
            try:
                self._evaluate(sample, parameters)
            except (NotPositiveDefiniteError, ValueError):
                return 0.0
            seconds = time.perf_counter() - began
        return seconds * (n / _SAMPLE) ** 3

    def log_prior(self, parameters: Parameters) -> tuple[float, Array, str]:
        """The priors' log density, its gradient with respect to theta, and what is wrong where they are not finite."""
        return log_density(self.priors, parameters, self.space.size)

    def run(self, n_restarts: int, random: np.random.Generator | None = None) -> None:
        """As `run_from`, with restarts from where ``random`` draws them."""
        low, high = self.space.bounds.T
        starts = [self.space.start]
        for _ in range(n_restarts):
            assert random is not None
            shift = random.uniform(-np.log(10.0), np.log(10.0), low.size)
            starts.append(np.clip(starts[0] + shift, low, high))
        self.run_from(starts)

    def run_from(self, starts: list[Array]) -> None:
        """All searches; raises the first start's error if every start fails."""
        failure: NotPositiveDefiniteError | ValueError | None = None
        try:
            for outcome in self.outcomes(starts):
                if isinstance(outcome, NoStartError):
                    failure = failure or outcome.reason
                    self.values.append(math.nan)
                    continue
                converged, message, end, _ = outcome
                self.values.append(-end.loss - self.offset)
                if self._best_end is None or end.loss < self._best_end.loss:
                    self._best_end, self.converged, self.message = end, converged, message
            self.best = self._best_end
        except _StopSearchError:
            self.converged, self.message = False, "stopped by the callback"
        except KeyboardInterrupt:
            if self.best is None:
                raise
            self.interrupted = True
            self.converged, self.message = False, "interrupted; these are the best parameters so far"
        if self.best is None and failure is not None:
            raise failure

    def outcomes(self, starts: list[Array]) -> list[_Outcome]:
        """Of the local searches, one after another or side by side: the same bits.

        Nothing of a caller's runs on another thread than theirs: with callbacks or priors of Python it is one after another.
        """
        at_a_time, threads = side_by_side(len(self.likelihood.X), len(starts), self.likelihood.n_threads)
        a_caller_looks_on = self.callbacks or not all(isinstance(prior, Densities) for _, _, prior in self.priors)
        if at_a_time > 1 and not a_caller_looks_on:
            return self._side_by_side(starts, at_a_time, threads)
        found = []
        for which, start in enumerate(starts, 1):
            for display in self.callbacks:
                if isinstance(display, TrainingProgress):
                    display.searching(which, len(starts))
            found.append(self._outcome(start))
        return found

    def _outcome(self, start: Array) -> _Outcome:
        try:
            return self._local_or_shorter(start)
        except NoStartError as error:
            return error

    def _side_by_side(self, starts: list[Array], at_a_time: int, threads: int) -> list[_Outcome]:
        searches = [copy.copy(self) for _ in starts]  # before any evaluation: each has points of its own
        for search in searches:
            search.n_evaluations = 0
        outcomes: dict[int, _Outcome] = {}

        def search_some(numbers: Iterator[int]) -> None:
            try:
                likelihood = self.likelihood.on_threads(threads)
                for i in numbers:
                    searches[i].likelihood = likelihood
                    outcomes[i] = searches[i]._outcome(starts[i])
            except BaseException:  # an interrupt: the others end at their next evaluation
                self._given_up.set()
                raise

        try:
            thread_map(at_a_time, len(starts), search_some, threads)
        except BaseException:
            self._given_up.set()
            so_far = [search.best for search in searches if search.best is not None]
            self.best = min(so_far, key=lambda point: point.loss, default=None)
            raise
        finally:
            self.n_evaluations += sum(search.n_evaluations for search in searches)
        return [outcomes[i] for i in range(len(starts))]

    def _local_or_shorter(self, start: Array) -> _End:
        """`_local`; where K is singular at the start, from half the length scales that nobody gave, and so on."""
        first: NoStartError | None = None
        may_shorten = self.space.is_length_scale & self.space.own_length_scales
        while True:
            try:
                return self._local(start)
            except NoStartError as error:
                first = first or error
                shorter = np.where(may_shorten, np.maximum(start - math.log(2.0), self.space.bounds[:, 0]), start)
                if not isinstance(error.reason, NotPositiveDefiniteError) or np.array_equal(shorter, start):
                    raise first from None
                start = shorter

    def _local(self, start: Array) -> _End:
        """One search, taken up again from where it ended for as long as the gradient is not small there and it gains."""
        self._forget_points()
        start = np.clip(start, *self.space.bounds.T)
        if start.size == 0:
            first = self._loss(start)
            assert first is not None  # NoStartError otherwise
            return _End(True, "every parameter is fixed", first)
        left, begun, measured, gains = self.max_iterations, None, False, True
        for _ in range(1 + _RESUMPTIONS):
            most = min(left, _BY_SLOPES) if measured and not gains else left
            status, memory = self._descend(start, begun, most)
            numbers = memory.numbers
            left -= int(numbers[descent.ITERATIONS])
            end = self._end()
            if status == descent.EVALUATE and (left < 1 or numbers[descent.ITERATIONS] < most):
                return _End(False, "max_iterations reached", end)
            message = _ENDED[descent.STUCK if status == descent.EVALUATE else status]
            failed = bool(numbers[descent.FAILED_BEFORE] or numbers[descent.FAILED_SINCE])
            if self._steepness(end) <= (descent.SMALL_SLOPE if failed else descent.STATIONARY):
                return _End(True, message if status != descent.STUCK else f"{message}: {_SMALL_ENOUGH}", end)
            if left < 1:
                return _End(False, "max_iterations reached", end)
            if begun is not None and (failed or measured) and not self._is_better(end, begun):
                break
            gains = begun is not None and end.loss < begun.loss - self._blur
            begun, start = end, end.free_theta
            measured = not failed
            self._blur = self._rounding(end) if measured else 0.0
        if self._steepness(end) <= descent.STATIONARY:
            return _End(True, f"{message}: {_SMALL_ENOUGH}", end)
        if failed:
            return _End(False, just_beyond(self._why, self.remedy), end)
        assert self._lowest is not None
        end = self._lowest  # nothing is better about one that is less steep
        message = (
            f"rounding errors end the search: near the best parameters they move the objective by up to {self._blur:.1g} nats "
            f"and the gradient left there is {self._steepness(end):.1g} per unit of a logarithm"
        )
        return _End(False, message, end, self._blur)

    def _descend(self, start: Array, known: _Point | None, max_iterations: int) -> tuple[int, descent.Memory]:
        """From a start, with what is ``known`` of it, to where the search ends, and why: EVALUATE where it has had its
        iterations."""
        memory = descent.memory(start, self.space.bounds, turning_points(self.space), self._blur, self.stationary)
        no_gradient, no_information = np.zeros(start.size), np.zeros((start.size, start.size))
        self._iterate = known
        most, compiled = self.n_evaluations + 100 * max_iterations, self._compiled()
        n, d = self.likelihood.X.shape
        seconds = _SLOWEST * n * n * (n + 8 * d)
        begins_compiled, status = known is None and compiled is not None, descent.EVALUATE
        point = self._loss(start) if known is None and compiled is None else known
        while True:
            if not begins_compiled:
                loss, gradient = (point.loss, point.gradient) if point else (math.inf, no_gradient)
                status = int(descent.advance(memory, loss, gradient, no_information, False, point is None))
                if memory.numbers[descent.ACCEPTED]:
                    self._iterate = point
            begins_compiled = False
            while compiled is not None and self._goes_on(status, memory, max_iterations, most):
                began = time.perf_counter()
                count = 1 if self.callbacks else min(most - self.n_evaluations, max(1, int(_SLICE / seconds)))
                self._slice(compiled, memory, status, count, max_iterations)
                seconds = max(time.perf_counter() - began, 1e-6) / max(1, int(compiled.counts[0]))
                status = int(compiled.counts[2])
                if compiled.counts[1] == descent.NEEDS_PYTHON or not memory.numbers[descent.STARTED]:
                    break
            if not self._goes_on(status, memory, max_iterations, most):
                return status if status in _ENDED else descent.EVALUATE, memory
            point = self._loss(memory.trial.copy())

    def _goes_on(self, status: int, memory: descent.Memory, max_iterations: int, most: int) -> bool:
        done = memory.numbers[descent.ITERATIONS] >= max_iterations or self.n_evaluations >= most
        return status not in _ENDED and not done

    def _compiled(self) -> descent.Descent | None:
        """The objective as compiled code evaluates it; None where a part of it is Python's."""
        is_ours = self.objective in OBJECTIVES.values() or self.space.unit_of_mean > 0.0
        leave_one_out = self.objective is _leave_one_out
        loss = compiled_loss(self.likelihood, self.space, self.priors, self.offset, leave_one_out) if is_ours else None
        return None if loss is None else descent.Descent(loss)

    def _slice(self, compiled: descent.Descent, memory: descent.Memory, status: int, count: int, max_iterations: int) -> None:
        """Up to ``count`` evaluations in compiled code, and what is known of the search afterwards."""
        if self._given_up.is_set():
            raise _StopSearchError
        compiled.counts[:] = 0
        try:
            with self.likelihood.workspace() as workspace:
                compiled.go_on(memory, status, workspace, count, max_iterations, self.likelihood.watch)
        finally:  # after an interrupt, which ends the search, the best of these counts too
            self.n_evaluations += int(compiled.counts[0])
            lowest = _Point(*compiled.lowest_point)
            if lowest.loss < (self._lowest.loss if self._lowest else math.inf):
                self._lowest = lowest
            if lowest.loss < (self.best.loss if self.best else math.inf):
                self.best = lowest
        outcome, failure = int(compiled.counts[1]), int(compiled.counts[3])
        if failure != descent.FOUND:
            self._why = SINGULAR if failure == descent.SINGULAR else NO_DENSITY
        if memory.numbers[descent.STARTED]:
            self._iterate = _Point(*descent.iterate(memory))
        if self.callbacks and outcome == descent.FOUND:
            value, slope = -float(compiled.loss.result[0]) - self.offset, -compiled.loss.result[1:]
            self._report(self.space.natural(compiled.last), compiled.loss.log_marginal_likelihood, value, slope)

    def _forget_points(self) -> None:
        """Of an earlier local search."""
        self._iterate, self._lowest, self._blur = None, None, 0.0

    def _end(self) -> _Point:
        """The lowest point; the last iterate, if it is less steep and no more than rounding tells it from the lowest."""
        iterate, lowest = self._iterate, self._lowest
        assert iterate is not None
        assert lowest is not None
        if iterate.loss > lowest.loss + self._blur:
            return lowest
        is_lowest = bool((iterate.free_theta == lowest.free_theta).all())  # as it is nearly always
        return iterate if is_lowest or self._steepness(iterate) <= self._steepness(lowest) else lowest

    def _is_better(self, end: _Point, begun: _Point) -> bool:
        """By more than rounding; or half as steep, where rounding hides which is lower."""
        if abs(end.loss - begun.loss) <= self._blur:
            return self._steepness(end) <= 0.5 * self._steepness(begun)
        return end.loss < begun.loss

    def _rounding(self, point: _Point) -> float:
        """Nats by which rounding may tell two points' losses apart here."""
        losses, lowest, best = [point.loss], self._lowest, self.best
        for probe in range(_PROBES):
            signs = np.where(np.arange(point.free_theta.size) % 2 == probe % 2, 1.0, -1.0)
            near = self._loss(np.clip(point.free_theta + _NEAR * (1.0 + probe) * signs, *self.space.bounds.T))
            losses.append(near.loss if near else point.loss)
        self._lowest, self.best = lowest, best  # none of these is better but by chance, and some have left a bound
        return _BLUR * (max(losses) - min(losses))

    def _steepness(self, point: _Point) -> float:
        """The largest entry of the gradient that does not point out of the bounds."""
        low, high = self.space.bounds.T
        held = (point.free_theta <= low) & (point.gradient > 0.0) | (point.free_theta >= high) & (point.gradient < 0.0)
        return float(np.maximum.reduce(np.where(held, 0.0, np.abs(point.gradient)), initial=0.0))

    def _refused(self, why: str, error: NotPositiveDefiniteError | ValueError) -> None:
        """A trial point that has no value; at a start ``error`` is what is wrong."""
        if self._iterate is None:
            raise NoStartError(error)
        self._why = why

    def _loss(self, free_theta: Array) -> _Point | None:
        """None where the objective has no value."""
        if self._given_up.is_set():
            raise _StopSearchError
        parameters = self.space.natural(free_theta)
        self.n_evaluations += 1
        of_prior, slope_of_prior, objection = self.log_prior(parameters)
        if objection:
            self._refused(NO_DENSITY, ValueError(f"{objection}; start where it has"))
            return None
        try:  # nothing of a user's runs in here, nor is caught
            value, log_marginal_likelihood, gradient = self.objective(
                self.likelihood, parameters, self.space.free_length_scales, self.space.isotropic
            )
        except (NotPositiveDefiniteError, ValueError) as error:
            self._refused(SINGULAR, error)
            return None
        if not np.isfinite(gradient).all():
            overflow = ValueError("the gradient overflows float64 where the search starts; rescale y or move the start")
            self._refused(SINGULAR, overflow)
            return None
        value += of_prior
        slope = self.space.free_gradient(gradient + slope_of_prior)
        loss = -(value + self.offset)
        point = _Point(free_theta, loss, -slope)
        if self._iterate is None:
            self._iterate = point
        if self._lowest is None or point.loss < self._lowest.loss:
            self._lowest = point
        if self.best is None or point.loss < self.best.loss:
            self.best = point
        self._report(parameters, log_marginal_likelihood, value, slope)
        return point

    def _report(self, parameters: Parameters, log_marginal_likelihood: float, value: float, slope: Array) -> None:
        """Tell the callbacks of an evaluation; ``slope`` is the objective's, by the free parameters."""
        if not self.callbacks:
            return
        names = ("length_scale", "signal_variance", "noise_variance")
        shown = dict(zip(names, parameters[:3], strict=True)) | {"shape": np.array(tuple(parameters[3]))}
        shown["length_scale"] = self.space.by_column(parameters[0])
        gradient = self.space.by_column(self.space.whole_gradient(slope))
        state = TrainingState(self.n_evaluations, log_marginal_likelihood, value, gradient, shown)
        answers = [callback(state) for callback in self.callbacks]
        if any(answers):
            raise _StopSearchError


def compiled_loss(
    likelihood: LogMarginalLikelihood, space: ParameterSpace, priors: Priors, offset: float = 0.0, leave_one_out: bool = False
) -> descent.Loss | None:
    """Minus the log marginal likelihood, or ``leave_one_out`` that density, and ``offset``, less the priors; None where a part
    of it is Python's."""
    compiled_priors = _compiled(priors, space.number.size)
    own_variances, is_sum = likelihood.own_variances, isinstance(space.kernel, Sum)
    if compiled_priors is None or own_variances or space.noises or is_sum:
        return None
    term = Term(space.kernel, np.ones(space.d), 1.0, space.free_length_scales, tied=space.isotropic)
    return descent.Loss(
        term,
        likelihood.X,
        likelihood.center,
        likelihood.y,
        likelihood.observation_variance,
        descent.FreeParameters(*space.natural_arrays, np.array([0.0, space.unit_of_mean])),
        compiled_priors,
        offset,
        space.start.size,
        likelihood.n_threads,
        likelihood.basis,
        likelihood.mean_estimation == "reml",
        leave_one_out,
    )


def _compiled(priors: Priors, size: int) -> Densities | None:
    """All of them together; None where one is a callable of Python."""
    family, rows, constant = np.full(size, -1), np.ones((size, 3)), 0.0
    for _, where, prior in priors:
        if not isinstance(prior, Densities) or (family[where] >= 0).any():
            return None
        family[where], rows[where] = prior.family, prior.rows
        constant += prior.constant
    return Densities(family, rows, constant)
