"""fit_vecchia and its model, beside the exact model of the same data."""

import pickle
import re
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.stats

import fastard
from fastard._engine.vecchia import INFORMATION
from fastard._vecchia import fit as fitting
from fastard._vecchia import likelihood
from fastard._vecchia.accuracy import judge
from fastard._vecchia.blocks import make_blocks
from fastard._vecchia.scoring import Point, ascend


def problem(n=700, d=2, outputs=1, seed=0):
    """A function of the first input and, less, of the second; noise of variance 0.01."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, d))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] ** 2 + 3.0
    y = np.stack([y, -0.5 * y][:outputs], axis=1) + 0.1 * rng.standard_normal((n, outputs))
    return X, y[:, 0] if outputs == 1 else y


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few points are many where the exact block and the first fit have fewer."""
    monkeypatch.setattr(likelihood, "make_blocks", partial(make_blocks, first=100))
    monkeypatch.setattr(fitting, "_START", 150)


def test_the_end_is_near_the_exact_one():
    rng = np.random.default_rng(2)
    X = rng.uniform(size=(700, 2))
    K = fastard.covariance(X, length_scale=[0.2, 0.5], kernel="matern52") + 0.05 * np.eye(700)
    y = np.linalg.cholesky(K) @ rng.standard_normal(700)
    exact = fastard.fit(X, y, kernel="matern52")
    model = fastard.fit_vecchia(X, y, neighbors=60, block_size=10, rng=0)
    assert model.converged, model.message
    errors = exact.standard_errors().standard_errors
    moved = model._theta - np.log([*exact.length_scale, exact.signal_variance, exact.noise_variance])
    assert np.all(np.abs(moved) < 0.6 * errors)
    np.testing.assert_allclose(model.standard_errors().standard_errors, errors, rtol=0.2)
    value = fastard.LogMarginalLikelihood(X, y - y.mean(), kernel="matern52")(model._theta)[0]
    assert abs(value - model.log_likelihood) < 0.01 * len(X)


@pytest.mark.parametrize("outputs", [1, 2])
def test_with_all_points_in_one_block_it_is_the_exact_model(outputs, kernel):
    X, y = problem(90, outputs=outputs)
    exact = fastard.fit(X, y, kernel=kernel[1])
    model = fastard.fit_vecchia(X, y, kernel=kernel[1], rng=0)
    assert model.log_likelihood == pytest.approx(exact.log_marginal_likelihood, abs=0.02)
    given = {
        "length_scale": exact.length_scale,
        "signal_variance": exact.signal_variance,
        "noise_variance": exact.noise_variance,
        "length_scale_bounds": "fixed",
        "signal_variance_bounds": "fixed",
        "noise_variance_bounds": "fixed",
        "shape_bounds": "fixed" if len(exact.kernel) else None,
    }
    model = fastard.fit_vecchia(X, y, kernel=exact.kernel, rng=0, **given)
    assert model.log_likelihood == pytest.approx(exact.log_marginal_likelihood, rel=1e-10)
    points = np.random.default_rng(1).uniform(size=(7, 2))
    for ours, theirs in zip(model.predict(points, return_std=True), exact.predict(points, return_std=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.relevance, exact.relevance, rtol=1e-12)


def test_predictions_from_all_points_are_the_exact_models():
    X, y = problem(300, outputs=2)
    model = fastard.fit_vecchia(X, y, neighbors=40, block_size=8, rng=0)
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    given = {name: getattr(model, name) for name in ("length_scale", "signal_variance", "noise_variance")}
    exact = fastard.fit(X, y, kernel="matern52", **fixed, **given)
    points = np.random.default_rng(1).uniform(size=(20, 2))
    for noise in (False, True):
        ours = model.predict(points, return_std=True, include_noise=noise, neighbors=300)
        theirs = exact.predict(points, return_std=True, include_noise=noise)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-7)
    near = model.predict(points, return_std=True, neighbors=50)
    assert np.abs(near[0] - theirs[0]).max() < 0.05
    np.testing.assert_array_equal(model.predict(points[3:4], neighbors=50), near[0][3:4])


def test_all_points_as_neighbours_are_factored_once():
    """And not for each of the predicted points, which no interrupt could end."""
    X, y = problem(1500)
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, max_iterations=1)
    points = np.random.default_rng(1).uniform(size=(2000, 2))
    mean, deviation = model.predict(points, return_std=True, neighbors=1500)
    few = model.predict(points[:2], return_std=True, neighbors=1499)
    np.testing.assert_allclose(mean[:2], few[0], atol=1e-6)
    np.testing.assert_allclose(deviation[:2], few[1], rtol=1e-3)
    assert "accuracy() tells" in str(model.summary())


