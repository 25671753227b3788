"""Linear and quadratic means beside categories and periodic columns: against least squares on columns encoded by hand."""

import naive
import numpy as np
import pytest
from conftest import assert_agree
from test_encoded_sensitivity import categories, frequencies
from test_encoding import FIXED, SCALES, VARIANCES, by_hand, frame, table
from test_sensitivity import full_grid

import fastard
from fastard._model.polynomial import polynomial

NAMES = ["1", "heat", "material=steel", "material=wood", "sin(2 pi wind/360)", "cos(2 pi wind/360)"]


def basis(mean, columns):
    """Intercept, heat, steel and wood beside glass, sine and cosine; heat squared."""
    encoded = by_hand(columns)
    H = np.column_stack([np.ones(len(columns)), encoded[:, [0, 2, 3, 4, 5]]])
    return H if mean == "linear" else np.column_stack([H, columns[:, 0] ** 2])


def trained(mean, m=1, **options):
    columns, y = table()
    y = y + 3.0 + 0.2 * columns[:, 0]
    if m == 2:
        y = np.column_stack([y, 2.0 * np.cos(y)])
    fixed = {"periodic": {"wind": 360}, "length_scale": SCALES, **VARIANCES, **FIXED}
    model = fastard.fit(frame(columns), y, mean=mean, **{**fixed, **options})
    return model, columns, y, [naive.Term("rbf", np.array(list(SCALES.values()))[[0, 1, 1, 1, 2, 2]], 1.7)]


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimation", ["ml", "reml"])
@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_the_twin_encoded_by_hand(mean, estimation, m):
    model, columns, y, terms = trained(mean, m, mean_estimation=estimation)
    X, H = by_hand(columns), basis(mean, columns)
    value = naive.log_marginal_likelihood_with_mean(terms, X, y, H, 0.1, estimation == "reml")
    assert_agree(model.log_marginal_likelihood, value)
    new = table(7, seed=1)[0]
    expected, covariance = naive.predict_with_mean(terms, X, y, H, 0.1, by_hand(new), basis(mean, new))
    found, std = model.predict(frame(new), return_std=True)
    assert_agree(found.reshape(7, m), expected)
    assert_agree(std.reshape(7, m) ** 2, np.repeat(covariance.diagonal()[:, np.newaxis], m, axis=1))
    assert_agree(model.predict(frame(new), return_cov=True)[1].reshape(7, 7, m)[..., -1], covariance)
    beta, A = naive.least_squares(terms, X, y, H, 0.1)
    coefficients = model.mean_coefficients()
    assert coefficients.names == NAMES + ["heat^2"] * (mean == "quadratic")
    assert_agree(coefficients.coefficients.reshape(-1, m), beta, 1e-9)
    assert_agree(coefficients.covariance, np.linalg.inv(A), 1e-9)
    loo_mean, loo_variance, _ = naive.leave_one_out_with_mean(terms, X, y, H, 0.1)
    assert_agree(model.loo().mean.reshape(-1, m), loo_mean)
    assert_agree(model.loo().variance.reshape(-1, m)[:, 0], loo_variance)


