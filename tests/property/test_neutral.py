"""Rules that never bind, and other ways to give the same rules, change nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given

import python_core as bt
from python_core.execution import RESTING
from tests.property.cases import Case, arguments, signal_cases
from tests.property.inputs import engines, share

NEVER: dict[str, Any] = {
    "trading_hours": (("00:00", "12:00"), ("12:00", "00:00")),
    "trading_days": (0, 1, 2, 3, 4, 5, 6),
    "max_entries_per_day": 1_000,
    "max_bars": 1_000_000,
    "break_even_at": 1e9,
    "min_notional": 1e-12,
}


@share(0.3)
@given(engine=engines, case=signal_cases())
def test_rules_that_never_bind_change_nothing(engine: str, case: Case) -> None:
    rules = case.execution
    unset = {name: value for name, value in NEVER.items() if getattr(rules, name) in (None, 0)}
    if rules.trading_hours is None and rules.trading_days is None:
        unset["flat_outside"] = True
    if rules.maker_fee is None:
        unset["maker_fee"] = rules.commission
    assert case.run(engine).digest == case._replace(execution=msgspec.structs.replace(rules, **unset)).run(engine).digest


@share(0.3)
@given(engine=engines, case=signal_cases())
def test_a_level_of_both_sides_is_that_level_for_each(engine: str, case: Case) -> None:
    rules = case.execution
    names = ("stop_loss", "take_profit", "trailing_stop", *RESTING)
    levels = {name: getattr(rules, name) for name in names}
    sides = {name: {"long": level, "short": level} for name, level in levels.items() if level and not isinstance(level, bt.PerSide)}
    other = case._replace(execution=msgspec.structs.replace(rules, **sides))
    a, b = case.run(engine), other.run(engine)
    assert (a.digest, a.fingerprint) == (b.digest, b.fingerprint)


@pytest.mark.parametrize("name", RESTING)
@share(0.3)
@given(engine=engines, case=signal_cases())
def test_a_fraction_of_the_close_is_that_price_for_each_side(name: str, engine: str, case: Case) -> None:
    bars, signals, rules, _, _ = case
    assert isinstance(signals, bt.Signals)
    assume(all(getattr(rules, resting) is None and resting not in signals.shape.levels for resting in RESTING))
    sign = -1.0 if name == "entry_limit" else 1.0
    prices = {"long": bars.close * (1.0 + sign * 0.01), "short": bars.close * (1.0 - sign * 0.01)}
    rules = msgspec.structs.replace(rules, fill="next_open", entry_expires=3)
    a = case._replace(program=bt.Signals(**arguments(signals), **{name: prices}), execution=rules).run(engine)
    b = case._replace(execution=msgspec.structs.replace(rules, **{name: 0.01})).run(engine)
    assert a.digest == b.digest
