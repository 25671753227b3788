"""Outputs with variances of their own: against plain formulas, and against a model for each output."""

import pickle

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import SCALES, points

import fastard
from fastard._model.standard_errors import METHODS

RATIO = 0.06
SIZES = np.array([1.0, 3e5, 2e-4])
GIVEN = {"length_scale": SCALES, "length_scale_bounds": "fixed", "noise_variance": RATIO, "noise_variance_bounds": "fixed"}
MEANS = [("constant", "ml"), ("zero", "ml"), ("linear", "ml"), ("linear", "reml")]


def problem(n=40, m=3, seed=0):
    """Outputs of different scales and means, with a trend."""
    X, noise = data(n, 3, max(m, 2), seed)
    y = np.sin(X[:, :1] + np.arange(m)) + 0.5 * X[:, 1:2] * np.arange(1, m + 1) + 0.2 * noise[:, :m]
    return X, (y + np.arange(m)) * np.resize(SIZES, m)


def lively_problem(n, m=3):
    """The same, where all inputs do something."""
    X, y = problem(n, m)
    waves = np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], [1.5, 1.0, 2.0]])[:, :m]
    return X, y + SIZES[:m] * np.sin(X @ waves)


def basis_of(X, mean):
    return np.column_stack([np.ones(len(X)), X]) if mean == "linear" else np.empty((len(X), 0))


def own(X, y, **options):
    return fastard.fit(X, y, output_variances="own", **options)


def alone(model, X, y, t, **options):
    """The model of output t, with the parameters that it has in ``model``."""
    kinds = ("length_scale", "signal_variance", "noise_variance")
    options |= {f"{kind}_bounds": "fixed" for kind in kinds} | {"kernel": model.kernel}
    if len(model.kernel):
        options["shape_bounds"] = "fixed"
    return fastard.fit(
        X,
        y[:, t],
        length_scale=model.length_scale,
        signal_variance=model.signal_variance[t],
        noise_variance=model.noise_variance[t],
        **options,
    )


def objective_of(X, y, **options):
    objective = fastard.LogMarginalLikelihood(X, y, **options)
    objective.own_variances = True
    return objective


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("mean", [None, "ml", "reml"])
def test_value_and_gradient(kernel, mean, m):
    name, kernel_object, shape = kernel
    X, y = problem(37, m)
    H = basis_of(X, mean and "linear")
    theta, but_signal = np.log([*SCALES, 1.0, RATIO, *shape]), np.arange(5 + len(shape)) != 3

    def likelihood(theta):
        natural = np.exp(theta)
        terms = [naive.Term(name, natural[:3], 1.0, tuple(natural[5:]))]
        return naive.log_marginal_likelihood_with_own_variances(terms, X, y, H, natural[4], mean == "reml")

    given = {"basis": H, "mean_estimation": mean} if mean else {}
    objective = objective_of(X, y, kernel=kernel_object, **given)
    value, gradient = objective(theta)
    assert_agree(value, likelihood(theta))
    assert_agree(gradient[but_signal], naive.complex_step(likelihood, theta)[but_signal])
    without = objective.evaluate(SCALES, 1.0, RATIO, kernel_object, gradient=False)
    assert_agree(without.log_marginal_likelihood, value)


@pytest.mark.parametrize("n", [150, 353, 700])
def test_over_several_tiles_and_threads(n):
    X, y = problem(n, 5)
    theta = np.log([*SCALES, 1.0, RATIO])
    results = [objective_of(X, y, n_threads=threads)(theta) for threads in (1, 2)]
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])

    def likelihood(theta):
        terms = [naive.Term("rbf", np.exp(theta[:3]), 1.0)]
        return naive.log_marginal_likelihood_with_own_variances(terms, X, y, np.empty((n, 0)), np.exp(theta[4]), False)

    assert_agree(results[0][0], likelihood(theta))
    along = np.array([1.0, -0.7, 0.5, 0.0, 0.3])  # all but the signal variance's
    assert_agree(along @ results[0][1], likelihood(theta + 1e-30j * along).imag / 1e-30)