@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_gradients_by_the_columns(mean):
    model, _, _, _ = trained(mean)
    new, step = table(5, seed=2)[0], 1e-4
    slopes, std_slopes = model.predict_gradient(frame(new))
    assert np.isnan(slopes[:, 1]).all()
    for j in (0, 2):
        ahead, behind = new.copy(), new.copy()
        ahead[:, j] += step
        behind[:, j] -= step
        (mean_ahead, std_ahead), (mean_behind, std_behind) = (
            model.predict(frame(x), return_std=True) for x in (ahead, behind)
        )
        np.testing.assert_allclose(slopes[:, j], (mean_ahead - mean_behind) / (2.0 * step), rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(std_slopes[:, j], (std_ahead - std_behind) / (2.0 * step), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_saves_updates_and_trains_again(mean, tmp_path):
    model, columns, y, _ = trained(mean, mean_estimation="reml")
    model.save(tmp_path / "model.npz")
    loaded = fastard.load(tmp_path / "model.npz")
    new, targets = table(9, seed=3)
    np.testing.assert_array_equal(loaded.predict(frame(new), return_std=True), model.predict(frame(new), return_std=True))
    assert loaded.mean_coefficients().names == model.mean_coefficients().names
    loaded.update(frame(new), targets)
    again = loaded.refit(frame(np.vstack([columns, new]))[["wind", "heat", "material"]], np.append(y, targets))
    assert again.mean_coefficients().names[:3] == ["1", "sin(2 pi wind/360)", "cos(2 pi wind/360)"]
    assert_agree(again.predict(frame(columns)), loaded.predict(frame(columns)), 1e-8)
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "other.npz", **arrays | {"mean_transform": np.eye(2)})
    with pytest.raises(ValueError, match="is not a model that fastard saved"):
        fastard.load(tmp_path / "other.npz")


def test_outputs_with_their_own_variances():
    columns, y = table()
    Y = np.column_stack([y, 100.0 * y**2])
    model = fastard.fit(frame(columns), Y, periodic={"wind": 360}, mean="linear", output_variances="own", max_iterations=3)
    H = basis("linear", columns)
    scales = model.length_scale[[0, 1, 1, 1, 2, 2]]
    ratio = model.noise_variance[0] / model.signal_variance[0]
    beta, A = naive.least_squares([naive.Term("rbf", scales, 1.0)], by_hand(columns), Y, H, ratio)
    found = model.mean_coefficients()
    assert_agree(found.coefficients, beta, 1e-8)
    assert_agree(found.covariance, np.multiply.outer(np.linalg.inv(A), model.signal_variance), 1e-7)


def test_sums_of_terms():
    columns, y = table()
    sum_of = {"heat": fastard.Term("rbf", ["heat"]), "others": fastard.Term("matern52", ["material", "wind"])}
    model = fastard.fit(frame(columns), y, periodic={"wind": 360}, kernel=sum_of, mean="linear", max_iterations=3)
    assert model.mean_coefficients().names == NAMES


def test_effects_and_indices():
    """Of the whole function, mean included."""
    model, columns = categories(mean="linear")
    rules = [frequencies(column) for column in columns.T]
    effects = model.effects("data")
    for k, level in enumerate(rules[1][0]):
        points, weights, _ = full_grid([rules[0], (np.array([level]), np.ones(1)), rules[2]])
        mean, covariance = model.predict(points, return_cov=True)
        assert_agree(effects.mean[1][k], weights @ mean)
        assert_agree(effects.std[1][k] ** 2, weights @ covariance @ weights)
    points, weights, _ = full_grid(rules)
    values = model.predict(points)
    assert_agree(model.sobol("data", n_samples=5, rng=0).variance, weights @ (values - weights @ values) ** 2)


@pytest.mark.parametrize("mean", ["linear", "quadratic"])
def test_basis_functions_stand_in_rows(mean):
    """Of numbers alone BLAS then rounds as it did before other columns could be among them."""
    assert polynomial(mean, 3, None).at(table()[0]).flags.c_contiguous


def test_what_the_data_do_not_determine():
    columns, y = table()
    X = frame(columns).assign(is_wood=(columns[:, 1] == 1.0).astype(float))
    with pytest.raises(ValueError, match=r"depend linearly on the others.*(is_wood|material=wood)"):
        fastard.fit(X, y, mean="linear")
    one = fastard.fit(frame(columns).assign(same="a"), y, mean="linear", max_iterations=2)
    assert one.mean_coefficients().names == ["1", "heat", "material=steel", "material=wood", "wind"]
    numbered = fastard.fit(columns, y, categorical=[1], mean="quadratic", max_iterations=2).mean_coefficients()
    assert numbered.names == ["1", "x0", "x1=1.0", "x1=2.0", "x2", "x0^2", "x0 x2", "x2^2"]
