"""Gradients of the predicted mean and standard deviation against differences of the predictions."""

import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import peak

import fastard


def trained(kernel, m=1, n=40, **options):
    X, y = data(n, 3, m)
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance", "shape")}
    parameters = {"length_scale": [0.8, 1.3, 2.0], "signal_variance": 1.7, "noise_variance": 0.1, **options}
    return fastard.fit(X, 3.0 * y + 5.0, kernel=kernel, **parameters, **fixed), X


@pytest.mark.parametrize("m", [1, 2])
def test_against_differences(kernel, m):
    model, _ = trained(kernel[1], m)
    points, step = data(6, 3, seed=1)[0], 1e-6
    mean_grad, std_grad = model.predict_gradient(points)
    assert mean_grad.shape == std_grad.shape == ((6, 3) if m == 1 else (6, 3, 2))
    for p in range(3):
        shift = step * np.eye(3)[p]
        up, down = (model.predict(points + sign * shift, return_std=True) for sign in (1.0, -1.0))
        assert_agree(mean_grad[:, p], (up[0] - down[0]) / (2.0 * step), 1e-7)
        assert_agree(std_grad[:, p], (up[1] - down[1]) / (2.0 * step), 1e-7)


def test_of_many_points_is_that_of_each():
    model, _ = trained("rbf", n=200)
    points = data(5, 3, seed=1)[0]
    together = model.predict_gradient(points)
    for i in range(5):
        for whole, alone in zip(together, model.predict_gradient(points[i : i + 1]), strict=True):
            assert_agree(alone[0], whole[i], 1e-12)


@pytest.mark.parametrize("m", [1, 2])
def test_no_standard_deviation_has_no_derivative(m, monkeypatch):
    """Where rounding made the variance negative or nothing."""
    model, _ = trained("rbf", m)
    points = data(3, 3, seed=1)[0]
    mean_grad, std_grad = model.predict_gradient(points)
    deviation = model.predict(points[2:], return_std=True)[1][0]
    variances = model.predict(points, return_std=True)[1].reshape(3, m)[:, 0] ** 2
    monkeypatch.setattr(fastard.GaussianProcess, "_noise", lambda *_: (0.0, np.array([-1e-9, -1e-12, 0.25]) - variances))
    with pytest.warns(UserWarning, match="2 of 3 predicted variances"):
        found_mean, found_std = model.predict_gradient(points)
    np.testing.assert_array_equal(found_mean, mean_grad)
    np.testing.assert_array_equal(found_std[:2], 0.0)
    assert_agree(found_std[2], std_grad[2] * deviation / 0.5, 1e-13)


def test_without_noise_at_a_training_point_it_is_finite():
    model, X = trained("rbf", n=5, noise_variance=0.0)
    assert np.isfinite(model.predict_gradient(X)).all()


def test_wrong_points():
    model, _ = trained("rbf")
    with pytest.raises(ValueError, match="3 columns"):
        model.predict_gradient(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="length_scale is too small for X"):
        model.predict_gradient(np.full((1, 3), 1e151))


def test_memory_of_many_points():
    """No n x q array: a few of (q, d), and each thread's block of up to 96 points."""
    n, q = 400, 20_000
    model, _ = trained("rbf", n=n, n_threads=2)
    points = data(q, 3, seed=1)[0]
    assert peak(lambda: model.predict_gradient(points)) < 8 * (3 * q * 3 + 3 * 96 * n * 2) < 0.1 * 8 * n * q
