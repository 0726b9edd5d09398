"""A diagnosis covers recent bars, with the history that they need."""

from __future__ import annotations

import python_core as bt
from python_core import diagnostics


def test_only_the_end_of_long_data_is_diagnosed() -> None:
    bars = bt.synthetic(diagnostics.MAX_BARS + 5_000, timeframe="5m")
    strategy = bt.Strategy(entry_long="close > open", exit_long="close < open")
    found = diagnostics.diagnose(bars, strategy)
    assert found.activity.bars == diagnostics.MAX_BARS
    assert found.activity == diagnostics.activity(bars[-diagnostics.MAX_BARS :], strategy)
    assert found.check.sound
    hourly = bt.Strategy(entry_long="close > open", timeframe="1h")
    assert diagnostics.diagnose(bars, hourly).activity.bars == diagnostics.activity(bars, hourly).bars


def test_a_strategy_on_minutes_is_diagnosed_with_the_history_that_its_days_need() -> None:
    bars = bt.synthetic(60_000, timeframe="1m")
    strategy = bt.Strategy(entry_long="close > at('1d', sma(close, 20))")
    found = diagnostics.diagnose(bars, strategy)
    assert found.activity.warm_up_bars == 20 * 1440 - 1
    assert found.activity.conditions["entry_long"].known > 10_000
    assert found.check.sound