@pytest.mark.parametrize("options", [{}, {"length_scale_bounds": ["fixed", None, None]}, {"length_scale_groups": "isotropic"}])
def test_what_a_callback_sees(options):
    """The gradient by the free parameters, those of tied ones, and by the ratio of each noise group."""
    X, y = problem()
    labels = np.where(np.arange(40) % 3, "fine", "rough")
    states = []

    def stop(state):
        states.append(state)
        return True

    model = own(X, y, **options, length_scale=1.5, noise_groups=labels, noise_variance=[0.1, 0.3], callback=stop)
    (state,) = states
    assert not model.converged
    assert state.parameters["signal_variance"] == 1.0
    assert_agree(state.parameters["noise_variance"], [0.1, 0.3], 1e-15)

    def likelihood(theta):
        natural = np.exp(theta)
        terms = [naive.Term("rbf", natural[:3], 1.0)]
        diagonal = np.where(labels == "fine", natural[3], natural[4])
        centred = y - y.mean(axis=0)
        return naive.log_marginal_likelihood_with_own_variances(terms, X, centred, np.empty((40, 0)), diagonal, False)

    theta = np.log([1.5, 1.5, 1.5, 0.1, 0.3])
    expected = naive.complex_step(likelihood, theta)
    if "length_scale_groups" in options:
        expected[:3] = expected[:3].sum()
    elif options:
        expected[0] = 0.0
    assert_agree(state.value, likelihood(theta))
    assert_agree(np.delete(state.gradient, 3), expected)
    assert state.gradient[3] == 0.0


@pytest.mark.parametrize(("mean", "estimation"), MEANS)
def test_as_a_model_for_each_output(mean, estimation):
    X, y = problem()
    of_mean = {"mean": mean, "mean_estimation": estimation}
    model = own(X, y, **GIVEN, **of_mean)
    Z, more = points(7), problem(5, seed=1)
    kept = model.predict(Z)
    singles = [alone(model, X, y, t, **of_mean) for t in range(3)]
    assert_agree(model.log_marginal_likelihood, sum(single.log_marginal_likelihood for single in singles))
    for _ in range(2):
        for t, single in enumerate(singles):
            unit = SIZES[t]
            for noise in (False, True):
                mine, truth = (each.predict(Z, return_std=True, include_noise=noise) for each in (model, single))
                assert_agree(mine[0][:, t] / unit, truth[0] / unit)
                assert_agree(mine[1][:, t] / unit, truth[1] / unit)
                mine, truth = (each.predict(Z, return_cov=True, include_noise=noise) for each in (model, single))
                assert_agree(mine[1][..., t] / unit**2, truth[1] / unit**2)
            for mine, truth in zip(model.predict_gradient(Z), single.predict_gradient(Z), strict=True):
                assert_agree(mine[..., t] / unit, truth / unit)
            mine, truth = model.loo(), single.loo()
            assert_agree(mine.mean[:, t] / unit, truth.mean / unit)
            assert_agree(mine.variance[:, t] / unit**2, truth.variance / unit**2)
            assert_agree(mine.standardized_residuals[:, t], truth.standardized_residuals)
            assert_agree(mine.errors[:, t] / unit, truth.errors / unit)
        assert_agree(model.loo().log_predictive_density, sum(single.loo().log_predictive_density for single in singles))
        if mean == "linear":
            for t, single in enumerate(singles):
                assert_agree(
                    model.mean_coefficients().coefficients[:, t] / SIZES[t], single.mean_coefficients().coefficients / SIZES[t]
                )
        model.update(*more)  # and all of it once more
        for t, single in enumerate(singles):
            single.update(more[0], more[1][:, t])
        assert_agree(model.log_marginal_likelihood, sum(single.log_marginal_likelihood for single in singles))
    assert not np.array_equal(model.predict(Z), kept)


