"""Sums of kernels, each over some columns: likelihood, training, predictions and their parts, against plain formulas."""

import json
import pickle

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard
from fastard import Term

N = 60
NOISE = 0.05
NAIVE = [
    naive.Term("rbf", np.array([0.5, 1.0, 0.9]), 1.0, (), (0, 2)),
    naive.Term("rational_quadratic", np.array([1.0, 1.0, 0.3]), 0.4, (0.7,), (2,)),
    naive.Term("matern52", np.array([1.1, 0.7, 1.0]), 0.6, (), (0, 1)),
]
SCALES = [[0.5, 0.9], [0.3], [0.7, 1.1]]
FIXED = {f"{kind}_bounds": "fixed" for kind in ("length_scale", "signal_variance")}
KERNEL = {
    "a": Term("rbf", [0, 2], length_scale=SCALES[0], signal_variance=1.0, **FIXED),
    "b": Term(fastard.RationalQuadratic(0.7), [2], length_scale=SCALES[1], signal_variance=0.4, shape_bounds="fixed", **FIXED),
    "c": Term("matern52", [1, 0], length_scale=SCALES[2], signal_variance=0.6, **FIXED),
}
THETA = np.log([0.5, 0.9, 0.3, 0.7, 1.1, 1.0, 0.4, 0.6, NOISE, 0.7])
OPTIONS = {"noise_variance": NOISE, "noise_variance_bounds": "fixed"}


