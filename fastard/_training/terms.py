"""From a user's terms to the parameters of their sum: where they start, between what, and their priors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine import descent
from fastard._model.additive import AdditiveGaussianProcess
from fastard._model.encoding import Encoding
from fastard._objectives.terms import Sum, Term, encoded_columns
from fastard._parameters import FIXED, Given, Parameters, ParameterSpace
from fastard._parameters import space as parameter_space
from fastard._training.priors import Priors, log_priors
from fastard.kernels import RBF, Kernel


class SumSpace(ParameterSpace):
    """The hyperparameters of a sum, from those of its terms, each with the noise: ``of_terms``, spaces by the terms' names.

    The order is [length scales of the first term, of the second ..., signal variances, noise variances, shape parameters]. The
    signal variances of the ``shared`` terms start at their part of the default, one over the number of terms.

    Attributes
    ----------
    places : list of ndarray of int
        Where the parameters of each term's space stand in this one.
    """

    def __init__(self, kernel: Sum, of_terms: Mapping[str, ParameterSpace], shared: Collection[str] = ()) -> None:
        spaces = list(of_terms.values())
        first, sizes = spaces[0], [space.d for space in spaces]
        d, t, noises = sum(sizes), len(spaces), first.noises or 1
        self.of_terms, self.places = of_terms, list[NDArray[np.int64]]()
        scale, shape = 0, d + t + noises
        for i, space in enumerate(spaces):
            shapes = len(space.kernel)
            own = (np.arange(scale, scale + space.d), [d + i], np.arange(d + t, d + t + noises), shape + np.arange(shapes))
            self.places.append(np.concatenate(own).astype(np.int64))
            scale, shape = scale + space.d, shape + shapes
        theta, limits, fixed = np.empty(shape), np.empty((shape, 2)), np.empty(shape, dtype=bool)
        for i, (name, places, space) in enumerate(zip(of_terms, self.places, spaces, strict=True)):
            start, _, low, high = space.natural_arrays
            theta[places], fixed[places] = start, ~space.is_free
            limits[places, 0], limits[places, 1] = low, high
            if name in shared and not fixed[d + i]:
                theta[d + i] = max(theta[d + i] - math.log(t), math.log(limits[d + i, 0]))
        starts = np.cumsum([0, *sizes[:-1]])
        first_of_group = np.concatenate([start + space.first_of_group for start, space in zip(starts, spaces, strict=True)])
        super().__init__(kernel, first_of_group, np.where(fixed, limits[:, 0], np.exp(theta)), limits, fixed)
        self.isotropic = False
        self.noises, self.unit_of_variance = first.noises, first.unit_of_variance
        # A search asks for sqrt(d) times these.
        self.deviations = np.concatenate([space.deviations * math.sqrt(space.d / d) for space in spaces])
        owns = np.repeat([space.own_length_scales for space in spaces], sizes)
        self.own_length_scales = np.array([place < d and owns[place] for place in self.first_places], dtype=bool)
        self.given_bounds = {"noise_variance": first.given_bounds["noise_variance"]}
        columns = [start + space.columns for start, space in zip(starts, spaces, strict=True) if space.columns is not None]
        if columns:  # X is encoded
            self.columns = np.concatenate(columns)

    @property
    def _signals(self) -> slice:
        return slice(self.d, self.d + len(self.of_terms))

    @property
    def _noises(self) -> slice:
        return slice(self._signals.stop, self._signals.stop + (self.noises or 1))

    def natural(self, free_theta: Array) -> Parameters:
        """length_scale, signal variances (one for each term), noise_variance and the kernel."""
        values = np.empty(self._theta.size)
        descent.natural(np.ascontiguousarray(free_theta), *self.natural_arrays, values)
        noises = self._noises
        noise = values[noises] if self.noises else float(values[noises.start])
        return values[: self.d], values[self._signals], noise, self.kernel.with_shape(values[noises.stop :].tolist())

    @property
    def fixed_noise(self) -> bool:
        """Whether the noise's variance is fixed."""
        return bool((self.number[self._noises] == FIXED).all())

    def priors(self, of_terms: Sequence[Priors]) -> Priors:
        """All terms' priors, by their places here."""
        return [
            (name if name == "noise_variance" else f"{term}: {name}", places[where], prior)
            for term, places, own in zip(self.of_terms, self.places, of_terms, strict=True)
            for name, where, prior in own
        ]

    @property
    def term_settings(self) -> dict[str, dict[str, Any]]:
        """What each term is to be trained with again, as :class:`fastard.Term` takes it."""
        result = {}
        for name, space in self.of_terms.items():
            result[name] = {
                f"{kind}_bounds": bounds
                for kind, bounds in space.given_bounds.items()
                if kind != "noise_variance" and any(bounds)
            }
            result[name]["length_scale_groups"] = space.column_groups.tolist()
        return result


