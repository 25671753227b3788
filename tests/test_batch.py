"""Many thetas at once: the bits of calls one by one."""

import numpy as np
import pytest
from conftest import data

import fastard


def objective_and_thetas(n=70, d=3, m=1, k=7, **options):
    X, y = data(n, d, m)
    objective = fastard.LogMarginalLikelihood(X, y, **options)
    start = np.log([*np.linspace(0.5, 2.0, d), 1.5, 0.1, *([1.0] * len(objective.kernel))])
    return objective, start + 0.3 * np.random.default_rng(1).standard_normal((k, start.size))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("kernel", ["rbf", "rational_quadratic"])
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize(("n", "k"), [(70, 7), (170, 45)], ids=["in turn", "side by side"])
def test_the_same_bits_as_one_by_one(n_threads, kernel, m, n, k):
    objective, thetas = objective_and_thetas(n=n, m=m, k=k, kernel=kernel, n_threads=n_threads)
    values, gradients = objective.batch(thetas)
    for theta, value, gradient in zip(thetas, values, gradients, strict=True):
        expected = objective(theta)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("m", [None, 1, 2])
def test_targets_of_each_theta(m):
    objective, thetas = objective_and_thetas()
    y = np.random.default_rng(2).standard_normal((len(thetas), 70) if m is None else (len(thetas), 70, m))
    values, gradients = objective.batch(thetas, y)
    for i, theta in enumerate(thetas):
        value, gradient = fastard.LogMarginalLikelihood(objective.X, y[i])(theta)
        assert values[i] == value
        np.testing.assert_array_equal(gradients[i], gradient)


def test_none_at_all():
    objective, thetas = objective_and_thetas()
    values, gradients = objective.batch(thetas[:0])
    assert values.shape == (0,)
    assert gradients.shape == (0, thetas.shape[1])


def test_one_that_is_not_positive_definite():
    for n, k in ((5, 2), (170, 45)):
        objective = fastard.LogMarginalLikelihood(np.zeros((n, 1)), np.arange(float(n)), n_threads=2)
        with pytest.raises(fastard.NotPositiveDefiniteError):
            objective.batch([*[[0.0, 0.0, 0.0]] * (k - 1), [0.0, 0.0, -np.inf]])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("n", "k"), [(5, 4), (170, 45)], ids=["in turn", "side by side"])
def test_failures_of_one_are_minus_infinity_where_asked_for(n, k, n_threads):
    """And the others have the bits that they have without it."""
    X, y = data(n, 2)
    X[1] = X[0]
    objective = fastard.LogMarginalLikelihood(X, 1e4 * y, kernel="rational_quadratic", n_threads=n_threads)
    good = np.log([1.0, 1.0, 1.0, 0.1, 1.0]) + 0.1 * np.random.default_rng(0).standard_normal((k, 5))
    bad = {
        0: [0.0, 0.0, 0.0, -np.inf, 0.0],  # rows 0 and 1 are equal
        k // 2: [0.0, 0.0, -700.0, -700.0, 0.0],  # y is too large for the variances
        k - 1: [800.0, 0.0, 0.0, 0.0, 0.0],  # exp(800) is infinite
        1: [-800.0, 0.0, 0.0, 0.0, 0.0],
    }
    thetas = good.copy()
    for i, theta in bad.items():
        thetas[i] = theta
    values, gradients = objective.batch(thetas, failures="-inf")
    expected = objective.batch(good)
    for i in range(k):
        assert values[i] == (-np.inf if i in bad else expected[0][i])
        np.testing.assert_array_equal(gradients[i], 0.0 if i in bad else expected[1][i])
    for i in bad:
        with pytest.raises(ValueError):  # noqa: PT011  a NotPositiveDefiniteError is one
            objective.batch(thetas[i : i + 1])
    np.testing.assert_array_equal(objective.batch(good)[0], expected[0])


def test_failures_are_not_wrong_arguments():
    objective, thetas = objective_and_thetas(k=2)
    for wrong in (thetas[:, :-1], np.full((2, 5), np.nan), thetas[0]):
        with pytest.raises(ValueError, match="theta"):
            objective.batch(wrong, failures="-inf")
    with pytest.raises(TypeError, match="theta"):
        objective.batch(thetas.astype(str), failures="-inf")
    with pytest.raises(ValueError, match="failures must be 'raise' or '-inf', got 'nan'"):
        objective.batch(thetas, failures="nan")


@pytest.mark.parametrize(
    ("thetas", "y", "name"),
    [
        (np.zeros(5), None, "thetas"),
        (np.zeros((2, 4)), None, "theta"),
        (np.full((2, 5), np.nan), None, "theta"),
        (np.zeros((2, 5)), np.zeros(70), "y"),
        (np.zeros((2, 5)), np.zeros((3, 70)), "y"),
        (np.zeros((2, 5)), np.full((2, 70), np.inf), "y"),
    ],
)
def test_bad_input(thetas, y, name):
    objective, _ = objective_and_thetas()
    with pytest.raises(ValueError, match=name):
        objective.batch(thetas, y)
