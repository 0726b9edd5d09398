"""Open times are read in every supported form, and ambiguous ones are rejected."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars
import pytest

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.data.synthetic import synthetic
from python_core.files import read as files
from python_core.files import tables
from python_core.files.formats import csv_reader
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
    assert tables.from_arrow(frame).time.tolist() == HOURS.tolist()


def test_milliseconds_of_the_first_years_are_known_by_their_step() -> None:
    def read(times: list[str]) -> Bars:
        return files.read_bars(with_times(times), earliest=0)

    assert read(["0", "60000", "120000"]).timeframe == "1m"
    assert read(["0", "60", "120"]).time.tolist() == [0, 60_000, 120_000]
    assert read(["0", "1000", "2000", "4000"]).timeframe == "1s"
    february, march = 31 * 86_400_000, 59 * 86_400_000
    assert read(["0", str(february), str(march)]).timeframe == "1M"
    seconds = read(["5", "6", "8"])
    assert (seconds.timeframe, seconds.time.tolist()) == ("1s", [5_000, 6_000, 8_000])


def test_times_before_1980_are_refused_unless_asked_for() -> None:
    days = with_times(["1975-01-02", "1975-01-03"])
    assert "line 2, time: '1975-01-02' is 1975-01-02T00:00Z, which is likely misread; if it is right, set earliest='1975-01-02'" in str(
        rejection(days)
    )
    assert files.read_bars(days, earliest="1975-01-02").timeframe == "1d"
    assert "1970-01-20" in str(rejection(with_times(["1704067", "1704127", "1704187"])))


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
    assert error.hint == "set day_first=True or day_first=False"
    data = with_times(["01/01/2021", "01/02/2021", "01/03/2021"])
    assert files.read_bars(data, day_first=True).timeframe == "1M"
    assert files.read_bars(data, day_first=False).timeframe == "1d"


def test_a_bad_day_does_not_turn_day_first_into_month_first() -> None:
    times = [f"{day}/01/2021" for day in range(10, 20)]
    times[5] = "01/15/2021"
    assert "line 7, time: '01/15/2021'" in str(rejection(with_times(times)))


@pytest.mark.parametrize(
    ("dtype", "zone"),
    [
        (polars.Datetime("ns"), "none given, taken as UTC"),
        (polars.Datetime("us", "UTC"), "UTC"),
        (polars.Datetime("ms", "Europe/Berlin"), "offsets, converted to UTC"),
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


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%m/%d/%y"])
def test_a_later_block_whose_days_could_be_months_is_read_like_the_first(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1 << 14)
    days = [datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(6_000)]
    written = [day.strftime(form) for day in days]
    # The last block has the first twelve days of months only.
    kept = [i for i, day in enumerate(days) if i < 5_000 or day.day <= 12]
    bars = files.read_bars(with_times([written[i] for i in kept]), timeframe="1d")
    assert bars.time.tolist() == [int(days[i].timestamp() * 1000) for i in kept]


def test_funding_files_of_exchanges_are_read_by_their_columns() -> None:
    for header in (
        "calc_time,funding_interval_hours,last_funding_rate",
        "fundingRateTimestamp,symbol,fundingRate",
        "fundingTime,instId,realizedRate",
    ):
        data = (header + "\n1704096000000,8,0.0002\n1704067200000,8,0.01%\n").encode()
        found = files.read_series(data, ("time", "rate"))
        assert (found["time"].tolist(), found["rate"].tolist()) == ([1_704_067_200_000, 1_704_096_000_000], [0.0001, 0.0002])
