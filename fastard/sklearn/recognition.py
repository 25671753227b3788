"""Which of scikit-learn's kernels fastard computes, and how: a kernel as a sum of terms and of noise.

A kernel is expanded into summands, each a product of constants and at most one of RBF, Matern, RationalQuadratic or
WhiteKernel. Classes are recognised by the identity of their methods, so that a subclass that computes anything else is not.
The whole may be a kernel of transformed points, see ``_transformed_kernels``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor as _SklearnRegressor
from sklearn.gaussian_process import kernels as sk

from fastard._arrays import Array, read_only
from fastard._engine.evaluate import Evaluation
from fastard._engine.terms import Term
from fastard.kernels import MATERN, RBF, Kernel, RationalQuadratic
from fastard.sklearn.original import _default_kernel
from fastard.sklearn.transformed import unwrap

_MATERN: dict[float, Kernel] = MATERN | {np.inf: RBF()}

_MOST_SUMMANDS = 16

LARGEST = 1e300  # of a parameter, and 1 over it but for a variance of 0: beyond it is scikit-learn's

_LARGEST_LOGARITHM = math.log(LARGEST)

# What decides a kernel's value and the order of its parameters.
_METHODS = (
    "__call__", "diag", "get_params", "set_params", "clone_with_theta", "theta", "hyperparameters", "requires_vector_input",
)  # fmt: skip

# The parameters of each class, in theta's order, and what else decides its value.
_PARAMETERS: dict[type, tuple[str, ...]] = {
    sk.Sum: (),
    sk.Product: (),
    sk.ConstantKernel: ("constant_value",),
    sk.WhiteKernel: ("noise_level",),
    sk.RBF: ("length_scale",),
    sk.Matern: ("length_scale",),
    sk.RationalQuadratic: ("alpha", "length_scale"),
}

_IDENTITY = {
    cls: [
        (name, getattr(cls, name, None))
        for name in (*_METHODS, "anisotropic", "nu", *names, *(f"hyperparameter_{name}" for name in names))
    ]
    for cls, names in _PARAMETERS.items()
}


class UnsupportedKernelError(Exception):
    """The kernel, or its value now, is not one that fastard computes; the message says why."""


class Parameter(NamedTuple):
    """A kernel's parameter: its value now, and its place in scikit-learn's theta, None where it is fixed."""

    value: Any
    place: int | slice | None

    def at(self, natural: Array | None) -> Any:
        return self.value if natural is None or self.place is None else natural[self.place]


class Summand(NamedTuple):
    """The product of constants and one factor: a stationary kernel, white noise, or nothing more."""

    constants: tuple[Parameter, ...] = ()
    kernel: Kernel | None = None
    length_scale: Parameter | None = None
    shape: Parameter | None = None
    white: bool = False

    def variance(self, natural: Array | None) -> float:
        product = 1.0
        for constant in self.constants:
            product *= float(constant.at(natural))
        return product


def _class_of(kernel: Any, inside: type) -> type | None:
    """The scikit-learn class whose methods, every one, are the kernel's; its ``__call__`` that of the class ``inside``."""
    for cls, identity in _IDENTITY.items():
        if isinstance(kernel, cls) and all(
            getattr(inside if name == "__call__" else type(kernel), name, None) is member for name, member in identity
        ):
            return cls
    return None


def _expand(kernel: Any, start: int, inside: type | None = None) -> tuple[list[Summand], int]:
    """The kernel's summands, and the place in theta after its parameters, which begin at ``start``.

    ``inside`` is the kernel's class inside of its wrappers, if it has any.
    """
    cls = _class_of(kernel, inside or type(kernel))
    if cls is None:
        raise UnsupportedKernelError(f"{type(kernel).__name__} is not a kernel that fastard computes")
    if cls in (sk.Sum, sk.Product):
        left, middle = _expand(kernel.k1, start)
        right, stop = _expand(kernel.k2, middle)
        if cls is sk.Sum:
            return left + right, stop
        if len(left) * len(right) > _MOST_SUMMANDS:
            raise UnsupportedKernelError(f"multiplied out, it has more than {_MOST_SUMMANDS} terms")
        return [_times(a, b) for a in left for b in right], stop
    parameters = {}
    for name in _PARAMETERS[cls]:
        parameters[name], start = _parameter(kernel, cls, name, start)
    if cls is sk.ConstantKernel:
        return [Summand((parameters["constant_value"],))], start
    if cls is sk.WhiteKernel:
        return [Summand((parameters["noise_level"],), white=True)], start
    if cls is sk.RationalQuadratic:
        return [Summand((), RationalQuadratic(), parameters["length_scale"], parameters["alpha"])], start
    profile: Kernel | None = RBF() if cls is sk.RBF else _MATERN.get(float(kernel.nu))
    if profile is None:
        *others, last = map(str, _MATERN)
        raise UnsupportedKernelError(
            f"Matern with nu={kernel.nu} is not one that fastard computes: nu is {', '.join(others)} or {last} there"
        )
    return [Summand((), profile, parameters["length_scale"])], start


