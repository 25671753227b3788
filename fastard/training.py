"""fit(): maximise the log marginal likelihood, or another objective, over the logarithms of the hyperparameters."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard import leave_one_out
from fastard._blas import one_blas_thread
from fastard._report import TrainingProgress
from fastard._report import progress as show_progress
from fastard._validation import Array
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel
from fastard.likelihood import LogMarginalLikelihood
from fastard.posterior import AT_BOUND, FIXED, GaussianProcess
from fastard.priors import LogPrior, log_prior

# Where the caller gives none, in standard deviations of the inputs and variances of the targets: bounds ...
_LENGTH_SCALE_BOUNDS = (1e-3, 1e5)
_SIGNAL_VARIANCE_BOUNDS = (1e-5, 1e5)
_NOISE_VARIANCE_BOUNDS = (1e-8, 1e2)
_SHAPE_BOUNDS = (1e-5, 1e5)
# ... and starts; the length scales' grow with sqrt(d), so that typical distances stay of the order of one.
_SIGNAL_VARIANCE, _NOISE_VARIANCE = 1.0, 0.1
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
        length_scale (d,), signal_variance, noise_variance and shape (p,), in the units of X and y.
    """

    evaluation: int
    log_marginal_likelihood: float
    value: float
    gradient: Array
    parameters: dict[str, Any]


Parameters = tuple[Array, float, float, Kernel]  # length_scale, signal_variance, noise_variance and the kernel

Callback = Callable[[TrainingState], bool | None]


def fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    kernel: str | Kernel = "rbf",
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
    objective: Literal["log_marginal_likelihood", "loo"] = "log_marginal_likelihood",
    standardize: bool = True,
    n_restarts: int = 0,
    max_iterations: int = 1000,
    random_state: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
    n_threads: int | None = None,
) -> GaussianProcess:
    """Train a Gaussian process by maximising the log marginal likelihood (or another objective) with SciPy's L-BFGS-B.

    The process has zero mean after the mean of y is subtracted, which ``predict`` adds again. Nothing is jittered.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs, n >= 1; a DataFrame's column names are kept.
    y : array-like, shape (n,) or (n, m)
        Targets; m outputs share the hyperparameters.
    kernel : str or kernel object, default "rbf"
        As for :func:`fastard.log_marginal_likelihood`; a shape parameter is trained from the object's.
    length_scale : float or array-like, shape (d,), optional
        Where the search starts, in units of the columns of X. By default sqrt(d) standard deviations of each column; where
        the covariance is singular there, half of it, or half of that, and so on.
    signal_variance, noise_variance : float, optional
        Where the search starts, in units of y squared. By default the variance of y and a tenth of it.
    observation_variance : array-like, shape (n,), optional
        Known variances >= 0 of the targets, added to the diagonal and not trained.
    length_scale_bounds, signal_variance_bounds, noise_variance_bounds, shape_bounds : optional
        A pair (low, high), "fixed", None for the default, or for length scales d of these, e.g. shape (d, 2). By default
        (1e-3, 1e5) standard deviations, (1e-5, 1e5) and (1e-8, 1e2) variances, (1e-5, 1e5), and wider where a given start
        lies outside.
    length_scale_groups : "isotropic" or sequence of d labels, optional
        Length scales with equal labels are one parameter, and equal in the units of X; "isotropic" makes all of them one.
        Their starts and bounds must be equal too. By default each stands alone.
    length_scale_prior, signal_variance_prior, noise_variance_prior, shape_prior : optional
        Prior densities, whose logarithms are added to the objective: the result is the maximum a posteriori (Rasmussen &
        Williams 2006, section 5.2). Each is a frozen scipy.stats distribution (lognorm, gamma, halfcauchy or halfnorm), or
        a callable from the parameter to (log density, derivative by the parameter); for length scales it is given all of
        them, (d,), or a list of d priors or None is given. Tied length scales are one parameter, whose density counts once.
        They are densities of the natural parameter in the units of X and y, with no Jacobian for the search in logarithms,
        as GPyTorch's are.
    objective : {"log_marginal_likelihood", "loo"}, default "log_marginal_likelihood"
        What is maximised: the log marginal likelihood, or the leave-one-out log predictive density,
        :func:`fastard.loo_log_predictive_density`, which asks less of the model's being right.
    standardize : bool, default True
        Whether the search works, and the defaults above are meant, in units of the standard deviations of the columns of X
        (1 for a constant column, which is one that ranges over no more than 2e-14 of its largest magnitude, as rounding errors
        do) and of y (one for all outputs); otherwise in the units of X and y themselves. All that is given and returned is in
        the units of X and y either way.
    n_restarts : int, default 0
        Further searches, each from the start times 10^U(-1, 1) per parameter, within the bounds. The best is kept.
    max_iterations : int, default 1000
        Of L-BFGS-B, in each search.
    random_state : int, numpy.random.Generator or RandomState, optional
        For the restarts' starts.
    callback : callable, optional
        Called with a :class:`TrainingState` after each evaluation; returning True ends the search.
    progress : bool, default False
        Whether to show evaluations as they come, on stderr; with rich (``pip install fastard[cli]``) as one live line.
    n_threads : int, optional
        Threads for the compiled loops; all available by default.

    Returns
    -------
    model : GaussianProcess
        The best found. Its search has ``converged`` only where the objective's derivatives with respect to the logarithms of
        the free parameters are below 1e-3, but for those at a bound that would take them beyond it; ``message`` says why it
        ended. After Ctrl-C or a callback's True, the best so far, with ``converged`` false.

    Warns
    -----
    UserWarning
        For outputs whose standard deviations differ more than tenfold: the variances they share fit none of them.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    NotPositiveDefiniteError
        If the covariance is not positive definite at every one of the starts. At a trial point the search backs off instead.
    """
    feature_names = validate.names_of(X)
    X = validate.inputs(X)
    n, d = X.shape
    y = validate.targets(y, n).reshape(n, -1)
    centred, y_mean = validate.centred(y)
    likelihood = LogMarginalLikelihood(
        X, centred, kernel=kernel, observation_variance=observation_variance, n_threads=n_threads
    )
    kernel = likelihood.kernel
    if objective not in list(_OBJECTIVES):
        raise ValueError(f"objective must be one of {', '.join(map(repr, _OBJECTIVES))}, got {objective!r}")
    group_of = validate.groups("length_scale_groups", length_scale_groups, d)
    n_restarts = validate.count("n_restarts", n_restarts, least=0)
    max_iterations = validate.count("max_iterations", max_iterations, least=1)
    random = validate.generator(random_state)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable with a TrainingState, or None; got {callback!r}")

    units = np.ones(d + 2 + len(kernel))
    if standardize:
        with np.errstate(all="ignore"):
            units[:d] = _spread(X, group_of)
            constant = validate.constant(y)
            variances = np.where(constant, 0.0, np.var(y, axis=0))
            units[d : d + 2] = 1.0 if constant.all() else np.mean(variances)
        for column in range(d):
            name = f" ({feature_names[column]!r})" if feature_names else ""
            validate.unit(f"column {column} of X{name}", float(units[column]), X[:, column])
        largest = int(np.argmax(variances))
        validate.unit("y" if y.shape[1] == 1 else f"column {largest} of y", float(units[d]), y[:, largest])
    validate.warn_of_scales(y)
    defaults = units * np.concatenate([np.full(d, np.sqrt(d)), [_SIGNAL_VARIANCE, _NOISE_VARIANCE], np.ones(len(kernel))])

    # One row a parameter, in theta's order.
    groups: list[tuple[str, Any, Any, tuple[float, float], slice]] = [
        ("length_scale", length_scale, length_scale_bounds, _LENGTH_SCALE_BOUNDS, slice(0, d)),
        ("signal_variance", signal_variance, signal_variance_bounds, _SIGNAL_VARIANCE_BOUNDS, slice(d, d + 1)),
        ("noise_variance", noise_variance, noise_variance_bounds, _NOISE_VARIANCE_BOUNDS, slice(d + 1, d + 2)),
        ("shape", tuple(kernel) or None, shape_bounds, _SHAPE_BOUNDS, slice(d + 2, None)),
    ]
    start, limits, fixed = defaults.copy(), np.empty((units.size, 2)), np.empty(units.size, dtype=bool)
    for name, given, given_bounds, default_bounds, where in groups:
        scale = units[where]
        limits[where], fixed[where], by_default = validate.bounds(
            f"{name}_bounds", given_bounds, np.outer(scale, default_bounds)
        )
        if given is None:
            start[where] = np.clip(start[where], limits[where, 0], limits[where, 1])
            continue
        if name == "length_scale":
            start[where] = validate.length_scales(given, X)
        else:
            options: dict[str, Any] = {}
            if name == "noise_variance":
                options = {"may_equal": bool(fixed[where].all()), "for_least": f'for none pass {name}_bounds="fixed" too'}
            values = given if name == "shape" else (given,)
            start[where] = [validate.number(name, value, **options) for value in values]
        low, high = limits[where].T  # bounds that nobody gave do not stand in the way of a start that somebody gave
        low[by_default] = np.minimum(low, start[where])[by_default]
        high[by_default] = np.maximum(high, start[where])[by_default]
        at_start = fixed[where] & (limits[where, 0] < limits[where, 1])  # "fixed", and not between equal bounds
        within = (start[where] >= limits[where, 0]) & (start[where] <= limits[where, 1]) | at_start
        if not within.all():
            bad = int(np.argmin(within))
            raise ValueError(
                f"{name} must start within its bounds, got {float(start[where][bad])!r} with bounds "
                f"{tuple(limits[where][bad].tolist())}; widen {name}_bounds or move the start"
            )

    same = validate.one_each("length_scale", group_of, start[:d], limits[:d], fixed[:d])
    priors = [
        (name, where, log_prior(f"{name}_prior", prior, same if name == "length_scale" else None))
        for (name, *_, where), prior in zip(
            groups, (length_scale_prior, signal_variance_prior, noise_variance_prior, shape_prior), strict=True
        )
    ]
    if shape_prior is not None and len(kernel) == 0:
        raise ValueError(f"shape_prior is given, but {kernel!r} has no shape parameter")

    limits[fixed] = start[fixed, np.newaxis]  # exactly
    slots = np.full(units.size, FIXED)
    first = np.concatenate([same, np.arange(d, units.size)])  # of each parameter's group
    slots[~fixed] = np.unique(first[~fixed], return_inverse=True)[1]
    search = _Search(
        likelihood,
        _OBJECTIVES[objective],
        [(name, where, prior) for name, where, prior in priors if prior is not None and not fixed[where].all()],
        start,
        limits,
        slots,
        0.5 * y.size * float(np.log(units[d])),
        max_iterations,
        callback,
        length_scale is None,
    )
    with contextlib.ExitStack() as stack:
        display = callback if isinstance(callback, TrainingProgress) else None
        if progress:
            display = stack.enter_context(show_progress())
            search.callbacks.append(display)
        if display is not None:
            likelihood.watch = display.evaluating
            if n >= _LARGE:
                display.announce(n, d, search.expected_seconds())
        with one_blas_thread():
            search.run(n_restarts, random)
        assert search.best is not None  # run() raises otherwise
        parameters = search.natural(search.best.free_theta)
        if display is not None and n >= _LARGE:
            display.finishing(search.message)
        evaluation = likelihood.evaluate(*parameters, gradient=False)

    at_bounds = search.at_bounds(search.best)
    slots[at_bounds] = AT_BOUND
    message = search.message
    if at_bounds:
        names = validate.parameter_names(d, kernel, feature_names)
        message = f"{message}; at a bound: {validate.listed([names[i] for i in at_bounds])}"
    return GaussianProcess(
        kernel=parameters[3],
        length_scale=parameters[0],
        signal_variance=parameters[1],
        noise_variance=parameters[2],
        log_marginal_likelihood=evaluation.log_marginal_likelihood,
        objective=f"{objective} with priors" if search.priors else objective,
        n_evaluations=search.n_evaluations,
        converged=search.converged,
        message=message,
        feature_names=feature_names,
        n_threads=likelihood.n_threads,
        _X=likelihood.X,
        _y=likelihood.y,
        _y_mean=y_mean,
        _observation_variance=likelihood.observation_variance,
        _slots=slots,
        _alpha=evaluation.alpha,
        _factor=likelihood.release(),
    )


