"""A sum of kernels, each over some of the columns: what a user asks for, and how a likelihood evaluates it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastard import _validation as validate
from fastard._arrays import Array
from fastard._engine.terms import Term as EngineTerm
from fastard._engine.terms import TermGradient
from fastard._parameters import Given, space
from fastard.kernels import RBF, Kernel


@dataclass(frozen=True, eq=False, repr=False)
class Term:
    """One kernel of a sum: the columns that it is over, and what `fit` needs to know about its parameters.

    ``fastard.fit(X, y, kernel={"trend": Term("rbf", ["year"]), ...})`` trains a sum of such; the trained model's ``terms``
    are of this class too, with the trained values. All but the columns mean what they mean in :func:`fastard.fit`, for this
    term alone. Terms with equal arguments are equal.

    Parameters
    ----------
    kernel : str or kernel object, default "rbf"
    columns : sequence of columns, optional
        Names, or numbers where X is no DataFrame; all columns where None. A squared exponential over several columns is the
        product of squared exponentials over each.
    length_scale : float, array-like, shape (k,), or dict, optional
        Where the search starts, for the term's k columns in their order; by default at sqrt(k) standard deviations of each.
    signal_variance : float, optional
        By default the variance of y over the number of terms.
    length_scale_bounds, signal_variance_bounds, shape_bounds : optional
    length_scale_groups : "isotropic", sequence of k labels, or dict, optional
    length_scale_prior, signal_variance_prior, shape_prior : optional

    Raises
    ------
    ValueError, TypeError
        For what is wrong whatever the data are; the message names the argument.

    Examples
    --------
    >>> from fastard import Term
    >>> Term("matern52", ["depth"], length_scale=3.0)
    Term('matern52', ['depth'], length_scale=3.0)
    """

    kernel: str | Kernel = "rbf"
    columns: Sequence[Any] | None = None
    _: KW_ONLY
    length_scale: Any = None
    signal_variance: Any = None
    length_scale_bounds: Any = None
    signal_variance_bounds: Any = None
    shape_bounds: Any = None
    length_scale_groups: Any = None
    length_scale_prior: Any = None
    signal_variance_prior: Any = None
    shape_prior: Any = None

    def __post_init__(self) -> None:
        """Refuse what `fit` would refuse for any X."""
        kernel, columns = validate.as_kernel(self.kernel), validate.some_columns_of_term(self.columns)
        object.__setattr__(self, "columns", columns)
        validate.about_shape("shape_prior", self.shape_prior, kernel)
        given = {
            "length_scale": Given(self.length_scale, self.length_scale_bounds),
            "signal_variance": Given(self.signal_variance, self.signal_variance_bounds),
            "noise_variance": Given(None, None),
            "shape": Given(tuple(kernel) or None, self.shape_bounds),
        }
        groups, called = self.length_scale_groups, list(map(str, columns or ()))
        if columns is None:  # of which nobody knows how many they are
            groups, given["length_scale"] = None, Given(None, None)
        space(np.zeros((1, len(called))), np.zeros((1, 1)), kernel, given, groups, False, called)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Term):
            return NotImplemented
        if validate.as_kernel(self.kernel) != validate.as_kernel(other.kernel):
            return False
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)[1:])

    def __hash__(self) -> int:
        return hash((validate.as_kernel(self.kernel), None if self.columns is None else tuple(self.columns)))

    def __repr__(self) -> str:
        given = [(field.name, getattr(self, field.name)) for field in fields(self)[2:]]
        named = [f"{name}={value!r}" for name, value in given if value is not None]
        return f"Term({', '.join([repr(self.kernel), repr(self.columns), *named])})"


def _same(one: Any, other: Any) -> bool:
    """Whether two values that a term was given are equal, with what they hold."""
    if hasattr(one, "__array__") or hasattr(other, "__array__"):
        return np.array_equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


class Sum(Kernel):
    """Kernels over columns of X, each with its own length scales and signal variance; the tuple of all shape parameters.

    theta is [length scales of the first term, of the second ..., signal variances, noise variance, shape parameters].

    Attributes
    ----------
    names : tuple of str
    kernels : tuple of Kernel
    columns : tuple of ndarray of int
        Of X as the likelihood has it, in the order of each term's length scales.
    parts : list of slice
        Where each term's length scales stand among those of all.
    """

    names: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    columns: tuple[NDArray[np.int64], ...]
    parts: list[slice]

    def __new__(cls, names: Iterable[str], kernels: Iterable[Kernel], columns: Iterable[NDArray[np.int64]]) -> Self:
        kernels = tuple(kernels)
        self = super().__new__(cls, itertools.chain(*kernels))
        self.names, self.kernels, self.columns = tuple(names), kernels, tuple(columns)
        stops = list(itertools.accumulate(len(own) for own in self.columns))
        self.parts = [slice(stop - len(own), stop) for stop, own in zip(stops, self.columns, strict=True)]
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.names, self.kernels, self.columns

    @property
    def shape_names(self) -> tuple[str, ...]:
        """The shape parameters' names, with their terms'."""
        return tuple(
            f"{name}: {shape}" for name, kernel in zip(self.names, self.kernels, strict=True) for shape in kernel.shape_names
        )

    def with_shape(self, shape: Iterable[float]) -> Sum:
        """The same with other shape parameters."""
        if len(self) == 0:
            return self
        values = iter(shape)
        kernels = [kernel.with_shape(itertools.islice(values, len(kernel))) for kernel in self.kernels]
        return Sum(self.names, kernels, self.columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sum) or (self.names, self.kernels) != (other.names, other.kernels):
            return False
        return all(map(np.array_equal, self.columns, other.columns))

    def __hash__(self) -> int:
        return hash((self.names, self.kernels))

    def __repr__(self) -> str:
        return " + ".join(f"{name}: {kernel!r}" for name, kernel in zip(self.names, self.kernels, strict=True))

    @property
    def all_columns(self) -> NDArray[np.int64]:
        """Of X, one for each length scale."""
        return np.concatenate(self.columns)

    def terms(
        self, length_scale: Array, signal_variance: Array, d: int, free: NDArray[np.bool_] | None = None
    ) -> list[EngineTerm]:
        """As the engine takes them, of X's d columns; ``free``: the length scales whose derivatives are wanted."""
        result = []
        for kernel, columns, part, variance in zip(
            self.kernels, self.columns, self.parts, signal_variance.tolist(), strict=True
        ):
            of_columns, is_free = np.full(d, np.inf), None
            of_columns[columns] = length_scale[part]
            if free is not None:
                is_free = np.zeros(d, dtype=bool)
                is_free[columns] = free[part]
            result.append(EngineTerm(kernel, of_columns, variance, is_free, columns))
        return result

    def by_theta(self, found: Sequence[TermGradient], of_noise: float | Array) -> Array:
        """Derivatives in theta's order."""
        of_scales = [one.log_length_scale[columns] for one, columns in zip(found, self.columns, strict=True)]
        signals = [one.log_signal_variance for one in found]
        return np.concatenate([*of_scales, signals, np.atleast_1d(of_noise), *(one.log_shape for one in found)])


