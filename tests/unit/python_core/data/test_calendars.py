"""Gaps of an exchange that closes: only bars within its sessions are missing."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path

import exchange_calendars
import numpy as np
import polars
import pytest

from python_core.data import calendars, timeframes
from python_core.data.timeframes import MILLISECONDS
from python_core.errors import BarstormError
from python_core.files import read

MINUTE, HOUR, DAY, WEEK = (MILLISECONDS[name] for name in ("1m", "1h", "1d", "1w"))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def opening(*stretches: tuple[str, str], every: int = MINUTE) -> np.ndarray:
    """Open times of bars that start in these half-open ranges of UTC."""
    return np.concatenate([np.arange(ms(begin), ms(end), every) for begin, end in stretches])


# Wednesday, Thanksgiving on Thursday, Friday until 13:00 in New York, Monday.
THANKSGIVING = [
    ("2023-11-22T14:30", "2023-11-22T21:00"),
    ("2023-11-24T14:30", "2023-11-24T18:00"),
    ("2023-11-27T14:30", "2023-11-27T21:00"),
]
# Clocks in New York change between the two days, Friday and Monday.
SPRING = [("2024-03-08T14:30", "2024-03-08T21:00"), ("2024-03-11T13:30", "2024-03-11T20:00")]


def find_gaps(time: np.ndarray, length_ms: int, calendar: str) -> list[tuple[int, int]]:
    at, missing = calendars.gaps(time, length_ms, calendar)
    return list(zip(at.tolist(), missing.tolist(), strict=True))


@pytest.mark.parametrize("calendar", ["XNYS", "XNAS", "NASDAQ"])
def test_real_daily_bars_have_every_session(market_data: Path, calendar: str) -> None:
    bars, report = read.read_with_report(market_data / "goog-1d.csv", calendar=calendar)
    assert (report.count("gap"), report.calendar) == (0, calendar)
    # Another exchange has other holidays.
    assert read.read_with_report(market_data / "goog-1d.csv", calendar="XLON")[1].count("gap") > 0
    assert len(bars) == len(exchange_calendars.get_calendar("XNYS", start="2004-08-19", end="2013-03-01").sessions)


def test_a_missing_session_is_a_gap_but_weekends_holidays_and_closures_are_not(market_data: Path) -> None:
    time = read.read_bars(market_data / "goog-1d.csv").time
    days = (time // DAY).tolist()
    epoch = date(1970, 1, 1)
    # New York was closed on both days before.
    storm = days.index((date(2012, 10, 31) - epoch).days)
    assert days[storm - 1] == (date(2012, 10, 26) - epoch).days
    monday = days.index((date(2012, 11, 5) - epoch).days)
    assert find_gaps(np.delete(time, [storm, storm + 1, monday]), DAY, "XNYS") == [(storm - 1, 2), (monday - 3, 1)]


@pytest.mark.parametrize("hour", ["T00:00", "T05:00", "T14:30", "T21:00"])
def test_a_daily_bar_belongs_to_its_date_at_any_hour(hour: str) -> None:
    days = [ms(f"2023-11-{day}{hour}") for day in (21, 22, 24, 27, 28, 30)]
    assert find_gaps(np.array(days), DAY, "XNYS") == [(4, 1)]
    # In Tokyo the same date begins at 15:00 UTC of the day before; the 23rd is a holiday there, the 24th isn't.
    tokyo = [ms(f"2023-11-{day}T15:00") for day in (20, 21, 23, 26)]
    assert find_gaps(np.array(tokyo), DAY, "XTKS") == []
    assert find_gaps(np.array([tokyo[0], *tokyo[2:]]), DAY, "XTKS") == [(0, 1)]


def test_a_week_is_missing_if_any_of_its_days_has_a_session() -> None:
    monday = ms("2024-01-01")
    weeks = monday + WEEK * np.array([0, 1, 4, 5])
    assert find_gaps(weeks, WEEK, "XNYS") == [(1, 2)]
    # Shanghai is closed for a whole week, from 2024-02-12 on.
    assert find_gaps(ms("2024-02-05") + WEEK * np.array([0, 2]), WEEK, "XSHG") == []
    assert find_gaps(ms("2024-02-05") + WEEK * np.array([0, 2]), WEEK, "XNYS") == [(0, 1)]


@pytest.mark.parametrize("stretches", [THANKSGIVING, SPRING])
@pytest.mark.parametrize("name", ["1m", "5m", "30m", "1h"])
def test_nights_weekends_holidays_and_early_closes_are_not_gaps(stretches: list[tuple[str, str]], name: str) -> None:
    length = MILLISECONDS[name]
    assert find_gaps(opening(*stretches, every=length), length, "XNYS") == []
    # Bars may be aligned to the full hour instead, and there may be bars outside of the session.
    hours = opening(*((begin[:11] + "08:00", end[:11] + "23:00") for begin, end in stretches), every=length)
    assert find_gaps(hours, length, "XNYS") == []


def test_missing_minutes_within_sessions_are_counted() -> None:
    time = opening(*THANKSGIVING)
    assert find_gaps(np.delete(time, slice(100, 107)), MINUTE, "XNYS") == [(99, 7)]
    # The last of Wednesday, and the first of Friday.
    assert find_gaps(np.delete(time, [388, 389, 390]), MINUTE, "XNYS") == [(387, 3)]
    friday = slice(390, 390 + 210)
    assert find_gaps(np.delete(time, friday), MINUTE, "XNYS") == [(389, 210)]
    assert find_gaps(np.array([time[0], time[-1]]), MINUTE, "XNYS") == [(0, 390 + 210 + 390 - 2)]
    # On a common Friday the time up to 21:00 would be missing.
    common = opening(("2023-11-17T14:30", "2023-11-17T18:00"), THANKSGIVING[2])
    assert find_gaps(common, MINUTE, "XNYS") == [(209, 180 + 3 * 390 + 210)]


def test_longer_bars_are_missing_if_any_of_their_days_has_a_session() -> None:
    months = np.array([ms(f"2023-{month:02}-01") for month in (1, 2, 3, 6, 7)])
    assert find_gaps(months, timeframes.MONTH_MS, "XNYS") == find_gaps(months, timeframes.MONTH_MS, "") == [(2, 2)]
    # Friday to Sunday and on: the three days from the 25th of December 2022 had sessions but for Christmas, observed on Monday.
    three = timeframes.align(ms("2022-12-21"), 3 * DAY) + np.array([0, 1, 3, 5]) * 3 * DAY
    assert find_gaps(three, 3 * DAY, "XNYS") == [(1, 1), (2, 1)]


def test_a_lunch_break_is_not_a_gap() -> None:
    halves = [("2023-11-22T00:00", "2023-11-22T02:30"), ("2023-11-22T03:30", "2023-11-22T06:00")]
    time = opening(*halves)
    assert find_gaps(time, MINUTE, "XTKS") == []
    assert find_gaps(np.delete(time, [149, 150]), MINUTE, "XTKS") == [(148, 2)]


@pytest.mark.parametrize("calendar", ["XNYS", "XHKG", "XLON"])
def test_randomly_removed_minutes_are_all_found(calendar: str) -> None:
    rng = np.random.default_rng(7)
    minutes = exchange_calendars.get_calendar(calendar, start="2023-11-01", end="2024-04-30", side="left").minutes
    expected = minutes.tz_localize(None).to_numpy("datetime64[ms]").astype(np.int64)
    for share in (0.001, 0.2, 0.99):
        kept = np.flatnonzero(rng.random(len(expected)) > share)
        holes = np.flatnonzero(np.diff(kept) > 1)
        assert find_gaps(expected[kept], MINUTE, calendar) == [(int(i), int(kept[i + 1] - kept[i] - 1)) for i in holes]


def test_outside_the_years_of_a_calendar_the_clock_counts() -> None:
    for year, calendar in ((1990, "XTKS"), (2060, "XHKG"), (2150, "XNYS"), (9990, "XNYS")):
        days = [ms(f"{year}-03-01") + day * DAY for day in (0, 1, 4)]
        assert find_gaps(np.array(days), DAY, calendar) == [(1, 2)]
    assert find_gaps(np.array([ms("2024-03-01")]), DAY, "XNYS") == []


@pytest.mark.parametrize(("calendar", "near"), [("XNYX", "XNYS"), ("nyse", "NYSE"), ("Ω", "a code such as"), ("x" * 10_000, "a code")])
def test_an_unknown_calendar_is_rejected_with_a_similar_one(market_data: Path, calendar: str, near: str) -> None:
    with pytest.raises(BarstormError, match="unknown calendar") as error:
        read.read_with_report(market_data / "goog-1d.csv", calendar=calendar)
    assert error.value.code == "unknown_calendar"
    assert near in error.value.hint
    assert len(str(error.value)) < 300


def test_without_the_package_the_error_says_how_to_install_it(market_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(BarstormError, match=r"make install.*pip install '.\[calendars\]'") as error:
        read.read_with_report(market_data / "goog-1d.csv", calendar="XNYS")
    assert error.value.code == "no_calendars"
    assert read.read_with_report(market_data / "goog-1d.csv")[1].count("gap") == 463


def test_the_report_counts_gaps_within_sessions() -> None:
    time = np.delete(opening(*THANKSGIVING), [50, 51])
    one = np.ones(len(time))
    frame = polars.DataFrame({"time": time, "open": one, "high": one + 1, "low": one, "close": one, "volume": one})
    (notice,) = read.read_with_report(frame.write_csv().encode(), calendar="XNYS")[1].notices
    assert (notice.kind, notice.count, notice.lines) == ("gap", 1, (51,))
    assert "2 bars of 1m missing" in notice.text