def _parameter(kernel: Any, cls: type, name: str, start: int) -> tuple[Parameter, int]:
    """A kernel's parameter whose entries, if it is free, begin at ``start`` in theta, and the place after them."""
    value = np.asarray(getattr(kernel, name))
    if value.ndim > (name == "length_scale" and cls is not sk.RationalQuadratic) or value.dtype.kind not in "fiu":
        raise UnsupportedKernelError(f"{name} of {type(kernel).__name__} is not a number or a vector of numbers")
    value = np.squeeze(value)
    may_be_0 = cls in (sk.ConstantKernel, sk.WhiteKernel)
    if not ((value < LARGEST) & ((value > 1.0 / LARGEST) | (may_be_0 & (value == 0.0)))).all():
        raise UnsupportedKernelError(f"{name} of {type(kernel).__name__} is out of range")
    bounds = getattr(kernel, f"{name}_bounds")
    if isinstance(bounds, str) and bounds == "fixed":
        return Parameter(value.astype(float), None), start
    stop = start + value.size
    return Parameter(value.astype(float), start if value.ndim == 0 else slice(start, stop)), stop


def _times(a: Summand, b: Summand) -> Summand:
    if (a.white or a.kernel is not None) and (b.white or b.kernel is not None):
        raise UnsupportedKernelError("a product of two kernels that depend on X, or on noise, is none that fastard computes")
    factor = b if a.kernel is None and not a.white else a
    return factor._replace(constants=a.constants + b.constants)


def _in_range(variance: float) -> float:
    if not 0.0 <= variance < LARGEST:
        raise UnsupportedKernelError("a variance is out of range")
    return variance