def names_in_theta(d: int, kernel: Kernel, columns: list[str] | None, noise_groups: Iterable[Any] | None) -> list[str]:
    """The parameters in theta's order, by the names of X's d columns or else their numbers."""
    if not isinstance(kernel, Sum):
        return validate.parameter_names(d, kernel, columns, noise_groups)
    called, own = columns or [str(i) for i in range(d)], list(zip(kernel.names, kernel.columns, strict=True))
    return [
        *(f"{name}: length_scale[{called[i]}]" for name, of_term in own for i in of_term),
        *(f"{name}: signal_variance" for name in kernel.names),
        *validate.parameter_names(0, RBF(), None, noise_groups)[1:],
        *kernel.shape_names,
    ]


def encoded_columns(
    columns: Sequence[int] | NDArray[np.int64], of_column: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The encoded columns that a term's columns have become, and which of the term's columns, from 0, each was made of.

    ``of_column``: of each encoded column the column of X that it was made of.
    """
    parts = [np.flatnonzero(of_column == column) for column in columns]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def as_kernel(kernel: Any, names: list[str] | None, d: int) -> Kernel:
    """A kernel, from what a user gave for one: itself, its name, or a dictionary of terms; ``names`` of X's d columns."""
    if isinstance(kernel, Sum):
        return kernel
    if isinstance(kernel, Term | list):
        validate.terms_have_names(kernel)
    if not isinstance(kernel, Mapping):
        return validate.as_kernel(kernel)
    terms = validate.terms_by_name(kernel, Term)
    columns = [validate.columns_of_term(name, term.columns, names, d) for name, term in terms.items()]
    return Sum(terms, [validate.as_kernel(term.kernel) for term in terms.values()], columns)
