"""The search: L-BFGS-B over the logarithms of the free hyperparameters, from several starts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._objectives import leave_one_out
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import Parameters, ParameterSpace
from fastard._progress import Callback, TrainingState
from fastard._training.priors import Priors
from fastard.exceptions import NotPositiveDefiniteError

# A memory of 20 steps saves a tenth to a quarter of the evaluations that SciPy's 10 take on yacht, concrete and energy. Energy
# has a plateau on which SciPy's ftol of 2e-9, or a gtol of 1e-3, ends the search 0.06 nats below where scikit-learn's comes.
_L_BFGS_B = {"maxcor": 20, "ftol": 1e-12, "gtol": 1e-5}

_STATIONARY = 1e-3  # a gradient per unit of ln, from which 1e-6 nats are left to gain: no search has converged above it

# Rounding is measured by the losses of so many points this near, in the logarithms; it may do three times as much elsewhere.
_PROBES, _NEAR, _BLUR = 4, 1e-11, 3.0

_ABSURD_RISE = 10.0  # of the loss at a trial point, against the fall that the slope promised

_CLIFF = 1e10  # of a loss and 1 nat: the fall from a nearly singular start

_SMALL_ENOUGH = "the gradient is as small as rounding lets it be"

_SINGULAR = "the covariance is not positive definite"

_LARGE, _SAMPLE = 5000, 1500  # points: from where on an evaluation may take seconds, and on how many one is timed

_RESUMPTIONS = 10  # of a search that ended where the gradient is not small: each from there, with an empty history


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


class _NoStartError(Exception):
    """A search cannot begin where it was to: ``reason`` says why. No code of a user's raises it."""

    def __init__(self, reason: NotPositiveDefiniteError | ValueError) -> None:
        self.reason = reason


class _Point(NamedTuple):
    free_theta: Array
    loss: float  # minus the objective, in standardised units
    gradient: Array  # of the loss
    told: float  # the loss that L-BFGS-B knows: by the slope instead, where rounding hides it


