"""Sobol' indices and main effects: against sums over a full grid, SciPy's estimates, and functions whose indices are known."""

import itertools

import numpy as np
import pytest
from conftest import assert_agree, data
from helpers import trained
from scipy import stats

import fastard
from fastard._cli.demo import _RANGES, borehole
from fastard._model.sensitivity import closed_form, distribution_of, quadrature

KERNELS = ["rbf", "matern12", "matern32", "matern52", "matern72", fastard.RationalQuadratic(0.7)]


def full_grid(rules):
    """Points, weights, and the shape of the grid of one-dimensional rules (nodes, weights)."""
    points = np.array(list(itertools.product(*(nodes for nodes, _ in rules))))
    weights = np.array([np.prod(each) for each in itertools.product(*(weights for _, weights in rules))])
    return points, weights, [len(nodes) for nodes, _ in rules]


def naive(values, weights, shape):
    """First-order and total indices, mean and variance, from values on a full grid: the definitions."""
    values, weights = values.reshape(shape), weights.reshape(shape)
    mean = np.sum(weights * values)
    variance = np.sum(weights * (values - mean) ** 2)
    first, total = [], []
    for i in range(len(shape)):
        others = tuple(k for k in range(len(shape)) if k != i)
        given_i = np.sum(weights * values, axis=others) / np.sum(weights, axis=others)
        first.append(np.sum(np.sum(weights, axis=others) * (given_i - mean) ** 2) / variance)
        given_others = np.sum(weights * values, axis=i, keepdims=True) / np.sum(weights, axis=i, keepdims=True)
        total.append(np.sum(weights * (values - given_others) ** 2) / variance)
    return np.array(first), np.array(total), mean, variance


def uniform(low, high, count=40):
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * 0.5 * (1.0 + nodes), 0.5 * weights


RANGES = [(-1.0, 1.0), (0.0, 2.0), (-3.0, -1.0)]
GRID = full_grid([uniform(*each) for each in RANGES])


@pytest.mark.parametrize("m", [1, 2])
def test_the_closed_form_is_the_sum_over_a_grid(m):
    model, _, _ = trained(m=m)
    found = model.sobol(RANGES, n_samples=0)
    assert found.accuracy < 1e-9
    for t in range(m):
        values = model.predict(GRID[0]).reshape(len(GRID[0]), m)[:, t]
        first, total, mean, variance = naive(values, *GRID[1:])
        of_output = [np.reshape(each, (-1, m))[:, t] for each in (found.first_order, found.total)]
        assert_agree(of_output[0], first, 1e-9)
        assert_agree(of_output[1], total, 1e-9)
        assert np.reshape(found.mean, -1)[t] == pytest.approx(mean, rel=1e-10)
        assert np.reshape(found.variance, -1)[t] == pytest.approx(variance, rel=1e-9)
    assert np.isnan(found.first_order_std).all()
    assert found.total.shape == ((3,) if m == 1 else (3, 2))


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-5])
def test_the_closed_form_knows_its_rounding(noise):
    """With less noise alpha is larger, and more digits cancel."""
    X = np.random.default_rng(0).uniform(size=(150, 3))
    y = np.sin(6.0 * X[:, 0]) + X[:, 1] * X[:, 2]
    model = fastard.fit(X, y, noise_variance=noise, noise_variance_bounds="fixed")
    grid = full_grid([uniform(0.0, 1.0, 30)] * 3)
    first, total, *_ = naive(model.predict(grid[0]), *grid[1:])
    found = model.sobol([(0.0, 1.0)] * 3, n_samples=0)
    error = max(np.abs(found.first_order - first).max(), np.abs(found.total - total).max())
    assert 1e-15 < error < 2.0 * found.accuracy < 2e-3


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_quadrature_is_the_sum_over_a_grid(kernel):
    model, _, _ = trained((None, kernel, ()), shape_bounds="fixed" if isinstance(kernel, fastard.RationalQuadratic) else None)
    first, total, mean, variance = naive(model.predict(GRID[0]), *GRID[1:])
    first_found, total_found, accuracy, mean_found, variance_found = quadrature(model, distribution_of(model, RANGES), 256)
    assert accuracy < 3e-3
    error = max(np.abs(first_found[:, 0] - first).max(), np.abs(total_found[:, 0] - total).max())
    assert error < 4.0 * accuracy + 1e-5
    assert mean_found[0] + model._y_mean[0] == pytest.approx(mean, abs=1e-3 * np.sqrt(variance))
    assert variance_found[0] == pytest.approx(variance, rel=1e-2)


