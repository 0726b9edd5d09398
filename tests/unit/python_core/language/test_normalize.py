"""Equivalent expressions have one canonical text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

import python_core as bt
from python_core.language.normalize import canonical
from tests.unit.python_core.language.samples import TEXTS

EQUIVALENT = [
    ["ema(close, 20) > 1", "ema( close,20.0 )>(1)", "ema(length=20, series=close) > 1e0"],
    ["at('4h', ema(close, 20)) > 1", "ema(close, 20, tf='4h') > 1", 'ema(close, 20, "4h") > 1', "at(240, ema(close, length=20)) > 1"],
    ["macd(close) > 0", "macd(close, 12, 26, 9).line > 0", "macd(close, signal_length=9).line > 0"],
    ["at('1d', macd(close).hist) > 0", "macd(close, tf='D').hist > 0", "macd(close, fast=12, tf=1440).hist > 0"],
    ["at('1d', close > open)", "at(tf='1d', value=close > open)"],
    ["at(frame, close) > atr(14)", "at(tf=frame, value=close) > atr()"],
    ["close > 1 and close > 2 and close > 3", "close > 1 and (close > 2 and close > 3)"],
]


@pytest.mark.parametrize("texts", EQUIVALENT, ids=[texts[0] for texts in EQUIVALENT])
def test_equivalent_expressions_have_the_same_hash(texts: list[str]) -> None:
    strategies = [bt.Strategy(entry_long=text, params={"frame": "4h"}) for text in texts]
    assert len({strategy.hash for strategy in strategies}) == 1
    assert len({str(strategy.canonical()) for strategy in strategies}) == 1
    bars = bt.synthetic(1_000)
    assert len({bt.backtest(bars, strategy).fingerprint for strategy in strategies}) == 1


@given(text=TEXTS)
@settings(max_examples=200)
def test_the_canonical_text_of_an_expression_is_equivalent_and_stable(text: str) -> None:
    try:
        strategy = bt.Strategy(entry_long=text)
    except bt.StrategyError:
        return
    text_again = canonical("entry_long", text)
    again = bt.Strategy(entry_long=text_again)
    assert canonical("entry_long", text_again) == text_again
    assert again.canonical() == strategy.canonical()