def test_draws_are_those_of_the_exact_posterior():
    X, y = problem(250)
    model = fastard.fit_vecchia(X, y, neighbors=40, rng=0)
    points = np.vstack([np.random.default_rng(1).uniform(size=(4, 2)), X[:1], X[:1]])
    draws = model.sample(points, 4000, rng=0, neighbors=400)
    assert draws.shape == (4000, 6)
    np.testing.assert_array_equal(draws[:, 4], draws[:, 5])
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    given = {name: getattr(model, name) for name in ("length_scale", "signal_variance", "noise_variance")}
    mean, covariance = fastard.fit(X, y, kernel="matern52", **fixed, **given).predict(points[:5], return_cov=True)
    deviation = np.sqrt(covariance.diagonal())
    assert np.all(np.abs(draws[:, :5].mean(axis=0) - mean) < 5.0 * deviation / np.sqrt(4000))
    found = np.cov(draws[:, :5].T) / np.outer(deviation, deviation)
    assert np.abs(found - covariance / np.outer(deviation, deviation)).max() < 5.0 * np.sqrt(2.0 / 4000)
    noisy = model.sample(points, 2000, rng=0, include_noise=True)
    assert noisy.var(axis=0)[:4] == pytest.approx(deviation[:4] ** 2 + model.noise_variance, rel=0.2)


def test_what_is_lost_is_told_without_the_exact_likelihood():
    X, y = problem(450, d=3)
    model = fastard.fit_vecchia(X, y, neighbors=16, block_size=8, rng=0)
    found = model.accuracy(sample=100, neighbors=60)
    exact = fastard.LogMarginalLikelihood(X, y - y.mean(), kernel="matern52")
    blocks = model._likelihood.blocks
    # The divergence itself: the half logarithms of the determinants, of which the exact one has all points before.
    own = model._likelihood.of_blocks(model._theta, np.arange(len(blocks.starts) - 1), wanted=0)
    term = model._term
    K = fastard.covariance(
        X, length_scale=term.length_scale, signal_variance=term.signal_variance, kernel="matern52"
    ) + model.noise_variance * np.eye(len(X))
    first = blocks.order[: blocks.first]
    half = own.half_log_determinant.sum() + 0.5 * np.linalg.slogdet(K[np.ix_(first, first)])[1]
    lost = (half - 0.5 * np.linalg.slogdet(K)[1]) / len(X)
    assert found.neighbors == (64, 256)
    assert found.nats_lost[0] <= found.nats_lost[1] <= lost * len(X) / (len(X) - blocks.first) + 1e-12
    assert found.nats_lost[1] > 0.7 * lost
    gain = (exact(model._theta)[0] - model.log_likelihood) / (len(X) - blocks.first)
    assert found.gain[1] == pytest.approx(gain, abs=4.0 * found.gain_error[1] + 0.2 * abs(gain))
    assert np.isfinite(found.shift[:, :2]).all()
    assert found.held_out.n == 450
    assert found.held_out.rmse[1] == pytest.approx(0.1, rel=0.15)
    assert 0.9 < found.held_out.coverage[1] <= 1.0
    assert "nats per point are lost" in str(found)
    left_out = fastard.fit(
        X, y, kernel="matern52", length_scale=model.length_scale, signal_variance=model.signal_variance,
        noise_variance=model.noise_variance, length_scale_bounds="fixed", signal_variance_bounds="fixed",
        noise_variance_bounds="fixed",
    ).loo()  # fmt: skip
    all_others = model.accuracy(sample=45, neighbors=449).held_out
    assert all_others.rmse[0] == pytest.approx(np.sqrt(np.mean((y - left_out.mean) ** 2)), rel=1e-6)


