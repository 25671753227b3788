"""The compiled predictions: few queries and many, in blocks and on threads, against the plain truth."""

import copy
import pickle
import threading

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import SCALES, trained

import fastard
from fastard._engine import posterior as engine
from fastard._engine import sizes
from fastard._engine.posterior import DEVIATION, GRADIENT, MEAN


@pytest.fixture(params=["few", "many"])
def way(request, monkeypatch):
    """The factor read as it stands, or packed, whatever the number of queries."""
    monkeypatch.setattr(sizes, "_FEW_QUERIES", 10**6 if request.param == "few" else 0)
    return request.param


def at(model, Z, wanted=GRADIENT, threads=1):
    found = engine.predict(model._posterior, Z, wanted, 0.0, None, threads)
    assert found is not None
    return found[:4]


@pytest.mark.parametrize("n", [1, 7, 23, 24, 25, 97, 190, 491])
@pytest.mark.parametrize("q", [1, 2, 26])
@pytest.mark.parametrize("m", [1, 10])
def test_agrees_with_the_truth(way, n, q, m):
    """Below, at and beyond the sizes of vectors, panels, blocks and what is packed at a time."""
    model, X, y = trained(("matern52", "matern52", ()), n=n, m=m)
    Z = data(q, 3, seed=9)[0]
    mean, cov = naive.predict(naive.Term("matern52", SCALES, 1.7), X, y.reshape(n, m) - y.reshape(n, m).mean(axis=0), 0.1, Z)
    got_mean, deviation, _, _ = at(model, Z)
    assert_agree(got_mean, mean.reshape(q, m) + y.reshape(n, m).mean(axis=0))
    np.testing.assert_allclose(deviation**2, np.tile(np.diagonal(cov)[:, None], (1, m)), rtol=0.0, atol=1.7e-10)


def test_all_kernels_and_gradients(way, kernel):
    model, _, _ = trained(kernel, n=45, m=2)
    Z, step = data(5, 3, seed=9)[0], 1e-6
    _, _, mean_grad, deviation_grad = at(model, Z)
    for p in range(3):
        up, down = (at(model, Z + sign * step * np.eye(3)[p], DEVIATION) for sign in (1.0, -1.0))
        assert_agree(mean_grad[:, p], (up[0] - down[0]) / (2.0 * step), 1e-7)
        assert_agree(deviation_grad[:, p], (up[1] - down[1]) / (2.0 * step), 1e-7)


@pytest.mark.parametrize("noise", [1e-10, 0.0])
def test_nearly_singular(way, noise):
    """As exact as substitution is: an inverse of the factor's blocks loses digits here."""
    X = np.linspace(0.0, 1.0, 60)[:, np.newaxis]
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    scale = 0.3 if noise else 0.02
    model = fastard.fit(X, X[:, 0], length_scale=scale, signal_variance=1.0, noise_variance=noise, **fixed)
    Z = np.linspace(-0.2, 1.2, 30)[:, np.newaxis]
    k = np.exp(-0.5 * ((X - Z.T) / scale) ** 2)
    L = np.tril(model._factor.T)
    v = np.zeros(k.shape, dtype=np.longdouble)
    for j in range(60):
        v[j] = (k[j] - L[j, :j].astype(np.longdouble) @ v[:j]) / L[j, j]
    _, deviation, _, _ = at(model, Z)
    np.testing.assert_allclose(
        deviation[:, 0] ** 2, np.maximum(1.0 - (v**2).sum(axis=0), 0.0).astype(float), rtol=0.0, atol=1e-12
    )


def test_few_and_many_agree(monkeypatch):
    model, _, _ = trained(n=211, m=3)
    Z, found = data(30, 3, seed=9)[0], []
    for few in (0, 10**6):
        monkeypatch.setattr(sizes, "_FEW_QUERIES", few)
        found.append(at(model, Z))
    for a, b in zip(*found, strict=True):
        assert_agree(a, b, 1e-11)


@pytest.mark.parametrize("wanted", [MEAN, DEVIATION, GRADIENT])
def test_bits_do_not_depend_on_threads_or_blocks(wanted, way, monkeypatch):
    model, _, _ = trained(n=130, m=2)
    Z = data(301, 3, seed=9)[0]
    expected = at(model, Z, wanted)
    monkeypatch.setattr(sizes, "_SHARED_PREDICTIONS", 0.0)
    for blocks in (1, 2, 7):
        monkeypatch.setattr(sizes, "_MOST_QUERIES", blocks)
        for threads in (1, 2, 3):
            for a, b in zip(at(model, Z, wanted, threads), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_any_form_of_the_same_points():
    """The fast way and the general one end in the same numbers."""
    model, _, _ = trained()
    Z = data(5, 3, seed=9)[0].astype(np.float32).astype(np.float64)
    frozen = Z.copy()
    frozen.flags.writeable = False
    expected = model.predict(Z, return_std=True)
    for form in (frozen, Z.tolist(), Z.astype(np.float32), np.asfortranarray(Z), np.repeat(Z, 2, axis=0)[::2], np.ma.array(Z)):
        for a, b in zip(model.predict(form, return_std=True), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(model.predict_gradient(form), model.predict_gradient(Z), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named(value):
    model, _, _ = trained()
    Z = data(40, 3, seed=9)[0]
    Z[33, 1] = value
    for call in (model.predict, lambda Z: model.predict(Z, return_std=True), model.predict_gradient):
        with pytest.raises(ValueError, match=r"X must be finite, got \S+ at X\[33, 1\]"):
            call(Z)


def test_far_away():
    """Up to where squares of differences overflow, which is refused."""
    model, _, _ = trained()
    for size in (1e100, 4e149, 8e149):  # the last are not what compiled code takes unasked
        mean, std = model.predict([[0.0, 0.0, size]], return_std=True)
        assert_agree(std, np.sqrt([1.7]))
        np.testing.assert_array_equal(mean, model.predict(np.array([[0.0, 0.0, size]])))
    for Z in (np.array([[0.0, 0.0, 1e151]]), np.array([[0.0, 0.0, 1.2e150], [0.0, 0.0, -1.2e150]])):
        with pytest.raises(ValueError, match="length_scale is too small for X"):
            model.predict(Z)


def test_what_is_kept_goes_with_the_model_it_is_of():
    model, X, y = trained()
    Z = data(3, 3, seed=9)[0]
    before = model.predict(Z)
    twins = copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for twin in twins:
        np.testing.assert_array_equal(twin.predict(Z), before)
    model.update(X[:2] + 0.1, y[:2] + 3.0)
    after = model.predict(Z)
    assert np.abs(after - before).max() > 1e-3
    for twin in twins:
        np.testing.assert_array_equal(twin.predict(Z), before)
        twin.update(X[:2] + 0.1, y[:2] + 3.0)
        np.testing.assert_array_equal(twin.predict(Z), after)


def test_threads_share_a_model():
    model, _, _ = trained(n=200)
    Z, found = data(50, 3, seed=9)[0], []
    expected = copy.copy(model).predict(Z, return_std=True)
    threads = [threading.Thread(target=lambda: found.append(model.predict(Z, return_std=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for result in found:
        for a, b in zip(result, expected, strict=True):
            np.testing.assert_array_equal(a, b)
