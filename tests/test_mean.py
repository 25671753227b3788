"""Means with basis functions: against generalised least squares written plainly, in every method of a model."""

import pickle

import naive
import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import FIXED, SCALES, points

import fastard

SIGNAL, NOISE = 1.7, 0.1
ESTIMATIONS = ["ml", "reml"]


def linear(X):
    return np.column_stack([np.ones(len(X)), X])


def quadratic(X):
    i, j = np.triu_indices(X.shape[1])
    return np.column_stack([linear(X), X[:, i] * X[:, j]])


BASES = {"linear": linear, "quadratic": quadratic}


def sloped(n, d=3, m=1):
    """Data with a trend."""
    X, y = data(n, d, m)
    return X, (y.reshape(n, m) + 50.0 + 3.0 * X[:, :1] - X[:, 1:2]).reshape(y.shape)


def trained(n=40, m=1, **options):
    """A model whose hyperparameters are given, its data, and the truth's term."""
    X, y = sloped(n, 3, m)
    return fastard.fit(X, y, **{**FIXED, **options}), X, y, [naive.Term("rbf", SCALES, SIGNAL)]


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimation", ESTIMATIONS)
def test_likelihood_and_gradient(kernel, estimation, m):
    name, kernel_object, shape = kernel
    X, y = sloped(37, 3, m)
    known = np.linspace(0.0, 0.5, 37)
    theta = np.log([*SCALES, SIGNAL, NOISE, *shape])
    H = linear(X)

    def likelihood(theta):
        return naive.of_theta_with_mean(name, theta, X, y, H, estimation == "reml", known)

    given = {"kernel": kernel_object, "observation_variance": known, "basis": H, "mean_estimation": estimation}
    objective = fastard.LogMarginalLikelihood(X, y, **given)
    value, gradient = objective(theta)
    assert_agree(value, likelihood(theta))
    assert_agree(gradient, naive.complex_step(likelihood, theta))
    natural = {"length_scale": SCALES, "signal_variance": SIGNAL, "noise_variance": NOISE}
    whole = fastard.log_marginal_likelihood(X, y, **natural, **given, eval_gradient=True)
    assert_agree(whole[0], value)
    assert_agree(whole[1], gradient)
    assert_agree(fastard.log_marginal_likelihood(X, y, **natural, **given), value)
    values, gradients = objective.batch([theta, theta], np.array([y, 2.0 * y]))
    assert_agree(values[0], value)
    assert_agree(gradients[0], gradient)
    twice = naive.of_theta_with_mean(name, theta, X, 2.0 * y, H, estimation == "reml", known)
    assert_agree(values[1], twice)


@pytest.mark.parametrize("estimation", ESTIMATIONS)
@pytest.mark.parametrize("n", [150, 353, 700])
def test_over_several_tiles_and_threads(n, estimation):
    X, y = sloped(n, 4)
    theta = np.log([0.5, 1.0, 2.0, 3.0, SIGNAL, NOISE])
    H = linear(X)
    results = []
    for threads in (1, 2):
        objective = fastard.LogMarginalLikelihood(X, y, basis=H, mean_estimation=estimation, n_threads=threads)
        results.append(objective(theta))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])

    def likelihood(theta):
        return naive.of_theta_with_mean("rbf", theta, X, y, H, estimation == "reml")

    assert_agree(results[0][0], likelihood(theta))
    along = np.array([1.0, -0.7, 0.5, 0.9, -0.6, 0.3])  # all together: a wrong one moves the sum
    assert_agree(along @ results[0][1], likelihood(theta + 1e-30j * along).imag / 1e-30)


@pytest.mark.parametrize("estimation", ESTIMATIONS)
def test_units_of_the_basis_do_not_matter(estimation):
    X, y = sloped(30)
    H = linear(X)
    mixed = H @ np.array([[1e3, 0, 0, 0], [1e6, 1e-3, 0, 0], [0, 0, 1, 2], [0, 0, 1, -1]])
    theta = np.log([*SCALES, SIGNAL, NOISE])
    one, other = (fastard.LogMarginalLikelihood(X, y, basis=B, mean_estimation=estimation)(theta) for B in (H, mixed))
    assert_agree(one[0], other[0])
    assert_agree(one[1], other[1])


