"""What does each input do, averaged over all others, and how sure is that?

Oakley & O'Hagan, J. R. Statist. Soc. B 66 (2004), 751-769, section 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array
from fastard._blas import solve
from fastard._engine.cross import cross_covariance
from fastard._model.distribution import Distribution, distribution_of, encoded, full_grid, grid_along, sequence

_POINTS = 256  # over which the other inputs are averaged

_AT_A_TIME = 2**17  # points that have covariances at once


class Effects(NamedTuple):
    """Main effects of the inputs; :meth:`fastard.GaussianProcess.effects` makes it.

    Where some inputs are categories, ``points``, ``mean`` and ``std`` are lists of d arrays, as there are other numbers of
    levels than of values: ``points[i]``, ``mean[i]`` and ``std[i]`` are input i's either way.

    Attributes
    ----------
    names : list of str
        The inputs, d of them.
    points : ndarray, shape (d, q), or list of d arrays
        Values of each input; the levels of a category.
    mean, std : ndarray, shape (d, q), or (d, q, m) for m > 1 outputs, or lists of d arrays
        Of the function averaged over all other inputs, with this one there.
    """

    names: list[str]
    points: Any
    mean: Any
    std: Any

    def __repr__(self) -> str:
        counts = list(map(len, self.points)) or [0]
        of_each = f"{counts[0]} values each" if len(set(counts)) == 1 else f"{_text.listed(counts)} values"
        return f"<Effects of {_text.listed(self.names)}: points, mean and std at {of_each}>"


def effects(model: Any, given: Any, n_nodes: int) -> Effects:
    """See :meth:`fastard.GaussianProcess.effects`."""
    validate.mean_anywhere("effects", model._has_array)
    of_inputs = distribution_of(model, given)
    count = validate.count("n_nodes", n_nodes, least=2)
    design, weights = _of_others(of_inputs)
    points: list[Any] = list(np.linspace(of_inputs.low, of_inputs.high, count, axis=1))
    found = []
    with np.errstate(all="ignore"):  # an underflow is nobody's error
        for i, kind in enumerate(of_inputs.kinds):
            if isinstance(kind, tuple):
                found.append(_main_effect(model, design, weights, i, np.arange(float(len(kind)))))
                points[i] = np.array(kind, dtype=object)
            else:
                found.append(_main_effect(model, design, weights, i, points[i]))
    d, m = len(points), model._y.shape[1]
    columns: list[Any] = [points, [mean for mean, _ in found], [deviation for _, deviation in found]]
    if not any(isinstance(kind, tuple) for kind in of_inputs.kinds):
        shapes = [(d, count)] + 2 * [(d, count) if m == 1 else (d, count, m)]
        columns = [np.reshape(column, shape) for column, shape in zip(columns, shapes, strict=True)]
    return Effects(list(model.input_names), *columns)


def _of_others(of_inputs: Distribution) -> tuple[Array, Array | None]:
    """The points of the averages, and weights where these differ: all combinations of levels, or a Sobol' sequence."""
    rules = of_inputs.all_combinations(_POINTS)
    if rules is not None:
        return full_grid(rules)
    d = len(of_inputs.kinds)
    shift = np.random.default_rng(0).random(d)
    return of_inputs.points((sequence(_POINTS, d) + shift) % 1.0) if d else np.empty((1, 0)), None


def _main_effect(model: Any, design: Array, weights: Array | None, i: int, nodes: Array) -> tuple[Array, Array]:
    """Mean and standard deviation, (q,) or (q, m), over the values of input i."""
    at_once = max(1, _AT_A_TIME // _POINTS)
    averages = np.empty((len(nodes), len(model._X)))  # of the covariances with the training points
    for start in range(0, len(nodes), at_once):
        part = nodes[start : start + at_once]
        grid = encoded(model, grid_along(design, i, part))
        covariances = cross_covariance(model._term, grid, model._X, model.n_threads)
        own = covariances.reshape(len(design), len(part), -1)
        averages[start : start + at_once] = np.average(own, axis=0, weights=weights)
    held = design.copy()
    held[:, i] = 0.0
    held = encoded(model, held)
    between = cross_covariance(model._term, held, held, model.n_threads)
    prior = float(between.mean() if weights is None else weights @ between @ weights)
    solved = solve(model._factor, np.ascontiguousarray(averages.T))
    variance = np.maximum(prior - np.einsum("nq,nq->q", solved, solved), 0.0)
    mean = averages @ (model._alpha * model._units) + model._y_mean
    if model._trend is not None:
        rows = model._trend.at(encoded(model, grid_along(design, i, nodes)), None).reshape(len(design), len(nodes), -1)
        functions = np.average(rows, axis=0, weights=weights)
        mean += functions @ model._trend.coefficients
        variance += np.sum(model._trend.spread(averages @ model._trend.solved, functions) ** 2, axis=1)
    deviation = np.sqrt(variance)[:, np.newaxis] * model._units
    return (mean[:, 0], deviation[:, 0]) if model._y.shape[1] == 1 else (mean, deviation)
