"""covariance and covariance_vjp against the plain truth."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import STORAGE

import fastard

SCALES = {0: np.empty(0), 1: np.array([1.3]), 3: np.array([0.5, 1.3, 2.0]), 9: np.geomspace(0.5, 3.0, 9)}


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 600), (63, 64), (65, 2), (129, 513), (3, 1025)])
@pytest.mark.parametrize("d", [0, 1, 3, 9])
def test_between_two_sets(kernel, n, k, d):
    name, kernel_object, shape = kernel
    X, Z = data(n, d)[0], data(k, d, seed=1)[0]
    K = fastard.covariance(X, Z, length_scale=SCALES[d], signal_variance=1.7, kernel=kernel_object)
    assert K.shape == (n, k)
    assert_agree(K, naive.covariance([naive.Term(name, SCALES[d], 1.7, shape)], X, Z), 1e-14)


@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 64, 65, 129])
@pytest.mark.parametrize("d", [0, 1, 3, 9])
def test_of_one_set(kernel, n, d):
    name, kernel_object, shape = kernel
    X, _ = data(n, d)
    K = fastard.covariance(X, length_scale=SCALES[d], signal_variance=1.7, kernel=kernel_object)
    assert_agree(K, naive.covariance([naive.Term(name, SCALES[d], 1.7, shape)], X), 1e-14)
    np.testing.assert_array_equal(np.diagonal(K), 1.7)
    np.testing.assert_array_equal(
        K, fastard.covariance(X, X, length_scale=SCALES[d], signal_variance=1.7, kernel=kernel_object)
    )


def test_is_exactly_symmetric(kernel):
    X, _ = data(131, 5)
    K = fastard.covariance(X, length_scale=np.geomspace(0.3, 3.0, 5), signal_variance=1.3, kernel=kernel[1])
    np.testing.assert_array_equal(K, K.T)


def test_far_from_the_origin(kernel):
    name, kernel_object, shape = kernel
    X, Z = data(65, 3)[0] + 1e6, data(40, 3, seed=1)[0] + 1e6
    K = fastard.covariance(X, Z, length_scale=1.0, kernel=kernel_object)
    assert_agree(K, naive.covariance([naive.Term(name, np.ones(3), 1.0, shape)], X, Z), 1e-12)


@pytest.mark.parametrize("length_scale", [1e-3, 1.0, 1e6])
def test_length_scales(kernel, length_scale):
    name, kernel_object, shape = kernel
    X, _ = data(65, 3)
    K = fastard.covariance(X, length_scale=length_scale, kernel=kernel_object)
    assert_agree(K, naive.covariance([naive.Term(name, np.full(3, length_scale), 1.0, shape)], X), 1e-14)


@pytest.mark.parametrize("storage", STORAGE)
def test_storage(kernel, storage):
    name, kernel_object, shape = kernel
    X, Z, Q = (a.astype(np.float32).astype(float) for a in (data(65, 3)[0], data(7, 3)[0], data(65, 65)[0]))
    term = naive.Term(name, SCALES[3], 1.7, shape)
    options = {"length_scale": SCALES[3], "signal_variance": 1.7, "kernel": kernel_object}
    make = STORAGE[storage]
    assert_agree(fastard.covariance(make(X), make(Z), **options), naive.covariance([term], X, Z), 1e-13)
    given = make(Q)
    assert_agree(fastard.covariance_vjp(given, make(X), **options), naive.vjp(Q, term, X))
    np.testing.assert_array_equal(np.array(given, dtype=float), Q)


@pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 64, 65, 129])
@pytest.mark.parametrize("d", [0, 1, 3, 9])
def test_vjp(kernel, n, d):
    """Weights without symmetry."""
    name, kernel_object, shape = kernel
    X, _ = data(n, d)
    Q = data(n, n, seed=2)[0]
    gradient = fastard.covariance_vjp(Q, X, length_scale=SCALES[d], signal_variance=1.7, kernel=kernel_object)
    assert gradient.shape == (d + 1 + len(shape),)
    assert_agree(gradient, naive.vjp(Q, naive.Term(name, SCALES[d], 1.7, shape), X))


@pytest.mark.parametrize("n", [65, 129])
def test_vjp_reads_both_triangles(kernel, n):
    name, kernel_object, shape = kernel
    X, _ = data(n, 3)
    Q = data(n, n, seed=2)[0]
    options = {"length_scale": SCALES[3], "signal_variance": 1.7, "kernel": kernel_object}
    term = naive.Term(name, SCALES[3], 1.7, shape)
    parts = [np.tril(Q, -1), np.triu(Q, 1), np.diag(np.diagonal(Q))]
    for part in parts:
        assert_agree(fastard.covariance_vjp(part, X, **options), naive.vjp(part, term, X))
    whole = fastard.covariance_vjp(Q, X, **options)
    assert_agree(whole, sum(fastard.covariance_vjp(part, X, **options) for part in parts))
    assert_agree(whole, fastard.covariance_vjp(Q.T, X, **options))
    assert (fastard.covariance_vjp(parts[2], X, **options)[:3] == 0.0).all()


def test_vjp_of_every_single_pair(kernel):
    """Derivatives of every entry of K, one weight at a time, across tiles."""
    name, kernel_object, shape = kernel
    X, _ = data(66, 2)
    derivatives = naive.covariance_derivatives(naive.Term(name, np.ones(2), 1.0, shape), X)
    for j, k in [(0, 0), (0, 1), (1, 0), (0, 65), (65, 0), (63, 64), (64, 63), (64, 65), (65, 64), (65, 65), (10, 63)]:
        Q = np.zeros((66, 66))
        Q[j, k] = 1.0
        got = fastard.covariance_vjp(Q, X, length_scale=1.0, kernel=kernel_object)
        assert_agree(got, [derivative[j, k] for derivative in derivatives], 1e-14)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_vjp_of_difficult_points(kernel, shift):
    name, kernel_object, shape = kernel
    X = data(70, 4)[0] + shift
    X[:, 2] = 0.1
    X[30:60] = X[:30]
    Q = data(70, 70, seed=2)[0]
    gradient = fastard.covariance_vjp(Q, X, length_scale=[0.3, 1.0, 1e-3, 1e3], kernel=kernel_object)
    assert_agree(gradient, naive.vjp(Q, naive.Term(name, np.array([0.3, 1.0, 1e-3, 1e3]), 1.0, shape), X))
    assert gradient[2] == 0.0


def test_vjp_is_the_likelihoods_gradient(kernel):
    """R&W (5.9): the same product, with Q = (alpha alpha' - K^-1) / 2."""
    name, kernel_object, shape = kernel
    X, y = data(65, 3)
    options = {"length_scale": SCALES[3], "signal_variance": 1.7, "kernel": kernel_object}
    Q = naive.weights([naive.Term(name, SCALES[3], 1.7, shape)], X, y, 0.1)[1]
    gradient = fastard.log_marginal_likelihood(X, y, noise_variance=0.1, eval_gradient=True, **options)[1]
    assert_agree(0.5 * fastard.covariance_vjp(Q, X, **options), np.delete(gradient, 4))


def test_scikit_learn_issue_11113():
    """The numbers of the issue that asked whether the power is -2 or -3: each of two dimensions gives half."""
    X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    for pair, number in {(0, 1): 0.73575888, (0, 2): 0.14652511, (1, 2): 0.73575888, (0, 0): 0.0}.items():
        Q = np.zeros((3, 3))
        Q[pair] = 1.0
        gradient = fastard.covariance_vjp(Q, X, length_scale=[2.0, 2.0])
        np.testing.assert_allclose(gradient[:2], [number / 2, number / 2], atol=5e-9)
