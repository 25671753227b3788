"""How much of the variance is each input's? Sobol' indices and main effects of a model's mean, and how sure they are.

The inputs are independent, each uniform over a range or drawn from its values in the data. Saltelli et al., Global sensitivity
analysis: the primer (2008), chapter 4; of Gaussian processes Oakley & O'Hagan, J. R. Statist. Soc. B 66 (2004), 751-769.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array
from fastard._blas import solve
from fastard._engine.cross import cross_covariance
from fastard._engine.posterior import MEAN
from fastard._engine.terms import Term
from fastard._model.standard_errors import visible_influence
from fastard.kernels import RBF

_SHIFTS = 8  # of the points, whose answers tell how accurate their mean is

_NODES = 16  # along an input, at least; more for short length scales
_MOST_NODES = 64

_ROUNDING = 1e-4  # of an index, beyond which the quadrature may be more accurate than the closed form

_MOST_POINTS = 4000  # of the closed form, which takes six n x n arrays

_AT_A_TIME = 2**17  # points that are predicted at once

_SAMPLED_POINTS, _SAMPLED_NODES = 2000, 6  # where functions are drawn: their covariance is an array of so many squared

_EFFECT_POINTS = 256  # over which the other inputs of a main effect are averaged


class SobolIndices(NamedTuple):
    """Shares of the variance of a model's mean; :meth:`fastard.GaussianProcess.sobol` makes it.

    Arrays have the shape (d,), or (d, m) for m > 1 outputs, in the order of the columns of X.

    Attributes
    ----------
    names : list of str
        The inputs.
    first_order : ndarray
        The share that an input explains alone: the variance of the mean given this input, over the variance.
    total : ndarray
        The share that is lost where this input is held, with all that it does together with others.
    first_order_std, total_std : ndarray
        Standard deviations over functions drawn from the posterior; NaN where none were drawn.
    accuracy : float
        Of the numbers in ``first_order`` and ``total``: the largest standard error of the quadrature, or of the closed form a
        bound on what rounding adds.
    mean, variance : float, or ndarray of shape (m,)
        Of the model's mean under the inputs' distribution.
    output_names : list of str
        The m outputs.
    """

    names: list[str]
    first_order: Array
    total: Array
    first_order_std: Array
    total_std: Array
    accuracy: float
    mean: Any
    variance: Any
    output_names: list[str]

    def __repr__(self) -> str:
        d = len(self.names)
        first, total, first_std, total_std = (np.reshape(each, (d, -1)) for each in self[1:5])
        lines = []
        for t, output in enumerate(self.output_names):
            rows = [
                (self.names[i], _shown(first[i, t]), _shown(first_std[i, t]), _shown(total[i, t]), _shown(total_std[i, t]))
                for i in np.argsort(-total[:, t], kind="stable")
            ]
            lines += [output] * (len(self.output_names) > 1)
            lines += _text.table(("input", "first order", "±", "total", "±"), rows, "<>>>>")
        return _text.printable_lines([*lines, f"  Numbers are accurate to {self.accuracy:.0e}."])


class Effects(NamedTuple):
    """Main effects of the inputs; :meth:`fastard.GaussianProcess.effects` makes it.

    Attributes
    ----------
    names : list of str
        The inputs, d of them.
    points : ndarray, shape (d, q)
        Values of each input.
    mean, std : ndarray, shape (d, q), or (d, q, m) for m > 1 outputs
        Of the function averaged over all other inputs, with this one there.
    """

    names: list[str]
    points: Array
    mean: Array
    std: Array

    def __repr__(self) -> str:
        return f"<Effects of {_text.listed(self.names)}: points, mean and std at {self.points.shape[1]} values each>"


class Distribution(NamedTuple):
    """Of independent inputs: uniform between two numbers each, or, with ``values``, drawn from a column's sorted values."""

    low: Array  # (d,)
    high: Array
    values: Array | None  # (n, d)

    def points(self, uniform: Array) -> Array:
        """From numbers (q, d) between 0 and 1."""
        if self.values is None:
            return self.low + (self.high - self.low) * uniform
        n, d = self.values.shape
        drawn: Array = self.values[np.minimum((uniform * n).astype(np.int64), n - 1), np.arange(d)]
        return drawn

    def nodes(self, i: int, count: int, shift: float) -> tuple[Array, Array]:
        """Values of input i and their weights: a Gauss-Legendre rule, or quantiles that ``shift``, 0 to 1, moves."""
        if self.values is None:
            nodes, weights = np.polynomial.legendre.leggauss(count)
            return self.low[i] + (self.high[i] - self.low[i]) * 0.5 * (1.0 + nodes), 0.5 * weights
        n = self.values.shape[0]
        places = (np.arange(n) + 0.5) / n if n <= count else (np.arange(count) + shift) / count
        return self.values[np.minimum((places * n).astype(np.int64), n - 1), i], np.full(places.size, 1.0 / places.size)


