"""The process's global state is as it was, after calls and after errors."""

import os
import warnings

import numba
import numpy as np
import pytest
import threadpoolctl
from conftest import data

import fastard

X, Y = data(300, 9)
FAR = 1e6 * np.arange(8.0)[:, None]
FAR[5] = FAR[2]


def raises(exception, function):
    def call():
        with pytest.raises(exception):
            function()

    return call


SHORT = {"length_scale": 1e-3, "length_scale_bounds": "fixed", "signal_variance": 0.5, "signal_variance_bounds": "fixed"}


def use(model):
    """All that a model does, at length scales so short that its covariances underflow."""
    model.loo()
    model.sample(X[:20] + 0.1, rng=0)
    points = X[:1] + np.linspace(0.1, 0.2, 200)[:, np.newaxis]  # some covariances with the first point are denormal
    model.predict(points, return_cov=True)
    model.predict_gradient(points)
    for method in ("exact", "average_information"):
        model.standard_errors(method)
    model.summary()
    for distribution in ("uniform", "data"):
        model.sobol(distribution, n_samples=2, n_points=4)
        model.effects(distribution, n_nodes=3)
    model.refit(X[:40], Y[:40], max_iterations=1)
    model.update(X[40:42], Y[40:42])


CALLS = {
    "likelihood": lambda: fastard.log_marginal_likelihood(X, Y, length_scale=1.0, eval_gradient=True),
    "threads": lambda: fastard.log_marginal_likelihood(X, Y, length_scale=1.0, n_threads=3),
    "objective": lambda: fastard.LogMarginalLikelihood(X, Y)(np.zeros(11)),
    "covariance": lambda: fastard.covariance(X, length_scale=1.0),
    "vjp": lambda: fastard.covariance_vjp(X @ X.T, X, length_scale=1.0),
    "underflow": lambda: fastard.log_marginal_likelihood(X, Y, length_scale=1e-120, kernel="matern32", eval_gradient=True),
    "underflow_of_noise": lambda: fastard.log_marginal_likelihood(
        X[:40], Y[:40], length_scale=1.0, signal_variance=1e20, noise_variance=1e-300, kernel="matern12", eval_gradient=True
    ),
    "fit": lambda: fastard.fit(X[:40], Y[:40], n_restarts=1, max_iterations=3),
    "fit_seeded": lambda: fastard.fit(X[:40], Y[:40], n_restarts=1, max_iterations=3, rng=0),
    "predict": lambda: fastard.fit(X[:40], Y[:40], max_iterations=3).predict(X, return_std=True),
    "loo": lambda: fastard.loo_log_predictive_density(X, Y, length_scale=1e-3, eval_gradient=True),
    "model": lambda: use(fastard.fit(X[:40], Y[:40], kernel="matern12", **SHORT)),
    "model_denormal": lambda: use(fastard.fit(X[:40], Y[:40], kernel="matern32", **SHORT)),
    "bad_input": raises(ValueError, lambda: fastard.log_marginal_likelihood(X, Y[1:], length_scale=1.0)),
    "bad_theta": raises(ValueError, lambda: fastard.LogMarginalLikelihood(X, Y)(np.full(11, 1e6))),
    "not_positive_definite": raises(
        fastard.NotPositiveDefiniteError,
        lambda: fastard.log_marginal_likelihood(FAR, np.ones(8), length_scale=1.0, noise_variance=0.0),
    ),
    "too_large": raises(
        MemoryError, lambda: fastard.log_marginal_likelihood(np.zeros((10**7, 1)), np.zeros(10**7), length_scale=1.0)
    ),
}


def state():
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    return {
        "environment": dict(os.environ),
        "numpy errors": np.geterr(),
        "random state": [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],  # noqa: NPY002
        "numba threads": numba.get_num_threads(),
        "filters": list(warnings.filters),
        "print options": np.get_printoptions(),
        "pools": pools,
        "directory": os.getcwd(),
    }


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("errors", ["raise", "ignore"])
def test_global_state(call, errors):
    """Also under the strictest setting a user may have made: an underflow of ours is nobody's error."""
    state(), CALLS[call]()  # load what is loaded lazily, thread pools included
    with np.errstate(all=errors):
        before = state()
        CALLS[call]()
        assert state() == before


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_unchanged(name):
    before = X.copy(), Y.copy()
    CALLS[name]()
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])
