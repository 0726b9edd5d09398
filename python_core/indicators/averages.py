"""Moving averages."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.sums import rolling_sum
from python_core.indicators.table import Indicator, Series, composite, length, primitive


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


ROWS: Final[dict[str, Indicator]] = {
    "sma": primitive(sma, length(), warm_up=lambda length: length - 1),
    "ema": primitive(ema, length(), warm_up=lambda length: length - 1),
    "rma": primitive(rma, length(), warm_up=lambda length: length - 1),
    "dema": composite(
        "Double exponential moving average, 2 * ema - ema(ema): it lags less. As TA-Lib. (Mulloy 1994)",
        length(),
        formula={"value": "2 * average - ema(average, length)", "average": "ema(series, length)"},
    ),
}
