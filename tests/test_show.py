"""How a model looks: in a notebook, and in plots."""

import html
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import data, run_python
from helpers import trained
from scipy import stats

import fastard


def test_repr():
    text = repr(trained()[0])
    for part in ("RBF()", "70 points", "3 dimensions", "1.7", "0.1", "log marginal likelihood", "converged"):
        assert part in text
    assert "\n" not in text


def test_html():
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 3)
    frame = pandas.DataFrame(X, columns=["<b>bold</b>", "b & c", "d"])
    model = fastard.fit(frame, y, max_iterations=2)
    text = model._repr_html_()
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", text)]
    assert "<b>bold</b>" not in text
    for i in range(3):
        row = cells.index(frame.columns[i])
        assert cells[row + 1 : row + 3] == [f"{model.length_scale[i]:.4g}", f"{model.relevance[i]:.3f}"]
    many = fastard.fit(data(5, 40)[0], data(5, 40)[1], max_iterations=1)._repr_html_()
    assert "10 less relevant" in many


def test_html_of_a_search_that_has_not_converged():
    model = fastard.fit(*data(30, 3), max_iterations=1)
    assert not model.converged
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", model._repr_html_())]
    assert cells[cells.index("search") + 1] == f"not converged: {model.message}"
    assert repr(model).endswith(f"NOT CONVERGED ({model.message})>")
    assert "NOT CONVERGED" in model._repr_html_()


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_plot_relevance(pyplot):
    model, _, _ = trained(length_scale=[1.3, 2.0, 0.5])
    _, given = pyplot.subplots()
    assert model.plot_relevance(given) is given
    axes = model.plot_relevance()
    assert axes is not given
    order = np.argsort(-model.relevance)
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], model.relevance[order])
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"x{i}" for i in order]
    assert [label.get_text() for label in axes.texts] == [f"{model.length_scale[i]:.3g}" for i in order]
    for place, (bar, label) in enumerate(zip(axes.patches, axes.texts, strict=True)):
        assert label.xy == pytest.approx((bar.get_width(), bar.get_y() + bar.get_height() / 2))
        assert label.xy[1] == pytest.approx(axes.get_yticks()[place])
    bottom, top = axes.get_ylim()
    assert bottom >= 2.4  # the first bar on top, and the whole of each within
    assert top <= -0.4
    axes.figure.canvas.draw()


def test_plot_relevance_tells_errors_and_what_the_mean_leaves(pyplot, monkeypatch):
    X, y = data(70, 3)
    model = fastard.fit(X, y)
    model.target_names = ["$yield"]
    axes = model.plot_relevance()
    expected = [2.0 * row.relevance_error for row in model.summary(loo=False).inputs]
    _, _, (bars,) = axes.containers[0].lines
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert (ends[:, 1] > ends[:, 0]).any()
    np.testing.assert_allclose(np.diff(ends)[:, 0], 2.0 * np.nan_to_num(expected))
    assert axes.get_title(loc="right") == "inputs of $yield, length scales beside their bars"
    assert axes.get_xlabel() == "relevance, ± 2 standard errors\n(standard deviation / length scale, scaled to sum 1)"
    monkeypatch.setattr(fastard._model.gaussian_process, "_MOST_WITH_ERRORS", 69)
    assert model.plot_relevance().get_xlabel().startswith("relevance\n(")
    axes = fastard.fit(X, y, mean="linear", max_iterations=2).plot_relevance()
    assert axes.get_xlabel().startswith("relevance beyond the mean")
    axes.figure.canvas.draw()


def test_names_are_no_formulas(pyplot):
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 3)
    names = ["a$b$", "$\\nothing{$", "x" * 29 + "$yz$"]
    model = fastard.fit(pandas.DataFrame(X, columns=names), y, max_iterations=2)
    axes = model.plot_relevance()
    axes.figure.canvas.draw()  # of a formula that is none it would raise
    labels = axes.get_yticklabels()
    shown = [names[0], names[1], "x" * 29 + "…"]
    assert [label.get_text() for label in labels] == [shown[i] for i in np.argsort(-model.relevance)]
    assert not any(label.get_parse_math() for label in labels)


