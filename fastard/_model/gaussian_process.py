"""The trained Gaussian process: predictive mean, variance and covariance, Rasmussen & Williams (2006), Algorithm 2.1."""

from __future__ import annotations

import math
import operator
import os
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._blas import extend_factor, semidefinite_factor, solve
from fastard._engine.evaluate import equal_rows, failure_at, least_pivot
from fastard._engine.posterior import DEVIATION, GRADIENT, MEAN, Posterior, Predictions, posterior, predict
from fastard._engine.terms import Term, central, scaled
from fastard._model import prediction, standard_errors
from fastard._model import trend as trends
from fastard._model.encoding import Encoding, encoded_names, places
from fastard._model.names import input_names, output_names
from fastard._model.noise_groups import NoiseGroups
from fastard._model.relevance import relevance
from fastard._model.standard_errors import Note, StandardErrors
from fastard._model.trend import MeanCoefficients, Trend
from fastard._objectives.leave_one_out import LeaveOneOut
from fastard._objectives.leave_one_out import evaluate as evaluate_loo
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel

if TYPE_CHECKING:
    from fastard._model.effects import Effects
    from fastard._model.sensitivity import SobolIndices
    from fastard._model.summary import Summary

# What predictions are made from, and what that was made of; not an attribute, so that nothing copies or pickles it.
_MOST_WITH_ERRORS = 2000  # points, of which a plot waits for standard errors

_POSTERIORS: weakref.WeakKeyDictionary[GaussianProcess, tuple[tuple[Any, ...], Posterior]] = weakref.WeakKeyDictionary()


