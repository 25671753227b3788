"""save and load of models of many points: an exact round trip, and a clear error for anything else."""

from functools import partial

import numpy as np
import pytest
from archives import archive_of, changed, members
from helpers import peak

import fastard
from fastard._vecchia import fit as fitting
from fastard._vecchia import likelihood
from fastard._vecchia.blocks import make_blocks


def trained(n=400, m=1, **options):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(n, 2))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 3.0 + 0.1 * rng.standard_normal(n)
    y = y if m == 1 else np.column_stack([y, -y])
    with pytest.MonkeyPatch.context() as patched:  # few points are many where the exact block and the first fit have fewer
        patched.setattr(likelihood, "make_blocks", partial(make_blocks, first=100))
        patched.setattr(fitting, "_START", 100)
        return fastard.fit_vecchia(X, y, rng=0, **{"neighbors": 20, "block_size": 7, "max_iterations": 3, **options})


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.npz"
    model.save(path)
    return path.read_bytes()


def assert_same_model(loaded, model):
    points = np.random.default_rng(1).uniform(size=(9, 2))
    assert type(loaded) is fastard.VecchiaGaussianProcess
    for one, other in zip(loaded.predict(points, return_std=True), model.predict(points, return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(loaded.sample(points, 2, rng=0), model.sample(points, 2, rng=0))
    for one, other in zip(loaded.accuracy(sample=20), model.accuracy(sample=20), strict=True):
        assert str(one) == str(other)
    np.testing.assert_array_equal(loaded._errors()[0].covariance, model._errors()[0].covariance)
    np.testing.assert_array_equal(loaded.relevance, model.relevance)
    assert loaded._likelihood(model._theta)[0] == model._likelihood(model._theta)[0]
    for name in ("kernel", "signal_variance", "noise_variance", "log_likelihood", "objective", "n_evaluations", "converged",
                 "message", "feature_names", "target_names", "neighbors", "block_size"):  # fmt: skip
        one, other = getattr(loaded, name), getattr(model, name)
        assert one == other, name
        assert type(one) is type(other), name
    assert repr(loaded) == repr(model)
    again = loaded._likelihood.blocks.refreshed(loaded._likelihood.X, 2.0 * model.length_scale, 1).neighbors
    expected = model._likelihood.blocks.refreshed(model._likelihood.X, 2.0 * model.length_scale, 1).neighbors
    np.testing.assert_array_equal(again, expected)


def test_round_trip(model, saved, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    loaded = fastard.load(path)
    assert_same_model(loaded, model)
    loaded.save(path)
    assert members(path.read_bytes()).keys() == members(saved).keys()
    assert_same_model(fastard.load(path, n_threads=1), model)
    assert fastard.load(path, n_threads=1).n_threads == 1
    assert len(saved) < 400 * (8 * 4 + 4 * 20 / 5) + 10_000  # what the docstring says, of these blocks


@pytest.mark.parametrize("kernel", ["rational_quadratic", "matern32"])
def test_round_trip_of_two_outputs_known_variances_and_a_shape(kernel, tmp_path):
    model = trained(m=2, kernel=kernel, observation_variance=np.linspace(0.0, 0.1, 400))
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    points = model._likelihood.X[:5]
    for one, other in zip(loaded.predict(points, return_std=True), model.predict(points, return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(loaded._errors()[0].covariance, model._errors()[0].covariance)


def test_round_trip_of_one_block(tmp_path):
    model = trained(n=60, neighbors=100)
    assert model._is_one_block
    model.save(tmp_path / "model.npz")
    assert_same_model(fastard.load(tmp_path / "model.npz"), model)


def test_names_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.uniform(size=(50, 2)), columns=["a $é", "b\n"])
    model = fastard.fit_vecchia(frame, pandas.Series(frame["b\n"] ** 2, name="é"), max_iterations=2, rng=0)
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    assert (loaded.feature_names, loaded.target_names) == (["a $é", "b\n"], ["é"])
    np.testing.assert_array_equal(loaded.predict(frame[["b\n", "a $é"]]), model.predict(frame))


def of_array(name, change):
    """The archive with one array changed in a copy of it."""

    def build(content):
        arrays = members(content)
        array = arrays[name].copy()
        return archive_of(arrays | {name: change(array)})

    return build


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


FOREIGN = {
    "exact_format": lambda content: changed(content, format="fastard model"),
    "other_format": lambda content: changed(content, format=["fastard Vecchia model"]),
    "missing": lambda content: archive_of({k: v for k, v in members(content).items() if k != "neighbors"}),
    "more": lambda content: archive_of(members(content) | {"factor": np.ones(3)}),
    "no_neighbors": lambda content: changed(content, neighbors=0),
    "other_neighbors": lambda content: changed(content, neighbors=21),
    "true_neighbors": lambda content: changed(content, neighbors=True),
    "huge_neighbors": lambda content: changed(content, neighbors=10**30),
    "smaller_blocks": lambda content: changed(content, block_size=2),
    "likelihood_of_text": lambda content: changed(content, log_likelihood="1"),
    "negative_variance": lambda content: changed(content, signal_variance=-1.0),
    "short_names": lambda content: changed(content, feature_names=["a"]),
    "not_finite": of_array("y", put(3, np.nan)),
    "order_twice": of_array("order", put(0, 7)),
    "order_outside": of_array("order", put(0, 400)),
    "order_negative": of_array("order", put(0, -1)),
    "order_of_floats": of_array("order", lambda order: order.astype(float)),
    "starts_outside": of_array("starts", put(-1, 401)),
    "starts_early": of_array("starts", put(-1, 399)),
    "starts_descend": of_array("starts", lambda starts: starts[::-1].copy()),
    "starts_at_nothing": of_array("starts", put(0, 0)),
    "no_starts": of_array("starts", lambda starts: starts[:0]),
    "empty_block": of_array("starts", lambda starts: put(1, starts[0])(starts)),
    "neighbor_outside": of_array("neighbors", put((-1, -1), 2**31 - 1)),
    "neighbor_negative": of_array("neighbors", put((3, 0), -1)),
    "neighbor_later": of_array("neighbors", lambda near: put((0, -1), 100)(near)),
    "neighbors_twice": of_array("neighbors", lambda near: put((2, 1), near[2, 0])(near)),
    "neighbors_wide": of_array("neighbors", lambda near: near.astype(np.int64)),
    "neighbors_short": of_array("neighbors", lambda near: near[:-1].copy()),
    "neighbors_narrow": of_array("neighbors", lambda near: near[:, :-1].copy()),
    "neighbors_flat": of_array("neighbors", np.ravel),
    "no_neighbor_columns": of_array("neighbors", lambda near: near[:, :0].copy()),
    "no_points": of_array("X", lambda X: X[:0]),
    "length_scale_zero": of_array("length_scale", put(0, 0.0)),
    "foreign_slots": of_array("slots", put(0, 99)),
    "cut_off": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_model(kind, saved, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(FOREIGN[kind](saved))
    with pytest.raises(ValueError, match=r"file\.npz is not a model that fastard saved, or is damaged") as caught:
        fastard.load(path)
    assert len(str(caught.value)) < 1000


def test_a_later_version(saved, tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(changed(saved, version=2, fastard="9.0"))
    with pytest.raises(ValueError, match=r"fastard 9\.0.*upgrade"):
        fastard.load(path)


def test_bytes_changed_at_random_are_value_errors(saved, tmp_path):
    """Or another model, where it is a number that has changed; predictions from it stay within the arrays."""
    path, random, arrays = tmp_path / "file.npz", np.random.default_rng(0), members(saved)
    refused = 0
    for _ in range(150):
        name = str(random.choice(["order", "starts", "neighbors", "slots"]))
        array = arrays[name].copy()
        raw = array.reshape(-1).view(np.uint8)
        raw[random.integers(raw.size)] ^= 1 << random.integers(8)
        path.write_bytes(archive_of(arrays | {name: array}))
        try:
            loaded = fastard.load(path)
        except ValueError:
            refused += 1
            continue
        assert np.isfinite(loaded.predict(loaded._likelihood.X[:2])).all()
        assert np.isfinite(loaded._likelihood(loaded._theta)[0])
    assert refused > 50


def test_what_expands_is_refused_before_it_does(saved, tmp_path):
    path, arrays = tmp_path / "file.npz", members(saved)
    np.savez_compressed(path, **arrays | {"neighbors": np.zeros((10_000, 1000), dtype=np.int32)})

    def load():
        with pytest.raises(ValueError, match="would expand"):
            fastard.load(path)

    assert peak(load) < 2**22