@pytest.mark.parametrize("m", [1, 2])
def test_plot_loo(pyplot, m):
    model, _, y = trained(m=m)
    axes = model.plot_loo()
    loo = model.loo()
    for t, container in enumerate(axes.containers):
        line, _, (bars,) = container
        mean, std = loo.mean.reshape(70, m)[:, t], np.sqrt(loo.variance.reshape(70, m)[:, t])
        np.testing.assert_allclose(line.get_xdata(), y.reshape(70, m)[:, t])
        np.testing.assert_allclose(line.get_ydata(), mean)
        ends = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, np.column_stack([mean - 2 * std, mean + 2 * std]))
    assert len(axes.containers) == m
    rmse = np.sqrt(np.mean((y - loo.mean) ** 2))
    outside = np.mean(np.abs(y - loo.mean) > 2.0 * np.sqrt(loo.variance))
    assert outside > 0.0
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1.0
    assert axes.get_xlim()[0] < min(y.min(), (loo.mean - 2.0 * np.sqrt(loo.variance)).min())
    assert axes.get_title() == f"leave-one-out: RMSE {rmse:.4g}, {outside:.0%} outside (4.6% expected)"
    axes.figure.canvas.draw()


@pytest.mark.parametrize("m", [1, 2])
def test_plot_residuals(pyplot, m):
    model, _, _ = trained(m=m)
    _, given = pyplot.subplots()
    assert model.plot_residuals(given) is given
    axes = model.plot_residuals()
    loo, lines = model.loo(), axes.get_lines()
    assert [line.get_ydata()[0] for line in lines[:3]] == [0.0, -2.0, 2.0]
    for t, line in enumerate(lines[3:]):
        np.testing.assert_allclose(line.get_xdata(), loo.mean.reshape(70, m)[:, t])
        np.testing.assert_allclose(line.get_ydata(), loo.standardized_residuals.reshape(70, m)[:, t])
    assert len(lines) == 3 + m
    axes.figure.canvas.draw()


@pytest.mark.parametrize("m", [1, 2])
def test_plot_calibration(pyplot, m):
    model, _, _ = trained(m=m)
    _, given = pyplot.subplots()
    assert model.plot_calibration(given) is given
    axes = model.plot_calibration()
    lines = axes.get_lines()[1:]
    assert len(lines) == m
    loo = model.loo()
    for t, line in enumerate(lines):
        residuals = loo.standardized_residuals.reshape(70, m)[:, t]
        for nominal, share in zip(line.get_xdata(), line.get_ydata(), strict=True):
            within = np.mean(np.abs(residuals) <= stats.norm.ppf(0.5 + 0.5 * nominal))
            assert share == pytest.approx(within)
    axes.figure.canvas.draw()


def test_outputs_are_called_by_their_names(pyplot):
    pandas = pytest.importorskip("pandas")
    X, y = data(30, 2, 2)
    model = fastard.fit(X, pandas.DataFrame(y, columns=["$\\nothing{$", "cost"]), max_iterations=2)
    for plot in (model.plot_loo, model.plot_residuals, model.plot_calibration):
        axes = plot()
        assert [text.get_text() for text in axes.get_legend().get_texts()][-2:] == ["$\\nothing{$", "cost"]
        axes.figure.canvas.draw()  # of a formula that is none it would raise
    one = fastard.fit(X, pandas.Series(y[:, 0], name="$\\nothing{$"), max_iterations=2)
    axes = one.plot_loo()
    assert axes.get_xlabel() == "target ($\\nothing{$)"
    axes.figure.canvas.draw()


def test_no_inputs(pyplot):
    model = fastard.fit(np.empty((4, 0)), np.arange(4.0), max_iterations=2)
    model.plot_relevance().figure.canvas.draw()
    model.plot_loo().figure.canvas.draw()
    model.plot_calibration().figure.canvas.draw()
    assert "0 inputs" in model._repr_html_()


def test_without_matplotlib():
    text = run_python(
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np, fastard\n"
        "model = fastard.fit(np.eye(3), np.arange(3.0), max_iterations=1)\n"
        "for plot in (model.plot_relevance, model.plot_loo, model.plot_residuals, model.plot_calibration):\n"
        "    try:\n        plot()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    assert text.count("pip install 'fastard[cli]'") == 4


def test_importing_fastard_imports_no_matplotlib():
    code = "import fastard, sys; assert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
