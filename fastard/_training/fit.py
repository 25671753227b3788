"""fit(): train a Gaussian process."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._blas import one_blas_thread
from fastard._model.gaussian_process import GaussianProcess
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import (
    _LENGTH_SCALE_BOUNDS,
    _NOISE_VARIANCE,
    _NOISE_VARIANCE_BOUNDS,
    _SHAPE_BOUNDS,
    _SIGNAL_VARIANCE,
    _SIGNAL_VARIANCE_BOUNDS,
    AT_BOUND,
    FIXED,
    _spread,
)
from fastard._progress import Callback, TrainingProgress
from fastard._progress import progress as show_progress
from fastard._training.priors import log_prior
from fastard._training.search import _OBJECTIVES, _Search
from fastard.kernels import Kernel


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
            if search.takes_long:
                display.announce(n, d, search.expected_seconds())
        with one_blas_thread():
            search.run(n_restarts, random)
        assert search.best is not None  # run() raises otherwise
        parameters = search.natural(search.best.free_theta)
        if display is not None and search.takes_long:
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
