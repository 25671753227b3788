"""Names of inputs and targets: kept, told, taken in dictionaries, and columns put in order by them."""

import warnings

import numpy as np
import pytest
from conftest import data
from scipy import stats

import fastard

pandas = pytest.importorskip("pandas")
NAMES = ["speed", "depth", "heat"]


def problem(n=40):
    X, noise = data(n, 3)
    return X, np.sin(2.0 * X[:, 0]) + np.sin(X[:, 1]) + 0.3 * X[:, 2] ** 2 + 0.1 * noise


def frames(n=40):
    X, y = problem(n)
    return pandas.DataFrame(X, columns=NAMES), pandas.Series(y, name="yield")


def same(one, other):
    np.testing.assert_array_equal(one.length_scale, other.length_scale)
    assert (one.signal_variance, one.noise_variance, one.kernel) == (other.signal_variance, other.noise_variance, other.kernel)


@pytest.mark.parametrize(
    ("y", "names", "shown"),
    [
        (lambda y: pandas.Series(y, name="yield"), ["yield"], ["yield"]),
        (lambda y: pandas.Series(y, name=3), ["3"], ["3"]),
        (lambda y: pandas.Series(y), None, ["y"]),
        (lambda y: pandas.DataFrame({"a": y, 7: y}), ["a", "7"], ["a", "7"]),
        (lambda y: y, None, ["y"]),
        (lambda y: np.column_stack([y, y]), None, ["y0", "y1"]),
    ],
    ids=["series", "number", "nameless", "frame", "array", "two"],
)
def test_targets_are_named(y, names, shown, tmp_path):
    X, values = problem()
    model = fastard.fit(X, y(values), max_iterations=1)
    assert model.target_names == names
    assert model.output_names == shown
    model.save(tmp_path / "model.npz")
    assert fastard.load(tmp_path / "model.npz").target_names == names


def calls():
    """Of everything that takes X and y, with the options that go with their rows."""
    frame, y = frames()
    options = {"observation_variance": pandas.Series(0.01, y.index), "noise_groups": pandas.Series(["a", "b"] * 20)}
    trained = fastard.fit(frame, y, max_iterations=1, **options)
    few = {"n_chains": 1, "n_draws": 4, "n_warmup": 1}
    return {
        "fit": lambda X, y, **rows: fastard.fit(X, y, max_iterations=1, **rows),
        "fit_vecchia": lambda X, y, **rows: fastard.fit_vecchia(X, y, max_iterations=1, **rows),
        "sample_posterior": lambda X, y, **rows: fastard.sample_posterior(X, y, **few, **rows),
        "update": lambda X, y, **rows: trained.update(X + 9.0, y, **{**options, **rows}),
    }


@pytest.mark.filterwarnings("ignore:the chains disagree", "ignore:.*diverged")  # so few draws
@pytest.mark.parametrize("name", ["fit", "fit_vecchia", "sample_posterior", "update"])
def test_rows_with_the_same_labels_in_another_order_are_warned_of(name):
    if name == "sample_posterior":
        pytest.importorskip("nutpie", exc_type=ImportError)
    call, (X, y) = calls()[name], frames()
    variances, labels = pandas.Series(0.01, y.index), pandas.Series(["a", "b"] * 20)
    wrong = [("y", {"y": y[::-1]}), ("observation_variance", {"observation_variance": variances[::-1]})]
    if name in ("fit", "update"):
        wrong.append(("noise_groups", {"noise_groups": labels[::-1]}))
    for argument, rows in wrong:
        with pytest.warns(
            UserWarning, match=rf"^{argument} has the index of X in another order.*{argument}\.loc\[X\.index\]"
        ) as told:
            call(X, **{"y": y, **rows})
        assert told[0].filename == __file__


def test_rows_are_not_warned_of_otherwise():
    X, y = frames()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for targets in (
            y,
            y.to_numpy(),
            y.set_axis(y.index + 1),
            y.set_axis([0] * 40),
            y.set_axis(y.index.astype(str)),
            list(y),
        ):
            fastard.fit(X, targets, max_iterations=1)
        fastard.fit(X[::-1], y[::-1], max_iterations=1)
        fastard.fit(X.to_numpy(), y[::-1], max_iterations=1)
        with pytest.raises(ValueError, match="y must have shape"):
            fastard.fit(X, y[1:])


