"""What a kernel is: a name, its shape parameters, and one profile k(s) of the scaled squared distance s.

A new kernel is one class and one profile here, and one row in the tests' table. With r = sqrt(s) and w(s) = -2 k'(s),
the derivative of the covariance with respect to ln(length scale i) is sigma_f^2 w(s) (x_i - x'_i)^2 / length_scale_i^2
(Rasmussen & Williams 2006, section 4.2.1 for the profiles, equation 5.9 for the trace they enter).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from fastard._elementary import exp, log1p
from fastard._jit import INLINE


class Kernel(tuple[float, ...]):
    """Base of the kernels: a tuple of shape parameters, of which most have none; immutable, equal only to its like.

    Numba sees its subclasses as named tuples and picks the profile by the class.
    """

    __slots__ = ()

    def with_shape(self, shape: Iterable[float]) -> Self:
        """The same kernel with other shape parameters."""
        return type(self)(*shape)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), *self))

    def __bool__(self) -> bool:  # an empty tuple would be false
        return True


class _NoShape(NamedTuple):
    pass


class _OneShape(NamedTuple):
    shape: float = 1.0


class RBF(Kernel, _NoShape):
    """The squared exponential, k = exp(-s / 2) (Rasmussen & Williams 2006, equation 4.9, page 83)."""

    __slots__ = ()


class Matern12(Kernel, _NoShape):
    """Matérn with nu = 1/2, k = exp(-r) (Rasmussen & Williams 2006, page 85)."""

    __slots__ = ()


class Matern32(Kernel, _NoShape):
    """Matérn with nu = 3/2, k = (1 + sqrt(3) r) exp(-sqrt(3) r) (Rasmussen & Williams 2006, equation 4.17, page 85)."""

    __slots__ = ()


class Matern52(Kernel, _NoShape):
    """Matérn with nu = 5/2, k = (1 + sqrt(5) r + 5 s / 3) exp(-sqrt(5) r) (Rasmussen & Williams 2006, equation 4.17)."""

    __slots__ = ()


class RationalQuadratic(Kernel, _OneShape):
    """The rational quadratic, k = (1 + s / (2 shape))^(-shape) (Rasmussen & Williams 2006, equation 4.19, page 86).

    Parameters
    ----------
    shape : float, default 1.0
        R&W's alpha, > 0: a scale mixture of squared exponentials, wider for a smaller shape. It is trained with the rest.
    """

    __slots__ = ()


BY_NAME: dict[str, type[Kernel]] = {
    "rbf": RBF,
    "matern12": Matern12,
    "matern32": Matern32,
    "matern52": Matern52,
    "rational_quadratic": RationalQuadratic,
}

_SQRT3, _SQRT5 = math.sqrt(3.0), math.sqrt(5.0)


def profile(kernel: Any, s: float) -> tuple[float, float, float]:
    """k(s), w(s) = -2 k'(s), and dk / d ln(shape), 0 where there is no shape. Compiled code only."""
    raise NotImplementedError(f"profile({kernel!r}, {s!r}) stands for one of the compiled functions below")


def _overload_profile(kernel_class: type) -> Callable[[Callable[..., Any]], None]:
    def register(implementation: Callable[..., Any]) -> None:
        def choose(kernel, s):  # type: ignore[no-untyped-def]  # Numba compares it with the implementation's signature
            matches = isinstance(kernel, types.BaseNamedTuple) and kernel.instance_class is kernel_class
            return implementation if matches else None

        overload(profile, jit_options=INLINE)(choose)

    return register


@_overload_profile(RBF)
def _rbf(kernel, s):  # type: ignore[no-untyped-def]
    k = exp(-0.5 * s)
    return k, k, 0.0


@_overload_profile(Matern12)
def _matern12(kernel, s):  # type: ignore[no-untyped-def]
    r = math.sqrt(s)
    k = exp(-r)
    return k, (k / r if r > 0.0 else 0.0), 0.0  # w is infinite at 0, but multiplies a distance of 0 there


@_overload_profile(Matern32)
def _matern32(kernel, s):  # type: ignore[no-untyped-def]
    r = _SQRT3 * math.sqrt(s)
    e = exp(-r)
    return (1.0 + r) * e, 3.0 * e, 0.0


@_overload_profile(Matern52)
def _matern52(kernel, s):  # type: ignore[no-untyped-def]
    r = _SQRT5 * math.sqrt(s)
    e = exp(-r)
    return (1.0 + r + r * r / 3.0) * e, (5.0 / 3.0) * (1.0 + r) * e, 0.0


@_overload_profile(RationalQuadratic)
def _rational_quadratic(kernel, s):  # type: ignore[no-untyped-def]
    u = 0.5 * s / kernel.shape
    logarithm = log1p(u)
    k = exp(-kernel.shape * logarithm)
    w = k / (1.0 + u)
    return k, w, kernel.shape * (u * w - k * logarithm)


class Curvature(NamedTuple):
    """A profile's ratios at many s, for second derivatives: NumPy's, of arrays like s.

    All are 0 at s = 0 where they would be infinite: they multiply distances that are 0 there, to a higher power.
    """

    slope: Any  # w / k
    second: Any  # -2 w' / w
    k_by_shape: Any = None  # d ln k / d ln(shape)
    w_by_shape: Any = None  # d ln w / d ln(shape)
    k_by_shape_twice: Any = None  # (d^2 k / d ln(shape)^2) / k


def curvature(kernel: Kernel, s: NDArray[np.float64]) -> Curvature:
    """What the Hessian takes beside k: no exponential, and no 0 / 0 at s = 0."""
    if isinstance(kernel, RBF):
        one = np.ones_like(s)
        return Curvature(one, one)
    if isinstance(kernel, RationalQuadratic):
        a = kernel.shape
        u = 0.5 * s / a
        share, logarithm = u / (1.0 + u), np.log1p(u)
        of_k = a * (share - logarithm)
        slope = 1.0 / (1.0 + u)
        return Curvature(slope, (a + 1.0) / a * slope, of_k, of_k + share, of_k + of_k**2 + a * share**2)
    r = np.sqrt(s)
    inverse = np.divide(1.0, r, out=np.zeros_like(r), where=r > 0.0)
    if isinstance(kernel, Matern12):
        return Curvature(inverse, inverse + inverse**2)
    if isinstance(kernel, Matern32):
        return Curvature(3.0 / (1.0 + _SQRT3 * r), _SQRT3 * inverse)
    if isinstance(kernel, Matern52):
        r = _SQRT5 * r
        return Curvature(5.0 / 3.0 * (1.0 + r) / (1.0 + r + r**2 / 3.0), 5.0 / (1.0 + r))
    raise NotImplementedError(f"{kernel!r} has no second derivatives yet")
