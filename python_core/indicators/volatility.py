"""Volatility: the range of prices."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.table import Indicator, Series, composite, length, number, primitive


def true_range(high: Series, low: Series, close: Series) -> Series:
    """Greatest of high - low, |high - previous close|, |low - previous close|; known from the second bar. (Wilder 1978)"""
    out = np.full(len(close), np.nan)
    before = close[:-1]
    out[1:] = np.maximum(high[1:] - low[1:], np.maximum(np.abs(high[1:] - before), np.abs(low[1:] - before)))
    return out


ROWS: Final[dict[str, Indicator]] = {
    "true_range": primitive(true_range, series=(), implied=("high", "low", "close"), warm_up=lambda: 1),
    "atr": composite(
        "Average true range: Wilder's average of the true range. (Wilder 1978)",
        length(default=14),
        series=(),
        formula="rma(true_range(), length)",
    ),
    "natr": composite(
        "Normalized average true range: 100 * (atr / close). As in TA-Lib.",
        length(default=14),
        series=(),
        formula="100 * (atr(length) / close)",
    ),
    "bollinger": composite(
        "Bollinger bands: middle = sma, upper and lower `multiple` standard deviations from it; width = (upper - lower) / middle;"
        " percent = position of the series between lower (0) and upper (1), 0.5 if they are equal. (Bollinger 1983)",
        length(default=20),
        number("multiple", 2.0),
        outputs=("upper", "middle", "lower", "width", "percent"),
        formula={
            "upper": "middle + reach",
            "middle": "sma(series, length)",
            "lower": "middle - reach",
            "width": "(upper - lower) / middle if middle != 0 else 0",
            "percent": "(series - lower) / (upper - lower) if upper != lower else 0.5",
            "reach": "multiple * stdev(series, length)",
        },
    ),
    "keltner": composite(
        "Keltner channel: middle = ema of the close, upper and lower `multiple` times atr(range_length) from it. (Keltner 1960, Raschke)",
        length(default=20),
        number("multiple", 2.0),
        length("range_length", 10),
        series=(),
        outputs=("upper", "middle", "lower"),
        formula={
            "upper": "middle + multiple * atr(range_length)",
            "middle": "ema(close, length)",
            "lower": "middle - multiple * atr(range_length)",
        },
    ),
    "donchian": composite(
        "Donchian channel: highest high, lowest low, and their midpoint, of `length` bars including this one. (Donchian 1960)",
        length(default=20),
        series=(),
        outputs=("upper", "middle", "lower"),
        formula={"upper": "highest(high, length)", "middle": "(upper + lower) / 2", "lower": "lowest(low, length)"},
    ),
}