def test_the_data_themselves():
    """Every combination of the columns' values."""
    model, X, _ = trained(n=12)
    grid = full_grid([(X[:, i], np.full(12, 1.0 / 12.0)) for i in range(3)])
    first, total, mean, variance = naive(model.predict(grid[0]), *grid[1:])
    found = model.sobol("data", n_samples=0)
    assert_agree(found.first_order, first, 1e-9)
    assert_agree(found.total, total, 1e-9)
    assert (found.mean, found.variance) == (pytest.approx(mean), pytest.approx(variance))
    by_points = quadrature(model, distribution_of(model, "data"), 256)
    assert np.abs(by_points[0][:, 0] - first).max() < 4.0 * by_points[2]
    assert np.abs(by_points[1][:, 0] - total).max() < 4.0 * by_points[2]


def test_distributions():
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 2)
    model = fastard.fit(pandas.DataFrame(X, columns=["a", "b"]), y, max_iterations=3, noise_variance_bounds=(0.1, 1.0))
    whole = np.column_stack([X.min(axis=0), X.max(axis=0)])
    by_default, given = model.sobol(n_samples=0), model.sobol(whole, n_samples=0)
    np.testing.assert_array_equal(by_default.total, given.total)
    named = model.sobol({"b": (0.0, 1.0)}, n_samples=0)
    np.testing.assert_array_equal(named.total, model.sobol([whole[0], (0.0, 1.0)], n_samples=0).total)
    assert named.names == ["a", "b"]
    held = model.sobol({"a": (0.5, 0.5)}, n_samples=2)
    np.testing.assert_allclose(held.total, [0.0, 1.0], atol=1e-9)
    assert held.total_std[0] == 0.0
    for wrong in ("normal", [(0.0, 1.0)], [(1.0, 0.0)] * 2, {"c": (0.0, 1.0)}):
        for question in (model.sobol, model.effects):
            with pytest.raises(ValueError, match="distribution"):
                question(wrong)
    with pytest.raises(ValueError, match="n_samples"):
        model.sobol(n_samples=-1)


@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
@pytest.mark.parametrize("options", [{}, {"periodic": {0: 4.0}}, {"categorical": [0]}])
def test_one_input_has_all_of_the_variance(kernel, options):
    x = np.arange(20.0)[:, None] % 5
    model = fastard.fit(x, np.sin(x[:, 0]), kernel=kernel, noise_variance=0.1, noise_variance_bounds="fixed", **options)
    for distribution in ("uniform", "data"):
        found = model.sobol(distribution, rng=0)
        np.testing.assert_allclose([found.first_order[0], found.total[0]], 1.0, rtol=1e-10)


def ishigami(X):
    return np.sin(X[:, 0]) + 7.0 * np.sin(X[:, 1]) ** 2 + 0.1 * X[:, 2] ** 4 * np.sin(X[:, 0])


