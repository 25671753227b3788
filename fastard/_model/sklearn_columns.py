"""How does scikit-learn encode columns as a model does? By its own transformers, so that no pickle needs fastard."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._model.encoding import Encoding


def column_transformer(encoding: Encoding, encoded: NDArray[Any], names: list[str] | None) -> tuple[Any, NDArray[np.int64]]:
    """A fitted ``ColumnTransformer``, and where the columns that it makes stand among the encoded ones.

    Numbers come first, then categories, sines and cosines. ``encoded`` are the training points.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    function = functools.partial(FunctionTransformer, feature_names_out="one-to-one")
    kinds, first = encoding.kinds, encoding.first
    numbers = [j for j, kind in enumerate(kinds) if kind is None]
    categories = [j for j, kind in enumerate(kinds) if isinstance(kind, tuple)]
    periodic = [j for j, kind in enumerate(kinds) if isinstance(kind, float)]
    sorted_levels = [validate.sorted_levels(j, names, kinds[j]) for j in categories]
    circle = FeatureUnion([("sin", function(np.sin)), ("cos", function(np.cos))])
    to_angle = functools.partial(np.multiply, np.array([2.0 * math.pi / kinds[j] for j in periodic]))
    one_hot = OneHotEncoder(categories=[levels for _, levels in sorted_levels], sparse_output=False)
    parts = [
        ("numbers", function(validate=True), numbers),
        ("categories", one_hot, categories),
        ("periodic", Pipeline([("angle", function(to_angle, validate=True)), ("circle", circle)]), periodic),
    ]
    transformer = ColumnTransformer([part for part in parts if part[2]])
    transformer.fit(_as_given(encoding, encoded))
    if names is not None:  # as if it had been fitted to a DataFrame
        transformer.feature_names_in_ = np.array(names, dtype=object)
    for name, fitted, columns in transformer.transformers_:
        if name == "categories":  # of numbers among text too
            fitted.categories_ = [np.array(levels, dtype=_type_of(levels)) for _, levels in sorted_levels]
        if names is not None:
            first_step = fitted[0] if name == "periodic" else fitted
            first_step.feature_names_in_ = transformer.feature_names_in_[columns]
    blocks = [first[j] + places for j, (places, _) in zip(categories, sorted_levels, strict=True)]
    return transformer, np.concatenate([first[numbers], *blocks, first[periodic], first[periodic] + 1])


def _type_of(levels: Any) -> type:
    return object if any(isinstance(level, str) for level in levels) else float


def _as_given(encoding: Encoding, encoded: NDArray[Any]) -> NDArray[Any]:
    """The points before they were encoded, (n, d): an array of numbers where all levels are such, or else of objects."""
    points = encoding.numbers(encoded)
    levels = [kind for kind in encoding.kinds if isinstance(kind, tuple)]
    if any(_type_of(kind) is object for kind in levels):
        points = points.astype(object)
    for j, kind in enumerate(encoding.kinds):
        if isinstance(kind, tuple):
            points[:, j] = np.array(kind, dtype=points.dtype)[points[:, j].astype(int)]
    return points
