"""Prices and money in other units, and mirrored prices, give the same results in other units and mirrored."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, note
from hypothesis import strategies as st

import python_core as bt
from python_core.engine.result import Counts
from python_core.execution import LEVELS, RESTING
from python_core.levels import SIDES
from tests.property.cases import GIVEN, Case, arguments, signal_cases, strategy_cases
from tests.property.inputs import MONEY, engines, history, intrabars, random_masks, seeds, share, ticks

cases = st.one_of(signal_cases(), strategy_cases(st.sampled_from(["close > close[1]", "close < open", "crossover(close, sma(close, 3))"])))


@share(1)
@given(case=cases, engine=engines, price=st.sampled_from([1.0, 2.0, 0.5, 2.0**-10]), money=st.sampled_from([1.0, 2.0, 0.25]))
def test_other_units_of_price_and_money_change_nothing_but_units(case: Case, engine: str, price: float, money: float) -> None:
    """Powers of two, so that every float scales exactly. A unit of quantity is one of money over one of price."""
    note(str(case.execution))
    once, other = case.run(engine), in_units(case, price, money).run(engine)
    np.testing.assert_array_equal(other.equity, money * once.equity)
    a, b = once.trades.array, other.trades.array
    units = {**dict.fromkeys(MONEY, money), "entry_price": price, "exit_price": price, "quantity": money / price}
    for name in a.dtype.names:
        np.testing.assert_array_equal(b[name], units.get(name, 1) * a[name], name)
    for name in Counts._fields:
        assert getattr(other, name) == getattr(once, name), name
    for name in ("sharpe", "max_drawdown", "turnover", "exposure", "profit_factor"):
        assert getattr(other.metrics, name) == getattr(once.metrics, name), name


def in_units(case: Case, price: float, money: float) -> Case:
    """The same case with prices and money in other units."""
    bars, program, rules, start, warm_up_from = case
    size = {"fixed_notional": money, "fixed_quantity": money / price}.get(rules.sizing, 1.0)
    units = {"initial_capital": money, "order_fee": money, "min_notional": money, "tick": price, "step": money / price}
    fields = {name: unit * getattr(rules, name) for name, unit in units.items()}
    fields |= {name: level_in_units(getattr(rules, name), price) for name in LEVELS}
    if isinstance(program, bt.Signals):
        given = arguments(program)
        for name in set(LEVELS) & set(given):
            given[name] = {side: None if values is None else price * values for side, values in given[name].items()}
        if program.size is not None:
            given["size"] = size * program.size
        program = bt.Signals(**given)
    if not isinstance(program, bt.Signals) or program.size is None:
        fields["size"] = size * rules.size
    prices = (price * column for column in (bars.open, bars.high, bars.low, bars.close))
    mark = None if bars.mark is None else (price * bars.mark[0], price * bars.mark[1])
    other = bt.Bars(bars.time, *prices, bars.volume, timeframe=bars.timeframe, funding=bars.funding, mark=mark)
    return Case(other, program, msgspec.structs.replace(rules, **fields), start, warm_up_from)


def level_in_units(level: Any, price: float) -> Any:
    """A level with the amounts that its expression adds in another unit; fractions and multiples of an ATR have none."""
    if isinstance(level, bt.PerSide):
        return bt.PerSide(long=level_in_units(level.long, price), short=level_in_units(level.short, price))
    if isinstance(level, str):
        return re.sub(r"(?<=[+-] )\d+", lambda amount: repr(price * int(amount[0])), level)
    return level


distances = st.sampled_from([None, *(bt.Atr(multiple=multiple, period=1) for multiple in (0.75, 1, 2))])


def each_side(levels: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Levels of both sides, of each side, or of the signals."""
    sides = st.builds(lambda long, short: bt.PerSide(long=long, short=short), levels, levels)
    return st.one_of(levels, sides.filter(lambda level: level.long or level.short), st.just(GIVEN))


