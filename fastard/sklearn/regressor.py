"""scikit-learn's Gaussian process regressor, computed by fastard.

Change ``from sklearn.gaussian_process import GaussianProcessRegressor`` to ``from fastard.sklearn import ...``, or call
:func:`patch` where other code imports scikit-learn's class itself.
"""

from __future__ import annotations

import contextlib
import operator
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import _fit_context, clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor as _SklearnRegressor
from sklearn.preprocessing._data import _handle_zeros_in_scale
from sklearn.utils import check_random_state

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.posterior import DEVIATION, GRADIENT, MEAN, Posterior, Predictions, posterior, predict
from fastard._engine.terms import Term
from fastard._engine.workspace import Workspace, borrowed
from fastard._model import prediction
from fastard._numba.threads import default_threads
from fastard._validation import min_length_scales
from fastard.exceptions import where
from fastard.sklearn.original import _SKLEARN_METHODS, _default_kernel, _validated
from fastard.sklearn.recognition import Covariance, UnsupportedKernelError, _recognise, explain, values
from fastard.sklearn.training import _Data, _search

# Each estimator's buffer, to be used again. Not an attribute: a model of scikit-learn's own class pickles as it did.
_BUFFERS: weakref.WeakKeyDictionary[Any, list[Workspace]] = weakref.WeakKeyDictionary()


_TRAINED: weakref.WeakKeyDictionary[Any, _Trained] = weakref.WeakKeyDictionary()

_NEGATIVE = "Predicted variances smaller than 0. Setting those variances to 0."  # scikit-learn's words


def _trains_as_usual(estimator: Any) -> bool:
    """Whether no subclass has put its own likelihood or optimisation in the place of those known here."""
    cls = type(estimator)
    return (
        cls.log_marginal_likelihood
        in (GaussianProcessRegressor.log_marginal_likelihood, _SKLEARN_METHODS["log_marginal_likelihood"])
        and cls._constrained_optimization is _SKLEARN_METHODS["_constrained_optimization"]
    )