def test_an_outputs_scale_is_its_own_affair():
    X, y = problem()
    larger = y * [1.0, 1e6, 1.0]
    model, other = own(X, y), own(X, larger)
    assert model.converged
    assert other.converged
    assert_agree(other.length_scale / model.length_scale, np.ones(3), 1e-6)
    assert_agree(other.signal_variance / model.signal_variance, [1.0, 1e12, 1.0], 1e-6)
    assert_agree(other.noise_variance / model.noise_variance, [1.0, 1e12, 1.0], 1e-6)
    assert_agree(other.log_marginal_likelihood, model.log_marginal_likelihood - 40 * np.log(1e6), 1e-8)
    for mine, theirs in zip(model.predict(X, True), other.predict(X, True), strict=True):
        assert_agree(theirs / SIZES / [1.0, 1e6, 1.0], mine / SIZES, 1e-6)


@pytest.mark.parametrize(("mean", "estimation"), MEANS)
def test_of_one_output_the_optimum_is_the_shared_one(mean, estimation):
    X, y = lively_problem(60, 1)
    of_mean = {"mean": mean, "mean_estimation": estimation}
    shared, model = fastard.fit(X, y, **of_mean), own(X, y, **of_mean)
    assert model.signal_variance.shape == model.noise_variance.shape == (1,)
    assert_agree(model.log_marginal_likelihood, shared.log_marginal_likelihood, 1e-6)
    assert_agree(model.predict(X), shared.predict(X), 1e-4)


@pytest.mark.parametrize(("mean", "estimation"), MEANS)
def test_the_search_ends_at_a_maximum(mean, estimation):
    X, y = problem(60)
    model = own(X, y, mean=mean, mean_estimation=estimation, n_restarts=1, rng=0)
    assert model.converged
    assert len(model.search_values) == 2
    terms, ratio, H = [naive.Term("rbf", model.length_scale, 1.0)], model.noise_variance[0] / model.signal_variance[0], None
    H = basis_of(X, mean)
    targets = y - (y.mean(axis=0) if mean == "constant" else 0.0)
    best = naive.log_marginal_likelihood_with_own_variances(terms, X, targets, H, ratio, estimation == "reml")
    assert_agree(model.log_marginal_likelihood, best, 1e-9)
    for place in range(4):
        for factor in (0.97, 1.03):
            moved = np.append(model.length_scale, ratio) * np.where(np.arange(4) == place, factor, 1.0)
            terms = [naive.Term("rbf", moved[:3], 1.0)]
            value = naive.log_marginal_likelihood_with_own_variances(terms, X, targets, H, moved[3], estimation == "reml")
            assert value < best + 1e-6
    for t in range(3):
        given = {"length_scale": model.length_scale, "basis": H if mean == "linear" else None, "mean_estimation": estimation}
        values = [
            fastard.log_marginal_likelihood(
                X,
                targets[:, t],
                **given,
                signal_variance=s * model.signal_variance[t],
                noise_variance=s * model.noise_variance[t],
            )
            for s in (0.9, 1.0, 1.1)
        ]
        assert values[1] > max(values[0], values[2])


def test_bounds_starts_and_priors_are_of_the_ratio():
    from scipy import stats

    X, y = problem()
    bounded = own(X, y, noise_variance_bounds=(0.2, 0.5))
    assert_agree(bounded.noise_variance / bounded.signal_variance, np.full(3, 0.2), 1e-12)
    assert "noise_variance" in bounded.message
    exact = own(X, y, kernel="matern52", noise_variance=0.0, noise_variance_bounds="fixed")
    np.testing.assert_array_equal(exact.noise_variance, 0.0)
    assert_agree(exact.predict(X) / SIZES, y / SIZES, 1e-8)
    prior = stats.lognorm(s=0.01, scale=0.3)
    priors = own(X, y, noise_variance_prior=prior, length_scale_prior="dimension_scaled")
    assert_agree(priors.noise_variance / priors.signal_variance, np.full(3, 0.3), 0.02)
    assert priors.objective == "log_marginal_likelihood with priors"


