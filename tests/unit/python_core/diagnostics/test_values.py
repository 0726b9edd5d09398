"""Values are those of the run, and a plot is a range of them."""

from __future__ import annotations

import numpy as np
import pytest

import python_core as bt
from python_core import diagnostics
from python_core.diagnostics.values import recent_bars


def test_values_are_those_of_the_run(cross: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.values(bars, cross)
    assert set(found.columns) == {"entry_long", "exit_long", "slow", "sma(close, 5)", "sma(close, length)"}
    np.testing.assert_array_equal(found.time, bars.time)
    np.testing.assert_allclose(found.columns["slow"][19:], np.convolve(bars.close, np.ones(20) / 20, "valid"), rtol=1e-12)
    assert np.isnan(found.columns["slow"][:19]).all()
    masks = {name: found.columns[name] for name in ("entry_long", "exit_long")}
    assert bt.simulate(bars, bt.Signals(**masks)).digest == bt.backtest(bars, cross).digest  # type: ignore[arg-type]


def test_expressions_may_use_the_names_of_the_strategy(cross: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.values(bars, cross, ["slow - length", "close > slow", "exit_short", "entry_long"])
    np.testing.assert_array_equal(found.columns["slow - length"], diagnostics.values(bars, cross).columns["slow"] - 20.0)
    assert found.columns["close > slow"].dtype == np.bool_
    assert not found.columns["exit_short"].any()
    assert found.columns["entry_long"].any()


def test_values_of_a_higher_timeframe_have_one_row_for_each_of_its_bars(bars: bt.Bars) -> None:
    strategy = bt.Strategy(entry_long="close > open", timeframe="4h")
    found = diagnostics.values(bars, strategy, ["close", "high"])
    assert (np.diff(found.time) == 4 * 3_600_000).all()
    first = int(np.flatnonzero(bars.time == found.time[1])[0])
    assert found.columns["close"][1] == bars.close[first + 3]
    assert found.columns["high"][1] == bars.high[first : first + 4].max()


def test_values_follow_the_fill_of_the_orders() -> None:
    week = bt.synthetic(12, timeframe="1d", start="2024-01-01")
    keep = np.array([0, 1, 2, 3, 4, 7, 8])  # Monday to Friday, Monday, Tuesday
    days = bt.Bars(*(getattr(week, name)[keep] for name in ("time", "open", "high", "low", "close", "volume")), timeframe="1d")
    strategy = bt.Strategy(entry_long="at('1w', close > 0)")
    for fill, first in (("next_open", 4), ("close", 5)):
        found = diagnostics.values(days, strategy, fill=fill)  # type: ignore[arg-type]
        assert found.columns["entry_long"].tolist() == [False] * first + [True] * (7 - first)
        plotted = diagnostics.plot(days, strategy, fill=fill).columns["entry_long"]  # type: ignore[arg-type]
        assert plotted == tuple(found.columns["entry_long"].tolist())
        activity = diagnostics.activity(days, strategy, bt.Execution(fill=fill))  # type: ignore[arg-type]
        assert activity.conditions["entry_long"].true == 7 - first
        found_check = diagnostics.check(days, strategy, fill=fill)  # type: ignore[arg-type]
        assert found_check.sound


@pytest.mark.parametrize("timeframe", ["1M", "1w"])
def test_a_plot_of_longer_bars_starts_with_complete_ones(timeframe: str) -> None:
    bars = bt.synthetic(1_200, timeframe="1d", start="2020-01-15")
    strategy = bt.Strategy(
        entry_long="close > slow and at('1M', close > open) and at('1w', close > open)", define={"slow": "sma(close, 5)"}
    )
    if timeframe == "1M":
        strategy = bt.Strategy(entry_long="close > slow", define={"slow": "sma(close, 5)"}, timeframe="1M")
    whole = diagnostics.values(bars, strategy)
    start = int(whole.time[-20])
    part = diagnostics.plot(bars, strategy, start=start, limit=10)
    assert part.time == tuple(whole.time[-20:-10].tolist())
    for name in ("slow", "entry_long"):
        assert part.columns[name] == tuple(whole.columns[name][-20:-10].tolist())


def test_history_begins_with_complete_bars_of_every_timeframe() -> None:
    bars = bt.synthetic(3_000, timeframe="1d", start="2015-01-15")
    strategy = bt.Strategy(entry_long="at('1w', close > sma(close, 3)) and at('1M', close > sma(close, 2)) and at('3d', close > close[1])")
    for end in range(2_900, 2_960):
        recent = recent_bars(bars, strategy, end, 40)
        assert len(recent) < 300
        found = diagnostics.values(recent, strategy).columns["entry_long"][-40:]
        assert found.tolist() == diagnostics.values(bars[:end], strategy).columns["entry_long"][-40:].tolist()


def test_invalid_expressions_are_rejected(cross: bt.Strategy, bars: bt.Bars) -> None:
    with pytest.raises(bt.StrategyError, match=r"smaa\(close, 2\), column 1: unknown function 'smaa'"):
        diagnostics.values(bars, cross, ["smaa(close, 2)"])
    with pytest.raises(bt.StrategyError, match="use at most 200"):
        diagnostics.values(bars, cross, [f"close > {i}" for i in range(201)])


@pytest.mark.parametrize("timeframe", [None, "4h", "1w"])
def test_a_plot_covers_the_requested_range(bars: bt.Bars, timeframe: str | None) -> None:
    strategy = bt.Strategy(entry_long="close > slow", define={"slow": "sma(close, 5)"}, timeframe=timeframe)
    whole = diagnostics.values(bars, strategy)
    last = diagnostics.plot(bars, strategy, limit=3)
    assert last.time == tuple(whole.time[-3:].tolist())
    assert last.columns["slow"] == tuple(whole.columns["slow"][-3:].tolist())
    start = int(whole.time[2])
    early = diagnostics.plot(bars, strategy, ["slow", "entry_long"], start=start - 1, limit=4)
    assert early.time == tuple(whole.time[2:6].tolist())
    assert early.columns["slow"] == (None, None, *whole.columns["slow"][4:6].tolist())
    assert early.columns["entry_long"] == tuple(whole.columns["entry_long"][2:6].tolist())


def test_a_plot_outside_the_data_begins_with_the_data_or_is_empty(cross: bt.Strategy, bars: bt.Bars) -> None:
    assert diagnostics.plot(bars, cross, start=-(10**30), limit=5).time == tuple(bars.time[:5].tolist())
    assert diagnostics.plot(bars, cross, start=10**30, limit=5).time == ()


def test_a_plot_has_limits(cross: bt.Strategy, bars: bt.Bars) -> None:
    with pytest.raises(bt.StrategyError, match="limit: 5,001 bars; use 1 to 5,000"):
        diagnostics.plot(bars, cross, limit=5_001)
    with pytest.raises(bt.StrategyError, match="expressions: 51 expressions; use at most 50"):
        diagnostics.plot(bars, cross, ["close"] * 51)


def test_values_cover_other_outputs_and_higher_timeframes(multi: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.values(bars, multi)
    assert set(found.columns) == {
        "entry_long",
        "exit_long",
        "at('4h', macd(close, 2, 4, 2).hist)",
        "at('4h', rsi(close, 2))",
        "sma(at('4h', close), 3)",
    }
    columns = diagnostics.values(bars, multi, ["close_4h", "at('4h', close)"]).columns
    np.testing.assert_array_equal(columns["close_4h"], columns["at('4h', close)"])
