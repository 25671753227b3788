"""Sobol' indices and main effects where columns are categories or periodic: against the definitions, over full grids."""

import numpy as np
import pytest
from conftest import assert_agree
from scipy import stats
from test_encoding import FIXED, LEVELS, SCALES, VARIANCES, frame, table
from test_sensitivity import full_grid, naive, uniform

import fastard
from fastard._model.distribution import distribution_of
from fastard._model.sensitivity import closed_form, quadrature, sums

THIRDS = np.arange(3.0), np.full(3, 1.0 / 3.0)
CIRCLE = 5.625 * np.arange(64.0), np.full(64, 1.0 / 64.0)


def mixed(n=60, m=1, **options):
    """heat, material and wind, of which ``columns`` are the numbers; levels are sorted by pandas' order here."""
    pandas = pytest.importorskip("pandas")
    columns, y = table(n)
    if m == 2:
        y = np.column_stack([y, columns[:, 0] / 30.0 - y**2])
    fixed = {"periodic": {"wind": 360}, "length_scale": SCALES, **VARIANCES, **FIXED}
    X = frame(columns)
    return fastard.fit(X.assign(material=pandas.Categorical(X.material, LEVELS)), y, **{**fixed, **options}), columns


def categories(kernel="rbf", m=1, **options):
    """Three categories of 2, 3 and 4 levels, not equally often."""
    rng = np.random.default_rng(3)
    columns = np.column_stack([rng.binomial(1, 0.3, 50), rng.binomial(2, 0.6, 50), rng.binomial(3, 0.4, 50)]).astype(float)
    columns[:4] = np.arange(4)[:, None] % [2, 3, 4]
    y = np.sin(2.0 * columns[:, 0] + columns[:, 1]) + 0.3 * columns[:, 2] ** 2 + 0.2 * rng.standard_normal(50)
    y = y if m == 1 else np.column_stack([y, y * columns[:, 1]])
    fixed = {"length_scale": [1.0, 1.5, 0.7], **VARIANCES, **FIXED}
    return fastard.fit(columns, y, categorical=[0, 1, 2], kernel=kernel, **{**fixed, **options}), columns


def frequencies(column):
    levels, counts = np.unique(column, return_counts=True)
    return levels, counts / len(column)


@pytest.mark.parametrize("m", [1, 2])
def test_the_closed_form_is_the_sum_over_a_grid(m):
    model, columns = mixed(m=m)
    low, high = columns[:, 0].min(), columns[:, 0].max()
    points, weights, shape = full_grid([uniform(low, high), THIRDS, CIRCLE])
    found = model.sobol(n_samples=0)
    assert found.accuracy < 1e-9
    assert found.names == ["heat", "material", "wind"]
    for t in range(m):
        values = model.predict(frame(points)).reshape(len(points), m)[:, t]
        first, total, mean, variance = naive(values, weights, shape)
        assert_agree(found.first_order.reshape(3, m)[:, t], first, 1e-10)
        assert_agree(found.total.reshape(3, m)[:, t], total, 1e-10)
        assert_agree(np.reshape([found.mean, found.variance], (2, m))[:, t], [mean, variance])


def test_the_closed_form_of_the_data_themselves():
    """Every combination of the columns' values."""
    model, columns = mixed(15)
    grid = full_grid([(column, np.full(15, 1.0 / 15.0)) for column in columns.T])
    first, total, mean, variance = naive(model.predict(frame(grid[0])), *grid[1:])
    found = model.sobol("data", n_samples=0)
    assert found.accuracy < 1e-9
    assert_agree(found.first_order, first, 1e-10)
    assert_agree(found.total, total, 1e-10)
    assert_agree([found.mean, found.variance], [mean, variance])


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("kernel", ["rbf", "matern32", fastard.RationalQuadratic(0.7)], ids=str)
def test_categories_alone_are_summed(kernel, m):
    options = {"shape_bounds": "fixed"} if isinstance(kernel, fastard.RationalQuadratic) else {}
    model, columns = categories(kernel, m, **options)
    equal = [(np.arange(float(k)), np.full(k, 1.0 / k)) for k in (2, 3, 4)]
    for distribution, rules in (("uniform", equal), ("data", [frequencies(column) for column in columns.T])):
        points, weights, shape = full_grid(rules)
        found = model.sobol(distribution, rng=0)
        assert found.accuracy < 1e-11
        of_inputs = distribution_of(model, distribution)
        if kernel == "rbf":
            for one, other in zip(closed_form(model, of_inputs)[:2], sums(model, of_inputs)[:2], strict=True):
                assert_agree(one, other, 1e-10)
        values = model.predict(points).reshape(-1, m)
        for t in range(m):
            first, total, mean, variance = naive(values[:, t], weights, shape)
            assert_agree(found.first_order.reshape(3, m)[:, t], first)
            assert_agree(found.total.reshape(3, m)[:, t], total)
            assert_agree(np.reshape([found.mean, found.variance], (2, m))[:, t], [mean, variance])