def test_noise_groups(tmp_path):
    X, y = problem()
    labels = np.where(np.arange(40) % 3, "fine", "rough")
    ratios = np.where(labels == "fine", 0.04, 0.3)
    given = {name: value for name, value in GIVEN.items() if not name.startswith("noise")}
    model = own(X, y, **given, noise_groups=labels, noise_variance=[0.04, 0.3], noise_variance_bounds="fixed")
    np.testing.assert_array_equal(model.noise_variance, 0.0)
    for label, ratio in (("fine", 0.04), ("rough", 0.3)):
        assert_agree(model.noise_variances[label] / model.signal_variance, np.full(3, ratio), 1e-12)
    Z, more = points(7), problem(5, seed=1)
    kinds = ("length_scale", "signal_variance", "noise_variance")
    singles = [
        fastard.fit(
            X, y[:, t], length_scale=SCALES, signal_variance=s, noise_variance=0.0, observation_variance=s * ratios,
            **{f"{kind}_bounds": "fixed" for kind in kinds},
        )
        for t, s in enumerate(model.signal_variance)
    ]  # fmt: skip
    model.update(*more, noise_groups="rough")
    for t, single in enumerate(singles):
        rough = 0.3 * model.signal_variance[t]
        single.update(more[0], more[1][:, t], observation_variance=np.full(5, rough))
        mine = model.predict(Z, True, include_noise=True, noise_groups="rough")
        truth = single.predict(Z, True, include_noise=True, observation_variance=rough)
        for k in range(2):
            assert_agree(mine[k][:, t] / SIZES[t], truth[k] / SIZES[t])
    assert_agree(model.log_marginal_likelihood, sum(single.log_marginal_likelihood for single in singles))
    assert "noise, rough" in dict(model.summary().facts)
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz").predict(Z, True, include_noise=True, noise_groups="rough")
    np.testing.assert_array_equal(loaded, mine)
    again = model.refit(X, y, noise_groups=labels, max_iterations=1)
    assert list(again.noise_variances) == ["fine", "rough"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("mean", "estimation"), MEANS)
def test_standard_errors_allow_for_the_variances(mean, estimation, method):
    """Those of all parameters, of which the outputs' variances are some."""
    X, y = lively_problem(60)
    model = own(X, y, mean=mean, mean_estimation=estimation)
    found = model.standard_errors(method)
    H = basis_of(X, mean)
    targets = (y - (y.mean(axis=0) if mean == "constant" else 0.0)) / SIZES
    ratio = model.noise_variance[0] / model.signal_variance[0]
    natural = np.concatenate([model.length_scale, [ratio], model.signal_variance / SIZES**2])
    term = naive.Term("rbf", natural[:3], 1.0)
    R = naive.noisy_covariance([term], X, ratio)
    if method == "exact":
        theta, h = np.log([*model.length_scale, 1.0, ratio]), 1e-5
        given = {"basis": H, "mean_estimation": estimation} if mean == "linear" else {}
        objective = objective_of(X, targets, **given)
        steps = h * np.eye(5)[[0, 1, 2, 4]]
        second = [(objective(theta + step)[1] - objective(theta - step)[1]) / (2 * h) for step in steps]
        covariance = np.linalg.inv(-np.array(second)[:, [0, 1, 2, 4]])
    else:
        derivatives = [*naive.covariance_derivatives(term, X)[:3], ratio * np.eye(60)]
        inverse = np.linalg.inv(R)
        P = inverse - inverse @ H @ np.linalg.solve(H.T @ inverse @ H, H.T @ inverse)
        alpha = P @ targets / np.sqrt(natural[4:])
        vectors = [dR @ alpha for dR in derivatives]
        for t in range(3):
            vectors.append(np.where(np.arange(3) == t, R @ alpha, 0.0))
        information = 0.5 * np.array([[np.sum(a * (P @ b)) for b in vectors] for a in vectors])
        covariance = np.linalg.inv(information)[:4, :4]
    kept = [0, 1, 2, 4]
    assert_agree(found.covariance[np.ix_(kept, kept)], covariance, 1e-6)
    assert np.isnan(found.standard_errors[3])