@pytest.mark.parametrize(
    ("shift", "error", "told"),
    [
        ([5.5, 8.0, -1.0, np.nan], [2.0, 9.0, 0.1, np.nan], "a would move by +5.5 ± 2 of its standard errors, .*; train with"),
        ([0.1, 8.0, -1.0, np.nan], [2.0, 9.0, 0.1, np.nan], "c would move by -1 ± 0.1 of its standard errors, [^;]*move$"),
        ([5.5, 8.0, -1.0, np.nan], [3.1, 9.0, 2.0, np.nan], "no parameter is known to move"),
        ([5.5, 8.0, 0.0, np.nan], [np.nan, np.nan, np.nan, np.nan], "no parameter is known to move"),
    ],
)
def test_of_the_shifts_the_largest_certain_one_is_told(shift, error, told):
    """Larger ones within their error by the sample are not, and advice is for a shift that is large and certain."""
    of_two = np.zeros(2)
    shifts, errors = np.array([np.zeros(4), shift]), np.array([np.ones(4), error])
    held_out = judge(np.zeros((3, 1)), np.zeros((2, 3, 1)), np.ones((2, 3, 1)), (5, 10))
    found = fastard.Accuracy((4, 16), of_two, of_two, of_two, of_two, list("abcd"), shifts, errors, held_out)
    line = str(found).splitlines()[1]
    assert re.search(told.replace("+", r"\+"), line), line
    assert ("train with more neighbors" in line) == ("; train" in told)


def test_the_summary_says_what_is_known():
    pandas = pytest.importorskip("pandas")
    X, y = problem(450, d=3)
    frame = pandas.DataFrame(X, columns=["a <b>", "slope", "idle"])
    model = fastard.fit_vecchia(frame, pandas.Series(y, name="flow"), neighbors=16, block_size=8, rng=0)
    summary = model.summary(accuracy=True)
    text = str(summary)
    assert text.startswith("Gaussian process of flow: 450 points, 3 inputs, kernel matern52")
    assert [row.name for row in summary.inputs][:2] == ["a <b>", "slope"]
    factors = [row.factor for row in summary.inputs[:2]]
    errors = model._errors()[0].standard_errors
    np.testing.assert_allclose(np.log(factors), errors[:2], rtol=1e-9)
    lines = str(model.accuracy()).splitlines()
    assert len(lines) == 3
    assert all(line in text for line in lines)
    assert "blocks of 8 given 16" in text
    short = model.summary(standard_errors=False)
    assert (short.standard_errors, len(short.facts)) == (None, len(summary.facts) - 3)
    assert "a &lt;b&gt;" in model._repr_html_()
    assert "×/÷" not in model._repr_html_()


def test_relevances_are_drawn():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    X, y = problem(150)
    model = fastard.fit_vecchia(X, y, neighbors=20, max_iterations=2, rng=0)
    axes = Figure().add_subplot()
    assert model.plot_relevance(axes) is axes
    assert sorted(bar.get_width() for bar in axes.patches) == pytest.approx(sorted(model.relevance))


def test_held_out_figures():
    y = np.zeros((3, 1))
    found = judge(y, np.array([[[1.0], [0.0], [-1.0]]] * 2), np.full((2, 3, 1), 0.5), (5, 10))
    assert found.rmse == pytest.approx([np.sqrt(2.0 / 3.0)] * 2)
    assert found.log_density == pytest.approx([scipy.stats.norm(0.0, 0.5).logpdf([1.0, 0.0, -1.0]).mean()] * 2)
    assert found.coverage == pytest.approx([1.0 / 3.0] * 2)


def test_groups_bounds_fixed_and_priors_hold():
    X, y = problem(d=3)
    prior = scipy.stats.lognorm(0.1, scale=0.05)
    model = fastard.fit_vecchia(
        X, y, neighbors=20, block_size=5, rng=0, length_scale_groups=[0, 1, 1], noise_variance=0.02,
        noise_variance_bounds="fixed", signal_variance_prior=prior,
    )  # fmt: skip
    assert model.noise_variance == 0.02
    assert model.length_scale[1] == model.length_scale[2]
    free = fastard.fit_vecchia(X, y, neighbors=20, block_size=5, rng=0)
    assert abs(np.log(model.signal_variance / 0.05)) < abs(np.log(free.signal_variance / 0.05))
    errors = model.standard_errors()
    assert np.isnan(errors.standard_errors[4])
    assert errors.correlation[1, 2] == pytest.approx(1.0)
    held = fastard.fit_vecchia(X[:, :2], y, neighbors=20, block_size=5, rng=0, signal_variance_bounds=(1e-3, 1e-2))
    with pytest.warns(UserWarning, match=r"signal_variance at a bound"):
        held.standard_errors()
    assert held.signal_variance == 1e-2
    assert re.search("at a bound: .*signal_variance", held.message)
    assert "variance 0.01 (at its upper bound)" in dict(held.summary().facts)["signal"]
    held = fastard.fit_vecchia(X[:, :2], y, neighbors=20, block_size=5, rng=0, noise_variance_bounds=(0.5, 1.0))
    assert re.search("at a bound: .*noise_variance", held.message)
    assert "variance 0.5 (at its lower bound)" in dict(held.summary().facts)["noise"]


