"""Predictions of the rows of a table by a model in a file, written as a table."""

import csv
import io
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from fastard._arrays import Array
from fastard._bayes.model import BayesianGaussianProcess
from fastard._bayes.storage import load
from fastard._cli.export import tell_written
from fastard._cli.tables import Points, read_points
from fastard._files import replace_file
from fastard._model.distribution import kinds_of
from fastard._model.gaussian_process import GaussianProcess
from fastard._progress import note
from fastard._text import printable, quoted
from fastard._vecchia.model import VecchiaGaussianProcess

_95_PERCENT = 1.959963984540054  # standard deviations


class Predicted(NamedTuple):
    """Rows of a table, and what a model predicts for them, (q, m) each."""

    points: Points
    targets: list[str]  # m names
    mean: Array
    std: Array
    outside: Array  # (q,), how far outside the training range, in widths of that range; 0 inside
    farthest: list[str]  # the input by which


def predict_table(
    model_path: str, path: str, header: bool | None, *, drop_missing: bool, include_noise: bool, n_threads: int | None
) -> Predicted:
    """Mean and standard deviation at each row of the table in a file."""
    model = load(model_path, n_threads=n_threads)
    points = read_points(path, model.feature_names, kinds_of(model), header, drop_missing=drop_missing)
    known = None
    if include_noise and model._observation_variance is not None:
        known = 0.0
        note("fastard: the model knows variances of its own rows; the new ones are taken to have none beside the noise")
    mean, std = model.predict(points.X, return_std=True, include_noise=include_noise, observation_variance=known)
    q = len(points.X)
    outside, farthest = _outside(model, points.X)
    return Predicted(points, model.output_names, mean.reshape(q, -1), std.reshape(q, -1), outside, farthest)


def _outside(
    model: GaussianProcess | VecchiaGaussianProcess | BayesianGaussianProcess, X: NDArray[Any]
) -> tuple[Array, list[str]]:
    """Of each row the largest distance from an input's range in training over that range's width, and which input's it is.

    A category has no range, nor has an angle.
    """
    plain = [j for j, kind in enumerate(kinds_of(model)) if kind is None]
    if not plain:
        return np.zeros(len(X)), [""] * len(X)
    trained = model._X[:, plain if model._encoding is None else model._encoding.first[plain]]
    X = X[:, plain].astype(np.float64)
    low, high = trained.min(axis=0), trained.max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # one that was constant: infinitely far
        distance = np.maximum(np.maximum(low - X, X - high), 0.0) / (high - low)
    distance[np.isnan(distance)] = 0.0
    which = distance.argmax(axis=1)
    return distance.max(axis=1), [model.input_names[plain[i]] for i in which]


def tell_outside(predicted: Predicted) -> None:
    """How many rows lie where the model has seen nothing, and how far the worst one does."""
    count, worst = int(np.count_nonzero(predicted.outside)), int(predicted.outside.argmax())
    if count:
        note(
            f"fastard: {count} of {len(predicted.outside)} rows lie outside the range of the training data; farthest is line "
            f"{predicted.points.records[worst].line}, by {predicted.outside[worst]:.2g} times the width of the range of "
            f"{quoted(predicted.farthest[worst])}"
        )


def write_predictions(predicted: Predicted, path: str | None) -> None:
    """As CSV, the rows as they were read and five columns behind them; to stdout without a path."""
    if path is not None:
        text = io.StringIO(newline="")
        _write(text, predicted)
        replace_file(path, lambda file: file.write(text.getvalue().encode()))
        tell_written(path)
    elif sys.stdout is not None:
        _write(sys.stdout, predicted, shown=sys.stdout.isatty())


def _write(file: TextIO, predicted: Predicted, *, shown: bool = False) -> None:
    """``shown``: on a terminal, which would obey or hide some letters."""
    table = csv.writer(file, lineterminator="\n")
    text = printable if shown else str
    table.writerow([text(name) for name in (*predicted.points.names, *_columns(predicted.targets))])
    mean, std = predicted.mean, predicted.std
    margin = _95_PERCENT * std
    values = np.stack([mean, std, mean - margin, mean + margin], axis=2).reshape(len(mean), -1)
    for record, row, outside in zip(predicted.points.records, values.tolist(), predicted.outside, strict=True):
        table.writerow([*map(text, record.cells), *map(repr, row), f"{outside:.4g}"])


def _columns(targets: list[str]) -> Iterable[str]:
    for target in targets:
        yield from (f"{target} mean", f"{target} std", f"{target} lower", f"{target} upper")
    yield "outside range"