def distribution_of(model: Any, given: Any) -> Distribution:
    """From what a user gave: "uniform", "data", or ranges."""
    ranges = validate.input_distribution(given, model._X, model.feature_names)
    return Distribution(*ranges, np.sort(model._X, axis=0) if isinstance(given, str) and given == "data" else None)


def sobol(model: Any, given: Any, n_samples: int, n_points: int, rng: Any) -> SobolIndices:
    """See :meth:`fastard.GaussianProcess.sobol`."""
    validate.mean_anywhere("sobol", model._has_array)
    of_inputs = distribution_of(model, given)
    n_samples = validate.count("n_samples", n_samples, least=0)
    n_points = validate.count("n_points", n_points, least=2)
    random = validate.generator(rng)
    with np.errstate(all="ignore"):  # a constant function has no shares, which NaN says
        found = closed_form(model, of_inputs) if type(model.kernel) is RBF and model._trend is None else None
        if found is None:
            found = quadrature(model, of_inputs, n_points)
        first, total, accuracy, mean, variance = found
        first_std, total_std = _spread(model, of_inputs, n_samples, random)
    shares, numbers = [first, total, first_std, total_std], [mean + model._y_mean, variance]
    if model._y.shape[1] == 1:
        shares, numbers = [each[:, 0] for each in shares], [float(each[0]) for each in numbers]
    return SobolIndices(list(model.input_names), *shares, accuracy, *numbers, model.output_names)  # type: ignore[call-arg, arg-type]


_Found = tuple[Array, Array, float, Array, Array]  # first order, total, accuracy, mean less that of y, and variance


def closed_form(model: Any, of_inputs: Distribution) -> _Found | None:
    """Of the RBF kernel, a product over the inputs; None where rounding would spoil the numbers.

    With c = signal_variance alpha, a_i = E k_i(x, X) and B_i = E k_i(X, x) k_i(x, X): the mean is c' prod a_i, its second
    moment c' (prod B_i) c, and where input i is known, or all others are, a_l a_l' stands in the place of the others' B_l.
    """
    X, c, d = model._X, model._term.signal_variance * model._alpha * model._units, model.length_scale.size
    if d == 0 or len(X) > _MOST_POINTS:
        return None
    a = [moments(of_inputs, X, model.length_scale, i, second=False)[0] for i in range(d)]
    logs = np.zeros((len(X), len(X)))
    for i in range(d):
        logs += np.log(moments(of_inputs, X, model.length_scale, i)[1])
    product, mean = np.prod(a, axis=0), np.prod(a, axis=0) @ c
    whole = np.exp(logs)
    second = np.einsum("jt,jk,kt->t", c, whole, c, optimize=True)
    variance = second - mean**2
    size = np.einsum("jt,jk,kt->t", np.abs(c), whole, np.abs(c), optimize=True)
    accuracy = float(np.max(d * np.finfo(float).eps * (size + (product @ np.abs(c)) ** 2) / variance, initial=0.0))
    if not (accuracy < _ROUNDING and (variance > 0.0).all()):
        return None
    first, total = np.empty((d, c.shape[1])), np.empty((d, c.shape[1]))
    for i in range(d):
        B = moments(of_inputs, X, model.length_scale, i)[1]
        others = np.prod([a[k] for k in range(d) if k != i], axis=0)[:, np.newaxis] * c
        first[i] = (np.einsum("jt,jk,kt->t", others, B, others, optimize=True) - mean**2) / variance
        without = np.exp(logs - np.log(B)) * np.outer(a[i], a[i])
        total[i] = (second - np.einsum("jt,jk,kt->t", c, without, c, optimize=True)) / variance
    return first, total, accuracy, mean, variance


