"""The truth's own derivatives, by complex step; every other test leans on them."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data


@pytest.mark.parametrize("m", [1, 3])
def test_gradient_by_complex_step(kernel, m):
    name, _, shape = kernel
    X, y = data(12, 3, m)
    known = np.linspace(0.0, 0.2, 12)
    natural = np.array([0.7, 1.3, 2.0, 1.7, 0.1, *shape])
    term = naive.Term(name, natural[:3], natural[3], shape)
    expected = naive.complex_step(lambda theta: naive.of_theta(name, theta, X, y, known), np.log(natural))
    assert_agree(naive.gradient(term, X, y, natural[4], known), expected, 1e-12)


def test_value_is_the_normal_density(kernel):
    from scipy.stats import multivariate_normal

    name, _, shape = kernel
    X, y = data(12, 3)
    term = naive.Term(name, np.array([0.7, 1.3, 2.0]), 1.7, shape)
    K = naive.noisy_covariance([term], X, 0.1)
    assert_agree(naive.log_marginal_likelihood([term], X, y, 0.1), multivariate_normal.logpdf(y, cov=K), 1e-12)


def test_profiles_are_scipys(kernel):
    """w = -2 dk/ds, and the Matérn family against its Bessel function, R&W (4.14)."""
    from scipy.special import gamma, kv

    name, _, shape = kernel
    s = np.linspace(0.01, 20.0, 50)
    k, w, of_shape = naive.profile(name, s, shape)
    slope = np.array([naive.complex_step(lambda t: naive.profile(name, t[0], shape)[0], [point])[0] for point in s])
    assert_agree(w, -2.0 * slope, 1e-12)
    if shape:
        total = naive.complex_step(lambda t: np.sum(s * naive.profile(name, s, (np.exp(t[0]),))[0]), np.log(shape))
        assert_agree(np.sum(s * of_shape[0]), total[0], 1e-12)
    if name.startswith("matern"):
        nu = {"12": 0.5, "32": 1.5, "52": 2.5, "72": 3.5}[name[-2:]]
        z = np.sqrt(2 * nu * s)
        assert_agree(k, 2 ** (1 - nu) / gamma(nu) * z**nu * kv(nu, z), 1e-12)


def test_vjp_by_complex_step(kernel):
    name, _, shape = kernel
    X, _ = data(9, 2)
    Q = np.random.default_rng(1).standard_normal((9, 9))
    natural = np.array([0.7, 1.3, 1.7, *shape])

    def product(theta):
        values = np.exp(theta)
        return np.sum(Q * naive.covariance([naive.Term(name, values[:2], values[2], tuple(values[3:]))], X))

    term = naive.Term(name, natural[:2], natural[2], shape)
    assert_agree(naive.vjp(Q, term, X), naive.complex_step(product, np.log(natural)), 1e-12)


def test_two_terms_by_complex_step():
    X, y = data(10, 3)
    natural = np.array([0.7, 1.3, 2.0, 1.7, 0.4, 0.9, 3.0, 0.6])

    def terms(values):
        return [
            naive.Term("rbf", values[:3], values[3]),
            naive.Term("matern32", values[4:7], values[7], columns=(0, 2)),
        ]

    expected = naive.complex_step(
        lambda theta: naive.log_marginal_likelihood(terms(np.exp(theta)), X, y, 0.1), np.log(natural)
    )
    first, second = naive.gradients(terms(natural), X, y, 0.1)
    assert_agree(np.concatenate([first, second]), expected, 1e-12)