@dataclass(repr=False, eq=False)
class GaussianProcess:
    """A trained Gaussian process, by default with a constant mean, that of the targets; :func:`fastard.fit` makes it.

    Everything is in the units of the X and y that it was trained on.

    Attributes
    ----------
    kernel : kernel object
        With trained shape parameters.
    length_scale : ndarray, shape (d,)
        Of a category in the unit in which two of its levels are sqrt(2) apart; of a periodic input in radii of its circle.
    signal_variance, noise_variance : float, or ndarray of shape (m,) where each output has its own
        ``noise_variance`` is 0 where the noise is by groups, each of which has its own in ``noise_variances``.
    log_marginal_likelihood : float
        Of y less its mean in training, in nats; ``fastard.log_marginal_likelihood`` reproduces it (with ``basis``, where the
        mean has basis functions; output by output, where each has its own variances).
    objective : str
        What training maximised, "log_marginal_likelihood" or "loo", and " with priors" where there were some.
    n_evaluations : int
        Evaluations of the objective and its gradient in training, restarts included.
    converged : bool
        Whether the search that found the best parameters ended at a stationary point or a bound.
    message : str
        Why the search ended.
    search_values : list of float
        The objective where each search ended, the one from the start and then the restarts, in nats; NaN where one could not
        begin. Of searches that were stopped, those before.
    feature_names : list of str or None
        The columns of the DataFrame that it was trained on.
    target_names : list of str or None
        The name of the Series, or the columns of the DataFrame, of its targets.
    n_threads : int
        Threads for the compiled loops of ``predict``.
    """

    kernel: Kernel
    length_scale: Array
    signal_variance: Any
    noise_variance: Any
    log_marginal_likelihood: float
    objective: str
    n_evaluations: int
    converged: bool
    message: str
    search_values: list[float]
    feature_names: list[str] | None
    target_names: list[str] | None
    n_threads: int
    _encoding: Encoding | None  # of categories and periodic columns
    _X: Array  # encoded, (n, d')
    _y: Array  # (n, m), less the mean, in _units
    _y_mean: Array  # (m,)
    _observation_variance: Array | None  # (n,)
    _noise_groups: NoiseGroups | None
    # (d' + 2 + p,), with g noise groups (d' + 1 + g + p,): which free parameter each one is, tied ones share; or FIXED,
    # AT_BOUND, AT_UPPER_BOUND
    _slots: NDArray[np.int64]
    _settings: dict[str, Any]  # arguments of `fit` for :meth:`refit`, as JSON has them
    _alpha: Array  # (n, m), in 1 / _units
    _factor: Array  # (n, n), L in the lower triangle of its transpose
    _trend: Trend | None = None  # a mean with basis functions; then _y_mean is 0
    _noise_ratio: float | None = None  # where each output has its own variances: its noise's over its signal's

    # fastard.fit, which stands above this room, and puts itself here.
    _fit: ClassVar[Callable[..., GaussianProcess]]

    @property
    def input_names(self) -> list[str]:
        """``feature_names``, or x0, x1 ... where there are none."""
        d = self._X.shape[1] if self._encoding is None else len(self._encoding.kinds)
        return input_names(self.feature_names, d)

    @property
    def output_names(self) -> list[str]:
        """``target_names``, or y, or y0, y1 ... where there are none."""
        return output_names(self.target_names, self._y.shape[1])

    @property
    def noise_variances(self) -> dict[Any, float]:
        """Of each noise group, by its label, in units of y squared; empty where there are none.

        Where each output has its own variances, arrays (m,).
        """
        groups = self._noise_groups
        if groups is None:
            return {}
        unit = 1.0 if self._noise_ratio is None else self.signal_variance
        return {label: ratio * unit for label, ratio in zip(groups.labels, groups.variances.tolist(), strict=True)}

    @property
    def relevance(self) -> Array:
        """Standard deviation of each input over its length scale, scaled to sum 1, shape (d,).

        It says how wiggly the function is along an input, compared with the other inputs, over the spread of the data, and not
        how much it changes. Shares of the variance are from :meth:`sobol`: a nearly linear influence, however strong, has a
        long length scale and a small relevance; inputs that move together share or swap theirs; and only inputs of the same
        model compare. A constant input has 0, also one whose entries differ by rounding errors alone. A category's, or a
        periodic input's, standard deviation is the root of the sum of the variances of the columns that it becomes.
        """
        return relevance(self._X, self.length_scale, None if self._encoding is None else self._encoding.first)

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        return_cov: bool = False,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        basis: ArrayLike | None = None,
        noise_groups: Any = None,
    ) -> Array | tuple[Array, Array]:
        r"""Predict at new points.

        .. math:: \bar f_* = K_*^\top \alpha + \bar y, \qquad
                  \mathrm{cov}(f_*) = K_{**} - V^\top V, \quad V = L^{-1} K_*

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points. They are taken in blocks: mean and standard deviation need no n x q array. A DataFrame's columns are
            taken by their names, in whatever order they stand.
        return_std, return_cov : bool, default False
            Whether to return standard deviations, or the (q, q) covariance, beside the mean. Not both.
        include_noise : bool, default False
            Whether they are of new noisy targets, whose variances have ``noise_variance`` added: where a new measurement will
            fall. Otherwise of the function itself: how well it is known.
        observation_variance : float or array-like, shape (q,), optional
            Known variances of the new targets, added too; only with ``include_noise``. A model that was trained with such
            needs them: pass 0 for targets with ``noise_variance`` alone.
        basis : array-like, shape (q, p), optional
            The basis functions at the points, of a model that was trained with an array of them as its mean.
        noise_groups : array-like, shape (q,), or one label, optional
            The groups of the new targets; with ``include_noise``, of a model that was trained with groups.

        Returns
        -------
        mean : ndarray, shape (q,), or (q, m) for m > 1 outputs
        std : ndarray, the shape of ``mean``; with ``return_std``
            0 where rounding left no positive variance; a warning counts them.
        cov : ndarray, shape (q, q), or (q, q, m); with ``return_cov``

        Raises
        ------
        ValueError, TypeError
            For wrong points, for a DataFrame that lacks a column of training or has another one besides, for both
            ``return_std`` and ``return_cov``, or for known variances that are missing, or given without ``include_noise``.

        Warns
        -----
        UserWarning
            For standard deviations that are 0 because of rounding; those at training points without noise are 0 rightly.

        Notes
        -----
        A variance is what is left of ``signal_variance`` after a subtraction. Its absolute rounding error is of the order of
        1e-16 times ``signal_variance``, and up to a thousand times that where the covariance is nearly singular: standard
        deviations below 1e-8 to 3e-7 times the square root of ``signal_variance`` have no correct digits.

        Where the mean has basis functions, their coefficients are not known exactly, and the variances say so: universal
        kriging, equation (2.42).

        References
        ----------
        Rasmussen & Williams (2006), equations (2.23) and (2.24), page 16, Algorithm 2.1, page 19, and section 2.7, page 27.
        """
        validate.std_or_cov(return_std, return_cov)
        if return_cov:
            mean, spread = self._covariance(self._points(X), include_noise, observation_variance, basis, noise_groups)
        else:
            wanted = DEVIATION if return_std else MEAN
            points, found = self._predict(X, wanted, include_noise, observation_variance, basis, noise_groups)
            mean, spread = found.mean, found.deviation
            if found.not_positive:
                prediction.warn_of_zeros(spread[:, 0], self._noise_diagonal, self._X, points)
        if self._alpha.shape[1] == 1:
            mean, spread = mean[:, 0], spread[..., 0]
        return (mean, spread) if return_std or return_cov else mean

    def predict_gradient(self, X: ArrayLike) -> tuple[Array, Array]:
        r"""Derivatives of the predicted mean and standard deviation with respect to the points' coordinates, many at a time.

        .. math:: \frac{\partial\bar f_*}{\partial x_*} = \frac{\partial k_*^\top}{\partial x_*} \alpha, \qquad
                  \frac{\partial\sigma_*}{\partial x_*} =
                  -\frac{1}{\sigma_*} \frac{\partial k_*^\top}{\partial x_*} K^{-1} k_*

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points.

        Returns
        -------
        mean_gradient : ndarray, shape (q, d), or (q, d, m) for m > 1 outputs
            Of ``predict(X)``, with the coordinates in the order of training. NaN for a category, which has no derivative.
        std_gradient : ndarray, of the same shape
            Of ``predict(X, return_std=True)[1]``; 0 where that is 0. At a training point without noise, where there is no
            derivative, both are 0 or what rounding leaves.

        Raises
        ------
        ValueError, TypeError
            For wrong points, or a mean that is an array or a callable, whose derivatives are not known.

        Warns
        -----
        UserWarning
            As :meth:`predict`, for standard deviations that are 0 because of rounding.

        Notes
        -----
        Matérn 1/2 has no derivative at a training point; that point then counts nothing.

        References
        ----------
        Rasmussen & Williams (2006), equations (2.25) and (2.26), page 17, differentiated.
        """
        points, found = self._predict(X, GRADIENT)
        if found.not_positive:
            prediction.warn_of_zeros(found.deviation[:, 0], self._noise_diagonal, self._X, points)
        gradients = found.mean_grad, found.deviation_grad
        if self._encoding is not None:
            gradients = self._encoding.gradient(points, gradients[0]), self._encoding.gradient(points, gradients[1])
        if self._alpha.shape[1] == 1:
            return gradients[0][..., 0], gradients[1][..., 0]
        return gradients

    def sample(
        self,
        X: ArrayLike,
        size: int = 1,
        rng: Any = None,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        basis: ArrayLike | None = None,
        noise_groups: Any = None,
    ) -> Array:
        r"""Draw functions from the posterior, at the given points.

        .. math:: f_* = \bar f_* + A u, \qquad A A^\top = \mathrm{cov}(f_*), \quad u \sim N(0, I)

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points; their (q, q) covariance is factored, q^3 / 3 flops.
        size : int, default 1
            Number of functions.
        rng : int, numpy.random.Generator or RandomState, optional
            The global random state is neither read nor moved.
        include_noise : bool, default False
            Whether to draw noisy targets; otherwise the function itself.
        observation_variance : float or array-like, shape (q,), optional
            Known variances of the noisy targets, as for :meth:`predict`.
        basis : array-like, shape (q, p), optional
            The basis functions at the points, as for :meth:`predict`.
        noise_groups : array-like, shape (q,), or one label, optional
            Their groups, as for :meth:`predict`.

        Returns
        -------
        values : ndarray, shape (size, q), or (size, q, m) for m > 1 outputs

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.

        Notes
        -----
        A comes from a Cholesky factorisation with pivoting, which ends where the variances left are rounding errors: nothing
        is added to the diagonal, and equal points get equal values.

        References
        ----------
        Rasmussen & Williams (2006), equations (2.23) and (2.24), page 16, and section A.2, page 201.
        """
        size = validate.count("size", size, least=1)
        random = validate.generator(rng)
        points = self._points(X)
        q, m = points.shape[0], self._alpha.shape[1]
        mean, covariance = self._covariance(points, include_noise, observation_variance, basis, noise_groups)
        factor, order = semidefinite_factor(covariance[..., 0])
        values = np.empty((size, m, q))
        with np.errstate(all="ignore"):  # an underflow of ours is nobody's error
            values[..., order] = random.standard_normal((size, m, factor.shape[1])) @ factor.T
            units = self._units
            result: Array = values.transpose(0, 2, 1) * (units / units[0]) + mean
        return result[..., 0] if m == 1 else result

    def update(
        self,
        X: ArrayLike,
        y: ArrayLike,
        observation_variance: ArrayLike | None = None,
        basis: ArrayLike | None = None,
        noise_groups: Any = None,
    ) -> None:
        r"""Take k more points into the model, in place: O(n^2 k) flops instead of training or factoring anew.

        .. math:: L' = \begin{pmatrix} L & 0 \\ V^\top & L_2 \end{pmatrix}, \qquad
                  V = L^{-1} K_{12}, \quad L_2 L_2^\top = K_{22} - V^\top V

        The parameters, variances of outputs included, and the mean of y stay as trained, as do ``n_evaluations``,
        ``converged`` and ``message``; everything else, ``log_marginal_likelihood`` and the coefficients of basis functions
        included, is that of all n + k points. While
        it copies the factor it holds a second one. No other thread may use the model meanwhile; after an error the model is
        what it was.

        Parameters
        ----------
        X : array-like, shape (k, d)
            New points.
        y : array-like, shape (k,) or (k, m)
            Their targets.
        observation_variance : array-like, shape (k,), optional
            Their known variances: to be given if, and only if, the model was trained with such.
        basis : array-like, shape (k, p), optional
            The basis functions at the new points, as for :meth:`predict`.
        noise_groups : array-like, shape (k,), or one label, optional
            Their groups: to be given if, and only if, the model was trained with groups.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        NotPositiveDefiniteError
            If the covariance of all n + k points is not positive definite; ``row`` counts the trained points first.

        Warns
        -----
        UserWarning
            For y, ``observation_variance`` or ``noise_groups`` with the pandas index of X in another order: rows go by
            position.

        References
        ----------
        Rasmussen & Williams (2006), Algorithm 2.1, page 19, and section A.4, page 202 (the Cholesky factor).
        """
        validate.warn_of_row_order(X, y=y, observation_variance=observation_variance, noise_groups=noise_groups)
        points = self._points(X)
        n, k, m = self._X.shape[0], points.shape[0], self._y.shape[1]
        targets = validate.targets(y, k, len(self.input_names), outputs=m).reshape(k, -1)
        known = validate.variances_of_more_points(observation_variance, k, trained_with=self._observation_variance is not None)
        trend = None if self._trend is None else trends.with_points(self._trend, self._trend.at(points, basis))
        if trend is None:
            validate.no_basis(basis)
        groups = self._noise_groups
        if groups is None:
            validate.no_noise_groups(noise_groups)
        else:
            groups = groups.with_rows(noise_groups, k)
        inputs = np.vstack([self._X, points])
        terms, (signal, noise), units = self._terms, self._variances, self._units
        for term in terms:
            validate.length_scale_range(validate.min_length_scales(inputs), term.length_scale)

        own_noise = np.full(k, noise) if known is None else noise + known
        if groups is not None:
            own_noise += groups.of_rows[n:]
        diagonal = noise if known is None and groups is None else np.append(self._noise_diagonal, own_noise)
        scaled_inputs = [scaled(term, inputs, central(inputs)).U[:, : n + k] for term in terms]
        if failure := equal_rows(scaled_inputs, diagonal, signal):
            raise NotPositiveDefiniteError(*failure)

        with np.errstate(all="ignore"):  # an underflow is nobody's error, an overflow is told below
            cross = prediction.covariance(terms, points, self._X, self.n_threads)
            own = prediction.covariance(terms, points, points, self.n_threads)
            factor = extend_factor(self._factor, cross, own, own_noise, least_pivot(signal + own_noise))
            if isinstance(factor, int):
                raise NotPositiveDefiniteError(*failure_at(scaled_inputs, n + factor))
            half_log_determinant, restricted = float(np.log(factor.diagonal()).sum()), self._mean_estimation == "reml"
            if trend is None:
                centred = np.vstack([self._y, (targets - self._y_mean) / units])
                whitened = solve(factor, centred)  # L^-1 y
                fit = float(np.einsum("nt,nt->", whitened, whitened))
                value = -0.5 * fit - m * half_log_determinant - 0.5 * centred.size * math.log(2.0 * math.pi)
                alpha = np.ascontiguousarray(solve(factor, whitened, transposed=True))
            else:
                trend, centred, alpha = trends.trained(trend, factor, np.vstack([self._targets, targets]))
                centred, alpha = centred / units, alpha / units
                value = trends.log_marginal_likelihood(trend, centred, alpha, half_log_determinant, restricted)
            count = len(inputs) - (len(trend.factor) if trend is not None and restricted else 0)
            value -= count * float(np.log(units).sum())
        validate.no_overflow("the log marginal likelihood", value, alpha)
        changed: dict[str, Any] = {
            "log_marginal_likelihood": value,
            "_X": read_only(inputs),
            "_y": read_only(centred),
            "_alpha": alpha,
            "_factor": factor,
            "_trend": trend,
            "_noise_groups": groups,
        }
        if known is not None:
            changed["_observation_variance"] = read_only(np.concatenate([self._observation_variance, known]))
        vars(self).update(changed)  # at once: an interrupt leaves the model as it was, or as it will be

    def refit(self, X: ArrayLike, y: ArrayLike, **options: Any) -> GaussianProcess:
        """Train a new model as this one was trained, on other rows of the same inputs say, from this one's parameters.

        Kernel, bounds, ties, objective and ``standardize`` are those that this model was trained with; default bounds are made
        from the new data. Priors are not kept with a model: give them again; nor is a mean that is an array.

        Parameters
        ----------
        X, y : array-like
            As for :func:`fastard.fit`; a DataFrame's columns may stand in another order.
        **options
            Other arguments of :func:`fastard.fit`, which count more than what is kept.

        Returns
        -------
        GaussianProcess

        Raises
        ------
        ValueError, TypeError
            As :func:`fastard.fit`; or where this model was trained with priors or known variances, and none are given.
        """
        self._has_what_is_not_kept(options)
        if self._noise_groups is not None:
            validate.groups_given_again("noise_groups" in options)
        kept: dict[str, Any] = dict(self._settings)
        if self._trend is not None and self._trend.kind == "basis":
            kept["mean"] = self._trend.function
            validate.mean_given_again(self._trend.function is not None, options)
        if self._encoding is not None:
            kept |= self._encoding.options(self.feature_names if validate.names_of(X) else None)
        mean = {**kept, **options}.get("mean")
        if isinstance(mean, str) and mean in ("constant", "zero"):  # which have no coefficients
            kept.pop("mean_estimation", None)
        whose = kept.get("output_variances", "shared")
        if options.get("output_variances", whose) != whose:  # then the variances' bounds are in other units
            kept = {name: value for name, value in kept.items() if not name.endswith("_variance_bounds")}
        if validate.order_of_columns(X, self.feature_names) is not None:
            for name in {"length_scale_bounds", "length_scale_groups"} & kept.keys():
                kept[name] = dict(zip(self.input_names, kept[name], strict=True))
        return self._fit(X, y, **{"start": self, **kept, **options})

    def _has_what_is_not_kept(self, options: dict[str, Any]) -> None:
        """Refuse to train again without it."""
        validate.what_is_not_kept(self.objective, self._observation_variance is not None, options)

    def loo(self) -> LeaveOneOut:
        r"""Predict each training target from all the others, at the trained parameters and constant mean.

        .. math:: \mu_j = y_j - \alpha_j / [K^{-1}]_{jj}, \qquad \sigma_j^2 = 1 / [K^{-1}]_{jj}

        n^3 flops for all of them, and one n x n array beside the model's. Where the mean has basis functions, their
        coefficients are those of the others too.

        Returns
        -------
        LeaveOneOut
            Named tuple of mean, variance, standardized_residuals and log_predictive_density; with the properties r2, rmse and
            coverage.

        References
        ----------
        Rasmussen & Williams (2006), equations (5.10) to (5.12), pages 116 and 117.
        """
        found, units = evaluate_loo(self._likelihood(), *self._parameters, gradient=False), self._units
        variance = np.repeat(1.0 / found.precision[:, np.newaxis], self._y.shape[1], axis=1)
        below = found.alpha * variance  # y - mu
        columns = (self._targets - below * units, variance * units**2, below / np.sqrt(variance))
        mean, variance, residuals = (column[:, 0] if self._y.shape[1] == 1 else column for column in columns)
        density = found.log_predictive_density - len(self._y) * float(np.log(units).sum())
        return LeaveOneOut(mean, variance, residuals, density)

    def mean_coefficients(self) -> MeanCoefficients:
        """The coefficients of the mean's basis functions, in the units of X and y, with standard errors.

        Returns
        -------
        MeanCoefficients
            Named tuple of names, coefficients, standard_errors, covariance and output_names.

        Raises
        ------
        ValueError
            If the mean is constant or zero.

        References
        ----------
        Rasmussen & Williams (2006), equation (2.42), page 28: the covariance is (H' K^-1 H)^-1.
        """
        validate.has_basis_functions(self._trend is not None)
        assert self._trend is not None
        units = 1.0 if self._noise_ratio is None else np.squeeze(self._units)
        with np.errstate(all="ignore"):  # an underflow is nobody's error
            return self._trend.in_own_units(self.input_names, self.output_names, self._encoding, units)

    def summary(
        self, *, standard_errors: Literal["exact", "average_information"] | None = "exact", loo: bool = True
    ) -> Summary:
        """What the model says: inputs with errors, noise and signal, how well it predicts, and how the search went.

        Parameters
        ----------
        standard_errors : {"exact", "average_information"} or None, default "exact"
            By which method of :meth:`standard_errors`, which say what they cost; None for none.
        loo : bool, default True
            Whether to judge the model by :meth:`loo`, n^3 flops.

        Returns
        -------
        Summary
            Printed it is text, in a notebook tables; its ``inputs`` and ``facts`` are the rows.

        Raises
        ------
        ValueError
            For another method.

        Notes
        -----
        An input has "no visible influence" where its length scale is at its upper bound, or is not determined by the data, and
        the function changes from one end of the input's range to the other by no more than 0.05 standard deviations of y.
        """
        from fastard._model.summary import summary

        return summary(self, standard_errors, loo)

    def sobol(
        self, distribution: Any = "uniform", *, n_samples: int = 100, n_points: int = 512, rng: Any = None
    ) -> SobolIndices:
        r"""Sobol' indices: which share of the variance of the model's mean is each input's, alone and with others.

        .. math:: S_i = \frac{\mathrm{Var}\,E(\bar f \mid x_i)}{\mathrm{Var}\,\bar f}, \qquad
                  T_i = \frac{E\,\mathrm{Var}(\bar f \mid x_{\sim i})}{\mathrm{Var}\,\bar f}

        Parameters
        ----------
        distribution : {"uniform", "data"}, array-like of shape (d, 2), or dict, default "uniform"
            Of the inputs, which are independent. "uniform": each over its range in the training data, a periodic one over a
            period, and of a category all levels are equally likely. "data": each is drawn from its values there, levels are
            as frequent as in the data. Ranges: uniform over those (a dict names columns, the others are as with "uniform";
            where some columns are categories only a dict of others will do).
        n_samples : int, default 100
            Functions that are drawn from the posterior for the standard deviations; 0 for none.
        n_points : int, default 512
            Of the quadrature, 8 times; best a power of 2. The closed form needs none.
        rng : int, numpy.random.Generator or RandomState, optional
            For the samples. The indices themselves do not depend on it.

        Returns
        -------
        SobolIndices
            Named tuple of names, first_order, total, their standard deviations, accuracy, mean, variance and output_names.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.

        Notes
        -----
        Where all inputs are categories, by sums over all combinations of levels, up to 2^17. Of the RBF kernel in closed form,
        O(n^2 d). Where rounding would spoil that, as it does with little noise, for parts of a period, and of the other
        kernels by quadrature: along each input a Gauss-Legendre rule (over a period the trapezoidal rule, of the data's values
        quantiles, of up to 64 levels or values all), over the others a Sobol' sequence, with 8 fixed shifts that tell how
        ``accuracy`` is. The standard deviations, from functions at some 2000 points, are rough ones.

        References
        ----------
        Saltelli et al., Global sensitivity analysis: the primer (2008), chapter 4; Oakley & O'Hagan, J. R. Statist. Soc. B 66
        (2004), 751-769.
        """
        from fastard._model.sensitivity import sobol

        return sobol(self, distribution, n_samples, n_points, rng)

    def effects(self, distribution: Any = "uniform", *, n_nodes: int = 41) -> Effects:
        """Main effects: the function over each input, averaged over all others, with its standard deviation.

        Parameters
        ----------
        distribution : {"uniform", "data"}, array-like of shape (d, 2), or dict, default "uniform"
            Of the inputs, as for :meth:`sobol`.
        n_nodes : int, default 41
            Values of each input, from the least to the largest; of a periodic one over a period from 0 on. A category has its
            levels.

        Returns
        -------
        Effects
            Named tuple of names, points, mean and std.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.

        Notes
        -----
        The others are averaged over 256 points of a shifted Sobol' sequence, or where all are categories over all combinations
        of levels, up to 256: for inputs that are distributed so, mean and std are exact. n x 256 covariances are computed for
        each value of each input.

        References
        ----------
        Oakley & O'Hagan, J. R. Statist. Soc. B 66 (2004), 751-769, section 3.
        """
        from fastard._model.effects import effects

        return effects(self, distribution, n_nodes)

    def standard_errors(
        self, method: Literal["exact", "average_information"] = "exact", *, progress: bool = False
    ) -> StandardErrors:
        r"""Standard errors of the logarithms of the trained parameters, and their correlations.

        .. math:: \mathrm{cov}(\ln\theta) \approx \Bigl(-\frac{\partial^2\ell}{\partial\ln\theta\,\partial\ln\theta^\top}
                  \Bigr)^{-1}

        from the curvature of the log marginal likelihood, as after any maximum likelihood. Where each output has its own
        variances, noise_variance stands for their ratio, signal_variance has no standard error, and the others allow for the
        variances' having been estimated.

        Parameters
        ----------
        method : {"exact", "average_information"}, default "exact"
            The exact Hessian takes n^3 flops for each free parameter, in one n x n array (and some 15 MB) beside the model's,
            as long as two or three evaluations from n = 500 on. The average information, (1/2) V' K^-1 V with V = [dK_1 alpha,
            dK_2 alpha, ...], takes O(n^2 d) in all; it is positive semidefinite, and near the exact one where the model fits
            and n is large.
        progress : bool, default False
            Whether to say on stderr what the Hessian costs before it begins, and how far it has come.

        Returns
        -------
        StandardErrors
            Named tuple of names, standard_errors, covariance and correlation, in the order of
            [length_scale ..., signal_variance, noise_variance, shape ...].

        Raises
        ------
        ValueError
            For another ``method``.

        Warns
        -----
        UserWarning
            For inputs without visible influence, whose length scale is at its upper bound; for other parameters at a bound;
            for those that the data do not determine to a factor of e^10 (a constant input's, or those of two inputs that are
            the same); all of these are left out as fixed ones are. Where the likelihood is not at a maximum, which the average
            information cannot see after ``update``; and where priors or another objective were trained by, of which the
            likelihood's curvature says nothing.

        References
        ----------
        Rasmussen & Williams (2006), section 5.4.1, equation (5.9), differentiated once more; Gilmour, Thompson & Cullis,
        Average information REML, Biometrics 51 (1995), 1440-1450.
        """
        validate.choice("method", method, standard_errors.METHODS)
        found, notes = self._standard_errors(method, progress)
        for note in notes:
            warnings.warn(note.text, stacklevel=2)
        return found

    def _standard_errors(self, method: str, progress: bool = False) -> tuple[StandardErrors, list[Note]]:
        """Also what a user is to be warned of."""
        notes: list[Note] = []
        if self.objective != "log_marginal_likelihood":
            of_what = "the standard errors are of the log marginal likelihood alone"
            notes.append(Note("fit", f"the model was trained by {self.objective}; {of_what}"))
        if method != "exact" and not self.converged:
            text = f"the search had not converged ({self.message}): the likelihood is not at a maximum"
            notes.append(Note("fit", text))
        found, more = self._errors_and_notes(method, progress)
        return found, notes + more

    def _errors_and_notes(self, method: str, progress: bool) -> tuple[StandardErrors, list[Note]]:
        """From the curvature."""
        names = validate.parameter_names(
            self._X.shape[1], self.kernel, encoded_names(self.feature_names, self._encoding), self.noise_variances or None
        )
        trained = standard_errors.Trained(
            self._likelihood(), self._term, self._noise_parameter, self._alpha, self._factor, self._noise_ratio is not None
        )
        found, notes = standard_errors.standard_errors(trained, self._slots, names, method, progress)
        return found.of(places(self._encoding, self.length_scale.size, self._X.shape[1], self._slots.size)), notes

    def _likelihood(self) -> LogMarginalLikelihood:
        likelihood = LogMarginalLikelihood(
            self._X,
            self._y,
            kernel=self.kernel,
            observation_variance=self._observation_variance,
            basis=None if self._trend is None else self._trend.basis,
            mean_estimation=self._mean_estimation,
            n_threads=self.n_threads,
        )
        likelihood.noise_groups = None if self._noise_groups is None else self._noise_groups.of_row
        return likelihood

    @property
    def _mean_estimation(self) -> Literal["ml", "reml"]:
        return "reml" if self._trend is not None and self._settings.get("mean_estimation") == "reml" else "ml"

    @property
    def _has_array(self) -> bool:
        """Whether the mean's basis functions have to be given at new points."""
        return self._trend is not None and self._trend.kind == "basis" and self._trend.function is None

    @property
    def _targets(self) -> Array:
        """As they were given, (n, m)."""
        mean = self._y_mean if self._trend is None else self._trend.basis @ self._trend.coefficients
        result: Array = self._y * self._units + mean
        return result

    @property
    def _units(self) -> Array:
        """(m,), 1, or where each output has its own variances, the root of its ``signal_variance``."""
        return np.ones(self._y.shape[1]) if self._noise_ratio is None else np.sqrt(self.signal_variance)

    @property
    def _variances(self) -> tuple[float, float]:
        """The signal's and the noise's of ``_y``, for all outputs."""
        return (self.signal_variance, self.noise_variance) if self._noise_ratio is None else (1.0, self._noise_ratio)

    @property
    def _term(self) -> Term:
        scales = self.length_scale if self._encoding is None else self.length_scale[self._encoding.of_column]
        return Term(self.kernel, scales, self._variances[0])

    @property
    def _terms(self) -> list[Term]:
        """What the covariance is the sum of."""
        return [self._term]

    @property
    def _parameters(self) -> tuple[Any, ...]:
        """As a likelihood has them."""
        term = self._term
        return term.length_scale, term.signal_variance, self._noise_parameter, self.kernel

    @property
    def _visible(self) -> NDArray[np.bool_]:
        """Which encoded columns the function can be seen to depend on."""
        return standard_errors.visible_influence(self._X, self._y, self._term, self.n_threads)

    def _only_numbers(self, what: str) -> None:
        validate.only_numbers(None if self._encoding is None else self._encoding.kinds, what)

    @property
    def _noise_diagonal(self) -> Array | float:
        """Noise of ``_y``, a number or (n,)."""
        known, noise = self._known_variances, self._variances[1]
        return noise if known is None else noise + known

    @property
    def _known_variances(self) -> Array | None:
        """What training targets have beside ``noise_variance``: the known variances and those of their groups, (n,)."""
        known, groups = self._observation_variance, self._noise_groups
        if groups is None:
            return known
        return groups.of_rows if known is None else known + groups.of_rows

    @property
    def _noise_parameter(self) -> Any:
        """As a likelihood has it: a number, or a variance for each group."""
        return self._variances[1] if self._noise_groups is None else self._noise_groups.variances

    def _points(self, X: ArrayLike) -> Array:
        """Points as the model takes them, (q, d)."""
        order = validate.order_of_columns(X, self.feature_names)
        if self._encoding is not None:
            points = self._encoding.encode(X, self.feature_names, order)
        else:
            points = validate.inputs(X, dimensions=self._X.shape[1])
            if order is not None:
                points = read_only(np.ascontiguousarray(points[:, order]))
        least = validate.min_length_scales(points, self._X[:1])
        for term in self._terms:
            validate.length_scale_range(least, term.length_scale)
        return points

    def _noise(
        self, include_noise: bool, observation_variance: ArrayLike | None, noise_groups: Any, q: int
    ) -> tuple[float, Array | None]:
        """What ``_predict`` adds to the variances, in ``_units``: of all points, and of each one (q,)."""
        if self._noise_ratio is not None:
            validate.no_known_variances(observation_variance)
        known = validate.variances_of_points(
            observation_variance, q, include_noise=include_noise, trained_with=self._observation_variance is not None
        )
        if self._noise_groups is None or not include_noise:
            validate.no_noise_groups(noise_groups)
        else:
            of_groups = self._noise_groups.at(noise_groups, q)
            known = of_groups if known is None else known + of_groups
        return (self._variances[1] if include_noise else 0.0), known

    def _predict(
        self,
        X: ArrayLike,
        wanted: int,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        basis: ArrayLike | None = None,
        noise_groups: Any = None,
    ) -> tuple[Array, Predictions]:
        """The points as an array (q, d), and the predictions there."""
        points = validate.plain_points(X, self._X.shape[1]) if self._encoding is None else None
        looked_at = points is None
        if points is None:
            points = self._points(X)
        noise, known = self._noise(include_noise, observation_variance, noise_groups, points.shape[0])
        found = self._found(points, wanted, noise, known, in_range=looked_at)
        if found is None:
            points = self._points(X)  # says what is wrong with them, if anything is
            found = self._found(points, wanted, noise, known, in_range=True)
            assert found is not None, "valid points are in range"
        if self._trend is not None:
            gradients = self._trend.gradients(points) if wanted == GRADIENT else None
            found = self._trend.added(found, self._trend.at(points, basis), gradients, self._units)
        elif basis is not None:
            validate.no_basis(basis)
        return points, found

    def _found(
        self, points: Array, wanted: int, noise: float, noise_of_points: Array | None, *, in_range: bool
    ) -> Predictions | None:
        """As the engine's `predict`, of the residuals and then of a mean's basis."""
        return predict(self._posterior, points, wanted, noise, noise_of_points, self.n_threads, in_range=in_range)

    def _covariance(
        self,
        points: Array,
        include_noise: bool,
        observation_variance: ArrayLike | None,
        basis: ArrayLike | None,
        noise_groups: Any,
    ) -> tuple[Array, Array]:
        """Mean (q, m) and covariance (q, q, m), which is one for all outputs but for their units."""
        q, m = points.shape[0], self._alpha.shape[1]
        noise, known = self._noise(include_noise, observation_variance, noise_groups, q)
        found = self._found(points, MEAN, 0.0, None, in_range=True)
        assert found is not None, "valid points are in range"
        _, covariance = prediction.predict(
            self._terms, noise, self._X, self._alpha, self._factor, points, "covariance", self.n_threads
        )
        if known is not None:
            covariance.ravel()[:: q + 1] += known
        if self._trend is not None:
            E = self._trend.at(points, basis)
            U = self._trend.spread(found.mean[:, m:], E)
            covariance += U @ U.T
            found = self._trend.added(found, E, None, self._units)
        else:
            validate.no_basis(basis)
        whole = covariance[..., np.newaxis]
        return found.mean, whole if m == 1 and self._noise_ratio is None else whole * self._units**2

    @property
    def _posterior(self) -> Posterior:
        """What predictions are made from: kept until the model changes."""
        of = self.kernel, self.length_scale, self.signal_variance, self._X, self._alpha, self._factor, self._y_mean
        kept = _POSTERIORS.get(self)
        if kept is not None and all(map(operator.is_, of, kept[0])):
            return kept[1]
        alpha, offset = self._outputs
        units = np.append(self._units, np.ones(alpha.shape[1] - self._alpha.shape[1]))  # the basis has none
        made = posterior(self._term, self._X, alpha, self._factor, units, offset)
        _POSTERIORS[self] = of, made
        return made

    @property
    def _outputs(self) -> tuple[Array, Array]:
        """What is predicted, as K^-1 times it, and what is added: of the basis of a mean as of targets."""
        if self._trend is None:
            return self._alpha, self._y_mean
        alpha = np.hstack([self._alpha, self._trend.solved])
        return alpha, np.zeros(alpha.shape[1])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file that :func:`fastard.load` reads.

        NumPy's npz format without pickle: arrays, and a header in JSON. It holds the training data, and half of the factor,
        4 n^2 bytes.

        Parameters
        ----------
        path : str or path-like
            The file, ``model.npz`` say; one that is there already is overwritten, once the new one is whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        from fastard._model.archive import save

        save(self, path)

    def to_sklearn(self) -> Any:
        """A stock scikit-learn ``GaussianProcessRegressor`` that predicts the same mean, standard deviation and covariance.

        It is trained already, so that what works on scikit-learn's models works on this one: ONNX, skops, partial dependence,
        SHAP. Its noise is in ``alpha``, and its kernel is not trained again (``optimizer=None``). A clone that is fitted again
        has the same kernel; with several outputs it has mean zero, or where each has its own variances, their standard
        deviations for units.

        With categories or periodic columns it is the last step of a ``Pipeline`` that takes the columns as the model does; the
        first, a ``ColumnTransformer``, encodes them. Then the kernel has a length scale for each encoded column, and training
        it again would not tie those of one column.

        Returns
        -------
        regressor : sklearn.gaussian_process.GaussianProcessRegressor, or sklearn.pipeline.Pipeline

        Raises
        ------
        ImportError
            Without scikit-learn, which ``pip install 'fastard[sklearn]'`` brings.
        ValueError
            For a rational quadratic kernel with several length scales, or a category of text and numbers, which scikit-learn
            has not.
        """
        from fastard._model.conversion import to_sklearn

        return to_sklearn(self)

    def to_gpytorch(self) -> Any:
        """A GPyTorch ``ExactGP`` in float64 that predicts the same, in evaluation mode, with its ``likelihood``.

        Its parameters can be trained on, but for known variances and a noise of 0. m > 1 outputs are a batch of m. From 800
        points on GPyTorch solves iteratively, to few digits, unless ``gpytorch.settings.max_cholesky_size(n + 1)`` is set.

        Returns
        -------
        model : gpytorch.models.ExactGP

        Raises
        ------
        ImportError
            Without PyTorch and GPyTorch, which ``pip install 'fastard[torch]'`` brings.
        ValueError
            For Matérn with nu = 7/2, which GPyTorch has not.
        """
        from fastard._model.conversion import to_gpytorch

        self._only_numbers("to_gpytorch")
        return to_gpytorch(self)

    def plot_relevance(self, ax: Any = None) -> Any:
        """Draw a bar for each input's relevance, the most relevant on top, length scales beside them.

        Up to 2000 points, with two standard errors, as :meth:`summary` has them.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new pyplot figure by default.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'fastard[cli]'`` brings.
        """
        from fastard._model.plots import plot_relevance

        return plot_relevance(self, ax, self._standard_errors("exact")[0] if len(self._X) <= _MOST_WITH_ERRORS else None)

    def plot_loo(self, ax: Any = None) -> Any:
        """Draw each target, and what :meth:`loo` predicts for it from all the others, with two standard deviations.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new pyplot figure by default.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'fastard[cli]'`` brings.
        """
        from fastard._model.plots import plot_loo

        return plot_loo(self, ax)

    def plot_residuals(self, ax: Any = None) -> Any:
        """Draw the standardised residuals of :meth:`loo` over the predictions: of a model that fits, no pattern.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new pyplot figure by default.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'fastard[cli]'`` brings.
        """
        from fastard._model.plots import plot_residuals

        return plot_residuals(self, ax)

    def plot_calibration(self, ax: Any = None) -> Any:
        """Draw, for each probability, the share of targets that :meth:`loo`'s central interval of that probability holds.

        Below the diagonal the model is too sure of its predictions. The grey band holds 95 % of what calibrated models show at
        each probability, if the targets were independent.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new pyplot figure by default.

        Returns
        -------
        ax : matplotlib Axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install 'fastard[cli]'`` brings.
        """
        from fastard._model.plots import plot_calibration

        return plot_calibration(self, ax)

    def plot_effects(self, distribution: Any = "uniform", *, most: int = 12) -> Any:
        """Draw the main effects of :meth:`effects` with bands of two standard deviations, the strongest first.

        The levels of a category are points with bars of two standard deviations.

        Parameters
        ----------
        distribution : {"uniform", "data"}, array-like of shape (d, 2), or dict, default "uniform"
            Of the inputs, as for :meth:`sobol`.
        most : int, default 12
            Inputs to draw, a panel for each.

        Returns
        -------
        axes : ndarray of matplotlib Axes, shape (min(d, most),)
            Of a new pyplot figure.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        ImportError
            Without matplotlib, which ``pip install 'fastard[cli]'`` brings.
        """
        from fastard._model.plots import plot_effects

        return plot_effects(self, distribution, validate.count("most", most, least=1))

    def __repr__(self) -> str:
        n, d = len(self._X), self.length_scale.size
        state = "converged" if self.converged else f"NOT CONVERGED ({self.message.partition(':')[0]})"
        signal, noise = (f"variance {variance:.4g}" for variance in self._variances)
        if self._noise_ratio is not None:
            signal, noise = f"variances of {len(self.signal_variance)} outputs", f"{noise} of theirs"
        if self._noise_groups is not None:
            noise = f"variances of {len(self.noise_variances)} groups"
        return (
            f"<GaussianProcess {self.kernel!r} on {n} points in {d} dimensions, signal {signal}, "
            f"noise {noise}, log marginal likelihood {self.log_marginal_likelihood:.6g}, {state}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.summary(standard_errors=None, loo=False)._repr_html_()
