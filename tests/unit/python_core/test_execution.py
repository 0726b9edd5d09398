"""Execution rules are checked, frozen, and unchanged by a round trip through JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt

BAD: list[tuple[dict[str, Any], str]] = [
    ({"initial_capital": 0}, "initial_capital: 0 is out of range; use a finite number greater than 0"),
    ({"initial_capital": -5.5}, "initial_capital: -5.5 is out of range; use a finite number greater than 0"),
    ({"initial_capital": float("nan")}, "initial_capital: nan is out of range; use a finite number greater than 0"),
    ({"initial_capital": float("inf")}, "initial_capital: inf is out of range; use a finite number greater than 0"),
    ({"initial_capital": 10**400}, "initial_capital: a number too large for float64 is out of range; use a finite number greater than 0"),
    ({"initial_capital": 10**9999}, "initial_capital: a number too large for float64 is out of range; use a finite number greater than 0"),
    ({"initial_capital": True}, "initial_capital: expected a number, got True; use a finite number greater than 0"),
    ({"initial_capital": "1000"}, "initial_capital: expected a number, got '1000'; use a finite number greater than 0"),
    ({"initial_capital": None}, "initial_capital: expected a number, got None; use a finite number greater than 0"),
    ({"initial_capital": [1000]}, "initial_capital: expected a number, got [1000]; use a finite number greater than 0"),
    ({"commission": -0.001}, "commission: -0.001 is out of range; use a finite number at least 0 and below 1"),
    ({"commission": 1}, "commission: 1 is out of range; use a finite number at least 0 and below 1"),
    ({"slippage": 1.5}, "slippage: 1.5 is out of range; use a finite number at least 0 and below 1"),
    ({"size": 0}, "size: 0 is out of range; use a finite number greater than 0"),
    ({"size": 1.5}, "size: 1.5 is more than the whole equity; use a fraction up to 1; to trade more, set leverage"),
    (
        {"sizing": "risk", "size": 2, "stop_loss": 0.1},
        "size: 2 is more than the whole equity; use a fraction up to 1; to trade more, set leverage",
    ),
    ({"sizing": "risk"}, "sizing: risk sizing needs a stop loss; set stop_loss"),
    ({"sizing": "all"}, "sizing: unknown value 'all'; use one of equity_fraction, fixed_notional, fixed_quantity, risk"),
    ({"fill": "open"}, "fill: unknown value 'open'; use one of next_open, close"),
    ({"intrabar": None}, "intrabar: unknown value None; use one of pessimistic, path, optimistic"),
    ({"calendar": ["crypto"]}, "calendar: unknown value ['crypto']; use one of crypto, exchange"),
    ({"step": -1}, "step: -1 is out of range; use a finite number at least 0"),
    ({"min_notional": -1}, "min_notional: -1 is out of range; use a finite number at least 0"),
    ({"leverage": 0.5}, "leverage: 0.5 is out of range; use a finite number at least 1 and at most 1000"),
    ({"leverage": 1001}, "leverage: 1001 is out of range; use a finite number at least 1 and at most 1000"),
    ({"maintenance_margin": 1}, "maintenance_margin: 1 is out of range; use a finite number at least 0 and below 1"),
    (
        {"leverage": 10, "maintenance_margin": 0.1},
        "maintenance_margin: 0.1 is too high for leverage 10; use less than 1 / leverage = 0.1",
    ),
    ({"pyramiding": 0}, "pyramiding: 0 is out of range; use a whole number from 1 to 1000"),
    ({"pyramiding": 1.0}, "pyramiding: 1.0 is out of range; use a whole number from 1 to 1000"),
    ({"pyramiding": True}, "pyramiding: True is out of range; use a whole number from 1 to 1000"),
    ({"max_bars": 0}, "max_bars: 0 is out of range; use a whole number from 1 to 2147483647"),
    ({"max_bars": 10**400}, "max_bars: a number too large for float64 is out of range; use a whole number from 1 to 2147483647"),
    ({"stop_loss": 0}, "stop_loss: 0 is out of range; use a finite number greater than 0 and below 1"),
    ({"stop_loss": 1}, "stop_loss: 1 is out of range; use a finite number greater than 0 and below 1"),
    ({"stop_loss": ""}, "stop_loss: the expression has 0 characters; use 1 to 2000"),
    ({"stop_loss": "x" * 2001}, "stop_loss: the expression has 2001 characters; use 1 to 2000"),
    ({"stop_loss": {"multiple": 2}}, "stop_loss: expected a number, got {'multiple': 2}; use a finite number greater than 0 and below 1"),
    ({"take_profit": -0.1}, "take_profit: -0.1 is out of range; use a finite number greater than 0"),
    ({"trailing_stop": 2}, "trailing_stop: 2 is out of range; use a finite number greater than 0 and below 1"),
    ({"trailing_activation": 0.1}, "trailing_activation: there is no trailing stop to activate; set trailing_stop"),
    ({"trailing_stop": 0.1, "trailing_activation": 0}, "trailing_activation: 0 is out of range; use a finite number greater than 0"),
    ({"break_even_at": 0}, "break_even_at: 0 is out of range; use a finite number greater than 0"),
    ({"partial_exits": None}, "partial_exits: expected a list, got None; use a list of (profit fraction, share of the quantity)"),
    ({"partial_exits": 5}, "partial_exits: expected a list, got 5; use a list of (profit fraction, share of the quantity)"),
    ({"partial_exits": (0.1, 0.5)}, "partial_exits[0]: expected a pair, got 0.1; use a list of (profit fraction, share of the quantity)"),
    ({"partial_exits": ((0.1,),)}, "partial_exits[0]: expected a pair, got (0.1,); use a list of (profit fraction, share of the quantity)"),
    ({"partial_exits": ((0, 0.5),)}, "partial_exits[0]: 0 is out of range; use a finite number greater than 0"),
    ({"partial_exits": ((0.1, 1.5),)}, "partial_exits[0]: 1.5 is out of range; use a finite number greater than 0 and at most 1"),
    (
        {"partial_exits": ((0.1, 0.5), (0.1, 0.5))},
        "partial_exits[1]: profit 0.1 is not above the one before, 0.1; sort by profit",
    ),
    ({"partial_exits": ((0.1, 0.6), (0.2, 0.6))}, "partial_exits: the shares add up to 1.2; they may add up to at most 1"),
    ({"partial_exits": tuple((i, 0.01) for i in range(1, 18))}, "partial_exits: 17 partial exits; use at most 16"),
]


@pytest.mark.parametrize(("fields", "words"), BAD, ids=[words.partition(";")[0][:60] for _, words in BAD])
def test_invalid_rules_are_rejected_with_field_and_hint(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.ExecutionError) as caught:
        bt.Execution(**fields)
    assert str(caught.value) == words
    assert caught.value.code == "invalid_execution"
    assert caught.value.where in words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"multiple": 0}, "atr.multiple: 0 is out of range; use a finite number greater than 0"),
        ({"multiple": float("nan")}, "atr.multiple: nan is out of range; use a finite number greater than 0"),
        ({"multiple": 2, "period": 0}, "atr.period: 0 is out of range; use a whole number from 1 to 10000"),
        ({"multiple": 2, "period": 2.0}, "atr.period: 2.0 is out of range; use a whole number from 1 to 10000"),
    ],
)
def test_atr_distances_are_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(bt.ExecutionError) as caught:
        bt.Atr(**fields)
    assert str(caught.value) == words


FULL = bt.Execution(
    initial_capital=5000,
    commission=0.001,
    slippage=0.0005,
    sizing="risk",
    size=0.01,
    step=0.001,
    min_notional=5,
    leverage=3,
    maintenance_margin=0.01,
    pyramiding=2,
    fill="close",
    intrabar="path",
    stop_loss=bt.Atr(multiple=2, period=10),
    take_profit="high * 1.05",
    trailing_stop=0.05,
    trailing_activation=0.02,
    break_even_at=0.01,
    max_bars=48,
    partial_exits=((0.02, 0.5), (0.04, 0.25)),
    calendar="exchange",
)


def test_json_preserves_every_field() -> None:
    assert all(getattr(FULL, name) != getattr(bt.Execution(), name) for name in FULL.__struct_fields__), "set every field above"
    assert msgspec.json.decode(msgspec.json.encode(FULL), type=bt.Execution) == FULL


def test_json_is_checked_by_the_same_rules() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `stoploss`"):
        msgspec.json.decode(b'{"stoploss": 0.1}', type=bt.Execution)
    with pytest.raises(msgspec.ValidationError, match=r"add up to 1\.2"):
        msgspec.json.decode(b'{"partial_exits": [[0.1, 0.6], [0.2, 0.6]]}', type=bt.Execution)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"partial_exits": [[0.1, 0.5]]}, {"partial_exits": ((0.1, 0.5),)}),
        ({"partial_exits": [(1, 1)]}, {"partial_exits": ((1.0, 1.0),)}),
        ({"initial_capital": np.float64(5000)}, {"initial_capital": 5000.0}),
        ({"stop_loss": np.float64(0.1)}, {"stop_loss": 0.1}),
    ],
    ids=str,
)
def test_lists_and_numpy_floats_are_converted(given: dict[str, Any], meant: dict[str, Any], engine: str) -> None:
    bars = bt.synthetic(bars=300)
    signals = bt.Signals(entry_long=bars.close > bars.open)
    a, b = (bt.simulate(bars, signals, bt.Execution(**fields), engine=engine) for fields in (given, meant))
    assert (a.fingerprint, a.digest) == (b.fingerprint, b.digest)


def test_rules_are_frozen_and_hashable() -> None:
    with pytest.raises(AttributeError):
        FULL.initial_capital = 1  # type: ignore[misc]
    assert len({FULL, msgspec.structs.replace(FULL), bt.Execution(partial_exits=[[0.1, 0.5]])}) == 2  # type: ignore[arg-type]


def test_an_expression_of_a_stop_is_checked_at_the_run(engine: str) -> None:
    bars = bt.synthetic(bars=100)
    signals = bt.Signals(entry_long=bars.close > bars.open)
    for text, words in (
        ("clos * 2", "execution.stop_loss, column 1: unknown name 'clos'; did you mean 'close'?"),
        ("close > 2", "execution.stop_loss, column 1: expected a number, got a condition; use a price"),
    ):
        with pytest.raises(bt.StrategyError) as caught:
            bt.simulate(bars, signals, bt.Execution(stop_loss=text), engine=engine)
        assert str(caught.value) == words
