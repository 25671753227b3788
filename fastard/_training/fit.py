"""fit(): train a Gaussian process."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.gaussian_process import GaussianProcess
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._objectives.terms import Term
from fastard._parameters import Given
from fastard._parameters import space as parameter_space
from fastard._progress import Callback, TrainingProgress
from fastard._progress import progress as show_progress
from fastard._training.assembly import trained_model
from fastard._training.data import training_data
from fastard._training.priors import log_priors
from fastard._training.search import OBJECTIVES, Search
from fastard._training.terms import space_and_priors, sum_of, wanted_terms
from fastard.kernels import Kernel


def fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    categorical: Any = None,
    periodic: Any = None,
    kernel: str | Kernel | Mapping[str, Term] | None = None,
    start: GaussianProcess | None = None,
    length_scale: ArrayLike | None = None,
    signal_variance: float | None = None,
    noise_variance: float | None = None,
    observation_variance: ArrayLike | None = None,
    noise_groups: Any = None,
    mean: Any = "constant",
    mean_estimation: Literal["ml", "reml"] = "ml",
    output_variances: Literal["shared", "own"] = "shared",
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
    rng: Any = None,
    callback: Callback | None = None,
    progress: bool = False,
    n_threads: int | None = None,
) -> GaussianProcess:
    """Train a Gaussian process by maximising the log marginal likelihood (or another objective) by a quasi-Newton search.

    By default the process has zero mean after the mean of y is subtracted, which ``predict`` adds again. Nothing is jittered.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs, n >= 1; a DataFrame's column names are kept, and its columns of text or categories are categorical. Text
        that is dates, or digits, is refused, unless ``categorical`` names the column.
    y : array-like, shape (n,) or (n, m)
        Targets; m outputs share the hyperparameters, but see ``output_variances``.
    categorical : sequence of columns, optional
        Names, or numbers where X is no DataFrame, of columns whose entries (text, numbers or booleans) are categories: any two
        different ones are equally far apart. Encoded inside, one column of 0 and 1 for each, with one length scale for all:
        between two points whose categories differ there is the squared distance 2 / length_scale^2. Of a DataFrame, columns of
        pandas' category dtype, and of text with 20 levels at most that come again, are categorical without being named.
    periodic : dict, optional
        The periods of columns, in their units: {"wind": 360.0}. Encoded inside as sine and cosine with one length
        scale, so that the squared distance is 4 sin^2(pi (x - x') / period) / length_scale^2, which makes the squared
        exponential kernel MacKay's periodic one, exp(-2 sin^2(pi (x - x') / period) / length_scale^2).
    kernel : str, kernel object, or dict of Term, optional
        As for :func:`fastard.log_marginal_likelihood`; a shape parameter is trained from the object's. By default that of
        ``start``, or "rbf". A dictionary is a sum of kernels, each over some columns, {"trend": Term("rbf", ["year"]), ...}:
        see :class:`Term`, which then takes what is said of length scales, signal variance and shape parameters below.
    start : GaussianProcess, optional
        A model of the same inputs (and terms), of other rows say: where the search starts, moved into the bounds. A start that
        is given below counts more. Length scales that are tied here and were not there start at their geometric mean.
    length_scale : float, array-like, shape (d,), or dict, optional
        Where the search starts, in units of the columns of X (but see ``categorical`` and ``periodic``). By default sqrt(d)
        standard deviations of each column; where the covariance is singular there, half of it, or half of that, and so on. A
        dictionary, here and below, names the columns that are meant, by the DataFrame's names or else by their numbers; the
        others are as by default.
    signal_variance, noise_variance : float, optional
        Where the search starts, in units of y squared. By default the variance of y and a tenth of it.
    observation_variance : array-like, shape (n,), optional
        Known variances >= 0 of the targets, added to the diagonal and not trained.
    noise_groups : array-like, shape (n,), optional
        Labels (text, numbers or booleans): rows with equal labels share a noise variance, and each of g groups has its own.
        What is said of ``noise_variance`` here and below is then said of each, and starts, bounds and priors may be lists of
        g, in the order of the sorted labels.
    mean : {"constant", "zero", "linear", "quadratic"}, array-like of shape (n, p), or callable, default "constant"
        What the process departs from. "constant": the mean of y. "linear": a + b'x; "quadratic": all squares and products too,
        (d + 1) (d + 2) / 2 coefficients. Of a category either has an intercept for each level but the first, from which they
        are differences, of a periodic column its sine and cosine; squares and products are of numbers only. An array holds the
        values of p basis functions at the points, which ``predict`` then needs at the new points; a callable makes them,
        (q, p), from points (q, d) that are all numbers, an array with its columns as X has them.
        The coefficients are those of generalised least squares, for each output its own.
    mean_estimation : {"ml", "reml"}, default "ml"
        With basis functions, what ``objective`` "log_marginal_likelihood" is: the largest over the coefficients, maximum
        likelihood; or with them integrated out under a flat prior, restricted maximum likelihood, which does not underestimate
        the variances where there are few points for each coefficient. Predictions integrate them out either way. "reml" with a
        "constant" or "zero" mean, which has no coefficients, is an error.
    output_variances : {"shared", "own"}, default "shared"
        Whether m outputs share signal_variance and noise_variance, or each has its own, whatever its scale: parallel partial
        emulation (Gu & Berger 2016), one factorisation for all. The ratio of noise to signal is shared; start, bounds
        and prior of ``noise_variance`` are this ratio's, by default 0.1 and (1e-8, 1e2). Output t's signal_variance is the
        most likely one, y_t' R^-1 y_t / n with R the covariance over it. The model's variances are arrays (m,).
    length_scale_bounds, signal_variance_bounds, noise_variance_bounds, shape_bounds : optional
        A pair (low, high), "fixed", None for the default, or for length scales d of these, e.g. shape (d, 2), or a dict. By
        default (1e-3, 1e5) standard deviations, (1e-5, 1e5) and (1e-8, 1e2) variances, (1e-5, 1e5), and wider where a given
        start lies outside.
    length_scale_groups : "isotropic", sequence of d labels, or dict, optional
        Length scales with equal labels are one parameter, and equal in the units of X; "isotropic" makes all of them one.
        Their starts and bounds must be equal too. By default each stands alone.
    length_scale_prior, signal_variance_prior, noise_variance_prior, shape_prior : optional
        Prior densities, whose logarithms are added to the objective: the result is the maximum a posteriori (Rasmussen &
        Williams 2006, section 5.2). Each is a frozen scipy.stats distribution (lognorm, gamma, halfcauchy, halfnorm, norm),
        or a callable from the parameter to (log density, its derivative with respect to the parameter); for length scales it
        is given all of them, (d,), or a list of d priors or None, or a dict of priors, is given. Tied length scales are one
        parameter, whose density counts once. "dimension_scaled" for the length scales is log-normal with the parameters
        sqrt(2) + ln(d) / 2 and sqrt(3), in units of the range of each column (Hvarfner et al. 2024; BoTorch's for inputs in
        the unit cube), where it is encoded the largest of the columns that it became.
        They are densities of the natural parameter in the units of X and y, with no Jacobian for the search in logarithms,
        as GPyTorch's are.
    objective : {"log_marginal_likelihood", "loo"}, default "log_marginal_likelihood"
        What is maximised: the log marginal likelihood, or the leave-one-out log predictive density,
        :func:`fastard.loo_log_predictive_density`, which is more robust to a misspecified model.
    standardize : bool, default True
        Whether the search works, and the defaults above are meant, in units of the standard deviations of the columns of X
        (1 for a constant column, which is one that ranges over no more than 2e-14 of its largest magnitude, as rounding errors
        do) and of y (one for all outputs); otherwise in the units of X and y themselves. All that is given and returned is in
        the units of X and y either way.
    n_restarts : int, default 0
        Further searches, each from the start times 10^U(-1, 1) per parameter, within the bounds. The best is kept. Below 500
        points they run side by side, one thread to each, unless there is a callback, progress or a prior that is a function:
        with the same result. One search may end in a poorer optimum than others reach; benchmarks/starts.py counts how often.
    max_iterations : int, default 1000
        Of the quasi-Newton method, in each search.
    rng : int, numpy.random.Generator or RandomState, optional
        For the restarts' starts.
    callback : callable, optional
        Called with a :class:`TrainingState` after each evaluation; returning True ends the search.
    progress : bool, default False
        Whether to show evaluations as they come, on stderr; with rich (``pip install 'fastard[cli]'``) as one live line.
    n_threads : int, optional
        Threads for the compiled loops; all available by default.

    Returns
    -------
    model : GaussianProcess
        The best found, of a sum an :class:`AdditiveGaussianProcess`. Its search has ``converged`` only where the objective's
        derivatives with respect to the logarithms of the free parameters are below 1e-3, but for those at a bound that would
        take them beyond it; ``message`` says why it ended. After Ctrl-C or a callback's True, the best so far, with
        ``converged`` false.

    Warns
    -----
    UserWarning
        For outputs whose standard deviations differ more than tenfold: the variances they share fit none of them. For y,
        ``observation_variance`` or ``noise_groups`` with the pandas index of X in another order: rows go by position.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    NotPositiveDefiniteError
        If the covariance is not positive definite at every one of the starts. At a trial point the search backs off instead.

    References
    ----------
    Rasmussen & Williams (2006), chapter 5; Gu & Berger, Parallel partial Gaussian process emulation for computer models with
    massive output, Ann. Appl. Stat. 10 (2016), 1317-1347, for ``output_variances``.
    """
    validate.warn_of_row_order(X, y=y, observation_variance=observation_variance, noise_groups=noise_groups)
    data = training_data(X, y, categorical, periodic, mean)
    names, n, d = data.feature_names, len(data.X), data.d
    if mean_estimation != "ml":
        validate.mean_estimation(
            mean_estimation,
            data.trend is not None,
            f"got mean={mean!r}; mean='linear' has some, and the array numpy.ones(({n}, 1)) is a constant that has one",
        )
    own_variances = validate.output_variances(
        output_variances, observation_variance, objective, signal_variance=signal_variance,
        signal_variance_bounds=signal_variance_bounds, signal_variance_prior=signal_variance_prior,
    )  # fmt: skip
    terms, columns = wanted_terms(kernel, start, names), None
    if terms is None:
        warm_start = validate.model_to_start_from(start, GaussianProcess, names, d)
        if kernel is None:
            kernel = start.kernel if start is not None else "rbf"
    else:
        validate.in_the_terms(
            length_scale=length_scale, signal_variance=signal_variance, length_scale_bounds=length_scale_bounds,
            signal_variance_bounds=signal_variance_bounds, shape_bounds=shape_bounds, length_scale_groups=length_scale_groups,
            length_scale_prior=length_scale_prior, signal_variance_prior=signal_variance_prior, shape_prior=shape_prior,
        )  # fmt: skip
        validate.options_of_terms(objective, output_variances)
        kernel, columns = sum_of(terms, names, data.encoding, d)
    likelihood = LogMarginalLikelihood(
        data.X, data.rest, kernel=kernel, observation_variance=observation_variance, n_threads=n_threads, basis=data.basis,
        mean_estimation=mean_estimation,
    )  # fmt: skip
    kernel = likelihood.kernel
    labels, group_of_row = (None, None) if noise_groups is None else validate.noise_groups(noise_groups, n)
    likelihood.noise_groups, likelihood.own_variances = group_of_row, own_variances
    validate.choice("objective", objective, OBJECTIVES)
    n_restarts = validate.count("n_restarts", n_restarts, least=0)
    max_iterations = validate.count("max_iterations", max_iterations, least=1)
    random = validate.generator(rng) if n_restarts or rng is not None else None  # one with a seed of the system's takes time
    validate.callback(callback)
    of_noise = Given(noise_variance, noise_variance_bounds, None if start is None else _noise_of(start, labels))
    units_of, noises = data.units_of, len(labels or ())
    if own_variances:
        squares, units_of = validate.outputs_that_vary(data.y, data.rest), np.zeros((n, 1))  # which have the unit 1
    if terms is not None:
        assert columns is not None
        space, priors = space_and_priors(
            data.X, units_of, kernel, terms, columns, of_noise, noise_variance_prior, start, standardize=standardize,
            names=names, encoding=data.encoding, noises=noises,
        )  # fmt: skip
    else:
        given = {
            "length_scale": Given(length_scale, length_scale_bounds),
            "signal_variance": Given(1.0, "fixed") if own_variances else Given(signal_variance, signal_variance_bounds),
            "noise_variance": of_noise,
            "shape": Given(tuple(kernel) or None, shape_bounds),
        }
        if start is not None:
            given = _from_model(given, start, kernel, warm_start, own_variances)
        space = parameter_space(
            data.X, units_of, kernel, given, length_scale_groups, standardize, names, of_column=data.of_column, noises=noises
        )
        if own_variances:
            space.unit_of_variance = float(np.exp(np.log(squares).mean()))
        priors = log_priors(
            space, data.X, names, length_scale=length_scale_prior, signal_variance=signal_variance_prior,
            noise_variance=noise_variance_prior, shape=shape_prior,
        )  # fmt: skip
    if not own_variances:
        validate.warn_of_scales(data.y)
    search = Search(likelihood, OBJECTIVES[objective], space, priors, max_iterations, callback)
    with contextlib.ExitStack() as stack:
        display = callback if isinstance(callback, TrainingProgress) else None
        if progress:
            display = stack.enter_context(show_progress())
            search.callbacks.append(display)
        if display is not None:
            likelihood.watch = display.evaluating
            if search.takes_long:
                display.announce(n, d, search.expected_seconds())
        search.run(n_restarts, random)
        assert search.best is not None  # run() raises otherwise
        parameters = space.natural(search.best.free_theta)
        if display is not None and search.takes_long:
            display.finishing(search.message)
        evaluation = likelihood.evaluate(*parameters, gradient=False)

    return trained_model(
        data, search, evaluation, objective, standardize=bool(standardize), mean_estimation=mean_estimation, labels=labels,
        columns=columns,
    )  # fmt: skip


def _from_model(
    given: dict[str, Given], model: GaussianProcess, kernel: Kernel, length_scale: Array, own_variances: bool
) -> dict[str, Given]:
    """The same with a model's parameters to start from; its length scales are given in the order of X's columns."""
    signal, noise = model._variances[0], given["noise_variance"].warm_start
    unit = 1.0 / signal if own_variances else float(np.mean(model._units**2))
    values: dict[str, Any] = {
        "length_scale": length_scale,
        "signal_variance": signal * unit,
        "noise_variance": noise * unit,
    }
    result = {name: own._replace(warm_start=values.get(name)) for name, own in given.items()}
    if kernel == model.kernel and len(kernel):  # which is what trains a shape parameter that nobody gave a start for
        result["shape"] = Given(None, given["shape"].bounds, tuple(kernel))
    return result


def _noise_of(model: GaussianProcess, labels: tuple[Any, ...] | None) -> Any:
    """A model's noise variance to start from; with labels of groups, one for each."""
    groups = model._noise_groups
    if groups is None:
        return model._variances[1]
    return float(groups.of_rows.mean()) if labels is None else groups.of_labels(labels)


GaussianProcess._fit = staticmethod(fit)  # for `refit`