def test_sums_know_their_rounding():
    """With less noise the closed form loses digits, sums hardly."""
    model, _ = categories(length_scale=3.0, noise_variance=1e-7)
    points, weights, shape = full_grid([(np.arange(float(k)), np.full(k, 1.0 / k)) for k in (2, 3, 4)])
    first = naive(model.predict(points), weights, shape)[0]
    found = model.sobol(n_samples=0)
    assert np.abs(found.first_order - first).max() < found.accuracy < 1e-6


def test_more_categories_than_an_array_has_axes():
    X = np.zeros((20, 70))
    X[:, 0] = np.arange(20) % 2
    model = fastard.fit(X, X[:, 0] + 0.1 * np.arange(20), categorical=range(70), max_iterations=3)
    np.testing.assert_allclose(model.sobol(n_samples=0).total, np.arange(70) == 0, atol=1e-6)
    assert model.effects().mean[0].shape == (2,)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_the_quadrature(kernel):
    """Also of a part of the period, of the data, and of a category of many levels."""
    model, columns = mixed(40, kernel=kernel)
    low, high = columns[:, 0].min(), columns[:, 0].max()
    heat = uniform(low, high)
    whole, part = {}, {"wind": (-30.0, 100.0)}
    rules = [(whole, [heat, THIRDS, CIRCLE]), (part, [heat, THIRDS, uniform(-30.0, 100.0)])]
    rules.append(("data", [frequencies(column) for column in columns.T]))
    for distribution, of_grid in rules:
        grid = full_grid(of_grid)
        first, total, mean, variance = naive(model.predict(frame(grid[0])), *grid[1:])
        given = distribution_of(model, distribution)
        first_found, total_found, accuracy, mean_found, variance_found = quadrature(model, given, 256)
        assert accuracy < 5e-3
        assert np.abs(first_found[:, 0] - first).max() < 4.0 * accuracy
        assert np.abs(total_found[:, 0] - total).max() < 4.0 * accuracy
        assert mean_found[0] + model._y_mean[0] == pytest.approx(mean, abs=5e-3 * np.sqrt(variance))
        assert variance_found[0] == pytest.approx(variance, rel=1e-2)
    assert model.sobol(part, n_samples=0, n_points=256).total[0] == pytest.approx(
        quadrature(model, distribution_of(model, part), 256)[1][0, 0], rel=1e-12
    )


def test_a_category_of_many_levels():
    rng = np.random.default_rng(0)
    columns = np.column_stack([rng.permutation(np.arange(200) % 100), rng.uniform(size=200)])
    y = np.sin(columns[:, 0]) + columns[:, 1]
    model = fastard.fit(columns, y, categorical=[0], kernel="matern52", **VARIANCES, **FIXED, length_scale=[1.0, 2.0])
    grid = full_grid(
        [(np.arange(100.0), np.full(100, 0.01)), uniform(*columns[:, 1][[columns[:, 1].argmin(), columns[:, 1].argmax()]])]
    )
    first, total, *_ = naive(model.predict(grid[0]), *grid[1:])
    found = model.sobol(n_samples=0)
    assert np.abs(found.first_order - first).max() < 4.0 * found.accuracy < 0.1
    assert np.abs(found.total - total).max() < 4.0 * found.accuracy


@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
def test_scipys_estimate(kernel):
    model, columns = mixed(kernel=kernel)
    low, high = columns[:, 0].min(), columns[:, 0].max()
    dists = [stats.uniform(low, high - low), stats.randint(0, 3), stats.uniform(0.0, 360.0)]
    random = np.random.default_rng(1)
    scipys = stats.sobol_indices(func=lambda x: model.predict(frame(x.T)), n=2**12, dists=dists, random_state=random)
    found = model.sobol(n_samples=0)
    np.testing.assert_allclose(found.first_order, scipys.first_order, atol=0.03)
    np.testing.assert_allclose(found.total, scipys.total_order, atol=0.03)


def test_standard_deviations_are_those_of_functions():
    model, _ = categories()
    points, weights, shape = full_grid([(np.arange(float(k)), np.full(k, 1.0 / k)) for k in (2, 3, 4)])
    drawn = model.sample(points, 300, rng=1)
    expected = np.array([naive(values, weights, shape)[:2] for values in drawn]).std(axis=0)
    found = model.sobol(n_samples=300, rng=2)
    assert expected.min() > 0.01
    np.testing.assert_allclose([found.first_order_std, found.total_std], expected, rtol=0.25)
    of_three = mixed()[0].sobol(n_samples=10, rng=0)
    assert (of_three.first_order_std > 0.0).all()
    assert (of_three.total_std < 0.1).all()


def test_distributions():
    model, _ = mixed(20)
    whole = model.sobol(n_samples=0)
    np.testing.assert_allclose(model.sobol({"wind": (-180.0, 180.0)}, n_samples=0).total, whole.total, rtol=1e-12)
    held = model.sobol({"wind": (90.0, 90.0)}, n_samples=2)
    np.testing.assert_allclose(held.total[2], 0.0, atol=1e-9)
    assert held.total_std[2] == 0.0
    for wrong in ("normal", [(0.0, 1.0)] * 3, {"material": (0.0, 1.0)}, {"material": "steel"}):
        with pytest.raises(
            ValueError, match=r"dictionary of pairs .* categories; of these, 'material', all levels are equally"
        ):
            model.sobol(wrong)
    with pytest.raises(ValueError, match=r"distribution must be .* pair .* each column"):
        fastard.fit(np.arange(9.0)[:, None], np.arange(9.0), periodic={0: 4.0}, max_iterations=2).sobol([(3.0, 2.0)])
    constant = fastard.fit([["a"], ["a"], ["a"]], [1.0, 2.0, 3.0], categorical=[0], max_iterations=2).sobol()
    assert np.isnan(constant.total).all()


