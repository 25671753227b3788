"""What does a trained model say? Inputs with errors, noise and signal, how well it predicts, and how the search went."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastard import _text
from fastard import _validation as validate
from fastard._arrays import Array
from fastard._model.encoding import by_column, places
from fastard._model.standard_errors import METHODS, StandardErrors, shown_factor
from fastard._objectives.leave_one_out import LeaveOneOut
from fastard._objectives.terms import Sum
from fastard._parameters import AT_BOUND, AT_UPPER_BOUND, FIXED
from fastard.kernels import BY_NAME

_NEAR = 0.1  # nats, up to which searches have ended in the same optimum

_NOTHING = 0.1  # Q², below which a model predicts hardly better than a constant

MOST_ROWS = 30  # of a table

NO_INFLUENCE = "no visible influence"


class InputSummary(NamedTuple):
    """One input; NaN where there is no standard error.

    Attributes
    ----------
    name : str
    length_scale : float
    factor : float
        The exponential of the standard error of the length scale's logarithm: one standard error is this factor, up or down.
    relevance, relevance_error : float
        See :attr:`fastard.GaussianProcess.relevance`; and its standard error, by the delta method.
    remark : str
        "no visible influence" (where the mean has basis functions "none beyond the mean"), "constant", "fixed", "tied to
        ...", "at its upper bound", "at its lower bound", "not determined" (and why, where the search did not converge), or
        nothing.
    """

    name: str
    length_scale: float
    factor: float
    relevance: float
    relevance_error: float
    remark: str


@dataclass(frozen=True, repr=False, eq=False)
class Summary:
    """What a model says, as text (``str``) or, in a notebook, as tables; :meth:`fastard.GaussianProcess.summary` makes it.

    Attributes
    ----------
    title : str
    inputs : list of InputSummary
        The most relevant first.
    facts : list of (str, str)
        All else, by its name.
    about_relevance : str
        What relevance says, and what it does not.
    notes : list of str
        What to keep in mind: a search that has not converged, or that restarts may better, and about the standard errors.
    loo : LeaveOneOut or None
    standard_errors : StandardErrors or None
    """

    title: str
    inputs: list[InputSummary]
    facts: list[tuple[str, str]]
    about_relevance: str
    notes: list[str]
    loo: LeaveOneOut | None
    standard_errors: StandardErrors | None

    @property
    def header(self) -> tuple[str, ...]:
        """Of the table of inputs."""
        return columns_of(self, ("input", "length scale", "×/÷", "relevance", "±", ""))

    def rows(self, most: int | None = None) -> list[tuple[str, ...]]:
        """The table of inputs, at most so many."""
        return [columns_of(self, cells_of(row)) for row in self.inputs[:most]]

    def __str__(self) -> str:
        shown = self.rows(MOST_ROWS)
        left = len(self.inputs) - len(shown)
        align = columns_of(self, ("<", ">", ">", ">", ">", "<"))
        lines = [self.title, *_text.table(self.header, shown, align)] if shown else [self.title]
        lines += [f"  and {left} less relevant inputs"] * bool(left)
        lines += [f"  {self.about_relevance}"] * bool(shown)
        lines += ["", *_text.table((), self.facts, "<<")]
        lines += ["", *(f"  Note: {note}" for note in self.notes)] if self.notes else []
        return _text.printable_lines(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from fastard._model.notebook import tables

        return tables(self, MOST_ROWS)


def beyond_the_mean(model: Any) -> str:
    """What is to be said behind "relevance" where a mean with basis functions explains a part of the targets."""
    return "" if model._trend is None else " beyond the mean"


def about_relevance(model: Any) -> str:
    """One line for below a table of inputs."""
    return f"Relevance{beyond_the_mean(model)}: how wiggly the function is, not how much of the variance."


def cells_of(row: InputSummary) -> tuple[str, ...]:
    """Name, length scale, its factor, relevance, its error, and the remark."""
    return (
        row.name,
        f"{row.length_scale:.4g}",
        shown_factor(row.factor),
        f"{row.relevance:.3f}",
        "" if math.isnan(row.relevance_error) else f"{row.relevance_error:.3f}",
        row.remark,
    )


def columns_of(summary: Summary, cells: tuple[str, ...]) -> tuple[str, ...]:
    """Of a table of six columns those that the summary has: without standard errors there are no columns of them."""
    return cells if summary.standard_errors is not None else (*cells[:2], cells[3], cells[5])


def summary(model: Any, errors: str | None, loo: bool) -> Summary:
    """See :meth:`fastard.GaussianProcess.summary`."""
    if errors is not None:
        validate.choice("standard_errors", errors, METHODS)
    found, notes = model._standard_errors(errors) if errors is not None else (None, [])
    left_out = model.loo() if loo else None
    facts = [
        *_kinds(model),
        *variances_of(model, found),
        *_mean(model),
        ("log marginal likelihood", f"{model.log_marginal_likelihood:.6g} nats"),
        *(_leave_one_out(model, left_out) if left_out is not None else []),
        *search_of(model),
        *_restarts(model.search_values),
    ]
    told = [*about_fit(model), *(note.text for note in notes if note.about == "fit")]  # of the others there are remarks
    told += _about_searches(model, left_out)
    return Summary(title_of(model), inputs_of(model, found), facts, about_relevance(model), told, left_out, found)


def title_of(model: Any) -> str:
    """Of what, from how many points and inputs, and with which kernel."""
    n, d = len(model._X), len(model.input_names)
    if isinstance(model.kernel, Sum):
        terms = [f"{name} ({_text_of(kernel)})" for name, kernel in zip(model.kernel.names, model.kernel.kernels, strict=True)]
        kernel, what = f"sum of {_text.listed(terms)}", "length scale"
    else:
        kernel, what = f"kernel {_text_of(model.kernel)}", "input"
    points, inputs = (f"{count} {what}{'s' * (count != 1)}" for count, what in ((n, "point"), (d, what)))
    state = "" if model.converged else "; NOT CONVERGED"
    return f"Gaussian process of {_text.listed(model.output_names)}: {points}, {inputs}, {kernel}{state}"


def _text_of(kernel: Any) -> str:
    """Its name and shape parameters."""
    name = next(name for name, kind in BY_NAME.items() if type(kernel) is kind)
    return name + "".join(f", {name} {value:.4g}" for name, value in zip(kernel.shape_names, kernel, strict=True))


def inputs_of(model: Any, errors: StandardErrors | None) -> list[InputSummary]:
    """The most relevant first."""
    d, relevance = model.length_scale.size, model.relevance
    deviations = np.full(d, np.nan) if errors is None else errors.standard_errors[:d]
    of_relevance = np.full(d, np.nan) if errors is None else relevance_errors(relevance, errors.covariance[:d, :d])
    remarks = _remarks(model, None if errors is None else np.isnan(deviations))
    with np.errstate(all="ignore"):
        factors = np.exp(deviations)
    return [
        InputSummary(
            model.input_names[i],
            float(model.length_scale[i]),
            float(factors[i]),
            float(relevance[i]),
            float(of_relevance[i]),
            remarks[i],
        )
        for i in np.argsort(-relevance, kind="stable")
    ]


def _kinds(model: Any) -> list[tuple[str, str]]:
    """Inputs that no term of a sum is over; and those that are no plain numbers, with the units of their length scales."""
    unused = model._unused if isinstance(model.kernel, Sum) else []
    facts = [("unused", f"{_text.listed(unused)} (no term is over {'it' if len(unused) == 1 else 'them'})")] * bool(unused)
    if model._encoding is None:
        return facts
    for kind, what, unit in (
        (float, "periodic", "in radii of the circle"),
        (tuple, "categorical", "where levels are √2 apart"),
    ):
        names = [name for name, own in zip(model.input_names, model._encoding.kinds, strict=True) if isinstance(own, kind)]
        facts += [(what, f"{_text.listed(names)} (length scale {unit})")] * bool(names)
    return facts


def relevance_errors(relevance: Array, covariance: Array) -> Array:
    """Standard errors of relevances (d,) from the covariance of the log length scales (d, d), by the delta method.

    With d r_i / d ln(length scale j) = r_i (r_j - [i = j]). Length scales without an error, NaN, are as if they were known.
    """
    known = np.isnan(covariance.diagonal())
    jacobian = relevance[:, np.newaxis] * (relevance - np.eye(relevance.size))
    variance = np.einsum("ij,jk,ik->i", jacobian, np.where(np.isnan(covariance), 0.0, covariance), jacobian)
    result: Array = np.where(known, np.nan, np.sqrt(np.maximum(variance, 0.0)))
    return result


def _remarks(model: Any, without_error: Any) -> list[str]:
    slots, names, encoding = model._slots[_places(model)], model.input_names, model._encoding
    constant = by_column(encoding, validate.constant(model._X), np.logical_and)
    visible = by_column(encoding, model._visible, np.logical_or)
    remarks = []
    for i in range(model.length_scale.size):
        slot, first = slots[i], int(np.flatnonzero(slots == slots[i])[0])
        undetermined = without_error is not None and without_error[i] and slot >= 0
        if constant[i]:
            remark = "constant"
        elif not visible[i] and (slot == AT_UPPER_BOUND or undetermined):
            remark = NO_INFLUENCE if model._trend is None else f"none{beyond_the_mean(model)}"
        elif slot in _AT:
            remark = _AT[slot]
        elif undetermined:
            remark = _undetermined(model)
        else:
            remark = f"tied to {names[first]}" if first != i else ""
        remarks.append(remark)
    return remarks


def _undetermined(model: Any) -> str:
    """The curvature says nothing of a parameter: it is flat, or the search has not come where it says something."""
    return "not determined" if model.converged else "not determined: the search had not converged"


def _places(model: Any) -> Any:
    return places(model._encoding, model.length_scale.size, model._X.shape[1], model._slots.size)


_AT = {FIXED: "fixed", AT_BOUND: "at its lower bound", AT_UPPER_BOUND: "at its upper bound"}


def variances_of(model: Any, errors: StandardErrors | None) -> list[tuple[str, str]]:
    """Signal and noise."""
    d, facts = model.length_scale.size, []
    if np.ndim(model.signal_variance):
        return _own_variances_of(model, errors)
    noises = [("noise", model.noise_variance)]
    if model._noise_groups is not None:
        noises = [(f"noise, {label}", variance) for label, variance in model.noise_variances.items()]
    signals = [("signal", model.signal_variance)]
    if isinstance(model.kernel, Sum):
        signals = [
            (f"signal, {name}", variance) for name, variance in zip(model.kernel.names, model.signal_variances, strict=True)
        ]
    rows, slots = [*signals, *noises], model._slots[_places(model)]
    for place, (name, variance) in enumerate(rows, d):
        deviation = 0.0 if errors is None else errors.standard_errors[place]
        factor = f" (×/÷ {shown_factor(math.exp(0.5 * deviation))})" if 0.0 < deviation < 100.0 else ""
        remark = _AT.get(slots[place], _undetermined(model) if math.isnan(deviation) else "")
        text = f"std {math.sqrt(variance):.4g}{factor}, variance {variance:.4g}"
        facts.append((name, f"{text}{f' ({remark})' if remark else ''}"))
    if model._observation_variance is not None:
        facts.append(("known noise", "observation variances of each point besides"))
    return facts


def _own_variances_of(model: Any, errors: StandardErrors | None) -> list[tuple[str, str]]:
    """Each output's, and the ratio that they share."""
    d, facts = model.length_scale.size, []
    for name, variance in zip(model.output_names, model.signal_variance, strict=True):
        facts.append((f"signal, {name}", f"std {math.sqrt(variance):.4g}, variance {variance:.4g}"))
    ratios = np.atleast_1d(model._noise_parameter)
    names = [f", {label}" for label in model.noise_variances] or [""]
    slots = model._slots[_places(model)]
    for place, (name, ratio) in enumerate(zip(names, ratios, strict=True), d + 1):
        deviation = 0.0 if errors is None else errors.standard_errors[place]
        factor = f" (×/÷ {shown_factor(math.exp(deviation))})" if 0.0 < deviation < 100.0 else ""
        remark = _AT.get(slots[place], "not determined" if math.isnan(deviation) else "")
        facts.append((f"noise{name}", f"{ratio:.4g} of each signal's variance{factor}{f' ({remark})' if remark else ''}"))
    return facts


