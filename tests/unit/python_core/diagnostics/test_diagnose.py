"""Diagnostics: counts equal the bars on which parts were true, and a strategy that looks ahead is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import python_core as bt
from python_core import diagnostics
from python_core.indicators import INDICATORS, Series
from python_core.strategy import library

BARS = bt.synthetic(1_500, timeframe="1h")
CROSS = bt.Strategy(
    entry_long="crossover(sma(close, 5), slow) and close > open",
    exit_long="crossunder(sma(close, 5), slow)",
    define={"slow": "sma(close, length)"},
    params={"length": 20},
)


def test_values_are_those_of_the_run() -> None:
    found = diagnostics.values(BARS, CROSS)
    assert set(found.columns) == {"entry_long", "exit_long", "slow", "sma(close, 5)", "sma(close, length)"}
    np.testing.assert_array_equal(found.time, BARS.time)
    np.testing.assert_allclose(found.columns["slow"][19:], np.convolve(BARS.close, np.ones(20) / 20, "valid"), rtol=1e-12)
    assert np.isnan(found.columns["slow"][:19]).all()
    masks = {name: found.columns[name] for name in ("entry_long", "exit_long")}
    assert bt.simulate(BARS, bt.Signals(**masks)).digest == bt.backtest(BARS, CROSS).digest  # type: ignore[arg-type]


def test_expressions_may_use_the_names_of_the_strategy() -> None:
    found = diagnostics.values(BARS, CROSS, ["slow - length", "close > slow", "exit_short", "entry_long"])
    np.testing.assert_array_equal(found.columns["slow - length"], diagnostics.values(BARS, CROSS).columns["slow"] - 20.0)
    assert found.columns["close > slow"].dtype == np.bool_
    assert not found.columns["exit_short"].any()
    assert found.columns["entry_long"].any()


def test_values_of_a_higher_timeframe_have_one_row_for_each_of_its_bars() -> None:
    strategy = bt.Strategy(entry_long="close > open", timeframe="4h")
    found = diagnostics.values(BARS, strategy, ["close", "high"])
    assert (np.diff(found.time) == 4 * 3_600_000).all()
    first = int(np.flatnonzero(BARS.time == found.time[1])[0])
    assert found.columns["close"][1] == BARS.close[first + 3]
    assert found.columns["high"][1] == BARS.high[first : first + 4].max()


def test_invalid_expressions_are_rejected() -> None:
    with pytest.raises(bt.StrategyError, match=r"smaa\(close, 2\), column 1: unknown function 'smaa'"):
        diagnostics.values(BARS, CROSS, ["smaa(close, 2)"])
    with pytest.raises(bt.StrategyError, match="use at most 200"):
        diagnostics.values(BARS, CROSS, [f"close > {i}" for i in range(201)])


def test_each_part_of_a_condition_is_counted() -> None:
    strategy = bt.Strategy(entry_long="close > open and (close > close[1] or not volume > 0) and rsi(close, 2) < 50")
    entry = diagnostics.activity(BARS, strategy).conditions["entry_long"]
    close, before = BARS.close, np.concatenate(([np.inf], BARS.close[:-1]))
    rsi = INDICATORS["rsi"].reference(close, 2)
    a, b, c = close > BARS.open, (close > before) | ((BARS.volume <= 0) & (before < np.inf)), rsi < 50
    assert entry.true == (a & b & c).sum()
    assert [part.true for part in entry.parts] == [a.sum(), b.sum(), c.sum()]
    assert [part.blocks for part in entry.parts] == [(b & c & ~a).sum(), (a & c & ~b).sum(), (a & b & ~c).sum()]
    assert [part.known for part in entry.parts] == [1_500, 1_499, 1_498]
    assert [part.text for part in entry.parts[1].parts] == ["close > close[1]", "not volume > 0"]
    assert entry.parts[1].parts[1].parts[0].text == "volume > 0"


@pytest.mark.parametrize(
    ("strategy", "finding"),
    [
        (bt.Strategy(entry_long="close > open and rsi(close, 14) < -1"), "entry_long: rsi(close, 14) < -1 was never true on 1,486 bars"),
        (
            bt.Strategy(entry_long="close > open and open > close"),
            "entry_long: the parts of close > open and open > close were never true together",
        ),
        (bt.Strategy(entry_long="close > sma(close, 5000)"), "the data has 1,500 bars, but the first 4,999 give no signal: use more data"),
        (bt.Strategy(entry_long="sma(close / (open - open), 9) > 0"), "entry_long: sma(close / (open - open), 9) > 0 was never"),
        (
            bt.Strategy(entry_long="close > open", entry_short="close > open"),
            "the entries of both sides are on the same bars and cancel each other",
        ),
    ],
)
def test_a_strategy_without_trades_has_a_finding(strategy: bt.Strategy, finding: str) -> None:
    found = diagnostics.activity(BARS, strategy)
    assert found.trades == 0
    assert any(text.startswith(finding) for text in found.findings), found.findings


def test_rejected_orders_are_a_finding() -> None:
    found = diagnostics.activity(BARS, CROSS, bt.Execution(min_notional=1e9))
    assert found.rejected_orders > 0
    assert "orders were too large for the account or too small for the market" in found.findings[0]


def test_a_strategy_that_trades_has_no_findings() -> None:
    found = diagnostics.activity(BARS, CROSS)
    assert found.trades > 0
    assert not found.findings


def test_a_function_that_looks_ahead_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def centred(x: Series, length: int) -> Series:
        return np.convolve(x, np.ones(length) / length, "same")

    monkeypatch.setitem(INDICATORS, "sma", INDICATORS["sma"]._replace(reference=centred))
    found = diagnostics.check(BARS, CROSS)
    assert not found.sound
    assert {row.expression for row in found.look_ahead} >= {"slow", "sma(close, 5)"}
    assert all(row.time < BARS.time[row.cut] for row in found.look_ahead)


def test_recursion_is_found_in_exponential_averages_only() -> None:
    strategy = bt.Strategy(entry_long="close > sma(close, 20)", exit_long="close < ema(close, 20)")
    found = diagnostics.check(BARS, strategy)
    assert found.sound
    assert found.settled
    by = {name: [row for row in found.recursion if row.expression == name] for name in ("sma(close, 20)", "ema(close, 20)")}
    assert all(row.changed == 0 for row in by["sma(close, 20)"])
    differences = [row.difference for row in by["ema(close, 20)"]]
    assert differences == sorted(differences, reverse=True)  # type: ignore[type-var]
    assert differences[0] > 1e-6 > differences[-1]  # type: ignore[operator]


def test_signals_that_depend_on_the_start_of_the_data_are_caught() -> None:
    found = diagnostics.check(BARS, bt.Strategy(entry_long="close > rma(close, 600)"))
    assert found.sound
    assert not found.settled
    changed = [row.changed for row in found.recursion if row.expression == "entry_long"]
    assert changed[0] > changed[-1] > 0


@pytest.mark.parametrize("name", library.names())
def test_the_library_is_sound_on_real_bars(name: str, market_data: Path) -> None:
    bars = bt.read_bars(market_data / "ethbtc-5m.parquet")
    strategy = library.load(name).strategy
    assert diagnostics.check(bars, strategy, cuts=5).sound
    for timeframe in ("15m", "4h"):
        fields = {field: getattr(strategy, field) for field in strategy.__struct_fields__}
        assert diagnostics.check(bars[7:], bt.Strategy(**{**fields, "timeframe": timeframe}), cuts=3).sound


@pytest.mark.parametrize("timeframe", [None, "4h", "1w"])
def test_a_plot_covers_the_requested_range(timeframe: str | None) -> None:
    strategy = bt.Strategy(entry_long="close > slow", define={"slow": "sma(close, 5)"}, timeframe=timeframe)
    whole = diagnostics.values(BARS, strategy)
    last = diagnostics.plot(BARS, strategy, limit=3)
    assert last.time == tuple(whole.time[-3:].tolist())
    assert last.columns["slow"] == tuple(whole.columns["slow"][-3:].tolist())
    start = int(whole.time[2])
    early = diagnostics.plot(BARS, strategy, ["slow", "entry_long"], start=start - 1, limit=4)
    assert early.time == tuple(whole.time[2:6].tolist())
    assert early.columns["slow"] == (None, None, *whole.columns["slow"][4:6].tolist())
    assert early.columns["entry_long"] == tuple(whole.columns["entry_long"][2:6].tolist())


def test_a_plot_outside_the_data_begins_with_the_data_or_is_empty() -> None:
    assert diagnostics.plot(BARS, CROSS, start=-(10**30), limit=5).time == tuple(BARS.time[:5].tolist())
    assert diagnostics.plot(BARS, CROSS, start=10**30, limit=5).time == ()


def test_a_plot_has_limits() -> None:
    with pytest.raises(bt.StrategyError, match="limit: 5,001 bars; use 1 to 5,000"):
        diagnostics.plot(BARS, CROSS, limit=5_001)
    with pytest.raises(bt.StrategyError, match="expressions: 51 expressions; use at most 50"):
        diagnostics.plot(BARS, CROSS, ["close"] * 51)


def test_only_the_end_of_long_data_is_diagnosed() -> None:
    bars = bt.synthetic(diagnostics.MAX_BARS + 5_000, timeframe="5m")
    strategy = bt.Strategy(entry_long="close > open", exit_long="close < open")
    found = diagnostics.diagnose(bars, strategy)
    assert found.activity.bars == diagnostics.MAX_BARS
    assert found.activity == diagnostics.activity(bars[-diagnostics.MAX_BARS :], strategy)
    assert found.check.sound
    hourly = bt.Strategy(entry_long="close > open", timeframe="1h")
    assert diagnostics.diagnose(bars, hourly).activity.bars == diagnostics.activity(bars, hourly).bars


MULTI = bt.Strategy(
    entry_long="macd_4h(close, 2, 4, 2).hist > 0 and at('1d', close > open and not volume < 0)",
    exit_long="close < sma(at('4h', close), 3)",
    additional_timeframes=["4h"],  # type: ignore[arg-type]
    htf_filters={"long": [{"timeframe": "4h", "condition": "rsi(close, 2) > 101"}]},  # type: ignore[list-item]
)


def test_values_cover_other_outputs_and_higher_timeframes() -> None:
    found = diagnostics.values(BARS, MULTI)
    assert set(found.columns) == {
        "entry_long",
        "exit_long",
        "at('4h', macd(close, 2, 4, 2).hist)",
        "at('4h', rsi(close, 2))",
        "sma(at('4h', close), 3)",
    }
    columns = diagnostics.values(BARS, MULTI, ["close_4h", "at('4h', close)"]).columns
    np.testing.assert_array_equal(columns["close_4h"], columns["at('4h', close)"])


def test_parts_on_a_higher_timeframe_are_counted_one_by_one() -> None:
    found = diagnostics.activity(BARS, MULTI)
    entry = found.conditions["entry_long"]
    daily = entry.parts[1]
    assert [part.text for part in entry.parts] == [
        "at('4h', macd(close, 2, 4, 2).hist) > 0",
        "at('1d', close > open and (not volume < 0))",
        "at('4h', rsi(close, 2) > 101)",
    ]
    assert [part.text for part in daily.parts] == ["at('1d', close > open)", "at('1d', not volume < 0)"]
    assert 0 < daily.parts[0].true == daily.true < daily.parts[1].true
    assert daily.parts[1].parts[0].text == "at('1d', volume < 0)"
    assert found.warm_up_bars == 23
    assert any(f"at('4h', rsi(close, 2) > 101) was never true on {entry.parts[2].known:,} bars" in text for text in found.findings)


def test_averages_on_a_higher_timeframe_settle_too() -> None:
    strategy = bt.Strategy(entry_long="close > at('4h', sma(close, 5))", exit_long="close < at('1d', close[1])")
    found = diagnostics.check(BARS, strategy)
    assert found.sound
    assert found.settled
    assert {row.difference for row in found.recursion if row.expression == "at('4h', sma(close, 5))"} == {0.0}


def test_a_strategy_on_minutes_is_diagnosed_with_the_history_that_its_days_need() -> None:
    bars = bt.synthetic(60_000, timeframe="1m")
    strategy = bt.Strategy(entry_long="close > at('1d', sma(close, 20))")
    found = diagnostics.diagnose(bars, strategy)
    assert found.activity.warm_up_bars == 20 * 1440 - 1
    assert found.activity.conditions["entry_long"].known > 10_000
    assert found.check.sound
