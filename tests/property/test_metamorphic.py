"""Related inputs give related results: bars split into finer ones or extended, a higher commission."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import python_core as bt
from python_core.trades import LIQUIDATION
from tests.property.cases import market_rules
from tests.property.inputs import (
    MINUTE,
    MONDAY,
    MONEY,
    NAMES,
    engines,
    fills,
    history,
    random_masks,
    seeds,
    share,
    split_along_path,
    walk,
)

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
