"""Bars and strategies for the diagnostics."""

from __future__ import annotations

import pytest

import python_core as bt


@pytest.fixture(scope="session")
def bars() -> bt.Bars:
    return bt.synthetic(1_500, timeframe="1h")


@pytest.fixture
def cross() -> bt.Strategy:
    return bt.Strategy(
        entry_long="crossover(sma(close, 5), slow) and close > open",
        exit_long="crossunder(sma(close, 5), slow)",
        define={"slow": "sma(close, length)"},
        params={"length": 20},
    )


@pytest.fixture
def multi() -> bt.Strategy:
    """Uses all ways to write a higher timeframe."""
    return bt.Strategy(
        entry_long="macd_4h(close, 2, 4, 2).hist > 0 and at('1d', close > open and not volume < 0)",
        exit_long="close < sma(at('4h', close), 3)",
        additional_timeframes=["4h"],  # type: ignore[arg-type]
        htf_filters={"long": [{"timeframe": "4h", "condition": "rsi(close, 2) > 101"}]},  # type: ignore[list-item]
    )