def moments(of_inputs: Distribution, X: Array, length_scale: Array, i: int, second: bool = True) -> tuple[Array, Array]:
    """a (n,) and B (n, n), empty without ``second``, of one input of the RBF kernel; at least the smallest float."""
    scale, x = length_scale[i], X[:, i]
    low, high, tiny = of_inputs.low[i], of_inputs.high[i], np.finfo(float).tiny
    if of_inputs.values is not None or high == low:
        values = of_inputs.values[:, i] if of_inputs.values is not None else np.array([low])
        K = np.exp(-0.5 * ((values[:, np.newaxis] - x) / scale) ** 2)
        return K.mean(axis=0), np.maximum(K.T @ K / len(K), tiny) if second else np.empty((0, 0))
    a = _gaussian_average(x, scale, low, high)
    if not second:
        return a, np.empty((0, 0))
    # The product of two Gaussian curves is one around the middle, narrower by sqrt(2).
    middle = _gaussian_average(0.5 * (x[:, np.newaxis] + x), scale / math.sqrt(2.0), low, high)
    return a, np.maximum(middle * np.exp(-0.25 * ((x[:, np.newaxis] - x) / scale) ** 2), tiny)


def _gaussian_average(center: Array, scale: float, low: float, high: float) -> Array:
    """The average of exp(-(x - center)^2 / (2 scale^2)) over low < x < high."""
    from scipy.special import erf

    below, above = (low - center) / (math.sqrt(2.0) * scale), (high - center) / (math.sqrt(2.0) * scale)
    return scale * math.sqrt(0.5 * math.pi) / (high - low) * (erf(above) - erf(below))  # type: ignore[no-any-return]


def quadrature(model: Any, of_inputs: Distribution, n_points: int) -> _Found:
    """Of any kernel: a rule along each input, at points of the others from a Sobol' sequence with several shifts."""
    d, m = model.length_scale.size, model._y.shape[1]
    design = _sequence(n_points, d)
    shifts = np.random.default_rng(0).random((_SHIFTS, d))
    parts = np.zeros((_SHIFTS, 2, d, m))
    variances, means = np.zeros((_SHIFTS, m)), np.zeros((_SHIFTS, m))
    counts = _node_counts(model, of_inputs)
    for r, shift in enumerate(shifts):
        points = of_inputs.points((design + shift) % 1.0)
        for i in range(d):
            nodes, weights = of_inputs.nodes(i, counts[i], shift[i])
            values = _along(model, points, i, nodes)
            parts[r, 0, i], parts[r, 1, i], mean, variance = _of_grid(values, weights)
            means[r] += mean / d
            variances[r] += variance / d
    variance = variances.mean(axis=0)
    first, total = parts.mean(axis=0) / variance
    ratios = parts / variances[:, np.newaxis, np.newaxis]
    accuracy = float(np.max(ratios.std(axis=0, ddof=1), initial=0.0)) / math.sqrt(_SHIFTS)
    return first, total, accuracy, means.mean(axis=0), variance


