"""Noise by groups: one variance for each, learned, against plain formulas with the whole diagonal."""

import json

import naive
import numpy as np
import pytest
from conftest import assert_agree, data

import fastard
from fastard._model.standard_errors import Trained, slope_and_hessian

N = 70
SIZES = {"fine": 0.03, "rough": 0.4}
KINDS = ("length_scale", "signal_variance", "noise_variance")
FIXED = {f"{kind}_bounds": "fixed" for kind in KINDS} | {"length_scale": [0.5, 1.3], "signal_variance": 1.7}


def problem(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    labels = np.where(rng.uniform(size=n) < 0.5, "fine", "rough")
    y = np.sin(5.0 * X[:, 0]) + X[:, 1] + np.array([SIZES[label] for label in labels]) * rng.standard_normal(n)
    return X, y, labels


def slope(theta, X, y, labels, known, kernel):
    """Of the log marginal likelihood at [ln lengths, ln signal, ln fine noise, ln rough noise, ln shape]: (5.9)."""
    natural = np.exp(theta)
    term = naive.Term(kernel, natural[:2], natural[2], tuple(natural[5:]))
    diagonal = np.where(labels == "fine", natural[3], natural[4]) + known
    of_term = naive.gradients([term], X, y, diagonal)[0]
    weights = naive.weights([term], X, y, diagonal)[1].diagonal()
    of_noise = [0.5 * natural[3] * weights[labels == "fine"].sum(), 0.5 * natural[4] * weights[labels == "rough"].sum()]
    return np.concatenate([of_term[:3], of_noise, of_term[3:]])


@pytest.mark.parametrize(("kernel", "shape"), [(fastard.Matern52(), ()), (fastard.RationalQuadratic(0.8), (0.8,))])
def test_value_slope_and_hessian(kernel, shape):
    """Of parameters that are no optimum, so that no derivative vanishes."""
    X, y, labels = problem()
    known = np.linspace(0.0, 1e-2, N)
    bounds = {"shape_bounds": "fixed"} if shape else {}
    options = {"noise_groups": labels, "observation_variance": known, "noise_variance": [0.02, 0.3], **FIXED, **bounds}
    model = fastard.fit(X, y, kernel=kernel, **options)
    assert list(model.noise_variances.items()) == [("fine", 0.02), ("rough", 0.3)]
    assert model.noise_variance == 0.0
    name = "rational_quadratic" if shape else "matern52"
    term, diagonal = naive.Term(name, np.array([0.5, 1.3]), 1.7, shape), np.where(labels == "fine", 0.02, 0.3) + known
    centred = y - y.mean()
    assert_agree(model.log_marginal_likelihood, naive.log_marginal_likelihood([term], X, centred, diagonal))
    theta = np.log([0.5, 1.3, 1.7, 0.02, 0.3, *shape])
    given = Trained(model._likelihood(), model._term, model._noise_parameter, model._alpha, model._factor)
    found = slope_and_hessian(given, np.eye(theta.size))
    rest = (X, centred, labels, known, name)
    hessian = [slope(theta + 1e-30j * step, *rest).imag / 1e-30 for step in np.eye(theta.size)]
    assert_agree(found[0], slope(theta, *rest))
    assert_agree(found[1], np.array(hessian), 1e-9)


def test_the_maximum():
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels)
    assert model.converged
    theta = np.log([*model.length_scale, model.signal_variance, *model.noise_variances.values()])
    np.testing.assert_allclose(slope(theta, X, y - y.mean(), labels, 0.0, "rbf"), 0.0, atol=2e-3)
    for label, size in SIZES.items():
        assert abs(np.log(model.noise_variances[label] / size**2)) < 1.0
    found = model.standard_errors()
    assert found.names[3:] == ["noise_variance[fine]", "noise_variance[rough]"]


@pytest.mark.parametrize("method", ["exact", "average_information"])
def test_groups_of_one_noise(method):
    """Where all rows are one group it is the model without groups; where they are two, the errors add up to its."""
    X, y, _ = problem()
    plain, one = fastard.fit(X, y), fastard.fit(X, y, noise_groups=["all"] * N)
    assert_agree(one.noise_variances["all"], plain.noise_variance, 1e-5)
    assert_agree(one.log_marginal_likelihood, plain.log_marginal_likelihood, 1e-8)
    np.testing.assert_allclose(one.standard_errors(method).covariance, plain.standard_errors(method).covariance, rtol=1e-4)


