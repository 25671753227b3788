"""exp and log1p that LLVM vectorises: Numba's own are one library call an element, 3 to 4 times slower in a loop."""

import math

import numpy as np

from fastard._numba.jit import INLINE, jit

_LOG2_E = 1.4426950408889634

# Cody & Waite: ln 2 in two parts, the first with 21 trailing zero bits so that its product with an exponent is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")

_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")

_ROUND = 1.5 * 2.0**52  # x + _ROUND - _ROUND rounds x to an integer, which stands in the sum's low bits meanwhile

_ONE_BITS = 1023 << 52

_SMALLEST = -708.0  # exp of less is taken as 0: below the normal numbers, where 2^n cannot be made by bits

# q(r) = (e^r - 1 - r) / r^2 interpolated at eleven Chebyshev nodes of |r| <= ln(2) / 2: leaves 3e-19 of e^r.
(_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8, _Q9, _Q10) = (
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333326141,
    0.0013888888888883752,
    0.00019841269874800493,
    2.4801587325533363e-05,
    2.7557255425746435e-06,
    2.7557273661348637e-07,
    2.510520637395701e-08,
    2.0914679376583935e-09,
)


@jit(**INLINE)
def exp(x: float) -> float:
    """e^x for x <= 0 to 1 ulp; exactly 0 below -708; NaN stays NaN."""
    clamped = _SMALLEST if x < _SMALLEST else x
    shifted = clamped * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (clamped - k * _LN2_HIGH) - k * _LN2_LOW
    q = _Q9 + r * _Q10
    q = _Q8 + r * q
    q = _Q7 + r * q
    q = _Q6 + r * q
    q = _Q5 + r * q
    q = _Q4 + r * q
    q = _Q3 + r * q
    q = _Q2 + r * q
    q = _Q1 + r * q
    q = _Q0 + r * q
    power = np.int64((np.float64(shifted).view(np.int64) << 52) + _ONE_BITS).view(np.float64)
    return 0.0 if x < _SMALLEST else power + power * (r + (r * r) * q)


_MANTISSA = (1 << 52) - 1

_EXPONENT_AS_FLOAT = 0x4330000000000000  # the bits of 2^52: or-ing a small integer in gives 2^52 + that integer

_L = tuple(2.0 / (2 * k + 1) for k in range(12))

_SQRT2 = math.sqrt(2.0)


@jit(**INLINE)
def log1p(u: float) -> float:
    """ln(1 + u) for u >= 0 to 2 ulp; NaN stays NaN.

    1 + u = 2^k m with m near 1 and ln m = 2 artanh f, f = (m - 1) / (m + 1), |f| <= 0.172: eleven terms leave 1e-18.
    What rounding took from 1 + u is given back by the first-order term.
    """
    y = 1.0 + u
    bits = np.float64(y).view(np.int64)
    k = np.int64((bits >> 52) | _EXPONENT_AS_FLOAT).view(np.float64) - (2.0**52 + 1023.0)
    m = np.int64((bits & _MANTISSA) | _ONE_BITS).view(np.float64)
    big = m > _SQRT2
    m = 0.5 * m if big else m
    k = k + 1.0 if big else k
    f = (m - 1.0) / (m + 1.0)
    z = f * f
    p = _L[10] + z * _L[11]
    p = _L[9] + z * p
    p = _L[8] + z * p
    p = _L[7] + z * p
    p = _L[6] + z * p
    p = _L[5] + z * p
    p = _L[4] + z * p
    p = _L[3] + z * p
    p = _L[2] + z * p
    p = _L[1] + z * p
    lost = (u - (y - 1.0)) / y
    return k * _LN2_HIGH + (2.0 * f + (f * (z * p) + (k * _LN2_LOW + lost)))
