"""Exact Gaussian-process training with one length scale per input dimension (ARD)."""

from fastard._config import show_config, warmup
from fastard._storage import load
from fastard.covariance import covariance, covariance_vjp
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import RBF, Matern12, Matern32, Matern52, Matern72, RationalQuadratic
from fastard.leave_one_out import LeaveOneOut, loo_log_predictive_density
from fastard.likelihood import LogMarginalLikelihood, log_marginal_likelihood
from fastard.posterior import GaussianProcess
from fastard.training import TrainingState, fit
from fastard.uncertainty import StandardErrors

__version__ = "0.1.0"

__all__ = [
    "RBF",
    "GaussianProcess",
    "LeaveOneOut",
    "LogMarginalLikelihood",
    "Matern12",
    "Matern32",
    "Matern52",
    "Matern72",
    "NotPositiveDefiniteError",
    "RationalQuadratic",
    "StandardErrors",
    "TrainingState",
    "covariance",
    "covariance_vjp",
    "fit",
    "load",
    "log_marginal_likelihood",
    "loo_log_predictive_density",
    "show_config",
    "warmup",
]