def test_ishigami():
    """Known since Ishigami & Homma (1990): 0.3139, 0.4424, 0, and in total 0.5576, 0.4424, 0.2437."""
    X = np.pi * (2.0 * stats.qmc.Sobol(3, scramble=False).random_base2(8) - 1.0)
    model = fastard.fit(X, ishigami(X), noise_variance_bounds=(1e-8, 1.0))
    found = model.sobol([(-np.pi, np.pi)] * 3, rng=0)
    np.testing.assert_allclose(found.first_order, [0.3139, 0.4424, 0.0], atol=0.005)
    np.testing.assert_allclose(found.total, [0.5576, 0.4424, 0.2437], atol=0.005)
    assert (found.first_order_std < 0.01).all()
    assert found.accuracy < 1e-3
    assert closed_form(model, distribution_of(model, "uniform")) is None  # of so little noise rounding would be seen


def test_the_borehole_function():
    """Against SciPy's estimate from the function itself: rw has 0.83 of the variance alone."""
    low, high = np.array(list(_RANGES.values())).T
    X = low + (high - low) * stats.qmc.Sobol(8, scramble=False).random_base2(8)
    model = fastard.fit(X, borehole(X))
    found = model.sobol(np.column_stack([low, high]), n_samples=0, n_points=128)
    dists = [stats.uniform(a, b - a) for a, b in zip(low, high, strict=True)]
    truth = stats.sobol_indices(func=lambda x: borehole(x.T), n=2**13, dists=dists, random_state=np.random.default_rng(1))
    np.testing.assert_allclose(found.first_order, truth.first_order, atol=0.01)
    np.testing.assert_allclose(found.total, truth.total_order, atol=0.01)
    assert found.first_order[0] == pytest.approx(0.83, abs=0.01)


@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
def test_scipys_estimate(kernel):
    model, _, _ = trained((None, kernel, ()))
    dists = [stats.uniform(low, high - low) for low, high in RANGES]
    scipys = stats.sobol_indices(
        func=lambda x: model.predict(x.T), n=2**12, dists=dists, random_state=np.random.default_rng(1)
    )
    found = model.sobol(RANGES, n_samples=0)
    np.testing.assert_allclose(found.first_order, scipys.first_order, atol=0.03)
    np.testing.assert_allclose(found.total, scipys.total_order, atol=0.03)


def test_standard_deviations_are_those_of_functions():
    """Of functions drawn on a full grid, whose indices are the definitions'."""
    X, y = data(12, 2)
    model = fastard.fit(X, np.sin(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * y, length_scale=[1.5, 3.0], length_scale_bounds="fixed")
    ranges = [(-2.0, 2.0), (-2.0, 2.0)]
    points, weights, shape = full_grid([uniform(*each, 20) for each in ranges])
    drawn = model.sample(points, 300, rng=1)
    indices = np.array([naive(values, weights, shape)[:2] for values in drawn])
    found = model.sobol(ranges, n_samples=300, rng=2)
    expected = indices.std(axis=0)
    assert expected.min() > 0.01
    np.testing.assert_allclose([found.first_order_std, found.total_std], expected, rtol=0.25)
    again = model.sobol(ranges, n_samples=300, rng=2)
    np.testing.assert_array_equal(found.total_std, again.total_std)


def test_idle_inputs_and_constant_functions():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 3))
    X[:, 2] = 4.0
    model = fastard.fit(X, np.sin(6.0 * X[:, 0]) + 0.1 * rng.standard_normal(60))
    for found in (model.sobol(rng=0), model.sobol("data", rng=0)):
        np.testing.assert_allclose(found.total, [1.0, 0.0, 0.0], atol=1e-6)
        np.testing.assert_array_equal(found.total_std[1:], 0.0)
    none = fastard.fit(np.empty((4, 0)), np.arange(4.0), max_iterations=2)
    assert none.sobol().total.shape == (0,)
    assert "first order" in repr(none.sobol())
    assert "0 values each" in repr(none.effects())
    text = str(model.sobol(rng=0))
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["x0", "x1", "x2"]
    assert "accurate to" in text


