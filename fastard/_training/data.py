"""From a user's X and y to what the likelihood takes, and what a model keeps of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.encoding import Encoding, encoding
from fastard._model.names import input_names
from fastard._model.trend import Trend, beside, untrained


class TrainingData(NamedTuple):
    """The rows to train on, n of them, of m outputs."""

    feature_names: list[str] | None
    target_names: list[str] | None
    encoding: Encoding | None
    X: Array  # (n, d), or more columns where it is encoded
    d: int
    y: Array  # (n, m)
    y_mean: Array  # (m,), that of a constant mean, 0 elsewhere
    rest: Array  # (n, m), what the likelihood is of: y less its mean
    mean: str  # its kind
    trend: Trend | None  # a mean that has coefficients, which are not known yet

    @property
    def of_column(self) -> NDArray[np.int64] | None:
        """From which column as it was given each one of an encoded X is."""
        return None if self.encoding is None else self.encoding.of_column

    @property
    def basis(self) -> Array | None:
        """Of the mean's coefficients."""
        return None if self.trend is None else self.trend.basis

    @property
    def units_of(self) -> Array:
        """The targets that say what the units of variances are, (n, m)."""
        return self.y if self.trend is None else self.rest


def training_data(X: ArrayLike, y: ArrayLike, categorical: Any, periodic: Any, mean: Any) -> TrainingData:
    """From the arguments of `fit`."""
    feature_names, target_names = validate.names_of(X), validate.names_of_targets(y)
    encoded = encoding(X, feature_names, categorical, periodic)
    X = validate.inputs(X) if encoded is None else encoded.encode(X, feature_names)
    d = X.shape[1] if encoded is None else len(encoded.kinds)
    y = validate.targets(y, len(X), d).reshape(len(X), -1)
    rest, y_mean = validate.centred(y)  # refuses what is too large
    kind, trend = validate.mean_kind(mean), None
    if encoded is not None:
        validate.mean_of_encoded(mean)
    if kind != "constant":
        y_mean = np.zeros_like(y_mean)
        if kind != "zero":
            trend = untrained(kind, mean, X, y, input_names(feature_names, d), encoded)
        rest = y if trend is None else beside(trend, y)
    return TrainingData(feature_names, target_names, encoded, X, d, y, y_mean, rest, kind, trend)
