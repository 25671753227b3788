"""fit_vecchia(): train on more points than an n x n matrix has room for."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.vecchia import INFORMATION
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import Given, Parameters, ParameterSpace
from fastard._parameters import space as parameter_space
from fastard._progress import Callback, TrainingProgress, TrainingState
from fastard._progress import progress as show_progress
from fastard._training.priors import Priors, log_density, log_priors
from fastard._training.search import (
    NO_DENSITY,
    OBJECTIVES,
    SINGULAR,
    Search,
    at_the_end,
    just_beyond,
    remedy_for,
    turning_points,
)
from fastard._vecchia.likelihood import VecchiaLogLikelihood, in_rows_of
from fastard._vecchia.model import VecchiaGaussianProcess
from fastard._vecchia.scoring import Point, ascend
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel

_START, _START_ITERATIONS = 1000, 200  # points and iterations of the exact fit that the search starts from

_LITTLE_NOISE = math.log(1e4)  # below the default start

_STEP = 1e-4  # of a logarithm, in differences

# Nats that may be left to gain before the neighbours are looked for anew, and at the end; a stage that moves no length scale
# further than this (a logarithm) is the last.
_FIRST_GAIN, _LAST_GAIN, _FAR = 1.0, 0.01, 0.2
_MOST_STAGES = 6


_FINDING = "finding neighbours"


class _StopTrainingError(Exception):
    """A callback returned True."""


def fit_vecchia(
    X: ArrayLike,
    y: ArrayLike,
    *,
    kernel: str | Kernel = "matern52",
    neighbors: int = 64,
    block_size: int = 16,
    length_scale: ArrayLike | None = None,
    signal_variance: float | None = None,
    noise_variance: float | None = None,
    observation_variance: ArrayLike | None = None,
    length_scale_bounds: Any = None,
    signal_variance_bounds: Any = None,
    noise_variance_bounds: Any = None,
    shape_bounds: Any = None,
    length_scale_groups: Any = None,
    length_scale_prior: Any = None,
    signal_variance_prior: Any = None,
    noise_variance_prior: Any = None,
    shape_prior: Any = None,
    standardize: bool = True,
    max_iterations: int = 100,
    rng: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
    n_threads: int | None = None,
    client: Any = None,
) -> VecchiaGaussianProcess:
    r"""Train a Gaussian process on many points by maximising its Vecchia log likelihood, in time and memory linear in n.

    .. math:: \ell \approx \ln p(y_0) + \sum_B \ln p(y_B \mid y_{c(B)})

    Blocks of targets y_B are conditioned on the nearest earlier points c(B) alone, not on all earlier ones: that is the whole
    of the approximation, and :meth:`VecchiaGaussianProcess.accuracy` says how much is lost by it. Nothing is jittered. With no
    more points than the first block has, 1024 or ``neighbors``, it is the exact likelihood.

    The search begins where the exact fit of a random 1000 points ends: the better of two, from much noise and from little, or
    the only one, where ``noise_variance`` is given. It is Fisher scoring with the average information, in stages: neighbours
    are near in units of the length scales, and are found anew between the stages.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs, n >= 1; a DataFrame's column names are kept. A Dask array is computed, and then held here.
    y : array-like, shape (n,) or (n, m)
        Targets; m outputs share the hyperparameters.
    kernel : str or kernel object, default "matern52"
        As for :func:`fastard.fit`. The squared exponential kernel, without noise, makes blocks of near points singular.
    neighbors : int, default 64
        How many points a block is conditioned on. Twice as many, with blocks twice as large, take about 2.2 times as long and
        lose about half as much.
    block_size : int, default 16
        The most points of a block. About a quarter of ``neighbors`` or less.
    length_scale, signal_variance, noise_variance, observation_variance : optional
        As for :func:`fastard.fit`: starts, and known variances.
    length_scale_bounds, signal_variance_bounds, noise_variance_bounds, shape_bounds, length_scale_groups : optional
        As for :func:`fastard.fit`.
    length_scale_prior, signal_variance_prior, noise_variance_prior, shape_prior : optional
        As for :func:`fastard.fit`.
    standardize : bool, default True
        As for :func:`fastard.fit`.
    max_iterations : int, default 100
        Evaluations of the Vecchia log likelihood at most.
    rng : int, numpy.random.Generator or RandomState, optional
        For the order of the points, on which the approximation depends, and the points of the exact fit. Another value may
        move parameters by more than their standard errors, where ``accuracy`` tells large shifts; two trainings show it.
    callback : callable, optional
        Called with a :class:`TrainingState` after each evaluation on all points; returning True ends the search.
    progress : bool, default False
        Whether to show stages and evaluations on stderr.
    n_threads : int, optional
        Threads for the compiled loops; all available by default. The result does not depend on it.
    client : dask.distributed.Client, optional
        A cluster to train on, see the page "Many points"; the same bits as without. Every worker gets all points.

    Returns
    -------
    model : VecchiaGaussianProcess
        It has ``converged`` where less than 0.01 nats were left to gain, as the average information tells, with neighbours
        that were near. After Ctrl-C or a callback's True, the best so far with the latest neighbours, not ``converged``.

    Warns
    -----
    UserWarning
        For outputs whose standard deviations differ more than tenfold: the variances they share fit none of them.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    NotPositiveDefiniteError
        If the covariance of a block and its neighbours is not positive definite where the search starts, with shorter length
        scales neither; it names rows of X. Anywhere else a search backs off from where it is so, and ends with a ``message``.

    References
    ----------
    Vecchia, Estimation and model identification for continuous spatial processes, JRSS B 50 (1988), 297-312; Katzfuss,
    Guinness & Lawrence, Scaled Vecchia approximation for fast computer-model emulation, SIAM/ASA J. Uncertainty Quantification
    10 (2022), 529-554; Guinness, Gaussian process learning via Fisher scoring of Vecchia's approximation, Statistics and
    Computing 31 (2021), 25.

    Examples
    --------
    >>> import numpy as np, fastard
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(5000, 3))
    >>> y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(5000)
    >>> model = fastard.fit_vecchia(X, y, rng=0)
    >>> mean, std = model.predict(X[:4], return_std=True)
    """
    feature_names, target_names = validate.names_of(X), validate.names_of_targets(y)
    X = validate.inputs(X)
    n, d = X.shape
    y = validate.targets(y, n).reshape(n, -1)
    centred, y_mean = validate.centred(y)
    kernel = validate.as_kernel(kernel)
    max_iterations = validate.count("max_iterations", max_iterations, least=1)
    neighbors = validate.count("neighbors", neighbors, least=1)
    block_size = validate.count("block_size", block_size, least=1)
    validate.client(client)
    random = validate.generator(rng)
    validate.callback(callback)
    given = {
        "length_scale": Given(length_scale, length_scale_bounds),
        "signal_variance": Given(signal_variance, signal_variance_bounds),
        "noise_variance": Given(noise_variance, noise_variance_bounds),
        "shape": Given(tuple(kernel) or None, shape_bounds),
    }
    space = parameter_space(X, y, kernel, given, length_scale_groups, standardize, feature_names)
    priors = log_priors(
        space,
        X,
        feature_names,
        length_scale=length_scale_prior,
        signal_variance=signal_variance_prior,
        noise_variance=noise_variance_prior,
        shape=shape_prior,
    )
    validate.warn_of_scales(y)
    known = validate.known_variances(observation_variance, n)
    with contextlib.ExitStack() as stack:
        display = callback if isinstance(callback, TrainingProgress) else None
        if progress:
            display = stack.enter_context(show_progress())
        callbacks = [each for each in dict.fromkeys((callback, display)) if each is not None]
        with _told(display, f"exact fit of {min(n, _START)} points"):
            start = _start(X, centred, known, space, priors, random, n_threads, noise_variance is None)
        with _told(display, _FINDING):
            likelihood = VecchiaLogLikelihood(
                X,
                centred,
                kernel=kernel,
                length_scale=space.natural(start)[0],
                observation_variance=known,
                neighbors=neighbors,
                block_size=block_size,
                rng=random,
                n_threads=n_threads,
                client=client,
            )
        if display is not None:
            likelihood.watch = display.evaluating
        training = _Training(likelihood, space, priors, max_iterations, callbacks, display)
        training.run(start)
        likelihood.watch = None
        likelihood.leave_cluster()
    assert training.best is not None  # run() raises otherwise
    free_theta = training.best.free_theta
    length_scale, signal, noise, kernel = space.natural(free_theta)
    slots, message = at_the_end(
        space, free_theta, training.message, lambda: validate.parameter_names(d, kernel, feature_names)
    )
    return VecchiaGaussianProcess(
        kernel=kernel,
        length_scale=length_scale,
        signal_variance=signal,
        noise_variance=noise,
        log_likelihood=training.log_likelihood,
        objective="log_likelihood with priors" if priors else "log_likelihood",
        n_evaluations=training.n_evaluations,
        converged=training.converged,
        message=message,
        feature_names=feature_names,
        target_names=target_names,
        _likelihood=likelihood,
        _y_mean=y_mean,
        _slots=slots,
    )


def _told(display: TrainingProgress | None, phase: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext() if display is None else display.during(phase)


def _start(
    X: Array,
    y: Array,
    known: Array | None,
    space: ParameterSpace,
    priors: Priors,
    random: np.random.Generator,
    n_threads: int | None,
    may_have_little_noise: bool,
) -> Array:
    """The free logarithms that the exact model of some of the points takes: neighbours in a wrong metric are of little use.

    A search that starts with much noise may take short waves on a large trend for noise: so a second one starts with little.
    """
    n = len(X)
    rows = np.sort(random.choice(n, min(n, _START), replace=False))
    exact = LogMarginalLikelihood(
        X[rows],
        y[rows],
        kernel=space.kernel,
        observation_variance=None if known is None else known[rows],
        n_threads=n_threads,
    )
    search = Search(exact, OBJECTIVES["log_marginal_likelihood"], space, priors, _START_ITERATIONS, None)
    starts, is_noise = [space.start], space.first_places == space.d + 1
    if may_have_little_noise and is_noise.any():
        starts.append(np.where(is_noise, np.clip(space.start - _LITTLE_NOISE, *space.bounds.T), space.start))
    try:
        search.run_from(starts)
    except NotPositiveDefiniteError as error:
        raise in_rows_of(rows, error.row, error.nearest_row, error.distance) from None
    if search.interrupted:  # there is no model of all points yet
        raise KeyboardInterrupt
    assert search.best is not None  # run() raises otherwise
    return search.best.free_theta


class _Training:
    """Stages of Fisher scoring, each with the neighbours that the length scales of the last one make."""

    def __init__(
        self,
        likelihood: VecchiaLogLikelihood,
        space: ParameterSpace,
        priors: Priors,
        max_iterations: int,
        callbacks: list[Callback],
        display: TrainingProgress | None,
    ) -> None:
        self.likelihood, self.space, self.priors, self.callbacks = likelihood, space, priors, callbacks
        self.display = display
        self.left = max_iterations
        self.n_evaluations, self.stage = 0, 0
        self.best: Point | None = None
        self.log_likelihood = math.nan
        self.converged, self.message = False, ""
        self._why = ""  # a trial point since the best one has no value; empty where all have

    def run(self, start: Array) -> None:
        """All stages. The best point of the last one counts: a value with other neighbours is no measure of it."""
        try:
            self._run(start)
        except _StopTrainingError:
            self.message = "stopped by the callback"
        except KeyboardInterrupt:
            if self.best is None:
                raise
            self.message = "interrupted; these are the best parameters so far"

    def _run(self, theta: Array) -> None:
        turn = turning_points(self.space)
        for self.stage in range(1, _MOST_STAGES + 1):
            begun = theta
            try:
                first = self._first_of_stage(theta)
            except NotPositiveDefiniteError:
                if self.best is None:
                    raise
                self.message = f"{SINGULAR} with new neighbours: {remedy_for(self.space)}"
                return
            little = _FIRST_GAIN if self.stage == 1 else _LAST_GAIN
            outcome = ascend(self._evaluate, first, self.space.bounds, turn, little=little, most=self.left)
            theta = outcome.point.free_theta
            seen = self.space.is_length_scale & (np.minimum(theta, begun) < turn)
            settled = self.stage > 1 and np.abs(theta - begun)[seen].max(initial=0.0) < _FAR
            if not outcome.converged or (self.left <= 0 and not settled):
                left = f"{outcome.gain:.2g} nats left to gain"
                if self.left > 0 and self._why:
                    self.message = just_beyond(self._why, remedy_for(self.space))
                else:
                    self.message = f"max_iterations reached, {left}" if self.left <= 0 else f"no further step gains, {left}"
                return
            if settled:
                self.converged = True
                self.message = f"less than {_LAST_GAIN:g} nats are left to gain"
                return
        self.message = f"after {_MOST_STAGES} stages new neighbours still move the length scales"

    def _first_of_stage(self, theta: Array) -> Point:
        """The first evaluation of a stage, with its neighbours; where it comes to nothing, all is as at the last one's end."""
        best, before = self.best, self.likelihood.found
        self.best = None
        try:
            if self.stage > 1:
                with _told(self.display, _FINDING):
                    self.likelihood.find_neighbors(self.space.natural(theta)[0])
            first = self._evaluate_at_start(theta)
        finally:
            if self.best is None:
                self.best, self.likelihood.found = best, before
        return first

    def _evaluate_at_start(self, theta: Array) -> Point:
        """The objective there; where the covariance is not positive definite, at half the length scales, and so on.

        It may be so for all points where the exact fit of a few ends, and with new neighbours where a stage has ended.
        """
        first: NotPositiveDefiniteError | None = None
        while True:
            try:
                point = self._evaluate(theta, math.nan, may_fail=False)
                equal_rows = False
            except NotPositiveDefiniteError as error:
                first, point, equal_rows = first or error.with_traceback(None), None, error.distance == 0.0
            if point is not None:
                return point
            assert first is not None  # a prior has a density where the search has been
            safer = self._safer(theta, equal_rows)
            if self.left <= 0 or np.array_equal(safer, theta):
                raise first
            theta = safer

    def _safer(self, theta: Array, equal_rows: bool) -> Array:
        """With shorter length scales; with more noise, where those do not help or none is free."""
        which, step = self.space.is_length_scale, -math.log(2.0)
        if equal_rows or not which.any():
            which, step = self.space.first_places == self.space.d + 1, math.log(4.0)
        result: Array = np.where(which, np.clip(theta + step, *self.space.bounds.T), theta)
        return result

    def _evaluate(self, free_theta: Array, gain: float, *, may_fail: bool = True) -> Point | None:
        """The objective; None where it has no value, if it may fail. ``gain``: what was left at the last point, to be told."""
        space = self.space
        parameters = space.natural(free_theta)
        self.n_evaluations += 1
        self.left -= 1
        of_prior, slope_of_prior, objection = log_density(self.priors, parameters, space.size)
        if objection:
            self._why = NO_DENSITY
            return None
        try:
            found = self.likelihood.evaluate(
                *parameters, wanted=INFORMATION, free=space.free_length_scales, tied=space.isotropic
            )
        except ValueError:  # not positive definite, or an overflow
            if not may_fail:
                raise
            self._why = SINGULAR
            return None
        value, gradient = found.log_likelihood + of_prior, space.free_gradient(found.gradient + slope_of_prior)
        information = space.free_information(found.information) + np.diag(self._curvature_of_priors(free_theta))
        point = Point(free_theta, value, gradient, information)
        if self.best is None or point.value > self.best.value:
            self.best, self.log_likelihood, self._why = point, found.log_likelihood, ""
        self._report(parameters, found.log_likelihood, value, gradient, gain)
        return point

    def _curvature_of_priors(self, free_theta: Array) -> Array:
        """By the free parameters, (f,), from differences of the slope; a negative one helps no step, and is left out."""
        result = np.zeros(free_theta.size)
        if not self.priors:
            return result
        for i in range(free_theta.size):
            low, high = free_theta.copy(), free_theta.copy()
            low[i] -= _STEP
            high[i] += _STEP
            slopes = []
            for near in (low, high):
                _, slope, objection = log_density(self.priors, self.space.natural(near), self.space.size)
                slopes.append(math.nan if objection else float(self.space.free_gradient(slope)[i]))
            curvature = (slopes[0] - slopes[1]) / (2.0 * _STEP)
            result[i] = curvature if curvature > 0.0 else 0.0
        return result

    def _report(self, parameters: Parameters, log_likelihood: float, value: float, slope: Array, gain: float) -> None:
        if not self.callbacks:
            return
        names = ("length_scale", "signal_variance", "noise_variance")
        shown = dict(zip(names, parameters[:3], strict=True)) | {"shape": np.array(tuple(parameters[3]))}
        state = TrainingState(
            self.n_evaluations, log_likelihood, value, self.space.whole_gradient(slope), shown, self.stage, gain
        )
        answers = [callback(state) for callback in self.callbacks]
        if any(answers):
            raise _StopTrainingError