def _spread(X: Array, group_of: NDArray[np.int64]) -> Array:
    """Standard deviations of the columns; for a group of several their root mean square, and 1 for constant ones."""
    constant = validate.constant(X)
    deviations: Array = np.where(constant, 0.0, np.std(X, axis=0))
    for group in range(int(group_of.max(initial=-1)) + 1):
        members = group_of == group
        if np.count_nonzero(members) > 1:
            largest = deviations[members].max()
            if largest > 0.0:
                deviations[members] = largest * np.sqrt(np.mean((deviations[members] / largest) ** 2))
            constant[members] = constant[members].all()
    return np.where(constant, 1.0, deviations)


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
_OBJECTIVES: dict[str, _Objective] = {"log_marginal_likelihood": _marginal_likelihood, "loo": _leave_one_out}


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


class _Search:
    """L-BFGS-B over the free logarithms, from several starts, keeping the best point over all."""

    def __init__(
        self,
        likelihood: LogMarginalLikelihood,
        objective: _Objective,
        priors: list[tuple[str, slice, LogPrior]],
        start: Array,
        limits: Array,
        slots: NDArray[np.int64],
        offset: float,
        max_iterations: int,
        callback: Callback | None,
        own_length_scales: bool,
    ) -> None:
        self.likelihood, self.objective, self.priors = likelihood, objective, priors
        # Natural parameters, and between what: rounding in exp(ln x) moves none out of its bounds, nor a fixed one at all.
        self.low, self.high = limits.T
        with np.errstate(divide="ignore"):
            self.start = np.log(start)
        # Which of theta are free, and which free parameter each of those is: tied ones are the same. `places` has one of each.
        self.free = slots != FIXED
        self.slots = slots[self.free]
        # The length scales' part in the engine's terms: which are free, None for all; and whether they are one parameter.
        of_scales = slots[: likelihood.X.shape[1]]
        all_free = bool((of_scales != FIXED).all())
        self.free_scales = None if all_free else of_scales != FIXED
        self.tied = all_free and np.unique(of_scales).size == 1
        self.places = np.flatnonzero(self.free)[np.unique(self.slots, return_index=True)[1]]
        self.limits = np.log(limits[self.places])
        self.may_shorten = (self.places < likelihood.X.shape[1]) & own_length_scales
        fixed_noise = slots[likelihood.X.shape[1] + 1] == FIXED
        self.remedy = "raise the noise variance" if fixed_noise else "raise the noise's lower bound"
        self.offset, self.max_iterations = offset, max_iterations
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

    def natural(self, free_theta: Array) -> Parameters:
        """length_scale, signal_variance, noise_variance and the kernel."""
        theta = self.start.copy()
        theta[self.free] = free_theta[self.slots]
        values, d = np.minimum(np.maximum(np.exp(theta), self.low), self.high), self.likelihood.X.shape[1]
        return values[:d], float(values[d]), float(values[d + 1]), self.likelihood.kernel.with_shape(values[d + 2 :].tolist())

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
        parameters, seconds = self.natural(self.start[self.places]), 0.0
        for _ in range(2):  # the first call compiles
            began = time.perf_counter()
            try:
                self.objective(sample, parameters, self.free_scales, self.tied)
            except (NotPositiveDefiniteError, ValueError):
                return 0.0
            seconds = time.perf_counter() - began
        return seconds * (n / _SAMPLE) ** 3

    def log_prior(self, parameters: Parameters) -> tuple[float, Array, str]:
        """The priors' log density and its gradient by theta, and what is wrong where they are no finite numbers."""
        total, gradient = 0.0, np.zeros(self.start.size)
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
        low, high = self.limits.T
        starts = [self.start[self.places]]
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
        while True:
            try:
                return self._local(start)
            except _NoStartError as error:
                first = first or error
                shorter = np.where(self.may_shorten, np.maximum(start - math.log(2.0), self.limits[:, 0]), start)
                if not isinstance(error.reason, NotPositiveDefiniteError) or np.array_equal(shorter, start):
                    raise first from None
                start = shorter

    def _local(self, start: Array) -> tuple[bool, str, _Point]:
        """One search, taken up again from where it ended for as long as the gradient is not small there and it gains.

        Returns whether it converged, why it ended, and where.
        """
        from scipy.optimize import minimize

        self._iterates, self._lowest, self._blur = [], None, 0.0
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
                bounds=self.limits,
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
            self._loss(np.clip(point.free_theta + _NEAR * (1.0 + probe) * signs, *self.limits.T))
            assert self._last is not None
            losses.append(self._last.loss)
        return _BLUR * (max(losses) - min(losses))

    def _steepness(self, point: _Point) -> float:
        """The largest entry of the gradient that does not point out of the bounds."""
        low, high = self.limits.T
        held = (point.free_theta <= low) & (point.gradient > 0.0) | (point.free_theta >= high) & (point.gradient < 0.0)
        return float(np.abs(point.gradient[~held]).max(initial=0.0))

    def at_bounds(self, point: _Point) -> list[int]:
        """The places in theta of the free parameters that stand at a bound."""
        is_at_bound = np.any(point.free_theta[:, np.newaxis] == self.limits, axis=1)
        places: list[int] = np.flatnonzero(self.free)[is_at_bound[self.slots]].tolist()
        return places

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
        parameters = self.natural(free_theta)
        self.n_evaluations += 1
        of_prior, slope_of_prior, objection = self.log_prior(parameters)
        if objection:
            return self._refused(free_theta, "a prior's density ends", ValueError(f"{objection}; start where it has"))
        try:  # nothing of a user's runs in here, nor is caught
            value, log_marginal_likelihood, gradient = self.objective(self.likelihood, parameters, self.free_scales, self.tied)
        except (NotPositiveDefiniteError, ValueError) as error:
            return self._refused(free_theta, _SINGULAR, error)
        if not np.isfinite(gradient).all():
            overflow = ValueError("the gradient overflows float64 where the search starts; rescale y or move the start")
            return self._refused(free_theta, _SINGULAR, overflow)
        value += of_prior
        slope = np.zeros(free_theta.size)
        np.add.at(slope, self.slots, (gradient + slope_of_prior)[self.free])  # of tied parameters the sum
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
            gradient = np.zeros(self.free.size)
            gradient[self.free] = slope[self.slots]
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
    """A stand-in for a trial point that can not be accepted: higher than the iterate, and rising from it.

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
