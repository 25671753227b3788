"""Exact Gaussian-process training with one length scale per input dimension (ARD)."""

from fastard._bayes.model import BayesianGaussianProcess, PosteriorSummary
from fastard._bayes.sampling import sample_posterior
from fastard._bayes.storage import load
from fastard._config import show_config
from fastard._model.additive import AdditiveGaussianProcess, Component
from fastard._model.effects import Effects
from fastard._model.gaussian_process import GaussianProcess
from fastard._model.sensitivity import SobolIndices
from fastard._model.standard_errors import StandardErrors
from fastard._model.summary import Summary
from fastard._model.trend import MeanCoefficients
from fastard._objectives.covariances import covariance, covariance_vjp
from fastard._objectives.leave_one_out import LeaveOneOut, loo_log_predictive_density
from fastard._objectives.likelihood import LogMarginalLikelihood, log_marginal_likelihood
from fastard._objectives.terms import Term
from fastard._progress import TrainingState
from fastard._training.fit import fit
from fastard._vecchia.accuracy import Accuracy, HeldOut
from fastard._vecchia.fit import fit_vecchia
from fastard._vecchia.likelihood import VecchiaLogLikelihood
from fastard._vecchia.model import VecchiaGaussianProcess
from fastard._version import __version__ as __version__
from fastard._warmup import warmup
from fastard.exceptions import NotPositiveDefiniteError
from fastard.kernels import RBF, Matern12, Matern32, Matern52, Matern72, RationalQuadratic

__all__ = [
    "RBF",
    "Accuracy",
    "AdditiveGaussianProcess",
    "BayesianGaussianProcess",
    "Component",
    "Effects",
    "GaussianProcess",
    "HeldOut",
    "LeaveOneOut",
    "LogMarginalLikelihood",
    "Matern12",
    "Matern32",
    "Matern52",
    "Matern72",
    "MeanCoefficients",
    "NotPositiveDefiniteError",
    "PosteriorSummary",
    "RationalQuadratic",
    "SobolIndices",
    "StandardErrors",
    "Summary",
    "Term",
    "TrainingState",
    "VecchiaGaussianProcess",
    "VecchiaLogLikelihood",
    "covariance",
    "covariance_vjp",
    "fit",
    "fit_vecchia",
    "load",
    "log_marginal_likelihood",
    "loo_log_predictive_density",
    "sample_posterior",
    "show_config",
    "warmup",
]

# Pickles and documentation name what is public by where it is public.
_PUBLIC = (
    Accuracy,
    AdditiveGaussianProcess,
    BayesianGaussianProcess,
    Component,
    Effects,
    GaussianProcess,
    HeldOut,
    LeaveOneOut,
    LogMarginalLikelihood,
    PosteriorSummary,
    MeanCoefficients,
    SobolIndices,
    StandardErrors,
    Summary,
    Term,
    TrainingState,
    VecchiaGaussianProcess,
    VecchiaLogLikelihood,
)
for _public in _PUBLIC:
    _public.__module__ = __name__
del _public
