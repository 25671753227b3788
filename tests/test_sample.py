"""model.sample: functions with the posterior's mean and covariance."""

import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import peak, points, trained

import fastard


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("noise", [False, True])
def test_moments(m, noise):
    """Of 20 000 functions; a standard error of a covariance is at most sqrt(2 / 20000) of the largest variance, 1 %."""
    model, _, _ = trained(m=m)
    Z = points(5)
    drawn = model.sample(Z, 20_000, rng=0, include_noise=noise)
    assert drawn.shape == ((20_000, 5) if m == 1 else (20_000, 5, m))
    mean, cov = model.predict(Z, return_cov=True, include_noise=noise)
    drawn, mean, cov = (array.reshape(*array.shape, 1) if m == 1 else array for array in (drawn, mean, cov))
    for t in range(m):
        np.testing.assert_allclose(drawn[..., t].mean(axis=0), mean[:, t], atol=0.05)
        np.testing.assert_allclose(np.cov(drawn[..., t].T), cov[..., t], atol=0.05)
    if m > 1:  # the outputs are independent, given the parameters
        across = (drawn[..., 0] - mean[:, 0]).T @ (drawn[..., 1] - mean[:, 1]) / 20_000
        assert np.abs(across).max() < 0.05


class Units(np.random.Generator):
    """Instead of random numbers the unit vectors, so that the functions drawn are the columns of A."""

    def standard_normal(self, size):
        functions, m, rank = size
        return np.tile(np.eye(functions, rank)[:, np.newaxis], (1, m, 1))


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("noise", [False, True])
def test_the_factor_is_that_of_the_covariance(m, noise):
    model, _, _ = trained(m=m)
    Z = np.repeat(points(12), 2, axis=0)  # of equal points: singular without noise
    for known in (None, np.linspace(0.0, 0.5, 24)) if noise else (None,):
        of_targets = {"include_noise": noise, "observation_variance": known}
        drawn = model.sample(Z, 24, rng=Units(np.random.PCG64()), **of_targets).reshape(24, 24, m)
        mean, cov = model.predict(Z, return_cov=True, **of_targets)
        for t in range(m):
            A = drawn[..., t].T - mean.reshape(24, m)[:, [t]]
            assert_agree(A @ A.T, cov.reshape(24, 24, m)[..., t])


def test_the_seed_decides_and_the_global_state_is_left_alone():
    model, _, _ = trained()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (model.sample(points(), 3, rng=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_array_equal(first, model.sample(points(), 3, rng=np.random.default_rng(1)))
    old, same, another = (model.sample(points(), 3, rng=np.random.RandomState(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(old, same)
    assert np.abs(old - another).max() > 0.01
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_where_the_covariance_is_singular():
    """Known values, equal points, and far more points than the smooth function has freedom."""
    model, X, y = trained(n=20, noise_variance=0.0)
    np.testing.assert_allclose(model.sample(X, 4, rng=0), np.tile(y, (4, 1)), atol=1e-4)
    twice = model.sample(np.repeat(points(5), 2, axis=0), 4, rng=0)
    np.testing.assert_allclose(twice[:, ::2], twice[:, 1::2], atol=1e-6)
    line = np.linspace([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 300)
    functions = model.sample(line, 2, rng=0)
    assert np.isfinite(functions).all()
    assert np.abs(np.diff(functions, 2)).max() < 1e-2  # smooth


def test_one_point_no_columns_and_bad_arguments():
    model, _, _ = trained()
    assert model.sample(points(1)).shape == (1, 1)
    flat = fastard.fit(np.empty((4, 0)), [1.0, 2.0, 3.0, 4.0], max_iterations=2)
    assert np.ptp(flat.sample(np.empty((3, 0)), rng=0)) < 1e-6
    for name, bad in [("size", 0), ("size", 1.5), ("rng", "seed"), ("X", np.ones((2, 2)))]:
        with pytest.raises((ValueError, TypeError), match=name):
            model.sample(**{"X": points(), name: bad})
    with pytest.raises(ValueError, match="length_scale is too small for X"):
        model.sample(np.full((1, 3), 1e151))


def test_memory():
    """The covariance of the points, theirs with the data, and hardly anything beside."""
    n, q = 600, 1500
    model, _, _ = trained(n=n)
    Z = points(q)
    most = 1.1 * 8 * (q * q + q * n)
    assert peak(lambda: model.predict(Z, return_cov=True)) < most
    assert peak(lambda: model.sample(Z, 2, rng=0)) < most


def test_inputs_are_unchanged():
    model, _, _ = trained()
    Z = data(4, 3)[0]
    kept = Z.copy()
    model.sample(Z, 2)
    np.testing.assert_array_equal(Z, kept)
