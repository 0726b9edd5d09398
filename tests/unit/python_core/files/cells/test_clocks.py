"""Wall-clock times become UTC: repeated hours by the order of rows, skipped hours are refused."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import python_core as bt
from python_core.files.cells import clocks
from python_core.files.formats import csv_reader
from tests.unit.python_core.files.samples import rejection, with_times

ZONES = ("America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tokyo")


def wall_clock(times: np.ndarray, zone: str) -> list[str]:
    return [datetime.fromtimestamp(time / 1000, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") for time in times.tolist()]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("minutes", [15, 30, 60])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_year_of_wall_clock_times_is_read_as_the_times_they_are_of(zone: str, minutes: int, newest_first: bool) -> None:
    times = 1_704_067_200_000 + np.arange(366 * 24 * 60 // minutes) * minutes * 60_000
    written = wall_clock(times, zone)
    bars = bt.read_bars(with_times(written[::-1] if newest_first else written), timezone=zone)
    assert bars.time.tolist() == times.tolist()


def test_the_repeated_hour_of_a_block_of_its_own_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_BLOCK", 7)
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1 << 16)
    times = 1_730_500_000_000 // 60_000 * 60_000 + np.arange(5_000) * 60_000
    assert bt.read_bars(with_times(wall_clock(times, "America/New_York")), timezone="America/New_York").time.tolist() == times.tolist()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("first", "minutes", "count"),
    [
        ("2024-11-03T06:57Z", 1, 5),  # begins within the second pass
        ("2024-11-03T05:57Z", 1, 5),  # or the first
        ("2024-11-03T05:58Z", 1, 4),  # both passes, and nothing else
        ("2024-11-03T06:00Z", 60, 3),
        ("2024-11-03T05:00Z", 60, 3),
    ],
)
def test_rows_that_begin_or_end_within_the_repeated_hour_are_told_apart(first: str, minutes: int, count: int, newest_first: bool) -> None:
    times = int(np.datetime64(first.removesuffix("Z"), "ms").astype(np.int64)) + np.arange(count) * minutes * 60_000
    if count == 4:
        times[2:] += 58 * 60_000  # 01:58, 01:59, 01:00, 01:01 of the clock
        times = times[:2].tolist() + (times[:2] + 2 * 60_000).tolist()
        times = np.array(times)
    written = wall_clock(times, "America/New_York")
    bars = bt.read_bars(with_times(written[::-1] if newest_first else written), timezone="America/New_York")
    assert bars.time.tolist() == times.tolist()


def test_disorder_within_the_repeated_hour_is_not_taken_for_its_second_pass() -> None:
    rows = [f"2024-11-03 {time}" for time in ("00:57", "00:58", "00:59", "01:01", "01:00", "01:02", "02:00", "02:01")]
    assert rejection(with_times(rows), timezone="America/New_York").code == "not_sorted"


def test_a_time_that_the_clock_skips_is_refused_with_its_line() -> None:
    error = rejection(with_times(["2024-03-10 01:00", "2024-03-10 02:00", "2024-03-10 03:00"]), timezone="America/New_York")
    assert error.where == "line 3, time"
    assert "2024-03-10T02:00 does not exist in America/New_York" in str(error)
    newest_first = rejection(with_times(["2024-03-10 03:00", "2024-03-10 02:00", "2024-03-10 01:00"]), timezone="America/New_York")
    assert newest_first.where == "line 3, time"


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    assert "did you mean Europe/Berlin?" in str(rejection(with_times(["2024-03-10 01:00"]), timezone="Europe/Berln"))


def test_a_zone_is_only_for_times_that_say_none() -> None:
    epoch = with_times(["1704067200", "1704070800", "1704074400"])
    assert bt.read_bars(epoch, timezone="America/New_York").time[0] == 1_704_067_200_000
    mixed = with_times(["2024-03-11 01:00", "2024-03-11T02:00Z", "2024-03-11 03:00"])
    assert "some times have a zone, others have none" in str(rejection(mixed, timezone="America/New_York"))


def test_times_at_which_bars_end_open_one_bar_earlier() -> None:
    ends = with_times(["2024-03-11 01:00", "2024-03-11 02:00", "2024-03-11 03:00"])
    assert bt.read_bars(ends, stamp="close").time[0] == bt.read_bars(ends).time[0] - 3_600_000
    named = ends.replace(b"time,", b"close_time,")
    assert bt.read_bars(named).time[0] == bt.read_bars(ends).time[0] - 3_600_000
    late = with_times(["2024-03-31 23:59:59", "2024-04-30 23:59:59"])
    assert bt.read_bars(late, stamp="close", timeframe="1M").time.tolist() == [1_709_251_200_000, 1_711_929_600_000]
