"""Plots of a model, with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binom, chi2

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.effects import Effects, effects
from fastard._model.standard_errors import StandardErrors
from fastard._model.summary import InputSummary, beyond_the_mean, inputs_of
from fastard._objectives.leave_one_out import LeaveOneOut

_MOST_BARS = 100  # a chart of more is taller than a screen shows and an image may be

_LONGEST_NAME = 30  # characters; longer names leave no room for the bars

_NAME_OF_PANEL = 24  # characters, of which a panel is as wide

_NAME_OF_LEVEL, _MOST_LEVELS = 20, 20  # characters, and names below a panel

_BESIDE = 0.5  # of the distance of two levels, over which the outputs' points stand beside one another

_BLUE, _GREY = "#33658a", "#888888"


def new_axes(height: float, rows: int = 1, columns: int = 1) -> Any:
    """Axes of a new pyplot figure, an array of several; an ImportError that says the remedy where there is no matplotlib."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'fastard[cli]', or pip install matplotlib") from None
    return pyplot.subplots(rows, columns, figsize=(6.4, height), layout="constrained", sharey=True)[1]


def _axes(ax: Any, height: float) -> Any:
    """The axes that a user gave, or new ones."""
    if ax is None:
        return new_axes(height)
    validate.axes(ax)
    return ax


def shortened(name: str) -> str:
    return _text.shortened(name, _LONGEST_NAME)


def relevance_height(d: int) -> float:
    """Inches of a chart of d inputs."""
    return 1.4 + 0.28 * min(d, _MOST_BARS)


def draw_relevance(axes: Any, model: Any, inputs: Sequence[InputSummary]) -> None:
    """A bar for each input's relevance, the most relevant on top, with two standard errors where there are some."""
    shown = inputs[:_MOST_BARS]
    errors = 2.0 * np.array([row.relevance_error for row in shown])
    has_errors = bool(np.isfinite(errors).any())
    lines: dict[str, Any] = (
        {"xerr": np.nan_to_num(errors), "error_kw": {"ecolor": "#222222", "elinewidth": 1.2}} if has_errors else {}
    )
    bars = axes.barh(range(len(shown)), [row.relevance for row in shown], color=_BLUE, **lines)
    axes.bar_label(bars, labels=[f"{row.length_scale:.3g}" for row in shown], padding=3, fontsize=8)
    axes.set_yticks(range(len(shown)), [shortened(row.name) for row in shown], parse_math=False)  # a $ starts no formula
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlim(left=0.0)
    axes.set_ylabel("input")
    axes.spines[["top", "right"]].set_visible(False)
    beyond, margins = beyond_the_mean(model), ", ± 2 standard errors" if has_errors else ""
    axes.set_xlabel(f"relevance{beyond}{margins}\n(standard deviation / length scale, scaled to sum 1)", loc="right")
    d = len(inputs)
    which = "inputs" if len(shown) == d else f"{len(shown)} most relevant of {d} inputs"
    of = f" of {_text.shortened(model.output_names[0], _NAME_OF_PANEL)}" if _names_its_target(model) else ""
    title = f"{which}{of}, length scales beside their bars"
    axes.set_title(title, loc="right", fontsize="medium", parse_math=False)


def _names_its_target(model: Any) -> bool:
    return bool(model.target_names) and len(model.output_names) == 1


