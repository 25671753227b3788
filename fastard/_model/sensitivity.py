"""How much of the variance is each input's? Sobol' indices of a model's mean, and how sure they are.

Saltelli et al., Global sensitivity analysis: the primer (2008), chapter 4; of Gaussian processes Oakley & O'Hagan, J. R.
Statist. Soc. B 66 (2004), 751-769.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.posterior import MEAN
from fastard._model.distribution import (
    Distribution,
    as_given,
    distribution_of,
    full_grid,
    grid_along,
    numbers_of,
    sequence,
)
from fastard._model.encoding import by_column, distances
from fastard._model.standard_errors import visible_influence
from fastard.kernels import RBF

_SHIFTS = 8  # of the points, whose answers tell how accurate their mean is

_NODES = 16  # along an input, at least; more for short length scales
_MOST_NODES = 64

_ROUNDING = 1e-4  # of an index, beyond which the quadrature may be more accurate than the closed form

_MOST_POINTS = 4000  # of the closed form, which takes six n x n arrays

_AT_A_TIME = 2**17  # points that are predicted at once, and combinations of levels that are summed over

# Where functions are drawn: their covariance is an array of so many points squared.
_SAMPLED_POINTS, _SAMPLED_NODES, _LEAST_SAMPLED = 2000, 6, 4


class SobolIndices(NamedTuple):
    """Shares of the variance of a model's mean; :meth:`fastard.GaussianProcess.sobol` makes it.

    Arrays have the shape (d,), or (d, m) for m > 1 outputs, in the order of the columns of X.

    Attributes
    ----------
    names : list of str
        The inputs.
    first_order : ndarray
        The share that an input explains alone: the variance of the mean given this input, over the variance. NaN, as all
        shares and their errors are, where the mean is constant but for rounding errors.
    total : ndarray
        The share that is lost where this input is held, with all that it does together with others.
    first_order_std, total_std : ndarray
        Standard deviations over functions drawn from the posterior; NaN where none were drawn.
    accuracy : float
        Of the numbers in ``first_order`` and ``total``: the largest standard error of the quadrature; of the closed form, and
        of sums over all levels, a bound on what rounding adds. NaN where there are none.
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
        shape = len(self.names), len(self.output_names)
        first, total, first_std, total_std = (np.reshape(each, shape) for each in self[1:5])
        lines = []
        for t, output in enumerate(self.output_names):
            rows = [
                (
                    self.names[i],
                    shown_share(first[i, t]),
                    shown_share(first_std[i, t]),
                    shown_share(total[i, t]),
                    shown_share(total_std[i, t]),
                )
                for i in np.argsort(-total[:, t], kind="stable")
            ]
            lines += [output] * (len(self.output_names) > 1)
            lines += _text.table(("input", "first order", "±", "total", "±"), rows, "<>>>>")
        flat = [output for t, output in enumerate(self.output_names) if np.isnan(total[:, t]).all()]
        if flat and self.names:
            lines.append(f"  The mean of {_text.listed(flat)} is constant: there is no variance to share.")
        if not math.isnan(self.accuracy):
            lines.append(f"  Numbers are accurate to {self.accuracy:.0e}.")
        return _text.printable_lines(lines)


def sobol(model: Any, given: Any, n_samples: int, n_points: int, rng: Any) -> SobolIndices:
    """See :meth:`fastard.GaussianProcess.sobol`."""
    validate.mean_anywhere("sobol", model._has_array)
    of_inputs = distribution_of(model, given)
    n_samples = validate.count("n_samples", n_samples, least=0)
    n_points = validate.count("n_points", n_points, least=2)
    random = validate.generator(rng)
    with np.errstate(all="ignore"):  # a constant function has no shares, which NaN says
        found = sums(model, of_inputs)
        if found is None and type(model.kernel) is RBF and model._trend is None:
            found = closed_form(model, of_inputs)
        if found is None:
            found = quadrature(model, of_inputs, n_points)
        first, total, accuracy, mean, variance = found
        first_std, total_std = _spread(model, of_inputs, n_samples, random)
    shares, numbers = [first, total, first_std, total_std], [mean + model._y_mean, variance]
    flat = validate.constant(numbers[0] + np.sqrt(variance) * [[-1.0], [1.0]])
    for each in shares:
        each[:, flat] = np.nan  # and not shares of rounding errors
    accuracy = math.nan if flat.all() else accuracy
    if model._y.shape[1] == 1:
        shares, numbers = [each[:, 0] for each in shares], [float(each[0]) for each in numbers]
    return SobolIndices(list(model.input_names), *shares, accuracy, *numbers, model.output_names)  # type: ignore[call-arg, arg-type]


_Found = tuple[Array, Array, float, Array, Array]  # first order, total, accuracy, mean less that of y, and variance


