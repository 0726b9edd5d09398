"""Gaps between bars: measured by the clock or, for an exchange that closes, within the sessions of its calendar."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from python_core.data import timeframes
from python_core.data.columns import Integers
from python_core.data.timeframes import DAY_MS, MONTH_MS
from python_core.errors import BarstormError

_FIRST: Final = "1970-01-01"
_LAST: Final = "2099-12-31"
_HINT: Final = "without a calendar, or with an exchange name in lower case, gaps are measured by the clock"


class Sessions(NamedTuple):
    """Epoch milliseconds, increasing: the days with a session, and the start and end of each stretch of trading between breaks."""

    days: Integers
    opens: Integers
    closes: Integers
    zone: str


def gaps(time: Integers, length_ms: int, calendar: str = "") -> tuple[Integers, Integers]:
    """Positions of bars after which bars are missing, and how many are missing there, both int64[k].

    `time` holds the open times of bars of `length_ms`, epoch milliseconds. With a calendar (a code of exchange_calendars, such as `XNYS`) only
    its sessions count: a daily bar is missing if its day has a session, a longer one if any of its days has one, an intraday one if there is
    trading during it. Intraday bars are counted from the start of the session. A daily bar at 00:00 UTC belongs to that date, any other to
    its local date at the exchange. Outside the years that the calendar covers, gaps are measured by the clock.

    Raises:
        BarstormError: unknown calendar, or exchange_calendars is not installed.
    """
    at = timeframes.gaps(time, length_ms)
    before, after = time[at], time[at + 1]
    missing: Integers = timeframes.steps(time, length_ms)[at] - 1 if length_ms == MONTH_MS else (after - before) // length_ms - 1
    if calendar:
        sessions = _sessions(calendar)
        count = _missing_days if length_ms >= DAY_MS else _missing_intraday
        covered = (before >= sessions.days[0]) & (after < sessions.days[-1] + DAY_MS)
        missing = np.where(covered, count(sessions, before, after, length_ms), missing)
    return at[missing > 0], missing[missing > 0]


def check(calendar: str) -> None:
    """Raise what `gaps` would raise for this calendar."""
    _calendar_class(calendar)


def _missing_days(sessions: Sessions, before: Integers, after: Integers, length_ms: int) -> Integers:
    """Number of sessions between the days of two bars, or of longer bars that have any."""
    days = sessions.days
    first, last = (_date(time, sessions.zone) for time in (before, after))
    if length_ms > DAY_MS:
        days, first, last = (timeframes.bucket_start(time, length_ms) for time in (days, first, last))
        days = np.unique(days)
    return np.searchsorted(days, last) - np.searchsorted(days, first, side="right")


def _missing_intraday(sessions: Sessions, before: Integers, after: Integers, length_ms: int) -> Integers:
    """Number of bars needed to cover the trading between the end of one bar and the start of another."""
    opens, closes = sessions.opens, sessions.closes
    begin = before + length_ms
    first, last = np.searchsorted(closes, begin, side="right"), np.searchsorted(opens, after) - 1
    covered = np.concatenate(([0], np.cumsum(-((opens - closes) // length_ms))))
    # The first and the last stretch may be covered only in part.
    ends = [np.minimum(i, len(opens) - 1) for i in (first, last)]
    spans = [np.minimum(closes[i], after) - np.maximum(opens[i], begin) for i in ends]
    several = -(-spans[0] // length_ms) - (-spans[1] // length_ms) + covered[ends[1]] - covered[np.minimum(ends[0] + 1, ends[1])]
    return np.where(last < first, 0, np.where(last == first, -(-spans[0] // length_ms), several))


def _date(time: Integers, zone: str) -> Integers:
    """Midnight of the dates to which daily or longer bars belong."""
    import pandas

    local = pandas.DatetimeIndex(time.astype("datetime64[ms]"), tz="UTC").tz_convert(zone).tz_localize(None)
    return np.where(time % DAY_MS == 0, time, _milliseconds(local) // DAY_MS * DAY_MS)


@lru_cache(maxsize=16)
def _sessions(calendar: str) -> Sessions:
    library, kind = _calendar_class(calendar)
    start, end = str(kind.bound_min() or _FIRST)[:10], str(kind.bound_max() or _LAST)[:10]
    sessions = library.get_calendar(calendar, start=max(start, _FIRST), end=min(end, _LAST))
    schedule = sessions.schedule
    has_break = schedule["break_start"].notna().to_numpy()
    opens, closes, pauses, resumes = (_milliseconds(schedule[name]) for name in ("open", "close", "break_start", "break_end"))
    return Sessions(
        days=_milliseconds(schedule.index),
        opens=np.sort(np.concatenate([opens, resumes[has_break]])),
        closes=np.sort(np.concatenate([closes, pauses[has_break]])),
        zone=str(sessions.tz),
    )


def _calendar_class(calendar: str) -> tuple[Any, Any]:
    """The module exchange_calendars, and its class for this calendar."""
    try:
        import exchange_calendars
    except ImportError as error:
        hint = f"run `make install` or `pip install '.[calendars]'` in the checkout; {_HINT}"
        raise BarstormError(
            f"sessions of {calendar!r:.40} need the package exchange_calendars", where="calendar", hint=hint, code="no_calendars"
        ) from error
    names = exchange_calendars.get_calendar_names(include_aliases=True)
    if calendar not in names:
        similar = ", ".join(get_close_matches(calendar.upper(), names, n=3, cutoff=0.5)) or "a code such as XNYS"
        raise BarstormError(f"unknown calendar {calendar!r:.40}", where="calendar", hint=f"use {similar}; {_HINT}", code="unknown_calendar")
    return exchange_calendars, type(exchange_calendars.get_calendar(calendar))


def _milliseconds(times: Any) -> Integers:
    """pandas timestamps as epoch milliseconds."""
    milliseconds: Integers = times.to_numpy("datetime64[ms]").astype(np.int64)
    return milliseconds
