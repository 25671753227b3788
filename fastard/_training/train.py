"""train(): the search for given numbers, with a constant mean that may be trained, for the integrations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import ParameterSpace
from fastard._training.priors import PriorRow, of_rows
from fastard._training.search import OBJECTIVES, Search
from fastard.kernels import Kernel


class Optimum(NamedTuple):
    """Where a search has ended, in natural parameters."""

    length_scale: Array
    signal_variance: float
    noise_variance: float
    kernel: Kernel
    mean: float
    objective: float  # the log marginal likelihood and the priors' log densities, in nats
    converged: bool
    message: str


def train(
    X: Array,
    y: Array,
    space: ParameterSpace,
    priors: Sequence[PriorRow] = (),
    *,
    observation_variance: Array | None = None,
    mean: float = 0.0,
    trains_mean: bool = False,
    length_scale_factors: Sequence[float] = (1.0,),
    max_iterations: int = 1000,
) -> Optimum:
    """Maximise the log marginal likelihood of y (n,) with a constant mean, and the priors, from the start in ``space``.

    There is one search for each of the factors, from as many times the length scales' start; the best end counts.

    Raises
    ------
    NotPositiveDefiniteError, ValueError
        If there is no value at any start.
    KeyboardInterrupt
        As it comes: whoever asked gets no half of a search.
    """
    likelihood = LogMarginalLikelihood(
        X, y if trains_mean else y - mean, kernel=space.kernel, observation_variance=observation_variance
    )
    objective: Any = OBJECTIVES["log_marginal_likelihood"]
    if trains_mean:
        space = _SpaceWithMean(space, mean, float(np.std(y)) or 1.0)
        objective = space.objective
    log_priors = of_rows(priors)
    first, best, failure = space.start, None, None
    for factor in length_scale_factors if space.is_length_scale.any() else length_scale_factors[:1]:
        space.start = np.clip(np.where(space.is_length_scale, first + math.log(factor), first), *space.bounds.T)
        search = Search(likelihood, objective, space, log_priors, max_iterations, None)
        try:
            search.run(0)
        except ValueError as error:
            failure = failure or error
            continue
        if search.interrupted:
            raise KeyboardInterrupt
        assert search.best is not None  # run() raises otherwise
        if best is None or best.best is None or search.best.loss < best.best.loss:
            best = search
    space.start = first
    if best is None or best.best is None:
        assert failure is not None
        raise failure
    found: Any = space.natural(best.best.free_theta)
    length_scale, signal_variance, noise_variance, kernel, *own_mean = found
    return Optimum(
        length_scale=length_scale,
        signal_variance=signal_variance,
        noise_variance=noise_variance,
        kernel=kernel,
        mean=own_mean[0] if trains_mean else mean,
        objective=-best.best.loss,
        converged=best.converged,
        message=best.message,
    )


class _SpaceWithMean(ParameterSpace):
    """A space with one free parameter more, the last one: the constant mean, in units of the targets' standard deviation."""

    def __init__(self, space: ParameterSpace, mean: float, unit: float) -> None:
        self.__dict__.update(space.__dict__)
        self._of_covariance, self.unit_of_mean = space, unit
        self.size = space.size + 1
        self.start = np.append(space.start, mean / unit)
        self.bounds = np.vstack([space.bounds, [-np.inf, np.inf]])
        self.is_length_scale, self.first_places = np.append(space.is_length_scale, False), np.append(space.first_places, -1)

    def natural(self, free_theta: Array) -> Any:
        """length_scale, signal_variance, noise_variance, the kernel, and the mean."""
        return *self._of_covariance.natural(free_theta[:-1]), float(free_theta[-1]) * self.unit_of_mean

    def free_gradient(self, gradient: Array) -> Array:
        return np.append(self._of_covariance.free_gradient(gradient[:-1]), gradient[-1])

    def objective(
        self, likelihood: LogMarginalLikelihood, parameters: Any, free: NDArray[np.bool_] | None, tied: bool
    ) -> tuple[float, float, Array]:
        """As the search takes it; the derivative with respect to the mean is the sum of alpha = K^-1 (y - mean)."""
        *own, mean = parameters
        with likelihood.workspace() as workspace:
            arguments = (workspace, likelihood.y - mean, *own, True, likelihood.n_threads, free, tied)
            evaluation = likelihood.evaluate_in(*arguments)
        value = evaluation.log_marginal_likelihood
        gradient = np.append(likelihood.assemble(evaluation, own[2]), self.unit_of_mean * float(np.sum(evaluation.alpha)))
        return value, value, gradient
