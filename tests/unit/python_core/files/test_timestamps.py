"""Open times are read in every supported form, and ambiguous ones are rejected."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars
import pytest

from python_core.data.columns import COLUMNS
from python_core.data.synthetic import synthetic
from python_core.files import read as files
from tests.unit.python_core.files.samples import HOURS, rejection, table, with_times


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%dT%H:%M:%S.%fZ",
        "%Y-%m-%d %H:%M:%S UTC",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S+00:00",
        "%Y/%m/%d %H:%M:%S",
        "%Y.%m.%d %H:%M",
        "%Y%m%d %H%M%S",
        "%d.%m.%Y %H:%M:%S.%f GMT+0000",
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %H:%M",
    ],
)
def test_times_are_read_in_every_supported_format(form: str) -> None:
    times = [datetime.fromtimestamp(time / 1000, UTC).strftime(form) for time in HOURS.tolist()]
    assert files.read_bars(with_times(times)).time.tolist() == HOURS.tolist()


@pytest.mark.parametrize("per_second", [1, 1_000, 1_000_000, 1_000_000_000])
@pytest.mark.parametrize("suffix", ["", ".0"])
def test_the_unit_of_epoch_times_is_detected(per_second: int, suffix: str) -> None:
    times = [f"{time // 1000 * per_second}{suffix}" for time in HOURS.tolist()]
    if suffix and per_second == 1_000_000_000:
        assert "whole milliseconds" in str(rejection(with_times(times)))  # floats of that size skip most integers
    else:
        assert files.read_bars(with_times(times)).time.tolist() == HOURS.tolist()
    frame = polars.DataFrame(table()[1:], schema=list(COLUMNS), orient="row").with_columns(polars.all().cast(polars.Float64))
    frame = frame.with_columns(time=polars.Series([time // 1000 * per_second for time in HOURS.tolist()]))
    assert files.from_arrow(frame).time.tolist() == HOURS.tolist()


def test_milliseconds_of_the_first_years_are_known_by_their_step() -> None:
    assert files.read_bars(with_times(["0", "60000", "120000"])).timeframe == "1m"
    assert files.read_bars(with_times(["0", "60", "120"])).time.tolist() == [0, 60_000, 120_000]
    assert files.read_bars(with_times(["0", "1000", "3000"])).timeframe == "1s"
    february, march = 31 * 86_400_000, 59 * 86_400_000
    assert files.read_bars(with_times(["0", str(february), str(march)])).timeframe == "1M"
    seconds = files.read_bars(with_times(["5", "6", "8"]))
    assert (seconds.timeframe, seconds.time.tolist()) == ("1s", [5_000, 6_000, 8_000])


def test_months_in_a_file_are_known_by_their_first_days() -> None:
    bars, report = files.read_with_report(with_times(["2024-01-01", "2024-02-01", "2024-03-01", "2024-05-01"]))
    assert (bars.timeframe, report.timeframe) == ("1M", "1M")
    assert [(notice.kind, notice.count, notice.lines) for notice in report.notices if notice.kind == "gap"] == [("gap", 1, (4,))]
    assert "which is not a known timeframe" in str(rejection(with_times(["2024-01-15", "2024-02-15", "2024-03-15"])))


def test_times_with_and_without_seconds_or_fractions_may_be_mixed() -> None:
    bars, report = files.read_with_report(
        with_times(["2021-11-17", "2021-11-17 00:01", "2021-11-17 00:02:00.000", "2021-11-17T03:03:00+03:00"])
    )
    assert np.diff(bars.time).tolist() == [60_000] * 3
    assert report.time_zone == "none given, taken as UTC or offsets, converted to UTC"


def test_an_ambiguous_order_of_day_and_month_is_rejected() -> None:
    error = rejection(with_times(["01/02/2021", "02/02/2021", "03/02/2021"]))
    assert error.code == "ambiguous_time"
    assert "2024-03-01" in error.hint


def test_a_bad_day_does_not_turn_day_first_into_month_first() -> None:
    times = [f"{day}/01/2021" for day in range(10, 20)]
    times[5] = "01/15/2021"
    assert "line 7, time: '01/15/2021'" in str(rejection(with_times(times)))


@pytest.mark.parametrize(
    ("dtype", "zone"),
    [
        (polars.Datetime("ns"), "none given, taken as UTC"),
        (polars.Datetime("us", "UTC"), "UTC"),
        (polars.Datetime("ms", "Europe/Berlin"), "Europe/Berlin, converted to UTC"),
    ],
)
def test_date_times_of_parquet_are_utc_or_converted_to_it(dtype: Any, zone: str) -> None:
    frame = synthetic(10).to_polars().with_columns(polars.from_epoch("time", "ms").dt.replace_time_zone("UTC"))
    frame = frame.with_columns(
        frame["time"]
        .dt.convert_time_zone(dtype.time_zone or "UTC")
        .dt.replace_time_zone(None)
        .dt.replace_time_zone(dtype.time_zone)
        .cast(dtype)
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    bars, report = files.read_with_report(buffer.getvalue())
    assert bars.fingerprint == synthetic(10).fingerprint
    assert report.time_zone == zone
