"""Strategies in plain words: the text follows from the strategy, and every function has a phrase."""

from __future__ import annotations

import pytest

import python_core as bt
from python_core.strategy.builder import FUNCTIONS
from python_core.strategy.explain import phrase, title


def test_a_strategy_is_explained_in_sentences() -> None:
    strategy = bt.Strategy(
        entry_long="crossover(sma(close, fast), sma(close, slow)) and close > trend",
        exit_long="rsi(close, 14) > 70",
        entry_short="close < low[2]",
        define={"trend": "ema(hl2, 50)"},
        params={"fast": bt.Param(type="int", default=10, min=5, max=50, step=5), "slow": 30},
        constraints=("fast < slow",),
        timeframe="4h",
    )
    assert strategy.explain().splitlines() == [
        "At the close of every 4h bar:",
        "- Buy when the fast-bar simple average of the close crosses above the slow-bar simple average of the close and the close is above trend.",
        "- Close a long position when the 14-bar RSI of the close is above 70.",
        "- Sell short when the close is below the low 2 bars ago.",
        "- No signal closes a short position: an opposite entry, a stop or the end of the data does.",
        "Here trend is the 50-bar exponential average of the average of high and low.",
        "Parameter fast is 10 (from 5 to 50 in steps of 5).",
        "Parameter slow is 30.",
        "Constraint: fast is below slow.",
        "The first 49 bars give no signal.",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not (close > 1 and open < 2)", "not (the close is above 1 and the open is below 2)"),
        ("close > 1 and (open < 2 or low == 3)", "the close is above 1 and (the open is below 2 or the low equals 3)"),
        ("low < close <= high", "the low is below the close and is at most the high"),
        ("(close - open) / 2 > -1", "(the close minus the open) divided by 2 is above -1"),
        ("-(close + 1) != 3", "the negative of (the close plus 1) differs from 3"),
        ("(close + open)[1] >= 3", "(the close plus the open) 1 bar ago is at least 3"),
        ("crossunder(volume, 3 * atr(14))", "the volume crosses below 3 times the 14-bar average true range"),
        ("True", "always"),
        ("(close if open > 1 else low) - 1 > 2", "(the close if the open is above 1, else the low) minus 1 is above 2"),
        (
            "rising(close, 3) or falling(low, 2)",
            "the close has risen on each of the last 3 bars or the low has fallen on each of the last 2 bars",
        ),
        ("ema(close, 50, tf='4h') > close", "the 50-bar exponential average of the close (on 4h bars) is above the close"),
        ("at('1d', close > open) and not at(frame, True)", "the close is above the open (on 1d bars) and not (always (on frame bars))"),
        ("atr(length=5) > 1", "the 5-bar average true range is above 1"),
        ("max(open, close, 3) > 1", "the largest of the open, the close and 3 is above 1"),
        (
            "macd(close, 12, 26, 9).hist > 0",
            "the hist of the moving average convergence and divergence of the close (12, 26, 9) is above 0",
        ),
        ("hour >= 8 and weekday < 5", "the hour (UTC) is at least 8 and the weekday (UTC, 0 is Monday) is below 5"),
    ],
)
def test_words_keep_the_meaning_of_brackets(text: str, words: str) -> None:
    assert phrase(text) == words


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_has_words(function: str) -> None:
    assert title(function).strip()
    words = phrase(f"{function}(close, 7)")
    assert "the close" in words
    assert "7" in words


def test_filters_are_explained_with_the_entry_and_warm_up_without_a_timeframe_in_minutes() -> None:
    explanation = bt.Strategy(
        entry_long="close > open",
        exit_long="close < close_4h",
        additional_timeframes=["4h"],  # type: ignore[arg-type]
        htf_filters={"long": [{"timeframe": "1d", "condition": "close > sma(close, 5)"}]},  # type: ignore[list-item]
    ).explain()
    assert explanation.splitlines() == [
        "At the close of every bar:",
        "- Buy when the close is above the open and the close is above the 5-bar simple average of the close (on 1d bars).",
        "- Close a long position when the close is below the close (on 4h bars).",
        "The first 7,199 minutes give no signal.",
    ]
