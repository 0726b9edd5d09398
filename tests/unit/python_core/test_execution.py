"""Execution rules are checked, frozen, and unchanged by a round trip through JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt

HOURS = 'use 1 to 16 pairs of from and to, such as [("09:30", "16:00")]'
LEVEL = 'use a number, an expression, {"multiple": 2, "period": 14}, or {"long": ..., "short": ...} of these'
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
    ({"maker_fee": -0.0001}, "maker_fee: -0.0001 is out of range; use a finite number at least 0 and below 1"),
    ({"maker_fee": 1}, "maker_fee: 1 is out of range; use a finite number at least 0 and below 1"),
    ({"order_fee": -1}, "order_fee: -1 is out of range; use a finite number at least 0"),
    ({"tick": -0.01}, "tick: -0.01 is out of range; use a finite number at least 0"),
    ({"tick": float("inf")}, "tick: inf is out of range; use a finite number at least 0"),
    ({"limit_through": 1}, "limit_through: 1 is out of range; use a finite number at least 0 and below 1"),
    ({"risk_free": -1}, "risk_free: -1 is out of range; use a finite number greater than -1"),
    ({"entry_limit": 1}, "entry_limit: 1 is out of range; use a finite number greater than 0 and below 1"),
    ({"entry_stop": {"long": 0}}, "entry_stop.long: 0 is out of range; use a finite number greater than 0 and below 1"),
    ({"entry_limit": 0.01, "entry_stop": 0.01}, "entry_stop: entry_limit is set, too; use one of the two"),
    ({"entry_stop": 0.01, "fill": "close"}, 'entry_stop: entries that rest don\'t fill at a close; use fill="next_open"'),
    ({"entry_expires": 0}, "entry_expires: 0 is out of range; use a whole number from 1 to 2147483647"),
    ({"cooldown": -1}, "cooldown: -1 is out of range; use a whole number from 0 to 2147483647"),
    ({"max_entries_per_day": 0}, "max_entries_per_day: 0 is out of range; use a whole number from 1 to 2147483647"),
    ({"flat_outside": True}, "flat_outside: there is no time to be outside of; set trading_hours or trading_days"),
    ({"flat_outside": 1}, "flat_outside: unknown value 1; use true or false"),
    ({"trading_hours": []}, f"trading_hours: expected a list of pairs, got []; {HOURS}"),
    ({"trading_hours": ("09:30", "16:00")}, f"trading_hours[0]: expected a pair, got '09:30'; {HOURS}"),
    ({"trading_hours": [("09:30", "09:30")]}, f"trading_hours[0]: it ends where it begins, 09:30; {HOURS}"),
    ({"trading_hours": [("09:30", 570)]}, f"trading_hours[0]: it ends where it begins, 09:30; {HOURS}"),
    (
        {"trading_hours": [("24:00", "9:00")]},
        "trading_hours[0]: '24:00' is not a time of day; use 00:00 (also for the end of a day) to 23:59, or minutes from 0 to 1439",
    ),
    (
        {"trading_hours": [(0, 1440)]},
        "trading_hours[0]: 1440 is not a time of day; use 00:00 (also for the end of a day) to 23:59, or minutes from 0 to 1439",
    ),
    ({"trading_hours": [(0, 1)] * 17}, "trading_hours: 17 pairs; use at most 16"),
    ({"trading_days": ()}, "trading_days: expected a list of days, got (); use a list of 1 to 7 days, 0 (Monday) to 6 (Sunday)"),
    ({"trading_days": [7]}, "trading_days[0]: 7 is out of range; use a whole number from 0 to 6"),
    ({"trading_days": [0.0]}, "trading_days[0]: 0.0 is out of range; use a whole number from 0 to 6"),
    ({"sizing": "all"}, "sizing: unknown value 'all'; use one of equity_fraction, fixed_notional, fixed_quantity, risk"),
    ({"fill": "open"}, "fill: unknown value 'open'; use one of next_open, close"),
    ({"intrabar": None}, "intrabar: unknown value None; use one of pessimistic, path, optimistic"),
    ({"calendar": ["crypto"]}, "calendar: unknown value ['crypto']; use one of crypto, exchange, fx"),
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
    ({"stop_loss": {"multiple": 0}}, "stop_loss.multiple: 0 is out of range; use a finite number greater than 0"),
    ({"stop_loss": {"long": {"multiple": -1}}}, "stop_loss.long.multiple: -1 is out of range; use a finite number greater than 0"),
    ({"entry_limit": {"short": {"multiplier": 2}}}, f"entry_limit.short: {{'multiplier': 2}} is not a level; {LEVEL}"),
    ({"stop_loss": {"multiplier": 2}}, f"stop_loss: {{'multiplier': 2}} is not a level; {LEVEL}"),
    ({"stop_loss": {}}, f"stop_loss: {{}} is not a level; {LEVEL}"),
    ({"stop_loss": {"long": None}}, "stop_loss: neither side has a level; give a level for at least one side, or none at all"),
    ({"stop_loss": {"long": 1, "short": 0.1}}, "stop_loss.long: 1 is out of range; use a finite number greater than 0 and below 1"),
    ({"take_profit": {"short": ""}}, "take_profit.short: the expression has 0 characters; use 1 to 2000"),
    ({"take_profit": -0.1}, "take_profit: -0.1 is out of range; use a finite number greater than 0"),
    ({"trailing_stop": 2}, "trailing_stop: 2 is out of range; use a finite number greater than 0 and below 1"),
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
    maker_fee=0.0002,
    order_fee=1,
    tick=0.01,
    limit_through=0.001,
    trading_hours=(("09:30", "16:00"), ("22:00", "02:00")),
    trading_days=(0, 1, 2),
    flat_outside=True,
    max_entries_per_day=3,
    cooldown=2,
    risk_free=0.02,
)
RESTING = bt.Execution(
    entry_limit={"long": 0.01, "short": {"multiple": 1}},
    stop_loss=bt.PerSide(long="low", short="high"),
    take_profit={"short": 2},
    entry_expires=5,
)
RESTING_AT_STOPS = bt.Execution(entry_stop=bt.PerSide(long=None, short="high + 1"))


def test_json_preserves_every_field() -> None:
    default = bt.Execution()
    differing = {
        name
        for rules in (FULL, RESTING, RESTING_AT_STOPS)
        for name in rules.__struct_fields__
        if getattr(rules, name) != getattr(default, name)
    }
    assert differing == set(default.__struct_fields__), "set every field above"
    for rules in (FULL, RESTING, RESTING_AT_STOPS):
        assert msgspec.json.decode(msgspec.json.encode(rules), type=bt.Execution) == rules


def test_hours_are_kept_as_minutes_of_the_day() -> None:
    assert FULL.trading_hours == ((570, 960), (1320, 120))


def test_a_level_for_each_side_is_that_of_the_side() -> None:
    assert RESTING.level("entry_limit", "long") == 0.01
    assert RESTING.level("entry_limit", "short") == bt.Atr(multiple=1)
    assert (RESTING.level("take_profit", "long"), RESTING.level("take_profit", "short")) == (None, 2)
    assert (FULL.level("trailing_stop", "long"), FULL.level("trailing_stop", "short")) == (0.05, 0.05)


def test_the_maker_rate_is_the_commission_unless_it_is_set() -> None:
    assert bt.Execution(commission=0.003).maker_rate == 0.003
    assert bt.Execution(commission=0.003, maker_fee=0).maker_rate == 0


STOP = "set stop_loss"


@pytest.mark.parametrize(
    ("fields", "signals", "words"),
    [
        ({"sizing": "risk"}, {}, f"sizing: risk sizing needs a stop loss for long entries; {STOP}"),
        ({"sizing": "risk", "stop_loss": {"short": 0.1}}, {}, f"sizing: risk sizing needs a stop loss for long entries; {STOP}"),
        ({"sizing": "risk"}, {"stop_loss": {"short": [1.0]}}, f"sizing: risk sizing needs a stop loss for long entries; {STOP}"),
        ({"trailing_activation": 0.1}, {}, "trailing_activation: there is no trailing stop to activate; set trailing_stop"),
        (
            {"entry_expires": 2},
            {},
            "entry_expires: there is no resting entry that expires after 2 bars; set entry_limit or entry_stop",
        ),
        (
            {"limit_through": 0.01, "entry_stop": 0.01},
            {},
            "limit_through: there is no limit to go through by 0.01; set entry_limit, take_profit or partial_exits",
        ),
        (
            {"stop_loss": 0.1},
            {"stop_loss": [1.0]},
            "stop_loss: the signals have it, too; give it either in the execution or in the signals",
        ),
        (
            {"size": 0.5},
            {"size": [0.5]},
            "size: the signals have sizes, too, besides 0.5; give it either in the execution or in the signals",
        ),
        ({}, {"size": [1.5]}, "size: bar 0 has 1.5, more than the whole equity; use fractions up to 1; to trade more, set leverage"),
        ({"entry_limit": 0.1}, {"entry_stop": [1.0]}, "entry_stop: entry_limit is set, too; use one of the two"),
        ({}, {"entry_stop": [1.0], "entry_limit": [1.0]}, "entry_stop: entry_limit is set, too; use one of the two"),
        ({"fill": "close"}, {"entry_limit": [1.0]}, 'entry_limit: entries that rest don\'t fill at a close; use fill="next_open"'),
    ],
    ids=str,
)
def test_rules_that_contradict_each_other_or_the_signals_are_rejected(
    fields: dict[str, Any], signals: dict[str, Any], words: str, engine: str
) -> None:
    bars = bt.synthetic(bars=1)
    program = bt.Signals(entry_long=[True], **signals)
    with pytest.raises(bt.BarstormError) as caught:
        bt.simulate(bars, program, bt.Execution(**fields), engine=engine)
    assert str(caught.value) == words
    if not signals:
        with pytest.raises(bt.ExecutionError):
            bt.backtest(bars, bt.Strategy(entry_long="close > 1"), bt.Execution(**fields), engine=engine)


@pytest.mark.parametrize(
    ("fields", "signals"),
    [
        ({"sizing": "risk", "size": 0.1}, {"stop_loss": [1.0]}),
        ({"sizing": "risk", "size": 0.1, "stop_loss": {"long": 0.1}}, {}),
        ({"trailing_activation": 0.1}, {"trailing_stop": [1.0]}),
        ({"limit_through": 0.1, "entry_expires": 3}, {"entry_limit": {"long": [1.0]}}),
        ({"limit_through": 0.1, "take_profit": 0.1}, {}),
        ({"limit_through": 0.1, "partial_exits": [(0.1, 1)]}, {}),
        ({"sizing": "fixed_quantity"}, {"size": [5.0]}),
    ],
    ids=str,
)
def test_the_signals_may_bring_what_a_rule_needs(fields: dict[str, Any], signals: dict[str, Any]) -> None:
    bt.fingerprint(bt.synthetic(bars=1), bt.Signals(entry_long=[True], **signals), bt.Execution(**fields))


@pytest.mark.parametrize(
    "same",
    [
        [{"stop_loss": 0.1}, {"stop_loss": {"long": 0.1, "short": 0.1}}, {"stop_loss": bt.PerSide(long=0.1, short=np.float64(0.1))}],
        [{"take_profit": 1}, {"take_profit": 1.0}, {"take_profit": {"long": 1, "short": 1.0}}],
        [{"stop_loss": "low*0.9"}, {"stop_loss": {"long": "low * 0.90", "short": "low * 0.9"}}],
        [{"entry_limit": bt.Atr(multiple=2)}, {"entry_limit": {"multiple": 2.0, "period": 14}}],
        [{"entry_stop": {"short": 0.1}}, {"entry_stop": {"long": None, "short": 0.1}}],
        [{"trading_hours": [("09:30", "16:00"), (0, 5)]}, {"trading_hours": [("00:00", "00:05"), ("09:30", "16:00")]}],
        [{"trading_days": [0, 2]}, {"trading_days": (2, 0, 0)}],
        [{"order_fee": 1, "tick": 2}, {"order_fee": 1.0, "tick": 2.0}],
    ],
    ids=str,
)
def test_spellings_of_the_same_rules_have_one_fingerprint_and_differ_from_the_default(same: list[dict[str, Any]]) -> None:
    bars, strategy = bt.synthetic(bars=1), bt.Strategy(entry_long="close > 1")
    found = {bt.fingerprint(bars, strategy, bt.Execution(**fields)) for fields in same}
    assert len(found) == 1
    assert bt.fingerprint(bars, strategy, bt.Execution()) not in found


def test_a_level_of_one_side_has_its_own_fingerprint() -> None:
    bars, strategy = bt.synthetic(bars=1), bt.Strategy(entry_long="close > 1")
    levels = [0.1, {"long": 0.1}, {"short": 0.1}, {"long": 0.1, "short": 0.2}, {"long": 0.2, "short": 0.1}]
    assert len({bt.fingerprint(bars, strategy, bt.Execution(stop_loss=level)) for level in levels}) == len(levels)


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
        ({"commission": np.float32(0.125)}, {"commission": 0.125}),
        ({"pyramiding": np.int64(3), "max_bars": np.uint8(9)}, {"pyramiding": 3, "max_bars": 9}),
        ({"stop_loss": bt.Atr(multiple=np.float32(2), period=np.int16(3))}, {"stop_loss": bt.Atr(multiple=2, period=3)}),
        ({"partial_exits": [(np.float32(0.5), np.int64(1))]}, {"partial_exits": ((0.5, 1.0),)}),
    ],
    ids=str,
)
def test_lists_and_numpy_numbers_are_converted(given: dict[str, Any], meant: dict[str, Any], engine: str) -> None:
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
