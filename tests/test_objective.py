"""LogMarginalLikelihood: the reusable objective."""

import copy
import pickle
import threading

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard


def objective_and_theta(kernel="rbf", n=70, d=3, m=1, **options):
    X, y = data(n, d, m)
    objective = fastard.LogMarginalLikelihood(X, y, kernel=kernel, **options)
    theta = np.log([*np.geomspace(0.5, 2.0, d), 1.7, 0.1])
    if objective.n_parameters > theta.size:
        theta = np.append(theta, np.log(0.7))
    return objective, theta


def assert_same_bits(first, second):
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("known", [False, True], ids=["no_known_variances", "known_variances"])
def test_agrees_with_the_function_and_the_truth(kernel, m, known):
    name, kernel_object, shape = kernel
    variances = np.linspace(0.0, 0.3, 70) if known else None
    objective, theta = objective_and_theta(kernel_object, m=m, observation_variance=variances)
    X, y = data(70, 3, m)
    value, gradient = objective(theta)
    assert isinstance(value, float)
    assert gradient.shape == (objective.n_parameters,) == (5 + len(shape),)
    same = fastard.log_marginal_likelihood(
        X,
        y,
        length_scale=np.exp(theta[:3]),
        signal_variance=np.exp(theta[3]),
        noise_variance=np.exp(theta[4]),
        observation_variance=variances,
        kernel=kernel_object,
        eval_gradient=True,
    )
    assert_agree(value, same[0], 1e-13)
    assert_agree(gradient, same[1], 1e-13)
    assert_agree(value, naive.of_theta(name, theta, X, y, variances if known else 0.0))


def test_calls_do_not_depend_on_the_calls_before():
    objective, theta = objective_and_theta()
    first = objective(theta)
    kept = first[1].copy()
    objective(theta + 0.3)
    np.testing.assert_array_equal(first[1], kept)  # what was returned is the caller's
    assert_same_bits(objective(theta), first)


def test_theta_may_be_any_array():
    objective, theta = objective_and_theta()
    expected = objective(theta)
    wide = np.zeros(2 * theta.size)
    wide[::2] = theta
    frozen = theta.copy()
    frozen.flags.writeable = False
    for given in (theta.tolist(), tuple(theta), wide[::2], frozen, theta.astype(">f8")):
        assert_same_bits(objective(given), expected)


def test_no_noise_is_minus_infinity():
    X = 3.0 * np.arange(10.0)[:, None]
    objective = fastard.LogMarginalLikelihood(X, np.ones(10))
    value, gradient = objective([0.0, 0.0, -np.inf])
    assert value == fastard.log_marginal_likelihood(X, np.ones(10), length_scale=1.0, noise_variance=0.0)
    assert gradient[2] == 0.0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "clone",
    [copy.copy, copy.deepcopy, *(lambda o, p=p: pickle.loads(pickle.dumps(o, p)) for p in range(2, 6))],
    ids=["copy", "deepcopy", "pickle2", "pickle3", "pickle4", "pickle5"],
)
def test_copies(clone, used):
    objective, theta = objective_and_theta("rational_quadratic")
    expected = fastard.LogMarginalLikelihood(*data(70, 3), kernel="rational_quadratic")(theta)
    if used:
        objective(theta - 0.1)
    twin = clone(objective)
    assert_same_bits(twin(theta), expected)
    assert_same_bits(objective(theta), expected)
    assert twin.n_parameters == objective.n_parameters


def test_pickle_leaves_the_buffer_behind():
    objective, theta = objective_and_theta(n=300)
    objective(theta)
    assert len(pickle.dumps(objective)) < 0.1 * 8 * 300**2


@pytest.mark.parametrize("length", [0, 1, 4, 6])
def test_wrong_theta(length):
    objective, _ = objective_and_theta()
    with pytest.raises(ValueError, match=r"theta.*\(5,\)"):
        objective(np.zeros(length))
    with pytest.raises(ValueError, match=r"theta.*\(5,\)"):
        objective(np.zeros((5, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 800.0, -800.0])
@pytest.mark.parametrize("where", range(5))
def test_theta_out_of_range(bad, where):
    objective, theta = objective_and_theta()
    theta[where] = bad
    if where == 4 and bad == -800.0:  # the noise may vanish
        objective(theta)
        return
    with pytest.raises(ValueError, match="theta"):
        objective(theta)


@pytest.mark.parametrize("bad", [np.zeros(5, dtype=complex), ["a", "b", "c", "d", "e"], None, object()])
def test_theta_of_no_numbers(bad):
    objective, _ = objective_and_theta()
    with pytest.raises((ValueError, TypeError), match="theta"):
        objective(bad)


def test_goes_on_after_errors():
    objective, theta = objective_and_theta()
    expected = objective(theta)
    with pytest.raises(ValueError, match="theta"):
        objective(theta * np.nan)
    with pytest.raises(fastard.NotPositiveDefiniteError):
        objective([20.0, 20.0, 20.0, 0.0, -80.0])
    assert_same_bits(objective(theta), expected)


def test_shared_by_threads():
    """Slow or copied, never wrong."""
    objective, theta = objective_and_theta(n=130, d=8)
    thetas = [theta + 0.1 * i for i in range(8)]
    expected = [objective(t) for t in thetas]
    wrong = []

    def work(i):
        for _ in range(10):
            value, gradient = objective(thetas[i])
            if value != expected[i][0] or not np.array_equal(gradient, expected[i][1]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_works_with_scipys_optimiser():
    from scipy.optimize import minimize

    X = np.random.default_rng(0).uniform(size=(60, 2))
    objective = fastard.LogMarginalLikelihood(X, np.sin(6.0 * X[:, 0]) - X[:, 1])

    def loss(theta):
        value, gradient = objective(theta)
        return -value, -gradient

    start = np.log([0.5, 0.5, 1.0, 0.1])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(np.log(1e-3), np.log(1e3))] * 4)
    assert result.fun < loss(start)[0] - 50.0
    projected = np.clip(result.x - result.jac, np.log(1e-3), np.log(1e3)) - result.x
    assert np.max(np.abs(projected)) < 1e-2
