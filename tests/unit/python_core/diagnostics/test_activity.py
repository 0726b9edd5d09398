"""Counts equal the bars on which parts were true, and findings say why there are no trades."""

from __future__ import annotations

import numpy as np
import pytest

import python_core as bt
from python_core import diagnostics
from python_core.indicators import INDICATORS


def test_each_part_of_a_condition_is_counted(bars: bt.Bars) -> None:
    strategy = bt.Strategy(entry_long="close > open and (close > close[1] or not volume > 0) and rsi(close, 2) < 50")
    entry = diagnostics.activity(bars, strategy).conditions["entry_long"]
    close, before = bars.close, np.concatenate(([np.inf], bars.close[:-1]))
    rsi = INDICATORS["rsi"].reference(close, 2)
    a, b, c = close > bars.open, (close > before) | ((bars.volume <= 0) & (before < np.inf)), rsi < 50
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
def test_a_strategy_without_trades_has_a_finding(bars: bt.Bars, strategy: bt.Strategy, finding: str) -> None:
    found = diagnostics.activity(bars, strategy)
    assert found.trades == 0
    assert any(text.startswith(finding) for text in found.findings), found.findings


def test_rejected_orders_are_a_finding(cross: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.activity(bars, cross, bt.Execution(min_notional=1e9))
    assert found.rejected_orders > 0
    assert "orders were too large for the account or too small for the market" in found.findings[0]


@pytest.mark.parametrize(
    ("execution", "finding"),
    [
        (bt.Execution(trading_hours=((0, 1),)), "entries were left out: check trading_hours"),
        (bt.Execution(entry_limit=0.9), "resting entries expired: check entry_limit"),
        (bt.Execution(stop_loss="close * 2"), "had a stop or target on the wrong side"),
    ],
)
def test_entries_that_the_rules_keep_out_are_a_finding(cross: bt.Strategy, bars: bt.Bars, execution: bt.Execution, finding: str) -> None:
    found = diagnostics.activity(bars[1:200], cross, execution)
    assert found.trades == 0
    assert len(found.findings) == 1
    assert finding in found.findings[0]


def test_a_strategy_that_trades_has_no_findings(cross: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.activity(bars, cross)
    assert found.trades > 0
    assert not found.findings


def test_parts_on_a_higher_timeframe_are_counted_one_by_one(multi: bt.Strategy, bars: bt.Bars) -> None:
    found = diagnostics.activity(bars, multi)
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