def _mean(model: Any) -> list[tuple[str, str]]:
    if model._trend is None:
        return [("mean", "zero")] if model._settings.get("mean") == "zero" else []
    kind, functions = model._trend.kind, len(model._trend.factor)
    text = f"{'given' if kind == 'basis' else kind}, {functions} coefficient{'s' * (functions != 1)}"
    integrated = model.objective.startswith("log") and model._mean_estimation == "reml"
    return [("mean", f"{text}, {'integrated out (REML)' if integrated else 'generalised least squares'}")]


def _leave_one_out(model: Any, loo: LeaveOneOut) -> list[tuple[str, str]]:
    names, facts = model.output_names, []
    m = len(names)
    for name, r2, rmse, coverage in zip(names, *(np.atleast_1d(x) for x in (loo.r2, loo.rmse, loo.coverage)), strict=True):
        what = f"Q² {round(r2, 4) + 0.0:.4f}, RMSE {rmse:.4g}, 95 % intervals hold {100.0 * coverage:.1f} %"
        facts.append((f"leave-one-out{f', {name}' if m > 1 else ''}", what))
    density = loo.log_predictive_density / model._y.size
    facts.append(("leave-one-out density", f"{density:.4g} nats per target"))
    return facts


def search_of(model: Any) -> list[tuple[str, str]]:
    """How training ended."""
    reason = model.message.partition("; at a bound: ")[0]  # which there are remarks of
    return [
        ("search", f"{'converged' if model.converged else 'not converged'}: {reason}"),
        ("evaluations", f"{model.n_evaluations}"),
    ]


