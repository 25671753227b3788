"""The sampler as a whole: simulation-based calibration, many inputs of which few matter, NumPyro and BlackJAX."""

import math
import warnings

import numpy as np
import pytest
from calibration import PRIORS, p_values, quietly, rank_statistics
from scipy import stats

import fastard
from fastard._bayes import convergence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("nutpie", exc_type=ImportError)


def test_simulation_based_calibration():
    p = p_values(rank_statistics(200, n=30, d=3))
    assert stats.combine_pvalues(p).pvalue > 0.01, p
    assert p.min() > 0.001, p


def test_calibration_sees_a_missing_jacobian():
    assert p_values(rank_statistics(40, n=30, d=3, jacobian=False)).min() < 1e-4


def test_saas_finds_three_inputs_of_fifty():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 50))
    y = np.sin(5.0 * X[:, 7]) + 1.5 * X[:, 21] ** 2 + np.cos(4.0 * X[:, 42]) + 0.05 * rng.standard_normal(60)
    model = quietly(X, y, kernel="matern52", length_scale_prior="saas", rng=1, n_chains=2, n_draws=150, n_warmup=250)
    median = np.median(model.relevance, axis=(0, 1))
    assert set(np.argsort(median)[-3:]) == {7, 21, 42}
    assert median[[7, 21, 42]].min() > 10 * np.delete(median, [7, 21, 42]).max()
    test = rng.uniform(size=(200, 50))
    truth = np.sin(5.0 * test[:, 7]) + 1.5 * test[:, 21] ** 2 + np.cos(4.0 * test[:, 42])
    error = model.predict(test, n_draws=30) - truth
    assert np.sqrt(np.mean(error**2)) < 0.2 * truth.std()


def problem():
    rng = np.random.default_rng(2)
    X = rng.uniform(size=(25, 3))
    return X, np.sin(5.0 * X[:, 0]) + X[:, 1] + 0.2 * rng.standard_normal(25)


def assert_same_moments(ours, theirs):
    """Of logarithms (chains, draws, k): means within 4 standard errors, standard deviations within 15 %."""
    errors = [x.std(axis=(0, 1)) / np.sqrt(convergence.ess_bulk(x)) for x in (ours, theirs)]
    gap = np.abs(ours.mean(axis=(0, 1)) - theirs.mean(axis=(0, 1)))
    assert (gap < 4.0 * np.hypot(*errors)).all(), gap / np.hypot(*errors)
    np.testing.assert_allclose(ours.std(axis=(0, 1)), theirs.std(axis=(0, 1)), rtol=0.15)


@pytest.fixture(scope="module")
def ours():
    X, y = problem()
    model = fastard.sample_posterior(X, y, mean=0.0, rng=3, n_chains=2, n_draws=1500, n_warmup=400, **PRIORS)
    return np.log(np.dstack([model.length_scale, model.signal_variance, model.noise_variance]))


@pytest.fixture
def jax():
    library = pytest.importorskip("jax")
    before = library.config.jax_enable_x64
    library.config.update("jax_enable_x64", True)
    yield library
    library.config.update("jax_enable_x64", before)


MEDIANS = np.array([0.5, 0.5, 0.5, 1.0, 0.1])


def plain(jax):
    """The log likelihood in JAX alone."""
    X, y = problem()

    def log_likelihood(theta):
        jnp = jax.numpy
        scaled = X / jnp.exp(theta[:3])
        r2 = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
        L = jnp.linalg.cholesky(jnp.exp(theta[3] - 0.5 * r2) + jnp.exp(theta[4]) * jnp.eye(len(y)))
        white = jax.scipy.linalg.solve_triangular(L, y, lower=True)
        return -0.5 * white @ white - jnp.log(jnp.diag(L)).sum() - 0.5 * len(y) * math.log(2 * math.pi)

    return log_likelihood


def by_fastard(jax):
    import fastard.jax

    X, y = problem()
    return lambda theta: fastard.jax.log_marginal_likelihood(theta, X, y)


@pytest.mark.filterwarnings("ignore")  # of the other libraries' own
@pytest.mark.parametrize("likelihood", [plain, by_fastard])
def test_the_moments_are_numpyros(ours, jax, likelihood):
    numpyro = pytest.importorskip("numpyro")
    of = likelihood(jax)

    def model():
        theta = numpyro.sample("theta", numpyro.distributions.Normal(np.log(MEDIANS), 0.7).to_event(1))
        numpyro.factor("likelihood", of(theta))

    chains = numpyro.infer.MCMC(
        numpyro.infer.NUTS(model),
        num_warmup=400,
        num_samples=1500,
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    chains.run(jax.random.PRNGKey(0))
    assert_same_moments(ours, np.asarray(chains.get_samples(group_by_chain=True)["theta"]))


@pytest.mark.filterwarnings("ignore")
def test_the_moments_are_blackjaxs(ours, jax):
    blackjax = pytest.importorskip("blackjax")
    of = by_fastard(jax)
    log_medians = np.log(MEDIANS)

    def log_density(theta):
        return of(theta) - 0.5 * (((theta - log_medians) / 0.7) ** 2).sum()

    def chain(key):
        key, warm = jax.random.split(key)
        adapted, _ = blackjax.window_adaptation(blackjax.nuts, log_density).run(warm, log_medians, num_steps=400)
        step = blackjax.nuts(log_density, **adapted.parameters).step

        def one(state, key):
            state, _ = step(key, state)
            return state, state.position

        return jax.lax.scan(one, adapted.state, jax.random.split(key, 1500))[1]

    draws = [chain(jax.random.PRNGKey(seed)) for seed in (1, 2)]
    assert_same_moments(ours, np.stack([np.asarray(each) for each in draws]))
