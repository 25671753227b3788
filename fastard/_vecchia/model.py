"""The trained Gaussian process of many points: predictions from each point's nearest neighbours."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.relevance import relevance
from fastard._model.standard_errors import StandardErrors, from_information
from fastard._parameters import AT_BOUND, tied_groups
from fastard._vecchia.likelihood import VecchiaLogLikelihood
from fastard.kernels import Kernel


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
        The Vecchia log likelihood of y less its mean in training, in nats: an approximation of the log marginal likelihood,
    objective : str
        What training maximised: "log_likelihood", and " with priors" where there were some.
    n_evaluations : int
        Evaluations of the Vecchia log likelihood, its gradient and its information in training.
    converged : bool
    message : str
        Why the search ended.
    feature_names : list of str or None
        The columns of the DataFrame that it was trained on.
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
    _likelihood: VecchiaLogLikelihood
    _y_mean: Array  # (m,)
    _slots: NDArray[np.int64]  # (d + 2 + p,), which free parameter each one is: tied ones share; or FIXED, AT_BOUND

    @property
    def input_names(self) -> list[str]:
        """``feature_names``, or x0, x1 ... where there are none."""
        return self.feature_names or [f"x{i}" for i in range(self.length_scale.size)]

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
    def _theta(self) -> Array:
        with np.errstate(divide="ignore"):  # no noise
            return np.log([*self.length_scale, self.signal_variance, self.noise_variance, *self.kernel])

    def standard_errors(self) -> StandardErrors:
        names = validate.parameter_names(self.length_scale.size, self.kernel, self.feature_names)
        groups = tied_groups(self._slots)
        information = self._likelihood.information(self._theta)
        return from_information(groups @ information @ groups.T, groups, names, stacklevel=3)