def test_known_variances_and_shapes():
    X, y = problem(400)
    known = np.linspace(0.0, 0.1, len(X))
    model = fastard.fit_vecchia(X, y, kernel="rational_quadratic", observation_variance=known, neighbors=20, rng=0)
    assert model.converged, model.message
    with pytest.raises(ValueError, match="observation_variance"):
        model.predict(X[:3], return_std=True, include_noise=True)
    deviation = model.predict(X[:2], return_std=True, include_noise=True, observation_variance=[0.0, 0.5])[1]
    assert deviation[1] ** 2 > 0.5


def test_callback_sees_stages_and_can_stop():
    X, y = problem()
    seen = []
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, callback=seen.append)
    assert [state.evaluation for state in seen] == list(range(1, model.n_evaluations + 1))
    stages = [state.stage for state in seen]
    assert stages == sorted(stages)
    assert stages[-1] >= 2
    assert np.isnan(seen[0].gain)
    assert np.isfinite(seen[1].gain)
    stopped = fastard.fit_vecchia(X, y, neighbors=20, rng=0, callback=lambda state: state.evaluation == 2)
    assert not stopped.converged
    assert stopped.n_evaluations == 2
    assert stopped.message == "stopped by the callback"


def test_interrupts_leave_the_best_so_far():
    X, y = problem()

    def interrupt(state):
        if state.evaluation == 3:
            raise KeyboardInterrupt

    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, callback=interrupt)
    assert not model.converged
    assert "interrupted" in model.message
    with pytest.raises(ZeroDivisionError):
        fastard.fit_vecchia(X, y, neighbors=20, rng=0, callback=lambda state: 1 / 0)
    assert np.isfinite(model.predict(X[:3])).all()


def test_the_search_has_its_evaluations():
    X, y = problem()
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, max_iterations=2)
    assert model.n_evaluations == 2
    assert not model.converged
    assert "max_iterations reached" in model.message


def test_bits_do_not_depend_on_threads_and_inputs_stay():
    X, y = problem()
    before = X.copy(), y.copy()
    models = [fastard.fit_vecchia(X, y, neighbors=20, rng=3, n_threads=threads) for threads in (1, 2)]
    np.testing.assert_array_equal(models[0]._theta, models[1]._theta)
    np.testing.assert_array_equal(models[0].predict(X[:30]), models[1].predict(X[:30]))
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])
    again = pickle.loads(pickle.dumps(models[0]))
    np.testing.assert_array_equal(again.predict(X[:30]), models[0].predict(X[:30]))


def test_of_the_exact_likelihood_nothing_is_lost():
    X, y = problem(90)
    found = fastard.fit_vecchia(X, y, neighbors=20, rng=0).accuracy(neighbors=40)
    np.testing.assert_array_equal(found.nats_lost, 0.0)
    np.testing.assert_array_equal(found.shift, 0.0)
    assert found.held_out.n == 90


@pytest.mark.parametrize("n", [1, 2, 3, 99, 100, 101, 117])
def test_few_points(n):
    X, y = problem(max(n, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fastard.fit_vecchia(X[:n], y[:n], neighbors=20, rng=0)
    assert np.isfinite(model.predict(X, return_std=True)).all()


def test_odd_inputs():
    X, y = problem(300)
    twice = np.vstack([X, X[:150]]), np.concatenate([y, y[:150]])
    assert fastard.fit_vecchia(*twice, neighbors=20, rng=0).converged
    constant = np.column_stack([X, np.full(300, 7.0)])
    model = fastard.fit_vecchia(constant, y, neighbors=20, rng=0)
    assert model.relevance[2] == 0.0
    same = fastard.fit_vecchia(np.asfortranarray(X, dtype=np.float64), y.tolist(), neighbors=20, rng=0)
    np.testing.assert_array_equal(same._theta, fastard.fit_vecchia(X, y, neighbors=20, rng=0)._theta)
    with pytest.raises(fastard.NotPositiveDefiniteError, match="row") as caught:
        fastard.fit_vecchia(*twice, neighbors=20, rng=0, noise_variance=0.0, noise_variance_bounds="fixed")
    np.testing.assert_array_equal(twice[0][caught.value.row], twice[0][caught.value.nearest_row])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neighbors": 0}, "neighbors"),
        ({"block_size": 2.5}, "block_size"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"kernel": "no"}, "kernel"),
        ({"length_scale": [-1.0, 1.0]}, "length_scale"),
        ({"observation_variance": [1.0]}, "observation_variance"),
    ],
)
def test_wrong_arguments(arguments, message):
    X, y = problem(120)
    with pytest.raises((ValueError, TypeError), match=message):
        fastard.fit_vecchia(X, y, **arguments)