def test_average_information_of_groups():
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels)
    K = naive.covariance([naive.Term("rbf", model.length_scale, model.signal_variance)], X)
    noises = [np.diag(np.where(labels == label, variance, 0.0)) for label, variance in model.noise_variances.items()]
    inverse = np.linalg.inv(K + sum(noises))
    alpha = inverse @ (y - y.mean())
    V = np.column_stack([K @ alpha, *(noise @ alpha for noise in noises)])
    found = np.linalg.inv(model.standard_errors("average_information").covariance)
    assert_agree(found[2:, 2:], 0.5 * V.T @ inverse @ V, 1e-6)


def test_predictions():
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels, noise_variance=[0.01, 0.2], **FIXED)
    new = data(9, 2, seed=4)[0]
    term, diagonal = naive.Term("rbf", np.array([0.5, 1.3]), 1.7), np.where(labels == "fine", 0.01, 0.2)
    K = naive.covariance([term], X) + np.diag(diagonal)
    cross = naive.covariance([term], new, X)
    mean, std = model.predict(new, return_std=True)
    assert_agree(mean, cross @ np.linalg.solve(K, y - y.mean()) + y.mean())
    _, of_rough = model.predict(new, return_std=True, include_noise=True, noise_groups="rough")
    assert_agree(of_rough**2, std**2 + 0.2)
    mixed = ["fine", "rough", "fine"] * 3
    _, covariance = model.predict(new, return_cov=True, include_noise=True, noise_groups=mixed)
    _, of_function = model.predict(new, return_cov=True)
    assert_agree(covariance, of_function + np.diag([0.01, 0.2, 0.01] * 3))
    assert model.sample(new, 3, 0, include_noise=True, noise_groups=mixed).shape == (3, 9)
    inverse = np.linalg.inv(K)
    assert_agree(model.loo().variance, 1.0 / inverse.diagonal())


def test_leave_one_out_training():
    """Its search ends where no parameter gains: the density falls on both sides of each."""
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels, objective="loo")
    assert model.converged
    best = np.array(list(model.noise_variances.values()))

    def density(variances):
        options = FIXED | {"length_scale": model.length_scale, "signal_variance": model.signal_variance}
        return fastard.fit(X, y, noise_groups=labels, noise_variance=variances, **options).loo().log_predictive_density

    for factors in ([1.05, 1.0], [1.0, 1.05]):
        assert density(best) > density(best * factors)
        assert density(best) > density(best / factors)


def test_update_save_refit_and_start(tmp_path):
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels)
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    assert loaded.noise_variances == model.noise_variances
    more, targets, others = problem(6, seed=5)
    for each in (model, loaded):
        each.update(more, targets, noise_groups=others)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    model.save(tmp_path / "model.npz")
    assert_agree(fastard.load(tmp_path / "model.npz").loo().variance, model.loo().variance)
    variances = list(model.noise_variances.values())
    options = FIXED | {"length_scale": model.length_scale, "signal_variance": model.signal_variance}
    centre = y.mean()
    everything = naive.covariance(
        [naive.Term("rbf", options["length_scale"], options["signal_variance"])], np.vstack([X, more])
    )
    everything += np.diag(np.where(np.append(labels, others) == "fine", *variances))
    assert_agree(model._alpha[:, 0], np.linalg.solve(everything, np.append(y, targets) - centre), 1e-7)
    again = model.refit(X, y, noise_groups=labels)
    assert again.n_evaluations < 20
    other = fastard.fit(X, y, start=model, max_iterations=2)  # without groups
    assert other.noise_variances == {}
    assert other.noise_variance > 0.0
    renamed = fastard.fit(X, y, start=other, noise_groups=np.where(labels == "fine", 1, 2), noise_variance_bounds="fixed")
    assert renamed.noise_variances == {1: other.noise_variance, 2: other.noise_variance}
    assert fastard.fit(X, y, start=model, noise_groups=labels, noise_variance_bounds="fixed").noise_variances == (
        model.noise_variances
    )
    bounded = fastard.fit(X, y, noise_groups=labels, noise_variance_bounds=["fixed", (0.1, 0.3)], noise_variance=[0.01, 0.2])
    assert bounded.noise_variances["fine"] == 0.01
    assert bounded.refit(X, y, noise_groups=labels).noise_variances["fine"] == 0.01