def plot_relevance(model: Any, ax: Any, errors: StandardErrors | None) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_relevance`."""
    axes = _axes(ax, relevance_height(model.length_scale.size))
    draw_relevance(axes, model, inputs_of(model, errors))
    return axes


class Judged(NamedTuple):
    """Targets beside what was predicted for them.

    ``outputs`` has of each one its name, targets, means, standard deviations and standardised residuals, (n,) each.
    """

    what: str  # of a title
    by: str  # of an axis
    unit: str
    outputs: list[tuple[str, Array, Array, Array, Array]]

    @property
    def residuals(self) -> Array:
        """Standardised, of all outputs."""
        return np.concatenate([each[4] for each in self.outputs])


def judged(model: Any, what: str, by: str, targets: Array, mean: Array, deviation: Array) -> Judged:
    """Predictions of targets, (n, m) or (n,) each, by a model; of outputs on scales of their own each on its own."""
    names = list(map(shortened, model.output_names))
    on_own_scales = model._noise_ratio is not None and len(names) > 1
    if on_own_scales:
        targets, mean = ((values - model._y_mean) / model._units for values in (targets, mean))
        deviation = deviation / model._units
    n, m = len(targets), len(names)
    columns = [array.reshape(n, m).T for array in (targets, mean, deviation, (targets - mean) / deviation)]
    unit = f" ({names[0]})" if model.target_names and m == 1 else " (roots of own variances)" if on_own_scales else ""
    return Judged(what, by, unit, list(zip(names, *columns, strict=True)))


def left_out(model: Any, found: LeaveOneOut) -> Judged:
    """What a model's ``loo`` found."""
    targets = model._targets.reshape(found.mean.shape)
    return judged(model, "leave-one-out", "predicted from the others", targets, found.mean, np.sqrt(found.variance))


def _finish(axes: Any, has_legend: bool) -> Any:
    """No frame where there is nothing to read off; and a legend where there is something to tell apart."""
    axes.spines[["top", "right"]].set_visible(False)
    if has_legend:
        legend = axes.legend(fontsize="small", framealpha=0.8, edgecolor="none")
        for text in legend.get_texts():
            text.set_parse_math(False)
    return axes


def plot_loo(model: Any, ax: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_loo`."""
    return draw_predictions(_axes(ax, 5.2), left_out(model, model.loo()))


def draw_predictions(axes: Any, of: Judged) -> Any:
    """Each prediction over its target."""
    outputs = of.outputs
    for color, (name, targets, mean, deviation, _) in zip(_colors(len(outputs)), outputs, strict=True):
        _, _, (bars,) = axes.errorbar(
            targets, mean, 2.0 * deviation, fmt="o", markersize=3.5, color=color, elinewidth=1.2, label=name
        )
        bars.set_alpha(0.4)
    limits = _limits(*(values for each in outputs for values in (each[1], each[2] - 2.0 * each[3], each[2] + 2.0 * each[3])))
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.plot(limits, limits, color=_GREY, linewidth=0.8, zorder=0)
    axes.set_xlabel(f"target{of.unit}", parse_math=False)
    axes.set_ylabel(f"{of.by}, ± 2 standard deviations")
    squares = [float(np.mean((targets - mean) ** 2)) for _, targets, mean, *_ in outputs]
    rmse, outside = math.sqrt(np.mean(squares)), np.mean(np.abs(of.residuals) > 2.0)
    axes.set_title(f"{of.what}: RMSE {rmse:.4g}, {outside:.0%} outside (4.6% expected)", size="medium")
    return _finish(axes, len(outputs) > 1)


def plot_residuals(model: Any, ax: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_residuals`."""
    return draw_residuals(_axes(ax, 4.0), left_out(model, model.loo()))


def draw_residuals(axes: Any, of: Judged) -> Any:
    """Each standardised residual over the prediction."""
    outputs = of.outputs
    for height, style in ((0.0, "-"), (-2.0, "--"), (2.0, "--")):
        axes.axhline(height, color=_GREY, linewidth=0.8, linestyle=style, zorder=0)
    for color, (name, _, mean, _, residuals) in zip(_colors(len(outputs)), outputs, strict=True):
        axes.plot(mean, residuals, "o", markersize=3.5, color=color, label=name)
    axes.set_xlabel(f"{of.by}{of.unit}", parse_math=False)
    axes.set_ylabel("(target - predicted) / standard deviation")
    axes.set_title(f"{of.what} residuals: standard deviation {of.residuals.std():.3g} (1 expected)", size="medium")
    return _finish(axes, len(outputs) > 1)


