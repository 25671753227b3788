"""One n x n buffer, and hardly anything beside it. tracemalloc sees every array that NumPy allocates."""

import numpy as np
import pytest
from conftest import data
from helpers import peak

import fastard

N, D = 2400, 8  # below, where vectors are long, the panels of O(n b) weigh more than the tenth that they may
SQUARE = 8 * N * N


@pytest.fixture(scope="module")
def problem():
    return data(N, D)


def test_tracemalloc_sees_numpy():
    assert peak(lambda: np.empty((N, N))) >= SQUARE


@pytest.mark.parametrize("kernel", ["rbf", "rational_quadratic"])
@pytest.mark.parametrize("eval_gradient", [False, True])
def test_one_evaluation(problem, kernel, eval_gradient):
    X, y = problem
    used = peak(lambda: fastard.log_marginal_likelihood(X, y, length_scale=1.0, kernel=kernel, eval_gradient=eval_gradient))
    assert SQUARE <= used <= 1.1 * SQUARE


def test_one_evaluation_of_two_outputs_with_known_variances(problem):
    X, y = problem
    used = peak(
        lambda: fastard.log_marginal_likelihood(
            X, np.column_stack([y, y]), length_scale=1.0, observation_variance=np.ones(N), eval_gradient=True
        )
    )
    assert used <= 1.1 * SQUARE


def test_objective_allocates_its_buffer_once(problem):
    X, y = problem
    objective = fastard.LogMarginalLikelihood(X, y)
    theta = np.log([*np.ones(D), 1.0, 0.1])
    assert peak(lambda: objective(theta)) < 0.05 * SQUARE


def test_building_an_objective_copies_the_data_once(problem):
    """So that the caller may change X and y afterwards; the n x n buffer comes with the first evaluation."""
    X, y = problem
    assert peak(lambda: fastard.LogMarginalLikelihood(X, y)) < 3.0 * (X.nbytes + y.nbytes)


def test_vjp_does_not_copy_its_weights(problem):
    """O(n d) beside Q: in particular no mask of its size, a byte an entry, to check that it is finite."""
    X, _ = problem
    Q = np.ones((N, N))
    used = peak(lambda: fastard.covariance_vjp(Q, X, length_scale=1.0))
    assert used < 0.03 * SQUARE


def test_covariance_allocates_its_result_only(problem):
    X, _ = problem
    assert peak(lambda: fastard.covariance(X, length_scale=1.0)) <= 1.05 * SQUARE


def test_what_will_not_fit_is_refused_before_anything_is_allocated():
    """10 million points are 728 TiB; the message says so, and no swap is touched."""
    X = np.zeros((10_000_000, 1))
    with pytest.raises(MemoryError, match=r"10000000.*GiB"):
        fastard.log_marginal_likelihood(X, np.zeros(10_000_000), length_scale=1.0)
    with pytest.raises(MemoryError, match=r"10000000.*GiB"):
        fastard.covariance(X, length_scale=1.0)