mirrored_rules = st.fixed_dictionaries(
    {
        "order_fee": st.sampled_from([0.0, 2.0]),
        "tick": st.sampled_from([0.0, 0.5]),
        "pyramiding": st.sampled_from([1, 1, 2]),
        "intrabar": intrabars,
        "stop_loss": each_side(distances),
        "take_profit": each_side(distances),
        "trailing_stop": each_side(distances),
        "max_bars": st.sampled_from([None, None, 1, 7]),
        "trading_hours": st.sampled_from([None, None, (("22:00", "16:00"),)]),
        "max_entries_per_day": st.sampled_from([None, None, 2]),
        "cooldown": st.sampled_from([0, 0, 3]),
    }
)


@share(0.5)
@given(
    seed=seeds,
    engine=engines,
    rules=mirrored_rules,
    entry=st.sampled_from(["next_open", "close", *RESTING]),
    expires=st.sampled_from([1, 4]),
    with_sizes=st.booleans(),
)
def test_a_short_equals_a_long_on_mirrored_prices(
    seed: int, engine: str, rules: dict[str, Any], entry: str, expires: int, with_sizes: bool
) -> None:
    """Prices p become 200 - p, long becomes short. Levels on quarters and no relative costs make it exact; at leverage 1 nothing is liquidated."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    prices, masks = ticks(rng, n), random_masks(rng, n)
    open_, high, low, close = prices
    given = {name for name, level in rules.items() if level == GIVEN}
    levels: dict[str, Any] = {}
    for name in (*sorted(given), *({entry} & set(RESTING))):
        below = -1 if name in ("stop_loss", "entry_limit") else 1
        # The halves keep the two resting entries from being equally near to the open: the long one would win.
        long, short = (rng.integers(-1, 8, n) + half for half in (0.0, 0.5 if name in RESTING else 0.0))
        if name != "trailing_stop":
            long, short = close + below * long, close - below * short
        levels[name] = {
            side: np.where(rng.random(n) < 0.1, rng.choice([np.nan, 0, np.inf], n), values)
            for side, values in zip(SIDES, (long, short), strict=True)
        }
    sizes = rng.choice([1.0, 3.0], n) if with_sizes else None
    fields = {name: level for name, level in rules.items() if name not in given}
    fields |= {"entry_expires": expires} if entry in RESTING else {"fill": entry}
    execution = bt.Execution(initial_capital=1_000_000, commission=0, sizing="fixed_quantity", **fields)
    mirrored_levels = {name: {"long": mirror(name, sides["short"]), "short": mirror(name, sides["long"])} for name, sides in levels.items()}
    swapped = {
        name: bt.PerSide(long=level.short, short=level.long) for name in LEVELS if isinstance(level := getattr(execution, name), bt.PerSide)
    }
    long = bt.simulate(history(prices), bt.Signals(*masks, size=sizes, **levels), execution, engine=engine)
    short = bt.simulate(
        history(np.array([200 - open_, 200 - low, 200 - high, 200 - close])),
        bt.Signals(*masks[[2, 3, 0, 1]], size=sizes, **mirrored_levels),
        msgspec.structs.replace(execution, **swapped),
        engine=engine,
    )
    a, b = long.trades.array, short.trades.array
    for name in ("entry_index", "exit_index", "reason", "quantity", "fees"):
        np.testing.assert_array_equal(b[name], a[name], name)
    np.testing.assert_array_equal(b["side"], -a["side"])
    for name in ("entry_price", "exit_price"):
        np.testing.assert_allclose(b[name], 200 - a[name], rtol=1e-13)
    np.testing.assert_allclose(b["net"], a["net"], atol=1e-10)
    np.testing.assert_allclose(b["mae"] * b["entry_price"], a["mae"] * a["entry_price"], atol=1e-10)
    np.testing.assert_allclose(b["mfe"] * b["entry_price"], a["mfe"] * a["entry_price"], atol=1e-10)
    np.testing.assert_allclose(short.equity, long.equity, rtol=1e-13)
    for name in Counts._fields:
        assert getattr(short, name) == getattr(long, name), name


def mirror(name: str, level: np.ndarray) -> np.ndarray:
    """A level of mirrored prices; distances, and numbers that are no level, stay."""
    return level if name == "trailing_stop" else np.where(level == 0, 0, 200 - level)