def wanted_terms(kernel: Any, start: Any, names: list[str] | None) -> dict[str, Term] | None:
    """The terms of a sum that is to be trained; None for one kernel over all columns. ``names`` of X's columns."""
    if kernel is None and isinstance(start, AdditiveGaussianProcess):
        return {name: Term(term.kernel, term.columns) for name, term in start._terms_for(names).items()}
    if not isinstance(kernel, Mapping):
        validate.one_kernel(start, AdditiveGaussianProcess)
        return None
    terms: dict[str, Term] = validate.terms_by_name(kernel, Term)
    validate.start_of_terms(start, AdditiveGaussianProcess, terms)
    return terms


def sum_of(terms: Mapping[str, Term], names: list[str] | None, encoding: Encoding | None, d: int) -> tuple[Sum, list[Any]]:
    """The kernel, over encoded columns; and each term's of the d columns of X."""
    columns = [validate.columns_of_term(name, term.columns, names, d) for name, term in terms.items()]
    kernels = [validate.as_kernel(term.kernel) for term in terms.values()]
    of_column = np.arange(d) if encoding is None else encoding.of_column
    return Sum(terms, kernels, [encoded_columns(own, of_column)[0] for own in columns]), columns


def of_sum(space: ParameterSpace, parameters: Parameters, columns: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """What a trained sum has beside other models."""
    assert isinstance(space, SumSpace)
    return {
        "signal_variances": parameters[1],
        "_columns": [own.tolist() for own in columns],
        "_term_settings": space.term_settings,
    }


def space_and_priors(
    X: Array,
    y: Array,
    kernel: Kernel,
    terms: Mapping[str, Term],
    columns: Sequence[Any],
    noise: Given,
    noise_prior: Any,
    start: Any,
    *,
    standardize: bool,
    names: list[str] | None,
    encoding: Encoding | None,
    noises: int,
) -> tuple[ParameterSpace, Priors]:
    """From the arguments of `fit`; X is encoded, ``columns`` are each term's before that."""
    assert isinstance(kernel, Sum)
    spaces: dict[str, ParameterSpace] = {}
    priors: list[Priors] = []
    shared: set[str] = set()  # whose signal variances start by default
    trained = {} if start is None else start._terms_for(names)
    _check_what_is_shared(y, noise, noise_prior, standardize, noises)
    parts = zip(terms.items(), kernel.kernels, kernel.columns, columns, strict=True)
    for (name, term), own_kernel, encoded, own_columns in parts:
        with validate.naming(f"kernel[{name!r}]"):
            before = trained.get(name, Term())
            called = [str(i) if names is None else names[i] for i in own_columns]
            if start is not None:
                has_names = names is not None and start.feature_names is not None
                validate.columns_of_start(list(before.columns or ()), called if has_names else own_columns.tolist())
            given = {
                "length_scale": Given(term.length_scale, term.length_scale_bounds, before.length_scale),
                "signal_variance": Given(term.signal_variance, term.signal_variance_bounds, before.signal_variance),
                "noise_variance": noise,
                "shape": Given(tuple(own_kernel) or None, term.shape_bounds),
            }
            own_X = np.ascontiguousarray(X[:, encoded])
            of_column = None if encoding is None else encoded_columns(own_columns, encoding.of_column)[1]
            space = parameter_space(
                own_X, y, own_kernel, given, term.length_scale_groups, standardize, called, of_column, noises
            )
            own_priors = log_priors(
                space, own_X, called, length_scale=term.length_scale_prior, signal_variance=term.signal_variance_prior,
                noise_variance=None if priors else noise_prior, shape=term.shape_prior,
            )  # fmt: skip
            priors.append(own_priors)
            spaces[name] = space
            if term.signal_variance is None and before.signal_variance is None:
                shared.add(name)
    whole = SumSpace(kernel, spaces, shared)
    of_each: dict[str, tuple[Any, ...]] = {}
    for name, own_kernel, encoded, places in zip(terms, kernel.kernels, kernel.columns, whole.places, strict=True):
        starts = *whole.natural_arrays[0][places].tolist(), *whole.is_free[places].tolist()
        of_each[name] = own_kernel, *encoded.tolist(), *starts
    validate.told_apart(of_each)
    return whole, whole.priors(priors)


def _check_what_is_shared(y: Array, noise: Given, noise_prior: Any, standardize: bool, noises: int) -> None:
    """Refuse the targets or the noise, for which no term is to blame."""
    no_columns = np.empty((len(y), 0))
    given = {"noise_variance": noise} | dict.fromkeys(("length_scale", "signal_variance", "shape"), Given(None, None))
    space = parameter_space(no_columns, y, RBF(), given, None, standardize, [], None, noises)
    log_priors(space, no_columns, None, noise_variance=noise_prior)
