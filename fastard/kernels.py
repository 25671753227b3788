"""What a kernel is: a name, its shape parameters, and one profile k(s) of the scaled squared distance s.

A new kernel is one class and one profile here, and one row in the tests' table. With r = sqrt(s) and w(s) = -2 k'(s),
the derivative of the covariance with respect to ln(length scale i) is sigma_f^2 w(s) (x_i - x'_i)^2 / length_scale_i^2
(Rasmussen & Williams 2006, section 4.2.1 for the profiles, equation 5.9 for the trace they enter).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from numba import types
from numba.extending import overload

from fastard._elementary import exp, log1p
from fastard._jit import INLINE


# A tuple without shape parameters equals any other empty tuple and is false; a kernel is neither.
def _equal(a: Any, b: object) -> bool:
    return type(a) is type(b) and tuple(a) == tuple(b)  # type: ignore[arg-type]


def _differ(a: Any, b: object) -> bool:
    return not _equal(a, b)


def _hash(a: Any) -> int:
    return hash((type(a), *a))


def _true(_: Any) -> bool:
    return True


class RBF(NamedTuple):
    """The squared exponential, k = exp(-s / 2) (Rasmussen & Williams 2006, equation 4.9, page 83)."""

    __eq__, __ne__, __hash__, __bool__ = _equal, _differ, _hash, _true


class Matern12(NamedTuple):
    """Matérn with nu = 1/2, k = exp(-r) (Rasmussen & Williams 2006, page 85)."""

    __eq__, __ne__, __hash__, __bool__ = _equal, _differ, _hash, _true


class Matern32(NamedTuple):
    """Matérn with nu = 3/2, k = (1 + sqrt(3) r) exp(-sqrt(3) r) (Rasmussen & Williams 2006, equation 4.17, page 85)."""

    __eq__, __ne__, __hash__, __bool__ = _equal, _differ, _hash, _true


class Matern52(NamedTuple):
    """Matérn with nu = 5/2, k = (1 + sqrt(5) r + 5 s / 3) exp(-sqrt(5) r) (Rasmussen & Williams 2006, equation 4.17)."""

    __eq__, __ne__, __hash__, __bool__ = _equal, _differ, _hash, _true


class RationalQuadratic(NamedTuple):
    """The rational quadratic, k = (1 + s / (2 shape))^(-shape) (Rasmussen & Williams 2006, equation 4.19, page 86).

    Parameters
    ----------
    shape : float, default 1.0
        R&W's alpha, > 0: a scale mixture of squared exponentials, wider for a smaller shape. It is trained with the rest.
    """

    shape: float = 1.0

    __eq__, __ne__, __hash__, __bool__ = _equal, _differ, _hash, _true


Kernel: TypeAlias = RBF | Matern12 | Matern32 | Matern52 | RationalQuadratic

BY_NAME: dict[str, type[Any]] = {
    "rbf": RBF,
    "matern12": Matern12,
    "matern32": Matern32,
    "matern52": Matern52,
    "rational_quadratic": RationalQuadratic,
}

_SQRT3, _SQRT5 = math.sqrt(3.0), math.sqrt(5.0)


def profile(kernel: Kernel, s: float) -> tuple[float, float, float]:
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
    u = s / (2.0 * kernel.shape)
    logarithm = log1p(u)
    k = exp(-kernel.shape * logarithm)
    w = k / (1.0 + u)
    return k, w, kernel.shape * (u * w - k * logarithm)
