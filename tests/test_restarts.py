"""Restarts side by side: the same as one after another, on the caller's thread where a caller looks on."""

import threading

import numpy as np
import pytest
from scipy import stats

import fastard
from fastard._training import search


def data(n=60, d=4, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n, d))
    return X, np.sin(2.0 * X[:, 0]) + 0.3 * X[:, 1] ** 2 + 0.05 * random.standard_normal(n)


@pytest.mark.parametrize("prior", [None, stats.lognorm(1.0)], ids=["no prior", "prior"])
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_fit(n_threads, prior):
    X, y = data()
    one = fastard.fit(X, y, n_restarts=3, rng=4, n_threads=1, length_scale_prior=prior)
    other = fastard.fit(X, y, n_restarts=3, rng=4, n_threads=n_threads, length_scale_prior=prior)
    np.testing.assert_array_equal(one.length_scale, other.length_scale)
    assert (one.noise_variance, one.n_evaluations, one.message) == (other.noise_variance, other.n_evaluations, other.message)


def watch_threads(monkeypatch, raises=lambda: False):
    """Threads that searches run on; where ``raises``, KeyboardInterrupt in the caller's."""
    seen = []

    def watch(real):
        def watched(*arguments):
            seen.append(threading.get_ident())
            if raises():
                raise KeyboardInterrupt
            return real(*arguments)

        return watched

    for name in ("_loss", "_slice"):
        monkeypatch.setattr(search.Search, name, watch(getattr(search.Search, name)))
    return seen


def test_restarts_run_side_by_side_unless_a_caller_looks_on(monkeypatch):
    X, y = data()
    calls = []
    real = search.thread_map
    monkeypatch.setattr(search, "thread_map", lambda *arguments: calls.append(arguments[:2]) or real(*arguments))
    fastard.fit(X, y, n_restarts=3, rng=0, n_threads=2)
    fastard.fit(X, y, n_threads=2)
    fastard.fit(X, y, n_restarts=1, rng=0, n_threads=2, noise_variance_prior=stats.lognorm(1.0))
    assert calls == [(2, 4), (2, 2)]
    calls.clear()
    seen = watch_threads(monkeypatch)
    fastard.fit(X, y, n_restarts=1, rng=0, n_threads=2, callback=lambda state: None)
    fastard.fit(X, y, n_restarts=1, rng=0, n_threads=2, noise_variance_prior=lambda x: (-x, -1.0))
    assert calls == []
    assert set(seen) == {threading.get_ident()}


def test_an_interrupt_of_searches_side_by_side_keeps_the_best(monkeypatch):
    X, y = data()
    mine, count = threading.get_ident(), []

    def now():
        count.append(threading.get_ident())
        return threading.get_ident() == mine and count.count(mine) > 3

    watch_threads(monkeypatch, now)
    model = fastard.fit(X, y, n_restarts=20, rng=0, n_threads=2)
    assert not model.converged
    assert "interrupted" in model.message
    assert np.isfinite(model.predict(X)).all()


def test_a_restart_side_by_side_that_cannot_begin_does_not_end_the_others():
    """Equal rows: without noise, the covariance is singular at any length scale; with the bound, at the starts of little."""
    X, y = data()
    X, y = np.vstack([X, X]), np.concatenate([y, y])
    given = {"noise_variance_bounds": "fixed", "noise_variance": 0.0}
    errors = []
    for n_threads in (1, 2):
        with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
            fastard.fit(X, y, n_restarts=3, rng=0, n_threads=n_threads, **given)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
