"""Training on four UCI sets reaches scikit-learn's optimum, same kernel, bounds and start, and predicts as well."""

import warnings

import numpy as np
import pytest
from conftest import SOURCE

import fastard

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from fastard.sklearn import GaussianProcessRegressor as SwappedRegressor

FOLDER = SOURCE.parent / "shared" / "data" / "uci"
ROWS = 200  # of the training rows, so that scikit-learn takes seconds


@pytest.mark.parametrize("name", ["yacht", "concrete", "energy", "airfoil"])
def test_reaches_scikit_learns_optimum(name):
    path = FOLDER / f"{name}.csv"
    if not path.exists():
        pytest.skip("the UCI sets are not here")
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    held_out = np.loadtxt(FOLDER / f"{name}.test_mask.csv", delimiter=",", skiprows=_header(name))[:, 0] == 1
    X, y = table[:, :-1], table[:, -1]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(~held_out))[:ROWS]
    X_train, y_train, X_test, y_test = X[rows], y[rows], X[held_out], y[held_out]
    scale = np.where(np.ptp(X_train, axis=0) == 0.0, 1.0, X_train.std(axis=0))
    center, unit = y_train.mean(), y_train.std()
    d = X.shape[1]

    kernel = ConstantKernel(1.0, (1e-4, 1e4)) * RBF(np.full(d, np.sqrt(d)), (1e-2, 1e4)) + WhiteKernel(0.1, (1e-6, 1e1))
    with warnings.catch_warnings():  # an input that does nothing ends at its bound
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer = GaussianProcessRegressor(kernel, alpha=0.0).fit(X_train / scale, (y_train - center) / unit)
        swapped = SwappedRegressor(kernel, alpha=0.0, n_restarts_optimizer=5, random_state=0).fit(
            X_train / scale, (y_train - center) / unit
        )
    assert swapped.log_marginal_likelihood_value_ >= peer.log_marginal_likelihood_value_ - 1e-4
    model = fastard.fit(
        X_train,
        y_train,
        length_scale=np.sqrt(d) * scale,
        signal_variance=unit**2,
        noise_variance=0.1 * unit**2,
        length_scale_bounds=np.outer(scale, [1e-2, 1e4]),
        signal_variance_bounds=(1e-4 * unit**2, 1e4 * unit**2),
        noise_variance_bounds=(1e-6 * unit**2, 1e1 * unit**2),
        n_restarts=5,  # of several optima, from one start either search may find the better one
        rng=0,
    )
    theirs = peer.log_marginal_likelihood_value_ - len(y_train) * np.log(unit)  # of y in its own units
    assert model.log_marginal_likelihood >= theirs - 1e-3
    rmse = np.sqrt(np.mean((model.predict(X_test) - y_test) ** 2))
    their_rmse = np.sqrt(np.mean((peer.predict(X_test / scale) * unit + center - y_test) ** 2))
    better = model.log_marginal_likelihood > theirs + 0.5  # another, better optimum need not predict alike
    assert rmse <= 1.01 * their_rmse or better


def _header(name):
    """Lines of the mask's header: none, or one that holds no numbers."""
    first = (FOLDER / f"{name}.test_mask.csv").read_text().split("\n", 1)[0]
    return 0 if set(first) <= set("01,. ") else 1