def test_a_trend_adds_nothing():
    """y and y + H beta have the same likelihood, gradient and leave-one-out density, also where the trend is large."""
    X, y = data(30, 3)
    H = linear(X)
    theta = np.log([*SCALES, SIGNAL, NOISE])
    one, other = (fastard.LogMarginalLikelihood(X, t, basis=H)(theta) for t in (y, y + H @ [1e6, 1e6, 3.0, -2.0]))
    assert_agree(one[0], other[0], 1e-8)
    assert_agree(one[1], other[1], 1e-8)


@pytest.mark.parametrize("m", [1, 2])
def test_leave_one_out_density(kernel, m):
    name, kernel_object, shape = kernel
    X, y = sloped(15, 3, m)
    theta, H = np.log([*SCALES, SIGNAL, NOISE, *shape]), linear(X)

    def density(theta):
        return naive.leave_one_out_of_theta_with_mean(name, theta, X, y, H)

    value, gradient = fastard.loo_log_predictive_density(
        X, y, length_scale=SCALES, signal_variance=SIGNAL, noise_variance=NOISE, kernel=kernel_object, basis=H,
        eval_gradient=True,
    )  # fmt: skip
    assert_agree(value, density(theta))
    assert_agree(gradient, naive.complex_step(density, theta))


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_predictions(mean, m):
    model, X, y, terms = trained(m=m, mean=mean)
    Z = points(9)
    basis = BASES[mean]
    expected, covariance = naive.predict_with_mean(terms, X, y, basis(X), NOISE, Z, basis(Z))
    deviation = np.sqrt(covariance.diagonal())
    mean_at_z, std = model.predict(Z, return_std=True)
    assert_agree(mean_at_z.reshape(9, m), expected)
    for t in range(m):
        assert_agree(std.reshape(9, m)[:, t], deviation)
        assert_agree(model.predict(Z, return_cov=True)[1].reshape(9, 9, m)[..., t], covariance)
    noisy = model.predict(Z, return_std=True, include_noise=True)[1].reshape(9, m)[:, 0]
    assert_agree(noisy, np.sqrt(covariance.diagonal() + NOISE))
    assert_agree(model.predict(Z), mean_at_z)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_gradients_of_predictions(mean, m):
    model, *_ = trained(m=m, mean=mean)
    Z, h = points(5), 1e-5
    of_mean, of_std = model.predict_gradient(Z)
    for i in range(3):
        step = h * np.eye(3)[i]
        above, below = (model.predict(Z + sign * step, return_std=True) for sign in (1.0, -1.0))
        assert_agree(of_mean[:, i], (above[0] - below[0]) / (2 * h), 1e-6)
        assert_agree(of_std[:, i], (above[1] - below[1]) / (2 * h), 1e-6)


def test_samples_spread_as_predictions_do():
    model, *_ = trained(mean="linear")
    far = np.array([[20.0, -20.0, 20.0], [0.0, 0.0, 0.0]])
    mean, covariance = model.predict(far, return_cov=True)
    drawn = model.sample(far, 20000, rng=0)
    assert_agree(drawn.mean(axis=0), mean, 0.05)
    assert_agree(np.cov(drawn.T), covariance, 0.05)


def test_coefficients_in_the_units_of_x():
    X, _ = data(40, 3)
    X = 1e3 + X * [1.0, 10.0, 0.1]
    beta = np.arange(1.0, 11.0)
    model = fastard.fit(X, quadratic(X) @ beta, mean="quadratic", max_iterations=5)
    found = model.mean_coefficients()
    assert found.names == ["1", "x0", "x1", "x2", "x0^2", "x0 x1", "x0 x2", "x1^2", "x1 x2", "x2^2"]
    assert_agree(quadratic(X) @ found.coefficients / (quadratic(X) @ beta), np.ones(40), 1e-9)
    assert_agree(found.coefficients[4:], beta[4:], 1e-4)

    model, X, y, terms = trained(mean="linear", m=2)
    found = model.mean_coefficients()
    beta, A = naive.least_squares(terms, X, y, linear(X), NOISE)
    assert_agree(found.coefficients, beta)
    assert_agree(found.covariance, np.linalg.inv(A))
    assert_agree(found.standard_errors, np.sqrt(np.linalg.inv(A).diagonal()))


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_tiny_and_huge_inputs_where_every_rounding_is_an_error(unit):
    X, y = data(30, 2)
    expected = fastard.fit(X, y, mean="linear").mean_coefficients().coefficients
    with np.errstate(all="raise"):
        model = fastard.fit(unit * X, y, mean="linear")
        found = model.mean_coefficients().coefficients
        assert model.summary().facts
    assert_agree(found * [1.0, unit, unit], expected, 1e-5)


