"""Tables of pandas and polars become bars and the other way round."""

from __future__ import annotations

from typing import Any

import pandas
import polars
import pytest

import python_core as bt

BARS = bt.synthetic(200)


def test_bars_become_tables_and_back() -> None:
    frame = BARS.to_pandas()
    assert (str(frame.index.tz), list(frame.columns), frame.index.name) == ("UTC", ["open", "high", "low", "close", "volume"], "time")
    assert bt.Bars.from_pandas(frame).fingerprint == BARS.fingerprint
    assert bt.Bars.from_polars(BARS.to_polars()).fingerprint == BARS.fingerprint
    assert bt.Bars.from_polars(BARS.to_polars().lazy(), symbol="X").symbol == "X"


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.rename(columns=str.upper),
        lambda frame: frame.rename(columns=str.title).rename_axis("Date"),
        lambda frame: frame.reset_index(),
        lambda frame: frame.tz_convert("Asia/Tokyo"),
        lambda frame: frame.tz_localize(None),
        lambda frame: frame.set_axis(frame.index.as_unit("s")),
        lambda frame: frame.set_axis(frame.index.tz_localize(None).as_unit("ns")),
        lambda frame: frame.astype({"open": "Float64", "close": str}),
        lambda frame: frame[::-1],
        lambda frame: frame.assign(symbol="A").set_index("symbol", append=True).swaplevel(),
        lambda frame: pandas.concat({"A": frame.rename(columns=str.title)}, axis=1),
    ],
)
def test_a_table_of_pandas_is_read_in_any_form(change: Any) -> None:
    assert bt.Bars.from_pandas(change(BARS.to_pandas())).fingerprint == BARS.fingerprint


def test_times_without_a_zone_are_of_the_zone_that_is_given() -> None:
    frame = BARS.to_pandas().tz_convert("America/New_York").tz_localize(None)
    assert bt.Bars.from_pandas(frame, timezone="America/New_York").fingerprint == BARS.fingerprint
    naive = BARS.to_polars().with_columns(
        time=polars.from_epoch("time", "ms").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    )
    assert bt.Bars.from_polars(naive).fingerprint == BARS.fingerprint
    naive = naive.with_columns(polars.col("time").dt.replace_time_zone(None))
    assert bt.Bars.from_polars(naive, timezone="Asia/Tokyo").fingerprint == BARS.fingerprint


@pytest.mark.parametrize("ticker_first", [False, True])
def test_one_ticker_of_several_is_read(ticker_first: bool) -> None:
    frame = BARS.to_pandas().rename(columns=str.title)
    both = pandas.concat({"A": frame, "B": frame * 2}, axis=1)
    both = both if ticker_first else both.swaplevel(axis=1)
    assert bt.Bars.from_pandas(both, symbol="A").fingerprint == BARS.fingerprint
    assert bt.read_bars(both.to_csv().encode(), symbol="A").fingerprint == BARS.fingerprint
    with pytest.raises(bt.BarstormError, match="bars of 2 instruments: A, B"):
        bt.Bars.from_pandas(both)


def test_another_object_is_refused_with_the_right_call() -> None:
    with pytest.raises(bt.BarstormError, match="expected a DataFrame of pandas, got dict"):
        bt.Bars.from_pandas({})  # type: ignore[arg-type]
    with pytest.raises(bt.BarstormError, match="expected a DataFrame of polars, got dict"):
        bt.Bars.from_polars({})  # type: ignore[arg-type]
    with pytest.raises(bt.BarstormError, match="the column counts rows"):
        bt.Bars.from_pandas(BARS.to_pandas().reset_index(drop=True))
