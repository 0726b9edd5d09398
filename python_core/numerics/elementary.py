"""Logarithm and exponential with the same bits on every machine; those of C libraries differ between systems.

The twin is `core_rs/src/numerics/elementary.rs`. Both only use + - * / and the exponent field, in the order written. Errors are below 1 ulp. The algorithms and constants are those of fdlibm 5.3, `e_log.c` and `e_exp.c` (https://www.netlib.org/fdlibm/), whose notice says:

    Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
    Developed at SunSoft, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and distribute this
    software is freely granted, provided that this notice is preserved.
"""

from __future__ import annotations

import math
from typing import Final

_SQRT_HALF: Final = 0.7071067811865476
_LOG2_E: Final = 1.4426950408889634
# log(2) in two parts: the first has 21 trailing zero bits, so that its product with an exponent is exact.
_LN2_HIGH: Final = 0.6931471803691238
_LN2_LOW: Final = 1.9082149292705877e-10
_EXP_OVERFLOWS_ABOVE: Final = 709.782712893384
_EXP_UNDERFLOWS_BELOW: Final = -745.1332191019411
_TWO_TO_MINUS_1000: Final = 9.332636185032189e-302


def log(x: float) -> float:
    """Natural logarithm: -inf at 0, NaN below it."""
    if x < 0.0 or x != x:
        return math.nan
    if x == 0.0:
        return -math.inf
    if x == math.inf:
        return x
    mantissa, exponent = math.frexp(x)
    if mantissa < _SQRT_HALF:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    # x = 2**exponent * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) is an odd series in s = f / (2 + f).
    f = mantissa - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373))
    odd = z * (0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)))
    half_square = 0.5 * f * f
    k = float(exponent)
    return k * _LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + k * _LN2_LOW)) - f)


def exp(x: float) -> float:
    """The exponential of `x`: inf above 709.78, 0 below -745.13."""
    if x != x:
        return math.nan
    if x > _EXP_OVERFLOWS_ABOVE:
        return math.inf
    if x < _EXP_UNDERFLOWS_BELOW:
        return 0.0
    # x = k * log(2) + r with |r| <= log(2) / 2, and r = high - low.
    k = int(_LOG2_E * x + (0.5 if x > 0.0 else -0.5))
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    t = r * r
    series = -0.0027777777777015593 + t * (6.613756321437934e-05 + t * (-1.6533902205465252e-06 + t * 4.1381367970572385e-08))
    c = r - t * (0.16666666666666602 + t * series)
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    if k >= -1021:
        return math.ldexp(y, k)
    # Scaled in two steps, as a subnormal result is rounded and not every C library's ldexp rounds it correctly.
    return math.ldexp(y, k + 1000) * _TWO_TO_MINUS_1000


def power(x: float, y: float) -> float:
    """`exp(y * log(x))` for x > 0; its relative error grows with |y * log(x)|."""
    return exp(y * log(x))