def test_leave_one_out_of_a_model():
    model, X, y, terms = trained(mean="linear")
    means, variances, density = naive.leave_one_out_with_mean(terms, X, y, linear(X), NOISE)
    found = model.loo()
    assert_agree(found.mean, means[:, 0])
    assert_agree(found.variance, variances)
    assert_agree(found.log_predictive_density, density)
    assert_agree(found.errors + found.mean, y)


@pytest.mark.parametrize("estimation", ESTIMATIONS)
@pytest.mark.parametrize("m", [1, 2])
def test_update_is_a_model_of_all_points(estimation, m):
    X, y = sloped(50, 3, m)
    model = fastard.fit(X[:40], y[:40], **FIXED, mean="linear", mean_estimation=estimation)
    model.update(X[40:], y[40:])
    whole = fastard.fit(X, y, **FIXED, mean="linear", mean_estimation=estimation)
    assert_agree(model.log_marginal_likelihood, whole.log_marginal_likelihood)
    for mine, truth in zip(model.predict(points(), return_std=True), whole.predict(points(), return_std=True), strict=True):
        assert_agree(mine, truth)
    assert_agree(model.loo().mean, whole.loo().mean)
    assert_agree(model.mean_coefficients().coefficients, whole.mean_coefficients().coefficients)


@pytest.mark.parametrize("estimation", ESTIMATIONS)
def test_standard_errors(estimation):
    X = np.linspace(0.0, 10.0, 60)[:, None]
    y = 3.0 * X[:, 0] + np.sin(2.0 * X[:, 0]) + 0.1 * data(60, 1)[1]
    model = fastard.fit(X, y, mean="linear", mean_estimation=estimation)
    theta, h = np.log([*model.length_scale, model.signal_variance, model.noise_variance]), 1e-5
    objective = fastard.LogMarginalLikelihood(X, y, basis=linear(X), mean_estimation=estimation)
    assert_agree(objective(theta)[0], model.log_marginal_likelihood, 1e-9)
    second = np.array([(objective(theta + h * e)[1] - objective(theta - h * e)[1]) / (2 * h) for e in np.eye(3)])
    assert_agree(model.standard_errors().covariance, np.linalg.inv(-second), 1e-6)
    H, natural = linear(X), np.exp(theta)
    term = naive.Term("rbf", natural[:1], natural[1])
    K = naive.noisy_covariance([term], X, natural[2])
    solved = np.linalg.solve(K, H)
    P = np.linalg.inv(K) - solved @ np.linalg.inv(H.T @ solved) @ solved.T
    derivatives = [*naive.covariance_derivatives(term, X), natural[2] * np.eye(60)]
    information = 0.5 * np.array([[y @ P @ a @ P @ b @ P @ y for b in derivatives] for a in derivatives])
    assert_agree(model.standard_errors("average_information").covariance, np.linalg.inv(information), 1e-6)


def test_extrapolates():
    """3 x + sin 2x at x = 20 from points up to 10."""
    X = np.linspace(0.0, 10.0, 40)[:, None]
    y = 3.0 * X[:, 0] + np.sin(2.0 * X[:, 0]) + 0.05 * data(40, 1)[1]
    model = fastard.fit(X, y, mean="linear")
    mean, deviation = model.predict([[20.0]], return_std=True)
    assert abs(mean[0] - (60.0 + np.sin(40.0))) < 1.96 * deviation[0]
    assert deviation[0] < 6.0  # a band that says something


@pytest.mark.parametrize("objective", ["log_marginal_likelihood", "loo"])
@pytest.mark.parametrize("estimation", ESTIMATIONS)
def test_the_search_ends_at_a_maximum(objective, estimation):
    X, y = sloped(60, 2)
    y = y + 2.0 * np.sin(2.0 * X[:, 0])
    model = fastard.fit(X, y, mean="linear", mean_estimation=estimation, objective=objective)
    assert model.converged
    given = {"basis": linear(X), "length_scale": model.length_scale, "signal_variance": model.signal_variance,
             "noise_variance": model.noise_variance, "eval_gradient": True}  # fmt: skip
    if objective == "loo":
        gradient = fastard.loo_log_predictive_density(X, y, **given)[1]
    else:
        gradient = fastard.log_marginal_likelihood(X, y, **given, mean_estimation=estimation)[1]
    free = np.flatnonzero(model._slots >= 0)
    assert np.abs(gradient[free]).max() < 2e-3