def _of_grid(values: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
    """Of values (s, q, ...), q along one input: the variance of their mean over s, the mean of their variance over q, and the
    mean and variance of all.
    """
    mean = np.average(np.mean(values, axis=0), axis=0, weights=weights)
    centred = values - mean
    of_points = np.average(centred, axis=1, weights=weights)
    first = np.average(np.mean(centred, axis=0) ** 2, axis=0, weights=weights)
    total = np.mean(np.average((centred - of_points[:, np.newaxis]) ** 2, axis=1, weights=weights), axis=0)
    return first, total, mean, total + np.mean(of_points**2, axis=0)


def _sequence(count: int, d: int) -> Array:
    """The first so many points of a Sobol' sequence, without any random number."""
    from scipy.stats import qmc

    return qmc.Sobol(d, scramble=False).random_base2(math.ceil(math.log2(count)))[:count]  # type: ignore[no-any-return]


def _node_counts(model: Any, of_inputs: Distribution) -> list[int]:
    if of_inputs.values is not None:
        return [_MOST_NODES] * model.length_scale.size
    with np.errstate(all="ignore"):
        waves = (of_inputs.high - of_inputs.low) / model.length_scale
    return [int(min(_NODES + 2.0 * wave, _MOST_NODES)) for wave in waves]


def _along(model: Any, points: Array, i: int, nodes: Array) -> Array:
    """The model's mean less that of y, (points, nodes, m): input i has the nodes' values, the others have the points'."""
    grid = _grid(points, i, nodes)
    parts = [model._predict(grid[at : at + _AT_A_TIME], MEAN)[1].mean for at in range(0, len(grid), _AT_A_TIME)]
    values: Array = np.concatenate(parts) - model._y_mean
    return values.reshape(len(points), len(nodes), -1)


def _grid(points: Array, i: int, nodes: Array) -> Array:
    """(points * nodes, d)."""
    grid = np.repeat(points, len(nodes), axis=0)
    grid[:, i] = np.tile(nodes, len(points))
    return grid


def _spread(model: Any, of_inputs: Distribution, n_samples: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Standard deviations (d, m) of the indices over functions drawn from the posterior, at few points.

    The points' own error is nearly the same for all functions, and does not count. Inputs without visible influence are left
    out: their indices are 0 for every function.
    """
    d, m = model.length_scale.size, model._y.shape[1]
    result = np.full((2, d, m), np.nan)
    varies = of_inputs.high > of_inputs.low
    visible = visible_influence(model._X, model._y, model._term, model.n_threads) | (model._trend is not None)
    used = np.flatnonzero(visible & varies).tolist()
    if n_samples < 2:
        return result[0], result[1]
    result[:] = 0.0
    if not used:
        return result[0], result[1]
    count = max(4, _SAMPLED_POINTS // (len(used) * _SAMPLED_NODES))
    points = of_inputs.points((_sequence(count, d) + np.random.default_rng(0).random(d)) % 1.0)
    rules = [of_inputs.nodes(i, _SAMPLED_NODES, 0.5) for i in used]
    grid = np.vstack([_grid(points, i, nodes) for i, (nodes, _) in zip(used, rules, strict=True)])
    drawn = model.sample(grid, n_samples, random).reshape(n_samples, len(used), count, -1, m)
    found = np.array([_of_grid(np.moveaxis(drawn[:, k], 0, -1), weights) for k, (_, weights) in enumerate(rules)])
    first, total, _, variances = np.moveaxis(found, 1, 0)  # each (used, m, samples)
    variance = variances.mean(axis=0)
    result[0, used], result[1, used] = (first / variance).std(axis=-1), (total / variance).std(axis=-1)
    return result[0], result[1]


def effects(model: Any, given: Any, n_nodes: int) -> Effects:
    """See :meth:`fastard.GaussianProcess.effects`."""
    validate.mean_anywhere("effects", model._has_array)
    of_inputs = distribution_of(model, given)
    count = validate.count("n_nodes", n_nodes, least=2)
    d, m = model.length_scale.size, model._y.shape[1]
    term: Term = model._term
    shift = np.random.default_rng(0).random(d)
    design = of_inputs.points((_sequence(_EFFECT_POINTS, d) + shift) % 1.0) if d else np.empty((1, 0))
    nodes = np.linspace(of_inputs.low, of_inputs.high, count, axis=1)
    mean, std = np.empty((d, count, m)), np.empty((d, count))
    with np.errstate(all="ignore"):  # an underflow is nobody's error
        for i in range(d):
            at_once = max(1, _AT_A_TIME // _EFFECT_POINTS)
            averages = np.empty((count, len(model._X)))  # of the covariances with the training points
            for start in range(0, count, at_once):
                part = nodes[i, start : start + at_once]
                covariances = cross_covariance(term, _grid(design, i, part), model._X, model.n_threads)
                averages[start : start + at_once] = covariances.reshape(len(design), len(part), -1).mean(axis=0)
            held = design.copy()
            held[:, i] = 0.0
            prior = float(cross_covariance(term, held, held, model.n_threads).mean())
            solved = solve(model._factor, np.ascontiguousarray(averages.T))
            variance = np.maximum(prior - np.einsum("nq,nq->q", solved, solved), 0.0)
            mean[i] = averages @ (model._alpha * model._units) + model._y_mean
            if model._trend is not None:
                functions = model._trend.at(_grid(design, i, nodes[i]), None).reshape(len(design), count, -1).mean(axis=0)
                mean[i] += functions @ model._trend.coefficients
                variance += np.sum(model._trend.spread(averages @ model._trend.solved, functions) ** 2, axis=1)
            std[i] = np.sqrt(variance)
    deviation = std[..., np.newaxis] * model._units
    return Effects(list(model.input_names), nodes, *((each[..., 0] if m == 1 else each) for each in (mean, deviation)))


def _shown(share: float) -> str:
    return "" if math.isnan(share) else f"{round(share, 3) + 0.0:.3f}"
