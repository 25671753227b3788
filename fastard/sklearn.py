"""The door for scikit-learn: its Gaussian process regressor, computed by fastard.

Change ``from sklearn.gaussian_process import GaussianProcessRegressor`` to ``from fastard.sklearn import ...``, or call
:func:`patch` where other code imports scikit-learn's class itself.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from sklearn.base import _fit_context, clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor as _SklearnRegressor
from sklearn.gaussian_process.kernels import Kernel
from sklearn.preprocessing._data import _handle_zeros_in_scale
from sklearn.utils import check_random_state
from sklearn.utils.optimize import _check_optimize_result

from fastard import _prediction
from fastard._blas import one_blas_thread
from fastard._engine import Evaluation, Term, Workspace, borrowed, central, evaluate
from fastard._patching import Patch
from fastard._sklearn_kernels import Covariance, NotOursError
from fastard._threads import default_threads, together
from fastard._validation import Array, least_length_scales, read_only
from fastard.exceptions import where

__all__ = ["GaussianProcessRegressor", "explain", "patch", "patched", "unpatch"]

# Restarts run side by side, one thread to each, where one evaluation does not use its threads well: see ``_engine``'s
# _SHARED_FROM and the two-thread figures of benchmarks/limits.py.
_SIDE_BY_SIDE_BELOW = 500
# For fewer pairs of query and data, scikit-learn's own predict is faster, with its covariance: one query at 50 points takes
# 180 us there and 350 here, 200 the same, 1000 at 300 points 12.8 ms there and 1.1 here.
_FEW_PAIRS = 10_000
# A search ends when a step lowers the loss by less than this part of it; scikit-learn takes SciPy's default.
_LEAST_FALL, _THEIR_LEAST_FALL = 1e-10, 1e7 * float(np.finfo(float).eps)

# scikit-learn's own methods, as they are before patch() puts ours in their place.
_THEIRS: dict[str, Any] = {
    name: vars(_SklearnRegressor)[name]
    for name in ("fit", "predict", "sample_y", "log_marginal_likelihood", "_constrained_optimization")
}


def _validated(estimator: Any, *arrays: Any, **options: Any) -> Any:
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn 1.5
        return estimator._validate_data(*arrays, **options)
    return validate_data(estimator, *arrays, **options)


class _Untrained(_SklearnRegressor):
    log_marginal_likelihood = _THEIRS["log_marginal_likelihood"]  # patch() does not reach it


@functools.cache
def _default_kernel() -> Kernel:
    """The kernel that the installed scikit-learn takes for None: with fixed parameters before its version 1.9."""
    return _THEIRS["fit"](_Untrained(optimizer=None), [[0.0]], [0.0]).kernel_


# Each estimator's buffer, to be used again. Not an attribute: a model of scikit-learn's own class pickles as it did.
_BUFFERS: weakref.WeakKeyDictionary[Any, list[Workspace]] = weakref.WeakKeyDictionary()


class _Data:
    """Training data as the engine takes them, and the likelihood of a covariance on them.

    ``X`` is the covariance's. Raises NotOursError where they do not fit together, or are not what scikit-learn takes.
    """

    def __init__(self, X: Array, y: Any, alpha: Any) -> None:
        if not self.takes(X, y, alpha):
            raise NotOursError("the targets or alpha are not numbers, one for each point")
        self.X = X
        self.y = read_only(np.ascontiguousarray(y, dtype=np.float64).reshape(self.X.shape[0], -1))
        self.alpha = np.asarray(alpha, dtype=np.float64)
        self.center = central(self.X)
        self.least = least_length_scales(self.X)

    @staticmethod
    def takes(X: Any, y: Any, alpha: Any) -> bool:
        alpha = np.asarray(alpha)
        numbers = y.dtype.kind in "fiub" and alpha.dtype.kind in "fiu" and bool(np.isfinite(alpha).all())
        return numbers and len(y) == len(X) and alpha.shape in ((), (len(X),))

    def evaluate(
        self, covariance: Covariance, theta: Array | None, workspace: Workspace, *, gradient: bool, threads: int
    ) -> Evaluation:
        """Raises NotOursError where a parameter is out of fastard's range."""
        terms, noise = covariance.at(theta, self.least)
        return evaluate(
            terms, self.X, self.y, self.alpha + noise, workspace, gradient=gradient, threads=threads, center=self.center
        )