def test_a_constant_as_a_basis_is_no_mean_of_y():
    """Its coefficient is generalised least squares', which the process's correlations move from the mean of y."""
    X, y = sloped(40)
    model = fastard.fit(X, y, **FIXED, mean=np.ones((40, 1)))
    beta, _ = naive.least_squares([naive.Term("rbf", SCALES, SIGNAL)], X, y, np.ones((40, 1)), NOISE)
    assert_agree(model.mean_coefficients().coefficients, beta[:, 0])
    assert model.mean_coefficients().names == ["h0"]


def test_zero_mean():
    X, y = sloped(40)
    model = fastard.fit(X, y, **FIXED, mean="zero")
    term = naive.Term("rbf", SCALES, SIGNAL)
    mean, covariance = naive.predict(term, X, y, NOISE, points())
    found = model.predict(points(), return_std=True)
    assert_agree(found[0], mean[:, 0])
    assert_agree(found[1], np.sqrt(covariance.diagonal()))
    assert_agree(model.log_marginal_likelihood, naive.log_marginal_likelihood([term], X, y, NOISE))
    assert dict(model.summary().facts)["mean"] == "zero"


def test_an_array_and_a_callable_are_the_same():
    X, y = sloped(40)
    by_name = fastard.fit(X, y, mean="linear", max_iterations=20)
    by_function = fastard.fit(X, y, mean=linear, max_iterations=20)
    by_array = fastard.fit(X, y, mean=linear(X), max_iterations=20)
    Z = points()
    expected = by_name.predict(Z, return_std=True)
    for found in (by_function.predict(Z, return_std=True), by_array.predict(Z, return_std=True, basis=linear(Z))):
        assert_agree(found[0], expected[0], 1e-6)
        assert_agree(found[1], expected[1], 1e-6)
    _, covariance = by_array.predict(Z, return_cov=True, basis=linear(Z))
    assert_agree(np.sqrt(covariance.diagonal()), expected[1], 1e-6)
    assert by_array.sample(Z, 2, 0, basis=linear(Z)).shape == (2, len(Z))
    by_array.update(Z, np.zeros(len(Z)), basis=linear(Z))
    for call in (by_array.predict, by_array.sample, lambda Z: by_array.update(Z, np.zeros(len(Z)))):
        with pytest.raises(ValueError, match=r"pass basis \(q, p\)"):
            call(Z)
    for call in (by_array.sobol, by_array.effects, by_array.predict_gradient):
        with pytest.raises(ValueError, match="basis functions"):
            call(*([Z] if call == by_array.predict_gradient else []))
    with pytest.raises(ValueError, match="derivatives of the mean"):
        by_function.predict_gradient(Z)
    for model in (by_name, by_function, fastard.fit(X, y, max_iterations=1)):
        for call in (model.predict, model.sample, lambda *_, model=model, **given: model.update(X, y, **given)):
            with pytest.raises(ValueError, match="basis is only for a model"):
                call(Z, basis=linear(Z))


@pytest.mark.parametrize("mean", ["zero", "linear", "quadratic", "array", "callable"])
@pytest.mark.parametrize("m", [1, 2])
def test_saves(tmp_path, mean, m):
    X, y = sloped(40, 3, m)
    given = {"array": linear(X), "callable": linear}.get(mean, mean)
    model = fastard.fit(X, y, **FIXED, mean=given, mean_estimation="ml" if mean == "zero" else "reml")
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    Z = points()
    basis = {"basis": linear(Z)} if mean in ("array", "callable") else {}
    own = {} if mean == "callable" else basis
    for copy, given in ((loaded, basis), (pickle.loads(pickle.dumps(model)), own)):
        for mine, truth in zip(
            copy.predict(Z, return_std=True, **given), model.predict(Z, return_std=True, **own), strict=True
        ):
            np.testing.assert_array_equal(mine, truth)
        copy.update(Z, np.zeros((len(Z), m)), **given)
    model.update(Z, np.zeros((len(Z), m)), **own)
    assert loaded.log_marginal_likelihood == model.log_marginal_likelihood
    assert loaded._settings == model._settings