def test_columns_are_taken_by_name():
    frame, y = frames()
    model = fastard.fit(frame, y, max_iterations=3)
    other = frame[["heat", "speed", "depth"]]
    before = other.copy()
    for call in (
        lambda X: model.predict(X, return_std=True)[1],
        model.predict,
        lambda X: model.predict(X, return_cov=True)[1],
        model.predict_gradient,
        lambda X: model.sample(X, rng=0),
    ):
        np.testing.assert_array_equal(call(other.head(5)), call(frame.head(5)))
    pandas.testing.assert_frame_equal(other, before)
    model.update(other.tail(2) + 0.1, y.tail(2))
    np.testing.assert_array_equal(model._X[-2:], frame.tail(2) + 0.1)


def test_columns_with_one_name_are_not_guessed():
    frame, y = frames()
    model = fastard.fit(frame.set_axis(["a", "a", "b"], axis=1), y, max_iterations=1)
    assert np.isfinite(model.predict(frame.set_axis(["a", "a", "b"], axis=1))).all()
    for names, words in ((["a", "b", "a"], "a name twice"), (["b", "a"], "a name in common")):
        with pytest.raises(ValueError, match=words):
            model.predict(frame.iloc[:, : len(names)].set_axis(names, axis=1))


LISTS = {
    "length_scale": ({"depth": 2.5}, lambda default: [default[0], 2.5, default[2]]),
    "length_scale_bounds": ({"heat": "fixed", "speed": (0.5, 0.6)}, lambda _: [(0.5, 0.6), None, "fixed"]),
    "length_scale_groups": ({"heat": "one", "speed": "one"}, lambda _: ["one", "own", "one"]),
    "length_scale_prior": ({"depth": stats.lognorm(1.0)}, lambda _: [None, stats.lognorm(1.0), None]),
}


@pytest.mark.parametrize("name", LISTS)
def test_dictionaries_are_lists(name):
    frame, y = frames()
    given, listed = LISTS[name]
    options = {"max_iterations": 4, "n_threads": 1}
    expected = fastard.fit(frame, y, **{name: listed(np.sqrt(3.0) * np.std(np.ascontiguousarray(frame), axis=0))}, **options)
    same(fastard.fit(frame, y, **{name: given}, **options), expected)
    numbers = {NAMES.index(key): value for key, value in given.items()}
    same(fastard.fit(frame.to_numpy(), y, **{name: numbers}, **options), expected)


@pytest.mark.parametrize("name", LISTS)
def test_unknown_columns_are_named(name):
    frame, y = frames()
    given = {"height": next(iter(LISTS[name][0].values()))}
    with pytest.raises(ValueError, match=rf"{name} has the key 'height', which is no column; .*'speed', 'depth', 'heat'"):
        fastard.fit(frame, y, **{name: given})
    with pytest.raises(ValueError, match=rf"{name} has the key 'height'.*0 to 2.*no DataFrame"):
        fastard.fit(frame.to_numpy(), y, **{name: given})


# Warm starts ------------------------------------------------------------------------------------------------------------


def test_a_model_to_start_from():
    frame, y = frames()
    for kernel in ("matern52", fastard.RationalQuadratic(0.7)):
        model = fastard.fit(frame, y, kernel=kernel)
        first = []
        again = fastard.fit(frame, y, start=model, callback=lambda state, first=first: first.append(state))
        assert again.kernel.__class__ is model.kernel.__class__
        assert_start(first[0], model)
        assert again.n_evaluations < model.n_evaluations
        assert again.log_marginal_likelihood >= model.log_marginal_likelihood - 1e-6


def assert_start(state, model, length_scale=None):
    found, expected = state.parameters, model.length_scale if length_scale is None else length_scale
    np.testing.assert_allclose(found["length_scale"], expected, rtol=1e-14)
    np.testing.assert_allclose(found["signal_variance"], model.signal_variance, rtol=1e-14)
    np.testing.assert_allclose(found["noise_variance"], model.noise_variance, rtol=1e-14)
    np.testing.assert_allclose(found["shape"], tuple(model.kernel), rtol=1e-14)