def problem(n=N, m=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 3))
    y = np.sin(4.0 * X[:, 0]) + X[:, 1] ** 2 + 0.5 * np.sin(9.0 * X[:, 2]) + 0.1 * rng.standard_normal(n)
    return X, y if m == 1 else np.column_stack([y, np.cos(3.0 * X[:, 1])] * (m // 2))


def plain(theta):
    """The naive terms and the noise at a theta, which may be complex."""
    p = np.exp(theta)
    one = np.ones(1, dtype=p.dtype)[0]
    return [
        naive.Term("rbf", np.array([p[0], one, p[1]]), p[5], (), (0, 2)),
        naive.Term("rational_quadratic", np.array([one, one, p[2]]), p[6], (p[9],), (2,)),
        naive.Term("matern52", np.array([p[4], p[3], one]), p[7], (), (0, 1)),
    ], p[8]


def slope(theta, X, y):
    """(5.9) in theta's order."""
    terms, noise = plain(theta)
    a, b, c = naive.gradients(terms, X, y, noise)
    of_noise = 0.5 * noise * np.trace(naive.weights(terms, X, y, noise)[1])
    return np.array([a[0], a[2], b[2], c[1], c[0], a[3], b[3], c[3], of_noise, b[4]])


def trained(m=1, kernel=KERNEL, **options):
    X, y = problem(m=m)
    return fastard.fit(X, y, kernel=kernel, **{**OPTIONS, **options}), X, y


def points(q=17):
    return problem(q, seed=9)[0]


# The likelihood


@pytest.mark.parametrize("m", [1, 2])
def test_value_and_gradient(m):
    X, y = problem(m=m)
    objective = fastard.LogMarginalLikelihood(X, y, kernel=KERNEL)
    assert objective.n_parameters == THETA.size
    value, gradient = objective(THETA)
    assert_agree(value, naive.log_marginal_likelihood(NAIVE, X, y, NOISE))
    assert_agree(gradient, slope(THETA, X, y))
    values, gradients = pickle.loads(pickle.dumps(objective)).batch([THETA, THETA + 0.1])
    assert values[0] == value
    np.testing.assert_array_equal(gradients[0], gradient)
    assert_agree(gradients[1], slope(THETA + 0.1, X, y))


@pytest.mark.parametrize("estimation", ["ml", "reml"])
def test_value_and_gradient_beside_a_mean(estimation):
    X, y = problem()
    H = np.column_stack([np.ones(N), X[:, 0]])
    objective = fastard.LogMarginalLikelihood(X, y, kernel=KERNEL, basis=H, mean_estimation=estimation)

    def value(theta):
        terms, noise = plain(theta)
        return naive.log_marginal_likelihood_with_mean(terms, X, y, H, noise, estimation == "reml")

    found = objective(THETA)
    assert_agree(found[0], value(THETA))
    assert_agree(found[1], naive.complex_step(value, THETA))


def test_one_term_is_one_kernel():
    X, y = problem()
    theta = np.log([0.5, 1.0, 2.0, 1.3, 0.1])
    one = fastard.LogMarginalLikelihood(X, y, kernel="matern32")(theta)
    sums = fastard.LogMarginalLikelihood(X, y, kernel={"all": Term("matern32")})(theta)
    assert_agree(sums[0], one[0], 1e-14)
    assert_agree(sums[1], one[1], 1e-13)
    model, term = fastard.fit(X, y, kernel="matern32"), fastard.fit(X, y, kernel={"all": Term("matern32")})
    assert term.log_marginal_likelihood == pytest.approx(model.log_marginal_likelihood, abs=1e-4)
    np.testing.assert_allclose(term.length_scale, model.length_scale, rtol=0.05)


def test_columns_by_name():
    pandas = pytest.importorskip("pandas")
    X, y = problem()
    frame = pandas.DataFrame(X, columns=["u", "v", "w"])
    kernel = {name: Term(term.kernel, [["u", "v", "w"][i] for i in term.columns]) for name, term in KERNEL.items()}
    for by_name, by_number, theta in ((kernel, KERNEL, THETA), ({"all": Term()}, {"all": Term()}, THETA[:5])):
        found, expected = (
            fastard.LogMarginalLikelihood(Z, y, kernel=each)(theta) for Z, each in ((frame, by_name), (X, by_number))
        )
        assert found[0] == expected[0]


# Predictions


def assert_gradients(model, Z, tolerance):
    """Of predictions, against differences."""
    gradients, step = model.predict_gradient(Z), 1e-5
    for j in range(3):
        moved = step * np.eye(3)[j]
        high, low = model.predict(Z + moved, return_std=True), model.predict(Z - moved, return_std=True)
        for k in (0, 1):
            np.testing.assert_allclose(gradients[k][:, j], (high[k] - low[k]) / (2.0 * step), atol=tolerance)


@pytest.mark.parametrize("m", [1, 2])
def test_predictions_and_components(m):
    model, X, y = trained(m)
    Z, mean_of_y = points(), y.mean(axis=0)
    K = naive.noisy_covariance(NAIVE, X, NOISE)
    alpha = np.linalg.solve(K, y - mean_of_y)
    across = naive.covariance(NAIVE, Z, X)
    cov = naive.covariance(NAIVE, Z) - across @ np.linalg.solve(K, across.T)
    mean, std = model.predict(Z, return_std=True)
    assert_agree(mean, across @ alpha + mean_of_y)
    assert_agree(std if m == 1 else std[:, 1], np.sqrt(cov.diagonal()))
    found = model.predict(Z, return_cov=True)[1]
    assert_agree(found if m == 1 else found[..., 1], cov)
    noisy = model.predict(Z, return_std=True, include_noise=True)[1]
    assert_agree(noisy if m == 1 else noisy[:, 0], np.sqrt(cov.diagonal() + NOISE))
    assert model.sample(Z, 3, rng=0).shape == ((3, 17) if m == 1 else (3, 17, m))

    parts = model.components(Z)
    assert list(parts) == ["a", "b", "c"]
    assert_agree(sum(part.mean for part in parts.values()) + mean_of_y, mean)
    for part, term in zip(parts.values(), NAIVE, strict=True):
        across = naive.covariance([term], Z, X)
        variance = naive.covariance([term], Z) - across @ np.linalg.solve(K, across.T)
        assert_agree(part.mean, across @ alpha)
        assert_agree(part.std if m == 1 else part.std[:, 1], np.sqrt(variance.diagonal()))


def test_components_beside_a_mean():
    """The coefficients' uncertainty is in the terms' too: P in the place of K^-1."""
    model, X, y = trained(mean="linear")
    Z = points()
    H = np.column_stack([np.ones(N), X])
    inverse = np.linalg.inv(naive.noisy_covariance(NAIVE, X, NOISE))
    P = inverse - inverse @ H @ np.linalg.solve(H.T @ inverse @ H, H.T @ inverse)
    mean, cov = naive.predict_with_mean(NAIVE, X, y, H, NOISE, Z, np.column_stack([np.ones(17), Z]))
    found = model.predict(Z, return_std=True)
    assert_agree(found[0], mean[:, 0])
    assert_agree(found[1], np.sqrt(cov.diagonal()))
    coefficients = model.mean_coefficients()
    assert coefficients.names == ["1", "x0", "x1", "x2"]
    parts = model.components(Z)
    total = coefficients.coefficients @ np.column_stack([np.ones(17), Z]).T
    assert_agree(total + sum(part.mean for part in parts.values()), found[0], 1e-9)
    for part, term in zip(parts.values(), NAIVE, strict=True):
        across = naive.covariance([term], Z, X)
        assert_agree(part.mean, across @ P @ y)
        cov = naive.covariance([term], Z) - across @ P @ across.T
        assert_agree(part.std, np.sqrt(cov.diagonal()))
    less_average = np.eye(17) - 1.0 / 17
    for part, term in zip(model.components(Z, centred=True).values(), NAIVE, strict=True):
        across = less_average @ naive.covariance([term], Z, X)
        assert_agree(part.mean, across @ P @ y)
        cov = less_average @ naive.covariance([term], Z) @ less_average - across @ P @ across.T
        assert_agree(part.std, np.sqrt(cov.diagonal()))
    assert_gradients(model, Z, 1e-6)


def test_gradients_of_predictions_and_periods():
    """By the columns of X, of which one is encoded and stands in two terms."""
    X, y = problem()
    kernel = {"a": Term("matern52", [0, 2], length_scale=0.4), "b": Term("rbf", [2], length_scale=0.9)}
    model = fastard.fit(X, y, kernel=kernel, periodic={2: 0.7}, max_iterations=3)
    assert_gradients(model, points(), 1e-5)


def test_leave_one_out_and_updates():
    model, X, y = trained()
    means, variances, density = naive.leave_one_out(NAIVE, X, y - y.mean(), NOISE)
    loo = model.loo()
    assert_agree(loo.mean, means[:, 0] + y.mean(), 1e-9)
    assert_agree(loo.variance, variances, 1e-9)
    assert_agree(loo.log_predictive_density, density, 1e-9)
    more, targets = problem(4, seed=3)
    model.update(more, targets)
    both, centred = np.vstack([X, more]), np.append(y, targets) - y.mean()
    assert_agree(model.log_marginal_likelihood, naive.log_marginal_likelihood(NAIVE, both, centred, NOISE))
    across = naive.covariance(NAIVE, points(), both)
    expected = across @ np.linalg.solve(naive.noisy_covariance(NAIVE, both, NOISE), centred) + y.mean()
    assert_agree(model.predict(points()), expected)


def test_the_curve_of_carbon_dioxide():
    """R&W (5.14) to (5.18): the seasonal term is a squared exponential over the year and a circle."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0.0, 5.0, 40))
    y = rng.standard_normal(40)
    X = np.column_stack([t, t])
    fixed = {**FIXED, "signal_variance": 1.5}
    kernel = {
        "trend": Term("rbf", [0], length_scale=30.0, **fixed),
        "season": Term("rbf", [0, 1], length_scale=[20.0, 1.2], **fixed),
        "medium": Term(fastard.RationalQuadratic(0.8), [0], length_scale=1.3, shape_bounds="fixed", **fixed),
    }
    model = fastard.fit(X, y, kernel=kernel, periodic={1: 1.0}, **OPTIONS)
    s = np.subtract.outer(t, t)
    K = np.exp(-(s**2) / (2 * 30.0**2)) + np.exp(-(s**2) / (2 * 20.0**2) - 2 * np.sin(np.pi * s) ** 2 / 1.2**2)
    K = 1.5 * (K + (1 + s**2 / (2 * 0.8 * 1.3**2)) ** -0.8) + NOISE * np.eye(40)
    centred = y - y.mean()
    value = -0.5 * centred @ np.linalg.solve(K, centred) - 0.5 * np.linalg.slogdet(K)[1] - 20 * np.log(2 * np.pi)
    assert_agree(model.log_marginal_likelihood, value)


# scikit-learn's


def peers(optimizer, normalized):
    sklearn = pytest.importorskip("sklearn.gaussian_process")
    k = sklearn.kernels
    bounds = (1e-3, 1e3)
    kernel = k.ConstantKernel(0.5, bounds) * k.RBF([0.4, 0.9, 2.0], bounds)
    kernel += k.ConstantKernel(0.2, bounds) * k.Matern([1.1, 0.6, 0.3], bounds, nu=2.5) + k.WhiteKernel(0.05, bounds)
    own = pytest.importorskip("fastard.sklearn")
    options = {"kernel": kernel, "alpha": 0.0, "optimizer": optimizer}
    return [cls(**options).fit(*normalized) for cls in (sklearn.GaussianProcessRegressor, own.GaussianProcessRegressor)]


def of_peer(peer, **bounds):
    first, second, white = peer.kernel_.k1, peer.kernel_.k2.k1, peer.kernel_.k2.k2
    kernel = {
        name: Term(kind, length_scale=one.k2.length_scale, signal_variance=one.k1.constant_value, **bounds)
        for name, kind, one in (("smooth", "rbf", first), ("rough", "matern52", second))
    }
    noise = {"noise_variance_bounds": bounds["length_scale_bounds"]} if bounds else {}
    return {"kernel": kernel, "noise_variance": white.noise_level, **noise}


def test_scikit_learns_sum_at_equal_parameters():
    X, y = problem()
    y = y - y.mean()
    for peer in peers(None, (X, y)):
        model = fastard.fit(X, y, **of_peer(peer, **FIXED))
        assert_agree(model.log_marginal_likelihood, peer.log_marginal_likelihood_value_)
        for ours, theirs in zip(
            model.predict(points(), return_cov=True, include_noise=True), peer.predict(points(), return_cov=True), strict=True
        ):
            assert_agree(ours, theirs)


@pytest.mark.filterwarnings("ignore:The optimal value found")
def test_scikit_learns_fit():
    X, y = problem(120)
    y = y - y.mean()
    started = peers(None, (X, y))[0]
    both = {"length_scale_bounds": (1e-3, 1e3), "signal_variance_bounds": (1e-3, 1e3)}
    model = fastard.fit(X, y, **of_peer(started, **both))
    for peer in peers("fmin_l_bfgs_b", (X, y)):
        assert model.log_marginal_likelihood == pytest.approx(peer.log_marginal_likelihood_value_, abs=2e-3)
    assert model.converged


# Training


def additive(n=150):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1.0, 1.0, size=(n, 3))
    parts = np.sin(3.0 * X[:, 0]), np.cos(4.0 * X[:, 1] * X[:, 2])
    return X, sum(parts) + 0.05 * rng.standard_normal(n), parts


def test_the_parts_are_found():
    X, y, parts = additive()
    model = fastard.fit(X, y, kernel={"one": Term("rbf", [0]), "two": Term("matern52", [1, 2])})
    assert model.converged
    found = model.components(X)
    for part, truth in zip(found.values(), parts, strict=True):
        rest = part.mean - truth
        assert np.std(rest) < 0.05  # up to a level, which no data tell from the other term's
    for part, truth in zip(model.components(X, centred=True).values(), parts, strict=True):
        assert np.mean(np.abs(part.mean - truth + truth.mean()) < 2.0 * part.std) > 0.9
        assert part.std.max() < 0.1
    worse = fastard.fit(X, y)
    assert model.log_marginal_likelihood > worse.log_marginal_likelihood
    assert [term.columns for term in model.terms.values()] == [[0], [1, 2]]
    np.testing.assert_array_equal(np.concatenate([term.length_scale for term in model.terms.values()]), model.length_scale)
    assert model.signal_variance == pytest.approx(model.signal_variances.sum())
    rates = np.sqrt(np.repeat(model.signal_variances, [1, 2])) * X.std(axis=0) / model.length_scale
    assert_agree(model.relevance, rates / rates.sum())


def test_standard_errors_and_summary():
    pandas = pytest.importorskip("pandas")
    X, y = problem(80)
    frame = pandas.DataFrame(X, columns=["u", "v", "w"])
    kernel = {"a": Term("rbf", ["u", "w"]), "b": Term("matern52", ["v"])}
    model = fastard.fit(frame, pandas.Series(y, name="depth"), kernel=kernel)
    found = model.standard_errors()
    assert found.names == [
        "a: length_scale[u]", "a: length_scale[w]", "b: length_scale[v]", "a: signal_variance", "b: signal_variance",
        "noise_variance",
    ]  # fmt: skip
    scales, (a, b) = model.length_scale, model.signal_variances

    def by_theta(theta):
        p = np.exp(theta)
        one = np.ones(1, dtype=p.dtype)[0]
        terms = [
            naive.Term("rbf", np.array([p[0], one, p[1]]), p[3], (), (0, 2)),
            naive.Term("matern52", np.array([one, p[2], one]), p[4], (), (1,)),
        ]
        first, second = naive.gradients(terms, X, y - y.mean(), p[5])
        noise = 0.5 * p[5] * np.trace(naive.weights(terms, X, y - y.mean(), p[5])[1])
        return np.array([first[0], first[2], second[1], first[3], second[3], noise])

    theta = np.log([*scales, a, b, model.noise_variance])
    hessian = np.array([by_theta(theta + 1e-30j * step).imag / 1e-30 for step in np.eye(6)])
    np.testing.assert_allclose(found.covariance, np.linalg.inv(-hessian), rtol=1e-5, atol=1e-7)
    text = str(model.summary())
    for part in ("depth", "sum of a (rbf), b (matern52)", "a: u", "b: v", "signal, a", "signal, b", "Q²"):
        assert part in text
    assert "<td>b: v</td>" in model._repr_html_()
    matplotlib = pytest.importorskip("matplotlib.figure")
    axes = model.plot_relevance(matplotlib.Figure().subplots())
    assert {label.get_text() for label in axes.get_yticklabels()} == {"a: u", "a: w", "b: v"}
    assert repr(model).startswith("<AdditiveGaussianProcess a: RBF() + b: Matern52() on 80 points")


def test_an_input_that_does_nothing():
    rng = np.random.default_rng(1)
    X = rng.uniform(-1.0, 1.0, size=(80, 4))
    y = np.sin(3.0 * X[:, 0]) * np.cos(2.0 * X[:, 1]) + np.cos(4.0 * X[:, 2]) + 0.05 * rng.standard_normal(80)
    model = fastard.fit(X, y, kernel={"a": Term("rbf", [0, 1]), "b": Term("rbf", [2, 3])})
    remarks = {row.name: row.remark for row in model.summary(standard_errors=None).inputs}
    assert remarks == {"a: x0": "", "a: x1": "", "b: x2": "", "b: x3": "no visible influence"}
    with pytest.warns(UserWarning, match="no visible influence"):
        model.standard_errors()


def test_bounds_ties_and_priors():
    from scipy import stats

    X, y = problem(80)
    prior = stats.lognorm(0.5, scale=0.3)
    kernel = {
        "a": Term("rbf", [0, 1], length_scale_groups="isotropic", length_scale_prior=prior),
        "b": Term("matern52", [2], length_scale_bounds=(0.01, 0.2), signal_variance=0.1, signal_variance_bounds="fixed"),
    }
    states = []
    model = fastard.fit(X, y, kernel=kernel, callback=states.append, n_restarts=1, rng=0)
    assert model.objective == "log_marginal_likelihood with priors"
    assert model.length_scale[0] == model.length_scale[1]
    assert 0.01 <= model.length_scale[2] <= 0.2
    assert model.signal_variances[1] == 0.1
    assert states[-1].parameters["signal_variance"].shape == (2,)
    assert len(model.search_values) == 2
    objective = fastard.LogMarginalLikelihood(X, y - y.mean(), kernel=kernel)
    theta = np.log([*model.length_scale, *model.signal_variances, model.noise_variance])
    gradient = objective(theta)[1]
    x, h = model.length_scale[0], 1e-6
    of_prior = x * (prior.logpdf(x + h) - prior.logpdf(x - h)) / (2.0 * h)
    assert abs(gradient[0] + gradient[1] + of_prior) < 2e-3
    assert abs(gradient[5]) < 2e-3
    with pytest.raises(ValueError, match="kernel, the terms with their priors, again"):
        model.refit(X, y)
    assert model.refit(X, y, kernel=model.terms).objective == "log_marginal_likelihood"


def test_noise_groups_known_variances_and_outputs():
    X, y = problem(m=2)
    labels = np.where(np.arange(N) % 3 == 0, "rough", "fine")
    known = np.linspace(0.0, 0.02, N)
    options = {"noise_groups": labels, "observation_variance": known, "noise_variance": [0.02, 0.3]}
    model = fastard.fit(X, y, kernel=KERNEL, noise_variance_bounds="fixed", **options)
    diagonal = np.where(labels == "fine", 0.02, 0.3) + known
    assert_agree(model.log_marginal_likelihood, naive.log_marginal_likelihood(NAIVE, X, y - y.mean(axis=0), diagonal))
    free = {name: Term(term.kernel, term.columns) for name, term in KERNEL.items()}
    found = fastard.fit(X, y, kernel=free, max_iterations=5, **options)
    assert found.log_marginal_likelihood > model.log_marginal_likelihood
    found.predict(X[:3], return_std=True, include_noise=True, noise_groups="rough", observation_variance=0.0)


def test_starts():
    X, y = problem(80)
    kernel = {"a": Term("rbf", [0, 1], length_scale_bounds=(1e-2, 10.0)), "b": Term(fastard.RationalQuadratic(), [2])}
    model = fastard.fit(X, y, kernel=kernel, length_scale=None)
    again = model.refit(X, y)
    assert again.n_evaluations < 0.5 * model.n_evaluations
    assert again.log_marginal_likelihood == pytest.approx(model.log_marginal_likelihood, abs=1e-4)
    assert again._term_settings == model._term_settings
    bounds = model._term_settings["a"]["length_scale_bounds"]
    assert bounds == [[1e-2, 10.0], [1e-2, 10.0]]
    started = fastard.fit(X, y, start=model)
    assert list(started.terms) == ["a", "b"]
    assert started.n_evaluations < 0.5 * model.n_evaluations
    assert fastard.fit(X, y, kernel=model.terms).n_evaluations < model.n_evaluations


def test_a_dataframe_in_another_order():
    pandas = pytest.importorskip("pandas")
    X, y = problem()
    frame = pandas.DataFrame(X, columns=["u", "v", "w"])
    frame["kind"] = np.where(np.arange(N) % 2 == 0, "x", "y")
    kernel = {"a": Term("rbf", ["w", "u"]), "b": Term("matern52", ["kind", "v"])}
    model = fastard.fit(frame, y, kernel=kernel)
    other = frame[["kind", "w", "v", "u"]]
    np.testing.assert_array_equal(model.predict(other), model.predict(frame))
    assert model.refit(other, y).n_evaluations < model.n_evaluations
    assert model.terms["b"].columns == ["kind", "v"]
    assert model.length_scale.size == 4
    assert {row.name for row in model.summary().inputs} == {"a: w", "a: u", "b: kind", "b: v"}
    assert np.isnan(model.predict_gradient(frame)[0][:, 3]).all()


# Files


@pytest.mark.parametrize("periodic", [None, {2: 0.7}])
def test_round_trip(periodic, tmp_path):
    model, X, y = trained(periodic=periodic, mean="zero" if periodic else "linear", noise_groups=np.arange(N) % 2)
    model.save(tmp_path / "model.npz")
    found = fastard.load(tmp_path / "model.npz")
    assert type(found) is fastard.AdditiveGaussianProcess
    Z = points()
    for ours, theirs in zip(found.predict(Z, return_cov=True), model.predict(Z, return_cov=True), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, part in model.components(Z).items():
        np.testing.assert_array_equal(found.components(Z)[name].std, part.std)
    assert found.kernel == model.kernel
    assert repr(found.terms) == repr(model.terms)
    assert str(found.summary()) == str(model.summary())
    options = {"noise_groups": np.arange(N) % 2}
    assert found.refit(X, y, **options).log_marginal_likelihood == model.refit(X, y, **options).log_marginal_likelihood
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(Z), model.predict(Z))


@pytest.mark.parametrize(
    "change",
    [
        {"terms": []},
        {"terms": [["a", "rbf", [], [0, 2]]]},
        {"terms": [["a", "rbf", [], [0, 2]], ["b", "rational_quadratic", [0.7], [2]], ["c", "matern52", [], [1, 3]]]},
        {"terms": [["a", "rbf", [], [0, 2]], ["b", "rational_quadratic", [-1.0], [2]], ["c", "matern52", [], [1, 0]]]},
        {"terms": [["a", "rbf", [], [0, 2]], ["a", "rational_quadratic", [0.7], [2]], ["c", "matern52", [], [1, 0]]]},
        {"terms": [["a", "rbf", [], [0, 2]], ["b", "spline", [], [2]], ["c", "matern52", [], [1, 0]]]},
        {"term_settings": {"a": {}, "b": {}}},
        {"term_settings": {"a": {"secret": 1}, "b": {}, "c": {}}},
        {"terms": None, "kernel": "rbf", "shape": []},
    ],
)
def test_damaged_files(change, tmp_path):
    trained()[0].save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"])) | change
    np.savez(tmp_path / "other.npz", **arrays | {"header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"other\.npz is not a model that fastard saved, or is damaged"):
        fastard.load(tmp_path / "other.npz")


def test_the_command_line_predicts(tmp_path, capsys):
    from fastard._cli.main import main

    model, *_ = trained()
    model.save(tmp_path / "model.npz")
    np.savetxt(tmp_path / "points.csv", points(), delimiter=",")
    code = main(["predict", str(tmp_path / "model.npz"), str(tmp_path / "points.csv"), "--no-header"])
    assert code == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()[-17:]]
    np.testing.assert_allclose([float(row[3]) for row in rows], model.predict(points()), rtol=1e-3)


# Wrong, and unusual


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ({}, "at least one term"),
        (Term("rbf", [0]), "must be a dictionary of terms"),
        ([Term("rbf", [0])], "must be a dictionary of terms"),
        ({1: Term()}, "by their names"),
        ({"a": "rbf"}, r"must be a fastard\.Term"),
        ({"a": Term("rbf", [3])}, r"have 3, which is no column of X; there are 0 to 2"),
        ({"a": Term("rbf", length_scale=[1.0, 2.0])}, r"in kernel\['a'\]: length_scale must be a scalar or have shape \(3,\)"),
        ({"a": Term("rbf", length_scale_bounds={3: (1.0, 2.0)})}, r"in kernel\['a'\]: length_scale_bounds has the key 3"),
        ({"a": Term("rbf", [0], length_scale_prior="flat")}, r"in kernel\['a'\]: length_scale_prior must be a prior"),
        ({"a": Term("rbf", [0]), "b": Term("rbf", [0])}, "no search could tell them apart"),
    ],
)
def test_wrong_terms(kernel, message):
    X, y = problem()
    with pytest.raises((ValueError, TypeError), match=message):
        fastard.fit(X, y, kernel=kernel)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": "rfb"}, "kernel must be one of .*did you mean 'rbf'"),
        ({"kernel": fastard.RBF}, "the class RBF; call it"),
        ({"columns": "0"}, r"columns must be a list of columns of X, \['0'\] say"),
        ({"columns": 0}, r"columns must be a list of columns of X, \[0\] say"),
        ({"columns": np.array(1)}, r"columns must be a list of columns of X, \[1\] say"),
        ({"columns": []}, "columns must be at least one"),
        ({"columns": [0, "0"]}, "columns must differ"),
        ({"columns": [0], "length_scale": [1.0, 2.0]}, "length_scale must be a scalar"),
        ({"columns": [0], "length_scale": {2: 1.0}}, "length_scale has the key 2, which is no column"),
        ({"columns": ["a"], "length_scale": {"a": 0.0}}, "length_scale must be > 0"),
        ({"columns": ["a"], "length_scale_bounds": {"b": "fixed"}}, "length_scale_bounds has the key 'b'"),
        ({"columns": [0, 1], "length_scale_bounds": [(1.0, 2.0)]}, r"length_scale_bounds must be .*or 2 of these"),
        (
            {"columns": [0], "length_scale": 3.0, "length_scale_bounds": (1.0, 2.0)},
            "length_scale must start within its bounds",
        ),
        ({"columns": [0, 1], "length_scale_groups": ["a"]}, "length_scale_groups must be"),
        ({"signal_variance": -1.0}, "signal_variance must be > 0"),
        ({"signal_variance_bounds": (2.0, 1.0)}, "signal_variance_bounds must be a pair"),
        ({"kernel": fastard.RationalQuadratic(9.0), "shape_bounds": (1.0, 2.0)}, "shape must start within"),
        ({"shape_prior": lambda x: (0.0, 0.0)}, "shape_prior is given, but RBF.* has no shape parameter"),
    ],
)
def test_a_term_refuses_what_is_wrong_for_any_data(given, message):
    with pytest.raises((ValueError, TypeError), match=rf"^{message}" if "class" not in message else message):
        Term(**given)


def test_terms_are_compared_and_shown_by_what_they_were_given():
    given = {"length_scale": [1.0, 2.0], "length_scale_bounds": [None, (1.0, 3.0)]}
    term = Term("matern52", ("depth", "t"), **given)
    assert repr(term) == "Term('matern52', ['depth', 't'], length_scale=[1.0, 2.0], length_scale_bounds=[None, (1.0, 3.0)])"
    assert eval(repr(term), {"Term": Term}) == term
    same = Term(fastard.Matern52(), iter(["depth", "t"]), **given)
    assert same == term
    assert hash(same) == hash(term)
    for other in (Term("rbf", ["depth", "t"]), Term("matern52"), Term("matern52", ["t", "depth"]), "matern52"):
        assert other != term
    assert Term(fastard.RationalQuadratic(1.0)) != Term(fastard.RationalQuadratic(2.0))
    model, *_ = trained()
    assert model.terms == model.terms
    assert model.terms["a"] != KERNEL["a"]  # it has the trained length scales alone
    assert Term("rbf", np.array([0, 2]), length_scale=np.array(SCALES[0]), signal_variance=1.0) == model.terms["a"]
    assert pickle.loads(pickle.dumps(term)) == term


@pytest.mark.parametrize(
    "bounds", [lambda high: [np.array([0.1, 1.0]), np.array([0.1, high])], lambda high: {"b": np.array([0.1, high])}]
)
def test_terms_are_compared_by_the_arrays_in_their_arguments(bounds):
    term, same, other = (Term("rbf", ["a", "b"], length_scale_bounds=bounds(high)) for high in (2.0, 2.0, 3.0))
    assert term == same
    assert term != other


def test_columns_that_no_term_is_over_are_told():
    X, y = problem()
    model = fastard.fit(X, y, kernel={"a": Term("rbf", [1])}, max_iterations=2)
    assert dict(model.summary(standard_errors=None).facts)["unused"] == "x0, x2 (no term is over them)"
    assert "unused: x0, x2, " in repr(model)
    assert "unused" in model._repr_html_()
    model = fastard.fit(X, y, kernel={"a": Term("rbf", [1]), "b": Term("rbf", [2, 0])}, max_iterations=2)
    assert "unused" not in dict(model.summary(standard_errors=None).facts)
    assert "unused" not in repr(model)


@pytest.mark.parametrize(("mean", "unused"), [("linear", False), (lambda X: X, False), ("array", True), ("zero", True)])
def test_columns_that_the_mean_is_of_are_used(mean, unused):
    X, y = problem()
    mean = X if isinstance(mean, str) and mean == "array" else mean
    model = fastard.fit(X, y, kernel={"a": Term("rbf", [1])}, mean=mean, max_iterations=2)
    assert ("unused" in dict(model.summary(standard_errors=None).facts)) == unused
    assert ("unused" in repr(model)) == unused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_scale": 1.0}, r"length_scale is given beside a sum of terms.*fastard\.Term"),
        ({"signal_variance_prior": lambda x: (0.0, 0.0)}, "signal_variance_prior is given beside"),
        ({"objective": "loo"}, r"judge it by model\.loo"),
    ],
)
def test_wrong_beside_terms(options, message):
    X, y = problem()
    with pytest.raises(ValueError, match=message):
        fastard.fit(X, y, kernel=KERNEL, **options)


def test_wrong_starts():
    model, X, y = trained()
    with pytest.raises(ValueError, match="start must have the kernel's terms, d; got a model of a, b, c"):
        fastard.fit(X, y, kernel={"d": Term()}, start=model)
    with pytest.raises(ValueError, match="start is a sum of terms"):
        fastard.fit(X, y, kernel="rbf", start=model)
    with pytest.raises(TypeError, match="start must be a model of a sum of terms"):
        fastard.fit(X, y, kernel=KERNEL, start=fastard.fit(X, y, max_iterations=1))
    with pytest.raises(
        ValueError, match=r"in kernel\['a'\]: start must have the term's columns, \[0\], in their order; got \[0, 2\]"
    ):
        fastard.fit(X[:, :2], y, kernel={"a": Term("rbf", [0]), "b": Term(), "c": Term("rbf", [1])}, start=model)


def test_what_a_sum_has_not():
    model, X, y = trained()
    for method in ("sobol", "effects", "plot_effects", "to_sklearn", "to_gpytorch"):
        with pytest.raises(ValueError, match=f"{method} is for one kernel over all columns"):
            getattr(model, method)()
    with pytest.raises(ValueError, match="use 'exact'"):
        model.standard_errors("average_information")
    for function in (fastard.fit_vecchia, fastard.sample_posterior, fastard.VecchiaLogLikelihood):
        with pytest.raises(TypeError, match="sums of terms are for"):
            function(X, y, kernel=KERNEL)
    for function in (fastard.log_marginal_likelihood, fastard.loo_log_predictive_density, fastard.covariance):
        with pytest.raises(TypeError, match="sums of terms are for"):
            function(X, *[y] * (function is not fastard.covariance), length_scale=1.0, kernel=KERNEL)


def test_wrong_points():
    model, *_ = trained()
    with pytest.raises(ValueError, match="3 columns"):
        model.components(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="finite"):
        model.predict([[0.0, np.nan, 1.0]])
    with pytest.raises(ValueError, match="length_scale is too small"):
        model.predict([[0.0, 1e200, 1.0]])
    with pytest.raises(fastard.NotPositiveDefiniteError):
        fastard.fit(np.zeros((3, 3)), [1.0, 2.0, 3.0], kernel=KERNEL, noise_variance=0.0, noise_variance_bounds="fixed")


@pytest.mark.parametrize("form", [np.asfortranarray, np.float32, lambda X: X.tolist()])
def test_forms_of_arrays(form):
    X, y = problem()
    X = X.astype(np.float32).astype(float)
    one, other = (fastard.fit(Z, y, kernel=KERNEL, **OPTIONS) for Z in (X, form(X)))
    assert one.log_marginal_likelihood == other.log_marginal_likelihood


def test_few_points_and_constant_columns():
    model = fastard.fit([[1.0, 2.0]], [3.0], kernel={"a": Term("rbf", [0]), "b": Term("rbf", [1])})
    assert model.predict([[1.0, 2.0]]) == pytest.approx(3.0)
    with pytest.raises(ValueError, match="must be at least one; got none"):
        fastard.fit(np.empty((3, 0)), [1.0, 2.0, 3.0], kernel={"a": Term()})
    X, y = problem()
    X[:, 1] = 4.0
    model = fastard.fit(X, y, kernel={"a": Term("rbf", [0, 1]), "b": Term("rbf", [2])})
    assert {row.remark for row in model.summary().inputs if row.name == "a: x1"} == {"constant"}


def test_the_bits_do_not_depend_on_threads():
    X, y = problem(200)
    free = {name: Term(term.kernel, term.columns) for name, term in KERNEL.items()}
    one, two = (fastard.fit(X, y, kernel=free, n_threads=threads, max_iterations=5) for threads in (1, 2))
    np.testing.assert_array_equal(one.length_scale, two.length_scale)
    assert one.log_marginal_likelihood == two.log_marginal_likelihood


@pytest.mark.parametrize(
    ("factor", "options", "message"),
    [
        (1e-150, {}, r"^y is too small"),
        (1.0, {"noise_variance": -1.0}, r"^noise_variance must"),
        (1.0, {"noise_variance_bounds": (2.0, 1.0)}, r"^noise_variance_bounds"),
        (1.0, {"noise_variance_prior": "flat"}, r"^noise_variance_prior"),
    ],
)
def test_no_term_is_blamed_for_what_all_share(factor, options, message):
    X, y = data(12, 2)
    with pytest.raises((ValueError, TypeError), match=message):
        fastard.fit(X, factor * y, kernel={"a": fastard.Term("rbf", [0]), "b": fastard.Term("rbf", [1])}, **options)
