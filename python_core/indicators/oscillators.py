"""Oscillators: the speed and size of price moves."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.averages import rma
from python_core.indicators.sums import restart_after_gaps, rolling_mean
from python_core.indicators.table import Indicator, Series, composite, length, primitive


def rsi(x: Series, length: int) -> Series:
    """Relative strength index, 0 to 100: 100 * (up / (up + down)) of Wilder-smoothed gains and losses; 50 if nothing moved.

    Known from value `length`. TA-Lib gives 0 if nothing moved. (Wilder 1978)
    """
    change = np.full(len(x), np.nan)
    change[1:] = x[1:] - x[:-1]
    up = rma(np.where(np.isnan(change), np.nan, np.where(change > 0, change, 0.0)), length)
    down = rma(np.where(np.isnan(change), np.nan, np.where(change < 0, -change, 0.0)), length)
    total = up + down
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total == 0.0, 50.0, 100.0 * (up / total))


@restart_after_gaps()
def mean_deviation(x: Series, length: int) -> Series:
    """Mean absolute deviation of the last `length` values from their mean; summed from the oldest to the newest for every bar, so it can't drift."""
    out = np.full(len(x), np.nan)
    n = len(x) - length + 1
    if n < 1:
        return out
    mean = rolling_mean(x, length)[length - 1 :]
    total = np.zeros(n)
    for k in range(length):
        total += np.abs(x[k : k + n] - mean)
    out[length - 1 :] = total / float(length)
    return out


_CHANGE: Final = "series - series[length]"

ROWS: Final[dict[str, Indicator]] = {
    "rsi": primitive(rsi, length(default=14), warm_up=lambda length: length, settle=lambda length: 10 * length + 1),
    "stoch": composite(
        "Stochastic oscillator: k = position of the close in the range of `length` bars, 0 to 100, averaged over `smooth` bars; d = sma(k)."
        " 0 if there is no range. As in TA-Lib. (Lane 1984)",
        length(default=14),
        length("smooth", 3),
        length("signal_length", 3),
        series=(),
        outputs=("k", "d"),
        formula={
            "k": "sma(100 * ((close - bottom) / (top - bottom)) if top != bottom else 0, smooth)",
            "d": "sma(k, signal_length)",
            "top": "highest(high, length)",
            "bottom": "lowest(low, length)",
        },
    ),
    "stochrsi": composite(
        "Stochastic RSI: k = position of the RSI in its range of `stoch_length` bars, 0 to 100, averaged over `smooth` bars; d = sma(k)."
        " A range below 1e-9, which rounding can make, is none: 0. As in TA-Lib with smooth 1. (Chande and Kroll 1994)",
        length(default=14),
        length("stoch_length", 14),
        length("smooth", 3),
        length("signal_length", 3),
        outputs=("k", "d"),
        formula={
            "k": "sma(100 * ((strength - bottom) / (top - bottom)) if top - bottom >= 1e-9 else 0, smooth)",
            "d": "sma(k, signal_length)",
            "strength": "rsi(series, length)",
            "top": "highest(strength, stoch_length)",
            "bottom": "lowest(strength, stoch_length)",
        },
    ),
    "mean_deviation": primitive(mean_deviation, length(maximum=10_000), warm_up=lambda length: length - 1),
    "cci": composite(
        "Commodity channel index: (hlc3 - sma) / (0.015 * mean_deviation); 0 if the deviation is 0. As in TA-Lib. (Lambert 1980)",
        length(default=20, maximum=10_000),
        series=(),
        formula={
            "value": "(hlc3 - sma(hlc3, length)) / (0.015 * spread) if spread != 0 else 0",
            "spread": "mean_deviation(hlc3, length)",
        },
    ),
    "mfi": composite(
        "Money flow index, 0 to 100: 100 * (up / (up + down)) of hlc3 * volume on bars where hlc3 rose and fell; 50 if nothing flowed."
        " TA-Lib gives 0 if less than 1 flowed. (Quong and Soudack 1989)",
        length(default=14),
        series=(),
        formula={
            "value": "100 * (up / (up + down)) if up + down != 0 else 50",
            "up": "sma(hlc3 * volume if hlc3 > hlc3[1] else 0, length)",
            "down": "sma(hlc3 * volume if hlc3 < hlc3[1] else 0, length)",
        },
    ),
    "williams_r": composite(
        "Williams %R: position of the close in the range of `length` bars, -100 at the low to 0 at the high; 0 if there is no range. As in TA-Lib. (Williams 1973)",
        length(default=14),
        series=(),
        formula={
            "value": "-100 * ((top - close) / (top - bottom)) if top != bottom else 0",
            "top": "highest(high, length)",
            "bottom": "lowest(low, length)",
        },
    ),
    "momentum": composite("Momentum: the change over `length` bars. As in TA-Lib's MOM.", length(), formula=_CHANGE),
    "roc": composite(
        "Rate of change over `length` bars, in percent; 0 if the earlier value is 0. As in TA-Lib.",
        length(),
        formula={"value": f"100 * (({_CHANGE}) / series[length]) if series[length] != 0 else 0"},
    ),
    "tsi": composite(
        "True strength index, -100 to 100: 100 * (ema(ema(change, long), short) / the same of abs(change)); 0 if nothing moved. (Blau 1991)",
        length("long", 25),
        length("short", 13),
        formula={
            # Rounding may part two averages of the same values.
            "value": "100 * max(min(ema(ema(change, long), short) / size, 1), -1) if size != 0 else 0",
            "size": "ema(ema(abs(change), long), short)",
            "change": "series - series[1]",
        },
    ),
    "macd": composite(
        "Moving average convergence and divergence: line = ema(fast) - ema(slow), signal = ema(line), hist = line - signal."
        " TA-Lib starts the fast average later; the difference fades. (Appel 1979)",
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