def quadratic(curvature, top):
    def evaluate(theta, gain):
        step = theta - top
        return Point(theta, -0.5 * step @ curvature @ step, -curvature @ step, curvature)

    return evaluate


def test_scoring_takes_a_quadratic_in_one_step_and_holds_bounds():
    curvature = np.array([[3.0, 1.0], [1.0, 2.0]])
    evaluate = quadratic(curvature, np.array([0.5, -0.4]))
    bounds, turn = np.array([[-5.0, 5.0]] * 2), np.full(2, np.inf)
    found = ascend(evaluate, evaluate(np.zeros(2), 0.0), bounds, turn, little=1e-4, most=3)
    assert found.converged
    np.testing.assert_allclose(found.point.free_theta, [0.5, -0.4], atol=2e-3)
    bounds = np.array([[-5.0, 0.2], [-5.0, 5.0]])
    found = ascend(evaluate, evaluate(np.zeros(2), 0.0), bounds, turn, little=1e-6, most=9)
    assert found.point.free_theta[0] == 0.2
    assert found.point.free_theta[1] == pytest.approx(-0.4 + 0.3 / 2.0, abs=1e-3)


def test_scoring_sends_a_length_scale_without_effect_to_its_bound():
    """The objective is -u, u = exp(-2 theta): it grows without end, by nearly nothing."""

    def evaluate(theta, gain):
        u = np.exp(-2.0 * theta)
        return Point(theta, float(-u[0]), 2.0 * u, np.diag(4.0 * u**2))

    bounds = np.array([[-3.0, 12.0]])
    found = ascend(evaluate, evaluate(np.array([1.0]), 0.0), bounds, np.array([0.5]), little=1e-6, most=20)
    assert found.converged
    assert found.point.value > -1e-6


@pytest.mark.parametrize("of_last", [-1e-30, -1e-6, 0.0])
def test_scoring_climbs_on_where_an_average_information_has_a_negative_diagonal(of_last):
    """A parameter at its bound, which its slope holds it to, must not end the others' search."""
    curvature = np.array([[300.0, 10.0, 0.0], [10.0, 200.0, 1e-3], [0.0, 1e-3, of_last]])
    top = np.array([0.5, -0.4])

    def evaluate(theta, gain):
        step = theta[:2] - top
        value = -0.5 * step @ curvature[:2, :2] @ step + 90.0 * theta[2]
        return Point(theta, float(value), np.append(-curvature[:2, :2] @ step, 90.0), curvature)

    bounds = np.array([[-5.0, 5.0], [-5.0, 5.0], [-3.0, 1.0]])
    found = ascend(evaluate, evaluate(np.array([0.0, 0.0, 1.0]), 0.0), bounds, np.full(3, np.inf), little=1e-6, most=20)
    assert found.converged
    np.testing.assert_allclose(found.point.free_theta, [*top, 1.0], atol=1e-3)


def test_scoring_backs_off_where_there_is_no_value():
    def evaluate(theta, gain):
        if theta[0] > 1.0:
            return None
        return Point(theta, float(theta[0]), np.ones(1), np.array([[0.1]]))

    found = ascend(evaluate, evaluate(np.zeros(1), 0.0), np.array([[-3.0, 9.0]]), np.array([np.inf]), little=1e-3, most=60)
    assert not found.converged
    assert 0.9 < found.point.free_theta[0] <= 1.0


def test_an_interrupt_as_a_stage_begins_leaves_what_the_last_one_found(monkeypatch):
    X, y = problem()
    last = []

    def interrupt(state):
        last.append(state)
        if state.stage == 1:
            return
        raise AssertionError("the evaluation was interrupted")

    evaluate = likelihood.VecchiaLogLikelihood.evaluate
    find = likelihood.VecchiaLogLikelihood.find_neighbors
    found = []

    def found_again(self, length_scale):
        find(self, length_scale)
        found.append(length_scale)

    def interrupted(self, *arguments, **keywords):
        if found:
            raise KeyboardInterrupt
        return evaluate(self, *arguments, **keywords)

    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "find_neighbors", found_again)
    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "evaluate", interrupted)
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, callback=interrupt)
    monkeypatch.undo()
    assert found
    assert "interrupted" in model.message
    assert model.log_likelihood == max(state.log_marginal_likelihood for state in last)
    assert model._likelihood(model._theta)[0] == pytest.approx(model.log_likelihood, rel=1e-12)