def sums(model: Any, of_inputs: Distribution) -> _Found | None:
    """Of inputs that are all categories: over all combinations of their levels. None for others, and for too many of these."""
    rules = of_inputs.all_combinations(_AT_A_TIME)
    if rules is None:
        return None
    points, weights = full_grid(rules)
    d, m, sizes = len(rules), model._y.shape[1], [own.size for _, own in rules]
    values, first, total = _mean_at(model, points), np.empty((d, m)), np.empty((d, m))
    for i, (_, own) in enumerate(rules):
        lines = np.moveaxis(values.reshape(*sizes, m), i, -2).reshape(-1, sizes[i], m)
        of_lines = np.moveaxis(weights.reshape(sizes), i, -1).reshape(-1, sizes[i]).sum(axis=1)
        first[i], total[i], mean, variance = _of_grid(lines, own, of_lines)
    size = np.abs(model._term.signal_variance * model._alpha * model._units).sum(axis=0) + np.abs(values).max(axis=0)
    accuracy = float(np.max(4.0 * np.finfo(float).eps * size / np.sqrt(variance)))
    return first / variance, total / variance, accuracy, mean, variance


def closed_form(model: Any, of_inputs: Distribution) -> _Found | None:
    """Of the RBF kernel, a product over the inputs; None where rounding would spoil the numbers, or for a part of a period.

    With c = signal_variance alpha, a_i = E k_i(x, X) and B_i = E k_i(X, x) k_i(x, X): the mean is c' prod a_i, its second
    moment c' (prod B_i) c, and where input i is known, or all others are, a_l a_l' stands in the place of the others' B_l.
    """
    X, c, d = numbers_of(model), model._term.signal_variance * model._alpha * model._units, model.length_scale.size
    if d == 0 or len(X) > _MOST_POINTS or any(map(of_inputs.is_part_of_period, range(d))):
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
        others = np.prod([*a[:i], *a[i + 1 :], np.ones(len(X))], axis=0)[:, np.newaxis] * c
        first[i] = (np.einsum("jt,jk,kt->t", others, B, others, optimize=True) - mean**2) / variance
        without = np.exp(logs - np.log(B)) * np.outer(a[i], a[i])
        total[i] = (second - np.einsum("jt,jk,kt->t", c, without, c, optimize=True)) / variance
    return first, total, accuracy, mean, variance


def moments(of_inputs: Distribution, X: Array, length_scale: Array, i: int, second: bool = True) -> tuple[Array, Array]:
    """a (n,) and B (n, n), empty without ``second``, of one input of the RBF kernel; at least the smallest float."""
    kind, scale, x = of_inputs.kinds[i], length_scale[i], X[:, i]
    low, high, tiny = of_inputs.low[i], of_inputs.high[i], np.finfo(float).tiny
    values = of_inputs.values[i] if low < high else np.array([low])
    if values is not None:
        values, weights = of_inputs.nodes(i, values.size, 0.0) if low < high else (values, np.ones(1))
        K = np.exp(-0.5 * (distances(kind, values, x) / scale) ** 2)
        return weights @ K, np.maximum((K.T * weights) @ K, tiny) if second else np.empty((0, 0))
    if kind is not None:
        return _over_period(kind, x, scale, second)
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


def _over_period(period: float, x: Array, scale: float, second: bool) -> tuple[Array, Array]:
    """a and B of a periodic input: exp((cos(t - x) - 1) / scale^2) is averaged over t as Bessel's I_0 is."""
    from scipy.special import i0e  # exp(-z) I_0(z)

    a = np.full(x.size, i0e(1.0 / scale**2))
    if not second:
        return a, np.empty((0, 0))
    z = 2.0 / scale**2 * np.abs(np.cos(math.pi / period * (x[:, np.newaxis] - x)))
    return a, np.maximum(i0e(z) * np.exp(z - 2.0 / scale**2), np.finfo(float).tiny)


def quadrature(model: Any, of_inputs: Distribution, n_points: int) -> _Found:
    """Of any kernel: a rule along each input, at points of the others from a Sobol' sequence with several shifts."""
    d, m = model.length_scale.size, model._y.shape[1]
    design = sequence(n_points, d)
    shifts = np.random.default_rng(0).random((_SHIFTS, d))
    parts = np.zeros((_SHIFTS, 2, d, m))
    variances, means = np.zeros((_SHIFTS, m)), np.zeros((_SHIFTS, m))
    counts = _node_counts(model, of_inputs)
    for r, shift in enumerate(shifts):
        points = of_inputs.points((design + shift) % 1.0)
        for i in range(d):
            nodes, weights = of_inputs.nodes(i, counts[i], shift[i])
            values = _mean_at(model, grid_along(points, i, nodes)).reshape(len(points), len(nodes), m)
            parts[r, 0, i], parts[r, 1, i], mean, variance = _of_grid(values, weights)
            means[r] += mean / d
            variances[r] += variance / d
    variance = variances.mean(axis=0)
    first, total = parts.mean(axis=0) / variance
    ratios = parts / variances[:, np.newaxis, np.newaxis]
    accuracy = float(np.max(ratios.std(axis=0, ddof=1), initial=0.0)) / math.sqrt(_SHIFTS)
    return first, total, accuracy, means.mean(axis=0), variance


