"""Oscillators: how fast and how far a price has moved."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.averages import rma
from python_core.indicators.table import Indicator, Series, composite, length, primitive


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


ROWS: Final[dict[str, Indicator]] = {
    "rsi": primitive(rsi, length(default=14), warm_up=lambda length: length),
    "macd": composite(
        "Moving average convergence and divergence: line = ema(fast) - ema(slow), signal = ema(line), hist = line - signal. (Appel 1979)",
        length("fast", 12),
        length("slow", 26),
        length("signal_length", 9),
        outputs=("line", "signal", "hist"),
        formula={
            "line": "ema(series, fast) - ema(series, slow)",
            "signal": "ema(line, signal_length)",
            "hist": "line - signal",
        },
    ),
}
