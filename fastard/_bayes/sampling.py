"""sample_posterior(): draw the hyperparameters from their posterior distribution."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._bayes import convergence, nuts
from fastard._bayes.density import LogPosterior, without_bounds
from fastard._bayes.model import BayesianGaussianProcess
from fastard._engine.priors import densities
from fastard._engine.sizes import side_by_side
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import Given, kinds_of
from fastard._parameters import space as parameter_space
from fastard._training.priors import log_priors, ranges
from fastard.kernels import Kernel

# Log-normal priors where none are given: median (of variances in units of the variance of y) and standard deviation of the
# logarithm. That of the noise is BoTorch's.
_DEFAULTS = {"signal_variance": (1.0, 1.0), "noise_variance": (float(np.exp(-4.0)), 1.0), "shape": (1.0, 1.0)}

_GOOD_R_HAT = 1.05  # beyond it the chains disagree


def sample_posterior(
    X: ArrayLike,
    y: ArrayLike,
    *,
    kernel: str | Kernel = "rbf",
    fixed: Mapping[str, Any] | None = None,
    mean: ArrayLike | None = None,
    observation_variance: ArrayLike | None = None,
    length_scale_groups: Any = None,
    length_scale_prior: Any = None,
    signal_variance_prior: Any = None,
    noise_variance_prior: Any = None,
    shape_prior: Any = None,
    n_chains: int = 4,
    n_draws: int = 500,
    n_warmup: int = 500,
    target_accept: float = 0.8,
    rng: Any = None,
    progress: bool = False,
    n_threads: int | None = None,
) -> BayesianGaussianProcess:
    r"""Draw the hyperparameters from their posterior distribution, by the no-U-turn sampler of nutpie.

    Where ``fit`` trusts one optimum, predictions are averaged over all that the data allow, which matters most with few points
    and many inputs. It needs nutpie: ``pip install 'fastard[bayes]'``. Nothing is jittered: where a covariance is not positive
    definite in float64 the density counts as 0, and the result says how often.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Inputs; a DataFrame's column names are kept.
    y : array-like, shape (n,) or (n, m)
        Targets; m outputs share the hyperparameters.
    kernel : str or kernel object, default "rbf"
        As for :func:`fastard.log_marginal_likelihood`; a shape parameter is drawn too.
    fixed : dict, optional
        Values of parameters that are not drawn, in the units of X and y: "length_scale" (one, or d of them),
        "signal_variance", "noise_variance" (may be 0), "shape".
    mean : float or array-like, shape (m,), optional
        The constant mean of the process; by default that of y.
    observation_variance : array-like, shape (n,), optional
        Known variances >= 0 of the targets, added to the diagonal.
    length_scale_groups : "isotropic", sequence of d labels, or dict, optional
        Length scales with equal labels are one parameter, as for :func:`fastard.fit`.
    length_scale_prior : optional
        A prior as for :func:`fastard.fit`, in the units of X, one for each free length scale; or by name, for X divided by the
        range of each column: "dimension_scaled", the default, log-normal with :math:`\mu = \sqrt2 + \tfrac12\ln d` and
        :math:`\sigma = \sqrt3` (Hvarfner et al. 2024); or "saas", under which most inputs do nothing: inverse squared length
        scales :math:`\tau\rho_i` with half-Cauchy scales of 0.1 for all and of 1 for each (Eriksson & Jankowiak 2021).
    signal_variance_prior, noise_variance_prior, shape_prior : optional
        Priors as for :func:`fastard.fit`. By default log-normal: of the signal's variance with median 1 variance of y, of the
        noise's with median exp(-4) of it, as BoTorch has it, of a shape parameter with median 1; the standard deviation of the
        logarithm is 1.
    n_chains, n_draws, n_warmup : int
        Chains, and of each the draws that are kept and those before, in which the sampler adapts; by default 4, 500 and 500.
        Below 500 points chains run side by side, one thread to each, and the draws do not depend on how many.
    target_accept : float, default 0.8
        Nearer to 1 the steps are smaller, which helps where trajectories diverge.
    rng : int, numpy.random.Generator or RandomState, optional
        An integer gives the same draws again, with the same release of nutpie.
    progress : bool, default False
        Whether to show how many draws have been made, on stderr; with rich (``pip install 'fastard[cli]'``) as one live line.
    n_threads : int, optional
        Threads in all; all available by default.

    Returns
    -------
    BayesianGaussianProcess
        Draws, diagnostics, and predictions averaged over them.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it. What a prior that is a function raises comes as it is.
    NotPositiveDefiniteError
        If the covariance is not positive definite where the chains are to begin.
    ImportError
        Where nutpie is not installed.
    KeyboardInterrupt
        On Ctrl-C, once the evaluations under way have ended. The draws until then are lost.

    Warns
    -----
    UserWarning
        Where chains disagree (R-hat above 1.05), or trajectories diverged; for y or ``observation_variance`` with the pandas
        index of X in another order: rows go by position.

    Notes
    -----
    The sampler moves the logarithms: the density is that of the natural parameters times their product, the Jacobian, which
    ``fit`` leaves out, as maxima a posteriori usually do.

    References
    ----------
    Hoffman & Gelman, J. Mach. Learn. Res. 15 (2014), 1593-1623 (the sampler); Eriksson & Jankowiak, High-dimensional Bayesian
    optimization with sparse axis-aligned subspaces, UAI 2021; Hvarfner, Hellsten & Nardi, Vanilla Bayesian optimization
    performs great in high dimensions, ICML 2024.
    """
    validate.warn_of_row_order(X, y=y, observation_variance=observation_variance)
    feature_names, target_names = validate.names_of(X), validate.names_of_targets(y)
    X = validate.inputs(X)
    n, d = X.shape
    y = validate.targets(y, n, d).reshape(n, -1)
    centred, y_mean = validate.centred(y) if mean is None else validate.less_mean(y, mean)
    likelihood = LogMarginalLikelihood(
        X, centred, kernel=validate.as_kernel(kernel), observation_variance=observation_variance, n_threads=n_threads
    )
    kernel = likelihood.kernel
    n_chains = validate.count("n_chains", n_chains, least=1)
    n_draws = validate.count("n_draws", n_draws, least=4)  # halves of two, for the diagnostics
    n_warmup = validate.count("n_warmup", n_warmup, least=1)
    target_accept = validate.probability("target_accept", target_accept)
    seed = int(validate.generator(rng).integers(2**63))
    density = log_posterior(
        likelihood,
        fixed,
        length_scale_groups,
        {
            "length_scale": length_scale_prior,
            "signal_variance": signal_variance_prior,
            "noise_variance": noise_variance_prior,
            "shape": shape_prior,
        },
        feature_names,
    )
    density.check_start()

    at_a_time, threads = side_by_side(n, n_chains, likelihood.n_threads)
    of_chains: list[LogPosterior] = []

    def density_of_chain() -> LogPosterior:
        of_chains.append(density.on_threads(threads))
        return of_chains[-1]

    chains = nuts.sample(
        density_of_chain,
        density.start,
        n_chains=n_chains,
        n_draws=n_draws,
        n_warmup=n_warmup,
        at_a_time=at_a_time,
        target_accept=target_accept,
        seed=seed,
        progress=progress,
    )
    _warn(chains, target_accept)
    natural, global_scale = density.draws(chains.coordinates)
    return BayesianGaussianProcess(
        kernel=kernel,
        length_scale=natural[..., :d],
        signal_variance=natural[..., d],
        noise_variance=natural[..., d + 1],
        shape=natural[..., d + 2 :],
        global_scale=global_scale,
        log_posterior=chains.log_density,
        diverging=chains.diverging,
        n_evaluations=sum(each.n_evaluations for each in of_chains),
        n_not_positive_definite=sum(each.n_singular for each in of_chains),
        feature_names=feature_names,
        target_names=target_names,
        n_threads=likelihood.n_threads,
        _X=likelihood.X,
        _y=likelihood.y,
        _y_mean=y_mean,
        _observation_variance=likelihood.observation_variance,
    )


def log_posterior(
    likelihood: LogMarginalLikelihood,
    fixed: Mapping[str, Any] | None,
    groups: Any,
    given: Mapping[str, Any],
    columns: list[str] | None,
) -> LogPosterior:
    """From the arguments of `sample_posterior`; ``given``: the priors by the names of the parameters' kinds."""
    X, kernel = likelihood.X, likelihood.kernel
    d = X.shape[1]
    known = validate.fixed_parameters(fixed, kinds_of(d), kernel)
    bounded = parameter_space(X, likelihood.y, kernel, _given(known, kernel), groups, True, columns)
    space = without_bounds(bounded)
    validate.something_to_sample(space.start.size)
    of_scales = given["length_scale"]
    is_saas = isinstance(of_scales, str) and of_scales == "saas"
    if is_saas:
        of_scales = None
    elif of_scales is None:
        of_scales = "dimension_scaled"
    of_scales = validate.by_column("length_scale_prior", of_scales, columns, d, [None] * d)
    validate.a_prior_for_each("length_scale_prior", of_scales, space.first_of_group, space.is_free[:d])
    priors = list(log_priors(space, X, columns, **{**given, "length_scale": of_scales}))
    for name, where in kinds_of(d).items():
        if name in _DEFAULTS and given[name] is None and space.is_free[where].any():
            median, deviation = _DEFAULTS[name]
            size = space.number[where].size
            scale = np.full(size, median if name == "shape" else median * bounded.unit_of_variance)
            priors.append((name, where, densities(["lognorm"] * size, np.zeros(size), scale, np.full(size, deviation))))
    if not is_saas or not space.is_length_scale.any():
        return LogPosterior(likelihood, space, priors)
    own_ranges = ranges(X, space.first_of_group)[np.minimum(space.first_places, d - 1)]
    return LogPosterior(likelihood, space, priors, own_ranges)


def _given(fixed: dict[str, Any], kernel: Kernel) -> dict[str, Given]:
    """As `fit` takes them."""
    given = {name: Given(fixed[name], "fixed") if name in fixed else Given(None, None) for name in kinds_of(0)}
    return given if "shape" in fixed else {**given, "shape": Given(tuple(kernel) or None, None)}


def _warn(chains: nuts.Chains, target_accept: float) -> None:
    """Of what makes the draws unreliable."""
    worst = float(np.max(convergence.r_hat(chains.coordinates)))
    if worst > _GOOD_R_HAT:
        warnings.warn(
            f"the chains disagree: R-hat is {worst:.2f}, and should be near 1; raise n_warmup and n_draws", stacklevel=3
        )
    if chains.diverging.any():
        warnings.warn(
            f"{int(chains.diverging.sum())} of {chains.diverging.size} trajectories diverged, near which a part of the "
            f"posterior may be missed; raise target_accept, {target_accept:g} now, or give tighter priors",
            stacklevel=3,
        )
