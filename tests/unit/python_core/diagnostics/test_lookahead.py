"""A strategy that looks ahead or depends on the start of the data is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import python_core as bt
from python_core import diagnostics
from python_core.indicators import INDICATORS, Series
from python_core.strategy import library


def test_a_function_that_looks_ahead_is_caught(cross: bt.Strategy, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    def centred(x: Series, length: int) -> Series:
        return np.convolve(x, np.ones(length) / length, "same")

    monkeypatch.setitem(INDICATORS, "sma", INDICATORS["sma"]._replace(reference=centred))
    found = diagnostics.check(bars, cross)
    assert not found.sound
    assert {row.expression for row in found.look_ahead} >= {"slow", "sma(close, 5)"}
    assert all(row.time < bars.time[row.cut] for row in found.look_ahead)


@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_bars_with_closed_hours_and_weekends_are_sound(fill: str) -> None:
    whole = bt.synthetic(24 * 400, timeframe="1h", start="2023-01-02")
    hour, weekday = whole.time // 3_600_000 % 24, (whole.time // 86_400_000 + 3) % 7
    session = (hour >= 14) & (hour < 18) & (weekday < 5)
    bars = bt.Bars(*(getattr(whole, name)[session] for name in ("time", "open", "high", "low", "close", "volume")), timeframe="1h")
    for timeframe in (None, "1d"):
        strategy = bt.Strategy(
            entry_long="at('1w', close > open) and at('1M', close > sma(close, 2))", exit_long="close < at('1d', low)", timeframe=timeframe
        )
        found = diagnostics.check(bars, strategy, fill=fill, cuts=60)  # type: ignore[arg-type]
        assert found.sound, found.look_ahead


def test_recursion_is_found_in_exponential_averages_only(bars: bt.Bars) -> None:
    strategy = bt.Strategy(entry_long="close > sma(close, 20)", exit_long="close < ema(close, 20)")
    found = diagnostics.check(bars, strategy)
    assert found.sound
    assert found.settled
    by = {name: [row for row in found.recursion if row.expression == name] for name in ("sma(close, 20)", "ema(close, 20)")}
    assert all(row.changed == 0 for row in by["sma(close, 20)"])
    differences = [row.difference for row in by["ema(close, 20)"]]
    assert differences == sorted(differences, reverse=True)  # type: ignore[type-var]
    assert differences[0] > 1e-6 > differences[-1]  # type: ignore[operator]


def test_signals_that_depend_on_the_start_of_the_data_are_caught(bars: bt.Bars) -> None:
    found = diagnostics.check(bars, bt.Strategy(entry_long="close > rma(close, 600)"))
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


def test_averages_on_a_higher_timeframe_settle_too(bars: bt.Bars) -> None:
    strategy = bt.Strategy(entry_long="close > at('4h', sma(close, 5))", exit_long="close < at('1d', close[1])")
    found = diagnostics.check(bars, strategy)
    assert found.sound
    assert found.settled
    assert {row.difference for row in found.recursion if row.expression == "at('4h', sma(close, 5))"} == {0.0}