@pytest.mark.parametrize("mean", ["constant", "linear", "quadratic"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_a_constant_function_has_no_shares(kernel, value, mean):
    """And not those of rounding errors."""
    X = np.random.default_rng(0).uniform(size=(40, 2))
    flat = fastard.fit(X, np.full(40, value), kernel=kernel, mean=mean).sobol(n_samples=4, n_points=16)
    for shares in (flat.first_order, flat.total, flat.first_order_std, flat.total_std, flat.accuracy):
        assert np.isnan(shares).all()
    np.testing.assert_allclose(flat.mean, value, rtol=1e-12)
    assert "The mean of y is constant: there is no variance to share." in str(flat)
    assert "nan" not in str(flat)


@pytest.mark.filterwarnings("ignore:the outputs share signal_variance")
def test_of_two_outputs_one_may_be_constant():
    X = np.random.default_rng(0).uniform(size=(40, 2))
    Y = np.column_stack([np.sin(5.0 * X[:, 0]), np.full(40, 7.0)])
    found = fastard.fit(X, Y, mean="linear").sobol(n_samples=4)
    assert np.isnan(found.total[:, 1]).all()
    np.testing.assert_allclose(found.total[:, 0], [1.0, 0.0], atol=0.02)
    assert "The mean of y1 is constant" in str(found)


# Main effects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
def test_effects_are_averages(kernel, m):
    """Of the function over the same points of the others: mean, and the standard deviation from the joint covariance."""
    from fastard._model import effects

    model, _, _ = trained((None, kernel, ()), m=m)
    found = model.effects(RANGES, n_nodes=5)
    assert found.points.shape == (3, 5)
    np.testing.assert_allclose(found.points[1], np.linspace(0.0, 2.0, 5))
    design = stats.qmc.Sobol(3, scramble=False).random_base2(8)
    low, high = np.array(RANGES).T
    others = low + (high - low) * ((design + np.random.default_rng(0).random(3)) % 1.0)
    assert len(others) == effects._POINTS
    for i in range(3):
        points = others.copy()
        points[:, i] = found.points[i, 3]
        mean, covariance = model.predict(points, return_cov=True)
        assert_agree(found.mean[i, 3], mean.mean(axis=0))
        assert_agree(found.std[i, 3] ** 2, covariance.mean(axis=(0, 1)), 1e-9)
    truth = naive_effect(model, found.points[0, 3])
    assert np.abs(found.mean[0, 3] - truth).max() < 0.02 * np.std(model._y)


def naive_effect(model, x):
    points, weights, _ = full_grid([(np.array([x]), np.ones(1)), uniform(*RANGES[1]), uniform(*RANGES[2])])
    return weights @ model.predict(points)


def test_effects_of_the_data():
    model, X, _ = trained(n=20)
    found = model.effects("data")
    np.testing.assert_array_equal(found.points[:, 0], X.min(axis=0))
    np.testing.assert_array_equal(found.points[:, -1], X.max(axis=0))
    assert (found.std > 0.0).all()


def test_plot_effects():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    for m in (1, 2):
        model, _, _ = trained(m=m)
        model.feature_names = ["$\\nothing{$", "x" * 40, "b"]
        axes, found = model.plot_effects(), model.effects()
        strength = found.mean.reshape(3, -1, m).std(axis=1) / model._y.std(axis=0)
        order = np.argsort(-strength.max(axis=1))
        for panel, i in zip(axes, order, strict=True):
            for t, line in enumerate(panel.get_lines()):
                np.testing.assert_array_equal(line.get_xdata(), found.points[i])
                np.testing.assert_array_equal(line.get_ydata(), found.mean[i].reshape(-1, m)[:, t])
            assert len(panel.get_lines()) == len(panel.collections) == m
        assert len(model.plot_effects(most=2)) == 2
        assert axes[0].figure.get_supylabel() == "mean of prediction\n± 2 standard deviations"
        axes[0].figure.canvas.draw()  # of a formula that is none it would raise
    with pytest.raises(ValueError, match="no inputs"):
        fastard.fit(np.empty((4, 0)), np.arange(4.0), max_iterations=2).plot_effects()
    pyplot.close("all")
