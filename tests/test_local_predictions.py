"""Predictions from nearest neighbours: each the exact Gaussian process of the training points near it."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard
from fastard._engine.terms import Term
from fastard._vecchia.prediction import local_posterior, predict

LENGTH_SCALE = np.array([0.5, 1.0, 3.0])


def posterior_of(X, y, *, kernel=None, noise=0.01, known=None, offset=None):
    targets = y.reshape(len(X), -1)
    offset = np.zeros(targets.shape[1]) if offset is None else offset
    return local_posterior(Term(kernel or fastard.Matern52(), LENGTH_SCALE, 1.7), noise, X, targets - offset, known, offset)


def plainly(name, shape, X, y, diagonal, points, m):
    """Mean (q, T) and variance (q,) of the function, by dense algebra."""
    term = naive.Term(name, LENGTH_SCALE, 1.7, shape)
    means, variances = [], []
    for x in points:
        near = np.argsort((((X - x) / LENGTH_SCALE) ** 2).sum(axis=1), kind="stable")[:m]
        K = naive.covariance([term], X[near]) + np.diag(diagonal[near])
        k = naive.covariance([term], X[near], x[None])[:, 0]
        solved = np.linalg.solve(K, k)
        means.append(solved @ y.reshape(len(X), -1)[near])
        variances.append(1.7 - solved @ k)
    return np.array(means), np.array(variances)


@pytest.mark.parametrize(("m", "targets"), [(1, 1), (13, 2), (40, 1), (64, 9)])
def test_agrees_with_the_plain_formulas(kernel, m, targets):
    name, chosen, shape = kernel
    X, y = data(150, 3, targets)
    points = data(20, 3, seed=3)[0]
    known = np.random.default_rng(4).uniform(0.0, 0.2, 150)
    expected, variance = plainly(name, shape, X, y, 0.01 + known, points, m)
    model = posterior_of(X, y, kernel=chosen, known=known)
    mean, deviation = predict(model, points, m, 0.0, None, 2)
    assert_agree(mean, expected)
    assert_agree(deviation, np.sqrt(variance))
    own = np.linspace(0.0, 1.0, 20)
    _, noisy = predict(model, points, m, 0.01, own, 1)
    assert_agree(noisy, np.sqrt(variance + 0.01 + own))


@pytest.mark.parametrize("neighbors", [130, 1000])
@pytest.mark.parametrize("outputs", [1, 2])
def test_with_all_training_points_it_is_the_exact_model(outputs, neighbors):
    X, y = data(130, 3, outputs)
    given = {"length_scale": LENGTH_SCALE, "signal_variance": 1.7, "noise_variance": 0.01}
    exact = fastard.fit(X, 3.0 + y, kernel="matern52", **given, **{f"{name}_bounds": "fixed" for name in given})
    offset = np.atleast_1d((3.0 + y).mean(axis=0))
    points = data(300, 3, seed=2)[0]
    for include_noise, noise in ((False, 0.0), (True, 0.01)):
        mean, deviation = predict(posterior_of(X, 3.0 + y, offset=offset), points, neighbors, noise, None, 2)
        expected, spread = exact.predict(points, return_std=True, include_noise=include_noise)
        assert_agree(mean, expected.reshape(300, -1))
        for t in range(outputs):
            assert_agree(deviation, spread.reshape(300, -1)[:, t])


def test_a_point_depends_on_no_other_point_nor_on_threads():
    X, y = data(3000, 3)
    points = data(100, 3, seed=8)[0]
    model = posterior_of(X, y)
    mean, deviation = predict(model, points, 30, 0.0, None, 2)
    for i in (0, 57, 99):
        alone = predict(model, points[i : i + 1], 30, 0.0, None, 1)
        assert alone[0][0, 0] == mean[i, 0]
        assert alone[1][0] == deviation[i]
    shuffled = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(predict(model, points[shuffled], 30, 0.0, None, 1)[0], mean[shuffled])


def test_far_from_the_data_it_is_the_prior():
    X, y = data(200, 3)
    mean, deviation = predict(posterior_of(X, y, offset=np.array([5.0])), np.full((1, 3), 1e100), 20, 0.0, None, 1)
    assert_agree(mean, [[5.0]])
    assert_agree(deviation, [np.sqrt(1.7)])


def test_equal_training_points_without_noise_are_named():
    X, y = data(100, 3)
    X[70] = X[20]
    model = posterior_of(X, y, noise=0.0)
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        predict(model, X[20:21] + 0.01, 30, 0.0, None, 1)
    assert (caught.value.row, caught.value.nearest_row) == (70, 20)
    far = X[np.argmax(((X - X[20]) ** 2).sum(axis=1))][None]
    predict(model, far, 3, 0.0, None, 1)  # they are not among its neighbours


def test_at_a_training_point_without_noise():
    X, y = data(100, 3)
    mean, deviation = predict(posterior_of(X, y, noise=0.0), X[:10], 20, 0.0, None, 1)
    assert_agree(mean[:, 0], y[:10])
    assert np.all(deviation < 1e-6)
