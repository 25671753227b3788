"""The trained model's predictions, against the plain truth and scikit-learn's shapes."""

import copy
import pickle
import threading
import tracemalloc

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import FIXED, SCALES, points, trained

import fastard
from fastard._engine import sizes


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n", [1, 63, 65, 129])
@pytest.mark.parametrize("noise", [False, True])
def test_agrees_with_the_truth(kernel, m, n, noise):
    name, _, shape = kernel
    model, X, y = trained(kernel, n, m)
    Z, term = points(), naive.Term(name, SCALES, 1.7, shape)
    mean, cov = naive.predict(term, X, y - y.mean(axis=0), 0.1, Z)
    mean = (mean + y.mean(axis=0)).reshape((23,) if m == 1 else (23, m))
    cov = cov + (0.1 * np.eye(23) if noise else 0.0)
    std = np.sqrt(np.diagonal(cov))
    assert_agree(model.predict(Z), mean)
    got_mean, got_std = model.predict(Z, return_std=True, include_noise=noise)
    assert_agree(got_mean, mean)
    assert_agree(got_std, std if m == 1 else np.tile(std[:, None], (1, m)))
    got_mean, got_cov = model.predict(Z, return_cov=True, include_noise=noise)
    assert_agree(got_mean, mean)
    assert_agree(got_cov, cov if m == 1 else np.tile(cov[:, :, None], (1, 1, m)))


def test_known_variances():
    known = np.linspace(0.0, 0.5, 70)
    model, X, y = trained(observation_variance=known)
    mean, cov = naive.predict(naive.Term("rbf", SCALES, 1.7), X, y - y.mean(), 0.1 + known, points())
    got_mean, got_std = model.predict(points(), return_std=True)
    assert_agree(got_mean, mean[:, 0] + y.mean())
    assert_agree(got_std, np.sqrt(np.diagonal(cov)))


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("known", [0.3, np.linspace(0.0, 0.4, 23)], ids=["one for all", "one for each"])
def test_new_targets_have_their_known_variances(m, known):
    """Whether the model was trained with such or not."""
    Z = points()
    for observation_variance in (None, np.linspace(0.0, 0.5, 70)):
        model, _, _ = trained(m=m, observation_variance=observation_variance)
        noisy = {"include_noise": True, "observation_variance": known}
        mean, cov = model.predict(Z, return_cov=True)
        expected = cov.reshape(23, 23, m) + ((0.1 + known) * np.eye(23))[..., None]
        got_mean, got_cov = model.predict(Z, return_cov=True, **noisy)
        np.testing.assert_array_equal(got_mean, mean)
        assert_agree(got_cov, expected.reshape(cov.shape))
        std = model.predict(Z, return_std=True, **noisy)[1]
        assert_agree(std.reshape(23, m), np.sqrt(np.einsum("iit->it", expected)))
        np.testing.assert_array_equal(model.predict(Z, **noisy), mean)


def test_new_targets_of_unknown_variance_are_refused():
    """With the noise variance alone their intervals would be too small, without a word."""
    model, _, _ = trained(observation_variance=np.linspace(0.0, 0.5, 70))
    for of_targets in (model.predict, model.sample):
        with pytest.raises(ValueError, match=r"observation_variance must be given with include_noise.*0 for none"):
            of_targets(points(), include_noise=True)
        with pytest.raises(ValueError, match="include_noise is false"):
            of_targets(points(), observation_variance=0.1)
        for wrong, error in ((-0.1, ">= 0"), (np.ones(22), r"\(23,\)"), (np.ones((23, 1)), r"\(23,\)"), (np.nan, "finite")):
            with pytest.raises(ValueError, match=f"observation_variance.*{error}"):
                of_targets(points(), include_noise=True, observation_variance=wrong)
    without, _, _ = trained()
    of_noise = {"return_std": True, "include_noise": True}
    np.testing.assert_array_equal(
        without.predict(points(), **of_noise)[1], without.predict(points(), **of_noise, observation_variance=0.0)[1]
    )


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2)], ids=str)
def test_shapes_are_scikit_learns(shape):
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    X = data(30, 2)[0]
    y = np.random.default_rng(0).standard_normal(shape)
    fixed = gaussian_process.kernels.RBF([1.0, 2.0], "fixed")
    peer = gaussian_process.GaussianProcessRegressor(fixed, alpha=0.1, optimizer=None).fit(X, y - y.mean(axis=0))
    options = {**FIXED, "length_scale": [1.0, 2.0], "signal_variance": 1.0}
    model = fastard.fit(X, y, **options)
    Z = data(7, 2, seed=9)[0]
    assert model.predict(Z).shape == peer.predict(Z).shape
    for option in ("return_std", "return_cov"):
        mine, theirs = model.predict(Z, **{option: True}), peer.predict(Z, **{option: True})
        assert_agree(mine[0], theirs[0] + np.squeeze(y.mean(axis=0)))
        assert_agree(mine[1], theirs[1], 1e-8)