@pytest.mark.parametrize("most", [1, 3, 4, 5, 6])
def test_there_are_never_more_evaluations_than_asked_for(most):
    X, y = problem()
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0, max_iterations=most)
    assert model.n_evaluations <= most
    assert model.converged or "max_iterations reached" in model.message
    assert model._likelihood(model._theta)[0] == pytest.approx(model.log_likelihood, rel=1e-12)


def test_stages_that_go_on_moving_have_not_converged(monkeypatch):
    monkeypatch.setattr(fitting, "_FAR", 0.0)
    X, y = problem()
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0)
    assert not model.converged
    assert "stages" in model.message


def test_targets_without_variance_are_no_warning():
    X, _ = problem(150)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error", RuntimeWarning)
        model = fastard.fit_vecchia(X, np.full(150, 3.0), neighbors=20, rng=0)
    np.testing.assert_allclose(model.predict(X[:3]), 3.0)


def test_one_block_beside_the_exact_one_has_no_standard_error_of_what_is_lost():
    X, y = problem(101)
    found = fastard.fit_vecchia(X, y, neighbors=20, rng=0).accuracy()
    assert np.isfinite(found.nats_lost).all()
    assert np.isnan(found.nats_lost_error).all()
    assert np.isnan(found.shift_error).all()


def test_what_cannot_be_told_or_found_is_an_error():
    X, y = problem(120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = fastard.fit_vecchia(X[:1], y[:1], rng=0)
    with pytest.raises(ValueError, match="one point"):
        one.accuracy()
    for function in (fastard.fit_vecchia, fastard.VecchiaLogLikelihood):
        with pytest.raises(ValueError, match="at least one column"):
            function(X[:, :0], y)
        with pytest.raises(TypeError, match="client"):
            function(X, y, client="tcp://here")


def test_a_pickle_holds_the_data_once():
    X, y = problem(400)
    model = fastard.fit_vecchia(X, y, neighbors=20, rng=0)
    before = len(pickle.dumps(model))
    model.predict(X[:3])
    assert len(pickle.dumps(model)) == before


def test_draws_without_noise_are_at_points_as_near_as_can_be():
    X = np.linspace(0.0, 1.0, 130)[:, np.newaxis]
    fixed = {f"{name}_bounds": "fixed" for name in ("length_scale", "signal_variance", "noise_variance")}
    given = {"length_scale": 0.05, "signal_variance": 1.0, "noise_variance": 0.0, **fixed}
    model = fastard.fit_vecchia(X, np.sin(6.0 * X[:, 0]), neighbors=20, rng=0, **given)
    points = 0.5 + np.linspace(0.0, 1e-3, 200)[:, np.newaxis]
    draws = model.sample(points, 3, rng=0)
    assert np.abs(draws - np.sin(6.0 * points[:, 0])).max() < 1e-2
    twice = fastard.fit_vecchia(np.vstack([X, X[7:8]]), np.append(np.sin(6.0 * X[:, 0]), 0.3), neighbors=20, rng=0, **given | {
        "noise_variance": 1e-9})  # fmt: skip
    twice.noise_variance = 0.0
    with pytest.raises(fastard.NotPositiveDefiniteError, match="row"):
        twice.sample(points[:2], 2, rng=0)


NO_NOISE = {"noise_variance": 0.0, "noise_variance_bounds": "fixed"}


def smooth(n=500):
    """Without noise, and smoother than kernels are."""
    X = np.random.default_rng(3).uniform(size=(n, 2))
    return X, np.sin(3.0 * X[:, 0]) + np.sin(5.0 * X[:, 1] + 1.0)


@pytest.mark.parametrize("name", ["rbf", "matern52", "matern32"])
@pytest.mark.parametrize("noise", [NO_NOISE, {"noise_variance_bounds": (1e-15, 1.0)}], ids=["none", "free"])
def test_smooth_data_end_the_search_where_the_covariance_is_singular(name, noise):
    X, y = smooth()
    model = fastard.fit_vecchia(X, y, kernel=name, neighbors=40, block_size=8, rng=0, **noise)
    assert model.converged or re.search("positive definite just beyond .*: raise the noise|no further step", model.message)
    parameters = (model.length_scale, model.signal_variance, model.noise_variance, model.kernel)
    assert model._likelihood.evaluate(*parameters, wanted=INFORMATION).log_likelihood == model.log_likelihood
    points = np.random.default_rng(4).uniform(0.1, 0.9, size=(40, 2))
    truth = np.sin(3.0 * points[:, 0]) + np.sin(5.0 * points[:, 1] + 1.0)
    assert np.abs(model.predict(points, neighbors=30) - truth).max() < 2e-3


def test_a_start_where_the_covariance_is_singular_is_left_for_shorter_length_scales_or_more_noise():
    X, y = smooth()
    long = {"length_scale": 1.0, "length_scale_bounds": "fixed"}
    model = fastard.fit_vecchia(X, y, kernel="rbf", rng=0, **long, noise_variance_bounds=(1e-18, 1.0))
    assert 1e-18 < model.noise_variance < 1e-8
    assert "raise the noise's lower bound" in model.message
    with pytest.raises(fastard.NotPositiveDefiniteError, match="Raise noise_variance"):
        fastard.fit_vecchia(X, y, kernel="rbf", rng=0, **long, **NO_NOISE)


def test_equal_rows_without_noise_are_named_at_once(monkeypatch):
    X, y = smooth()
    rows = np.sort(np.random.default_rng(0).choice(501, 150, replace=False))
    pair = np.setdiff1d(np.arange(500), rows)[17]  # no part of the exact fit
    evaluate, count = likelihood.VecchiaLogLikelihood.evaluate, []
    monkeypatch.setattr(
        likelihood.VecchiaLogLikelihood, "evaluate", lambda *given, **named: count.append(0) or evaluate(*given, **named)
    )
    with pytest.raises(fastard.NotPositiveDefiniteError, match="are equal and have no noise") as caught:
        fastard.fit_vecchia(np.vstack([X, X[pair]]), np.append(y, y[pair]), kernel="matern12", neighbors=20, rng=0, **NO_NOISE)
    assert sorted([caught.value.row, caught.value.nearest_row]) == [pair, 500]
    assert len(count) == 1


def test_more_neighbours_than_are_positive_definite_are_no_end():
    X, y = smooth(700)
    model = fastard.fit_vecchia(X, y, kernel="rbf", neighbors=16, block_size=4, rng=0, **NO_NOISE)
    with pytest.raises(fastard.NotPositiveDefiniteError, match="Leave neighbors out, or pass fewer") as caught:
        model.predict(X[:3] + 0.01, neighbors=699)
    error = caught.value
    apart = (X[error.row] - X[error.nearest_row]) / model.length_scale
    assert np.sqrt(apart @ apart) == pytest.approx(error.distance)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    found = model.accuracy(sample=20, neighbors=10)
    assert np.isnan([found.nats_lost[1], found.gain[1], *found.shift[1]]).all()
    assert np.isfinite(found.held_out.rmse).all()
    found = model.accuracy(sample=20, neighbors=600)
    assert np.isnan([found.held_out.rmse[1], found.held_out.coverage[1]]).all()
    assert "600 neighbours the covariance is not positive definite" in str(found)
    assert "accuracy" in dict(model.summary(accuracy=True).facts)


@pytest.mark.parametrize(
    ("name", "d", "most"), [("matern52", 1, 0.02), ("matern52", 2, 1e-3), ("rbf", 2, 1e-3), ("rbf", 5, 0.02)]
)
def test_predictions_by_default_leave_out_what_is_singular(name, d, most):
    def truth(X):
        return np.sin(3.0 * X).sum(axis=1) + np.cos(2.0 * X.sum(axis=1))

    X = np.random.default_rng(d).uniform(size=(1600, d))
    model = fastard.fit_vecchia(X, truth(X), kernel=name, rng=0, **NO_NOISE)
    points = np.random.default_rng(8).uniform(size=(200, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deviations that are 0
        mean, deviation = model.predict(points, return_std=True)
        np.testing.assert_allclose(model.predict(X[:50]), truth(X[:50]), atol=most)
    assert np.abs(mean - truth(points)).max() < most
    assert np.isfinite(deviation).all()
    draws = model.sample(points[:20], 3, rng=0)
    assert np.abs(draws - truth(points[:20])).max() < 10.0 * most
    held_out = model.accuracy(sample=20).held_out
    assert held_out.neighbors == (256, 512)
    assert held_out.rmse.max() < most


def test_where_the_logarithms_rounding_decides_accuracy_and_errors_are_told(monkeypatch):
    """As after a training that ended just before the covariance is singular: at exp(log(parameters)) it may be."""
    model = fastard.fit_vecchia(*problem(), neighbors=20, rng=0)
    expected, told = model.standard_errors(), model.accuracy(sample=10)

    def singular(*_, **__):
        raise fastard.NotPositiveDefiniteError(3)

    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "information", singular)
    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "of_blocks", singular)
    np.testing.assert_allclose(model.standard_errors().standard_errors, expected.standard_errors, rtol=1e-8)
    found = model.accuracy(sample=10)
    assert np.isnan([found.nats_lost, found.gain, found.nats_lost_error, found.gain_error]).all()
    assert np.isnan(found.shift).all()
    np.testing.assert_array_equal(found.held_out.rmse, told.held_out.rmse)


def test_a_stage_that_cannot_begin_leaves_what_the_last_one_found(monkeypatch):
    evaluate, find = likelihood.VecchiaLogLikelihood.evaluate, likelihood.VecchiaLogLikelihood.find_neighbors
    found = []

    def found_again(self, length_scale):
        find(self, length_scale)
        found.append(length_scale)

    def singular(self, *arguments, **keywords):
        if found:
            raise fastard.NotPositiveDefiniteError(3)
        return evaluate(self, *arguments, **keywords)

    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "find_neighbors", found_again)
    monkeypatch.setattr(likelihood.VecchiaLogLikelihood, "evaluate", singular)
    model = fastard.fit_vecchia(*problem(), neighbors=20, rng=0)
    monkeypatch.undo()
    assert found
    assert not model.converged
    assert model.message.startswith(
        "the covariance is not positive definite with new neighbours: raise the noise's lower bound"
    )
    assert model._likelihood(model._theta)[0] == pytest.approx(model.log_likelihood, rel=1e-12)


