"""The log marginal likelihood as a function of JAX's."""

import numpy as np
import pytest
from conftest import assert_agree, data

import fastard

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from fastard.jax import log_marginal_likelihood  # noqa: E402

pytestmark = pytest.mark.usefixtures("jax_in_float64")

X, Y = data(30, 3)
THETA = np.log([0.7, 1.5, 3.0, 1.2, 0.1])


def value(theta):
    return log_marginal_likelihood(theta, X, Y, kernel="matern52")


def expected(theta):
    return fastard.LogMarginalLikelihood(X, Y, kernel="matern52")(theta)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_value_and_gradient(wrap):
    found, gradient = wrap(jax.value_and_grad(value))(THETA)
    assert (float(found), gradient.tolist()) == (expected(THETA)[0], expected(THETA)[1].tolist())
    assert float(wrap(value)(THETA)) == expected(THETA)[0]


def test_the_chain_rule():
    gradient = jax.jit(jax.grad(lambda x: 2.0 * value(jnp.log(x))))(np.exp(THETA))
    assert_agree(gradient, 2.0 * expected(THETA)[1] / np.exp(THETA), 1e-12)


def test_several_thetas_are_a_batch():
    thetas = THETA + np.arange(6.0)[:, np.newaxis].repeat(5, axis=1) / 10
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(value)))(thetas)
    for theta, found, gradient in zip(thetas, values, gradients, strict=True):
        assert (float(found), gradient.tolist()) == (expected(theta)[0], expected(theta)[1].tolist())
    twice = jax.vmap(jax.vmap(value))(thetas.reshape(2, 3, 5))
    assert (np.asarray(twice).ravel() == np.asarray(values)).all()


def test_the_plain_formula_of_jax():
    def plain(theta):
        scaled = X / jnp.exp(theta[:3])
        r2 = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
        K = jnp.exp(theta[3]) * jnp.exp(-0.5 * r2) + jnp.exp(theta[4]) * jnp.eye(30)
        return jax.scipy.stats.multivariate_normal.logpdf(Y, jnp.zeros(30), K)

    ours = jax.value_and_grad(lambda theta: log_marginal_likelihood(theta, X, Y))(THETA)
    theirs = jax.value_and_grad(plain)(THETA)
    assert_agree(ours[0], theirs[0])
    assert_agree(ours[1], theirs[1])


def test_float64_within_float32():
    jax.config.update("jax_enable_x64", False)
    theta = THETA.astype(np.float32)
    found, gradient = jax.jit(jax.value_and_grad(value))(theta)
    exact, slope = expected(theta.astype(float))
    assert found.dtype == gradient.dtype == np.float32
    assert (np.asarray(found), np.asarray(gradient).tolist()) == (np.float32(exact), slope.astype(np.float32).tolist())


def test_where_there_is_no_likelihood():
    no_noise = np.array([9.0, 9.0, 9.0, 0.0, -np.inf])
    found, gradient = jax.value_and_grad(value)(no_noise)
    assert float(found) == -np.inf
    assert not np.asarray(gradient).any()
    assert np.isnan(value(THETA * np.nan))
    found, gradient = jax.vmap(jax.value_and_grad(value))(np.stack([THETA, THETA * np.nan]))
    assert float(found[0]) == expected(THETA)[0]
    assert np.isnan(found[1])
    assert np.isnan(gradient[1]).all()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="theta must have shape"):
        value(THETA[:3])
    with pytest.raises(TypeError, match="X must be an array of numbers, not an argument"):
        jax.jit(lambda X: log_marginal_likelihood(THETA, X, Y))(X)
    assert float(log_marginal_likelihood(THETA, jnp.asarray(X), jnp.asarray(Y), kernel="matern52")) == expected(THETA)[0]
