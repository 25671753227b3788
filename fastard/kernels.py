"""What a kernel is: a class with its name and shape parameters, its profile k(s), and the ratios for second derivatives.

s is the scaled squared distance, r = sqrt(s). With w(s) = -2 k'(s), the derivative of the covariance with respect to
ln(length scale i) is sigma_f^2 w(s) (x_i - x'_i)^2 / length_scale_i^2 (Rasmussen & Williams 2006, section 4.2.1 for the
profiles, equation 5.9 for the trace they enter).

A new kernel is three definitions here, one below the other, and one row in the tests' table: the class, decorated with its
name; the compiled profile (k, w, and dk / d ln(shape) for each shape parameter, a tuple); and the ratios that the exact
Hessian takes. Whatever lists kernels is made from `BY_NAME`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from fastard._numba.elementary import exp, log1p
from fastard._numba.jit import INLINE

_Values = NDArray[np.float64]


class Kernel(tuple[float, ...]):
    """Base of the kernels: a tuple of shape parameters, of which most have none; immutable, equal only to its like.

    Numba sees its subclasses as named tuples and picks the profile by the class.
    """

    __slots__ = ()

    @property
    def shape_names(self) -> tuple[str, ...]:
        """The shape parameters' names."""
        return self._fields  # type: ignore[attr-defined, no-any-return]

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


class Curvature(NamedTuple):
    """A profile's ratios at many s, for second derivatives: arrays like s, with p shape parameters.

    All are 0 at s = 0 where they would be infinite: they multiply distances that are 0 there, to a higher power.
    """

    slope: _Values  # w / k
    second: _Values  # -2 w' / w
    k_by_shape: tuple[_Values, ...] = ()  # p: d ln k / d ln(shape)
    w_by_shape: tuple[_Values, ...] = ()  # p: d ln w / d ln(shape)
    k_by_shapes: tuple[tuple[_Values, ...], ...] = ()  # p x p: (d^2 k / d ln(shape) d ln(shape')) / k


_CURVATURES: dict[type[Kernel], Callable[[Any, _Values], Curvature]] = {}
BY_NAME: dict[str, type[Kernel]] = {}

_Class = TypeVar("_Class", bound=type[Kernel])


def _named(name: str) -> Callable[[_Class], _Class]:
    """Put a kernel's class into the table."""

    def register(kernel_class: _Class) -> _Class:
        BY_NAME[name] = kernel_class
        return kernel_class

    return register


def profile(kernel: Any, s: float) -> tuple[float, float, tuple[float, ...]]:
    """k(s), w(s) = -2 k'(s), and dk / d ln(shape) for each shape parameter. Compiled code only."""
    raise NotImplementedError(f"profile({kernel!r}, {s!r}) stands for one of the compiled functions below")


def _profile_of(kernel_class: type) -> Callable[[Callable[..., Any]], None]:
    def register(implementation: Callable[..., Any]) -> None:
        def choose(kernel, s):  # type: ignore[no-untyped-def]  # Numba compares it with the implementation's signature
            matches = isinstance(kernel, types.BaseNamedTuple) and kernel.instance_class is kernel_class
            return implementation if matches else None

        overload(profile, jit_options=INLINE)(choose)

    return register


def curvature(kernel: Kernel, s: _Values) -> Curvature:
    """What the Hessian takes beside k: no exponential, and no 0 / 0 at s = 0."""
    return _CURVATURES[type(kernel)](kernel, s)


def _curvature_of(kernel_class: type[Kernel]) -> Callable[[Callable[[Any, _Values], Curvature]], None]:
    def register(function: Callable[[Any, _Values], Curvature]) -> None:
        _CURVATURES[kernel_class] = function

    return register


class _NoShape(NamedTuple):
    pass


class _OneShape(NamedTuple):
    shape: float = 1.0


# The squared exponential


@_named("rbf")
class RBF(Kernel, _NoShape):
    r"""The squared exponential (Rasmussen & Williams 2006, equation 4.9, page 83).

    .. math:: k = e^{-s/2}, \qquad w = k
    """

    __slots__ = ()


@_profile_of(RBF)
def _rbf(kernel, s):  # type: ignore[no-untyped-def]
    k = exp(-0.5 * s)
    return k, k, ()


@_curvature_of(RBF)
def _rbf_curvature(_: RBF, s: _Values) -> Curvature:
    one = np.ones_like(s)
    return Curvature(one, one)


# Matérn


@_named("matern12")
class Matern12(Kernel, _NoShape):
    r"""Matérn with nu = 1/2 (Rasmussen & Williams 2006, page 85).

    .. math:: k = e^{-r}, \qquad w = \frac{e^{-r}}{r}
    """

    __slots__ = ()
    nu = 0.5


@_profile_of(Matern12)
def _matern12(kernel, s):  # type: ignore[no-untyped-def]
    r = math.sqrt(s)
    k = exp(-r)
    return k, (k / r if r > 0.0 else 0.0), ()  # w is infinite at 0, but multiplies a distance of 0 there


@_curvature_of(Matern12)
def _matern12_curvature(_: Matern12, s: _Values) -> Curvature:
    inverse = _inverse(np.sqrt(s))
    return Curvature(inverse, inverse + inverse**2)