def first_state(*arguments, **options):
    states = []
    fastard.fit(*arguments, **options, callback=lambda state: states.append(state) or True)
    return states[0]


def test_a_warm_start_is_moved_into_the_bounds():
    frame, y = frames()
    model = fastard.fit(frame, y)
    low, high = 2.0 * model.length_scale[0], 0.5 * model.length_scale[1]
    bounds = {"speed": (low, 10.0 * low), "depth": (0.1 * high, high)}
    state = first_state(frame, y, start=model, length_scale_bounds=bounds)
    assert_start(state, model, [low, high, model.length_scale[2]])
    fixed = fastard.fit(frame, y, start=model, length_scale_bounds="fixed", max_iterations=3)
    np.testing.assert_array_equal(fixed.length_scale, model.length_scale)
    state = first_state(frame, y, start=model, length_scale={"depth": 3.0})
    assert_start(state, model, [model.length_scale[0], 3.0, model.length_scale[2]])
    state = first_state(frame, y, start=model, length_scale_groups="isotropic")
    assert_start(state, model, np.full(3, np.exp(np.log(model.length_scale).mean())))


def test_a_warm_start_goes_by_names():
    frame, y = frames()
    model = fastard.fit(frame, y)
    state = first_state(frame[["heat", "depth", "speed"]], y, start=model)
    assert_start(state, model, model.length_scale[::-1])
    for X, error, words in (
        (frame[["heat", "depth"]], ValueError, "model of the 2 columns of X, got one of 3"),
        (frame.rename(columns={"heat": "cold"}), ValueError, "lacks 'cold'"),
    ):
        with pytest.raises(error, match=f"start must be .*{words}"):
            fastard.fit(X, y, start=model)
    with pytest.raises(TypeError, match="start must be a model"):
        fastard.fit(frame, y, start=[1.0, 2.0, 3.0])


def test_refit_keeps_the_settings(tmp_path):
    frame, y = frames()
    bounds = {"speed": (0.1, 1.0), "depth": "fixed"}
    options = {"kernel": "matern32", "objective": "loo", "standardize": False, "noise_variance_bounds": (0.02, 0.5)}
    model = fastard.fit(frame, y, length_scale={"depth": 2.5}, length_scale_bounds=bounds, **options)
    model.save(tmp_path / "model.npz")
    more, targets = frames(60)
    expected = fastard.fit(more, targets, start=model, length_scale_bounds=bounds, **options)
    assert expected.length_scale[1] == 2.5
    for kept in (model, fastard.load(tmp_path / "model.npz")):
        same(kept.refit(more, targets), expected)
        turned = kept.refit(more[["depth", "heat", "speed"]], targets)
        np.testing.assert_allclose(turned.length_scale[[2, 0, 1]], expected.length_scale, rtol=1e-3)
        assert turned.feature_names == ["depth", "heat", "speed"]
    assert model.refit(more, targets, objective="log_marginal_likelihood").objective == "log_marginal_likelihood"
    tied = fastard.fit(frame, y, length_scale_groups=["a", "b", "a"]).refit(more, targets)
    assert tied.length_scale[0] == tied.length_scale[2]
    noiseless = fastard.fit(frame, y, noise_variance=0.0, noise_variance_bounds="fixed").refit(more, targets)
    assert noiseless.noise_variance == 0.0


def test_refit_asks_for_what_is_not_kept():
    frame, y = frames()
    with_prior = fastard.fit(frame, y, length_scale_prior=stats.lognorm(1.0), max_iterations=2)
    with pytest.raises(ValueError, match="length_scale_prior"):
        with_prior.refit(frame, y)
    assert with_prior.refit(frame, y, length_scale_prior=None, max_iterations=2).objective == "log_marginal_likelihood"
    known = fastard.fit(frame, y, observation_variance=np.full(40, 0.1), max_iterations=2)
    with pytest.raises(ValueError, match="observation_variance"):
        known.refit(frame, y)