def _recognise(kernel: Any, data: Any = None) -> Covariance | None:
    try:
        return Covariance(kernel, data)
    except NotOursError:
        return None


def _trains_as_usual(estimator: Any) -> bool:
    """Whether no subclass has put its own likelihood or optimisation in the place of those known here."""
    cls = type(estimator)
    return (
        cls.log_marginal_likelihood in (GaussianProcessRegressor.log_marginal_likelihood, _THEIRS["log_marginal_likelihood"])
        and cls._constrained_optimization is _THEIRS["_constrained_optimization"]
    )


def _search(estimator: Any, covariance: Covariance, data: _Data, workspace: Workspace) -> tuple[Array, float]:
    """The best theta that the estimator's optimiser finds from its starts, and minus the log marginal likelihood there."""
    bounds = estimator.kernel_.bounds
    restarts = estimator.n_restarts_optimizer
    draws = (estimator._rng.uniform(bounds[:, 0], bounds[:, 1]) for _ in range(restarts))
    starts = itertools.chain([estimator.kernel_.theta], draws)  # each is drawn when its search begins
    own_optimizer = callable(estimator.optimizer)

    def search(start: Array, workspace: Workspace, threads: int) -> tuple[Array, float]:
        def loss(theta: ArrayLike, eval_gradient: bool = True) -> Any:
            theta = np.asarray(theta, dtype=np.float64)
            if own_optimizer:
                estimator.kernel_.theta = theta  # as theirs, for whoever looks
            try:
                evaluation = data.evaluate(covariance, theta, workspace, gradient=eval_gradient, threads=threads)
            except NotOursError:
                theirs = _THEIRS["log_marginal_likelihood"](estimator, theta, eval_gradient)
                return (-theirs[0], -theirs[1]) if eval_gradient else -theirs
            value = evaluation.log_marginal_likelihood
            return (-value, -covariance.gradient(theta, evaluation)) if eval_gradient else -value

        if own_optimizer:
            theta, value = estimator.optimizer(loss, start, bounds=bounds)
            return theta, float(np.min(value))
        return _minimize(loss, start, bounds)

    threads = default_threads()
    n, m = data.y.shape
    if own_optimizer:
        optima = dict(enumerate(search(start, workspace, threads) for start in starts))
    elif min(threads, 1 + restarts) == 1 or n >= _SIDE_BY_SIDE_BELOW:
        with one_blas_thread():
            optima = dict(enumerate(search(start, workspace, threads) for start in starts))
    else:
        optima, drawn = {}, list(starts)

        def search_some(indices: Iterator[int]) -> None:
            own = Workspace(n, m)
            for i in indices:
                optima[i] = search(drawn[i], own, 1)

        with one_blas_thread():
            together(min(threads, 1 + restarts), 1 + restarts, search_some)
    return optima[int(np.argmin([optima[i][1] for i in range(1 + restarts)]))]


