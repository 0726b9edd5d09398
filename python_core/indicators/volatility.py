"""Volatility: how wide prices range."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.table import Indicator, Series, composite, length, primitive


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
}