class GaussianProcessRegressor(_SklearnRegressor):
    """scikit-learn's GaussianProcessRegressor with fastard's likelihood, training and predictions.

    The constructor, the attributes and the behaviour are those of
    :class:`sklearn.gaussian_process.GaussianProcessRegressor`. What differs is the time, and the memory: no n x n x d array
    is made. A kernel that fastard does not compute exactly (see :func:`explain`) goes to scikit-learn's own code.

    Restarts of the optimiser (``n_restarts_optimizer``) run side by side where the data are few; their starts and the chosen
    optimum are those of the sequential run.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from fastard.sklearn import GaussianProcessRegressor
    >>> X = np.linspace(0.0, 1.0, 40).reshape(-1, 2)
    >>> model = GaussianProcessRegressor(1.0 * RBF([1.0, 1.0]) + WhiteKernel(), normalize_y=True).fit(X, np.sin(6.0 * X[:, 0]))
    >>> mean, std = model.predict(X[:3], return_std=True)
    >>> mean.shape
    (3,)
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Any:
        """Fit the model: scikit-learn's ``fit``, see there.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,) or (n, m)

        Returns
        -------
        self : GaussianProcessRegressor
        """
        kernel = clone(_default_kernel() if self.kernel is None else self.kernel)
        covariance = _recognise(kernel) if _trains_as_usual(self) else None
        if covariance is None:
            return _SKLEARN_METHODS["fit"](self, X, y)
        given = X, y
        X, y = _validated(self, X, y, multi_output=True, y_numeric=True, ensure_2d=True, dtype="numeric")
        try:
            covariance.take(X)
        except UnsupportedKernelError:
            return _SKLEARN_METHODS["fit"](self, *given)
        searched = self.optimizer is not None and covariance.n_parameters > 0
        if (
            self.n_targets not in (None, 1 if y.ndim == 1 else y.shape[1])
            or not _Data.takes(X, y, self.alpha)
            or (searched and self.n_restarts_optimizer > 0 and not np.isfinite(kernel.bounds).all())
        ):
            return _SKLEARN_METHODS["fit"](self, *given)  # its errors, and its ways with an alpha of one entry
        self.kernel_ = kernel
        self._rng = check_random_state(self.random_state)
        if self.normalize_y:
            with _underflow_ignored():
                self._y_train_mean = np.mean(y, axis=0)
                self._y_train_std = _handle_zeros_in_scale(np.std(y, axis=0), copy=False)
                y = (y - self._y_train_mean) / self._y_train_std
        else:
            shape = y.shape[1:] or 1
            self._y_train_mean, self._y_train_std = np.zeros(shape), np.ones(shape)
        self.X_train_ = np.copy(X) if self.copy_X_train else X
        self.y_train_ = np.copy(y) if self.copy_X_train else y

        data = _Data(covariance.X, self.y_train_, self.alpha)
        if searched:
            theta, loss, workspace, may_be_at_bounds = _search(self, covariance, data)
            self.kernel_.theta = theta
            if may_be_at_bounds:
                self.kernel_._check_bounds_params()
        else:
            workspace = Workspace(*data.y.shape)
        try:
            trained = Covariance(self.kernel_, self.X_train_)
            evaluation = data.evaluate(trained, None, workspace, gradient=False, threads=default_threads())
        except UnsupportedKernelError:  # the optimum is out of our range
            rest = _SklearnRegressor(self.kernel_, alpha=self.alpha, optimizer=None)
            _SKLEARN_METHODS["fit"](rest, self.X_train_, self.y_train_)
            self.L_, self.alpha_, value = rest.L_, rest.alpha_, rest.log_marginal_likelihood_value_
        else:
            if evaluation.failure is not None:
                raise np.linalg.LinAlgError(
                    f"The kernel, {self.kernel_}, is not returning a positive definite matrix: {where(*evaluation.failure)}. "
                    "Try gradually increasing the 'alpha' parameter of your GaussianProcessRegressor estimator."
                )
            factor = workspace.release()
            for j in range(1, factor.shape[0]):
                factor[j, :j] = 0.0
            self.L_, self.alpha_ = factor.T, evaluation.alpha.reshape(y.shape)
            value = evaluation.log_marginal_likelihood
        self.log_marginal_likelihood_value_ = np.float64(-loss if searched else value)
        _BUFFERS.pop(self, None)
        return self

    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        """Log marginal likelihood at theta: scikit-learn's ``log_marginal_likelihood``, see there.

        Parameters
        ----------
        theta : array-like, shape (n_kernel_params,), optional
            Natural logarithms of the kernel's free parameters; None for the value found in training.
        eval_gradient : bool, default False
            Whether to return the gradient with respect to theta too.
        clone_kernel : bool, default True
            If False, ``kernel_`` gets theta.

        Returns
        -------
        log_likelihood : float
            -inf where the covariance is not positive definite.
        gradient : ndarray, shape (n_kernel_params,)
            With ``eval_gradient``.
        """
        evaluation = None
        if theta is not None:
            with contextlib.suppress(UnsupportedKernelError):
                covariance = Covariance(self.kernel_, self.X_train_)
                place = np.asarray(theta)
                if place.shape == (covariance.n_parameters,) and place.dtype.kind in "fiu":
                    place = place.astype(np.float64)
                    data = _Data(covariance.X, self.y_train_, self.alpha)
                    with borrowed(_BUFFERS.setdefault(self, []), *data.y.shape) as workspace:
                        evaluation = data.evaluate(
                            covariance, place, workspace, gradient=eval_gradient, threads=default_threads()
                        )
        if evaluation is None:
            return _SKLEARN_METHODS["log_marginal_likelihood"](self, theta, eval_gradient, clone_kernel)
        if not clone_kernel:
            self.kernel_.theta = theta
        value = np.float64(evaluation.log_marginal_likelihood)  # as theirs
        return (value, covariance.gradient(place, evaluation)) if eval_gradient else value

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict at new points: scikit-learn's ``predict``, see there.

        Parameters
        ----------
        X : array-like, shape (q, d)
        return_std, return_cov : bool, default False
            Whether to return standard deviations or the covariance beside the mean; not both.

        Returns
        -------
        y_mean : ndarray, shape (q,) or (q, m)
        y_std : ndarray, shape (q,) or (q, m)
        y_cov : ndarray, shape (q, q) or (q, q, m)
        """
        known = None if return_std and return_cov else _trained(self)
        if known is None:
            with _underflow_ignored(self):
                return _SKLEARN_METHODS["predict"](self, X, return_std=return_std, return_cov=return_cov)
        points, looked_at = known.points(self, X)
        found = None if return_cov else known.at_once(points, looked_at, DEVIATION if return_std else MEAN)
        if found is not None:
            if found.negative:
                warnings.warn(_NEGATIVE, stacklevel=2)
            mean, deviation = found.mean, found.deviation
            if mean.shape[1] == 1:
                mean, deviation = mean[:, 0], deviation[:, 0]
            return (mean, deviation) if return_std else mean
        if not looked_at and not np.isfinite(points).all():
            points = _validated(self, X, ensure_2d=True, dtype="numeric", reset=False)
        at = known.at(points)
        if at is None:
            return _SKLEARN_METHODS["predict"](self, X, return_std=return_std, return_cov=return_cov)
        terms, noise, points = at
        spread: Literal["variance", "covariance"] | None = "covariance" if return_cov else "variance" if return_std else None
        mean, result = prediction.predict(
            terms, noise, known.X, known.alpha, known.factor, points, spread, default_threads()
        )  # fmt: skip
        if return_std and (result < 0.0).any():
            warnings.warn(_NEGATIVE, stacklevel=2)
            result = np.maximum(result, 0.0)
        with _underflow_ignored():
            mean = self._y_train_std * mean + self._y_train_mean
            if mean.shape[1] == 1:
                mean = mean[:, 0]
            if spread is None:
                return mean
            scale = np.asarray(self._y_train_std**2).reshape(-1)
            result = result * scale[0] if scale.size == 1 else result[..., np.newaxis] * scale
        return mean, np.sqrt(result) if return_std else result

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> Any:
        """Draw functions: scikit-learn's ``sample_y``, see there.

        Parameters
        ----------
        X : array-like, shape (q, d)
        n_samples : int, default 1
        random_state : int, RandomState or None, default 0

        Returns
        -------
        y_samples : ndarray, shape (q, n_samples) or (q, m, n_samples)
        """
        with _underflow_ignored(self):
            return _SKLEARN_METHODS["sample_y"](self, X, n_samples, random_state)

    def predict_gradient(self, X: ArrayLike) -> tuple[Array, Array]:
        """Derivatives of the predicted mean and standard deviation with respect to the query points, all in one pass.

        Parameters
        ----------
        X : array-like, shape (q, d)
            Query points.

        Returns
        -------
        mean_gradient : ndarray, shape (q, d), or (q, d, m) for m > 1 outputs
            Of ``predict(X)``.
        std_gradient : ndarray, of the same shape
            Of ``predict(X, return_std=True)[1]``; 0 where the standard deviation is 0, as at a training point without noise.

        Raises
        ------
        ValueError
            For a kernel that fastard does not compute (:func:`explain` says why), or one of transformed points; and for points
            out of its range.
        sklearn.exceptions.NotFittedError
            Before ``fit``.

        Warns
        -----
        UserWarning
            For standard deviations that are 0 because of rounding.

        References
        ----------
        Rasmussen & Williams (2006), equations (2.25) and (2.26), page 17, differentiated. A Matérn kernel with nu = 0.5 has
        no derivative at a training point; that point then counts nothing.
        """
        if not hasattr(self, "X_train_"):
            raise NotFittedError("predict_gradient needs a trained model: call fit first")
        known = _trained(self)
        if known is None:
            points, looked_at = _validated(self, X, ensure_2d=True, dtype="numeric", reset=False), True
        else:
            points, looked_at = known.points(self, X)
        if known is not None and known.covariance.transforms:
            raise ValueError(
                f"predict_gradient needs a kernel of the points themselves; {self.kernel_}: {explain(self.kernel_)}, whose "
                "derivatives are not known. Where the transform changes no point, give the model the kernel without it"
            )
        found = None if known is None else known.at_once(points, looked_at, GRADIENT)
        if known is not None and found is not None:
            if found.not_positive:
                diagonal = np.asarray(self.alpha) + known.noise
                prediction.warn_of_zeros(found.deviation[:, 0], diagonal, known.X, known.covariance.points(points))
            one = found.mean.shape[1] == 1
            return (found.mean_grad[..., 0], found.deviation_grad[..., 0]) if one else (found.mean_grad, found.deviation_grad)
        if not looked_at and not np.isfinite(points).all():
            points = _validated(self, X, ensure_2d=True, dtype="numeric", reset=False)
        at = None if known is None else known.at(points)
        if known is None or at is None:
            reason = explain(self.kernel_)
            if reason.startswith("fastard"):
                reason = "the points, or a parameter, are out of its range; rescale them"
            raise ValueError(f"predict_gradient needs a kernel that fastard computes; {self.kernel_}: {reason}")
        terms, noise, points = at
        mean_grad, std_grad, variance = prediction.gradients(
            terms, noise, known.X, known.alpha, known.factor, points, default_threads()
        )
        prediction.warn_of_zeros(variance, np.asarray(self.alpha) + noise, known.X, points)
        scale = np.asarray(self._y_train_std).reshape(-1)
        with _underflow_ignored():
            mean_gradient, std_gradient = mean_grad * scale, std_grad[..., np.newaxis] * scale
        if mean_gradient.shape[2] == 1:
            return mean_gradient[..., 0], std_gradient[..., 0]
        return mean_gradient, std_gradient


