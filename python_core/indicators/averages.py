"""Moving averages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from python_core.indicators.sums import SCALE, divide, restart_after_gaps, rolling_sum, to_fixed_point
from python_core.indicators.table import Indicator, Series, composite, length, primitive


def sma(x: Series, length: int) -> Series:
    """Simple moving average: the correctly rounded sum of the last `length` values, divided by `length`. Known from value `length - 1`."""
    return rolling_sum(x, length) / float(length)


def exponential(x: Series, length: int, alpha: float) -> Series:
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
    """Exponential moving average, alpha = 2 / (length + 1), seeded with the simple average (as in TA-Lib). Known from value `length - 1`."""
    return exponential(x, length, 2.0 / (float(length) + 1.0))


def rma(x: Series, length: int) -> Series:
    """Wilder's smoothing, alpha = 1 / length, seeded with the simple average. Known from value `length - 1`. (Wilder 1978)"""
    return exponential(x, length, 1.0 / float(length))


def _weighted(x: Series, length: int) -> Iterator[tuple[int, int, int]]:
    """For each bar: its index, the sum of the window, and the sum with weights 1, 2, ... from the oldest value; both exact, times `SCALE`."""
    scaled = [to_fixed_point(value) for value in x.tolist()]
    total, weighted = 0, 0
    for i, new in enumerate(scaled):
        if i < length:
            weighted += (i + 1) * new
            total += new
        else:
            weighted += length * new - total  # every weight drops by one, which removes the oldest value
            total += new - scaled[i - length]
        if i >= length - 1:
            yield i, total, weighted


@restart_after_gaps()
def wma(x: Series, length: int) -> Series:
    """Weighted moving average with weights 1, 2, ... from the oldest value to the newest: exact weighted sum, rounded, over length * (length + 1) / 2."""
    out = np.full(len(x), np.nan)
    for i, _, weighted in _weighted(x, length):
        out[i] = divide(weighted, SCALE) / float(length * (length + 1) // 2)
    return out


@restart_after_gaps(outputs=2)
def linreg(x: Series, length: int) -> tuple[Series, Series]:
    """Linear regression: the last point of the least-squares line through the last `length` values; `slope`: its rise per bar.

    With the exact sum S and weighted sum W (as wma): value = (6 W - 2 (length + 1) S) / (length (length + 1)),
    slope = (12 W - 6 (length + 1) S) / (length (length^2 - 1)), each numerator rounded once; the slope of one value is 0. As in TA-Lib's LINEARREG.
    """
    value, slope = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for i, total, weighted in _weighted(x, length):
        value[i] = divide(6 * weighted - 2 * (length + 1) * total, SCALE) / float(length * (length + 1))
        rise = divide(12 * weighted - 6 * (length + 1) * total, SCALE)
        slope[i] = 0.0 if length == 1 else rise / float(length * (length * length - 1))
    return value, slope


def hma(x: Series, length: int) -> Series:
    """Hull moving average: wma(2 * wma(x, length / 2) - wma(x, length), sqrt(length)), lengths rounded down. (Hull 2005)"""
    with np.errstate(all="ignore"):
        return np.asarray(wma(2.0 * wma(x, max(length // 2, 1)) - wma(x, length), math.isqrt(length)))


@restart_after_gaps()
def kama(x: Series, length: int, fast: int, slow: int) -> Series:
    """Kaufman's adaptive moving average: value += rate^2 * (x - value), starting at x one bar before the first known value.

    rate = efficiency * (f - s) + s with f = 2 / (fast + 1) and s = 2 / (slow + 1); efficiency = |x - x[length]| / sum of |x - x[1]| over
    `length` bars, 1 if nothing moved; the sum is exact. As in TA-Lib with fast 2 and slow 30. (Kaufman 1995)
    """
    out = np.full(len(x), np.nan)
    steps = np.abs(x[1:] - x[:-1])
    # A step that overflows restarts it, like any other value that is not finite.
    begin = 1 + int(np.flatnonzero(~np.isfinite(steps))[-1]) if not np.isfinite(steps).all() else 0
    f, s = 2.0 / (float(fast) + 1.0), 2.0 / (float(slow) + 1.0)
    if begin:
        out[:begin] = kama(x[:begin], length, fast, slow)
    path = rolling_sum(steps[begin:], length)
    value = 0.0
    for i in range(begin + length, len(x)):
        if i == begin + length:
            value = float(x[i - 1])
        change, travelled = abs(x[i] - x[i - length]), path[i - begin - 1]
        efficiency = 1.0 if travelled <= change else change / travelled
        rate = efficiency * (f - s) + s
        value += rate * rate * (x[i] - value)
        out[i] = value
    return out


ROWS: Final[dict[str, Indicator]] = {
    "sma": primitive(sma, length(), warm_up=lambda length: length - 1),
    "ema": primitive(ema, length(), warm_up=lambda length: length - 1),
    "rma": primitive(rma, length(), warm_up=lambda length: length - 1),
    "wma": primitive(wma, length(), warm_up=lambda length: length - 1),
    "hma": primitive(hma, length(), warm_up=lambda length: length - 1 + math.isqrt(length) - 1),
    "dema": composite(
        "Double exponential moving average, with less lag: 2 * ema - ema(ema). (Mulloy 1994)",
        length(),
        formula={"value": "2 * average - ema(average, length)", "average": "ema(series, length)"},
    ),
    "tema": composite(
        "Triple exponential moving average, with even less lag: 3 * ema - 3 * ema(ema) + ema(ema(ema)). (Mulloy 1994)",
        length(),
        formula={
            "value": "3 * once - 3 * twice + ema(twice, length)",
            "twice": "ema(once, length)",
            "once": "ema(series, length)",
        },
    ),
    "kama": primitive(kama, length(default=10), length("fast", 2), length("slow", 30), warm_up=lambda length, fast, slow: length),
    "vwma": composite(
        "Volume-weighted moving average: sma(series * volume) / sma(volume); unknown if nothing was traded.",
        length(),
        formula="sma(series * volume, length) / sma(volume, length)",
        may_stay_unknown=True,
    ),
    "linreg": primitive(linreg, length(), outputs=("value", "slope"), warm_up=lambda length: length - 1),
}