def test_interpolates_without_noise():
    X, y = data(20, 3)
    model = fastard.fit(X, y, **{**FIXED, "noise_variance": 0.0})
    mean, std = model.predict(X, return_std=True)
    assert_agree(mean, y, 1e-8)
    assert (std >= 0.0).all()
    assert std.max() < 1e-5


def test_standard_deviations_that_rounding_made_0_are_counted(monkeypatch):
    """Rounding errors of a made-up size, as of data that are nearly linear, with hardly any noise."""
    model, X, _ = trained()
    Z = np.vstack([X, points()])
    exact = model.predict(Z, return_std=True)[1] ** 2
    error = np.sort(exact)[29]  # so that one is exactly 0
    monkeypatch.setattr(fastard.GaussianProcess, "_noise", lambda *_, **__: (-error, None))
    with pytest.warns(UserWarning, match="larger noise variance") as warned:
        std = model.predict(Z, return_std=True)[1]
    zeros = np.count_nonzero(std == 0.0)
    assert 29 <= zeros <= 30
    assert [str(warning.message).split(" predicted")[0] for warning in warned] == [f"{zeros} of 93"]
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match=f"{zeros} of 93") as warned:
        gradient = model.predict_gradient(Z)[1]
    assert warned[0].filename == __file__
    np.testing.assert_array_equal((gradient == 0.0).all(axis=1), std == 0.0)
    model.predict(Z)
    model.predict(Z, return_cov=True)


def test_a_standard_deviation_of_0_is_right_at_a_training_point_without_noise(monkeypatch):
    """Only there is nothing to warn of."""
    X, y = data(20, 3)
    X[0, 0] = 0.0
    model = fastard.fit(X, y, **{**FIXED, "noise_variance": 0.0}, observation_variance=np.repeat([0.0, 0.1], 10))
    monkeypatch.setattr(fastard.GaussianProcess, "_noise", lambda *_, **__: (-10.0, None))
    again = X.copy()
    again[0, 0] = -0.0
    model.predict(again[:10], return_std=True)
    model.predict_gradient(again[:10])
    for call in (lambda: model.predict(again, return_std=True), lambda: model.predict_gradient(again)):
        with pytest.warns(UserWarning, match="10 of 20 predicted variances"):
            call()


def test_far_away_is_the_prior():
    model, _, y = trained()
    mean, std = model.predict(np.full((2, 3), 1e6), return_std=True)
    np.testing.assert_allclose(mean, y.mean(), rtol=1e-14)
    np.testing.assert_allclose(std, np.sqrt(1.7), rtol=1e-14)


def test_both_returns_are_an_error():
    model, _, _ = trained()
    with pytest.raises(ValueError, match=r"return_std.*return_cov"):
        model.predict(points(), return_std=True, return_cov=True)


@pytest.mark.parametrize(
    ("bad", "exception"),
    [
        (np.ones(3), ValueError),
        (np.ones((4, 2)), ValueError),
        (np.ones((4, 4)), ValueError),
        (np.full((4, 3), np.nan), ValueError),
        (np.full((4, 3), np.inf), ValueError),
        (np.ones((4, 3), dtype=complex), TypeError),
        (np.full((4, 3), "a"), TypeError),
        (None, (TypeError, ValueError)),
        (np.ones((4, 3, 1)), ValueError),
    ],
)
def test_wrong_points(bad, exception):
    model, _, _ = trained()
    with pytest.raises(exception, match=r"\bX\b"):
        model.predict(bad)


