"""train(): the search for given numbers, with a constant mean, and priors as rows."""

import numpy as np
import pytest
from scipy import stats

import fastard
from fastard._parameters import ParameterSpace
from fastard._training.priors import PriorRow, of_rows
from fastard._training.train import train

rng = np.random.default_rng(0)
X = rng.uniform(size=(30, 2))
Y = 5.0 + np.sin(4.0 * X[:, 0]) + 0.1 * rng.normal(size=30)


def space(fixed=(), kernel=None):
    start = np.array([0.5, 0.5, 1.0, 0.1])
    is_fixed = np.isin(np.arange(4), fixed)
    return ParameterSpace(kernel or fastard.RBF(), np.arange(2), start, np.tile([1e-4, 1e4], (4, 1)), is_fixed)


def covariance_at(found):
    differences = (X[:, np.newaxis] - X) / found.length_scale
    return found.signal_variance * np.exp(-0.5 * (differences**2).sum(axis=2)) + found.noise_variance * np.eye(30)


def test_the_trained_mean_is_that_of_generalised_least_squares():
    found = train(X, Y, space(), mean=0.0, trains_mean=True)
    assert found.converged
    weights = np.linalg.solve(covariance_at(found), np.ones(30))
    # The search ends where less than 1e-5 nats are left to gain, sqrt(2e-5) standard deviations of the mean.
    assert abs(found.mean - weights @ Y / weights.sum()) < np.sqrt(2e-5 / weights.sum())
    other = train(X, Y - found.mean, space())
    assert found.objective == pytest.approx(other.objective, rel=1e-7, abs=1e-7)


def test_a_fixed_mean_and_fixed_parameters_stay():
    found = train(X, Y, space(fixed=(0, 2)), mean=4.5)
    assert (found.mean, found.length_scale[0], found.signal_variance) == (4.5, 0.5, 1.0)
    assert found.objective == pytest.approx(train(X, Y - 4.5, space(fixed=(0, 2))).objective, rel=1e-12, abs=1e-12)


def test_the_mean_alone():
    found = train(X, Y, space(fixed=(0, 1, 2, 3)), mean=1.0, trains_mean=True)
    weights = np.linalg.solve(covariance_at(found), np.ones(30))
    assert found.mean == pytest.approx(weights @ Y / weights.sum(), rel=1e-6, abs=1e-6)


def test_the_best_of_several_starts_counts():
    ends = [train(X, Y - 5.0, space(), length_scale_factors=(factor,)).objective for factor in (1.0, 0.1, 10.0)]
    assert train(X, Y - 5.0, space(), length_scale_factors=(1.0, 0.1, 10.0)).objective == max(ends)


def test_a_start_without_a_value_does_not_end_the_others():
    limits = np.tile([1e-4, 1e9], (4, 1))
    singular = ParameterSpace(fastard.RBF(), np.arange(2), np.array([1e7, 1e7, 1.0, 0.0]), limits, np.arange(4) == 3)
    singular.own_length_scales = False  # given ones are not shortened
    with pytest.raises(fastard.exceptions.NotPositiveDefiniteError):
        train(X, Y, singular)
    assert np.isfinite(train(X, Y - 5.0, singular, length_scale_factors=(1.0, 1e-8)).objective)


@pytest.mark.parametrize(
    ("row", "scipys"),
    [
        (PriorRow(1, "gamma", 0.0, 0.5, 3.0), stats.gamma(3.0, scale=0.5)),
        (PriorRow(1, "lognorm", 0.0, 2.0, 0.7), stats.lognorm(0.7, scale=2.0)),
        (PriorRow(1, "halfcauchy", 0.0, 0.4), stats.halfcauchy(scale=0.4)),
        (PriorRow(1, "halfnorm", 0.0, 0.4), stats.halfnorm(scale=0.4)),
        (PriorRow(1, "norm", 1.0, 0.4), stats.norm(1.0, 0.4)),
    ],
)
def test_rows_are_scipys_densities(row, scipys):
    rows = [row, PriorRow(0, "norm", 0.0, 1.0), row._replace(place=3)]
    ((_, places, density),) = of_rows(rows)
    assert places.tolist() == [0, 1, 3]
    x, step = np.array([0.3, 0.6, 1.4]), 1e-6
    value, slopes = density(x)
    assert value == pytest.approx(stats.norm.logpdf(0.3) + scipys.logpdf(0.6) + scipys.logpdf(1.4), rel=1e-13, abs=1e-13)
    for i in range(3):
        shift = step * np.eye(3)[i]
        assert slopes[i] == pytest.approx((density(x + shift)[0] - density(x - shift)[0]) / (2.0 * step), rel=1e-7, abs=1e-7)


def test_two_rows_of_one_parameter_add_up():
    row = PriorRow(2, "norm", 0.0, 1.0)
    first, second = of_rows([row, row])
    x = np.array([0.7])
    for _, places, density in (first, second):
        assert places.tolist() == [2]
        assert density(x)[0] == pytest.approx(stats.norm.logpdf(0.7), rel=1e-15, abs=1e-15)
    twice = train(X, Y - 5.0, space(), [row, row])
    narrower = train(X, Y - 5.0, space(), [row._replace(scale=0.5**0.5)])
    assert twice.signal_variance == pytest.approx(narrower.signal_variance, rel=0.05, abs=0.05)


def test_priors_move_the_optimum():
    prior = [PriorRow(place, "lognorm", 0.0, 0.2, 0.01) for place in (0, 1)]
    found = train(X, Y - 5.0, space(), prior)
    assert found.length_scale == pytest.approx([0.2, 0.2], rel=0.05, abs=0.05)