class Search:
    """L-BFGS-B over the free logarithms, from several starts, keeping the best point over all."""

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
        self.remedy = "raise the noise variance" if space.fixed_noise else "raise the noise's lower bound"
        self.offset = 0.5 * likelihood.y.size * math.log(space.unit_of_variance)
        self.takes_long = len(likelihood.X) >= _LARGE
        self.callbacks: list[Callback] = [callback] if callback else []
        self.best: _Point | None = None
        self.n_evaluations = 0
        self.converged = False
        self.message = ""
        # Of the local search under way: its last accepted point (none before the first) and its last evaluated one, and
        # whether a trial point was not positive definite in the iteration before the accepted point, or since.
        self._iterates: list[_Point] = []
        self._last: _Point | None = None
        self._failed_before = self._failed_since = False
        self._why = ""
        # The lowest of its points, and nats up to which rounding may hide which of two is lower.
        self._lowest: _Point | None = None
        self._blur = 0.0

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
        total, gradient = 0.0, np.zeros(self.space.size)
        if not self.priors:
            return total, gradient, ""
        values = np.concatenate([parameters[0], parameters[1:3], tuple(parameters[3])])
        for name, where, prior in self.priors:
            value, slope = prior(values[where])
            total += value
            with np.errstate(all="ignore"):
                gradient[where] = values[where] * slope  # d / d ln x = x d / dx
            if not (np.isfinite(value) and np.isfinite(gradient[where]).all()):
                at = validate.listed(values[where].tolist())
                return total, gradient, f"{name}_prior has no finite log density and derivative at {name} = [{at}]"
        return total, gradient, ""

    def run(self, n_restarts: int, random: np.random.Generator) -> None:
        """All searches; raises the first start's error if every start fails."""
        low, high = self.space.bounds.T
        starts = [self.space.start]
        for _ in range(n_restarts):
            shift = random.uniform(-np.log(10.0), np.log(10.0), low.size)
            starts.append(np.clip(starts[0] + shift, low, high))
        failure: NotPositiveDefiniteError | ValueError | None = None
        try:
            for start in starts:
                before = self.best
                try:
                    converged, message, end = self._local_or_shorter(start)
                except _NoStartError as error:
                    failure = failure or error.reason
                    continue
                if before is None or end.loss < before.loss:
                    self.best, self.converged, self.message = end, converged, message
                else:
                    self.best = before
        except _StopSearchError:
            self.converged, self.message = False, "stopped by the callback"
        except KeyboardInterrupt:
            if self.best is None:
                raise
            self.converged, self.message = False, "interrupted; these are the best parameters so far"
        if self.best is None and failure is not None:
            raise failure

    def _local_or_shorter(self, start: Array) -> tuple[bool, str, _Point]:
        """`_local`; where K is singular at the start, from half the length scales that nobody gave, and so on."""
        first: _NoStartError | None = None
        may_shorten = self.space.is_length_scale & self.space.own_length_scales
        while True:
            try:
                return self._local(start)
            except _NoStartError as error:
                first = first or error
                shorter = np.where(may_shorten, np.maximum(start - math.log(2.0), self.space.bounds[:, 0]), start)
                if not isinstance(error.reason, NotPositiveDefiniteError) or np.array_equal(shorter, start):
                    raise first from None
                start = shorter

    def _local(self, start: Array) -> tuple[bool, str, _Point]:
        """One search, taken up again from where it ended for as long as the gradient is not small there and it gains.

        Returns whether it converged, why it ended, and where.
        """
        from scipy.optimize import minimize

        self._forget_points()
        if start.size == 0:
            self._loss(start)
            return True, "every parameter is fixed", self._end()
        left, begun, measured = self.max_iterations, None, False
        for _ in range(1 + _RESUMPTIONS):
            self._failed_before = self._failed_since = False
            result = minimize(
                self._loss,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=self.space.bounds,
                callback=self._accepted,
                options={**_L_BFGS_B, "maxiter": left, "maxfun": 100 * left},
            )
            left -= result.nit
            end = self._end()
            message = f"L-BFGS-B: {str(result.message).strip().rstrip(':').lower()}"
            failed = self._failed_before or self._failed_since
            if self._steepness(end) <= (_L_BFGS_B["gtol"] if failed else _STATIONARY) and result.status != 1:
                return True, message if result.success else f"{message}: {_SMALL_ENOUGH}", end
            if left < 1 or result.status == 1:
                return False, message, end
            if begun is not None and (failed or measured) and not self._is_better(end, begun):
                break
            begun, start = end, end.free_theta
            self._iterates = [end]
            measured = not failed
            self._blur = self._rounding(end) if measured else 0.0
        if self._steepness(end) <= _STATIONARY:
            return True, f"{message}: {_SMALL_ENOUGH}", end
        if failed:
            remedy = f": {self.remedy}" if self._why == _SINGULAR else ""
            return False, f"{self._why} just beyond the best parameters{remedy}", end
        end = min(end, self._lowest or end, key=lambda point: point.loss)  # nothing is better about one that is less steep
        message = (
            f"rounding errors end the search: near the best parameters they move the objective by up to {self._blur:.1g} nats "
            f"and the gradient left there is {self._steepness(end):.1g} per unit of a logarithm"
        )
        return False, message, end

    def _forget_points(self) -> None:
        """Of an earlier local search."""
        self._iterates, self._lowest, self._blur = [], None, 0.0

    def _end(self) -> _Point:
        """The lowest point; the last iterate, if it is less steep and no more than rounding tells it from the lowest."""
        iterate, lowest = self._iterates[-1], self._lowest
        assert lowest is not None
        level = iterate.loss <= lowest.loss + self._blur
        return iterate if level and self._steepness(iterate) <= self._steepness(lowest) else lowest

    def _is_better(self, end: _Point, begun: _Point) -> bool:
        """By more than rounding; or half as steep, where rounding hides which is lower."""
        if abs(end.loss - begun.loss) <= self._blur:
            return self._steepness(end) <= 0.5 * self._steepness(begun)
        return end.loss < begun.loss

    def _rounding(self, point: _Point) -> float:
        """Nats by which rounding may tell two points' losses apart here."""
        losses = [point.loss]
        for probe in range(_PROBES):
            signs = np.where(np.arange(point.free_theta.size) % 2 == probe % 2, 1.0, -1.0)
            self._loss(np.clip(point.free_theta + _NEAR * (1.0 + probe) * signs, *self.space.bounds.T))
            assert self._last is not None
            losses.append(self._last.loss)
        return _BLUR * (max(losses) - min(losses))

    def _steepness(self, point: _Point) -> float:
        """The largest entry of the gradient that does not point out of the bounds."""
        low, high = self.space.bounds.T
        held = (point.free_theta <= low) & (point.gradient > 0.0) | (point.free_theta >= high) & (point.gradient < 0.0)
        return float(np.abs(point.gradient[~held]).max(initial=0.0))

    def _accepted(self, _: Array) -> None:
        """L-BFGS-B took its last trial point as the next iterate."""
        assert self._last is not None
        before = self._iterates[-1]
        self._iterates = [self._last]
        self._failed_before, self._failed_since = self._failed_since, False
        if before.loss - self._last.loss > _CLIFF * (1.0 + abs(self._last.loss)):
            raise StopIteration  # to go on without the curvature up there, by which all steps would be too short

    def _refused(self, free_theta: Array, why: str, error: NotPositiveDefiniteError | ValueError) -> tuple[float, Array]:
        """A trial point that has no value; at a start ``error`` is what is wrong."""
        if not self._iterates:
            raise _NoStartError(error)
        self._failed_since, self._why = True, why
        return _wall(self._iterates[-1], free_theta)

    def _loss(self, free_theta: Array) -> tuple[float, Array]:
        free_theta = np.array(free_theta)
        parameters = self.space.natural(free_theta)
        self.n_evaluations += 1
        of_prior, slope_of_prior, objection = self.log_prior(parameters)
        if objection:
            return self._refused(free_theta, "a prior's density ends", ValueError(f"{objection}; start where it has"))
        try:  # nothing of a user's runs in here, nor is caught
            value, log_marginal_likelihood, gradient = self.objective(
                self.likelihood, parameters, self.space.free_length_scales, self.space.isotropic
            )
        except (NotPositiveDefiniteError, ValueError) as error:
            return self._refused(free_theta, _SINGULAR, error)
        if not np.isfinite(gradient).all():
            overflow = ValueError("the gradient overflows float64 where the search starts; rescale y or move the start")
            return self._refused(free_theta, _SINGULAR, overflow)
        value += of_prior
        slope = self.space.free_gradient(gradient + slope_of_prior)
        loss = -(value + self.offset)
        point = _Point(free_theta, loss, -slope, loss)
        if self._blur > 0.0:
            point = self._told_by_slope(point)
        self._last = point
        if not self._iterates:
            self._iterates = [point]
        if self._lowest is None or point.loss < self._lowest.loss:
            self._lowest = point
        if self.best is None or point.loss < self.best.loss:
            self.best = point
        if self.callbacks:
            gradient = self.space.whole_gradient(slope)
            names = ("length_scale", "signal_variance", "noise_variance")
            shown = dict(zip(names, parameters[:3], strict=True)) | {"shape": np.array(tuple(parameters[3]))}
            state = TrainingState(self.n_evaluations, log_marginal_likelihood, value, gradient, shown)
            answers = [callback(state) for callback in self.callbacks]
            if any(answers):
                raise _StopSearchError
        iterate = self._iterates[-1]
        # With every parameter bounded, L-BFGS-B's first trial lies at the bounds, where a nearly singular covariance can
        # cost 1e17: interpolating from there steps by 1e-12, which then passes for convergence.
        rise = point.told - iterate.told
        if rise > 0.0 and rise > _ABSURD_RISE * _promised(iterate, free_theta - iterate.free_theta):
            return _wall(iterate, free_theta)
        return point.told, point.gradient

    def _told_by_slope(self, point: _Point) -> _Point:
        """With the rise since the iterate as the slopes have it, by the trapezoidal rule, where rounding may hide it.

        The gradient is the better judge of short steps there: Hager & Zhang, SIAM Journal on Optimization 16 (2005), 170-192.
        """
        iterate = self._iterates[-1]
        step = point.free_theta - iterate.free_theta
        with np.errstate(all="ignore"):  # an underflow of ours is nobody's error
            told = iterate.told + 0.5 * float((iterate.gradient + point.gradient) @ step)
        return point._replace(told=told) if abs(point.loss - told) <= self._blur else point


def _wall(iterate: _Point, trial: Array) -> tuple[float, Array]:
    """A stand-in for a trial point that cannot be accepted: higher than the iterate, and rising from it.

    L-BFGS-B given (inf, 0) returns its iterate as converged. Along the line searched, this is a value above the iterate's
    by as much as the slope promised below it, with the opposite slope: the line search interpolates to about a seventh of
    the step, never accepts the point, and its curvature does not enter the Hessian's approximation.
    """
    step = trial - iterate.free_theta
    rise = _promised(iterate, step)
    with np.errstate(all="ignore"):
        return iterate.told + rise, rise * step / max(float(step @ step), 1e-300)


def _promised(iterate: _Point, step: Array) -> float:
    """By how much the slope at the iterate says that the step lowers the loss; never quite 0."""
    with np.errstate(all="ignore"):
        return max(abs(float(iterate.gradient @ step)), 1e-6 * (1.0 + abs(iterate.told)))
