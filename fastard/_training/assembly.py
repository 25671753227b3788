"""From the best point of a search to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard._engine.evaluate import Evaluation
from fastard._model.additive import AdditiveGaussianProcess
from fastard._model.encoding import encoded_names
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.noise_groups import NoiseGroups
from fastard._model.own_variances import in_own_units
from fastard._model.trend import trained
from fastard._objectives.terms import names_in_theta
from fastard._training.data import TrainingData
from fastard._training.search import Search, at_the_end
from fastard._training.terms import of_sum


def trained_model(
    data: TrainingData,
    search: Search,
    evaluation: Evaluation,
    objective: str,
    *,
    standardize: bool,
    mean_estimation: str,
    labels: tuple[Any, ...] | None,
    columns: Sequence[NDArray[np.int64]] | None,
) -> GaussianProcess:
    """Of an evaluation at the best point, whose factor is still in the likelihood.

    ``labels`` are those of groups of noise; ``columns`` of each term of a sum, before they were encoded.
    """
    space, likelihood = search.space, search.likelihood
    assert search.best is not None
    parameters = space.natural(search.best.free_theta)
    length_scale, signal_variances, noise_variance, kernel = parameters
    signal: Any = float(np.sum(signal_variances))
    noise: Any = 0.0 if labels else noise_variance
    trend, factor, alpha, rest = data.trend, likelihood.release(), evaluation.alpha, likelihood.y
    settings: dict[str, Any] = {
        f"{kind}_bounds": bounds
        for kind, bounds in space.given_bounds.items()
        if (kind != "noise_variance" or any(bounds)) and not (likelihood.own_variances and kind == "signal_variance")
    }
    settings |= {"objective": objective, "standardize": standardize}
    if data.mean != "constant":
        settings |= {"mean": data.mean, "mean_estimation": mean_estimation}
    if trend is not None:
        trend, rest, alpha = trained(trend, factor, data.y)
    ratio: float | None = None
    if likelihood.own_variances:
        settings["output_variances"], ratio = "own", noise
        coefficients = 0 if trend is None or mean_estimation == "ml" else len(trend.factor)
        signal, rest, alpha = in_own_units(rest, alpha, len(rest) - coefficients)
        noise = ratio * signal
    groups = likelihood.noise_groups
    slots, message = at_the_end(
        space,
        search.best.free_theta,
        search.message,
        lambda: names_in_theta(data.X.shape[1], likelihood.kernel, encoded_names(data.feature_names, data.encoding), labels),
    )
    model_class: type[GaussianProcess] = GaussianProcess
    more: dict[str, Any] = {}
    if columns is None:
        settings["length_scale_groups"] = space.column_groups.tolist()
    else:
        model_class, more = AdditiveGaussianProcess, of_sum(space, parameters, columns)
    return model_class(
        kernel=kernel,
        length_scale=space.by_column(length_scale),
        signal_variance=signal,
        noise_variance=noise,
        log_marginal_likelihood=evaluation.log_marginal_likelihood,
        objective=f"{objective} with priors" if search.priors else objective,
        n_evaluations=search.n_evaluations,
        converged=search.converged,
        message=message,
        search_values=search.values,
        feature_names=data.feature_names,
        target_names=data.target_names,
        n_threads=likelihood.n_threads,
        _encoding=data.encoding,
        _X=likelihood.X,
        _y=rest,
        _y_mean=data.y_mean,
        _observation_variance=likelihood.observation_variance,
        _noise_groups=None if labels is None or groups is None else NoiseGroups(labels, noise_variance, groups),
        _slots=slots,
        _settings=settings,
        _alpha=alpha,
        _factor=factor,
        _trend=trend,
        _noise_ratio=ratio,
        **more,
    )