class Covariance:
    """A scikit-learn kernel, as fastard's terms and noise at any theta; given data, on these.

    ``X`` are the data as fastard takes them, transformed where the kernel is one of transformed points. Raises
    UnsupportedKernelError where the kernel is not one that fastard computes.
    """

    def __init__(self, kernel: Any, data: Any = None) -> None:
        inside, self.transforms = unwrap(type(kernel))
        summands, self.n_parameters = _expand(kernel, 0, inside)
        self.terms = [s for s in summands if not s.white]
        self.white = [s for s in summands if s.white]
        if all(term.kernel is None for term in self.terms):
            raise UnsupportedKernelError("it does not depend on X")
        if data is not None:
            self.take(data)

    def take(self, data: Any) -> None:
        """The data; raises UnsupportedKernelError where they do not fit."""
        self.X = self.points(data)
        self.d = d = self.X.shape[1]
        for term in self.terms:
            if term.length_scale is not None and term.length_scale.value.size not in (1, d):
                raise UnsupportedKernelError("its length scales are not as many as the columns of X")
        # A constant alone is a term without columns. Frozen length scales cost nothing in the contraction.
        self._columns: list[NDArray[np.int64] | None] = [
            np.empty(0, dtype=np.int64) if term.kernel is None else None for term in self.terms
        ]
        self._tied = [term.length_scale is not None and isinstance(term.length_scale.place, int) for term in self.terms]
        self._free = [
            None if term.length_scale is None or term.length_scale.place is not None else np.zeros(d, dtype=bool)
            for term in self.terms
        ]

    def points(self, points: Any) -> Array:
        """Points as fastard takes them, transformed where the kernel is one of transformed points."""
        n = len(points)
        for transform in self.transforms:
            points = np.asarray(transform(points))
            if points.ndim != 2 or len(points) != n or points.dtype.kind not in "fiub" or not np.isfinite(points).all():
                raise UnsupportedKernelError("the transform of its points does not give finite numbers, one row per point")
        return read_only(np.ascontiguousarray(points, dtype=np.float64))

    def at(self, theta: Array | None, least: Array) -> tuple[list[Term], float]:
        """The terms and the noise's variance at ``theta``, or at the values that the kernel has.

        ``least`` are the data's ``min_length_scales``. Raises UnsupportedKernelError for a number out of fastard's range.
        """
        natural = None
        if theta is not None:
            if theta.shape != (self.n_parameters,):
                raise UnsupportedKernelError("theta has not the kernel's number of entries")
            if not np.abs(theta).max(initial=0.0) < _LARGEST_LOGARITHM:
                raise UnsupportedKernelError("a parameter is out of range")
            natural = np.exp(theta)
        terms = []
        for term, columns, free, tied in zip(self.terms, self._columns, self._free, self._tied, strict=True):
            kernel: Kernel = RBF() if term.kernel is None else term.kernel
            length_scale = np.ones(self.d)
            if term.length_scale is not None:
                length_scale[:] = term.length_scale.at(natural)
                if not (length_scale > least).all():
                    raise UnsupportedKernelError("a length scale is out of range")
            if term.shape is not None:
                kernel = kernel.with_shape([float(term.shape.at(natural))])
            terms.append(Term(kernel, length_scale, _in_range(term.variance(natural)), free, columns, tied))
        return terms, _in_range(sum(term.variance(natural) for term in self.white))

    def gradient(self, theta: Array, evaluation: Evaluation) -> Array:
        """The evaluation's derivatives in theta's order; zeros where the covariance was not positive definite."""
        natural = np.exp(theta)
        result = np.zeros(self.n_parameters)
        if evaluation.failure is not None:
            return result
        for term, of_term in zip(self.terms, evaluation.gradients, strict=True):
            for constant in term.constants:
                if constant.place is not None:
                    result[constant.place] += of_term.log_signal_variance
            if term.length_scale is not None and term.length_scale.place is not None:
                place = term.length_scale.place
                of_scale = of_term.log_length_scale
                result[place] += of_scale.sum() if isinstance(place, int) else of_scale
            if term.shape is not None and term.shape.place is not None:
                result[term.shape.place] += of_term.log_shape[0]
        for term in self.white:
            of_noise = 0.5 * term.variance(natural) * float(evaluation.diagonal_weights.sum())
            for constant in term.constants:
                if constant.place is not None:
                    result[constant.place] += of_noise
        return result


def values(kernel: Any) -> list[Any]:
    """What decides the value of a kernel that was recognised: equal as long as nobody changes it."""
    found: list[Any] = [type(kernel)]
    for name, value in vars(kernel).items():
        if isinstance(value, sk.Kernel):
            found += values(value)
        elif isinstance(value, np.ndarray):
            found.append((name, value.tobytes()))
        elif not name.endswith("_bounds"):
            found.append((name, value))
    return found


def _recognise(kernel: Any, data: Any = None) -> Covariance | None:
    try:
        return Covariance(kernel, data)
    except UnsupportedKernelError:
        return None


def explain(kernel: Any) -> str:
    """Which code computes a scikit-learn kernel, and why.

    Parameters
    ----------
    kernel : scikit-learn kernel or GaussianProcessRegressor, or None for the regressor's default
        Whether its length scales are as many as the columns of X shows only in training.

    Returns
    -------
    text : str
        "fastard: ..." with the terms that it computes, or "scikit-learn: ..." with the reason.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, ExpSineSquared, WhiteKernel
    >>> from fastard.sklearn import explain
    >>> explain(2.0 * RBF([1.0, 2.0]) + WhiteKernel())
    'fastard: RBF, and noise'
    >>> explain(RBF() + ExpSineSquared())
    'scikit-learn: ExpSineSquared is not a kernel that fastard computes'
    """
    if isinstance(kernel, _SklearnRegressor):
        kernel = getattr(kernel, "kernel_", kernel.kernel)
    if kernel is None:
        kernel = _default_kernel()
    if not isinstance(kernel, sk.Kernel):
        raise TypeError(f"kernel must be a kernel of scikit-learn's, a regressor, or None; got {kernel!r}")
    try:
        covariance = Covariance(kernel)
    except UnsupportedKernelError as error:
        return f"scikit-learn: {error}"
    names = ["constant" if term.kernel is None else type(term.kernel).__name__ for term in covariance.terms]
    text = f"fastard: {' + '.join(names)}{', and noise' if covariance.white else ''}"
    return text + (f"{',' if covariance.white else ''} of transformed points" if covariance.transforms else "")
