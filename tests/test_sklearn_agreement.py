"""Agreement with scikit-learn's own log marginal likelihood, gradient included."""

import numpy as np
import pytest
from conftest import assert_agree, data

import fastard

pytest.importorskip("sklearn")
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, RationalQuadratic, WhiteKernel

PEERS = {
    "rbf": lambda scale: RBF(scale),
    "matern12": lambda scale: Matern(scale, nu=0.5),
    "matern32": lambda scale: Matern(scale, nu=1.5),
    "matern52": lambda scale: Matern(scale, nu=2.5),
}


def peer(kernel, X, y):
    """scikit-learn's value and its gradient, in its own order of theta."""
    regressor = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(X, y)
    return regressor.log_marginal_likelihood(regressor.kernel_.theta, eval_gradient=True)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(("n", "d"), [(30, 1), (65, 3), (129, 6)])
def test_value_and_gradient(name, n, d):
    X, y = data(n, d)
    scale = np.geomspace(0.5, 3.0, d)
    value, gradient = peer(ConstantKernel(1.7) * PEERS[name](scale) + WhiteKernel(0.1), X, y)
    ours = fastard.log_marginal_likelihood(
        X, y, length_scale=scale, signal_variance=1.7, noise_variance=0.1, kernel=name, eval_gradient=True
    )
    assert_agree(ours[0], value)
    assert_agree(ours[1], np.concatenate([gradient[1 : d + 1], gradient[:1], gradient[d + 1 :]]))


def test_rational_quadratic():
    """scikit-learn's is isotropic: its length scale's derivative is the sum over ours."""
    X, y = data(65, 3)
    kernel = ConstantKernel(1.7) * RationalQuadratic(length_scale=1.3, alpha=0.7) + WhiteKernel(0.1)
    value, (of_signal, of_shape, of_scale, of_noise) = peer(kernel, X, y)
    ours = fastard.log_marginal_likelihood(
        X,
        y,
        length_scale=1.3,
        signal_variance=1.7,
        noise_variance=0.1,
        kernel=fastard.RationalQuadratic(0.7),
        eval_gradient=True,
    )
    assert_agree(ours[0], value)
    assert_agree([ours[1][:3].sum(), *ours[1][3:]], [of_scale, of_signal, of_noise, of_shape])


@pytest.mark.parametrize("name", PEERS)
def test_covariance(name):
    X, Z = data(65, 3)[0], data(20, 3, seed=1)[0]
    scale = np.array([0.5, 1.0, 2.0])
    assert_agree(fastard.covariance(X, Z, length_scale=scale, kernel=name), PEERS[name](scale)(X, Z), 1e-13)
