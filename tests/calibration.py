"""Simulation-based calibration of `sample_posterior`: Talts, Betancourt, Simpson, Vehtari & Gelman (2018)."""

import warnings

import numpy as np
from scipy import stats

import fastard

PRIORS = {
    "length_scale_prior": stats.lognorm(0.7, scale=0.5),
    "signal_variance_prior": stats.lognorm(0.7, scale=1.0),
    "noise_variance_prior": stats.lognorm(0.7, scale=0.1),
}
RANKS, BINS = 99, 10  # independent draws that a true value is ranked among; 10 ranks to a bin


def quietly(*arguments, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the chains disagree|.*diverged")
        return fastard.sample_posterior(*arguments, **options)


def rank_statistics(data_sets, n, d, jacobian=True):
    """Of the true parameters, drawn from their priors, among draws from the posterior: (data sets, d + 2), from 0 to RANKS.

    Without the Jacobian it would be another distribution.
    """
    ranks = []
    for i in range(data_sets):
        rng = np.random.default_rng([7, i])
        X = rng.uniform(size=(n, d))
        scales = PRIORS["length_scale_prior"].rvs(d, random_state=rng)
        signal, noise = (float(PRIORS[f"{name}_variance_prior"].rvs(random_state=rng)) for name in ("signal", "noise"))
        K = fastard.covariance(X, length_scale=scales, signal_variance=signal)
        y = np.linalg.cholesky(K + noise * np.eye(n)) @ rng.standard_normal(n)
        model = quietly(X, y, mean=0.0, rng=rng, n_chains=1, n_draws=3 * RANKS, n_warmup=250, **PRIORS)
        draws = np.column_stack([model.length_scale[0], model.signal_variance[0], model.noise_variance[0]])
        if not jacobian:  # what the draws would be without it, by importance: to see that the test can fail
            logs = -np.log(draws).sum(axis=1)
            weights = np.exp(logs - logs.max())
            draws = draws[rng.choice(len(draws), len(draws), p=weights / weights.sum())]
        ranks.append((draws[::3] < [*scales, signal, noise]).sum(axis=0))
    return np.array(ranks)


def p_values(ranks):
    """Of the ranks' uniformity, for each parameter by a chi-square test."""
    counts = [np.bincount(column * BINS // (RANKS + 1), minlength=BINS) for column in ranks.T]
    return np.array([stats.chisquare(count).pvalue for count in counts])