@pytest.mark.parametrize(("mean", "estimation"), MEANS)
def test_saves(tmp_path, mean, estimation):
    X, y = problem()
    model = own(X, y, mean=mean, mean_estimation=estimation, max_iterations=5)
    model.save(tmp_path / "model.npz")
    Z, more = points(7), problem(5, seed=1)
    for copy in (fastard.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))):
        for name in ("signal_variance", "noise_variance"):
            np.testing.assert_array_equal(getattr(copy, name), getattr(model, name))
        assert copy._settings == model._settings
        for mine, truth in zip(
            copy.predict(Z, True, include_noise=True), model.predict(Z, True, include_noise=True), strict=True
        ):
            np.testing.assert_array_equal(mine, truth)
        copy.update(*more)
        assert len(copy._X) == 45
    again = fastard.load(tmp_path / "model.npz")
    again.update(*more)
    model.update(*more)
    assert again.log_marginal_likelihood == model.log_marginal_likelihood


@pytest.mark.parametrize(
    "variances", [np.ones(2), np.array([1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0]), np.ones(3, dtype=int)]
)
def test_a_file_with_wrong_variances_is_refused(tmp_path, variances):
    path = tmp_path / "model.npz"
    own(*problem(), max_iterations=1).save(path)
    with np.load(path) as file:
        members = dict(file)
    np.savez(path, **members | {"output_variance": variances})
    with pytest.raises(ValueError, match="not a model that fastard saved, or is damaged"):
        fastard.load(path)


def test_trains_again():
    X, y = problem(60)
    model = own(X[:40], y[:40], noise_variance_bounds=(1e-3, 2.0))
    again = model.refit(X, y)
    assert again.signal_variance.shape == (3,)
    assert again._settings == model._settings
    best = own(X, y, noise_variance_bounds=(1e-3, 2.0))
    assert_agree(again.log_marginal_likelihood, best.log_marginal_likelihood, 1e-6)
    shared = model.refit(X, y / SIZES, output_variances="shared")
    assert isinstance(shared.signal_variance, float)
    back = shared.refit(X, y, output_variances="own", noise_variance_bounds=(1e-3, 2.0))
    assert_agree(back.log_marginal_likelihood, best.log_marginal_likelihood, 1e-6)
    stays = {"length_scale_bounds": "fixed", "signal_variance_bounds": "fixed", "noise_variance_bounds": "fixed"}
    one = fastard.fit(X, y[:, 0], start=model, **stays)
    assert_agree(one.noise_variance / one.signal_variance, model.noise_variance[0] / model.signal_variance[0], 1e-12)
    assert_agree(one.signal_variance / model.signal_variance.mean(), 1.0, 1e-12)


def test_samples_have_the_predictions_mean_and_covariance():
    X, y = problem()
    model = own(X, y, **GIVEN)
    Z = points(4)
    drawn = model.sample(Z, 20000, rng=0, include_noise=True) / SIZES
    mean, covariance = model.predict(Z, return_cov=True, include_noise=True)
    assert_agree(drawn.mean(axis=0), mean / SIZES, 0.05)
    for t in range(3):
        assert_agree(np.cov(drawn[..., t].T), covariance[..., t] / SIZES[t] ** 2, 0.05)


@pytest.mark.parametrize("mean", ["constant", "linear"])
@pytest.mark.parametrize("name", ["rbf", "matern52"])
def test_effects_and_indices_as_of_a_model_for_each_output(name, mean):
    X, y = problem()
    model = own(X, y, **GIVEN, kernel=name, mean=mean)
    indices, effects = model.sobol(n_samples=0, n_points=16), model.effects(n_nodes=3)
    for t in range(3):
        single = alone(model, X, y, t, mean=mean)
        mine, truth = single.sobol(n_samples=0, n_points=16), single.effects(n_nodes=3)
        assert_agree(indices.first_order[:, t], mine.first_order, 1e-8)
        assert_agree(indices.total[:, t], mine.total, 1e-8)
        assert_agree(indices.mean[t] / SIZES[t], mine.mean / SIZES[t], 1e-8)
        assert_agree(indices.variance[t] / SIZES[t] ** 2, mine.variance / SIZES[t] ** 2, 1e-8)
        assert_agree(effects.mean[..., t] / SIZES[t], truth.mean / SIZES[t], 1e-8)
        assert_agree(effects.std[..., t] / SIZES[t], truth.std / SIZES[t], 1e-8)
    assert np.isfinite(model.sobol(n_samples=3, n_points=16, rng=0).first_order_std).all()


