"""The search over theta in compiled code, for one stationary term and noise: see ``_training.search``."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastard._arrays import Array
from fastard._engine.workspace import Workspace
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import ParameterSpace, standard_deviations
from fastard._training.search import OBJECTIVES, NoStartError, Search
from fastard.sklearn.recognition import LARGEST, Covariance, Parameter

_MOST_ITERATIONS = 15000  # SciPy's limit for L-BFGS-B

_STATIONARY = 1e-4  # scikit-learn's own tests want the gradient as small as that

_FIXED_AT_ONE = Parameter(np.ones(()), None)
_NONE = Parameter(np.zeros(()), None)


def search_compiled(
    covariance: Covariance,
    X: Array,
    y: Array,
    alpha: Array,
    least: Array,
    starts: list[Array],
    bounds: Array,
    content_with: float,
    threads: int,
) -> tuple[Array, float, Workspace] | None:
    """The best theta of local searches from ``starts``, the loss there, and a workspace to be used again.

    None where there is no such search for the covariance, its bounds or the data, or no start has a likelihood. Warns, as
    scikit-learn does, of each search that did not converge, but where rounding moves the loss by no more than
    ``content_with`` of it.
    """
    found = _space(covariance, X, least, bounds)
    if found is None or (alpha < 0.0).any():
        return None
    space, places = found
    try:
        likelihood = LogMarginalLikelihood(
            X,
            y,
            kernel=space.kernel,
            observation_variance=np.broadcast_to(alpha, len(X)) if alpha.any() else None,
            n_threads=threads,
        )
    except ValueError:  # numbers that scikit-learn was told not to look at
        return None
    search = Search(likelihood, OBJECTIVES["log_marginal_likelihood"], space, [], _MOST_ITERATIONS, None)
    search.stationary = _STATIONARY
    search.remedy = "raise alpha or the noise's lower bound"
    # A start that has no likelihood is the end of its search, as with scikit-learn.
    ends = [it for it in search.outcomes([start[places] for start in starts]) if not isinstance(it, NoStartError)]
    if not ends:
        return None
    for end in ends:
        if not end.converged and not end.rounding <= content_with * max(1.0, abs(end.point.loss)):
            warnings.warn(
                f"the search for the kernel's parameters failed to converge: {end.message}.\n\nYou might also want to scale "
                "the data as shown in:\n    https://scikit-learn.org/stable/modules/preprocessing.html",
                ConvergenceWarning,
                stacklevel=2,
            )
    best = min((end.point for end in ends), key=lambda point: point.loss)
    theta = np.empty(places.size)
    theta[places] = best.free_theta
    with likelihood.workspace() as workspace:
        return theta, best.loss, workspace


def _space(covariance: Covariance, X: Array, least: Array, bounds: Array) -> tuple[ParameterSpace, NDArray[np.int64]] | None:
    """fastard's parameters within scikit-learn's ``bounds``, and the place of each free one in scikit-learn's theta."""
    terms, white, d = covariance.terms, covariance.white, X.shape[1]
    if len(terms) != 1 or len(white) > 1 or d == 0 or not (bounds[:, 0] <= bounds[:, 1]).all():
        return None
    term = terms[0]
    kernel, length_scale = term.kernel, term.length_scale
    if (
        kernel is None
        or length_scale is None
        or len(kernel) > 0
        or max(len(summand.constants) for summand in (*terms, *white)) > 1
    ):
        return None
    signal = term.constants[0] if term.constants else _FIXED_AT_ONE
    noise = white[0].constants[0] if white else _NONE
    start, limits = np.empty(d + 2), np.exp(bounds)
    natural_bounds, fixed, places = np.zeros((d + 2, 2)), np.ones(d + 2, dtype=bool), []
    for where, parameter in ((slice(0, d), length_scale), (slice(d, d + 1), signal), (slice(d + 1, d + 2), noise)):
        start[where] = parameter.value
        if parameter.place is not None:
            fixed[where], natural_bounds[where] = False, limits[parameter.place]
            start[where] = np.clip(start[where], *natural_bounds[where].T)
            places.append(np.atleast_1d(np.arange(len(bounds))[parameter.place]))
    low, high = np.where(fixed, start, natural_bounds.T)
    if not ((low[:d] > least).all() and (low >= 0.0).all() and (high < LARGEST).all()):
        return None  # a search might go where no number is in fastard's range
    first_of_group = np.zeros(d, dtype=np.int64) if isinstance(length_scale.place, int) else np.arange(d)
    space = ParameterSpace(kernel, first_of_group, start, natural_bounds, fixed)
    order = np.concatenate(places)
    space.bounds = bounds[order]  # scikit-learn's very numbers
    space.own_length_scales, space.deviations = False, standard_deviations(X, np.arange(d))
    return space, order
