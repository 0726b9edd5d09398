"""Related inputs give related results: prices in other units, mirrored, split into finer bars, or extended."""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

import python_core as bt
from python_core.engine.result import Counts
from python_core.execution import LEVELS
from python_core.levels import SIDES
from python_core.trades import LIQUIDATION
from tests.property.cases import RESTING, Case, arguments, market_rules, signal_cases, strategy_cases
from tests.property.inputs import (
    MINUTE,
    MONDAY,
    MONEY,
    NAMES,
    engines,
    fills,
    history,
    intrabars,
    random_masks,
    seeds,
    share,
    ticks,
    walk,
)

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
GIVEN = "given"  # by the signals


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


def split_along_path(prices: np.ndarray) -> np.ndarray:
    """Each bar as three: to the extreme nearer to the open, to the farther one, to the close."""
    open_, high, low, close = prices
    up_first = high - open_ < open_ - low
    first, second = np.where(up_first, high, low), np.where(up_first, low, high)
    points = np.array([open_, first, second, close])
    parts = [np.array([a, np.maximum(a, b), np.minimum(a, b), b]) for a, b in itertools.pairwise(points)]
    return np.stack(parts, axis=2).reshape(4, -1)


TEXTS = [
    ("close > close[1]", "close < close[1]", "", ""),
    ("crossover(close, sma(close, 4))", "", "crossunder(close, sma(close, 4))", ""),
    ("high > high[1] and low > low[1]", "volume > 2", "rsi(close, 3) < 35", "open < close"),
    ("atr(3) > 1 and close > open", "", "atr(3) > 1 and close < open", ""),
]


