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


def waves(X):
    """Smoother than any kernel here."""
    return np.sin(3.0 * X).sum(axis=1) + np.cos(2.0 * X.sum(axis=1))


def smooth_posterior(n, length_scale, kernel=None, noise=0.0):
    d = len(length_scale)
    X = np.random.default_rng(d).uniform(size=(n, d))
    y = np.column_stack([waves(X), np.sin(X[:, 0])])
    return local_posterior(Term(kernel or fastard.RBF(), np.array(length_scale), 4.0), noise, X, y, None, np.array([0.0, 5.0]))


@pytest.mark.parametrize(
    ("name", "length_scale", "most"),
    [("rbf", [1.0], 1e-7), ("matern52", [5.0], 1e-6), ("rbf", [1.0, 1.0], 1e-6), ("matern52", [9.0, 9.0], 1e-5),
     ("rbf", [3.0] * 5, 0.02)],
)  # fmt: skip
@pytest.mark.parametrize("at_training_points", [False, True])
def test_neighbours_that_tell_nothing_are_left_out(name, length_scale, most, at_training_points):
    model = smooth_posterior(2000, length_scale, fastard.RBF() if name == "rbf" else fastard.Matern52())
    d = len(length_scale)
    points = model.X[:40] if at_training_points else np.random.default_rng(9).uniform(0.1, 0.9, size=(40, d))
    with pytest.raises(fastard.NotPositiveDefiniteError):
        predict(model, points, 256, 0.0, None, 2)
    mean, deviation = predict(model, points, 256, 0.0, None, 2, leaves_out=True)
    assert np.abs(mean[:, 0] - waves(points)).max() < most
    assert np.abs(mean[:, 1] - 5.0 - np.sin(points[:, 0])).max() < most
    assert d == 5 or deviation.min() > 1e-7  # what was left out is not known better than to rounding errors
    assert deviation.max() < max(most, 2e-7)
    alone = predict(model, points[7:8], 256, 0.0, None, 1, leaves_out=True)
    np.testing.assert_array_equal(alone[0][0], mean[7])
    assert alone[1][0] == deviation[7]


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_what_is_positive_definite_has_the_same_bits_with_nothing_left_out(noise):
    model = smooth_posterior(500, [0.3, 0.2], fastard.Matern32(), noise)
    points = data(50, 2)[0]
    found, with_rule = (predict(model, points, 100, 0.0, None, 2, leaves_out=leaves_out) for leaves_out in (False, True))
    np.testing.assert_array_equal(found[0], with_rule[0])
    np.testing.assert_array_equal(found[1], with_rule[1])


def in_long_double(model, x):
    """Mean and variance given all training points, with 11 more bits of each number."""
    U = (model.X.astype(np.longdouble) - x) / model.term.length_scale
    K = model.term.signal_variance * np.exp(-0.5 * ((U[:, np.newaxis] - U) ** 2).sum(axis=2))
    k = model.term.signal_variance * np.exp(-0.5 * (U**2).sum(axis=1))
    rows = np.column_stack([model.y, k])
    for j in range(len(K)):  # Gauss, without pivots
        assert K[j, j] > 0.0
        factor = (K[j + 1 :, j] / K[j, j])[:, np.newaxis]
        K[j + 1 :] -= factor * K[j]
        rows[j + 1 :] -= factor * rows[j]
    scaled = rows[:, -1] / K.diagonal()
    return scaled @ rows[:, :-1] + model.offset, model.term.signal_variance - scaled @ rows[:, -1]


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is no longer than double")
def test_where_more_digits_have_a_factor_the_rest_tells_what_all_do():
    model = smooth_posterior(10, [0.7])
    points = np.linspace(0.1, 0.9, 7)[:, np.newaxis]
    with pytest.raises(fastard.NotPositiveDefiniteError):
        predict(model, points, 10, 0.0, None, 1)
    mean, deviation = predict(model, points, 10, 0.0, None, 1, leaves_out=True)
    for i, x in enumerate(points):
        expected, variance = in_long_double(model, x)
        np.testing.assert_allclose(mean[i], expected.astype(float), rtol=0.0, atol=1e-5)
        assert abs(deviation[i] ** 2 - float(variance)) < 1e-10


def test_equal_rows_are_an_error_even_where_others_are_left_out():
    X = np.linspace(0.0, 1.0, 300)[:, np.newaxis]
    X[200] = X[150]
    model = local_posterior(Term(fastard.RBF(), np.array([1.0]), 1.0), 0.0, X, X, None, np.zeros(1))
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        predict(model, X[150:151], 100, 0.0, None, 1, leaves_out=True)
    assert (caught.value.row, caught.value.nearest_row, caught.value.distance) == (200, 150, 0.0)
    predict(model, X[:1], 100, 0.0, None, 1, leaves_out=True)  # they are not among its neighbours
