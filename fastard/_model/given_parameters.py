"""The exact model of data at parameters that no search of its own has found."""

from __future__ import annotations

from typing import Any

from fastard._arrays import Array
from fastard._model.gaussian_process import GaussianProcess
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard.kernels import Kernel


def model_at(
    likelihood: LogMarginalLikelihood,
    length_scale: Array,
    signal_variance: float,
    noise_variance: float,
    kernel: Kernel,
    **told: Any,
) -> GaussianProcess:
    """It takes the likelihood's factor; ``told`` are the attributes that say where the parameters are from, and the names."""
    evaluation = likelihood.evaluate(length_scale, signal_variance, noise_variance, kernel, gradient=False)
    return GaussianProcess(
        kernel=kernel,
        length_scale=length_scale,
        signal_variance=signal_variance,
        noise_variance=noise_variance,
        log_marginal_likelihood=evaluation.log_marginal_likelihood,
        n_threads=likelihood.n_threads,
        _encoding=None,
        _noise_groups=None,
        _X=likelihood.X,
        _y=likelihood.y,
        _observation_variance=likelihood.observation_variance,
        _settings={},
        _alpha=evaluation.alpha,
        _factor=likelihood.release(),
        **told,
    )
