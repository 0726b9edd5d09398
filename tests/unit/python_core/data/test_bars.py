"""Bars have checked, read-only columns and a fingerprint of their content."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime
from typing import Any

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS, PRICES, iso
from python_core.data.synthetic import synthetic
from python_core.data.timeframes import MILLISECONDS, bucket_start, fits
from python_core.errors import BarsError, BarstormError
from python_core.files.tables import from_arrow

MINUTE = 60_000


class Unconvertible:
    def __repr__(self) -> str:
        return "Unwilling"

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise KeyError("close")


def columns(n: int = 4) -> dict[str, Any]:
    rows = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}
    return {"time": np.arange(n) * MINUTE, **{name: np.full(n, value) for name, value in rows.items()}}


def rejection(**changes: Any) -> BarsError:
    with pytest.raises(BarsError) as caught:
        Bars(**{**columns(), **changes})
    return caught.value


def with_value(name: str, index: int, value: float) -> dict[str, Any]:
    values = columns()[name].copy()
    values[index] = value
    return {name: values}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
@pytest.mark.parametrize("name", [*PRICES, "volume"])
@pytest.mark.parametrize("index", [0, 2, 3])
def test_an_invalid_value_is_reported_with_its_column_and_bar(name: str, index: int, value: float) -> None:
    error = rejection(**with_value(name, index, value))
    assert error.where == name
    assert f"bar {index} (1970-01-01T00:0{index}Z) has {value}" in str(error)


def test_zero_is_a_valid_volume_but_not_a_valid_price() -> None:
    assert Bars(**{**columns(), **with_value("volume", 1, 0.0)}).volume[1] == 0
    for name in PRICES:
        assert rejection(**with_value(name, 1, 0.0)).where == name


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [("low", 10.5, "low"), ("high", 10.5, "high"), ("open", 12.5, "high"), ("open", 8.5, "low"), ("close", 8.5, "low")],
)
def test_low_must_be_the_lowest_and_high_the_highest(name: str, value: float, where: str) -> None:
    error = rejection(**with_value(name, 2, value))
    assert error.where == where
    assert "bar 2" in str(error)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ([0, 1, 1, 2], "bar 2 (1970-01-01T00:01Z) repeats"),
        ([0, 2, 1, 3], "bar 2 (1970-01-01T00:01Z) is earlier"),
        ([-1, 0, 1, 2], "bar 0 is at -60000"),
        ([0, 1, 2, 5 * 10**9], "bar 3 is at 300000000000000"),
    ],
)
def test_times_must_increase_between_1970_and_9999(time: list[int], words: str) -> None:
    error = rejection(time=np.array(time) * MINUTE)
    assert error.where == "time"
    assert words in str(error)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "values",
    [
        ["a"] * 4,
        [None] * 4,
        [[1.0, 2.0]] * 4,
        7,
        [[1], [2, 3], [4], [5]],
        [True] * 4,
        np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[0, 1, 0, 0]),
        np.ones(4, complex),
        np.array([1, 2, 3, 4], object),
        np.ones(4, np.longdouble),
        np.array([10**9, 10**9 + 1, 10**9 + 2, 10**9 + 3]).astype("M8[Y]"),
        Unconvertible(),
    ],
    ids=str,
)
def test_anything_but_a_column_of_numbers_is_rejected_by_name(name: str, values: Any) -> None:
    if name == "time" and getattr(values, "dtype", None) == np.longdouble:
        values = values * 0.5
    assert rejection(**{name: values}).where == name


@pytest.mark.parametrize("name", [*PRICES, "volume"])
def test_columns_of_different_lengths_are_rejected(name: str) -> None:
    error = rejection(**{name: columns(3)[name]})
    assert "3 values, but time has 4" in str(error)
    assert error.where == name


def test_an_empty_history_is_rejected() -> None:
    assert "no bars" in str(rejection(**{name: [] for name in COLUMNS}))
    with pytest.raises(BarsError, match="no bars"):
        Bars(**columns())[4:]


def test_a_conversion_that_would_change_a_value_is_rejected() -> None:
    assert "2**53" in str(rejection(volume=np.full(4, 2**53 + 1)))
    assert "bar 2 has 9007199254740993" in str(rejection(volume=np.array([2**53, 1, 2**53 + 1, 2], np.uint64)))
    assert "whole" in str(rejection(time=np.arange(4) * MINUTE + 0.5))
    micro = (np.arange(4) * MINUTE * 1_000 + 1).astype("datetime64[us]")
    assert "whole" in str(rejection(time=micro))
    assert "NaT" in str(rejection(time=np.array(["2020-01-01", "NaT", "2020-01-03", "2020-01-04"], "M8[D]")))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.uint64, ">f8", list])
def test_numbers_of_other_types_are_converted(dtype: Any) -> None:
    given = {name: values.tolist() if dtype is list else values.astype(dtype) for name, values in columns().items() if name != "time"}
    assert Bars(**{**columns(), **given}).fingerprint == Bars(**columns()).fingerprint


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: t.astype(float),
        lambda t: t.astype("M8[ms]"),
        lambda t: t.astype("M8[ms]").astype("M8[ns]"),
        lambda t: t.tolist(),
        lambda t: t.astype(">i8"),
    ],
)
def test_times_of_other_types_are_converted(convert: Any) -> None:
    assert Bars(**{**columns(), "time": convert(columns()["time"])}).fingerprint == Bars(**columns()).fingerprint


def test_columns_are_contiguous_and_read_only_copies() -> None:
    given = columns()
    spread = np.zeros((4, 2))
    spread[:, 0] = given["close"]
    bars = Bars(**{**given, "close": spread[:, 0]})
    for name in COLUMNS:
        values = getattr(bars, name)
        assert values.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    given["open"][0] = 11.5  # the caller's own array stays writeable
    assert bars.open[0] == 10


def test_the_timeframe_is_the_smallest_step_unless_given() -> None:
    assert Bars(**columns()).timeframe == "1m"
    assert Bars(**{**columns(), "time": np.array([0, 5, 20, 25]) * MINUTE}).timeframe == "5m"
    hourly = {**columns(), "time": np.arange(4) * 60 * MINUTE}
    assert Bars(**hourly, timeframe=30).timeframe == "30m"
    assert Bars(**columns(1), timeframe="1d").timeframe_ms == 86_400_000
    with pytest.raises(BarsError, match="bar 1 opens 3,600,000 ms after the bar before, less than one 4h bar"):
        Bars(**hourly, timeframe="4h")
    with pytest.raises(BarstormError, match="give the timeframe"):
        Bars(**columns(1))


def test_a_slice_shares_the_columns_and_copies_the_labels() -> None:
    mark = (np.full(4, 8.0), np.array([13.0, 14.0, 15.0, 16.0]))
    bars = Bars(**columns(), symbol="X", timeframe="1m", funding=([0, MINUTE], [0.1, -0.1]), mark=mark)
    part = bars[1:3]
    assert (len(part), part.symbol, part.timeframe) == (2, "X", "1m")
    assert np.shares_memory(part.close, bars.close)
    assert part.mark is not None
    assert part.mark[1].tolist() == [14.0, 15.0]
    assert part.funding is not None
    assert part.funding[1].tolist() == [0.1, -0.1]
    assert bars[-1:].time.tolist() == [3 * MINUTE]
    assert bars[:].fingerprint == bars.fingerprint
    for key in (0, slice(None, None, 2), slice(None, None, -1), "close"):
        with pytest.raises(BarsError, match="slice"):
            bars[key]  # type: ignore[index]


def test_between_shares_the_columns_and_cuts_the_funding() -> None:
    funding = (np.array([0, MINUTE, 2 * MINUTE + 30_000, 3 * MINUTE]), np.array([0.1, -0.1, 0.2, 0.3]))
    bars = Bars(**columns(), timeframe="1m", funding=funding, mark=(np.full(4, 8.0), np.array([13.0, 14.0, 15.0, 16.0])))
    part = bars.between(MINUTE - 5, 3 * MINUTE)
    assert part.time.tolist() == [MINUTE, 2 * MINUTE]
    assert np.shares_memory(part.close, bars.close)
    assert part.mark is not None
    assert part.mark[1].tolist() == [14.0, 15.0]
    assert part.funding is not None
    assert part.funding[1].tolist() == [-0.1, 0.2]
    same = Bars(
        **{name: values[1:3] for name, values in columns().items()},
        timeframe="1m",
        funding=(funding[0][1:3], funding[1][1:3]),
        mark=(np.full(2, 8.0), np.array([14.0, 15.0])),
    )
    assert part.fingerprint == same.fingerprint
    assert bars.between() is bars.between(0) is bars.between(None, 3 * MINUTE + 1) is bars
    assert Bars(**columns(), timeframe="1m", funding=([0], [0.1])).between(MINUTE).fingerprint == Bars(**columns())[1:].fingerprint
    for start, end in ((3 * MINUTE + 1, None), (None, 0), (1, MINUTE), (MINUTE, MINUTE), (-(2**63), -1), (2**62, 2**63 - 1)):
        with pytest.raises(BarsError, match=r"the bars run from 0 \(1970-01-01T00:00Z\) to 180000"):
            bars.between(start, end)


def test_the_fingerprint_depends_on_the_content_only() -> None:
    bars = Bars(**columns())
    assert bars.fingerprint == Bars(**columns(), symbol="other").fingerprint == Bars(**columns(8))[:4].fingerprint
    assert len(bars.fingerprint) == 64
    changed = [
        Bars(**{**columns(), **with_value(name, 3, value)})
        for name, value in (("open", 10.5), ("high", 13.0), ("low", 8.0), ("close", 11.5), ("volume", 6.0))
    ]
    others = [
        Bars(**{**columns(), "time": np.arange(1, 5) * MINUTE}),
        bars[:3],
        Bars(**{**columns(), "time": np.arange(4) * 5 * MINUTE}),
        Bars(**{**columns(), "time": np.arange(4) * 5 * MINUTE}, timeframe="1m"),
        Bars(**columns(), funding=([], [])),
        Bars(**columns(), funding=([0], [0.1])),
        Bars(**columns(), mark=(columns()["low"], columns()["high"])),
    ]
    assert len({each.fingerprint for each in (bars, *changed, *others)}) == 13


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    assert Bars(**columns()).fingerprint == "1eb0d98955e42fe42dc8a3d2df47477d0acf6534ecbf0f986ad3a137cbf527dc"


@pytest.mark.parametrize(
    ("funding", "words"),
    [
        (([0, 1], [0.1]), "1 values for 2 times"),
        (([1, 1], [0.1, 0.1]), "row 1"),
        (([0], [np.nan]), "row 0 is nan"),
        (([0.5], [0.1]), "not a whole number"),
        ((np.array([10**9], "M8[Y]"), [0.1]), "row 0 is 1000001970, which int64 milliseconds can't hold"),
        (([0], [0.1], [0.1]), "expected (time, rate), got tuple of 3"),
        (5, "expected (time, rate), got int"),
    ],
)
def test_funding_is_checked(funding: Any, words: str) -> None:
    assert words in str(rejection(funding=funding))


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (([1.0] * 3, [2.0] * 4), "3 values for 4 bars"),
        (([1.0] * 4, [1.0, 1.0, np.nan, 1.0]), "mark high: bar 2 has nan"),
        (([1.0] * 4, [1.0, 0.5, 1.0, 1.0]), "bar 1 has 1.0 above the mark high 0.5"),
        (([0.0] * 4, [1.0] * 4), "mark low: bar 0 has 0.0"),
        (([1.0] * 4,), "expected (low, high), got tuple of 1"),
        (7, "expected (low, high), got int"),
    ],
)
def test_mark_prices_are_checked(mark: Any, words: str) -> None:
    assert words in str(rejection(mark=mark))


def test_bars_become_a_polars_frame_and_back() -> None:
    bars = Bars(**columns())
    frame = bars.to_polars()
    assert frame.schema == polars.Schema({"time": polars.Int64, **dict.fromkeys((*PRICES, "volume"), polars.Float64)})
    assert from_arrow(frame, earliest=0).fingerprint == bars.fingerprint


@given(st.lists(st.tuples(*[st.floats(width=64)] * 5), min_size=1, max_size=6))
def test_bars_are_accepted_exactly_if_every_value_is_valid(rows: list[tuple[float, ...]]) -> None:
    valid = all(
        all(np.isfinite(row)) and min(row[:4]) > 0 and row[4] >= 0 and row[2] <= min(row[0], row[3]) and row[1] >= max(row[0], row[3])
        for row in rows
    )
    values = dict(zip((*PRICES, "volume"), np.array(rows).T, strict=True))
    try:
        Bars(np.arange(len(rows)) * MINUTE, **values, timeframe="1m")
        accepted = True
    except BarsError:
        accepted = False
    assert accepted == valid


@given(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4), st.floats(0, 1))
def test_valid_bars_are_accepted(prices: list[float], volume: float) -> None:
    low, one, two, high = sorted(prices)
    assert Bars([0], [one], [high], [low], [two], [volume], timeframe="1m").high[0] == high


def test_importing_the_library_does_not_import_polars() -> None:
    code = "import sys, python_core; sys.exit(any(name.split('.')[0] == 'polars' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_resampled_bars_are_aligned_and_complete() -> None:
    bars = synthetic(400, timeframe="1m", start="2024-01-01T00:30")
    hours = bars.resample("1h")
    assert hours.time.tolist() == [bars.time[0] - 1_800_000 + 3_600_000 * i for i in range(7)]
    assert (hours.open[1], hours.close[1]) == (bars.open[30], bars.close[89])
    assert (hours.high[1], hours.low[1]) == (bars.high[30:90].max(), bars.low[30:90].min())
    assert hours.volume[1] == pytest.approx(bars.volume[30:90].sum())
    assert len(bars[:390].resample("1h")) == 7
    assert len(bars[:389].resample("1h")) == 6, "an unfinished bar is dropped"
    assert bars.resample("1m").fingerprint == bars.fingerprint
    week = synthetic(20, timeframe="1d", start="2024-01-01").resample("1w")
    assert [iso(time) for time in week.time] == ["2024-01-01T00:00Z", "2024-01-08T00:00Z"]


def test_between_takes_dates_and_times() -> None:
    bars = synthetic(72, timeframe="1h", start="2012-01-01")
    for start in (
        "2012-01-02",
        "2012-01-02T00:00Z",
        "2012-01-01T23:30",
        datetime(2012, 1, 2),
        date(2012, 1, 2),
        np.datetime64("2012-01-02"),
    ):
        assert bars.between(start).time[0] == bars.time[24]
        assert bars.between(end=start).time[-1] == bars.time[23]
    assert bars.between("2012-01-02T01:00+02:00", "2012-01-02T01:00").time.tolist() == bars.time[23:25].tolist()
    with pytest.raises(BarsError, match=r"^end: 'soon' is not a time; "):
        bars.between(end="soon")
    with pytest.raises(BarsError, match=r"^start: no bar opens between 2013-01-01 and the last; the bars run from "):
        bars.between("2013-01-01")


def test_resampled_months_are_those_of_the_calendar() -> None:
    days = synthetic(400, timeframe="1d", start="2023-11-15")
    months = days.resample("1M")
    assert [iso(time)[:10] for time in months.time[:5]] == ["2023-11-01", "2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]
    february = slice(16 + 31 + 31, 16 + 31 + 31 + 29)
    assert (months.open[3], months.close[3]) == (days.open[february][0], days.close[february][-1])
    assert (months.high[3], months.low[3]) == (days.high[february].max(), days.low[february].min())
    assert months.volume[3] == sum(days.volume[february].tolist())
    assert iso(days.time[-1]) == "2024-12-18T00:00Z"
    assert (len(months), iso(months.time[-1])[:10]) == (13, "2024-11-01"), "the unfinished December is dropped"
    assert (months.timeframe, months.timeframe_ms) == ("1M", 31 * 86_400_000)
    assert days.resample("3d").time[0] % (3 * 86_400_000) == 0


def test_every_resampling_has_the_bars_of_its_timeframe() -> None:
    for base, length in MILLISECONDS.items():
        bars = synthetic(500, timeframe=base, start="2019-12-02")
        for name, longer in MILLISECONDS.items():
            if not fits(length, longer) or longer > 100 * length:
                continue
            made = bars.resample(name)
            starts = bucket_start(bars.time, longer)
            assert set(made.time) <= set(starts)
            assert len(made) >= len(set(starts)) - 1
            for i in (0, len(made) - 1):
                part = starts == made.time[i]
                assert made.volume[i] == sum(bars.volume[part].tolist()), "added from left to right"
                assert (made.open[i], made.close[i]) == (bars.open[part][0], bars.close[part][-1])
                assert (made.high[i], made.low[i]) == (bars.high[part].max(), bars.low[part].min())


def test_months_may_be_the_timeframe_of_bars() -> None:
    time = np.array([0, 31, 59, 90, 120, 151]) * 86_400_000
    row = {name: values[:4].repeat(2)[:6] for name, values in columns().items() if name != "time"}
    assert Bars(time, **row).timeframe == "1M"
    assert Bars(time, **row).resample("M").time.tolist() == time.tolist()
    last_days = np.array([30, 58, 89, 119, 150, 180]) * 86_400_000
    assert Bars(last_days, **row, timeframe="1M").timeframe == "1M"
    with pytest.raises(BarsError, match="bar 1 opens 1,296,000,000 ms after the bar before, less than one 1M bar"):
        Bars(np.arange(6) * 15 * 86_400_000, **row, timeframe="1M")
    with pytest.raises(BarsError, match="bar 1 opens 2,419,200,000 ms after the bar before, less than one 1M bar"):
        Bars(np.arange(6) * 28 * 86_400_000, **row, timeframe="1M")
    cut = Bars(time, **row, funding=(time, np.full(6, 0.1))).between("1970-02-01", "1970-04-01")
    assert cut.funding is not None
    assert cut.funding[0].tolist() == time[1:3].tolist()


def test_resampling_to_an_unsuitable_timeframe_is_rejected() -> None:
    bars = synthetic(50, timeframe="15m")
    for timeframe, words in (
        ("5m", "5m bars can't be built from 15m bars; 15m bars fit into 15m 30m 45m 1h"),
        ("1w", "no 1w bar is complete"),
        ("7m", "unknown timeframe"),
    ):
        with pytest.raises(BarstormError, match=words):
            bars.resample(timeframe)


def test_resampling_keeps_funding_and_combines_mark_prices() -> None:
    bars = synthetic(120, timeframe="1m")
    joined = bars.with_series(funding=(bars.time[::60], [0.1, 0.2]), mark=(bars.time, bars.low * 0.5, bars.high * 2)).resample("1h")
    assert joined.funding is not None
    assert joined.mark is not None
    assert joined.funding[1].tolist() == [0.1, 0.2]
    assert joined.mark[0].tolist() == [bars.low[:60].min() * 0.5, bars.low[60:].min() * 0.5]


def test_a_bar_without_a_mark_price_gets_its_own_low_and_high() -> None:
    bars = synthetic(10, timeframe="1h")
    joined = bars.with_series(mark=(bars.time[4:] + 0, bars.low[4:] * 0.5, bars.high[4:] * 2))
    assert joined.mark is not None
    assert joined.mark[0].tolist() == [*bars.low[:4], *(bars.low[4:] * 0.5)]
    with pytest.raises(BarsError, match="not after the row before; times must be strictly increasing"):
        bars.with_series(mark=([5, 5], [1.0, 1.0], [1.0, 1.0]))
