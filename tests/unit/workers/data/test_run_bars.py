"""The bars of a run: its range, and the warm-up before it in whole bars of every timeframe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import python_core as bt
from workers.data.run_bars import BarRange, bar_range, select
from workers.model.selection import Selection

HOUR = 3_600_000
DAY = 24 * HOUR
BARS = bt.synthetic(2_000, start="2024-01-03T05:00")
START = int(BARS.time[1000])


def chosen(strategy: bt.Strategy, execution: bt.Execution | None = None, bars: bt.Bars = BARS, **fields: Any) -> tuple[int, int]:
    """Times of the first bar read and of the first bar of the run."""
    selection = Selection(dataset="d", **{"start": START, "warm_up_from": "auto", **fields})
    read, first = select(bars, bar_range(selection, strategy, execution or bt.Execution(), bars.timeframe))
    return int(read.time[0]), int(read.time[first])


def averages(**fields: Any) -> bt.Strategy:
    return bt.Strategy(entry_long="close > sma(close, 30)", **fields)


def test_the_default_warm_up_is_as_long_as_the_strategy_needs() -> None:
    assert chosen(averages()) == (START - averages().settle_bars * HOUR, START)
    exponential = bt.Strategy(entry_long="close > ema(close, 50)")
    assert exponential.settle_bars > exponential.warm_up_bars
    assert chosen(exponential) == (START - exponential.settle_bars * HOUR, START)


def test_a_level_of_the_execution_is_warmed_up_too() -> None:
    begin, first = chosen(averages(), bt.Execution(stop_loss=bt.Atr(multiple=2.0, period=40)))
    assert begin < START - averages().settle_bars * HOUR
    assert first == START


def test_a_warm_up_of_a_longer_timeframe_has_whole_bars() -> None:
    strategy = averages(timeframe="4h")
    begin, first = chosen(strategy)
    assert first == START
    assert begin == START // (4 * HOUR) * 4 * HOUR - strategy.settle_bars * 4 * HOUR
    nested = bt.Strategy(entry_long="close > at('1d', sma(close, 3))")
    begin, _ = chosen(nested)
    assert begin % DAY == 0
    assert begin <= START - 3 * DAY
    now = bt.Strategy(entry_long="close > open", timeframe="4h")
    assert chosen(now, start=START + HOUR)[0] % (4 * HOUR) == 0, "the bar that contains the start is whole"


def test_bars_are_counted_not_hours() -> None:
    kept = np.ones(len(BARS), dtype=bool)
    kept[960:990] = False
    gapped = bt.Bars(*(getattr(BARS, name)[kept] for name in ("time", "open", "high", "low", "close", "volume")), timeframe="1h")
    count = averages().settle_bars
    assert chosen(averages(), bars=gapped) == (START - (count + 30) * HOUR, START)
    begin, _ = chosen(averages(timeframe="2h"), bars=gapped)
    opens = np.unique(gapped.time[gapped.time < START // (2 * HOUR) * 2 * HOUR] // (2 * HOUR))
    assert begin == opens[-count] * 2 * HOUR


def test_a_warm_up_ends_where_the_data_begins() -> None:
    assert chosen(averages(), start=int(BARS.time[5])) == (int(BARS.time[0]), int(BARS.time[5]))
    assert chosen(averages(timeframe="1d"), start=int(BARS.time[5])) == (int(BARS.time[0]), int(BARS.time[5]))
    assert chosen(averages(), start=0) == (int(BARS.time[0]), int(BARS.time[0]))


def test_a_time_or_the_start_limits_the_warm_up() -> None:
    assert chosen(averages(), warm_up_from="start") == (START, START)
    assert chosen(averages(), warm_up_from=START - 5 * HOUR - 1) == (START - 5 * HOUR, START)
    assert chosen(averages(), warm_up_from=START) == (START, START)
    late = START - HOUR // 2
    assert chosen(averages(), start=late, warm_up_from=late) == (START, START)


def test_a_run_without_a_start_has_no_warm_up() -> None:
    assert bar_range(Selection(dataset="d"), averages(), bt.Execution(), "1h") == BarRange()
    read, first = select(BARS, BarRange())
    assert read is BARS
    assert first == 0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"warm_up_from": "never", "start": 5}, "never"),
        ({"warm_up_from": -1, "start": 5}, "-1"),
        ({"warm_up_from": True, "start": 5}, "True"),
        ({"warm_up_from": 6, "start": 5}, "6 is not before"),
        ({"warm_up_from": 6}, "without a start"),
    ],
)
def test_an_invalid_warm_up_is_rejected(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=rf"warm_up_from: .*{text}"):
        Selection(dataset="d", **fields)