@_named("matern32")
class Matern32(Kernel, _NoShape):
    r"""Matérn with nu = 3/2 (Rasmussen & Williams 2006, equation 4.17, page 85).

    .. math:: k = (1 + a)\, e^{-a}, \qquad w = 3\, e^{-a}, \qquad a = \sqrt3\, r
    """

    __slots__ = ()
    nu = 1.5


_SQRT3 = math.sqrt(3.0)


@_profile_of(Matern32)
def _matern32(kernel, s):  # type: ignore[no-untyped-def]
    a = _SQRT3 * math.sqrt(s)
    e = exp(-a)
    return (1.0 + a) * e, 3.0 * e, ()


@_curvature_of(Matern32)
def _matern32_curvature(_: Matern32, s: _Values) -> Curvature:
    r = np.sqrt(s)
    return Curvature(3.0 / (1.0 + _SQRT3 * r), _SQRT3 * _inverse(r))


@_named("matern52")
class Matern52(Kernel, _NoShape):
    r"""Matérn with nu = 5/2 (Rasmussen & Williams 2006, equation 4.17, page 85).

    .. math:: k = \Bigl(1 + a + \frac{a^2}{3}\Bigr) e^{-a}, \qquad w = \frac53 (1 + a)\, e^{-a}, \qquad a = \sqrt5\, r
    """

    __slots__ = ()
    nu = 2.5


_SQRT5 = math.sqrt(5.0)


@_profile_of(Matern52)
def _matern52(kernel, s):  # type: ignore[no-untyped-def]
    a = _SQRT5 * math.sqrt(s)
    e = exp(-a)
    return (1.0 + a + a * a / 3.0) * e, (5.0 / 3.0) * (1.0 + a) * e, ()


@_curvature_of(Matern52)
def _matern52_curvature(_: Matern52, s: _Values) -> Curvature:
    a = _SQRT5 * np.sqrt(s)
    return Curvature(5.0 / 3.0 * (1.0 + a) / (1.0 + a + a**2 / 3.0), 5.0 / (1.0 + a))


@_named("matern72")
class Matern72(Kernel, _NoShape):
    r"""Matérn with nu = 7/2 (Rasmussen & Williams 2006, equation 4.16, page 85).

    .. math:: k = \Bigl(1 + a + \frac{2a^2}{5} + \frac{a^3}{15}\Bigr) e^{-a}, \qquad
              w = \frac{7}{15} (3 + 3a + a^2)\, e^{-a}, \qquad a = \sqrt7\, r
    """

    __slots__ = ()
    nu = 3.5


_SQRT7 = math.sqrt(7.0)
_FAR = 1e3  # exp(-a) is 0 from 709 on, and the cube of a may overflow


@_profile_of(Matern72)
def _matern72(kernel, s):  # type: ignore[no-untyped-def]
    a = _SQRT7 * math.sqrt(s)
    e = exp(-a)
    a = a if a < _FAR else _FAR
    return (1.0 + a * (1.0 + a * (0.4 + a / 15.0))) * e, (7.0 / 15.0) * (3.0 + a * (3.0 + a)) * e, ()


@_curvature_of(Matern72)
def _matern72_curvature(_: Matern72, s: _Values) -> Curvature:
    a = np.minimum(_SQRT7 * np.sqrt(s), _FAR)
    w = 3.0 + 3.0 * a + a**2  # less the factor 7 exp(-a) / 15
    return Curvature(7.0 / 15.0 * w / (1.0 + a + 0.4 * a**2 + a**3 / 15.0), 7.0 * (1.0 + a) / w)


def _inverse(r: _Values) -> _Values:
    return np.divide(1.0, r, out=np.zeros_like(r), where=r > 0.0)


# The rational quadratic


@_named("rational_quadratic")
class RationalQuadratic(Kernel, _OneShape):
    r"""The rational quadratic (Rasmussen & Williams 2006, equation 4.19, page 86).

    .. math:: k = \Bigl(1 + \frac{s}{2a}\Bigr)^{-a}, \qquad w = \Bigl(1 + \frac{s}{2a}\Bigr)^{-a-1}

    Parameters
    ----------
    shape : float, default 1.0
        a above, R&W's alpha, > 0: a scale mixture of squared exponentials, wider for a smaller shape. It is trained with
        the rest.
    """

    __slots__ = ()


@_profile_of(RationalQuadratic)
def _rational_quadratic(kernel, s):  # type: ignore[no-untyped-def]
    u = 0.5 * s / kernel.shape
    logarithm = log1p(u)
    k = exp(-kernel.shape * logarithm)
    w = k / (1.0 + u)
    return k, w, (kernel.shape * (u * w - k * logarithm),)


@_curvature_of(RationalQuadratic)
def _rational_quadratic_curvature(kernel: RationalQuadratic, s: _Values) -> Curvature:
    a = kernel.shape
    u = 0.5 * s / a
    slope = 1.0 / (1.0 + u)
    share = u * slope
    of_k = a * (share - np.log1p(u))
    return Curvature(slope, (a + 1.0) / a * slope, (of_k,), (of_k + share,), ((of_k + of_k**2 + a * share**2,),))


MATERN: dict[float, Kernel] = {kind.nu: kind() for kind in BY_NAME.values() if hasattr(kind, "nu")}
"""The Matérn kernels by their nu, for the libraries that call them so."""
