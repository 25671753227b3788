"""Plots of a model, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastard import _text
from fastard import _validation as validate

_MOST_BARS = 100  # a chart of more is taller than a screen shows and an image may be

_LONGEST_NAME = 30  # characters; longer names leave no room for the bars

_BLUE, _GREY = "#33658a", "#888888"


def new_axes(height: float) -> Any:
    """Axes of a new pyplot figure; an ImportError that says the remedy where there is no matplotlib."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plots need matplotlib: pip install fastard[cli], or pip install matplotlib") from None
    return pyplot.subplots(figsize=(6.4, height), layout="constrained")[1]


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


def draw_relevance(axes: Any, model: Any, names: Sequence[str]) -> str:
    """A bar for each input's relevance, the most relevant on top; returns in words which inputs they are."""
    order = np.argsort(-model.relevance, kind="stable")[:_MOST_BARS]
    bars = axes.barh(range(len(order)), model.relevance[order], color=_BLUE)
    axes.bar_label(bars, labels=[f"{model.length_scale[i]:.3g}" for i in order], padding=3, fontsize=8)
    axes.set_yticks(range(len(order)), [shortened(names[i]) for i in order], parse_math=False)  # a $ starts no formula
    axes.set_ylim(max(len(order), 1) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_ylabel("input")
    axes.spines[["top", "right"]].set_visible(False)
    d = len(names)
    return "inputs" if len(order) == d else f"{len(order)} most relevant of {d} inputs"


def plot_relevance(model: Any, ax: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_relevance`."""
    axes = _axes(ax, relevance_height(model.length_scale.size))
    which = draw_relevance(axes, model, model.input_names)
    axes.set_xlabel("relevance: standard deviation / length scale, scaled to sum 1")
    axes.set_title(f"{which}, length scales beside their bars", fontsize="medium")
    return axes


def plot_loo(model: Any, ax: Any) -> Any:
    """See :meth:`fastard.GaussianProcess.plot_loo`."""
    axes = _axes(ax, 4.8)
    found = model.loo()
    n, m = model._y.shape
    targets = model._y + model._y_mean
    mean, deviation, residuals = (
        array.reshape(n, m) for array in (found.mean, np.sqrt(found.variance), found.standardized_residuals)
    )
    for t in range(m):
        axes.errorbar(
            targets[:, t],
            mean[:, t],
            2.0 * deviation[:, t],
            fmt=".",
            elinewidth=0.6,
            alpha=0.7,
            label=f"output {t}" if m > 1 else None,
            color=_BLUE if m == 1 else None,
        )
    axes.axline((targets.mean(), targets.mean()), slope=1.0, color=_GREY, linewidth=0.8)
    if m > 1:
        axes.legend()
    axes.set_xlabel("target")
    axes.set_ylabel("predicted from the others, ± 2 standard deviations")
    rmse = np.sqrt(np.mean((targets - mean) ** 2))
    outside = np.mean(np.abs(residuals) > 2.0)
    axes.set_title(f"leave-one-out: RMSE {rmse:.4g}, {outside:.0%} outside (4.6% expected)", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return axes