class _Trained:
    """What predictions need of a trained estimator, as long as it is that.

    It is not kept where its arrays are the user's (``copy_X_train=False``), who may change them, or had to be copied.
    """

    def __init__(self, estimator: Any, covariance: Covariance) -> None:
        self.arrays = _arrays(estimator)
        self.values = values(estimator.kernel_)
        self.covariance = covariance
        self.X = covariance.X
        self.alpha = np.asarray(estimator.alpha_, dtype=np.float64).reshape(self.X.shape[0], -1)
        self.factor = np.ascontiguousarray(estimator.L_.T, dtype=np.float64)  # ours is so already
        self.lasts = bool(estimator.copy_X_train) and np.may_share_memory(self.factor, estimator.L_)
        self.posterior, self.noise = self._posterior(estimator)

    def _posterior(self, estimator: Any) -> tuple[Posterior | None, float]:
        """For predictions by one compiled call, where the covariance is one term and noise; and the noise's variance."""
        try:
            terms, noise = self.covariance.at(None, min_length_scales(self.X))
            shape = self.alpha.shape[1:]
            to_units = [np.broadcast_to(np.reshape(it, -1), shape).astype(np.float64) for it in self.arrays[-2:]]
        except (UnsupportedKernelError, ValueError):  # a parameter, or the normalisation, is not as `fit` makes it
            return None, 0.0
        return (posterior(terms[0], self.X, self.alpha, self.factor, *to_units) if len(terms) == 1 else None), noise

    def is_of(self, estimator: Any) -> bool:
        """Whether nothing was trained or changed since."""
        return all(map(operator.is_, self.arrays, _arrays(estimator))) and self.values == values(estimator.kernel_)

    def points(self, estimator: Any, X: Any) -> tuple[Any, bool]:
        """X as scikit-learn's checks leave it, and whether its numbers have been looked at; raises scikit-learn's errors.

        An array that scikit-learn would take as it is goes through none of its checks.
        """
        if not hasattr(estimator, "feature_names_in_"):
            points = validate.plain_points(X, self.arrays[0].shape[1])
            if points is not None and not (self.covariance.transforms and not np.isfinite(points).all()):
                return points, bool(self.covariance.transforms)
        return _validated(estimator, X, ensure_2d=True, dtype="numeric", reset=False), True

    def at_once(self, points: Any, looked_at: bool, wanted: int) -> Predictions | None:
        """Predictions by one compiled call; None where that cannot be, or a number is not finite or out of range."""
        if self.posterior is None:
            return None
        try:
            points = self.covariance.points(points) if looked_at else points
        except UnsupportedKernelError:
            return None
        if points.shape[1] != self.X.shape[1]:  # by a transform
            return None
        return predict(self.posterior, points, wanted, self.noise, None, default_threads())

    def at(self, points: Any) -> tuple[list[Term], float, Array] | None:
        try:
            points = self.covariance.points(points)
            if points.shape[1] != self.X.shape[1]:  # by a transform
                return None
            return *self.covariance.at(None, min_length_scales(self.X, points)), points
        except UnsupportedKernelError:
            return None


def _arrays(estimator: Any) -> tuple[Any, ...]:
    """What ``fit`` makes anew: X first, last what turns predictions into the targets' units."""
    return (
        estimator.X_train_, estimator.alpha_, estimator.L_, estimator.kernel_, estimator._y_train_std, estimator._y_train_mean
    )  # fmt: skip


def _trained(estimator: Any) -> _Trained | None:
    """What predictions need of it, kept or made anew; None before ``fit``, or where fastard does not compute its kernel."""
    X = getattr(estimator, "X_train_", None)
    if not isinstance(X, np.ndarray) or X.ndim != 2:  # some kernels of scikit-learn's take lists of anything
        return None
    kept = _TRAINED.get(estimator)
    if kept is not None and kept.is_of(estimator):
        return kept
    covariance = _recognise(estimator.kernel_, X)
    if covariance is None or len(estimator.alpha_) != len(X) or estimator.L_.shape != (len(X), len(X)):
        return None
    trained = _Trained(estimator, covariance)
    if trained.lasts:
        _TRAINED[estimator] = trained
    return trained


@contextlib.contextmanager
def _underflow_ignored(estimator: Any = None) -> Iterator[None]:
    """For our arithmetic, where an underflow is nobody's error; given an estimator, only if its kernel is one of ours.

    Overflows are told as the user wants, as by scikit-learn.
    """
    if estimator is not None and (np.geterr()["under"] == "ignore" or _recognise(getattr(estimator, "kernel_", None)) is None):
        yield
    else:
        with np.errstate(under="ignore"):
            yield
