"""Fingerprints differ exactly when an input differs."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given

import python_core as bt
from tests.property.cases import market_rules
from tests.property.inputs import MINUTE, MONDAY, history, random_masks, seeds, share, walk


@share(0.05)
@given(seed=seeds, execution=market_rules(calendar="crypto"))
def test_every_input_changes_the_fingerprint_and_no_spelling_does(seed: int, execution: bt.Execution) -> None:
    rng = np.random.default_rng(seed)
    n = 20
    prices, masks = walk(rng, n), random_masks(rng, n)
    bars, signals = history(prices), bt.Signals(*masks)
    known = {bt.fingerprint(bars, signals, execution)}

    def is_new(*inputs: Any) -> None:
        found = bt.fingerprint(*inputs)
        assert found not in known
        known.add(found)

    for name, value in OTHERS.items():
        if name == "stop_loss" or not (name == "trailing_activation" and execution.trailing_stop is None):
            is_new(bars, signals, msgspec.structs.replace(execution, **{**NEEDS.get(name, {}), name: value}))
    for k in range(4):
        changed = masks.copy()
        changed[k, int(rng.integers(0, n))] ^= True
        is_new(bars, bt.Signals(*changed), execution)
    for column in ("open", "close"):
        values = {name: getattr(bars, name).copy() for name in ("time", "open", "high", "low", "close", "volume")}
        i = int(rng.integers(0, n))
        values[column][i] = np.nextafter(values[column][i], (values["low"][i] + values["high"][i]) / 2)
        if values[column][i] != getattr(bars, column)[i]:
            is_new(bt.Bars(**values), signals, execution)
    values["volume"] = bars.volume + 1
    is_new(bt.Bars(**values), signals, execution)
    is_new(history(prices, funding=([MONDAY], [0.001])), signals, execution)
    is_new(history(prices, funding=([MONDAY], [0.002])), signals, execution)
    is_new(history(prices, mark=(bars.low, bars.high)), signals, execution)
    is_new(history(prices, mark=(bars.low, bars.high + 1)), signals, execution)
    is_new(history(prices, step=30 * MINUTE), signals, execution)
    is_new(bars, bt.Strategy(entry_long="close > open"), execution)
    # Whole numbers and floats, a copy, and another label are the same inputs.
    fields = msgspec.structs.asdict(execution)
    whole = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in fields.items()}
    same = bt.Bars(**{name: getattr(bars, name).copy() for name in values}, timeframe="60", symbol="OTHER")
    assert bt.fingerprint(same, bt.Signals(*masks.copy()), bt.Execution(**whole)) == bt.fingerprint(bars, signals, execution)


OTHERS: dict[str, Any] = {
    "initial_capital": 12_345,
    "commission": 0.0123,
    "slippage": 0.0123,
    "size": 0.123,
    "step": 0.0123,
    "min_notional": 12.3,
    "leverage": 12.3,
    "maintenance_margin": 0.0123,
    "pyramiding": 12,
    "stop_loss": 0.123,
    "take_profit": 0.123,
    "trailing_stop": 0.123,
    "trailing_activation": 0.123,
    "break_even_at": 0.123,
    "max_bars": 123,
    "partial_exits": ((0.123, 0.123),),
    "calendar": "exchange",
    "maker_fee": 0.0123,
    "order_fee": 0.0123,
    "tick": 0.0123,
    "limit_through": 0.0123,
    "entry_limit": 0.0123,
    "entry_stop": 0.0123,
    "entry_expires": 12,
    "trading_hours": ((12, 34),),
    "trading_days": (1, 2),
    "max_entries_per_day": 12,
    "cooldown": 12,
    "risk_free": 0.0123,
}
# What a rule needs besides its own value.
NEEDS: dict[str, dict[str, Any]] = {
    "entry_limit": {"fill": "next_open"},
    "entry_stop": {"fill": "next_open"},
    "entry_expires": {"fill": "next_open", "entry_stop": 0.01},
    "limit_through": {"take_profit": 0.01},
}


def test_a_maker_fee_like_the_commission_is_the_default() -> None:
    bars, strategy = bt.synthetic(50), bt.Strategy(entry_long="close > open")
    for commission in (0.0006, 0.01):
        same = [bt.fingerprint(bars, strategy, bt.Execution(commission=commission, maker_fee=fee)) for fee in (None, commission)]
        assert same[0] == same[1]


def test_every_field_has_another_value() -> None:
    assert set(OTHERS) | {"sizing", "fill", "intrabar", "flat_outside"} == set(bt.Execution().__struct_fields__)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("sizing", ["equity_fraction", "fixed_notional", "fixed_quantity", "risk"]),
        ("fill", ["next_open", "close"]),
        ("intrabar", ["pessimistic", "path", "optimistic"]),
        (
            "stop_loss",
            [None, 0.1, 0.2, bt.Atr(multiple=2), bt.Atr(multiple=3), bt.Atr(multiple=2, period=15), "low", "low * 0.9", "low * 0.99"],
        ),
        ("take_profit", [None, 0.1, 0.2, bt.Atr(multiple=2), "high", "high * 2"]),
        ("trailing_stop", [None, 0.1, 0.2, bt.Atr(multiple=2), "high - low", "high - close"]),
        ("partial_exits", [(), ((0.1, 0.5),), ((0.1, 0.6),), ((0.2, 0.5),), ((0.1, 0.5), (0.2, 0.5))]),
    ],
)
def test_every_choice_has_its_own_fingerprint(name: str, choices: list[Any]) -> None:
    bars = history(walk(np.random.default_rng(1), 9))
    signals = bt.Signals(entry_long=bars.close > bars.open)
    base = {"stop_loss": 0.5} if name == "sizing" else {}
    found = [bt.fingerprint(bars, signals, bt.Execution(**{**base, name: choice})) for choice in choices]
    assert len(set(found)) == len(choices)
    respelled = {"low * 0.9": " low*0.90", "high * 2": "(high) * 2.0", "high - low": "high-low"}
    for choice, other in respelled.items():
        if choice in choices:
            assert bt.fingerprint(bars, signals, bt.Execution(**{name: other})) == found[choices.index(choice)]


def test_inputs_that_can_not_be_run_have_no_fingerprint() -> None:
    bars, strategy = bt.synthetic(50), bt.Strategy(entry_long="close > open")
    short = bt.Signals(entry_long=[True] * 49)
    for inputs, words in (
        ((None, strategy, bt.Execution()), "bars: expected Bars, got NoneType"),
        ((bars, strategy, {}), "execution: expected Execution, got dict"),
        ((bars, "close > open", bt.Execution()), "strategy: expected Strategy or Signals, got str"),
        ((bars, short, bt.Execution()), "signals: got 49 values for 50 bars"),
    ):
        with pytest.raises(bt.BarstormError, match=words):
            bt.fingerprint(*inputs)  # type: ignore[arg-type]