def test_restricted_likelihood_needs_coefficients():
    X, y = sloped(20)
    for mean in ({}, {"mean": "constant"}, {"mean": "zero"}):
        name = mean.get("mean", "constant")
        with pytest.raises(ValueError, match=rf"'reml' integrates out .* got mean='{name}'; mean='linear' has some, .*ones"):
            fastard.fit(X, y, **mean, mean_estimation="reml")
    with pytest.raises(ValueError, match="mean_estimation must be one of 'ml', 'reml', got 'REML'"):
        fastard.fit(X, y, mean_estimation="REML")
    for call in (
        lambda **given: fastard.log_marginal_likelihood(X, y, length_scale=1.0, **given),
        lambda **given: fastard.LogMarginalLikelihood(X, y, **given),
    ):
        with pytest.raises(ValueError, match="there are none: pass basis"):
            call(mean_estimation="reml")
    assert fastard.fit(X, y, **FIXED, mean=np.ones((20, 1)), mean_estimation="reml")._mean_estimation == "reml"
    model = fastard.fit(X, y, **FIXED, mean="linear", mean_estimation="reml")
    for mean in ("constant", "zero"):
        assert model.refit(X, y, mean=mean)._mean_estimation == "ml"
    assert model.refit(X, y, mean=linear(X))._mean_estimation == "reml"


def test_what_earlier_versions_read_is_as_it_was(tmp_path):
    """Only files of models with another mean have another version and other members."""
    import json

    X, y = sloped(20)
    for mean, version in (("constant", 1), ("zero", 2), ("linear", 2)):
        fastard.fit(X, y, **FIXED, mean=mean).save(tmp_path / "model.npz")
        with np.load(tmp_path / "model.npz") as file:
            header = json.loads(str(file["header"]))
            assert header["version"] == version
            assert any(name.startswith("mean") for name in (*file.files, *header)) == (mean == "linear")


def test_trains_again_with_the_same_mean():
    X, y = sloped(60)
    model = fastard.fit(X[:40], y[:40], mean="linear", mean_estimation="reml", max_iterations=10)
    again = model.refit(X, y, max_iterations=10)
    assert again._trend.kind == "linear"
    assert again._mean_estimation == "reml"
    assert fastard.fit(X, y, mean="zero", max_iterations=1).refit(X, y, max_iterations=1)._y_mean == 0.0
    assert fastard.fit(X, y, mean=linear, max_iterations=1).refit(X, y, max_iterations=1)._trend.function is linear
    by_array = fastard.fit(X, y, mean=linear(X), max_iterations=1)
    with pytest.raises(ValueError, match="pass mean for the rows of X"):
        by_array.refit(X[:40], y[:40])
    assert len(by_array.refit(X[:40], y[:40], mean=linear(X[:40]), max_iterations=1)._X) == 40


def test_data_that_the_mean_explains():
    """Nothing is left for the process but rounding errors, as of constant targets."""
    X, _ = data(30, 2)
    model = fastard.fit(X, linear(X) @ [5.0, 2.0, -1.0], mean="linear")
    assert_agree(model.predict([[3.0, 4.0]]), [7.0], 1e-9)
    assert_agree(model.mean_coefficients().coefficients, [5.0, 2.0, -1.0], 1e-9)


def test_effects_and_indices():
    """Of y = 3 a + b the shares are 0.9 and 0.1, and the effects straight lines."""
    X = np.random.default_rng(0).random((40, 2))
    y = 3.0 * X[:, 0] + X[:, 1] + 1e-3 * data(40, 1)[1]
    for mean in ("linear", linear):
        model = fastard.fit(X, y, mean=mean)
        indices = model.sobol([(0, 1), (0, 1)], n_samples=20, rng=0)
        assert_agree(indices.first_order, [0.9, 0.1], 0.01)
        assert_agree(indices.mean, 2.0, 0.01)
        assert np.isfinite(indices.first_order_std).all()
        effects = model.effects([(0, 1), (0, 1)])
        assert_agree(effects.mean[0], 3.0 * effects.points[0] + 0.5, 0.01)
    model, *_ = trained(mean="linear")
    far = model.effects([(0.0, 1.0), (0.0, 1.0), (0.0, 1.0)], n_nodes=3)
    shift = np.random.default_rng(0).random(3)
    from scipy.stats import qmc

    design = (qmc.Sobol(3, scramble=False).random_base2(8) + shift) % 1.0
    design[:, 1] = far.points[1][2]
    mean, covariance = model.predict(design, return_cov=True)
    assert_agree(far.mean[1][2], mean.mean(), 1e-8)
    assert_agree(far.std[1][2], np.sqrt(covariance.mean()), 1e-8)


