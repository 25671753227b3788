"""Equal rows without noise are refused wherever a covariance is factored, whatever rounding makes of their pivots."""

import copy
import pickle

import numpy as np
import pytest
from conftest import data

import fastard

SCALES = {"length_scale": 0.3, "noise_variance": 0.0}
FIXED = {"noise_variance": 0.0, "noise_variance_bounds": "fixed"}


def problem(seed, n=None):
    """Points of which two are equal, their numbers, and targets that differ there."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60)) if n is None else n
    X = rng.uniform(size=(n, 2))
    first, second = sorted(rng.choice(n, 2, replace=False).tolist())
    X[second] = X[first]
    return X, rng.standard_normal(n), first, second


def update(X, y):
    half = (len(y) + 1) // 2
    known = {name: value for name, value in SCALES.items() if name != "noise_variance"}
    model = fastard.fit(X[:half], y[:half], **known, **FIXED, length_scale_bounds="fixed", max_iterations=1)
    model.update(X[half:], y[half:])


CALLS = {
    "value": lambda X, y: fastard.log_marginal_likelihood(X, y, **SCALES),
    "gradient": lambda X, y: fastard.log_marginal_likelihood(X, y, eval_gradient=True, **SCALES),
    "two_outputs": lambda X, y: fastard.log_marginal_likelihood(X, np.column_stack([y, y]), **SCALES),
    "objective": lambda X, y: fastard.LogMarginalLikelihood(X, y)([-1.0, -1.0, 0.0, -np.inf]),
    "tiny_noise": lambda X, y: fastard.log_marginal_likelihood(X, y, length_scale=0.3, noise_variance=1e-16),
    "leave_one_out": lambda X, y: fastard.loo_log_predictive_density(X, y, **SCALES),
    "fit": lambda X, y: fastard.fit(X, y, **FIXED, max_iterations=3),
    "fit_from_a_start": lambda X, y: fastard.fit(X, y, length_scale=0.3, **FIXED, max_iterations=3),
    "fit_isotropic": lambda X, y: fastard.fit(X, y, length_scale_groups="isotropic", **FIXED, max_iterations=3),
    "update": update,
}


@pytest.mark.parametrize("call", CALLS)
def test_refused_always_and_named(call):
    for seed in range(40):
        X, y, first, second = problem(seed)
        with pytest.raises(fastard.NotPositiveDefiniteError, match=f"rows {first} and {second} of X are equal") as caught:
            CALLS[call](X, y)
        assert (caught.value.nearest_row, caught.value.row, caught.value.distance) == (first, second, 0.0)


def test_the_first_of_several_pairs_is_named():
    X, y, _, _ = problem(0, n=400)
    X[[17, 390, 391]], X[211] = X[3], X[200]
    X[17, 0] = -0.0
    X[3, 0] = 0.0
    X[[390, 391], 0] = 0.0
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        fastard.log_marginal_likelihood(X, y, **SCALES)
    assert (caught.value.nearest_row, caught.value.row) == (3, 17)


def test_known_variances_make_the_difference():
    """Two equal rows of which one has noise are no reason to refuse; two without noise among noisy ones are."""
    X, y, first, second = problem(1)
    known = np.full(len(y), 0.1)
    known[first] = 0.0
    assert np.isfinite(fastard.log_marginal_likelihood(X, y, observation_variance=known, **SCALES))
    known[second] = 0.0
    with pytest.raises(fastard.NotPositiveDefiniteError, match=f"rows {first} and {second} of X are equal"):
        fastard.log_marginal_likelihood(X, y, observation_variance=known, **SCALES)


def test_rows_that_rounding_makes_equal():
    """Beside the column's other values their difference is none: the scaled points are the same."""
    X = np.array([[3e8], [1e-9], [2e-9], [9e8]])
    with pytest.raises(fastard.NotPositiveDefiniteError, match="rows 1 and 2 of X are equal"):
        fastard.log_marginal_likelihood(X, np.arange(4.0), length_scale=1e8, noise_variance=0.0)


def test_no_columns():
    """Every row is the same then; with noise that is a model all the same."""
    X, y = np.empty((3, 0)), np.arange(3.0)
    with pytest.raises(fastard.NotPositiveDefiniteError, match="rows 0 and 1 of X are equal"):
        fastard.log_marginal_likelihood(X, y, length_scale=[], noise_variance=0.0)
    assert np.isfinite(fastard.log_marginal_likelihood(X, y, length_scale=[], noise_variance=0.1))


def nearly_equal():
    """Rows a billionth of a length scale apart differ by 1e-18 in K: less than what K is rounded by."""
    X, y = data(40, 2)
    X[30] = X[4] + 1e-9
    return X, y


def test_a_pivot_that_is_only_rounding():
    X, y = nearly_equal()
    with pytest.raises(fastard.NotPositiveDefiniteError, match=r"row 30 of X but rounding.*row 4 is 1.4e-09 length") as caught:
        fastard.log_marginal_likelihood(X, y, length_scale=1.0, noise_variance=0.0)
    assert (caught.value.row, caught.value.nearest_row) == (30, 4)


def test_a_pivot_that_is_only_rounding_in_an_update():
    X, y = nearly_equal()
    fixed = {"length_scale_bounds": "fixed", "signal_variance_bounds": "fixed"}
    model = fastard.fit(X[:29], y[:29], length_scale=1.0, **fixed, **FIXED)
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        model.update(X[29:], y[29:])
    assert (caught.value.row, caught.value.nearest_row) == (30, 4)


def test_near_rows_that_conditioning_allows():
    """A millionth apart: a pivot of 1e-12, which 1e-16 is little beside."""
    X, y = data(8, 2)
    X[5] = X[4] + 1e-6
    y[5] = y[4]
    assert np.isfinite(fastard.log_marginal_likelihood(X, y, length_scale=1.0, noise_variance=0.0))


def test_scikit_learn_integration():
    gaussian_process = pytest.importorskip("fastard.sklearn")
    from sklearn.gaussian_process.kernels import RBF

    for seed in range(20):
        X, y, first, second = problem(seed)
        model = gaussian_process.GaussianProcessRegressor(RBF([0.3, 0.3]), alpha=1e-300, optimizer=None)
        with pytest.raises(np.linalg.LinAlgError, match=f"rows {first} and {second} of X are equal"):
            model.fit(X, y)
        model = gaussian_process.GaussianProcessRegressor(RBF([0.3, 0.3]), alpha=0.1, optimizer=None).fit(X, y)
        model.alpha = 0.0
        assert model.log_marginal_likelihood(np.log([0.2, 0.2])) == -np.inf


@pytest.mark.parametrize("clone", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("arguments", [(17,), (17, 3, 0.0), (17, 3, 1e-9)])
def test_the_error_is_copied(clone, arguments):
    error = fastard.NotPositiveDefiniteError(*arguments)
    twin = clone(error)
    assert type(twin) is type(error)
    assert twin.__dict__ == pytest.approx(error.__dict__, nan_ok=True)
    assert str(twin) == str(error)