def test_damaged_groups_are_refused(tmp_path):
    X, y, labels = problem()
    fastard.fit(X, y, noise_groups=labels, max_iterations=1).save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    wrong = [{"header": np.array(json.dumps(header | {"noise_groups": groups}))} for groups in
             (None, [["fine"], [1.0]], [["fine", "fine"], [1.0, 1.0]], [["fine", "rough"], [1.0]],
              [["fine", "rough"], [1.0, -1.0]], [["fine", "rough"]], "text")]  # fmt: skip
    wrong += [{"noise_group_of_row": np.full(N, 2)}, {"noise_group_of_row": np.full(N, -1)}]
    wrong += [{"noise_group_of_row": np.zeros(N - 1, dtype=np.int64)}, {"noise_group_of_row": np.zeros(N)}]
    for changed in wrong:
        np.savez(tmp_path / "other.npz", **arrays | changed)
        with pytest.raises(ValueError, match="is not a model that fastard saved"):
            fastard.load(tmp_path / "other.npz")


def test_priors_and_callbacks():
    from scipy.stats import lognorm

    X, y, labels = problem()
    seen = []

    def look(state):
        seen.append((np.shape(state.parameters["noise_variance"]), state.gradient.shape))

    tight = [lognorm(1e-3, scale=0.01), None]
    model = fastard.fit(X, y, noise_groups=labels, noise_variance_prior=tight, callback=look)
    assert set(seen) == {((2,), (5,))}
    np.testing.assert_allclose(model.noise_variances["fine"], 0.01, rtol=1e-2)
    both = fastard.fit(X, y, noise_groups=labels, noise_variance_prior=lognorm(1e-3, scale=0.01))
    np.testing.assert_allclose(list(both.noise_variances.values()), 0.01, rtol=1e-2)


def test_beside_categories():
    pandas = pytest.importorskip("pandas")
    X, y, labels = problem()
    X = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": ["u", "v"] * (N // 2)})
    model = fastard.fit(X, y, noise_groups=pandas.Series(labels), kernel=fastard.RationalQuadratic(2.0), shape_bounds="fixed")
    names = ["a", "b", "c"]
    parameters = [f"length_scale[{name}]" for name in names]
    parameters += ["signal_variance", "noise_variance[fine]", "noise_variance[rough]", "shape"]
    assert model.standard_errors().names == parameters
    facts = dict(model.summary().facts)
    assert {"noise, fine", "noise, rough"} < set(facts)
    assert "2 groups" in repr(model)


def test_other_libraries_get_the_noise_of_each_row():
    pytest.importorskip("sklearn")
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels)
    assert_agree(model.to_sklearn().predict(X, return_std=True)[1], model.predict(X, return_std=True)[1], 1e-7)


def test_wrong_arguments():
    X, y, labels = problem()
    model = fastard.fit(X, y, noise_groups=labels, max_iterations=1)
    plain = fastard.fit(X, y, max_iterations=1)
    for call, words in [
        (lambda: fastard.fit(X, y, noise_groups=labels[:-1]), r"shape \(70,\)"),
        (lambda: fastard.fit(X, y, noise_groups=[None, *labels[1:]]), "noise_groups has a missing value in row 0"),
        (
            lambda: fastard.fit(X, y, noise_groups=labels, noise_variance=[0.1, 0.1, 0.1]),
            "noise_variance must be a number or 2",
        ),
        (lambda: fastard.fit(X, y, noise_groups=labels, noise_variance_bounds=[None] * 3), "noise_variance_bounds"),
        (lambda: model.predict(X, return_std=True, include_noise=True), "noise_groups must be given"),
        (lambda: model.predict(X, noise_groups="fine"), "include_noise=True"),
        (lambda: model.predict(X, include_noise=True, noise_groups="new"), "noise_groups has 'new', unknown in training"),
        (lambda: model.predict(X, include_noise=True, noise_groups=labels[:3]), r"shape \(70,\)"),
        (lambda: model.update(X, y), "noise_groups must be given"),
        (lambda: model.refit(X, y), "trained with noise_groups"),
        (lambda: plain.predict(X, include_noise=True, noise_groups=labels), "noise_groups is given"),
        (lambda: plain.update(X + 0.1, y, noise_groups=labels), "noise_groups is given"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="must be text, a number or a boolean"):
        fastard.fit(X, y, noise_groups=[1j] * N)