@pytest.mark.parametrize("m", [1, 3])
def test_scikit_learns_model(m):
    pytest.importorskip("sklearn")
    X, y = problem(40, m)
    model = own(X, y, **GIVEN)
    regressor, Z = model.to_sklearn(), points(7)
    units = np.squeeze(SIZES[:m])
    for mine, truth in zip(regressor.predict(Z, return_std=True), model.predict(Z, return_std=True), strict=True):
        assert_agree(mine.reshape(7, m) / units, truth.reshape(7, m) / units)
    mine, truth = regressor.predict(Z, return_cov=True)[1], model.predict(Z, return_cov=True)[1]
    assert_agree(mine.reshape(7, 7, m) / units**2, truth.reshape(7, 7, m) / units**2)
    assert_agree(regressor.log_marginal_likelihood_value_, regressor.log_marginal_likelihood(regressor.kernel_.theta))


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("m", [1, 3])
def test_gpytorchs_model(m, groups):
    torch = pytest.importorskip("torch")
    gpytorch = pytest.importorskip("gpytorch")
    X, y = problem(40, m)
    of_groups = {"noise_groups": np.arange(40) % 2} if groups else {}
    model = own(X, y, **GIVEN, **of_groups)
    converted, Z = model.to_gpytorch(), points(7)
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        found = converted(torch.tensor(Z).expand(*([m] if m > 1 else []), 7, 3))
    mean, deviation = model.predict(Z, return_std=True)
    units = np.squeeze(SIZES[:m])
    assert_agree(found.mean.numpy().T / units, mean / units, 1e-8)
    assert_agree(found.variance.numpy().T / units**2, deviation**2 / units**2, 1e-8)


def test_summary():
    X, y = problem()
    model = own(X, y)
    facts = dict(model.summary().facts)
    assert [name for name in facts if name.startswith("signal")] == ["signal, y0", "signal, y1", "signal, y2"]
    assert f"std {np.sqrt(model.signal_variance[1]):.4g}" in facts["signal, y1"]
    ratio = model.noise_variance[0] / model.signal_variance[0]
    assert facts["noise"].startswith(f"{ratio:.4g} of each signal's variance (×/÷ ")
    assert f"signal variances of 3 outputs, noise variance {ratio:.4g} of theirs" in repr(model)
    assert "signal, y2" in model._repr_html_()
    fixed = dict(own(X, y, **GIVEN).summary().facts)
    assert fixed["noise"] == "0.06 of each signal's variance (fixed)"


def test_an_input_that_does_nothing_is_seen_whatever_the_units():
    X, y = problem(80)
    model = own(X, y / SIZES * np.array([1e-3, 1.0, 1e3]))
    assert [row.remark for row in model.summary().inputs if row.name == "x2"] == ["no visible influence"]


