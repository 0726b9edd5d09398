"""Moving averages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from python_core.indicators.sums import restart_after_gaps, rolling_mean, rolling_sum
from python_core.indicators.table import Indicator, Series, composite, length, primitive
from python_core.numerics.exact_sum import SCALE, divide, to_fixed_point


def sma(x: Series, length: int) -> Series:
    """Simple moving average: the exact sum of the last `length` values over `length`, rounded once. Known from value `length - 1`."""
    return rolling_mean(x, length)


def exponential(x: Series, length: int, alpha: float) -> Series:
    """`value + alpha * (new - value)`, seeded with the simple average of the first `length` values."""
    out = np.full(len(x), np.nan)
    known, value = 0, 0.0
    seed = rolling_mean(x, length)
    for i, new in enumerate(x.tolist()):
        if not np.isfinite(new):
            known = 0
            continue
        known += 1
        if known == length:
            value = float(seed[i])
        elif known > length:
            value = _step(value, new, alpha)
        if known >= length:
            out[i] = value
    return out


def _step(value: float, new: float, alpha: float) -> float:
    """`value + alpha * (new - value)`, which is never outside `value` and `new`, for 0 < alpha <= 2 / 3 or alpha = 1.

    The rounded product is at most the true distance, as alpha leaves more room than rounding takes, and rounding a sum that is not beyond
    `new` does not take it there.
    """
    distance = new - value
    if alpha == 1.0:
        return new
    if math.isfinite(distance):
        return value + alpha * distance
    # The distance of two huge values of opposite sign.
    return alpha * new + (1.0 - alpha) * value


def ema(x: Series, length: int) -> Series:
    """Exponential moving average: value + alpha * (new - value) with alpha = 2 / (length + 1), seeded with the simple average (as in TA-Lib).

    It never leaves the range of old value and new one. Known from value `length - 1`.
    """
    return exponential(x, length, 2.0 / (float(length) + 1.0))


def rma(x: Series, length: int) -> Series:
    """Wilder's smoothing: value + alpha * (new - value) with alpha = 1 / length, seeded with the simple average.

    It never leaves the range of old value and new one. Known from value `length - 1`. (Wilder 1978)
    """
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
    """Weighted moving average with weights 1, 2, ... from the oldest value to the newest: the exact weighted sum over length * (length + 1) / 2, rounded once."""
    out = np.full(len(x), np.nan)
    for i, _, weighted in _weighted(x, length):
        out[i] = divide(weighted, SCALE * (length * (length + 1) // 2))
    return out


@restart_after_gaps(outputs=2)
def linreg(x: Series, length: int) -> tuple[Series, Series]:
    """Linear regression: the last point of the least-squares line through the last `length` values; `slope`: its rise per bar.

    With the exact sum S and weighted sum W (as wma): value = (6 W - 2 (length + 1) S) / (length (length + 1)),
    slope = (12 W - 6 (length + 1) S) / (length (length^2 - 1)), each quotient rounded once; the slope of one value is 0. As in TA-Lib's LINEARREG.
    """
    value, slope = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for i, total, weighted in _weighted(x, length):
        value[i] = divide(6 * weighted - 2 * (length + 1) * total, SCALE * length * (length + 1))
        rise = 12 * weighted - 6 * (length + 1) * total
        slope[i] = 0.0 if length == 1 else divide(rise, SCALE * length * (length * length - 1))
    return value, slope


def hma(x: Series, length: int) -> Series:
    """Hull moving average: wma(2 * wma(x, length / 2) - wma(x, length), sqrt(length)), lengths rounded down. (Hull 2005)"""
    with np.errstate(all="ignore"):
        return np.asarray(wma(2.0 * wma(x, max(length // 2, 1)) - wma(x, length), math.isqrt(length)))


@restart_after_gaps()
def vwma(x: Series, volume: Series, length: int) -> Series:
    """Volume-weighted moving average: the exact sum of series * volume over that of the volume, rounded once; unknown if nothing was traded."""
    out = np.full(len(x), np.nan)
    rows = [(to_fixed_point(value), to_fixed_point(weight)) for value, weight in zip(x.tolist(), volume.tolist(), strict=True)]
    products, traded = 0, 0
    for i, (value, weight) in enumerate(rows):
        products, traded = products + value * weight, traded + weight
        if i >= length:
            value, weight = rows[i - length]
            products, traded = products - value * weight, traded - weight
        if i >= length - 1 and traded:
            out[i] = divide(products, traded * SCALE)
    return out


@restart_after_gaps()
def kama(x: Series, length: int, fast: int, slow: int) -> Series:
    """Kaufman's adaptive moving average: value += rate^2 * (x - value), at most to x, starting at x one bar before the first known value.

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
        moved = value + rate * rate * (x[i] - value)
        value = min(max(moved, min(value, x[i])), max(value, x[i]))
        out[i] = value
    return out


ROWS: Final[dict[str, Indicator]] = {
    "sma": primitive(sma, length(), warm_up=lambda length: length - 1),
    "ema": primitive(ema, length(), warm_up=lambda length: length - 1, settle=lambda length: 5 * length),
    "rma": primitive(rma, length(), warm_up=lambda length: length - 1, settle=lambda length: 10 * length),
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
    "vwma": primitive(vwma, length(), implied=("volume",), warm_up=lambda length: length - 1, may_stay_unknown=True),
    "linreg": primitive(linreg, length(), outputs=("value", "slope"), warm_up=lambda length: length - 1),
}
