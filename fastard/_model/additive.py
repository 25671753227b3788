"""The trained sum of terms: predictions of the sum and of its parts.

The terms are independent a priori, so that f = f_1 + f_2 + ... has the covariance K = K_1 + K_2 + ..., and f_t has the
covariance K_t with y. Given y, it is Gaussian with the mean K_t(x, X) alpha and the variance K_t(x, x) - K_t(x, X) K^-1 K_t(X,
x): Rasmussen & Williams (2006), equation (A.6); section 5.4.3 has an example, the concentration of carbon dioxide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.posterior import GRADIENT, MEAN, Predictions
from fastard._engine.terms import Term as EngineTerm
from fastard._model import prediction
from fastard._model.encoding import Encoding, encoded_names, places
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.relevance import relevance
from fastard._model.standard_errors import Note, StandardErrors, from_information, notes_on_bounds, visible_influence
from fastard._objectives.terms import Sum, Term, names_in_theta
from fastard._parameters import tied_groups
from fastard._progress import Progress

if TYPE_CHECKING:
    from fastard._model.summary import Summary

_STEP = 1e-4  # of a logarithm, in central differences of the gradient: both errors are some 1e-8 of the curvature


class Component(NamedTuple):
    """One term of a sum at q points; :meth:`AdditiveGaussianProcess.components` makes it.

    Attributes
    ----------
    mean, std : ndarray, shape (q,), or (q, m) for m > 1 outputs
        Of the term's function given the data: no noise and not the mean of y.
    """

    mean: Array
    std: Array


@dataclass(repr=False, eq=False, kw_only=True)
class AdditiveGaussianProcess(GaussianProcess):
    """A trained sum of terms, each a kernel over some columns; :func:`fastard.fit` makes it of a dictionary of :class:`Term`.

    It predicts, samples, updates and saves as a :class:`GaussianProcess` does; ``components`` tells the terms apart, and
    ``terms`` are their trained parameters. ``sobol``, ``effects``, ``to_sklearn`` and ``to_gpytorch`` are for one kernel.

    Attributes
    ----------
    length_scale : ndarray, shape (D,)
        Of the first term's columns, then of the second's, and so on. So is ``relevance``.
    signal_variances : ndarray, shape (t,)
        Of the terms. ``signal_variance`` is their sum.
    """

    signal_variances: Array
    _columns: list[list[int]]  # of each term, before they were encoded
    _term_settings: dict[str, dict[str, Any]]  # arguments of `Term` for :meth:`refit`

    @property
    def terms(self) -> dict[str, Term]:
        """The terms by their names, with trained kernels, length scales and signal variances."""
        return self._terms_for(self.feature_names)

    def _terms_for(self, names: list[str] | None) -> dict[str, Term]:
        """The same for an X whose columns have these names, or none."""
        called = self.feature_names if names is not None else None
        if called is not None and len(set(called)) < len(called):  # by which nobody can tell them apart
            called = None
        scales = np.split(self.length_scale, np.cumsum([len(columns) for columns in self._columns])[:-1])
        parts = zip(self._sum.names, self._sum.kernels, self._columns, scales, self.signal_variances.tolist(), strict=True)
        return {
            name: Term(
                kernel,
                list(columns) if called is None else [called[i] for i in columns],
                length_scale=own,
                signal_variance=variance,
            )
            for name, kernel, columns, own, variance in parts
        }

    @property
    def relevance(self) -> Array:
        """Of each term's columns: sqrt(signal variance) times the standard deviation over the length scale, scaled to sum 1.

        The order is that of ``length_scale``. As of a :class:`GaussianProcess` it says how wiggly the function is along an
        input, here as far as this term's part of it does.
        """
        deviations = np.repeat(np.sqrt(self.signal_variances), [len(columns) for columns in self._columns])
        encoding = self._stacked_encoding
        return relevance(self._stacked_X, self.length_scale / deviations, None if encoding is None else encoding.first)

    def components(self, X: ArrayLike, *, centred: bool = False) -> dict[str, Component]:
        r"""Each term's function at new points: what the data say of it, apart from the others.

        .. math:: \bar f_t = K_t(X_*, X)\, \alpha, \qquad
                  \mathrm{cov}(f_t) = K_t(X_*, X_*) - K_t(X_*, X)\, K^{-1} K_t(X, X_*)

        The means add up to ``predict(X)`` less the mean of y (or the basis functions). The standard deviations do not add up:
        given the data the terms are correlated, and where two terms could explain the same, both are uncertain while their sum
        is not. The level is such a thing.

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points, with all columns of training.
        centred : bool, default False
            Whether to take from each function its average over these points, whose level no data tell from the other terms'.
            Then there are (q, q) covariances.

        Returns
        -------
        components : dict of Component
            Named tuples of mean and std, by the terms' names.

        Raises
        ------
        ValueError, TypeError
            For wrong points.

        References
        ----------
        Rasmussen & Williams (2006), section 5.4.3, page 118, and equation (A.6), page 200.
        """
        points, alpha, m = self._points(X), self._outputs[0], self._alpha.shape[1]
        spread: Literal["variance", "covariance"] = "covariance" if centred else "variance"
        result = {}
        for name, term in zip(self._sum.names, self._terms, strict=True):
            found, variance = prediction.predict([term], 0.0, self._X, alpha, self._factor, points, spread, self.n_threads)
            if centred:
                found -= found.mean(axis=0)
                variance = variance.diagonal() - 2.0 * variance.mean(axis=0) + variance.mean()
            if self._trend is not None:
                variance = variance + np.sum(self._trend.spread(found[:, m:], np.zeros(1)) ** 2, axis=1)
            std = np.repeat(np.sqrt(np.maximum(variance, 0.0))[:, np.newaxis], m, axis=1)
            result[name] = Component(found[:, 0], std[:, 0]) if m == 1 else Component(found[:, :m], std)
        return result

    def summary(
        self, *, standard_errors: Literal["exact", "average_information"] | None = "exact", loo: bool = True
    ) -> Summary:
        """As :meth:`GaussianProcess.summary`, with a row for each column of each term."""
        from fastard._model.summary import summary

        return summary(_Stacked(self), standard_errors, loo)

    def refit(self, X: ArrayLike, y: ArrayLike, **options: Any) -> GaussianProcess:
        """As :meth:`GaussianProcess.refit`, with the terms' bounds and ties; another ``kernel`` needs ``start=None``."""
        validate.terms_given_again(self.objective, options)
        if "kernel" not in options:
            terms = self._terms_for(validate.names_of(X))
            options["kernel"] = {
                name: replace(term, length_scale=None, signal_variance=None, **self._term_settings[name])
                for name, term in terms.items()
            }
        return super().refit(X, y, **options)

    def sobol(self, *_: Any, **__: Any) -> Any:
        """Of one kernel only: a ValueError."""
        validate.one_term("sobol", _INSTEAD)

    def effects(self, *_: Any, **__: Any) -> Any:
        """Of one kernel only: a ValueError; see ``components``."""
        validate.one_term("effects", _INSTEAD)

    def plot_effects(self, *_: Any, **__: Any) -> Any:
        """Of one kernel only: a ValueError."""
        validate.one_term("plot_effects", _INSTEAD)

    def to_sklearn(self) -> Any:
        """Of one kernel only: a ValueError."""
        validate.one_term("to_sklearn", "fastard.sklearn takes sums of scikit-learn's kernels, over all columns")

    def to_gpytorch(self) -> Any:
        """Of one kernel only: a ValueError."""
        validate.one_term("to_gpytorch", "make the same sum of GPyTorch's kernels from model.terms")

    def plot_relevance(self, ax: Any = None) -> Any:
        """As :meth:`GaussianProcess.plot_relevance`, with a bar for each column of each term, without standard errors."""
        from fastard._model.plots import plot_relevance

        return plot_relevance(_Stacked(self), ax, None)

    # What the class above is made of, for a sum

    @property
    def _sum(self) -> Sum:
        assert isinstance(self.kernel, Sum)
        return self.kernel

    @property
    def _encoded_length_scale(self) -> Array:
        encoding = self._stacked_encoding
        return self.length_scale if encoding is None else self.length_scale[encoding.of_column]

    @property
    def _terms(self) -> list[EngineTerm]:
        return self._sum.terms(self._encoded_length_scale, self.signal_variances, self._X.shape[1])

    @property
    def _parameters(self) -> tuple[Any, ...]:
        return self._encoded_length_scale, self.signal_variances, self._noise_parameter, self.kernel

    @property
    def _unused(self) -> list[str]:
        """The inputs that no term is over, nor the mean of."""
        if self._trend is not None and (self._trend.polynomial is not None or self._trend.function is not None):
            return []
        used = {i for columns in self._columns for i in columns}
        return [name for i, name in enumerate(self.input_names) if i not in used]

    @property
    def _stacked_X(self) -> Array:
        """The terms' columns beside one another, as the length scales are."""
        return self._X[:, self._sum.all_columns]

    @property
    def _stacked_encoding(self) -> Encoding | None:
        if self._encoding is None:
            return None
        return Encoding(tuple(self._encoding.kinds[i] for columns in self._columns for i in columns))

    def _found(
        self, points: Array, wanted: int, noise: float, noise_of_points: Array | None, *, in_range: bool
    ) -> Predictions | None:
        if not in_range:
            return None
        alpha, offset = self._outputs
        given = (self._terms, noise, self._X, alpha, self._factor, points)
        mean, variance = prediction.predict(*given, None if wanted == MEAN else "variance", self.n_threads)
        mean += offset
        nothing = np.empty((0, 0, 0))
        if wanted == MEAN:
            return Predictions(mean, np.empty((0, mean.shape[1])), nothing, nothing, False, False)
        if noise_of_points is not None:
            variance = variance + noise_of_points
        m = mean.shape[1]
        deviation = np.repeat(np.sqrt(np.maximum(variance, 0.0))[:, np.newaxis], m, axis=1)
        gradients = nothing, nothing
        if wanted == GRADIENT:
            mean_grad, slope, _ = prediction.gradients(*given, self.n_threads)
            gradients = mean_grad, np.repeat(slope[..., np.newaxis], m, axis=-1)
        return Predictions(mean, deviation, *gradients, bool((variance <= 0.0).any()), bool((variance < 0.0).any()))

    def _errors_and_notes(self, method: str, progress: bool) -> tuple[StandardErrors, list[Note]]:
        if method != "exact":
            validate.one_term(f"method={method!r}", "use 'exact'")
        groups = tied_groups(self._slots)
        called = encoded_names(self.feature_names, self._encoding)
        names = names_in_theta(self._X.shape[1], self.kernel, called, self.noise_variances or None)
        slope, information = self._curvature(groups, progress)
        found, notes = from_information(information, groups, names, slope if len(groups) else None)
        notes = notes_on_bounds(self._slots, names, self._visible, self._trend is not None) + notes
        encoding = self._stacked_encoding
        width = self._encoded_length_scale.size
        return found.of(places(encoding, self.length_scale.size, width, self._slots.size)), notes

    def _curvature(self, groups: Array, progress: bool) -> tuple[Array, Array]:
        """The likelihood's slope and minus its second derivatives by groups (g, P) of tied parameters."""
        likelihood = self._likelihood()
        scales, signals, noise, kernel = self._parameters
        with np.errstate(divide="ignore"):
            theta = np.log(np.concatenate([scales, signals, np.atleast_1d(noise), tuple(kernel)]))
        ends = np.cumsum([scales.size, signals.size, np.size(noise)])

        def slope(theta: Array) -> Array:
            own_scales, own_signals, own_noise, shape = np.split(np.exp(theta), ends)
            of_noise: Any = own_noise if np.ndim(noise) else float(own_noise[0])
            given = (own_scales, own_signals, of_noise, kernel.with_shape(shape.tolist()))
            evaluation = likelihood.evaluate(*given, gradient=True)
            found: Array = groups @ likelihood.assemble(evaluation, of_noise)
            return found

        said = Progress(progress, f"Hessian of {len(groups)} parameters", 2.0 * len(groups) * len(self._X) ** 3)
        second = np.empty((len(groups), len(groups)))
        for i, group in enumerate(groups):
            second[i] = (slope(theta + _STEP * group) - slope(theta - _STEP * group)) / (2.0 * _STEP)
            said.done((i + 1) / len(groups))
        return slope(theta), -0.5 * (second + second.T)

    @property
    def _visible(self) -> NDArray[np.bool_]:
        """Of each length scale, whether its term can be seen to depend on that column."""
        parts = zip(self._terms, self._sum.columns, strict=True)
        return np.concatenate([visible_influence(self._X, self._y, term)[columns] for term, columns in parts])

    def _has_what_is_not_kept(self, options: dict[str, Any]) -> None:
        validate.what_is_not_kept("", self._observation_variance is not None, options)

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        unused = f"unused: {validate.listed(self._unused)}, " if self._unused else ""
        return (
            f"<AdditiveGaussianProcess {self.kernel!r} on {len(self._X)} points, {unused}log marginal likelihood "
            f"{self.log_marginal_likelihood:.6g}, {state}>"
        )

    def _repr_html_(self) -> str:
        return self.summary(standard_errors=None, loo=False)._repr_html_()


_INSTEAD = "look at its parts by model.components(X)"


class _Stacked:
    """A model as tables and charts of inputs take one: an input for each column of each term."""

    def __init__(self, model: AdditiveGaussianProcess) -> None:
        parts = zip(model._sum.names, model._columns, strict=True)
        self.input_names = [f"{name}: {model.input_names[i]}" for name, columns in parts for i in columns]
        self._X, self._encoding, self._model = model._stacked_X, model._stacked_encoding, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