def _minimize(loss: Any, start: Array, bounds: Array) -> tuple[Array, float]:
    """scikit-learn's search, L-BFGS-B, but not stopped by a plateau: there, rounding decides where its rule ends a search.

    On energy (Matérn 5/2) scikit-learn's rule ends 0.003 nats below its own optimum or above, this one 5e-5 above, for 141
    evaluations in place of 109; on yacht, and on the made-up data of benchmarks/scikit_learn.py, it takes 0 to 3 more.
    """
    values: list[float] = []

    def accepted(intermediate_result: Any) -> None:
        values.append(float(intermediate_result.fun))

    result = minimize(
        loss, start, method="L-BFGS-B", jac=True, bounds=bounds, callback=accepted, options={"ftol": _LEAST_FALL}
    )
    falls = [(before - after) / max(abs(before), abs(after), 1.0) for before, after in itertools.pairwise(values)]
    if not any(fall <= _THEIR_LEAST_FALL for fall in falls):  # where scikit-learn would be content we warn of nothing
        _check_optimize_result("lbfgs", result)
    return result.x, result.fun


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
        if not _trains_as_usual(self) or _recognise(kernel) is None:
            return _THEIRS["fit"](self, X, y)
        given = X, y
        X, y = _validated(self, X, y, multi_output=True, y_numeric=True, ensure_2d=True, dtype="numeric")
        covariance = _recognise(kernel, X)
        searched = self.optimizer is not None and covariance is not None and covariance.n_parameters > 0
        if (
            covariance is None
            or self.n_targets not in (None, 1 if y.ndim == 1 else y.shape[1])
            or not _Data.takes(X, y, self.alpha)
            or (searched and self.n_restarts_optimizer > 0 and not np.isfinite(kernel.bounds).all())
        ):
            return _THEIRS["fit"](self, *given)  # its errors, and its ways with an alpha of one entry
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
        workspace = Workspace(*data.y.shape)
        if searched:
            theta, loss = _search(self, covariance, data, workspace)
            self.kernel_.theta = theta
            self.kernel_._check_bounds_params()
        try:
            trained = Covariance(self.kernel_, self.X_train_)
            evaluation = data.evaluate(trained, None, workspace, gradient=False, threads=default_threads())
        except NotOursError:  # the optimum is out of our range
            rest = _SklearnRegressor(self.kernel_, alpha=self.alpha, optimizer=None)
            _THEIRS["fit"](rest, self.X_train_, self.y_train_)
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
            with contextlib.suppress(NotOursError):
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
            return _THEIRS["log_marginal_likelihood"](self, theta, eval_gradient, clone_kernel)
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
        if _few(self, X):
            with _underflow_ignored(self):
                return _THEIRS["predict"](self, X, return_std=return_std, return_cov=return_cov)
        known = None if return_std and return_cov else _trained(self)
        if known is None:
            return _THEIRS["predict"](self, X, return_std=return_std, return_cov=return_cov)
        points = _validated(self, X, ensure_2d=True, dtype="numeric", reset=False)
        at = known.at(points)
        if at is None:
            return _THEIRS["predict"](self, X, return_std=return_std, return_cov=return_cov)
        terms, noise, points = at
        spread: Literal["variance", "covariance"] | None = "covariance" if return_cov else "variance" if return_std else None
        mean, result = _prediction.predict(
            terms, noise, known.X, known.alpha, known.factor, points, spread, default_threads()
        )  # fmt: skip
        if return_std and (result < 0.0).any():
            warnings.warn("Predicted variances smaller than 0. Setting those variances to 0.", stacklevel=2)
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
            return _THEIRS["sample_y"](self, X, n_samples, random_state)

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
        points = _validated(self, X, ensure_2d=True, dtype="numeric", reset=False)
        known = _trained(self)
        if known is not None and known.covariance.transforms:
            raise ValueError(
                f"predict_gradient needs a kernel of the points themselves; {self.kernel_}: {explain(self.kernel_)}, whose "
                "derivatives are not known. Where the transform changes no point, give the model the kernel without it"
            )
        at = None if known is None else known.at(points)
        if known is None or at is None:
            reason = explain(self.kernel_)
            if reason.startswith("fastard"):
                reason = "the points, or a parameter, are out of its range; rescale them"
            raise ValueError(f"predict_gradient needs a kernel that fastard computes; {self.kernel_}: {reason}")
        terms, noise, points = at
        of_mean, of_std, variance = _prediction.gradients(
            terms, noise, known.X, known.alpha, known.factor, points, default_threads()
        )
        _prediction.warn_of_zeros(variance, np.asarray(self.alpha) + noise, known.X, points)
        scale = np.asarray(self._y_train_std).reshape(-1)
        with _underflow_ignored():
            mean_gradient, std_gradient = of_mean * scale, of_std[..., np.newaxis] * scale
        if mean_gradient.shape[2] == 1:
            return mean_gradient[..., 0], std_gradient[..., 0]
        return mean_gradient, std_gradient


