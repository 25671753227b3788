"""Leave-one-out: each target predicted from all the others, Rasmussen & Williams (2006), section 5.4.2."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.loo import contract, log_density
from fastard._engine.terms import Term
from fastard._objectives.likelihood import Arguments, LogMarginalLikelihood, by_theta
from fastard.kernels import Kernel


class LeaveOneOut(NamedTuple):
    """Each training target predicted from all the others; :meth:`fastard.GaussianProcess.loo` makes it.

    Attributes
    ----------
    mean : ndarray, shape (n,), or (n, m) for m > 1 outputs
        Predictive means, in the units of y.
    variance : ndarray, the shape of ``mean``
        Predictive variances of the noisy targets.
    standardized_residuals : ndarray, the shape of ``mean``
        (y - mean) / sqrt(variance): of a model that fits, like independent standard normal numbers.
    log_predictive_density : float
        The sum of the targets' log predictive densities, in nats.
    r2, rmse, coverage : float, or ndarray of shape (m,)
        Of each output: see there.
    """

    mean: Array
    variance: Array
    standardized_residuals: Array
    log_predictive_density: float

    def __repr__(self) -> str:
        r2, rmse, coverage = (
            ", ".join(f"{x:.4g}" for x in np.atleast_1d(each)) for each in (self.r2, self.rmse, self.coverage)
        )
        return (
            f"<LeaveOneOut of {len(self.mean)} targets: r2 {r2}, rmse {rmse}, coverage {coverage} of 95 % intervals, "
            f"log_predictive_density {self.log_predictive_density:.6g}>"
        )

    @property
    def errors(self) -> Array:
        """y - mean, the shape of ``mean``."""
        result: Array = self.standardized_residuals * np.sqrt(self.variance)
        return result

    @property
    def r2(self) -> Any:
        """1 less the mean squared error over the variance of the targets: Q2, the predictive R2; NaN for constant targets."""
        targets = self.mean + self.errors
        total = np.sum((targets - targets.mean(axis=0)) ** 2, axis=0)
        constant = validate.constant(targets.reshape(targets.shape[0], -1)).reshape(total.shape)
        return _number(1.0 - np.sum(self.errors**2, axis=0) / np.where(constant, np.nan, total))

    @property
    def rmse(self) -> Any:
        """The root of the mean squared error, in the units of y."""
        return _number(np.sqrt(np.mean(self.errors**2, axis=0)))

    @property
    def coverage(self) -> Any:
        """The share of targets within their 95 % intervals, mean +- 1.96 sqrt(variance)."""
        return _number(np.mean(np.abs(self.standardized_residuals) <= _NORMAL_95, axis=0))


_NORMAL_95 = 1.959963984540054  # the standard normal distribution's 97.5 % point


def _number(values: Any) -> Any:
    return float(values) if np.ndim(values) == 0 else values


class LooEvaluation(NamedTuple):
    """What one evaluation found."""

    log_predictive_density: float
    log_marginal_likelihood: float
    gradient: Array  # of the density by theta, (d + 2 + p,); empty without the gradient
    alpha: Array  # (n, m)
    precision: Array  # (n,), the diagonal of K^-1


@overload
def loo_log_predictive_density(
    X: ArrayLike, y: ArrayLike, *, eval_gradient: Literal[False] = ..., **arguments: Unpack[Arguments]
) -> float: ...


@overload
def loo_log_predictive_density(
    X: ArrayLike, y: ArrayLike, *, eval_gradient: Literal[True], **arguments: Unpack[Arguments]
) -> tuple[float, Array]: ...


def loo_log_predictive_density(
    X: ArrayLike,
    y: ArrayLike,
    *,
    length_scale: ArrayLike,
    signal_variance: float = 1.0,
    noise_variance: float = 1e-2,
    observation_variance: ArrayLike | None = None,
    basis: ArrayLike | None = None,
    kernel: str | Kernel = "rbf",
    eval_gradient: bool = False,
    n_threads: int | None = None,
) -> float | tuple[float, Array]:
    r"""Leave-one-out log predictive density (the log pseudo-likelihood) of a zero-mean Gaussian process, and its gradient.

    .. math:: L = \sum_j \ln p(y_j \mid X, y_{-j}), \qquad
              \mu_j = y_j - \alpha_j / [K^{-1}]_{jj}, \quad \sigma_j^2 = 1 / [K^{-1}]_{jj}

    All derivatives come from one matrix of weights, dL = <Q, dK> / 2: with B = K^-1, b its diagonal, v = alpha / b and
    e = (1 + alpha^2 / b) / b it is Q = (Bv) alpha' + alpha (Bv)' - B diag(e) B. An evaluation with gradient is 2 n^3 flops
    whatever d, and Q is contracted tile by tile and never stored: one n x n array.

    Parameters
    ----------
    X, y, length_scale, signal_variance, noise_variance, observation_variance, kernel, n_threads
        As for :func:`fastard.log_marginal_likelihood`. With m outputs the value is their sum.
    basis : array-like, shape (n, p), optional
        Values of p basis functions at the points, as there: each point is predicted with coefficients of the mean from the
        others, under a flat prior. P = K^-1 - K^-1 H (H' K^-1 H)^-1 H' K^-1 then stands in the place of K^-1.
    eval_gradient : bool, default False
        Whether to return the gradient too.

    Returns
    -------
    value : float
        In nats. Of a single point: its log density under the prior.
    gradient : ndarray, shape (d + 2 + p,)
        With ``eval_gradient``: derivatives with respect to the natural logarithms of length_scale, signal_variance,
        noise_variance, and the p shape parameters of the kernel.

    Raises
    ------
    ValueError, TypeError
        For a wrong argument; the message names it.
    NotPositiveDefiniteError
        If K is not positive definite to working precision.

    References
    ----------
    Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): equations (5.10) to (5.13), pages 116 and 117.
    """
    likelihood = LogMarginalLikelihood(
        X, y, kernel=validate.as_kernel(kernel), observation_variance=observation_variance, basis=basis, n_threads=n_threads
    )
    scales = validate.length_scales(length_scale, likelihood.X)
    signal = validate.number("signal_variance", signal_variance)
    noise = validate.number("noise_variance", noise_variance, may_equal=True)
    evaluation = evaluate(likelihood, scales, signal, noise, likelihood.kernel, gradient=eval_gradient)
    if not eval_gradient:
        return evaluation.log_predictive_density
    return evaluation.log_predictive_density, evaluation.gradient


def evaluate(
    likelihood: LogMarginalLikelihood,
    length_scale: Array,
    signal_variance: float,
    noise_variance: Any,
    kernel: Kernel,
    *,
    gradient: bool,
    free: Any = None,
    tied: bool = False,
) -> LooEvaluation:
    """One evaluation at valid natural parameters, of the ``likelihood``'s data.

    ``free`` (d,) names the length scales whose derivatives are wanted; all by default. ``tied``: their sum alone.
    """
    threads, watch = likelihood.n_threads, likelihood.watch
    half = None if watch is None or not gradient else lambda done: watch(0.5 * done)  # the gradient takes as long again
    given = (likelihood.y, length_scale, signal_variance, noise_variance, kernel, False, threads)
    with likelihood.workspace() as workspace, np.errstate(all="ignore"):  # an underflow is nobody's error, an overflow is told
        of_marginal = likelihood.evaluate_in(workspace, *given, inverse=True, watch=half)
        value, left_out = log_density(workspace, of_marginal.alpha)
        if likelihood.basis is not None:
            validate.no_leverage(left_out.precision)
        validate.no_overflow("the leave-one-out log density", value)
        result = LooEvaluation(value, of_marginal.log_marginal_likelihood, np.empty(0), of_marginal.alpha, left_out.precision)
        if not gradient:
            return result
        term = Term(kernel, length_scale, signal_variance, free, tied=tied)
        found, diagonal = contract(term, likelihood.X, likelihood.center, workspace, left_out, threads, watch)
    groups = likelihood.noise_groups
    trace = float(diagonal.sum()) if groups is None else np.bincount(groups, diagonal, noise_variance.size)
    return result._replace(gradient=by_theta(found, noise_variance * trace))
