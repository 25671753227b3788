"""The posterior distribution of the hyperparameters as draws, and what is asked of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._bayes import convergence
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.given_parameters import model_at
from fastard._model.names import input_names, output_names
from fastard._model.relevance import relevance
from fastard._objectives.likelihood import LogMarginalLikelihood
from fastard._parameters import FIXED
from fastard.kernels import Kernel

_MOST_KEPT = 2**25  # entries of factors, 256 MB, that stay for the next prediction


class PosteriorSummary(NamedTuple):
    """A row for each hyperparameter; printed it is a table.

    Attributes
    ----------
    names : list of str
        In the order of [length_scale ..., signal_variance, noise_variance, shape ...]; the global scale of "saas" last.
    median, low, high : ndarray, shape (P,)
        Of the posterior, in the units of X and y; low and high bound the equal-tailed credible interval.
    r_hat : ndarray, shape (P,)
        Near 1 where the chains agree; NaN where a parameter is fixed.
    ess_bulk, ess_tail : ndarray, shape (P,)
        Effective sample sizes of the centre and of the tails.
    probability : float
        That a parameter lies between low and high.
    n_divergences, n_trajectories : int
        Draws whose trajectories diverged, of so many.
    """

    names: list[str]
    median: Array
    low: Array
    high: Array
    r_hat: Array
    ess_bulk: Array
    ess_tail: Array
    probability: float
    n_divergences: int
    n_trajectories: int

    def __str__(self) -> str:
        width = max(map(len, self.names))
        low_level, high_level = (f"{50.0 * (1.0 + sign * self.probability):.4g}%" for sign in (-1.0, 1.0))
        lines = [f"{'':{width}} {'median':>10} {low_level:>10} {high_level:>10}  R-hat  ESS bulk  ESS tail"]
        for name, median, low, high, r_hat, bulk, tail in zip(*self[:7], strict=True):
            counts = "  fixed" if np.isnan(r_hat) else f"{r_hat:7.3f}{bulk:10.0f}{tail:10.0f}"
            lines.append(f"{name:{width}} {median:10.4g} {low:10.4g} {high:10.4g}{counts}")
        lines.append(f"ESS: effective sample size. {self.n_divergences} of {self.n_trajectories} trajectories diverged.")
        return "\n".join(lines)


@dataclass(repr=False, eq=False)
class BayesianGaussianProcess:
    """Gaussian processes at draws from the posterior of their hyperparameters; :func:`fastard.sample_posterior` makes it.

    Everything is in the units of the X and y that it was given.

    Attributes
    ----------
    kernel : kernel object
        Its own shape parameters are a start; those of the draws are in ``shape``.
    length_scale : ndarray, shape (n_chains, n_draws, d)
    signal_variance, noise_variance : ndarray, shape (n_chains, n_draws)
    shape : ndarray, shape (n_chains, n_draws, p)
        Shape parameters of the kernel.
    global_scale : ndarray, shape (n_chains, n_draws), or None
        Of the prior "saas".
    log_posterior : ndarray, shape (n_chains, n_draws)
        Log marginal likelihood, priors and Jacobian, in nats; the density of the logarithms that are sampled.
    diverging : ndarray of bool, shape (n_chains, n_draws)
        Draws whose trajectories diverged: near these the sampler may have missed a part of the posterior.
    n_evaluations : int
        Of the log marginal likelihood and its gradient, in all chains, warm-up included.
    n_not_positive_definite : int
        Of these, how many found a covariance that is not positive definite in float64: the density there counts as 0.
    feature_names, target_names : list of str or None
        The columns of the DataFrames, as for :class:`fastard.GaussianProcess`.
    n_threads : int
        Threads for the compiled loops of ``predict``.
    """

    kernel: Kernel
    length_scale: Array
    signal_variance: Array
    noise_variance: Array
    shape: Array
    global_scale: Array | None
    log_posterior: Array
    diverging: NDArray[np.bool_]
    n_evaluations: int
    n_not_positive_definite: int
    feature_names: list[str] | None
    target_names: list[str] | None
    n_threads: int
    _X: Array
    _y: Array  # (n, m), less the mean
    _y_mean: Array  # (m,)
    _observation_variance: Array | None  # (n,)
    _members: dict[int, GaussianProcess] = field(default_factory=dict)  # by the number of the draw

    _encoding: ClassVar[None] = None  # its inputs are numbers

    @property
    def input_names(self) -> list[str]:
        """``feature_names``, or x0, x1 ... where there are none."""
        return input_names(self.feature_names, self._X.shape[1])

    @property
    def output_names(self) -> list[str]:
        """``target_names``, or y, or y0, y1 ... where there are none."""
        return output_names(self.target_names, self._y.shape[1])

    @property
    def n_chains(self) -> int:
        return len(self.signal_variance)

    @property
    def n_draws(self) -> int:
        """Of each chain."""
        return int(self.signal_variance.shape[1])

    @property
    def n_divergences(self) -> int:
        """Draws whose trajectories diverged."""
        return int(self.diverging.sum())

    @property
    def parameter_names(self) -> list[str]:
        """Of the columns that :meth:`summary` lists."""
        names = validate.parameter_names(self._X.shape[1], self.kernel, self.feature_names)
        return names + ["global_scale"] * (self.global_scale is not None)

    @property
    def relevance(self) -> Array:
        """Of each draw as :attr:`fastard.GaussianProcess.relevance`: shares that sum to 1, (n_chains, n_draws, d)."""
        return relevance(self._X, self.length_scale)

    def relevance_interval(self, probability: float = 0.9) -> Array:
        """Equal-tailed credible intervals of each input's relevance.

        Parameters
        ----------
        probability : float, default 0.9
            That the relevance lies within.

        Returns
        -------
        interval : ndarray, shape (d, 2)

        Raises
        ------
        ValueError, TypeError
            For a probability that is not between 0 and 1.
        """
        tail = 0.5 - 0.5 * validate.probability("probability", probability)
        result: Array = np.quantile(self.relevance, [tail, 1.0 - tail], axis=(0, 1)).T
        return result

    def summary(self, probability: float = 0.9) -> PosteriorSummary:
        """Medians and credible intervals of the hyperparameters, R-hat and effective sample sizes.

        Parameters
        ----------
        probability : float, default 0.9
            Of the equal-tailed credible intervals.

        Returns
        -------
        PosteriorSummary
            Printed it is a table.

        Raises
        ------
        ValueError, TypeError
            For a probability that is not between 0 and 1.

        References
        ----------
        Vehtari, Gelman, Simpson, Carpenter & Bürkner, Bayesian Analysis 16 (2021), 667-718: rank-normalised split R-hat, of
        which 1.01 or less is good; effective sample sizes of the bulk and of the tails, of which a hundred per chain are.
        """
        probability = validate.probability("probability", probability)
        tail = 0.5 - 0.5 * probability
        draws = self._draws()
        median, low, high = np.quantile(draws, [0.5, tail, 1.0 - tail], axis=(0, 1))
        diagnostics = convergence.r_hat(draws), convergence.ess_bulk(draws), convergence.ess_tail(draws)
        divergences = self.n_divergences, self.diverging.size
        return PosteriorSummary(self.parameter_names, median, low, high, *diagnostics, probability, *divergences)

    def _draws(self) -> Array:
        """All of them side by side, (n_chains, n_draws, P)."""
        numbers = [self.signal_variance, self.noise_variance]
        last = [] if self.global_scale is None else [self.global_scale[..., np.newaxis]]
        return np.concatenate([self.length_scale, np.stack(numbers, axis=-1), self.shape, *last], axis=-1)

    def member(self, chain: int, draw: int) -> GaussianProcess:
        """The Gaussian process at one draw; its matrix is factored for it, n^3 / 3 flops.

        Parameters
        ----------
        chain, draw : int
            From 0.

        Returns
        -------
        GaussianProcess

        Raises
        ------
        ValueError, TypeError
            For a chain or draw that there is not.
        """
        chain = validate.index("chain", chain, self.n_chains)
        draw = validate.index("draw", draw, self.n_draws)
        kernel = self.kernel.with_shape(self.shape[chain, draw].tolist())
        likelihood = LogMarginalLikelihood(
            self._X, self._y, kernel=kernel, observation_variance=self._observation_variance, n_threads=self.n_threads
        )
        return model_at(
            likelihood,
            self.length_scale[chain, draw].copy(),
            float(self.signal_variance[chain, draw]),
            float(self.noise_variance[chain, draw]),
            kernel,
            objective="posterior",
            n_evaluations=1,
            converged=False,
            message=f"draw {draw} of chain {chain} from the posterior",
            search_values=[],
            feature_names=self.feature_names,
            target_names=self.target_names,
            _y_mean=self._y_mean,
            _slots=np.full(likelihood.n_parameters, FIXED),
        )

    def _thinned(self, n_draws: int) -> list[GaussianProcess]:
        """The processes at so many draws, evenly spaced over all chains; all draws where there are no more."""
        total = self.n_chains * self.n_draws
        numbers = np.unique(np.linspace(0, total - 1, min(n_draws, total)).round().astype(int)).tolist()
        keeps = len(numbers) * len(self._X) ** 2 <= _MOST_KEPT
        result = [self._members.get(i) or self.member(*divmod(i, self.n_draws)) for i in numbers]
        self._members = dict(zip(numbers, result, strict=True)) if keeps else {}
        return result

    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        *,
        n_draws: int = 100,
    ) -> Array | tuple[Array, Array]:
        r"""Predict at new points, averaged over the posterior of the hyperparameters.

        .. math:: \bar f = \mathrm{E}_\theta\,\bar f_\theta, \qquad
                  \sigma^2 = \mathrm{E}_\theta\,\sigma_\theta^2 + \mathrm{Var}_\theta\,\bar f_\theta

        Parameters
        ----------
        X, return_std, include_noise, observation_variance
            As for :meth:`fastard.GaussianProcess.predict`.
        n_draws : int, default 100
            Draws that are averaged over, evenly spaced over all chains; each one is factored, n^3 / 3 flops, the first time.

        Returns
        -------
        mean : ndarray, shape (q,), or (q, m) for m > 1 outputs
        std : ndarray, the shape of ``mean``; with ``return_std``
            With the spread of the means between draws. The distribution is a mixture of Gaussians; :meth:`sample` draws
            from it.

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        """
        members = self._thinned(validate.count("n_draws", n_draws, least=1))
        if not return_std:
            return np.mean([model.predict(X) for model in members], axis=0)  # type: ignore[no-any-return]
        found = [model.predict(X, True, False, include_noise, observation_variance) for model in members]
        means, deviations = (np.array(each) for each in zip(*found, strict=True))
        return means.mean(axis=0), np.sqrt(np.mean(deviations**2, axis=0) + means.var(axis=0))

    def sample(
        self,
        X: ArrayLike,
        size: int = 1,
        rng: Any = None,
        include_noise: bool = False,
        observation_variance: ArrayLike | None = None,
        *,
        n_draws: int = 100,
    ) -> Array:
        """Draw functions at the given points, each from the Gaussian process at a random draw of the hyperparameters.

        Parameters
        ----------
        X, size, rng, include_noise, observation_variance
            As for :meth:`fastard.GaussianProcess.sample`.
        n_draws : int, default 100
            Draws that are chosen among, as for :meth:`predict`.

        Returns
        -------
        values : ndarray, shape (size, q), or (size, q, m) for m > 1 outputs

        Raises
        ------
        ValueError, TypeError
            For a wrong argument; the message names it.
        """
        size = validate.count("size", size, least=1)
        random = validate.generator(rng)
        members = self._thinned(validate.count("n_draws", n_draws, least=1))
        counts = np.bincount(random.integers(len(members), size=size), minlength=len(members)).tolist()
        found = [
            model.sample(X, count, random, include_noise, observation_variance)
            for model, count in zip(members, counts, strict=True)
            if count
        ]
        return random.permutation(np.concatenate(found))

    def to_inference_data(self) -> Any:
        """The draws as ArviZ's ``InferenceData``, for its plots and diagnostics.

        Returns
        -------
        arviz.InferenceData
            With the groups posterior and sample_stats.

        Raises
        ------
        ImportError
            Where ArviZ is not installed.
        """
        from fastard._bayes.conversion import to_inference_data

        return to_inference_data(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the draws and the data to a file that :func:`fastard.load` reads: NumPy's npz without pickle.

        Parameters
        ----------
        path : str or path-like
            One that is there already is overwritten, once the new one is whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        from fastard._bayes.archive import save

        save(self, path)

    def __repr__(self) -> str:
        n, d = self._X.shape
        draws = f"{self.n_chains} chains of {self.n_draws} draws"
        return f"<BayesianGaussianProcess {self.kernel!r} of {n} points in {d} dimensions: {draws}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_members": {}}
