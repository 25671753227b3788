"""libKriging's universal kriging is ours: a linear trend and known variances of the targets, at equal parameters."""

import numpy as np
import pytest

import fastard

pylibkriging = pytest.importorskip("pylibkriging")

pytestmark = pytest.mark.integration


def test_a_linear_trend_is_libkrigings():
    rng = np.random.default_rng(0)
    X, at = rng.uniform(size=(40, 2)), rng.uniform(-0.5, 1.5, size=(7, 2))
    y = 3.0 * X[:, 0] - X[:, 1] + np.sin(6.0 * X[:, 0]) + 0.3 * rng.standard_normal(40)
    known, length_scale, signal_variance = rng.uniform(0.05, 0.2, 40), np.array([0.3, 0.7]), 1.7
    theirs = pylibkriging.Kriging("gauss", "heterogeneous")
    parameters = {"sigma2": signal_variance, "theta": length_scale.reshape(1, -1)}
    fixed = {"is_sigma2_estim": False, "is_theta_estim": False}
    theirs.fit(y, X, "linear", False, "none", "LL", parameters | fixed, known)
    ours = fastard.fit(
        X,
        y,
        mean="linear",
        observation_variance=known,
        length_scale=length_scale,
        length_scale_bounds="fixed",
        signal_variance=signal_variance,
        signal_variance_bounds="fixed",
        noise_variance=1e-300,
        noise_variance_bounds="fixed",
    )
    assert ours.log_marginal_likelihood == pytest.approx(theirs.logLikelihood(), rel=1e-10)
    np.testing.assert_allclose(ours.mean_coefficients().coefficients, theirs.beta().ravel(), rtol=1e-10)
    mean, deviation, covariance = theirs.predict(at, True, True, False)[:3]
    np.testing.assert_allclose(ours.predict(at), mean.ravel(), rtol=1e-10)
    np.testing.assert_allclose(ours.predict(at, return_std=True)[1], deviation.ravel(), rtol=1e-10)
    np.testing.assert_allclose(ours.predict(at, return_cov=True)[1], covariance, rtol=0, atol=1e-10)
