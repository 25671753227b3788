"""Have the chains converged? Vehtari, Gelman, Simpson, Carpenter & Bürkner, Bayesian Analysis 16 (2021), 667-718."""

from __future__ import annotations

import numpy as np

from fastard._arrays import Array


def r_hat(draws: Array) -> Array:
    """The larger of rank-normalised split R-hat and that of the folded draws, (k,) of (chains, draws, k); NaN if constant."""
    chains = _split(draws)
    folded = np.abs(chains - np.median(chains, axis=(0, 1)))
    return np.maximum(_r_hat(_rank_normalised(chains)), _r_hat(_rank_normalised(folded)))


def ess_bulk(draws: Array) -> Array:
    """Effective sample sizes of the rank-normalised draws, (k,): how well the centre is known."""
    return _ess(_rank_normalised(_split(draws)))


def ess_tail(draws: Array) -> Array:
    """The lesser of those of the quantiles 5 % and 95 %, (k,)."""
    chains = _split(draws)
    quantiles = np.quantile(draws, [0.05, 0.95], axis=(0, 1))
    return np.minimum(*(_ess((chains <= quantile).astype(float)) for quantile in quantiles))


def _split(draws: Array) -> Array:
    """Each chain's halves as chains of their own, without the middle draw of an odd number."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _rank_normalised(chains: Array) -> Array:
    """Normal quantiles of the ranks over all chains, equal values sharing their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    ranks = rankdata(chains.reshape(-1, chains.shape[2]), axis=0)
    result: Array = ndtri((ranks - 0.375) / (len(ranks) + 0.25)).reshape(chains.shape)
    return result


def _variances(chains: Array) -> tuple[Array, Array]:
    """Within the chains, and of all draws: (k,) each."""
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = chains.mean(axis=1).var(axis=0, ddof=1)
    return within, (n - 1) / n * within + between


def _r_hat(chains: Array) -> Array:
    within, total = _variances(chains)
    with np.errstate(all="ignore"):
        return np.sqrt(total / within)


def _ess(chains: Array) -> Array:
    """By the autocorrelations up to where Geyer's initial monotone sequence ends."""
    m, n, k = chains.shape
    centred = chains - chains.mean(axis=1, keepdims=True)
    transformed = np.fft.rfft(centred, 2 * n, axis=1)
    covariance = np.fft.irfft(transformed * transformed.conj(), axis=1)[:, :n] / n
    within, total = _variances(chains)
    result = np.full(k, np.nan)
    for i in np.flatnonzero(total > 0.0):
        correlation = 1.0 - (within[i] - covariance[:, :, i].mean(axis=0)) / total[i]
        correlation[0] = 1.0
        pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
        end = int(np.argmax(pairs <= 0.0)) if (pairs <= 0.0).any() else len(pairs)
        monotone = np.minimum.accumulate(pairs[: max(end, 1)])
        beyond = max(float(correlation[2 * end]), 0.0) if 0 < end < len(pairs) else 0.0  # of an antithetic chain
        time = max(2.0 * float(monotone.sum()) - 1.0 + beyond, 1.0 / np.log10(m * n))
        result[i] = m * n / time
    return result
