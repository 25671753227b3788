"""The log posterior density of the hyperparameters over coordinates without bounds, and its gradient."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine import descent
from fastard._engine.evaluate import Evaluation
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import FIXED, Parameters, ParameterSpace
from fastard._training.priors import Priors, log_density
from fastard._training.search import compiled_loss

_FARTHEST = 1e100  # times the start, or 1 over it: no prior that is meant leaves anything beyond

SAAS_SCALE = 0.1  # of the half-Cauchy global scale


class Draws(NamedTuple):
    """Natural parameters of many coordinates, with the same leading dimensions each."""

    theta: Array  # (..., d + 2 + p)
    global_scale: Array | None  # (...), of SAAS


def without_bounds(space: ParameterSpace) -> ParameterSpace:
    """The same parameters, starts and ties, between bounds that a sampler does not meet."""
    theta, number, low, _ = space.natural_arrays
    fixed = number == FIXED
    start = np.where(fixed, low, np.exp(theta))
    limits = start[:, np.newaxis] * np.array([1.0 / _FARTHEST, _FARTHEST])
    return ParameterSpace(space.kernel, space.first_of_group, start, limits, fixed)


class LogPosterior:
    r"""The log marginal likelihood, the priors' log densities and the logarithm of the Jacobian, as a sampler needs it.

    The coordinates are the logarithms of the free parameters x: :math:`p(\ln x) = p(x)\,x`. With ``saas_ranges`` (free,), the
    ranges of the columns that the free length scales belong to, those of the length scales are the logarithms of the local
    scales instead, and that of the global scale comes last:

    .. math:: r_i^2 / \lambda_i^2 = \tau \rho_i, \qquad \tau \sim C^+(0.1), \quad \rho_i \sim C^+(1)

    (Eriksson & Jankowiak 2021, section 4, for inputs in the unit cube.)

    A call returns the value and the gradient; -inf and zeros where there is no density. It counts.
    """

    def __init__(
        self, likelihood: LogMarginalLikelihood, space: ParameterSpace, priors: Priors, saas_ranges: Array | None = None
    ) -> None:
        self.likelihood, self.space, self.priors = likelihood, space, priors
        self.n_evaluations = self.n_singular = 0
        self._loss = compiled_loss(likelihood, space, priors)
        self._of_scales = space.is_length_scale
        self._log_ranges = None if saas_ranges is None else np.log(saas_ranges)
        self.size = space.start.size + (saas_ranges is not None)
        self._low, self._high = space.bounds.T
        # Whose own logarithms are coordinates: their Jacobians count.
        self._jacobian = np.ones(space.start.size) if saas_ranges is None else np.where(self._of_scales, 0.0, 1.0)

    def on_threads(self, threads: int) -> LogPosterior:
        """The same with buffers and counts of its own."""
        other = LogPosterior(self.likelihood.on_threads(threads), self.space, self.priors)
        other._log_ranges, other.size, other._jacobian = self._log_ranges, self.size, self._jacobian
        return other

    @property
    def start(self) -> Array:
        if self._log_ranges is None:
            return self.space.start
        return np.append(np.where(self._of_scales, 0.0, self.space.start), math.log(SAAS_SCALE))

    def free_theta(self, coordinates: Array) -> Array:
        """Logarithms of the free parameters (..., free), of coordinates (..., size)."""
        if self._log_ranges is None:
            return coordinates
        own, of_global = coordinates[..., :-1], coordinates[..., -1:]
        return np.where(self._of_scales, self._log_ranges - 0.5 * (own + of_global), own)

    def __call__(self, coordinates: Array) -> tuple[float, Array]:
        self.n_evaluations += 1
        free = self.free_theta(coordinates)
        found = self._at(free) if ((free > self._low) & (free < self._high)).all() else None
        if found is None:
            return -math.inf, np.zeros(self.size)
        value, gradient = found[0] + float(self._jacobian @ free), found[1] + self._jacobian
        if self._log_ranges is not None:
            more, gradient = self._saas(coordinates, gradient)
            value += more
        if not (math.isfinite(value) and np.isfinite(gradient).all()):
            return -math.inf, np.zeros(self.size)
        return value, gradient

    def _at(self, free: Array) -> tuple[float, Array] | None:
        """Likelihood and priors, and the gradient by the free logarithms; None where there is no density."""
        if self._loss is not None:
            with self.likelihood.workspace() as workspace:
                outcome = self._loss.evaluate(np.ascontiguousarray(free), workspace)
            if outcome == descent.FOUND:
                return -float(self._loss.result[0]), -self._loss.result[1:]
            if outcome != descent.NEEDS_PYTHON:
                self.n_singular += outcome == descent.SINGULAR
                return None
        parameters = self.space.natural(free)
        of_prior, slope, objection = log_density(self.priors, parameters, self.space.size)
        if objection:
            return None
        try:
            evaluation = self._evaluate(parameters)
        except ValueError:  # not positive definite, or an overflow
            self.n_singular += 1
            return None
        gradient = self.likelihood.assemble(evaluation, parameters[2]) + slope
        return evaluation.log_marginal_likelihood + of_prior, self.space.free_gradient(gradient)

    def _evaluate(self, parameters: Parameters) -> Evaluation:
        space = self.space
        return self.likelihood.evaluate(*parameters, gradient=True, free=space.free_length_scales, tied=space.isotropic)

    def check_start(self) -> None:
        """Raise what is wrong where the chains are to begin."""
        parameters = self.space.natural(self.free_theta(self.start))
        validate.density_at_start(log_density(self.priors, parameters, self.space.size)[2])
        self._evaluate(parameters)

    def _saas(self, coordinates: Array, gradient: Array) -> tuple[float, Array]:
        """The scales' log density, Jacobian included; and the whole gradient, from that by the free logarithms."""
        is_scale = np.append(self._of_scales, True)
        z = coordinates[is_scale]
        z[-1] -= math.log(SAAS_SCALE)  # in units of its scale
        # The half-Cauchy density 2 / pi / (1 + x^2) of x = exp(z), times x.
        twice = np.logaddexp(0.0, 2.0 * z)
        value = float((math.log(2.0 / math.pi) + z - twice).sum())
        of_scales = gradient[self._of_scales]
        result = np.append(np.where(self._of_scales, -0.5 * gradient, gradient), -0.5 * of_scales.sum())
        result[is_scale] += 1.0 - 2.0 * np.exp(2.0 * z - twice)
        return value, result

    def draws(self, coordinates: Array) -> Draws:
        """The natural parameters."""
        theta, number, low, _ = self.space.natural_arrays
        free = self.free_theta(coordinates)
        natural = np.empty((*coordinates.shape[:-1], theta.size))
        fixed = number == FIXED
        natural[..., fixed] = low[fixed]
        natural[..., ~fixed] = np.exp(free[..., number[~fixed]])
        return Draws(natural, None if self._log_ranges is None else np.exp(coordinates[..., -1]))
