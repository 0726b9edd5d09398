"""Indicators: one definition of the maths each, which the compiled engine repeats to the bit.

A series is float64[n]; NaN means "not known yet". An indicator that meets NaN (the warm-up of its input) starts anew after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

# All finite float64 are whole multiples of 2**-1074, so a sum of them is exact in Python's integers.
_SCALE_BITS = 1074
_SCALE = 1 << _SCALE_BITS


def exact(value: float) -> int:
    """`value * 2**1074`, a whole number for every finite float64."""
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_SCALE_BITS - denominator.bit_length() + 1)


def rolling_sum(x: Series, length: int) -> Series:
    """Sum of the last `length` values, correctly rounded (as `math.fsum`): it can't drift, and the order of the values doesn't matter."""
    out = np.full(len(x), np.nan)
    values = x.tolist()
    scaled = [exact(value) if np.isfinite(value) else None for value in values]
    total, known = 0, 0
    for i, new in enumerate(scaled):
        if new is None:
            total, known = 0, 0
            continue
        total += new
        known += 1
        if known > length:
            total -= scaled[i - length]  # type: ignore[operator]
        if known >= length:
            out[i] = _divide(total)
    return out


def _divide(total: int) -> float:
    try:
        return total / _SCALE
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def sma(x: Series, length: int) -> Series:
    """Simple moving average: the correctly rounded sum of the last `length` values, divided by `length`. Known from value `length - 1`."""
    return rolling_sum(x, length) / float(length)


def smoothed(x: Series, length: int, alpha: float) -> Series:
    """`alpha * x + (1 - alpha) * previous`, seeded with the simple average of the first `length` values."""
    out = np.full(len(x), np.nan)
    beta = 1.0 - alpha
    known, value = 0, 0.0
    seed = rolling_sum(x, length) / float(length)
    for i, new in enumerate(x.tolist()):
        if not np.isfinite(new):
            known = 0
            continue
        known += 1
        if known == length:
            value = float(seed[i])
        elif known > length:
            value = alpha * new + beta * value
        if known >= length:
            out[i] = value
    return out


def ema(x: Series, length: int) -> Series:
    """Exponential moving average, alpha = 2 / (length + 1), seeded with the simple average (as TA-Lib). Known from value `length - 1`."""
    return smoothed(x, length, 2.0 / (float(length) + 1.0))


def rma(x: Series, length: int) -> Series:
    """Wilder's smoothing, alpha = 1 / length, seeded with the simple average. Known from value `length - 1`. (Wilder 1978)"""
    return smoothed(x, length, 1.0 / float(length))


def rsi(x: Series, length: int) -> Series:
    """Relative strength index, 0 to 100: 100 * up / (up + down) of Wilder-smoothed rises and falls; 50 where nothing moved.

    Known from value `length`. TA-Lib says 0 where nothing moved. (Wilder 1978)
    """
    change = np.full(len(x), np.nan)
    change[1:] = x[1:] - x[:-1]
    up = rma(np.where(np.isnan(change), np.nan, np.where(change > 0, change, 0.0)), length)
    down = rma(np.where(np.isnan(change), np.nan, np.where(change < 0, -change, 0.0)), length)
    total = up + down
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total == 0.0, 50.0, 100.0 * up / total)


def true_range(high: Series, low: Series, close: Series) -> Series:
    """Greatest of high - low, |high - previous close|, |low - previous close|; known from the second bar. (Wilder 1978)"""
    out = np.full(len(close), np.nan)
    before = close[:-1]
    out[1:] = np.maximum(high[1:] - low[1:], np.maximum(np.abs(high[1:] - before), np.abs(low[1:] - before)))
    return out


def shift(x: Series, bars: int) -> Series:
    """The value `bars` bars earlier."""
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out


class Indicator(NamedTuple):
    """An operation of the plan.

    `series` inputs come first, then `lengths` whole-number arguments from 1; the output is known `warm_up(lengths)` bars after its inputs.
    """

    reference: Callable[..., Series]
    series: int
    lengths: tuple[str, ...]
    warm_up: Callable[..., int]


INDICATORS: dict[str, Indicator] = {
    "sma": Indicator(sma, 1, ("length",), lambda length: length - 1),
    "ema": Indicator(ema, 1, ("length",), lambda length: length - 1),
    "rma": Indicator(rma, 1, ("length",), lambda length: length - 1),
    "rsi": Indicator(rsi, 1, ("length",), lambda length: length),
    "true_range": Indicator(true_range, 3, (), lambda: 1),
    "shift": Indicator(shift, 1, ("bars",), lambda bars: bars),
}