def test_other_libraries_models():
    pytest.importorskip("sklearn")
    model, X, *_ = trained(mean="linear")
    with pytest.raises(ValueError, match="to_sklearn has no counterpart"):
        model.to_sklearn()
    zero, X, *_ = trained(mean="zero")
    for mine, truth in zip(zero.to_sklearn().predict(X, return_std=True), zero.predict(X, return_std=True), strict=True):
        assert_agree(mine, truth, 1e-8)


def test_summary():
    X, y = sloped(60)
    model = fastard.fit(X, y, mean="linear", mean_estimation="reml")
    assert dict(model.summary().facts)["mean"] == "linear, 4 coefficients, integrated out (REML)"
    assert "mean" not in dict(fastard.fit(X, y, max_iterations=1).summary(standard_errors=None).facts)


def test_column_names():
    pandas = pytest.importorskip("pandas")
    X, y = sloped(40)
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    model = fastard.fit(frame, y, mean="linear")
    assert model.mean_coefficients().names == ["1", "a", "b", "c"]
    assert_agree(model.predict(frame[["c", "a", "b"]]), model.predict(frame), 1e-12)


@pytest.mark.parametrize(
    ("mean", "error", "message"),
    [
        ("cubic", ValueError, "mean must be one of 'constant', 'zero', 'linear', 'quadratic'"),
        (0.0, TypeError, "subtract from y"),
        (None, TypeError, "mean must be"),
        (np.ones((3, 2)), ValueError, r"mean must have shape \(12, p\)"),
        (np.ones(12), ValueError, r"mean must have shape \(12, p\)"),
        (np.ones((12, 2)), ValueError, "depend linearly on the others at these points"),
        (np.zeros((12, 1)), ValueError, "column 0"),
        (lambda X: X[:3], ValueError, "what mean returns must have shape"),
        (np.full((12, 1), np.nan), ValueError, "mean"),
        ("quadratic", ValueError, "21 basis functions, for which there must be more than 21 points; got 12"),
    ],
)
def test_wrong_means(mean, error, message):
    X, y = data(12, 5)
    with pytest.raises(error, match=message):
        fastard.fit(X, y, mean=mean)


def test_other_wrong_arguments():
    X, y = data(12, 2)
    with pytest.raises(ValueError, match=r"'linear' has basis functions that depend linearly .*: x1"):
        fastard.fit(np.column_stack([X[:, 0], np.full(12, 0.1)]), y, mean="linear")
    with pytest.raises(ValueError, match="mean_estimation must be"):
        fastard.fit(X, y, mean="linear", mean_estimation="ols")
    with pytest.raises(ValueError, match="train with mean='linear'"):
        fastard.fit(X, y, max_iterations=1).mean_coefficients()
    alone = np.column_stack([np.ones(12), np.arange(12) == 4])
    with pytest.raises(ValueError, match="row 4 of X alone determines"):
        fastard.loo_log_predictive_density(X, y, length_scale=1.0, basis=alone)
    model = fastard.fit(X, y, mean=alone, max_iterations=1)
    with pytest.raises(ValueError, match="must have 2 columns as in training"):
        model.predict(X, basis=np.ones((12, 3)))


def test_inputs_stay_as_they_are():
    X, y = sloped(30)
    H = linear(X)
    copies = X.copy(), y.copy(), H.copy()
    model = fastard.fit(X, y, mean=H, max_iterations=3)
    model.predict(X, basis=H, return_std=True)
    for before, after in zip(copies, (X, y, H), strict=True):
        np.testing.assert_array_equal(before, after)


