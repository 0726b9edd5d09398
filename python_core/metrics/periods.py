"""Periods of a run: UTC days, or bars of a day or longer. The twin is `core_rs/src/metrics/periods.rs`."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.data.columns import Integers
from python_core.data.timeframes import DAY_MS, MONTH_MS, WEEK_MS
from python_core.execution import Calendar

# Days in a year, and in a week.
_DAYS: Final[dict[str, tuple[float, float]]] = {"crypto": (365.0, 7.0), "exchange": (252.0, 5.0), "fx": (260.0, 5.0)}


def period_ends(time_ms: Integers, timeframe_ms: int, calendar: Calendar) -> Integers:
    """Positions of the last bars of all periods, int64[periods], from the open times of all bars.

    Where markets close, the hours of a weekend belong to its Monday, even if that has no bars.
    """
    if timeframe_ms >= DAY_MS:
        return np.arange(len(time_ms))
    day = time_ms // DAY_MS
    if calendar != "crypto":
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        day = np.where(weekday >= 5, day + 7 - weekday, day)
    return np.flatnonzero(np.append(day[1:] != day[:-1], True))


def periods_per_year(timeframe_ms: int, calendar: Calendar) -> float:
    """The number of periods in a year."""
    days, week = _DAYS[calendar]
    if timeframe_ms == MONTH_MS:
        return 12.0
    if timeframe_ms >= WEEK_MS:
        return days / week
    return days / 3.0 if timeframe_ms >= 3 * DAY_MS else days
