"""Strategies and signals as data: what is rejected, and which strategies are equal."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "entry_long: the strategy has no entry; give entry_long, entry_short or both"),
    ({"entry_long": "  \n "}, "entry_long: the strategy has no entry; give entry_long, entry_short or both"),
    ({"exit_long": "close > 1"}, "entry_long: the strategy has no entry; give entry_long, entry_short or both"),
    ({"entry_long": 5}, "entry_long: expected text, got 5; give an expression such as 'close > sma(close, 20)'"),
    (
        {"entry_long": "close > 1", "exit_long": None},
        "exit_long: expected text, got None; give an expression such as 'close > sma(close, 20)'",
    ),
    ({"entry_long": "close > 1", "exit_short": "clos > 1"}, "exit_short, column 1: unknown name 'clos'; did you mean 'close'?"),
    ({"entry_long": "close > fast"}, "entry_long, column 9: unknown name 'fast'; ..."),
    ({"entry_long": "close > fats", "params": {"fast": 1}}, "entry_long, column 9: unknown name 'fats'; did you mean 'fast'?"),
    ({"entry_long": "a", "define": {"a": 5}}, "define.a: expected text, got 5; give an expression such as 'close > sma(close, 20)'"),
    ({"entry_long": "close > 1", "define": {"a": "b"}}, "define.a, column 1: unknown name 'b'; ..."),
    (
        {"entry_long": "a > 1", "define": {"a": "a + 1"}},
        "define.a, column 1: 'a' is defined in terms of itself; remove the circular definition",
    ),
    (
        {"entry_long": "a > 1", "define": {"a": "b", "b": "a"}},
        "define.b, column 1: 'a' is defined in terms of itself; remove the circular definition",
    ),
    ({"entry_long": "a", "define": {"a": "close > 1"}, "params": {"a": 1}}, "params: 'a' is also a definition; use different names"),
    (
        {"entry_long": "close > 1", "params": {"close": 1}},
        "params: 'close' is reserved by the language; use letters, digits and _, such as fast",
    ),
    (
        {"entry_long": "close > 1", "define": {"sma": "close"}},
        "define: 'sma' is reserved by the language; use letters, digits and _, such as fast",
    ),
    ({"entry_long": "close > 1", "params": {"1st": 1}}, "params: '1st' is not a valid name; use letters, digits and _, such as fast"),
    ({"entry_long": "close > 1", "params": {5: 1}}, "params: 5 is not a valid name; use letters, digits and _, such as fast"),
    ({"entry_long": "close > 1", "params": {"é": 1}}, "params: 'é' is not a valid name; use letters, digits and _, such as fast"),
    ({"entry_long": "close > 1", "params": [("a", 1)]}, "params: too many names, or not a mapping; use at most 100 names"),
    (
        {"entry_long": "close > 1", "define": {f"d{i}": "close" for i in range(101)}},
        "define: too many names, or not a mapping; use at most 100 names",
    ),
    ({"entry_long": "close > 1", "params": {"a": float("nan")}}, "params.a: the number is not finite or too large; use a finite number"),
    ({"entry_long": "close > 1", "params": {"a": 10**400}}, "params.a: the number is not finite or too large; use a finite number"),
    ({"entry_long": "close > 1", "params": {"a": None}}, "params.a: expected a plain value, got None; use a number, text, true or false"),
    ({"entry_long": "close > a", "params": {"a": "x"}}, "entry_long, column 9: parameter 'a' is text; ..."),
    ({"entry_long": "sma(close, n) > 1", "params": {"n": 2.5}}, "entry_long, column 12: the length of sma is 2.5; ..."),
    ({"entry_long": "close > 1", "timeframe": "7m"}, "timeframe: unknown timeframe '7m'; ..."),
    ({"entry_long": "close > 1", "timeframe": []}, "timeframe: unknown timeframe []; ..."),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[words.partition(";")[0][:60] for _, words in BAD])
def test_an_invalid_strategy_is_rejected_with_place_and_hint(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.BarstormError) as caught:
        bt.Strategy(**fields)
    said = str(caught.value)
    assert said == words or (words.endswith("...") and said.startswith(words.removesuffix("...")))


CROSS = bt.Strategy(
    entry_long="crossover(sma(close, fast), sma(close, slow)) and close > 10",
    exit_long="trend < 0",
    define={"trend": "ema(close, 5) - ema(close, 20)"},
    params={"fast": 10, "slow": 30},
    timeframe="4h",
)


def spelled(**changes: Any) -> bt.Strategy:
    return msgspec.structs.replace(CROSS, **changes)


@pytest.mark.parametrize(
    "other",
    [
        spelled(entry_long="  crossover( sma(close,fast),(sma(close , slow)) )\n and (close>10.0)"),
        spelled(entry_long="crossover(sma(close, fast), sma(close, slow)) and close > 1e1"),
        spelled(exit_long="(trend) < 0.0"),
        spelled(define={"trend": "ema(close, 5.0)-ema(close,20)"}),
        spelled(params={"slow": 30.0, "fast": 10.0}),
        spelled(timeframe=240),
        spelled(timeframe="240"),
        msgspec.json.decode(msgspec.json.encode(CROSS), type=bt.Strategy),
    ],
    ids=["spaces", "1e1", "brackets", "definition", "floats", "minutes", "text minutes", "json"],
)
def test_one_strategy_in_two_spellings_has_one_fingerprint(other: bt.Strategy) -> None:
    bars = bt.synthetic(bars=100)
    assert bt.fingerprint(bars, other, bt.Execution()) == bt.fingerprint(bars, CROSS, bt.Execution())


@pytest.mark.parametrize(
    "other",
    [
        spelled(entry_long="crossover(sma(close, fast), sma(close, slow)) and close > 11"),
        spelled(entry_long="crossover(sma(close, fast), sma(close, slow)) and close >= 10"),
        spelled(exit_long="trend <= 0"),
        spelled(exit_long=""),
        spelled(entry_short="trend < 0"),
        spelled(exit_short="trend > 0"),
        spelled(define={"trend": "ema(close, 5) - ema(close, 21)"}),
        spelled(params={"fast": 11, "slow": 30}),
        spelled(params={"fast": 10, "slow": 30, "flag": True}),
        spelled(timeframe="2h"),
        spelled(timeframe=None),
    ],
)
def test_another_strategy_has_another_fingerprint(other: bt.Strategy) -> None:
    bars = bt.synthetic(bars=100)
    assert bt.fingerprint(bars, other, bt.Execution()) != bt.fingerprint(bars, CROSS, bt.Execution())


def test_true_is_not_1() -> None:
    bars = bt.synthetic(bars=100)
    flags = [bt.Strategy(entry_long="close > 1", params={"flag": flag}) for flag in (True, 1)]
    assert bt.fingerprint(bars, flags[0], bt.Execution()) != bt.fingerprint(bars, flags[1], bt.Execution())
    bt.Strategy(entry_long="flag", params={"flag": True})
    with pytest.raises(bt.StrategyError, match="expected a condition, got a number"):
        bt.Strategy(entry_long="flag", params={"flag": 1})


def test_parameters_can_be_changed_by_name() -> None:
    assert CROSS.with_params(fast=12).params == {"fast": 12, "slow": 30}
    assert CROSS.params == {"fast": 10, "slow": 30}
    with pytest.raises(bt.StrategyError, match="the strategy has no parameter 'fats'; it has fast, slow"):
        CROSS.with_params(fats=12)
    with pytest.raises(bt.StrategyError, match="the length of sma is 0"):
        CROSS.with_params(fast=0)


def test_mappings_of_the_caller_are_not_changed() -> None:
    params = {"fast": 10, "slow": 30}
    strategy = spelled(params=params)
    params["fast"] = 99
    assert strategy.params["fast"] == 10


def test_the_order_of_definitions_does_not_matter() -> None:
    names = {"a": "close", "b": "a + 1", "c": "b + 1"}
    bars = bt.synthetic(bars=100)
    one, other = (bt.Strategy(entry_long="c > 3", define=dict(items)) for items in (names.items(), reversed(names.items())))
    a, b = bt.backtest(bars, one), bt.backtest(bars, other)
    assert (a.fingerprint, a.digest) == (b.fingerprint, b.digest)


SIGNALS: list[tuple[dict[str, Any], str]] = [
    ({}, "signals: no signals; give at least one boolean array"),
    ({"entry_long": [1, 0, 1]}, "entry_long: the dtype is int64; give booleans, as in close > average"),
    ({"entry_long": [0.0, float("nan")]}, "entry_long: the dtype is float64; give booleans, as in close > average"),
    ({"exit_long": ["yes", "no"]}, "exit_long: the dtype is <U3; give booleans, as in close > average"),
    ({"entry_short": np.array([True, None])}, "entry_short: the dtype is object; give booleans, as in close > average"),
    ({"exit_short": np.ones((2, 2), dtype=bool)}, "exit_short: the shape is (2, 2); give one dimension, one value for each bar"),
    ({"entry_long": [[True], [True, False]]}, "entry_long: not an array (..."),
    (
        {"entry_long": np.ma.array([True, True], mask=[False, True])},
        "entry_long: bar 1 is masked; give true or false for each bar",
    ),
    ({"entry_long": True}, "entry_long: the shape is (); give one dimension, one value for each bar"),
    (
        {"entry_long": [True], "exit_long": [True, False]},
        "signals: the arrays differ in length: {'entry_long': 1, 'exit_long': 2}; give one value for each bar",
    ),
]


@pytest.mark.parametrize(("masks", "words"), SIGNALS, ids=[words.partition(";")[0][:60] for _, words in SIGNALS])
def test_signals_that_are_not_booleans_are_rejected(masks: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.StrategyError) as caught:
        bt.Signals(**masks)
    said = str(caught.value)
    assert said == words or (words.endswith("...") and said.startswith(words.removesuffix("...")))


@pytest.mark.parametrize(
    ("condition", "warm_up", "settle"),
    [
        ("close > open", 0, 0),
        ("close > sma(close, 30)", 29, 29),
        ("close > ema(close, 50)", 49, 250),
        ("close > ema(ema(close, 10), 20)", 28, 150),
        ("close > rma(close, 14)", 13, 140),
        ("rsi(close, 14) > 50", 14, 141),
        ("atr(14) > 1", 14, 141),
        ("supertrend(10, 3.0) > 1", 10, 101),
        ("crossover(ema(close, 50), ema(close, 200))", 200, 1001),
        ("adx(14) > 20", 27, 281),
    ],
)
def test_a_strategy_settles_after_five_lengths_of_an_ema_and_ten_of_an_rma(condition: str, warm_up: int, settle: int) -> None:
    strategy = bt.Strategy(entry_long=condition)
    assert (strategy.warm_up_bars, strategy.settle_bars) == (warm_up, settle)


def test_higher_timeframes_settle_in_bars_of_their_own() -> None:
    strategy = bt.Strategy(entry_long="at('4h', close > ema(close, 10))", timeframe="1h")
    assert (strategy.warm_up_bars, strategy.settle_bars) == (39, 4 * 51 - 1)