@share(0.3)
@given(
    seed=seeds,
    engine=engines,
    texts=st.sampled_from(TEXTS),
    # Trailing and break-even stops depend on earlier bars, which finer bars change; a bar that opens between a level and `limit_through` fills at
    # the level, a finer one that opens there too and doesn't come back at its low.
    rules=market_rules(intrabar="path", trailing_stop=None, break_even_at=None, limit_through=0.0),
    with_funding=st.booleans(),
)
def test_bars_split_along_their_path_give_the_same_trades(
    seed: int, engine: str, texts: tuple[str, str, str, str], rules: bt.Execution, with_funding: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 150))
    prices = walk(rng, n)
    # If both extremes are equally near, the adverse one comes first, which depends on the position.
    assume(not ((prices[1] - prices[0] == prices[0] - prices[2]) & (prices[1] > prices[2])).any())
    volume = rng.integers(0, 5, n)
    funding = (MONDAY + 3 * MINUTE * np.arange(0, n, 5), rng.standard_normal(len(range(0, n, 5))) * 0.001) if with_funding else None
    whole = history(prices, volume=volume, step=3 * MINUTE, funding=funding)
    parts = history(
        split_along_path(prices), volume=np.stack([volume, 0 * volume, 0 * volume], axis=1).reshape(-1), step=MINUTE, funding=funding
    )
    strategy = bt.Strategy(**dict(zip(NAMES, texts, strict=True)), timeframe="3m")
    coarse, fine = (bt.backtest(bars, strategy, rules, engine=engine) for bars in (whole, parts))
    if fine.ruined and not coarse.ruined:
        # Ruin is checked at every bar's close, so finer bars may find one that the coarse bar misses.
        return
    a, b = coarse.trades.array, fine.trades.array
    for name in ("side", "reason", "quantity", "entry_price", "exit_price", *MONEY):
        np.testing.assert_array_equal(b[name], a[name], name)
    for name in ("entry_index", "exit_index"):
        np.testing.assert_array_equal(b[name] // 3, a[name], name)
    np.testing.assert_array_equal(fine.equity[2::3], coarse.equity)
    assert fine.ambiguous_bars == 0
    assert fine.ruined == coarse.ruined
    # At the close of the bar of its ruin, a coarse run may still reject an order.
    for name in ("rejected_orders", "clipped_orders", "filtered_entries"):
        assert fine.ruined or getattr(fine, name) == getattr(coarse, name), name


@share(0.2)
@given(seed=seeds, engine=engines, rules=market_rules(), more=st.integers(1, 200))
def test_flat_bars_at_the_end_change_nothing_earlier(seed: int, engine: str, rules: bt.Execution, more: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    masks[:, -1] = False
    still = np.tile(prices[3, -1], (4, more))
    short = bt.simulate(history(prices), bt.Signals(*masks), rules, engine=engine)
    masks = np.concatenate((masks, np.zeros((4, more), dtype=bool)), axis=1)
    long = bt.simulate(history(np.concatenate((prices, still), axis=1)), bt.Signals(*masks), rules, engine=engine)
    np.testing.assert_array_equal(long.equity[: n - 1], short.equity[: n - 1])
    ended = len(short.trades) > 0 and short.trades[len(short.trades) - 1].reason == "end"
    settled = short.trades.array[:-1] if ended else short.trades.array
    assert long.trades.array[: len(settled)].tobytes() == settled.tobytes()
    if not ended:
        assert len(long.trades) == len(short.trades)
        assert (long.equity[n - 1 :] == short.equity[-1]).all()
    for name in ("rejected_orders", "clipped_orders", "filtered_entries"):
        assert getattr(long, name) == getattr(short, name), name


@share(0.3)
@given(seed=seeds, engine=engines, execution=market_rules(), with_funding=st.booleans())
def test_trades_equity_and_metrics_add_up(seed: int, engine: str, execution: bt.Execution, with_funding: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    funding = (MONDAY + 60 * MINUTE * np.arange(0, n, 8), rng.standard_normal(len(range(0, n, 8))) * 0.001) if with_funding else None
    bars = history(prices, funding=funding)
    result = bt.simulate(bars, bt.Signals(*masks), execution, engine=engine)
    trades, metrics = result.trades.array, result.metrics
    volume = 1 + np.abs(trades["gross"]).sum() + trades["fees"].sum() + np.abs(trades["funding"]).sum()
    near = {"rel": 1e-11, "abs": 1e-11 * volume}
    # What is left at ruin, at most a billionth of the capital, is in no trade.
    left = {**near, "abs": near["abs"] + 1e-8 * execution.initial_capital * result.ruined}
    assert result.equity[-1] == pytest.approx(execution.initial_capital + trades["net"].sum(), **left)
    np.testing.assert_array_equal(trades["net"], trades["gross"] - trades["fees"] - trades["funding"])
    np.testing.assert_allclose(
        trades["gross"], trades["side"] * trades["quantity"] * (trades["exit_price"] - trades["entry_price"]), rtol=1e-12, atol=0
    )
    assert (trades["fees"] >= 0).all()
    assert metrics.fees_paid == pytest.approx(trades["fees"].sum(), **near)
    assert metrics.funding_paid == pytest.approx(trades["funding"].sum(), **near)
    assert metrics.final_equity == result.equity[-1]
    assert metrics.trades == len(trades) == metrics.long.trades + metrics.short.trades
    if not with_funding:
        assert (trades["funding"] == 0).all()
    # Trades are in order, and positions never overlap.
    assert (trades["entry_index"] <= trades["exit_index"]).all()
    assert (np.diff(trades["exit_index"]) >= 0).all()
    later = trades["entry_index"][1:] >= trades["exit_index"][:-1]
    same = trades["entry_index"][1:] == trades["entry_index"][:-1]
    assert (later | same).all()
    np.testing.assert_array_equal(trades["entry_time"], bars.time[trades["entry_index"]])
    np.testing.assert_array_equal(trades["exit_time"], bars.time[trades["exit_index"]])
    assert (trades["mae"] <= 0).all() or execution.pyramiding > 1
    assert (trades["mfe"] >= 0).all() or execution.pyramiding > 1
    # A fill lies within its bar, up to slippage and tick, unless it is a liquidation.
    usual = trades[trades["reason"] != LIQUIDATION]
    for index, price in (("exit_index", "exit_price"), ("entry_index", "entry_price")):
        if price == "entry_price" and execution.pyramiding > 1:
            continue
        low, high = (bars_column[usual[index]] for bars_column in (bars.low, bars.high))
        assert (usual[price] >= low * (1 - execution.slippage) * (1 - 1e-12) - execution.tick).all()
        assert (usual[price] <= high * (1 + execution.slippage) * (1 + 1e-12) + execution.tick).all()


@share(0.2)
@given(seed=seeds, engine=engines, execution=market_rules(pyramiding=1, partial_exits=()))
def test_equity_follows_from_the_trades_alone(seed: int, engine: str, execution: bt.Execution) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    result = bt.simulate(history(prices), bt.Signals(*masks), execution, engine=engine)
    equity = np.full(n, execution.initial_capital)
    for trade in result.trades.array:
        opened, closed = trade["entry_index"], trade["exit_index"]
        entry_fee = trade["quantity"] * trade["entry_price"] * execution.commission + execution.order_fee
        open_profit = trade["side"] * trade["quantity"] * (prices[3, opened:closed] - trade["entry_price"]) - entry_fee
        equity[opened:closed] += open_profit
        equity[closed:] += trade["net"]
        # At leverage 1, equity covers the position and its fee.
        if execution.leverage == 1:
            before = execution.initial_capital + result.trades.array["net"][result.trades.array["exit_index"] <= opened].sum()
            assert trade["quantity"] * trade["entry_price"] + entry_fee <= before * (1 + 1e-9) + 1e-9 or trade["exit_index"] == opened
    np.testing.assert_allclose(result.equity, equity, rtol=1e-9, atol=1e-8 * execution.initial_capital)


@share(0.1)
@given(seed=seeds, engine=engines, fill=fills, more=st.floats(0.0001, 0.01))
def test_a_higher_commission_costs_its_share_of_what_was_traded(seed: int, engine: str, fill: str, more: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    low, high = (
        bt.simulate(
            history(prices),
            bt.Signals(*masks),
            bt.Execution(initial_capital=1e6, sizing="fixed_quantity", size=1, commission=commission, fill=fill),  # type: ignore[arg-type]
            engine=engine,
        )
        for commission in (0.001, 0.001 + more)
    )
    trades = low.trades.array
    traded = (trades["quantity"] * (trades["entry_price"] + trades["exit_price"])).sum()
    assert low.equity[-1] - high.equity[-1] == pytest.approx(more * traded, rel=1e-6, abs=1e-6)
    np.testing.assert_array_equal(low.trades.array["gross"], high.trades.array["gross"])