# Main effects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2])
def test_effects_of_categories_alone(m):
    """Over all combinations of the others' levels: the mean, and the standard deviation from the joint covariance."""
    model, columns = categories(m=m)
    equal = [(np.arange(float(k)), np.full(k, 1.0 / k)) for k in (2, 3, 4)]
    for distribution, rules in (("uniform", equal), ("data", [frequencies(column) for column in columns.T])):
        found = model.effects(distribution)
        for i, (levels, _) in enumerate(rules):
            assert found.points[i].tolist() == levels.tolist()
            assert found.mean[i].shape == (levels.size, *[m] * (m > 1))
            for k, level in enumerate(levels):
                points, weights, _ = full_grid([*rules[:i], (np.array([level]), np.ones(1)), *rules[i + 1 :]])
                mean, covariance = model.predict(points, return_cov=True)
                assert_agree(found.mean[i][k], weights @ mean)
                assert_agree(found.std[i][k] ** 2, np.tensordot(np.outer(weights, weights), covariance, 2))


@pytest.mark.parametrize("kernel", ["rbf", "matern32"])
def test_effects_are_averages(kernel):
    """Near those over a grid, for heat, the materials and one period of the wind."""
    model, columns = mixed(kernel=kernel)
    found = model.effects(n_nodes=5)
    assert found.points[1].tolist() == LEVELS
    np.testing.assert_array_equal(found.points[2], [0.0, 90.0, 180.0, 270.0, 360.0])
    assert_agree(found.mean[2][0], found.mean[2][-1])
    assert_agree(found.std[2][0], found.std[2][-1])
    rules = [uniform(columns[:, 0].min(), columns[:, 0].max(), 30), THIRDS, CIRCLE]
    for i, k, number in ((0, 3, found.points[0][3]), (1, 2, 2.0), (2, 1, 90.0)):
        points, weights, _ = full_grid([*rules[:i], (np.array([number]), np.ones(1)), *rules[i + 1 :]])
        assert found.mean[i][k] == pytest.approx(weights @ model.predict(frame(points)), abs=0.02 * np.std(model._y))
    assert "at 5, 3, 5 values" in repr(found)
    assert model.effects("data").std[1].shape == (3,)
    assert model.effects({"wind": (0.0, 90.0)}).points[2][-1] == 90.0


def test_effects_of_a_periodic_input_alone():
    x = np.linspace(0.0, 9.0, 25)[:, None]
    model = fastard.fit(x, np.sin(x[:, 0]), periodic={0: 5.0}, max_iterations=3)
    found = model.effects(n_nodes=7)
    assert found.points.shape == found.mean.shape == (1, 7)
    assert_agree(found.mean[0], model.predict(found.points.T))
    assert_agree(found.std[0], model.predict(found.points.T, return_std=True)[1], 1e-6)


def test_plot_effects():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    pandas = pytest.importorskip("pandas")
    for m in (1, 2):
        model, _ = mixed(m=m)
        panels, found = {axes.get_xlabel(): axes for axes in model.plot_effects()}, model.effects()
        assert set(panels) == {"heat", "material", "wind"}
        assert [text.get_text() for text in panels["material"].get_xticklabels()] == LEVELS
        bars = panels["material"].containers
        assert len(bars) == m
        for t, container in enumerate(bars):
            line, _, (segments,) = container.lines
            mean, std = (each[1].reshape(3, m)[:, t] for each in (found.mean, found.std))
            np.testing.assert_array_equal(line.get_ydata(), mean)
            ends = np.array([segment[:, 1] for segment in segments.get_segments()])
            np.testing.assert_allclose(ends, np.column_stack([mean - 2.0 * std, mean + 2.0 * std]), rtol=1e-12)
        np.testing.assert_array_equal(panels["wind"].get_lines()[0].get_xdata(), found.points[2])
        panels["wind"].figure.canvas.draw()
    many = pandas.DataFrame({"machine": [f"$machine number {i}{{$" for i in range(50)] * 2})
    (axes,) = fastard.fit(many, np.arange(100.0) % 50, categorical=["machine"], max_iterations=2).plot_effects()
    assert len(axes.get_xticklabels()) <= 20
    axes.figure.canvas.draw()  # of a formula that is none it would raise
    pyplot.close("all")


def test_numbers_are_what_was_encoded():
    model, columns = mixed()
    encoding, X = model._encoding, columns.copy()
    X[:, 2] %= 360.0
    assert_agree(encoding.numbers(model._X), X)
    assert_agree(encoding.of_numbers(encoding.numbers(model._X)), model._X)
