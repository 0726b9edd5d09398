"""Sums that are exact until they are divided and rounded once. The twin is `core_rs/src/numerics/exact_sum.rs`."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

# Every finite float64 is a multiple of 2**-1074, so sums are exact in Python integers.
_SCALE_BITS: Final = 1074
SCALE: Final = 1 << _SCALE_BITS


def to_fixed_point(value: float) -> int:
    """`value * 2**1074`, an integer for every finite float64."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_SCALE_BITS - denominator.bit_length() + 1)


def divide(total: int, by: int) -> float:
    """The quotient of two integers, correctly rounded; infinite if it overflows."""
    try:
        return total / by
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def mean(*columns: Any) -> Any:
    """The average of each row, rounded once; NaN where a value is not finite."""
    rows = zip(*(column.tolist() for column in columns), strict=True)
    count = SCALE * len(columns)
    return np.array([divide(sum(map(to_fixed_point, row)), count) if all(map(math.isfinite, row)) else math.nan for row in rows])