def plot_calibration(model: Any, ax: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_calibration`."""
    return draw_calibration(_axes(ax, 4.8), left_out(model, model.loo()))


def draw_calibration(axes: Any, of: Judged) -> Any:
    """For each probability the share of targets that the interval of that probability holds."""
    outputs = of.outputs
    n = outputs[0][4].size
    nominal = np.linspace(0.0, 1.0, 101)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=_GREY, linewidth=0.8, zorder=0)
    low, high = (binom.ppf(p, n, nominal) / n for p in (0.025, 0.975))
    axes.fill_between(nominal, low, high, color=_GREY, alpha=0.2, linewidth=0.0, label="95 % of calibrated models")
    for color, (name, *_, residuals) in zip(_colors(len(outputs)), outputs, strict=True):
        inside = np.sort(chi2.cdf(residuals**2, 1))  # of each target the smallest central interval that holds it
        axes.plot(nominal, np.searchsorted(inside, nominal, side="right") / n, color=color, label=name)
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), aspect="equal")
    axes.set_xlabel("probability of the interval around the prediction")
    axes.set_ylabel("share of targets that it holds")
    axes.set_title(f"{of.what} calibration", size="medium")
    return _finish(axes, True)


def plot_effects(model: Any, distribution: Any, most: int) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_effects`."""
    validate.some_inputs(model.length_scale.size)
    return draw_effects(new_axes, model, effects(model, distribution, 41), most)


def draw_effects(make_axes: Callable[[float, int, int], Any], model: Any, found: Effects, most: int) -> Any:
    """A panel for each of the strongest main effects on axes made for a height, rows and columns."""
    names, points, mean, std = found
    outputs = list(map(shortened, model.output_names))
    mean, std = ([each.reshape(len(each), -1) for each in of_inputs] for of_inputs in (mean, std))
    units = model._y.std(axis=0) * model._units + np.finfo(float).tiny
    strength = np.array([(each.std(axis=0) / units).max() for each in mean])
    shown = np.argsort(-strength, kind="stable")[:most]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    grid = np.reshape(make_axes(0.6 + 2.0 * rows, rows, columns), -1)
    for axes, i in zip(grid, shown, strict=False):
        levels = points[i] if points[i].dtype == object else None
        for t, color in enumerate(_colors(len(outputs))):
            middle, margin = mean[i][:, t], 2.0 * std[i][:, t]
            if levels is None:
                axes.fill_between(points[i], middle - margin, middle + margin, color=color, alpha=0.25, linewidth=0.0)
                axes.plot(points[i], middle, color=color, label=outputs[t])
            else:
                places = np.arange(len(levels)) + _BESIDE * (t - 0.5 * (len(outputs) - 1)) / len(outputs)
                axes.errorbar(places, middle, margin, fmt="o", markersize=4.0, capsize=2.0, color=color, label=outputs[t])
        if levels is not None:
            _name_levels(axes, [_text.shortened(str(level), _NAME_OF_LEVEL) for level in levels])
        axes.set_xlabel(_text.shortened(names[i], _NAME_OF_PANEL), parse_math=False)
        _finish(axes, False)
    for axes in grid[len(shown) :]:
        axes.remove()
    figure = grid[0].figure
    if len(outputs) > 1:
        legend = figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    name = _text.shortened(outputs[0], _NAME_OF_PANEL) if _names_its_target(model) else "prediction"
    label = f"mean of {name}\n± 2 standard deviations"
    figure.supylabel(label, fontsize="medium", multialignment="center", parse_math=False)
    return grid[: len(shown)]


def _name_levels(axes: Any, levels: list[str]) -> None:
    """Below their places 0, 1, ...; upright where they are long, and of very many not all."""
    step = -(-len(levels) // _MOST_LEVELS)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    upright = sum(map(len, levels)) > _NAME_OF_PANEL
    look = {"rotation": 90, "size": "x-small"} if upright else {}
    axes.set_xticks(np.arange(0, len(levels), step), levels[::step], **look)
    for text in axes.get_xticklabels():
        text.set_parse_math(False)


def _colors(count: int) -> list[Any]:
    return [_BLUE] if count == 1 else [f"C{t}" for t in range(count)]


def _limits(*values: Array) -> tuple[float, float]:
    """Of an axis that shows them all, with a margin."""
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin
