"""model.update: the same numbers as a refit of all points at the same parameters and mean."""

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import SCALES, peak, points, trained

import fastard
from fastard import _blas
from fastard._model import gaussian_process


def truth(kernel, X, y, mean, diagonal, Z):
    """Mean, standard deviation and log marginal likelihood from all points."""
    name, _, shape = kernel
    term = naive.Term(name, SCALES, 1.7, shape)
    predicted, cov = naive.predict(term, X, y - mean, diagonal, Z)
    return predicted + mean, np.sqrt(np.diagonal(cov)), naive.log_marginal_likelihood([term], X, y - mean, diagonal)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize(("n", "steps"), [(1, [1, 1]), (70, [1, 30, 2]), (65, [130])], ids=str)
def test_agrees_with_the_truth(kernel, m, n, steps):
    model, X, y = trained(kernel, n, m)
    mean = y.mean(axis=0)
    for i, k in enumerate(steps):
        more_X, more_y = data(k, 3, m, seed=i + 1)
        model.update(more_X, more_y)
        X, y = np.vstack([X, more_X]), np.concatenate([y, more_y])
    expected = truth(kernel, X, y.reshape(len(X), -1), mean, 0.1, points())
    got_mean, got_std = model.predict(points(), return_std=True)
    assert_agree(got_mean.reshape(23, -1), expected[0])
    assert_agree(got_std.reshape(23, -1)[:, 0], expected[1])
    assert_agree(model.log_marginal_likelihood, expected[2])
    term = naive.Term(kernel[0], SCALES, 1.7, kernel[2])
    B = np.linalg.inv(naive.noisy_covariance([term], X, 0.1))
    residuals = (B @ (y - mean)).T / np.sqrt(B.diagonal())
    assert_agree(model.loo().standardized_residuals, residuals.T)


def test_known_variances():
    known, more = np.linspace(0.0, 0.5, 70), np.array([0.3, 0.0, 2.0])
    model, X, y = trained(observation_variance=known)
    more_X, more_y = data(3, 3, seed=1)
    with pytest.raises(ValueError, match=r"observation_variance.*with it"):
        model.update(more_X, more_y)
    model.update(more_X, more_y, more)
    diagonal = 0.1 + np.concatenate([known, more])
    expected = truth(("rbf", None, ()), np.vstack([X, more_X]), np.append(y, more_y)[:, None], y.mean(), diagonal, points())
    assert_agree(model.predict(points()), expected[0][:, 0])
    assert_agree(model.log_marginal_likelihood, expected[2])
    X, y = np.vstack([X, more_X]), np.append(y, more_y)
    centred, term = y - model._y_mean, naive.Term("rbf", SCALES, 1.7)
    assert_agree(model.loo().log_predictive_density, naive.leave_one_out([term], X, centred, diagonal)[2])
    again_X, again_y = data(2, 3, seed=2)
    model.update(again_X, again_y, [0.7, 0.2])
    X, y, diagonal = np.vstack([X, again_X]), np.append(y, again_y), np.append(diagonal, [0.8, 0.3])
    expected = truth(("rbf", None, ()), X, y[:, None], model._y_mean, diagonal, points())
    assert_agree(model.predict(points()), expected[0][:, 0])
    assert_agree(model.log_marginal_likelihood, expected[2])
    assert_agree(model.loo().log_predictive_density, naive.leave_one_out([term], X, y - model._y_mean, diagonal)[2])
    plain, _, _ = trained()
    with pytest.raises(ValueError, match=r"observation_variance.*without it"):
        plain.update(more_X, more_y, more)


def test_an_error_leaves_the_model_as_it_was():
    model, X, y = trained(noise_variance=0.0)
    before, likelihood = model.predict(points(), return_std=True), model.log_marginal_likelihood
    more_X, more_y = data(4, 3, seed=1)
    more_X[2] = X[5]  # a row it has already, and no noise
    with pytest.raises(fastard.NotPositiveDefiniteError) as caught:
        model.update(more_X, more_y)
    assert caught.value.row == 72
    with pytest.raises(ValueError, match="too large for the variances"):
        model.update(more_X[:2], [1e200, 0.0])
    for bad_X, bad_y, name in [(more_X[:, :2], more_y, "X"), (more_X, more_y[:2], "y"), (more_X, np.ones((4, 2)), "y")]:
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            model.update(bad_X, bad_y)
    after = model.predict(points(), return_std=True)
    np.testing.assert_array_equal(before, after)
    assert model.log_marginal_likelihood == likelihood
    assert model.loo().mean.shape == y.shape


def test_points_too_far_from_any_of_those_it_has():
    """The new one is near enough to the first one, but not to the second."""
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    model = fastard.fit([[0.0], [-7e149]], [1.0, 2.0], length_scale=1.0, standardize=False, **fixed)
    with pytest.raises(ValueError, match="length_scale is too small for X"):
        model.update([[7e149]], [3.0])
    assert model.loo().mean.shape == (2,)
    model.update([[7e148]], [3.0])
    assert model.loo().mean.shape == (3,)


def test_what_it_keeps(monkeypatch):
    """Data that nobody can write to, and beside the new rows of the factor zeros, not what was in memory before."""
    model, _, _ = trained(observation_variance=np.ones(70))
    monkeypatch.setattr(_blas, "large_array", lambda rows, columns: np.full((rows, columns), np.nan))
    model.update(*data(3, 3, seed=1), np.ones(3))
    for array in (model._X, model._y, model._observation_variance):
        assert len(array) == 73
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    np.testing.assert_array_equal(np.tril(model._factor[70:], 69), 0.0)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupt_leaves_the_model_as_it_was(monkeypatch, call):
    model, X, _ = trained()
    before, count, solve = model.predict(points(), return_std=True), [], _blas.solve

    def interrupted(*arguments, **options):
        count.append(1)
        if len(count) == call:
            raise KeyboardInterrupt
        return solve(*arguments, **options)

    with monkeypatch.context() as patch:
        for module in (_blas, gaussian_process):
            patch.setattr(module, "solve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.update(*data(2, 3, seed=1))
    np.testing.assert_array_equal(before, model.predict(points(), return_std=True))
    assert len(model.loo().mean) == len(X)


def test_lists_float32_and_read_only_and_nothing_of_the_callers_is_kept():
    model, _, _ = trained()
    other, _, _ = trained()
    more_X, more_y = data(3, 3, seed=1)
    more_X = more_X.astype(np.float32)
    model.update(more_X.tolist(), more_y.tolist())
    more_X.flags.writeable = False
    other.update(np.asfortranarray(more_X), more_y)
    np.testing.assert_array_equal(model.predict(points()), other.predict(points()))
    expected = other.predict(points(), return_std=True)
    more_y[:] = 0.0
    np.testing.assert_array_equal(other.predict(points(), return_std=True), expected)


def test_no_columns():
    model = fastard.fit(np.empty((4, 0)), [1.0, 2.0, 3.0, 4.0], max_iterations=2)
    model.update(np.empty((2, 0)), [5.0, 6.0])
    term = naive.Term("rbf", np.empty(0), model.signal_variance)
    expected = naive.predict(term, np.empty((6, 0)), np.arange(1.0, 7.0) - 2.5, model.noise_variance, np.empty((1, 0)))
    assert_agree(model.predict(np.empty((1, 0))), expected[0][:, 0] + 2.5)


def test_data_frames_and_restored_models():
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 2)
    model = fastard.fit(pandas.DataFrame(X, columns=["a", "b"]), y, max_iterations=2)
    with pytest.raises(ValueError, match="columns of training"):
        model.update(pandas.DataFrame(X[:2], columns=["b", "c"]), y[:2])
    model.update(pandas.DataFrame(X[:2] + 0.1, columns=["a", "b"]), y[:2])


def test_two_factors_of_memory():
    model, _, _ = trained(n=1500)
    more = data(1, 3, seed=1)
    used = peak(lambda: model.update(*more))
    assert used < 1.1 * 8 * 1502**2  # beside the one that the model has
