"""The same whole fit in fastard and other libraries, each with its own defaults: start, bounds, search and stopping rule.

Inputs and a standardised target in, ``fit() -> Found`` out; a fit does all that a library does from the data on. The model is
the same for all: RBF kernel with a length scale for each input, noise, zero mean, one start. Libraries are imported
where they are used, because the peers' environments run this file too and hold one library each.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Found(NamedTuple):
    """What a fit ends with: fastard's natural parameters, and the log marginal likelihood that the library gives for them."""

    length_scale: np.ndarray
    signal_variance: float
    noise_variance: float
    value: float


Fit = Callable[[], Found]


def fastard(X: np.ndarray, y: np.ndarray) -> Fit:
    """Its defaults."""
    import fastard

    def fit():
        model = fastard.fit(X, y)
        return Found(model.length_scale, model.signal_variance, model.noise_variance, model.log_marginal_likelihood)

    return fit


def fastard_sklearn(X: np.ndarray, y: np.ndarray) -> Fit:
    """scikit-learn's kernels and class, trained by fastard."""
    from fastard.sklearn import GaussianProcessRegressor

    return _scikit_learns(GaussianProcessRegressor, X, y)


def scikit_learn(X: np.ndarray, y: np.ndarray) -> Fit:
    """Its class, with its kernels' default starts and bounds."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    return _scikit_learns(GaussianProcessRegressor, X, y)


def _scikit_learns(regressor, X, y):
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    kernel = 1.0 * RBF(np.ones(X.shape[1])) + WhiteKernel()

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters at their bounds
            model = regressor(kernel).fit(X, y)
        signal, *length_scale, noise = np.exp(model.kernel_.theta)
        return Found(np.array(length_scale), signal, noise, model.log_marginal_likelihood_value_)

    return fit


def gpflash(X: np.ndarray, y: np.ndarray) -> Fit:
    """Estimates the noise (a negative variance asks for that), and no mean: the target is centred."""
    import gpflash

    options = gpflash.OptzOptions()
    options.model_options.kernel_id = gpflash.KernelId.SqExp
    options.model_options.has_mean_model_constant = False

    def fit():
        model = gpflash.GaussianProcess(options).fit(X, y, sig2_f_val=-1.0)
        found = model.hp_val_struct()
        return Found(1.0 / np.array(found.hp_gamma_vec), found.hp_sig2_k, found.hp_sig2_f_val, model.mll())

    return fit


def pylibkriging(X: np.ndarray, y: np.ndarray) -> Fit:
    """A nugget that is estimated, and no trend."""
    import pylibkriging

    def fit():
        model = pylibkriging.Kriging("gauss", "nugget")
        model.fit(y, X, "none")
        return Found(model.theta().ravel(), model.sigma2(), model.nugget(), model.logLikelihood())

    return fit


def gpboost(X: np.ndarray, y: np.ndarray) -> Fit:
    """No approximation; its kernel is exp(-r^2), without the half."""
    import gpboost

    def fit():
        model = gpboost.GPModel(gp_coords=X, cov_function="gaussian_ard", likelihood="gaussian")
        model.fit(y=y)
        noise, signal, *ranges = np.ravel(model.get_cov_pars(format_pandas=False))
        return Found(np.array(ranges) / np.sqrt(2.0), signal, noise, -model.get_current_neg_log_likelihood())

    return fit


FITS = {
    "fastard": fastard,
    "fastard.sklearn": fastard_sklearn,
    "scikit-learn": scikit_learn,
    "gpflash": gpflash,
    "pylibkriging": pylibkriging,
    "GPBoost": gpboost,
}