def _of_grid(values: Array, weights: Array, of_lines: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """Of values (s, q, ...), q along one input: the variance of their mean over s, the mean of their variance over q, and the
    mean and variance of all. ``of_lines`` (s,) are the weights of the s, by default equal.
    """
    mean = np.average(np.average(values, axis=0, weights=of_lines), axis=0, weights=weights)
    centred = values - mean
    of_points = np.average(centred, axis=1, weights=weights)
    first = np.average(np.average(centred, axis=0, weights=of_lines) ** 2, axis=0, weights=weights)
    within = np.average((centred - of_points[:, np.newaxis]) ** 2, axis=1, weights=weights)
    total = np.average(within, axis=0, weights=of_lines)
    return first, total, mean, total + np.average(of_points**2, axis=0, weights=of_lines)


def _node_counts(model: Any, of_inputs: Distribution) -> list[int]:
    """Of each input; what is drawn from values has as many as there may be."""
    radii = [kind / (2.0 * math.pi) if isinstance(kind, float) else 1.0 for kind in of_inputs.kinds]
    with np.errstate(all="ignore"):
        waves = (of_inputs.high - of_inputs.low) / radii / model.length_scale
    counts = [int(min(_NODES + 2.0 * wave, _MOST_NODES)) for wave in waves]
    return [count if values is None else _MOST_NODES for count, values in zip(counts, of_inputs.values, strict=True)]


def _mean_at(model: Any, points: Array) -> Array:
    """The model's mean less that of y at numbers (q, d): (q, m)."""
    at_a_time = range(0, len(points), _AT_A_TIME)
    parts = [model._predict(as_given(model, points[at : at + _AT_A_TIME]), MEAN)[1].mean for at in at_a_time]
    values: Array = np.concatenate(parts) - model._y_mean
    return values


def _spread(model: Any, of_inputs: Distribution, n_samples: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Standard deviations (d, m) of the indices over functions drawn from the posterior, at few points.

    The points' own error is nearly the same for all functions, and does not count. Inputs without visible influence are left
    out: their indices are 0 for every function.
    """
    d, m = model.length_scale.size, model._y.shape[1]
    result = np.full((2, d, m), np.nan)
    varies = of_inputs.high > of_inputs.low
    seen = visible_influence(model._X, model._y, model._term, model.n_threads)
    visible = by_column(model._encoding, seen, np.logical_or) | (model._trend is not None)
    used = np.flatnonzero(visible & varies).tolist()
    if n_samples < 2:
        return result[0], result[1]
    result[:] = 0.0
    if not used:
        return result[0], result[1]
    most = max(_SAMPLED_NODES, _SAMPLED_POINTS // (_LEAST_SAMPLED * len(used)))  # levels of a category
    counts = [most if isinstance(of_inputs.kinds[i], tuple) else _SAMPLED_NODES for i in used]
    rules = [of_inputs.nodes(i, count, 0.5) for i, count in zip(used, counts, strict=True)]
    sizes = [weights.size for _, weights in rules]
    count = max(_LEAST_SAMPLED, _SAMPLED_POINTS // sum(sizes))
    points = of_inputs.points((sequence(count, d) + np.random.default_rng(0).random(d)) % 1.0)
    grid = np.vstack([grid_along(points, i, nodes) for i, (nodes, _) in zip(used, rules, strict=True)])
    drawn = model.sample(as_given(model, grid), n_samples, random).reshape(n_samples, -1, m)
    parts = np.split(drawn, np.cumsum([count * size for size in sizes])[:-1], axis=1)
    lines = [np.moveaxis(part.reshape(n_samples, count, -1, m), 0, -1) for part in parts]
    found = np.array([_of_grid(own, weights) for own, (_, weights) in zip(lines, rules, strict=True)])
    first, total, _, variances = np.moveaxis(found, 1, 0)  # each (used, m, samples)
    variance = variances.mean(axis=0)
    result[0, used], result[1, used] = (first / variance).std(axis=-1), (total / variance).std(axis=-1)
    return result[0], result[1]


def shown_share(share: float, digits: int = 3) -> str:
    """Nothing for a function that is constant, which has no shares."""
    return "" if math.isnan(share) else f"{round(share, digits) + 0.0:.{digits}f}"