def about_fit(model: Any) -> list[str]:
    """Notes on what makes the numbers worth little."""
    notes, names = [], model.output_names
    if len(model._y) > 1:
        constant = [name for name, is_so in zip(names, validate.constant(model._targets), strict=True) if is_so]
        notes += [f"all values of {_text.listed(constant)} are equal: nothing can be learned from them"] * bool(constant)
    if not model.converged:
        reason = model.message.partition("; at a bound: ")[0]
        notes.append(f"the search had not converged, and the numbers are provisional: {reason}")
    return notes


def _about_searches(model: Any, loo: LeaveOneOut | None) -> list[str]:
    """One search is easily lost where all of y looks like noise, and only its start was tried."""
    any_free = bool((model._slots[: np.size(model._parameters[0])] != FIXED).any())  # of the length scales
    searched = len(model.search_values) == 1 and model.converged and any_free
    if loo is None or not searched or not np.all(np.atleast_1d(loo.r2) < _NOTHING):
        return []
    return [
        f"the model predicts hardly better than a constant (Q² below {_NOTHING:g}), and one search was made: n_restarts=5 "
        "(--restarts 5) may find a better optimum"
    ]


def _restarts(search_values: list[float]) -> list[tuple[str, str]]:
    values = np.array(search_values)
    if values.size <= 1:
        return []
    ended = values[~np.isnan(values)]
    near = int(np.count_nonzero(ended >= ended.max() - _NEAR))
    return [("restarts", f"{values.size - 1}: {near} of {values.size} searches ended within {_NEAR:g} nats of the best")]
