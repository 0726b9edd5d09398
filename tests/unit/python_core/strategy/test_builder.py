"""The builder makes the same strategies as the text form, and rejects pitfalls of Python's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.strategy import builder
from python_core.strategy.builder import (
    atr,
    close,
    crossover,
    crossunder,
    ema,
    falling,
    high,
    hl2,
    hour,
    low,
    macd,
    minute,
    named,
    open,
    param,
    rsi,
    sma,
    strategy,
    true_range,
    weekday,
    where,
)

SAME: list[tuple[Any, str]] = [
    (close > ema(close, 50), "close > ema(close, 50)"),
    (crossover(sma(close, 10), sma(close, 30)) & (close > close[1]), "crossover(sma(close, 10), sma(close, 30)) and close > close[1]"),
    ((close > 1) | (close > 2) & ~(close > 3), "close > 1 or (close > 2 and not close > 3)"),
    (((close > 1) | (close > 2)) & (close > 3), "(close > 1 or close > 2) and close > 3"),
    ((close > 1) & ((close > 2) & (close > 3)), "close > 1 and close > 2 and close > 3"),
    (close - (open - 2) * 3 / (1 + high) != -low, "close - (open - 2) * 3 / (1 + high) != -low"),
    (1 - close == 2 / hl2[3], "1 - close == 2 / hl2[3]"),
    (close - -2.0 >= (close - 1) - close, "close - (-2) >= close - 1 - close"),
    (~((close > 1) & (close <= 2)), "not (close > 1 and close <= 2)"),
    (True & (close > 1), "True and close > 1"),
    (close > np.float64(1.5) + close * np.int64(3), "close > 1.5 + close * 3"),
    (true_range() > atr(14) * 2, "true_range() > atr(14) * 2"),
    (crossunder(rsi(close, 14), 70) | False, "crossunder(rsi(close, 14), 70) or False"),
    (where(close > open, close, 2) > 1, "(close if close > open else 2) > 1"),
    (where(close > open, close > 3, False) & (open > 1), "(close > 3 if close > open else False) and open > 1"),
    ((hour >= 8) & (weekday < 5) | (minute == 0), "hour >= 8 and weekday < 5 or minute == 0"),
    (falling(builder.max(close, open, 3), 2), "falling(max(close, open, 3), 2)"),
    (builder.log(builder.abs(close)) > 2, "log(abs(close)) > 2"),
    (close > ema(close, 50, tf="4h"), "close > at('4h', ema(close, 50))"),
    (
        builder.at("1d", close > open) & crossover(close, builder.at(1440, high)),
        "at('1d', close > open) and crossover(close, at('1d', high))",
    ),
    (macd(close, slow=30).hist > macd(close, slow=30), "macd(close, 12, 30, 9).hist > macd(close, 12, 30, 9)"),
    (macd(close, tf="1d").signal > 0, "at('1d', macd(close, 12, 26, 9).signal) > 0"),
]


@pytest.mark.parametrize(("built", "text"), SAME, ids=[text for _, text in SAME])
def test_a_built_condition_equals_the_written_one(built: builder.Expression, text: str) -> None:
    one, other = strategy(entry_long=built), bt.Strategy(entry_long=text)
    assert one.canonical() == other.canonical()
    bars = bt.synthetic(300)
    assert bt.backtest(bars, one).digest == bt.backtest(bars, other).digest


def test_a_built_strategy_has_the_params_definitions_and_constraints_that_it_uses() -> None:
    fast, slow = param("fast", 10, min=5, max=50, step=5), param("slow", 30)
    trend = named("trend", ema(close, slow))
    built = strategy(
        entry_long=crossover(sma(close, fast), trend),
        exit_long=close < trend * 0.99,
        constraints=[fast < slow, "slow < 100"],
        timeframe="4h",
    )
    assert built == bt.Strategy(
        entry_long="crossover(sma(close, fast), trend)",
        exit_long="close < trend * 0.99",
        define={"trend": "ema(close, slow)"},
        params={"fast": {"type": "int", "default": 10, "min": 5, "max": 50, "step": 5}, "slow": 30},  # type: ignore[dict-item]
        constraints=["fast < slow", "slow < 100"],  # type: ignore[arg-type]
        timeframe="4h",
    )


@pytest.mark.parametrize(
    ("default", "fields", "type"),
    [
        (1, {"min": 1, "max": 2}, "int"),
        (1.5, {"min": 1, "max": 2, "step": 0.5}, "float"),
        (3, {"choices": [3, 4]}, "choice"),
        (True, {"type": "bool"}, "bool"),
    ],
)
def test_the_type_of_a_parameter_is_that_of_its_default(default: Any, fields: dict[str, Any], type: str) -> None:
    assert param("x", default, **fields).params["x"] == bt.Param(
        type=type, default=default, **{k: tuple(v) if k == "choices" else v for k, v in fields.items() if k != "type"}
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*builder.SERIES, *builder.FUNCTIONS])
def test_the_builder_has_every_name_of_the_language(name: str) -> None:
    there = getattr(builder, name)
    assert str(there if name in builder.SERIES else there.name) == name
    assert name in dir(builder)
    with pytest.raises(bt.StrategyError, match="is reserved by the language"):
        bt.Strategy(entry_long="close > 1", params={name: 1})


def test_an_unknown_name_fails_on_import() -> None:
    with pytest.raises(AttributeError, match="the language has no 'smaa'; it has open, high"):
        builder.smaa  # noqa: B018


TRAPS: list[tuple[Callable[[], Any], str]] = [
    (lambda: 1 < close < 5, "use & | ~ for and, or, not"),
    (lambda: (close > 1) and (close > 2), "use & | ~ for and, or, not"),
    (lambda: close > 5 & high, "put brackets round comparisons"),
    (lambda: close > [1, 2], r"\[1, 2\] can't be part of an expression"),
    (lambda: sma(np.arange(3), 2), "can't be part of an expression"),
    (lambda: (close > param("n", 1)) & (close > param("n", 2)), "'n' means both 1 and 2"),
    (lambda: (close > param("n", 1)) & (close > param("n", True)), "'n' means both 1 and True"),
    (lambda: named("t", close + 1) > named("t", close + 2), "'t' means both close [+] 1 and close [+] 2"),
    (lambda: param("a b", 1), "name, column 3: not an expression"),
    (lambda: param("sma(1)", 1), "is not a valid name"),
    (lambda: strategy(entry_long=sma(close) > 1), "sma takes 2 arguments, not 1"),
    (lambda: strategy(entry_long=close > close[-1]), "would look ahead"),
    (lambda: strategy(entry_long=close > sma(close, "x")), "is not supported|expected a number|unknown timeframe"),
    (lambda: strategy(entry_long=close + 1), "expected a condition, got a number"),
]


@pytest.mark.parametrize(("trap", "message"), TRAPS)
def test_pitfalls_of_python_operators_are_rejected(trap: Callable[[], Any], message: str) -> None:
    with pytest.raises(bt.StrategyError, match=message):
        trap()


def test_an_expression_is_neither_iterable_nor_hashable() -> None:
    for use in (lambda: list(close), lambda: 3 in close, lambda: {close: 1}):  # type: ignore[call-overload, operator, dict-item]
        with pytest.raises(TypeError):
            use()


def test_an_expression_nested_too_deeply_is_rejected() -> None:
    deep = close
    for _ in range(5_000):
        deep = deep + 1
    with pytest.raises(bt.StrategyError, match="too deep"):
        strategy(entry_long=deep > 1)