class _Trained:
    """What predictions need of a trained estimator."""

    def __init__(self, estimator: Any, covariance: Covariance) -> None:
        self.covariance = covariance
        self.X = covariance.X
        self.alpha = np.asarray(estimator.alpha_, dtype=np.float64).reshape(self.X.shape[0], -1)
        self.factor = np.ascontiguousarray(estimator.L_.T, dtype=np.float64)  # ours is so already

    def at(self, points: Any) -> tuple[list[Term], float, Array] | None:
        try:
            points = self.covariance.points(points)
            if points.shape[1] != self.X.shape[1]:  # by a transform
                return None
            return *self.covariance.at(None, least_length_scales(self.X, points)), points
        except NotOursError:
            return None


def _trained(estimator: Any) -> _Trained | None:
    X = getattr(estimator, "X_train_", None)
    if not isinstance(X, np.ndarray) or X.ndim != 2:  # some kernels of scikit-learn's take lists of anything
        return None
    covariance = _recognise(estimator.kernel_, X)
    if covariance is None or len(estimator.alpha_) != len(X) or estimator.L_.shape != (len(X), len(X)):
        return None
    return _Trained(estimator, covariance)


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


def _few(estimator: Any, X: Any) -> bool:
    """Whether there are too few pairs of query and data for our predictions to be the faster ones."""
    try:
        return len(X) * len(estimator.X_train_) < _FEW_PAIRS
    except (TypeError, AttributeError):  # no length, or not trained
        return False


def explain(kernel: Any) -> str:
    """Which code computes a scikit-learn kernel, and why.

    Parameters
    ----------
    kernel : scikit-learn kernel or GaussianProcessRegressor, or None for the regressor's default
        Whether its length scales are as many as the columns of X shows only in training.

    Returns
    -------
    text : str
        "fastard: ..." with the terms that it computes, or "scikit-learn: ..." with the reason.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, WhiteKernel
    >>> from fastard.sklearn import explain
    >>> explain(2.0 * RBF([1.0, 2.0]) + WhiteKernel())
    'fastard: RBF, and noise'
    >>> explain(RBF() + ExpSineSquared())
    'scikit-learn: ExpSineSquared is not a kernel that fastard computes'
    """
    if isinstance(kernel, _SklearnRegressor):
        kernel = getattr(kernel, "kernel_", kernel.kernel)
    if kernel is None:
        kernel = _default_kernel()
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel must be a kernel of scikit-learn's, a regressor, or None; got {kernel!r}")
    try:
        covariance = Covariance(kernel)
    except NotOursError as error:
        return f"scikit-learn: {error}"
    names = ["constant" if term.kernel is None else type(term.kernel).__name__ for term in covariance.terms]
    text = f"fastard: {' + '.join(names)}{', and noise' if covariance.white else ''}"
    return text + (f"{',' if covariance.white else ''} of transformed points" if covariance.transforms else "")


_OURS = ("fit", "predict", "sample_y", "log_marginal_likelihood", "predict_gradient")
_PATCH = Patch(_SklearnRegressor, {name: vars(GaussianProcessRegressor)[name] for name in _OURS})


def patch() -> None:
    """Give scikit-learn's own GaussianProcessRegressor fastard's methods, for code that imports that class itself.

    The class stays the same object, so that subclasses of it and models made before are computed by fastard too.
    :func:`unpatch` takes it back.
    """
    _PATCH.apply_for_good()


def unpatch() -> None:
    """Give scikit-learn's GaussianProcessRegressor its own methods back."""
    for name in _OURS:
        if name in _THEIRS:
            setattr(_SklearnRegressor, name, _THEIRS[name])
        elif name in vars(_SklearnRegressor):
            delattr(_SklearnRegressor, name)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """:func:`patch` for the length of a ``with`` block, in all threads; after the last exit, what it found is there again."""
    with _PATCH.applied():
        yield