def test_categories_and_names():
    pandas = pytest.importorskip("pandas")
    X, y = problem()
    frame = pandas.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0.0, "up", "down"), "c": X[:, 2]})
    model = own(frame, pandas.DataFrame(y, columns=["u", "v", "w"]), max_iterations=5)
    assert model.output_names == ["u", "v", "w"]
    levels = (frame["b"].to_numpy()[:, None] == ["down", "up"]).astype(float)
    by_hand = own(
        np.column_stack([X[:, 0], levels, X[:, 2]]), y, length_scale=model.length_scale[[0, 1, 1, 2]],
        length_scale_bounds="fixed", noise_variance=model.noise_variance[0] / model.signal_variance[0],
        noise_variance_bounds="fixed",
    )  # fmt: skip
    assert_agree(model.signal_variance / SIZES**2, by_hand.signal_variance / SIZES**2, 1e-8)
    assert_agree(model.predict(frame) / SIZES, by_hand.predict(by_hand._X) / SIZES, 1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_variances": "each"}, "output_variances must be one of 'shared', 'own', got 'each'"),
        ({"signal_variance": 1.0}, "signal_variance must be left out"),
        ({"signal_variance_bounds": "fixed"}, "signal_variance_bounds must be left out"),
        ({"signal_variance_prior": lambda s: (0.0, 0.0)}, "signal_variance_prior must be left out"),
        ({"observation_variance": np.ones(40)}, "observation_variance does not go with .* use noise_groups"),
        ({"objective": "loo"}, "objective must be 'log_marginal_likelihood' with output_variances='own', got 'loo'"),
    ],
)
def test_what_does_not_go_with_it(options, message):
    X, y = problem()
    with pytest.raises(ValueError, match=message):
        fastard.fit(X, y, **{"output_variances": "own", **options})


@pytest.mark.parametrize("mean", ["constant", "linear", "zero"])
def test_outputs_that_do_not_vary(mean):
    X, y = problem()
    y[:, 1] = {"constant": 0.1, "linear": basis_of(X, "linear") @ [1.0, 2.0, 3.0, 4.0], "zero": 0.0}[mean]
    with pytest.raises(ValueError, match="column 1 of y has no variance of its own"):
        own(X, y, mean=mean)
    with pytest.raises(ValueError, match="column 2 of y is too large for its variance"):
        own(X, problem()[1] * [1.0, 1.0, 1e180], mean=mean)


def test_of_new_targets_no_variances_are_known():
    X, y = problem()
    model = own(X, y, **GIVEN)
    for method in (model.predict, model.sample):
        with pytest.raises(ValueError, match="whose outputs have their own variances"):
            method(X, include_noise=True, observation_variance=1.0)
    with pytest.raises(ValueError, match="trained without it"):
        model.update(X, y, observation_variance=np.ones(40))


def test_the_warning_of_scales_names_the_remedy():
    X, y = problem()
    with pytest.warns(UserWarning, match=r"fastard\.fit\(\.\.\., output_variances='own'\)"):
        fastard.fit(X, y, max_iterations=1)
    own(X, y, max_iterations=1)  # no warning, which would be an error here


def test_underflows_of_ours_are_nobodys_error():
    X, y = problem()
    with np.errstate(all="raise"):
        model = own(X, y / SIZES * np.array([1e-120, 1.0, 1e120]), max_iterations=5)
        model.predict(X, True)
        model.loo()
        model.update(*problem(5, seed=1))
    assert np.isfinite(model.signal_variance).all()


def test_errors_of_the_means_coefficients_are_each_outputs():
    X, y = problem(m=3)
    y = y * np.array([1e-3, 1.0, 1e6])
    model = fastard.fit(X, y, output_variances="own", mean="linear")
    found = model.mean_coefficients()
    R = fastard.covariance(X, length_scale=model.length_scale) + model._noise_ratio * np.eye(len(X))
    H = np.column_stack([np.ones(len(X)), X])
    expected = np.multiply.outer(np.linalg.inv(H.T @ np.linalg.solve(R, H)), model.signal_variance)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-6)
    np.testing.assert_allclose(found.standard_errors, np.sqrt(np.einsum("iit->it", expected)), rtol=1e-6)
    assert repr(found).splitlines()[0].count("±") == 3
    alone = own(X, y[:, 0], mean="linear", length_scale=model.length_scale, length_scale_bounds="fixed").mean_coefficients()
    assert (alone.standard_errors.shape, alone.covariance.shape) == ((4,), (4, 4))


def test_pictures_of_outputs_on_different_scales_are_in_units_of_each():
    pytest.importorskip("matplotlib").use("agg")
    X, y = problem(m=3)
    model = own(X, y, **GIVEN)
    axes = model.plot_loo()
    assert "own variances" in axes.get_xlabel()
    low, high = axes.get_xlim()
    assert 2.0 < high - low < 20.0  # standard deviations, where the scales are 2e-4 to 3e5
