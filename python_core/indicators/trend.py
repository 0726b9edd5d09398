"""Trend: direction, strength, and lines that follow it."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.averages import rma
from python_core.indicators.sums import restart_after_gaps
from python_core.indicators.table import MAX_LOOKBACK, Indicator, Series, composite, length, number, primitive
from python_core.indicators.volatility import true_range


@restart_after_gaps(outputs=2)
def psar(high: Series, low: Series, step: float, maximum: float) -> tuple[Series, Series]:
    """Parabolic stop and reverse; `direction`: 1 below a rising price, -1 above a falling one. As in TA-Lib's SAR. (Wilder 1978)

    stop += factor * (extreme - stop) each bar, never beyond the range of this bar and the one before; the factor grows by `step` with each
    new extreme, up to `maximum`. A bar that reaches the stop reverses it. It starts long unless the second bar moves down more than up.
    """
    value, direction = np.full(len(high), np.nan), np.full(len(high), np.nan)
    bars = list(zip(high.tolist(), low.tolist(), strict=True))
    long, stop, extreme, factor = True, 0.0, 0.0, min(step, maximum)
    for i in range(1, len(bars)):
        (high_before, low_before), (new_high, new_low) = bars[i - 1], bars[i]
        top, bottom = max(high_before, new_high), min(low_before, new_low)
        if i == 1:
            up, down = new_high - high_before, low_before - new_low
            long = not (down > 0.0 and down > up)
            stop, extreme = (low_before, new_high) if long else (high_before, new_low)
            top, bottom = new_high, new_low  # the first bar bounds its own stop, as in TA-Lib
        if new_low <= stop if long else new_high >= stop:
            long = not long
            stop = min(extreme, bottom) if long else max(extreme, top)
            extreme, factor = new_high if long else new_low, min(step, maximum)
        elif new_high > extreme if long else new_low < extreme:
            extreme, factor = new_high if long else new_low, min(factor + step, maximum)
        value[i], direction[i] = stop, 1.0 if long else -1.0
        moved = stop + factor * (extreme - stop)
        stop = min(moved, bottom) if long else max(moved, top)
    return value, direction


@restart_after_gaps(outputs=2)
def supertrend(high: Series, low: Series, close: Series, length: int, multiple: float) -> tuple[Series, Series]:
    """Supertrend: the band at hl2 -+ multiple * atr(length) on the far side of the price; `direction`: 1 rising, -1 falling. (Seban)

    A band only moves towards the price, unless the previous close was beyond it; the trend reverses on a close beyond the active band. It
    starts falling, as on TradingView, where the direction has the opposite sign.
    """
    line, direction = np.full(len(close), np.nan), np.full(len(close), np.nan)
    width = multiple * rma(true_range(high, low, close), length)
    middle = (high + low) / 2.0
    upper, lower, rising = np.nan, np.nan, False
    for i in range(len(close)):
        if np.isnan(width[i]):
            upper, lower, rising = np.nan, np.nan, False
            continue
        new_upper, new_lower = middle[i] + width[i], middle[i] - width[i]
        if np.isnan(upper):
            upper, lower = new_upper, new_lower
        else:
            upper = new_upper if new_upper < upper or close[i - 1] > upper else upper
            lower = new_lower if new_lower > lower or close[i - 1] < lower else lower
            rising = bool(close[i] >= lower if rising else close[i] > upper)
        line[i], direction[i] = (lower, 1.0) if rising else (upper, -1.0)
    return line, direction


# `min` below: a movement is at most its true range, but rounding may part the averages of both.
_DIRECTIONAL: Final = {
    "up": "high - high[1]",
    "down": "low[1] - low",
    "plus": "up if up > down and up > 0 else 0",
    "minus": "down if down > up and down > 0 else 0",
    "span": "atr(length)",
}

ROWS: Final[dict[str, Indicator]] = {
    "plus_di": composite(
        "Plus directional indicator, 0 to 100: 100 * (rma of upward movement / atr); 0 if nothing moved."
        " TA-Lib starts its averages one bar earlier; the difference fades. (Wilder 1978)",
        length(default=14),
        series=(),
        formula={"value": "100 * min(rma(plus, length) / span, 1) if span != 0 else 0", **_DIRECTIONAL},
    ),
    "minus_di": composite(
        "Minus directional indicator, 0 to 100: 100 * (rma of downward movement / atr); 0 if nothing moved."
        " TA-Lib starts its averages one bar earlier; the difference fades. (Wilder 1978)",
        length(default=14),
        series=(),
        formula={"value": "100 * min(rma(minus, length) / span, 1) if span != 0 else 0", **_DIRECTIONAL},
    ),
    "adx": composite(
        "Average directional index, 0 to 100: rma of 100 * (|plus_di - minus_di| / (plus_di + minus_di)); 0 if both are 0."
        " TA-Lib starts its averages one bar earlier; the difference fades. (Wilder 1978)",
        length(default=14),
        series=(),
        formula={
            "value": "rma(100 * (abs(plus - minus) / total) if total != 0 else 0, length)",
            "total": "plus + minus",
            "plus": "plus_di(length)",
            "minus": "minus_di(length)",
        },
    ),
    "aroon": composite(
        "Aroon: how recent the extremes of the last `length` + 1 bars are: (100 * (length - bars)) / length, 100 on this bar, 0 `length` bars ago;"
        " oscillator = (100 * (bars since the low - bars since the high)) / length, -100 to 100. As in TA-Lib. (Chande 1995)",
        length(default=14, maximum=MAX_LOOKBACK - 1),
        series=(),
        outputs=("up", "down", "oscillator"),
        formula={
            "up": "(100 * (length - high_bars)) / length",
            "down": "(100 * (length - low_bars)) / length",
            "oscillator": "(100 * (low_bars - high_bars)) / length",
            "high_bars": "highest(high, length + 1).bars",
            "low_bars": "lowest(low, length + 1).bars",
        },
    ),
    "psar": primitive(
        psar,
        number("step", 0.02),
        number("maximum", 0.2),
        series=(),
        implied=("high", "low"),
        outputs=("value", "direction"),
        warm_up=lambda step, maximum: 1,
    ),
    "supertrend": primitive(
        supertrend,
        length(default=10),
        number("multiple", 3.0),
        series=(),
        implied=("high", "low", "close"),
        outputs=("line", "direction"),
        warm_up=lambda length, multiple: length,
        settle=lambda length, multiple: 10 * length + 1,
    ),
    "ichimoku": composite(
        "Ichimoku: conversion and base are the midpoints of the range of `short` and `medium` bars; span_a (their average) and span_b (the"
        " midpoint of `long` bars) are those of `medium` bars ago, as plotted on this bar. The lagging span is the close, plotted earlier."
        " (Hosoda 1969)",
        length("short", 9),
        length("medium", 26),
        length("long", 52),
        series=(),
        outputs=("conversion", "base", "span_a", "span_b"),
        formula={
            "conversion": "(highest(high, short) + lowest(low, short)) / 2",
            "base": "(highest(high, medium) + lowest(low, medium)) / 2",
            "span_a": "((conversion + base) / 2)[medium]",
            "span_b": "((highest(high, long) + lowest(low, long)) / 2)[medium]",
        },
    ),
}
