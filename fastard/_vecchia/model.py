"""The trained Gaussian process of many points: predictions from each point's nearest neighbours."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array, read_only
from fastard._engine.terms import Term
from fastard._engine.vecchia import INFORMATION
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.given_parameters import model_at
from fastard._model.names import input_names, output_names
from fastard._model.prediction import warn_of_zeros
from fastard._model.relevance import relevance
from fastard._model.standard_errors import Note, StandardErrors, from_information, notes_on_bounds, visible_influence
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import tied_groups
from fastard._vecchia.accuracy import Accuracy, accuracy, judge
from fastard._vecchia.archive import save
from fastard._vecchia.likelihood import VecchiaLogLikelihood
from fastard._vecchia.prediction import LocalPosterior, local_posterior, predict, predict_left_out
from fastard._vecchia.sampling import draw
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import Kernel

if TYPE_CHECKING:
    from fastard._model.summary import Summary

_Found = TypeVar("_Found")

_FLAT = 1e-10  # a curvature below zero by no more than this share of the largest is flat but for rounding

_STEP = 1e-3  # of a logarithm, in differences

_NEIGHBORS = 256  # that a point is predicted from, where nobody says how many

_MOST_WITH_ERRORS = 100_000  # points, of which a plot waits for standard errors


@dataclass(repr=False, eq=False)
class VecchiaGaussianProcess:
    """A Gaussian process trained on many points by its Vecchia log likelihood; :func:`fastard.fit_vecchia` makes it.

    Everything is in the units of the X and y that it was trained on. The process has a constant mean, that of the targets.

    Attributes
    ----------
    kernel : kernel object
        With trained shape parameters.
    length_scale : ndarray, shape (d,)
    signal_variance, noise_variance : float
    log_likelihood : float
        The Vecchia log likelihood of y less its mean in training, in nats: an approximation of the log marginal likelihood.
    objective : str
        What training maximised: "log_likelihood", and " with priors" where there were some.
    n_evaluations : int
        Evaluations of the Vecchia log likelihood, its gradient and its information in training.
    converged : bool
    message : str
        Why the search ended.
    feature_names, target_names : list of str or None
        The columns of the DataFrames that it was trained on, or the name of a Series.
    neighbors, block_size : int
        Of the blocks in training.
    n_threads : int
        Threads for the compiled loops.
    """

    kernel: Kernel
    length_scale: Array
    signal_variance: float
    noise_variance: float
    log_likelihood: float
    objective: str
    n_evaluations: int
    converged: bool
    message: str
    feature_names: list[str] | None
    target_names: list[str] | None
    _likelihood: VecchiaLogLikelihood
    _y_mean: Array  # (m,)
    _slots: NDArray[np.int64]  # (d + 2 + p,), which free parameter each one is: tied ones share; or FIXED, AT_BOUND
    _trend: ClassVar[None] = None  # its mean is a constant, its inputs are numbers, and all points and outputs share one noise
    _noise_ratio: ClassVar[None] = None
    _encoding: ClassVar[None] = None
    _noise_groups: ClassVar[None] = None

    @property
    def input_names(self) -> list[str]:
        """``feature_names``, or x0, x1 ... where there are none."""
        return input_names(self.feature_names, self.length_scale.size)

    @property
    def output_names(self) -> list[str]:
        """``target_names``, or y, or y0, y1 ... where there are none."""
        return output_names(self.target_names, self._y_mean.size)

    @property
    def relevance(self) -> Array:
        """Standard deviation of each input over its length scale, scaled to sum 1, shape (d,).

        As :attr:`fastard.GaussianProcess.relevance`.
        """
        return relevance(self._likelihood.X, self.length_scale)

    @property
    def neighbors(self) -> int:
        """How many earlier points a block was conditioned on in training."""
        return self._likelihood.neighbors

    @property
    def block_size(self) -> int:
        """The most points of a block in training."""
        return self._likelihood.block_size

    @property
    def n_threads(self) -> int:
        """Threads for the compiled loops."""
        return self._likelihood.n_threads

    @property
    def _X(self) -> Array:
        """In the blocks' order, as are the other two."""
        return self._likelihood.X

    @property
    def _y(self) -> Array:
        return self._likelihood.y

    @property
    def _targets(self) -> Array:
        """As they were given."""
        result: Array = self._y + self._y_mean
        return result

    @property
    def _observation_variance(self) -> Array | None:
        return self._likelihood.observation_variance

    @property
    def _theta(self) -> Array:
        with np.errstate(divide="ignore"):  # no noise
            return np.log([*self.length_scale, self.signal_variance, self.noise_variance, *self.kernel])

    @property
    def _visible(self) -> NDArray[np.bool_]:
        """Which inputs the function can be seen to depend on."""
        return visible_influence(self._likelihood.X, self._likelihood.y, self._term, self.n_threads)

    @property
    def _term(self) -> Term:
        return Term(self.kernel, self.length_scale, self.signal_variance)

    @property
    def _is_one_block(self) -> bool:
        """Of all points: then it is the exact model."""
        return self._likelihood.blocks.starts.size == 1

    @cached_property
    def _exact(self) -> GaussianProcess:
        """The exact model of the same parameters."""
        return _exact_model(self)

    @cached_property
    def _local(self) -> LocalPosterior:
        likelihood = self._likelihood
        return local_posterior(
            self._term, self.noise_variance, likelihood.X, likelihood.y, likelihood.observation_variance, self._y_mean
        )

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        *,
        neighbors: int | None = None,
    ) -> Array | tuple[Array, Array]:
        r"""Predict at new points, each from the exact Gaussian process of the training points nearest to it.

        .. math:: \bar f_* = k_*^\top K_c^{-1} (y_c - \bar y) + \bar y, \qquad
                  \sigma_*^2 = \sigma_f^2 - k_*^\top K_c^{-1} k_*

        A row's prediction does not depend on the other rows. It jumps by little where the set of its neighbours changes.

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points.
        return_std : bool, default False
            Whether to return standard deviations beside the mean.
        include_noise : bool, default False
            Whether they are of new noisy targets, whose variances have ``noise_variance`` added: where a new measurement will
            fall. Otherwise of the function itself: how well it is known.
        observation_variance : float or array-like, shape (q,), optional
            Known variances of the new targets, added too; only with ``include_noise``. A model that was trained with such
            needs them: pass 0 for targets with ``noise_variance`` alone.
        neighbors : int, optional
            Training points that each is predicted from, the nearest in units of the length scales; with all of them the
            prediction is the exact model's. Time grows with their third power. By default 256, and where the covariance of
            these is not positive definite, which can be so without noise, as many of them as are independent to working
            precision: those of whose variance the others leave nothing but rounding errors tell nothing more, and are left
            out. A number is taken as it is: then there is an error.

        Returns
        -------
        mean : ndarray, shape (q,), or (q, m) for m > 1 outputs
        std : ndarray, shape (q,), or (q, m); with ``return_std``
            0 where rounding left no positive variance; a warning counts them.

        Raises
        ------
        ValueError, TypeError
            For wrong points, for a DataFrame without a column of training's, or for known variances that are missing, or given
            without ``include_noise``.
        NotPositiveDefiniteError
            If two of a point's neighbours are equal and have no noise; and if so many ``neighbors`` as were asked for have a
            covariance that is not positive definite, which that of fewer may be.

        References
        ----------
        Rasmussen & Williams (2006), equations (2.23) and (2.24), page 16, of the neighbours alone; Vecchia, JRSS B 50 (1988),
        297-312.
        """
        neighbors, leaves_out = _to_predict_from(neighbors)
        if self._is_one_block or neighbors >= len(self._X):
            return self._exact.predict(
                X, return_std=return_std, include_noise=include_noise, observation_variance=observation_variance
            )
        points = self._points(X)
        known = validate.variances_of_points(
            observation_variance,
            len(points),
            include_noise=include_noise,
            trained_with=self._likelihood.observation_variance is not None,
        )
        noise = self.noise_variance if include_noise else 0.0
        mean, deviation = self._of_rows(predict, self._local, points, neighbors, noise, known, self.n_threads, leaves_out)
        if not deviation.all():
            warn_of_zeros(deviation, self._local.noise, self._likelihood.X, points)
        outputs = mean.shape[1]
        if outputs == 1:
            return (mean[:, 0], deviation) if return_std else mean[:, 0]
        return (mean, np.repeat(deviation[:, np.newaxis], outputs, axis=1)) if return_std else mean

    def sample(
        self, X: ArrayLike, size: int = 1, rng: Any = None, include_noise: bool = False, *, neighbors: int | None = None
    ) -> Array:
        r"""Draw functions from the posterior, at the given points.

        The points come in random order, each given its nearest training points and points drawn before it: a Vecchia
        approximation of the joint posterior (Katzfuss, Guinness, Gong & Zilber, Vecchia approximations of Gaussian-process
        predictions, JABES 25 (2020), 383-414), exact with all of them.

        Parameters
        ----------
        X : array-like, shape (q, d)
            Points.
        size : int, default 1
            Number of functions.
        rng : int, numpy.random.Generator or RandomState, optional
            The global random state is neither read nor moved.
        include_noise : bool, default False
            Whether to draw noisy targets, with ``noise_variance``; otherwise the function itself.
        neighbors : int, optional
            Training points and earlier points that each is drawn given; by default 256, or as many of them as are
            independent, as for :meth:`predict`.

        Returns
        -------
        values : ndarray, shape (size, q), or (size, q, m) for m > 1 outputs

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        NotPositiveDefiniteError
            As :meth:`predict`.
        """
        size = validate.count("size", size, least=1)
        neighbors, leaves_out = _to_predict_from(neighbors)
        random = validate.generator(rng)
        if self._is_one_block:
            return self._exact.sample(X, size, random, include_noise)
        points = self._points(X)
        values = self._of_rows(draw, self._local, points, neighbors, size, random, self.n_threads, leaves_out)
        if include_noise:
            values += math.sqrt(self.noise_variance) * random.standard_normal(values.shape)
        return values[..., 0] if values.shape[2] == 1 else values

    def standard_errors(self) -> StandardErrors:
        """Standard errors of the logarithms of the trained parameters, and their correlations, from the average information.

        Where that is not positive definite, which chance may bring about along a direction that the data hardly
        determine, they are from the curvature itself, by differences of the gradient at two points for each parameter.
        The Vecchia likelihood is the density of a Gaussian process itself, so that the inverse of its information is
        right as far as :meth:`accuracy` finds little lost. It is that of the points' order in training, which ``rng``
        gave: another may move parameters by more than these errors, most of all where :meth:`accuracy` tells large
        shifts. Trainings with another ``rng`` show it, but not what all orders have wrong in the same direction: that
        the shift tells.

        Returns
        -------
        StandardErrors
            Named tuple of names, standard_errors, covariance and correlation, in the order of
            [length_scale ..., signal_variance, noise_variance, shape ...].

        Warns
        -----
        UserWarning
            For parameters at a bound, and those that the data do not determine, which are left out as fixed ones are.

        References
        ----------
        Gilmour, Thompson & Cullis, Average information REML, Biometrics 51 (1995), 1440-1450.
        """
        found, notes = self._errors()
        for note in notes:
            warnings.warn(note.text, stacklevel=2)
        return found

    def _errors(self) -> tuple[StandardErrors, list[Note]]:
        """The standard errors, and what a user is to know of them."""
        names = validate.parameter_names(self.length_scale.size, self.kernel, self.feature_names)
        groups = tied_groups(self._slots)
        found, notes = from_information(self._information(groups), groups, names)
        return found, notes_on_bounds(self._slots, names, self._visible) + notes

    def _information(self, groups: Array) -> Array:
        """By the groups of tied parameters: the average information, or the observed one, by differences of the gradient."""
        theta, likelihood = self._theta, self._likelihood
        try:
            information = likelihood.information(theta)
        except NotPositiveDefiniteError:  # training ended where the rounding of logarithms decides
            own = (self.length_scale, self.signal_variance, self.noise_variance, self.kernel)
            information = likelihood.evaluate(*own, wanted=INFORMATION).information
        average: Array = groups @ information @ groups.T
        if not np.isfinite(average).all() or not len(groups):
            return average
        curvatures = np.linalg.eigvalsh(average)
        if curvatures[0] > -_FLAT * curvatures[-1]:
            return average
        try:
            slopes = [likelihood(theta + _STEP * group)[1] - likelihood(theta - _STEP * group)[1] for group in groups]
        except (NotPositiveDefiniteError, ValueError):
            return average
        observed: Array = -0.5 / _STEP * np.array(slopes) @ groups.T
        return 0.5 * (observed + observed.T)

    def accuracy(self, *, sample: int = 100, rng: Any = 0, neighbors: int | None = None) -> Accuracy:
        """How much the approximation loses, from a sample: beside blocks of four and sixteen times as many neighbours.

        Parameters
        ----------
        sample : int, default 100
            Blocks that are conditioned on more points; ten times as many training points are predicted from their neighbours.
        rng : int, numpy.random.Generator or RandomState, default 0
            For the sample.
        neighbors : int, optional
            That a point is predicted from, and twice as many; by default as for :meth:`predict`.

        Returns
        -------
        Accuracy
            Named tuple; as text, its three most telling lines. NaN where the covariance of so many neighbours is not positive
            definite, which can be so without noise; predictions by default leave some of these neighbours out.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        """
        sample = validate.count("sample", sample, least=2)
        neighbors, leaves_out = _to_predict_from(neighbors)
        random = validate.generator(rng)
        likelihood = self._likelihood
        n = len(likelihood.X)
        validate.others_to_predict_from(n)
        rows = np.sort(random.choice(n, min(n, 10 * sample), replace=False))
        known = 0.0 if likelihood.observation_variance is None else likelihood.observation_variance[rows]
        counts = (min(neighbors, n - 1), min(2 * neighbors, n - 1))
        means, functions = np.full((2, rows.size, likelihood.y.shape[1]), np.nan), np.full((2, rows.size), np.nan)
        for i, count in enumerate(counts):
            with contextlib.suppress(NotPositiveDefiniteError):
                means[i], functions[i] = predict_left_out(self._local, rows, count, self.n_threads, leaves_out)
        deviations = np.sqrt(functions**2 + self.noise_variance + known)[:, :, np.newaxis]
        held_out = judge(likelihood.y[rows] + self._y_mean, means, deviations, counts)
        errors, _ = self._errors()  # what has no standard error has no shift in it either
        return accuracy(likelihood, self._theta, errors.covariance, errors.names, sample, random, held_out)

    def _points(self, X: ArrayLike) -> Array:
        """Points as the model takes them, (q, d)."""
        order = validate.order_of_columns(X, self.feature_names)
        points = validate.inputs(X, dimensions=self.length_scale.size)
        if order is not None:
            points = read_only(np.ascontiguousarray(points[:, order]))
        validate.length_scale_range(validate.min_length_scales(points, self._likelihood.X[:1]), self.length_scale)
        return points

    def _of_rows(self, function: Callable[..., _Found], *arguments: Any) -> _Found:
        """What a function finds; in its error, rows of the training data for places in the blocks' order."""
        try:
            return function(*arguments)
        except NotPositiveDefiniteError as error:
            remedy = (
                () if error.distance == 0.0 else ("Leave neighbors out, or pass fewer, or train with a higher noise_variance",)
            )
            raise self._likelihood.named(error.row, error.nearest_row, error.distance, *remedy) from None

    def summary(self, *, standard_errors: bool = True, accuracy: bool = False) -> Summary:
        """What the model says: inputs with errors, noise and signal, and how the search went.

        Parameters
        ----------
        standard_errors : bool, default True
            Those of :meth:`standard_errors`, which take as long as an evaluation in training.
        accuracy : bool, default False
            Whether to say what is lost, by :meth:`accuracy`.

        Returns
        -------
        Summary
            Printed it is text, in a notebook tables; its ``inputs`` and ``facts`` are the rows.
        """
        from fastard._vecchia.summary import summary

        return summary(self, standard_errors, accuracy)

    def plot_relevance(self, ax: Any = None) -> Any:
        """Draw a bar for each input's relevance, as :meth:`fastard.GaussianProcess.plot_relevance`.

        Up to 100 000 points, with two standard errors.

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

        return plot_relevance(self, ax, self._errors()[0] if len(self._X) <= _MOST_WITH_ERRORS else None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file that :func:`fastard.load` reads.

        NumPy's npz format without pickle: arrays, and a header in JSON. It holds the training data, and the blocks with their
        neighbours, some 30 bytes a point with the default ``neighbors`` and ``block_size``.

        Parameters
        ----------
        path : str or path-like
            The file, ``model.npz`` say; one that is there already is overwritten, once the new one is whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        save(self, path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_exact", "_local")}  # made again there

    def __repr__(self) -> str:
        n, d = self._likelihood.X.shape
        state = "converged" if self.converged else f"NOT CONVERGED ({self.message.partition(':')[0]})"
        return (
            f"<VecchiaGaussianProcess {self.kernel!r} on {n} points in {d} dimensions, blocks of {self.block_size} given "
            f"{self.neighbors} neighbors, signal variance {self.signal_variance:.4g}, "
            f"noise variance {self.noise_variance:.4g}, log likelihood {self.log_likelihood:.6g}, {state}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.summary(standard_errors=False)._repr_html_()


def _to_predict_from(neighbors: int | None) -> tuple[int, bool]:
    """How many neighbours, and whether those that tell nothing are left out, because nobody asked for so many."""
    if neighbors is None:
        return _NEIGHBORS, True
    return validate.count("neighbors", neighbors, least=1), False


def _exact_model(model: VecchiaGaussianProcess) -> GaussianProcess:
    """The exact Gaussian process of the same data and parameters."""
    vecchia = model._likelihood
    exact = LogMarginalLikelihood(
        vecchia.X,
        vecchia.y,
        kernel=model.kernel,
        observation_variance=vecchia.observation_variance,
        n_threads=vecchia.n_threads,
    )
    return model_at(
        exact,
        model.length_scale,
        model.signal_variance,
        model.noise_variance,
        model.kernel,
        objective=model.objective,
        n_evaluations=model.n_evaluations,
        converged=model.converged,
        message=model.message,
        search_values=[model.log_likelihood],
        feature_names=model.feature_names,
        target_names=model.target_names,
        _y_mean=model._y_mean,
        _slots=model._slots,
    )