def test_short_waves_on_a_large_trend_are_no_noise():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(500, 1))
    y = 30.0 * X[:, 0] + np.sin(80.0 * X[:, 0]) + 0.1 * rng.standard_normal(500)
    model = fastard.fit_vecchia(X, y, neighbors=30, block_size=8, rng=0)
    assert model.converged
    assert model.noise_variance == pytest.approx(0.01, rel=0.3)
    # Only one start where one was given, and that is not good enough
    given = fastard.fit_vecchia(X, y, neighbors=30, block_size=8, rng=0, noise_variance=0.1 * y.var())
    assert given.noise_variance == pytest.approx(0.5, rel=0.3)


def test_scoring_ends_where_a_step_of_little_gain_has_no_value():
    seen = []

    def evaluate(theta, gain):
        seen.append(theta)
        return Point(theta, float(theta[0]), np.ones(1), np.array([[0.1]])) if theta[0] <= 1.0 else None

    found = ascend(evaluate, evaluate(np.zeros(1), 0.0), np.array([[-3.0, 9.0]]), np.array([np.inf]), little=0.1, most=60)
    assert not found.converged
    assert found.point.free_theta[0] > 0.8
    assert len(seen) < 25


def test_standard_errors_are_of_the_curvature_where_an_average_information_is_not_positive(monkeypatch):
    model = fastard.fit_vecchia(*problem(), rng=0)
    average = model.standard_errors().standard_errors
    likelihood, theta, step = model._likelihood, model._theta, 1e-4
    rows = [likelihood(theta + step * e)[1] - likelihood(theta - step * e)[1] for e in np.eye(theta.size)]
    curvature = -0.5 * (np.array(rows) + np.array(rows).T) / (2.0 * step)
    monkeypatch.setattr(type(likelihood), "information", lambda self, theta: np.diag([-1.0, *np.ones(theta.size - 1)]))
    found = model.standard_errors().standard_errors
    np.testing.assert_allclose(found, np.sqrt(np.linalg.inv(curvature).diagonal()), rtol=1e-4)
    np.testing.assert_allclose(found, average, rtol=0.3)


def test_scoring_is_content_where_only_an_average_information_is_below_zero():
    """At the top, to rounding: the curvature that chance has made negative promises nothing."""
    rotation = np.linalg.qr(np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 2.0], [1.0, 0.2, -0.4]]))[0]
    average = rotation @ np.diag([9000.0, 2600.0, -2.7]) @ rotation.T
    top = Point(np.zeros(3), 0.0, np.array([1e-4, -2e-4, 1e-4]), average)
    bounds = np.array([[-8.0, 8.0]] * 3)
    found = ascend(lambda theta, gain: None, top, bounds, np.full(3, np.inf), little=1e-2, most=5)
    assert found.converged
    assert found.gain < 1e-6
