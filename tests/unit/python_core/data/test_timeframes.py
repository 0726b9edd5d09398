"""Names of timeframes, and the alignment of their bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_core.data import timeframes
from python_core.errors import BarstormError

NAMES = "1s 5s 10s 30s 1m 2m 3m 5m 10m 15m 30m 45m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"
DAY = timeframes.DAY_MS


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *((name, name) for name in NAMES.split()),
        *((minutes, name) for minutes, name in ((1, "1m"), (2, "2m"), (45, "45m"), (60, "1h"), (240, "4h"), (1_440, "1d"), (10_080, "1w"))),
        *((text, name) for text, name in (("60", "1h"), (" 5 ", "5m"), ("720", "12h"), ("4320", "3d"))),
        *((code, name) for code, name in (("D", "1d"), ("W", "1w"), ("M", "1M"), ("1D", "1d"), ("3D", "3d"), ("1W", "1w"), ("H", "1h"))),
        *((code, name) for code, name in (("S", "1s"), ("1S", "1s"), ("30S", "30s"), ("4H", "4h"), ("12H", "12h"))),
    ],
)
def test_every_way_to_write_a_timeframe_gives_its_canonical_name(given: str | int, name: str) -> None:
    assert timeframes.parse(given) == name


@pytest.mark.parametrize(
    "given",
    ["", "7m", "2M", "1D1", "d", "w", "15M", "1H ago", 44_640, 0, -60, 7, "60m", "٦٠", "1e2", None, 1.5, True, "x" * 10_000, 10**30],
)
def test_an_unknown_timeframe_is_rejected_with_the_known_ones(given: Any) -> None:
    with pytest.raises(BarstormError) as caught:
        timeframes.parse(given)
    assert caught.value.code == "unknown_timeframe"
    assert f"{NAMES} (1m is a minute, 1M a month)" in caught.value.hint
    assert len(str(caught.value)) < 300


def test_a_timeframe_is_as_long_as_its_name_says() -> None:
    units = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY, "w": 7 * DAY, "M": 31 * DAY}
    assert " ".join(timeframes.MILLISECONDS) == NAMES
    for name in timeframes.MILLISECONDS:
        assert timeframes.milliseconds(name) == int(name[:-1]) * units[name[-1]]


def test_a_timeframe_fits_if_every_boundary_of_the_coarser_is_one_of_the_finer() -> None:
    quarters = np.arange(6 * 366 * 96) * 900_000  # of an hour, for six years with a leap day
    lengths = [length for length in timeframes.MILLISECONDS.values() if length >= 900_000]
    is_boundary = {length: timeframes.bucket_start(quarters, length) == quarters for length in lengths}
    for fine in lengths:
        for coarse in lengths:
            expected = not (is_boundary[coarse] & ~is_boundary[fine]).any()
            assert timeframes.fits(fine, coarse) == expected, (timeframes.name(fine), timeframes.name(coarse))


@pytest.mark.parametrize(
    ("fine", "coarser"),
    [
        ("45m", "45m 6h 12h 1d 3d 1w 1M"),
        ("10s", "10s 30s 1m 2m 3m 5m 10m 15m 30m 45m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"),
        ("8h", "8h 1d 3d 1w 1M"),
        ("1d", "1d 3d 1w 1M"),
        ("3d", "3d"),
        ("1w", "1w"),
        ("1M", "1M"),
    ],
)
def test_the_error_of_a_misfit_lists_what_the_bars_fit_into(fine: str, coarser: str) -> None:
    assert timeframes.misfit(fine, "5s") == (f"5s bars can't be built from {fine} bars", f"{fine} bars fit into {coarser}")


def test_the_smallest_step_is_the_timeframe() -> None:
    assert timeframes.infer(np.array([0, 3, 4, 10]) * 300_000) == "5m"
    with pytest.raises(BarstormError, match="90,000 ms"):
        timeframes.infer(np.array([0, 90_000, 300_000]))
    with pytest.raises(BarstormError, match="give the timeframe"):
        timeframes.infer(np.array([0]))


def test_months_are_inferred_if_every_bar_opens_at_the_start_of_one() -> None:
    months = np.array([ms(f"2024-{month:02}-01") for month in (1, 2, 3, 4, 6, 12)])
    assert (
        timeframes.infer(months) == timeframes.infer(months[:2]) == timeframes.infer(np.array([ms("2024-04-01"), ms("2024-05-01")])) == "1M"
    )
    assert timeframes.infer(np.array([ms("2023-02-01"), ms("2023-03-01")])) == "1M"
    in_new_york = np.array([ms("2024-02-01T05:00"), ms("2024-03-01T05:00"), ms("2024-04-01T04:00")])
    assert timeframes.infer(in_new_york) == "1M"
    assert timeframes.infer(np.array([ms("2024-02-29T23:00"), ms("2024-03-31T22:00"), ms("2024-04-30T22:00")])) == "1M"
    for time in (months + 2 * DAY, months[[0, 2, 4]], np.arange(9) * 28 * DAY, np.arange(3) * 31 * DAY):
        with pytest.raises(BarstormError, match="which is not a known timeframe"):
            timeframes.infer(time)
    assert timeframes.infer(np.array([0, 3, 6, 12]) * DAY) == "3d"
    assert timeframes.infer(np.array([0, 10, 15]) * 1_000) == "5s"


def test_the_commonest_step_is_the_timeframe_unless_bars_overlap() -> None:
    hours = np.array([9.5, *range(10, 16)])
    session = np.concatenate([hours + 24 * day for day in range(4)]) * 3_600_000
    assert timeframes.infer(session.astype(np.int64)) == "1h"
    weeks = np.array([*range(0, 35, 7), 29]) * DAY + timeframes.MONDAY_OFFSET_MS
    assert timeframes.infer(weeks) == "1d"
    assert timeframes.infer(weeks, odd_ends=True) == "1w"
    assert timeframes.without_odd_ends(weeks, timeframes.WEEK_MS) == (0, 5)
    sparse = np.array([0, 2, 4, 5, 6, 8, 10]) * 60_000
    assert timeframes.infer(sparse) == "1m"
    with pytest.raises(BarstormError, match="most bars are 2m apart, but 1970-01-01T00:04"):
        timeframes.infer(sparse, odd_ends=True)
    london = np.array([ms("2024-03-30"), ms("2024-03-31"), ms("2024-03-31T23:00"), ms("2024-04-01T23:00")])
    assert timeframes.infer(london) == "1d"
    assert timeframes.first_overlap(london, DAY) is None


def test_times_at_which_bars_end_tell_when_they_open() -> None:
    hours = np.arange(1, 4) * 3_600_000
    for ends in (hours, hours - 1, hours - 1_000):
        assert timeframes.open_times(ends, 3_600_000).tolist() == [0, 3_600_000, 7_200_000]
    months = np.array([ms("2024-02-01"), ms("2024-03-01") - 1])
    assert timeframes.open_times(months, timeframes.MONTH_MS).tolist() == [ms("2024-01-01"), ms("2024-02-01")]


def test_months_without_a_bar_are_gaps() -> None:
    months = np.array([ms(f"2024-{month:02}-01") for month in (1, 2, 3, 5, 6, 12)])
    assert timeframes.gaps(months, timeframes.MONTH_MS).tolist() == [2, 4]
    assert timeframes.steps(months, timeframes.MONTH_MS).tolist() == [1, 1, 2, 1, 6]
    assert timeframes.first_overlap(months, timeframes.MONTH_MS) is None
    assert timeframes.first_overlap(np.array([ms("2024-01-01"), ms("2024-02-01"), ms("2024-02-29")]), timeframes.MONTH_MS) == 2


def test_bars_are_counted_along_the_calendar() -> None:
    assert timeframes.shift(ms("2024-01-01"), timeframes.MONTH_MS, 2) == ms("2024-03-01")
    assert timeframes.shift(ms("2024-03-01"), timeframes.MONTH_MS, -13) == ms("2023-02-01")
    assert timeframes.shift(ms("2024-03-01"), timeframes.WEEK_MS, -1) == ms("2024-02-23")
    assert timeframes.series(ms("2023-12-01"), timeframes.MONTH_MS, 4).tolist() == [
        ms(day) for day in ("2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01")
    ]
    assert timeframes.align(ms("2024-02-29T23:59"), timeframes.MONTH_MS) == ms("2024-02-01")


@given(st.integers(0, 253_402_300_799_999), st.sampled_from(list(timeframes.MILLISECONDS)))
def test_a_time_belongs_to_the_last_bar_that_starts_before_it(time_ms: int, name: str) -> None:
    length = timeframes.milliseconds(name)
    start = timeframes.align(time_ms, length)
    end = int(timeframes.bar_end(np.array([start]), length)[0])
    assert start <= time_ms < end == timeframes.shift(start, length, 1)
    assert timeframes.align(end - 1, length) == start
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=start)
    if name == "1M":
        assert (moment.day, moment.hour, moment.minute, moment.second, moment.microsecond) == (1, 0, 0, 0, 0)
    elif name == "1w":
        assert (moment.weekday(), moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0, 0)
    else:
        assert start % length == 0