def test_covariance_is_symmetric_and_has_the_variances():
    model, _, _ = trained()
    Z = points()
    cov, std = model.predict(Z, return_cov=True)[1], model.predict(Z, return_std=True)[1]
    assert_agree(cov, cov.T, 1e-15)
    assert_agree(np.diagonal(cov), std**2, 1e-13)
    assert np.linalg.eigvalsh(cov).min() > -1e-12


@pytest.mark.parametrize("m", [1, 2])
def test_blocks_and_whole(m, monkeypatch):
    """Point by point, in blocks, and all at once."""
    model, _, _ = trained(m=m)
    Z = points(200)
    mean, std = model.predict(Z, return_std=True)
    one = [model.predict(point[None], return_std=True) for point in Z[:20]]
    assert_agree(np.concatenate([first for first, _ in one]), mean[:20], 1e-13)
    assert_agree(np.concatenate([second for _, second in one]), std[:20], 1e-13)
    monkeypatch.setattr(sizes, "_MOST_QUERIES", 1)
    for in_blocks, whole in zip(model.predict(Z, return_std=True), (mean, std), strict=True):
        np.testing.assert_array_equal(in_blocks, whole)


def test_memory_of_many_points():
    """50 000 points and 400 training rows: their covariance would take 160 MB."""
    model, _, _ = trained(n=400)
    Z = points(50_000)
    model.predict(Z[:10], return_std=True)
    tracemalloc.start()
    try:
        mean, std = model.predict(Z, return_std=True)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 100e6
    assert mean.shape == std.shape == (50_000,)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "deepcopy", "pickle"]
)
def test_copies(clone):
    model, _, _ = trained(("rational_quadratic", fastard.RationalQuadratic(0.7), (0.7,)))
    twin = clone(model)
    for name in ("length_scale", "signal_variance", "noise_variance", "log_marginal_likelihood", "relevance", "kernel"):
        np.testing.assert_array_equal(getattr(twin, name), getattr(model, name))
    assert (twin.converged, twin.message, twin.n_evaluations) == (model.converged, model.message, model.n_evaluations)
    expected = model.predict(points(), return_std=True)
    for got, wanted in zip(twin.predict(points(), return_std=True), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_predictions_leave_the_model_alone():
    model, _, _ = trained()
    first = model.predict(points(), return_std=True)
    model.predict(points(), return_cov=True, include_noise=True)
    model.predict(points(5))
    again = model.predict(points(), return_std=True)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_shared_by_threads():
    model, _, _ = trained(n=129)
    Z = points(300)
    expected = model.predict(Z, return_std=True)
    wrong = []

    def work():
        for _ in range(5):
            mean, std = model.predict(Z, return_std=True)
            if not (np.array_equal(mean, expected[0]) and np.array_equal(std, expected[1])):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_repr():
    model, _, _ = trained()
    assert "GaussianProcess" in repr(model)
    assert len(repr(model)) < 500


def test_a_data_frame_keeps_its_columns():
    """Other names are refused: the numbers would be wrong without a word. A dozen are named."""
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 3)
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    model = fastard.fit(frame, y, max_iterations=2)
    np.testing.assert_array_equal(model.predict(frame), model.predict(X))
    for other, words in (
        (frame.rename(columns={"a": "A"}), "it lacks 'a'; it has 'A' besides$"),
        (frame[["b", "c"]], "it lacks 'a'$"),
        (
            pandas.DataFrame(np.zeros((1, 1503)), columns=[*"abc", *(f"x{i}" for i in range(1500))]),
            "it has 'x0', 'x1', .* 'x11' and 1488 more besides$",
        ),
    ):
        with pytest.raises(ValueError, match=f"columns of training.*; {words}"):
            model.predict(other)


@pytest.mark.parametrize("far", [1e8, 1e12, 1e16])
def test_a_far_query_harms_no_other(far):
    X, y = data(40, 2)
    model = fastard.fit(X, y, max_iterations=3)
    query = X[:3] + 0.1
    together = model.predict(np.vstack([np.full((1, 2), far), query]), return_std=True)
    for found, expected in zip(together, model.predict(query, return_std=True), strict=True):
        np.testing.assert_allclose(found[1:], expected, rtol=1e-12)
