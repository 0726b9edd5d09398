"""Typed parameters: one spec for a single run and for a search."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

import python_core as bt
from tests.support.strategies import FAST, cross


def test_a_typed_parameter_runs_as_its_default_does() -> None:
    bars = bt.synthetic(500)
    typed, plain = bt.backtest(bars, cross()), bt.backtest(bars, cross(params={"fast": 10, "slow": 30}, constraints=[]))
    assert len(typed.trades) > 0
    assert typed.digest == plain.digest
    assert typed.fingerprint == plain.fingerprint


def test_a_typed_parameter_survives_json() -> None:
    there = msgspec.json.decode(msgspec.json.encode(cross()), type=bt.Strategy)
    assert there == cross()
    assert isinstance(there.params["fast"], bt.Param)


def test_a_broken_constraint_is_named_with_the_values() -> None:
    with pytest.raises(bt.StrategyError, match=r"constraints\[0\]: fast < slow does not hold: fast is 20 and slow is 10") as caught:
        cross().with_params(fast=20, slow=10)
    assert caught.value.code == "constraint"


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ("slow / fast >= 3", True),
        ("2 * fast < slow - 10 or slow == 30", True),
        ("not fast == 10", False),
        ("5 < fast < slow and -fast < 0", True),
        ("fast / 0 > 1 - slow", True),
        ("True", True),
        ("0 / (fast - 10) == 0", False),
        ("long and fast > 1", True),
    ],
)
def test_constraints_compare_values_of_params(constraint: str, holds: bool) -> None:
    with nullcontext() if holds else pytest.raises(bt.StrategyError, match="does not hold"):
        cross(params={"fast": 10, "slow": 30, "long": True}, constraints=[constraint])


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (["close > fast"], r"constraints\[0\]: close is not known before a run"),
        (["fast < slow", "fast < slwo"], r"constraints\[1\], column 8: unknown name 'slwo'; did you mean 'slow'\?"),
        (["fast + slow"], "expected a condition, got a number"),
        (["__import__(fast)"], "unknown function '__import__'"),
        ("fast < slow", "constraints: not a list"),
        ([3], "expected text, got 3"),
        (["fast < slow"] * 21, "at most 20"),
    ],
)
def test_an_invalid_constraint_is_rejected(constraints: Any, message: str) -> None:
    with pytest.raises(bt.StrategyError, match=message):
        cross(constraints=constraints)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "int", "default": 3, "min": 5}, "default: 3 is out of range; use at least 5"),
        ({"type": "int", "default": 3, "max": 2}, "default: 3 is out of range; use at most 2"),
        ({"type": "int", "default": 2.5}, "default: 2.5 is not an integer"),
        ({"type": "int", "default": True}, "default: expected a number, got True"),
        ({"type": "float", "default": "1"}, "default: expected a number, got '1'"),
        ({"type": "float", "default": float("nan")}, "default: the number is not finite"),
        ({"type": "int", "default": 10**400}, "default: the number is not finite or too large"),
        ({"type": "int", "default": 1, "min": 9, "max": 1}, "min: 9 is above max 1"),
        ({"type": "int", "default": 1, "step": 0}, "step: 0 is not positive"),
        ({"type": "bool", "default": 1}, "default: expected true or false, got 1"),
        ({"type": "bool", "default": True, "min": 0}, "min: a bool has no min"),
        ({"type": "choice", "default": 1}, "choices: 0 choices for the type choice"),
        ({"type": "choice", "default": 3, "choices": [1, 2]}, "default: 3 is not one of the choices; use one of 1, 2"),
        ({"type": "choice", "default": True, "choices": [1, 2]}, "default: True is not one of the choices"),
        ({"type": "int", "default": 1, "choices": [1, 2]}, "choices: 2 choices for the type int"),
    ],
)
def test_a_contradictory_parameter_is_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(bt.StrategyError, match=message):
        bt.Param(**fields)


def test_an_unknown_field_or_type_is_rejected_with_the_name_of_the_parameter() -> None:
    with pytest.raises(bt.StrategyError, match=r"params\.fast: .*unknown field `maximum`"):
        cross(params={"fast": {"type": "int", "default": 1, "maximum": 3}, "slow": 30})
    with pytest.raises(bt.StrategyError, match=r"params\.fast: Invalid enum value 'integer'"):
        cross(params={"fast": {"type": "integer", "default": 1}, "slow": 30})
    with pytest.raises(bt.StrategyError, match="type: unknown type 'integer'"):
        bt.Param(type="integer", default=1)  # type: ignore[arg-type]


def test_values_out_of_range_are_rejected_in_runs_and_searches() -> None:
    with pytest.raises(bt.StrategyError, match=r"params\.fast: 21 is out of range; use 5 to 20"):
        cross().with_params(fast=21)
    with pytest.raises(bt.StrategyError, match=r"grid\['fast'\]: 4 is out of range; use 5 to 20"):
        bt.sweep(bt.synthetic(300), cross(), {"fast": [4, 5]})
    with pytest.raises(bt.StrategyError, match="has no parameter 'fats'"):
        cross().with_params(fats=21)


def test_search_values_have_no_rounding_errors() -> None:
    assert bt.Param(type="float", default=0.1, min=0.1, max=0.5, step=0.1).search_values() == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert bt.Param(type="int", default=5, min=5, max=8).search_values() == (5, 6, 7, 8)
    assert bt.Param(type="int", default=5, min=5, max=9, step=3).search_values() == (5, 8)
    assert bt.Param(type="bool", default=True).search_values() == (False, True)
    assert bt.Param(type="choice", default=2, choices=(2, 9)).search_values() == (2, 9)
    assert bt.Param(type="int", default=5, min=5).search_values() is None
    with pytest.raises(bt.StrategyError, match="needs a step"):
        bt.Param(type="float", default=0.1, min=0.1, max=0.5).search_values()
    with pytest.raises(bt.StrategyError, match="use at most 10,000"):
        bt.Param(type="float", default=0.1, min=0, max=1e300, step=1e-300).search_values()


SPELLINGS: list[dict[str, Any]] = [
    {"entry_long": "  crossover( sma(close,fast),(sma(close, slow)) ) "},
    {"params": {"slow": 30, "fast": 10}},
    {"params": {"fast": 10.0, "slow": 3e1}},
    {"params": {"fast": FAST, "slow": 30}, "constraints": ["fast < 11"]},
]


@pytest.mark.parametrize("fields", SPELLINGS)
def test_equal_strategies_have_equal_hashes_and_fingerprints(fields: dict[str, Any]) -> None:
    bars = bt.synthetic(300)
    fields = {**{name: getattr(cross(), name) for name in cross().__struct_fields__}, **fields}
    other = bt.Strategy(**fields)
    assert other.hash == cross().hash
    assert bt.fingerprint(bars, other, bt.Execution()) == bt.fingerprint(bars, cross(), bt.Execution())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("close > 1e1 and (close > 2 and close > 3.50)", "close>10.0 and close > 2.0 and close > 3.5"),
        ("(close > 2 or close > 3) or not (close > 4)", "close > 2 or (close > 3 or not close > 4)"),
        ("close[1.0] > -(0)", "close[1] > -0.0"),
        ("close > 1_000 + 2", "(close) > (1e3 + 2)"),
    ],
)
def test_canonical_spelling_is_the_same_for_equal_expressions(one: str, other: str) -> None:
    bars = bt.synthetic(200)
    a, b = bt.Strategy(entry_long=one), bt.Strategy(entry_long=other)
    assert a.canonical() == b.canonical()
    again = bt.Strategy(**{name: value for name, value in a.canonical().items() if name == "entry_long"})
    assert bt.backtest(bars, a).digest == bt.backtest(bars, b).digest == bt.backtest(bars, again).digest


@pytest.mark.parametrize(
    "fields",
    [
        {"params": {"fast": 11, "slow": 30}},
        {"timeframe": "4h"},
        {"exit_long": ""},
        {"entry_long": "crossover(sma(close, slow), sma(close, fast))"},
        {"define": {"x": "close"}},
    ],
)
def test_strategies_that_differ_have_different_hashes(fields: dict[str, Any]) -> None:
    assert cross(constraints=[], **fields).hash != cross().hash


def test_true_and_one_are_not_the_same_value() -> None:
    one = bt.Strategy(entry_long="close > 1", params={"x": 1})
    true = bt.Strategy(entry_long="close > 1", params={"x": True})
    assert one.hash != true.hash


def test_the_warm_up_is_known_before_a_run_and_no_signal_comes_earlier() -> None:
    bars = bt.synthetic(300)
    strategy = bt.Strategy(entry_long="close > 0 and ema(close, 20)[5] > 0 and rsi(sma(close, 4), 7) > -1")
    assert strategy.warm_up_bars == 24
    always = bt.backtest(bars, strategy)
    assert always.trades.array["entry_index"][0] == 25


def test_zero_and_negative_zero_differ() -> None:
    bars = bt.synthetic(50)
    for x, trades in ((0.0, 0), (-0.0, 1)):
        assert len(bt.backtest(bars, bt.Strategy(entry_long="1 / x < 0", params={"x": x}), engine="python").trades) == trades
    together = bt.Strategy(entry_long="0.0 > 1 or 1 / -0.0 < 0")
    assert len(bt.backtest(bars, together, engine="python").trades) == 1


def test_a_parameter_may_be_named_self() -> None:
    strategy = bt.Strategy(entry_long="close > self", params={"self": 1.0})
    assert strategy.with_params(self=2.0).params == {"self": 2.0}