def test_noise_groups_beside_a_mean(tmp_path):
    """Each group's variance is as if it were known, and its derivative is that of finite differences."""
    X, y = sloped(60)
    labels = np.where(np.arange(60) % 3, "good", "poor")
    fixed = {name: value for name, value in FIXED.items() if not name.startswith("noise")}
    for estimation in ("ml", "reml"):
        given = {"mean": "linear", "mean_estimation": estimation}
        states = []
        fastard.fit(
            X, y, **given, noise_groups=labels, noise_variance=[0.1, 0.3], max_iterations=1,
            callback=lambda state, states=states: states.append(state) or True,
        )  # fmt: skip

        def value(good, poor, first=states[0], given=given):
            own = {"length_scale": first.parameters["length_scale"], "signal_variance": first.parameters["signal_variance"]}
            known = np.where(labels == "good", good, poor)
            found = fastard.log_marginal_likelihood(
                X, y, **own, noise_variance=0.0, observation_variance=known, basis=linear(X),
                mean_estimation=given["mean_estimation"],
            )  # fmt: skip
            return float(found)

        good, poor = states[0].parameters["noise_variance"]
        np.testing.assert_allclose(states[0].log_marginal_likelihood, value(good, poor), rtol=1e-10)
        h = 1e-5
        slopes = [
            (value(good * np.exp(h), poor) - value(good * np.exp(-h), poor)) / (2.0 * h),
            (value(good, poor * np.exp(h)) - value(good, poor * np.exp(-h))) / (2.0 * h),
        ]
        np.testing.assert_allclose(states[0].gradient[-2:], slopes, rtol=1e-5, atol=1e-7)

    model = fastard.fit(
        X, y, mean="linear", noise_groups=labels, noise_variance_bounds="fixed", noise_variance=[0.1, 0.3], **fixed
    )
    same = fastard.fit(X, y, mean="linear", observation_variance=np.where(labels == "good", 0.1, 0.3), **fixed,
                       noise_variance=1e-300, noise_variance_bounds="fixed")  # fmt: skip
    Z = points()
    model.save(tmp_path / "model.npz")
    for mine in (model, fastard.load(tmp_path / "model.npz")):
        assert_agree(np.array(mine.predict(Z, return_std=True)), np.array(same.predict(Z, return_std=True)), 1e-9)
        assert_agree(mine.loo().mean, same.loo().mean, 1e-9)
        assert_agree(mine.mean_coefficients().coefficients, same.mean_coefficients().coefficients, 1e-9)
        noisy = mine.predict(Z, return_std=True, include_noise=True, noise_groups="poor")[1]
        assert_agree(noisy, np.sqrt(same.predict(Z, return_std=True)[1] ** 2 + 0.3), 1e-9)
    known = np.full(len(Z), 0.3)
    model.update(Z, np.zeros(len(Z)), noise_groups="poor")
    same.update(Z, np.zeros(len(Z)), observation_variance=known)
    assert_agree(model.predict(X), same.predict(X), 1e-9)


def test_categories_and_periods_beside_a_mean(tmp_path):
    """A callable is refused; an array's basis functions are as beside columns that were encoded by hand."""
    X, y = sloped(60)
    X = X.copy()
    X[:, 1] = np.arange(60) % 3
    columns = {"categorical": [1], "periodic": {2: 2.0}}
    for given in ({"categorical": [1]}, {"periodic": {2: 2.0}}):
        with pytest.raises(ValueError, match="categorical= and periodic="):
            fastard.fit(X, y, mean=linear, **given)
    H = linear(X[:, :1])
    options = {"max_iterations": 3, "n_threads": 1}
    assert fastard.fit(X, y, mean="zero", **columns, **options)._y_mean == 0.0
    model = fastard.fit(X, y, mean=H, **columns, **options)
    levels = (X[:, 1:2] == np.arange(3)).astype(float)
    angle = 2.0 * np.pi * X[:, 2:] / 2.0
    by_hand = np.hstack([X[:, :1], levels, np.sin(angle), np.cos(angle)])
    known = {"signal_variance": model.signal_variance, "noise_variance": model.noise_variance}
    found = fastard.log_marginal_likelihood(by_hand, y, length_scale=model.length_scale[[0, 1, 1, 1, 2, 2]], basis=H, **known)
    assert_agree(model.log_marginal_likelihood, found, 1e-9)
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(X, basis=H), model.predict(X, basis=H))
    loaded.update(X[:3] + np.array([0.1, 0.0, 0.0]), y[:3], basis=H[:3])
    assert len(loaded._X) == 63
