"""The trained Gaussian process: predictive mean, variance and covariance, Rasmussen & Williams (2006), Algorithm 2.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._engine import Term
from fastard._validation import Array
from fastard.covariance import cross_covariance
from fastard.kernels import Kernel
from fastard.leave_one_out import LeaveOneOut
from fastard.leave_one_out import evaluate as evaluate_loo
from fastard.likelihood import LogMarginalLikelihood

FIXED, AT_BOUND = -1, -2  # among a model's slots

_BLOCK_ENTRIES = 2**22  # 32 MB of cross-covariance at a time: larger blocks are no faster at n = 1000 to 4000


@dataclass(repr=False, eq=False)
class GaussianProcess:
    """A trained Gaussian process with a constant mean, the mean of the targets; :func:`fastard.fit` makes it.

    Everything is in the units of the X and y that it was trained on.

    Attributes
    ----------
    kernel : kernel object
        With trained shape parameters.
    length_scale : ndarray, shape (d,)
    signal_variance, noise_variance : float
    log_marginal_likelihood : float
        Of ``y - y.mean(axis=0)``, in nats; ``fastard.log_marginal_likelihood`` reproduces it.
    objective : str
        What training maximised, "log_marginal_likelihood" or "loo".
    n_evaluations : int
        Evaluations of the objective and its gradient in training, restarts included.
    converged : bool
        Whether the search that found the best parameters ended at a stationary point or a bound.
    message : str
        Why the search ended.
    feature_names : list of str or None
        The columns of the DataFrame that it was trained on.
    n_threads : int
        Threads for the compiled loops of ``predict``.
    """

    kernel: Kernel
    length_scale: Array
    signal_variance: float
    noise_variance: float
    log_marginal_likelihood: float
    objective: str
    n_evaluations: int
    converged: bool
    message: str
    feature_names: list[str] | None
    n_threads: int
    _X: Array
    _y: Array  # (n, m), less the mean
    _y_mean: Array  # (m,)
    _observation_variance: Array | None  # (n,)
    _slots: NDArray[np.int64]  # (d + 2 + p,), which free parameter each one is: tied ones share; or FIXED, AT_BOUND
    _alpha: Array  # (n, m)
    _factor: Array  # (n, n), L in the lower triangle of its transpose

    @property
    def relevance(self) -> Array:
        """Standard deviation of each input over its length scale, scaled to sum 1, shape (d,).

        It says how fast the function varies along an input, compared with the other inputs, over the spread of the data.
        It is not a share of variance explained: a nearly linear influence, however strong, has a long length scale and a
        small relevance; inputs that move together share or swap theirs; and only inputs of the same model compare. A
        constant input has 0.
        """
        rates: Array = np.std(self._X, axis=0) / self.length_scale
        rates[np.ptp(self._X, axis=0) == 0.0] = 0.0
        total = rates.sum()
        return rates / total if total > 0.0 else rates

    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False, include_noise: bool = False
    ) -> Array | tuple[Array, Array]:
        r"""Predict at new points.

        .. math:: \bar f_* = K_*^\top \alpha + \bar y, \qquad
                  \mathrm{cov}(f_*) = K_{**} - V^\top V, \quad V = L^{-1} K_*

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points. They are taken in blocks: mean and standard deviation need no n x q array.
        return_std, return_cov : bool, default False
            Whether to return standard deviations, or the (q, q) covariance, beside the mean. Not both.
        include_noise : bool, default False
            Whether they are of new noisy targets; otherwise of the function itself.

        Returns
        -------
        mean : ndarray, shape (q,), or (q, m) for m > 1 outputs
        std : ndarray, the shape of ``mean``; with ``return_std``
            A variance that rounding made negative is 0.
        cov : ndarray, shape (q, q), or (q, q, m); with ``return_cov``

        Raises
        ------
        ValueError, TypeError
            For wrong points, for a DataFrame whose columns are not those of training in their order, or for both
            ``return_std`` and ``return_cov``.

        References
        ----------
        Rasmussen & Williams (2006), equations (2.23) and (2.24), page 16, and Algorithm 2.1, page 19.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov are both true; ask for one: the variances are cov's diagonal")
        validate.same_names(X, self.feature_names)
        points = validate.inputs(X, dimensions=self._X.shape[1])
        validate.spread(validate.least_length_scales(np.vstack([points, self._X[:1]])), self.length_scale)
        term = Term(self.kernel, self.length_scale, self.signal_variance)
        noise = self.noise_variance if include_noise else 0.0
        q, m = points.shape[0], self._alpha.shape[1]
        mean = np.empty((q, m))
        spread = np.empty((q, q)) if return_cov else np.empty(q)
        step = q if return_cov else max(1, _BLOCK_ENTRIES // self._X.shape[0])
        for start in range(0, q, step):
            block = slice(start, start + step)
            cross = cross_covariance(term, points[block], self._X, self.n_threads)
            mean[block] = cross @ self._alpha + self._y_mean
            if return_cov:
                solved = self._solve_factor(cross)
                spread[:] = cross_covariance(term, points, points, self.n_threads) - solved.T @ solved
                spread.ravel()[:: q + 1] += noise
            elif return_std:
                solved = self._solve_factor(cross)
                variance = self.signal_variance + noise - np.einsum("nq,nq->q", solved, solved)
                spread[block] = np.sqrt(np.maximum(variance, 0.0))
        if m == 1:
            mean = mean[:, 0]
        elif return_std or return_cov:  # the outputs share one covariance
            spread = np.repeat(spread[..., np.newaxis], m, axis=-1)
        return (mean, spread) if return_std or return_cov else mean

    def loo(self) -> LeaveOneOut:
        r"""Predict each training target from all the others, at the trained parameters and mean.

        .. math:: \mu_j = y_j - \alpha_j / [K^{-1}]_{jj}, \qquad \sigma_j^2 = 1 / [K^{-1}]_{jj}

        n^3 flops for all of them, and one n x n array beside the model's.

        Returns
        -------
        LeaveOneOut
            Named tuple of mean, variance, standardized_residuals and log_predictive_density.

        References
        ----------
        Rasmussen & Williams (2006), equations (5.10) to (5.12), pages 116 and 117.
        """
        likelihood = LogMarginalLikelihood(
            self._X,
            self._y,
            kernel=self.kernel,
            observation_variance=self._observation_variance,
            n_threads=self.n_threads,
        )
        parameters = (self.length_scale, self.signal_variance, self.noise_variance, self.kernel)
        found = evaluate_loo(likelihood, *parameters, gradient=False)
        variance = np.repeat(1.0 / found.precision[:, np.newaxis], self._y.shape[1], axis=1)
        below = found.alpha * variance  # y - mu
        columns = (self._y - below + self._y_mean, variance, below / np.sqrt(variance))
        mean, variance, residuals = (column[:, 0] if self._y.shape[1] == 1 else column for column in columns)
        return LeaveOneOut(mean, variance, residuals, found.log_predictive_density)

    def _solve_factor(self, cross: Array) -> Array:
        """V = L^-1 K_*, (n, q), in the place of ``cross``."""
        from scipy.linalg.blas import dtrsm

        return dtrsm(1.0, self._factor.T, cross.T, lower=1, overwrite_b=1)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        n, d = self._X.shape
        state = "converged" if self.converged else "not converged"
        return (
            f"<GaussianProcess {self.kernel!r} on {n} points in {d} dimensions, "
            f"log marginal likelihood {self.log_marginal_likelihood:.6g}, {state}>"
        )
