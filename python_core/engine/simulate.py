"""The reference simulator: bar by bar, in the order of the contract.

The twins in `core_rs/src/simulation` are `account.rs` and `intrabar.rs`. Both engines give the same bits, so every float expression keeps
its order of operations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.engine.orders import Orders
from python_core.engine.position import Position
from python_core.engine.result import Counts
from python_core.engine.sizing import size_entry
from python_core.execution import Execution
from python_core.levels import Atr
from python_core.trades import (
    END,
    LIQUIDATION,
    PARTIAL_EXIT,
    REVERSAL,
    RUIN,
    SIGNAL,
    TAKE_PROFIT,
    TIME,
    TRADE_DTYPE,
)


class Outcome(NamedTuple):
    """Outcome of a simulation.

    `trades` is an array of `TRADE_DTYPE`, `equity` float64[n] at each bar's close, `traded_notional` in money.
    """

    trades: npt.NDArray[np.void]
    equity: npt.NDArray[np.float64]
    exposed_bars: int
    traded_notional: float
    counts: Counts


class Simulator:
    """Account, position and trades while the bars pass."""

    def __init__(self, bars: Bars, orders: Orders, execution: Execution) -> None:
        self.bars, self.orders, self.execution = bars, orders, execution
        self.time = bars.time.tolist()
        self.open, self.high, self.low, self.close = (getattr(bars, name).tolist() for name in ("open", "high", "low", "close"))
        self.mark = None if bars.mark is None else (bars.mark[0].tolist(), bars.mark[1].tolist())
        self.balance = execution.initial_capital
        self.position: Position | None = None
        self.trades: list[tuple[int | float, ...]] = []
        self.exposed_bars = self.rejected_orders = self.ambiguous_bars = 0
        self.traded_notional = 0.0
        self.ruined = False

    def run(self, control: Control) -> Outcome:
        n = len(self.time)
        equity = np.empty(n)
        at_open, at_close = self.orders.schedule(self.execution.fill)
        strategy_closes = {fills_at: k for k, fills_at in enumerate(self.orders.fills_at.tolist())}
        funding = [] if self.bars.funding is None else list(zip(*(column.tolist() for column in self.bars.funding), strict=True))
        next_funding = 0
        for i in range(n):
            if i % 4096 == 0:
                control.check(i / n)
            # 1. Funding
            while next_funding < len(funding) and funding[next_funding][0] <= self.time[i]:
                self.pay_funding(i, funding[next_funding][1])
                next_funding += 1
            # 2. Open: orders of the strategy bar that has just closed, and the exit by time
            k = at_open.get(i)
            max_bars_reached = self.max_bars_reached(i, strategy_closes)
            if k is not None:
                self.fill_orders(i, k, self.open[i], max_bars_reached)
            elif max_bars_reached:
                self.close_position(i, self.open[i], TIME)
            # 3. Within the bar
            if self.position is not None:
                self.trade_within_bar(i)
            # 4. Close
            if self.position is not None:
                self.position.observe_bar(self.high[i], self.low[i])
            k = at_close.get(i)
            if k is not None:
                self.fill_orders(i, k, self.close[i], False)
            # 5. End of data
            if i == n - 1 and self.position is not None and self.equity_at(self.close[i]) > 0:
                self.close_position(i, self.close[i], END)
            if self.equity_at(self.close[i]) <= 0:
                if self.position is not None:
                    self.close_position(i, self.close[i], RUIN)
                self.ruined = True
                equity[i:] = self.balance
                break
            equity[i] = self.equity_at(self.close[i])
        return Outcome(
            np.array(self.trades, dtype=TRADE_DTYPE),
            equity,
            self.exposed_bars,
            self.traded_notional,
            Counts(rejected_orders=self.rejected_orders, ambiguous_bars=self.ambiguous_bars, ruined=self.ruined),
        )

    def equity_at(self, price: float) -> float:
        """Equity with the position valued at `price`."""
        p = self.position
        return self.balance if p is None else self.balance + p.side * p.quantity * (price - p.entry)

    def pay_funding(self, i: int, rate: float) -> None:
        if (p := self.position) is not None:
            cost = p.quantity * p.side * self.open[i] * rate
            self.balance -= cost
            p.funding += cost

    def max_bars_reached(self, i: int, strategy_closes: dict[int, int]) -> bool:
        """Whether the position has been open for `max_bars` strategy bars when bar `i` opens."""
        return (
            self.execution.max_bars is not None
            and self.position is not None
            and i in strategy_closes
            and strategy_closes[i] - self.position.entry_strategy_bar >= self.execution.max_bars
        )

    def fill_orders(self, i: int, k: int, price: float, max_bars_reached: bool) -> None:
        """Fill the orders of strategy bar `k` at `price`: exits before entries."""
        entry_long, exit_long, entry_short, exit_short = self.orders.at(k)
        if (p := self.position) is not None:
            exits, reverses = (exit_long, entry_short) if p.side > 0 else (exit_short, entry_long)
            if exits or reverses or max_bars_reached:
                self.close_position(i, price, SIGNAL if exits else REVERSAL if reverses else TIME)
        if entry_long or entry_short:
            p, side = self.position, 1.0 if entry_long else -1.0
            if p is None or p.entries < self.execution.pyramiding:
                self.enter(i, k, side, price)

    def enter(self, i: int, k: int, side: float, price: float) -> None:
        """Open a position or add to it, or reject the order if it is too large for the account or too small for the market."""
        execution, p = self.execution, self.position
        fill_price = price * (1.0 + side * execution.slippage)
        equity = self.equity_at(price)
        free_balance = self.balance if p is None else self.balance - p.quantity * p.entry / execution.leverage
        stop_loss = self.level("stop_loss", k, side, fill_price) if execution.sizing == "risk" else None
        quantity = size_entry(execution, side, fill_price, stop_loss, equity, free_balance)
        if quantity is None:
            self.rejected_orders += 1
            return
        fee = quantity * fill_price * execution.commission
        self.balance -= fee
        self.traded_notional += quantity * fill_price
        if p is None:
            p = self.position = Position(side, i, k, fill_price)
        else:
            p.entry = (p.entry * p.quantity + fill_price * quantity) / (p.quantity + quantity)
        p.quantity += quantity
        p.max_quantity = max(p.max_quantity, p.quantity)
        p.entries += 1
        p.fees += fee
        p.stop_loss = self.level("stop_loss", k, side, p.entry)
        p.take_profit = self.level("take_profit", k, side, p.entry)
        trailing = execution.level("trailing_stop", "long" if side > 0 else "short")
        if trailing is not None:
            p.trailing_distance = trailing if isinstance(trailing, float | int) else self.orders.level("trailing_stop", k, trailing)

    def level(self, name: str, k: int, side: float, entry: float) -> float | None:
        """Price of the stop-loss or the take-profit of an entry at `entry` on the signal of strategy bar `k`."""
        value = self.execution.level(name, "long" if side > 0 else "short")
        toward = -side if name == "stop_loss" else side
        if value is None:
            return None
        if isinstance(value, Atr):
            return entry + toward * self.orders.level(name, k, value)
        if isinstance(value, str):
            return self.orders.level(name, k, value)
        return entry * (1.0 + toward * float(value))

    def close_position(self, i: int, price: float, reason: int) -> None:
        """Close the whole position with a market order."""
        p = self.position
        assert p is not None
        self.close_quantity(i, p.quantity, price * (1.0 - p.side * self.execution.slippage), reason)

    def close_quantity(self, i: int, quantity: float, price: float, reason: int) -> None:
        """Close `quantity` of the position at `price` and record the trade, with that share of the entry fees and funding."""
        p = self.position
        assert p is not None
        fee = 0.0 if reason == LIQUIDATION else quantity * price * self.execution.commission
        gross = p.side * quantity * (price - p.entry)
        self.balance = self.balance + gross - fee
        self.traded_notional += quantity * price
        closes_position = quantity >= p.quantity
        share = 1.0 if closes_position else quantity / p.quantity
        entry_fees, funding = p.fees * share, p.funding * share
        fees = entry_fees + fee
        self.trades.append(
            (
                self.time[p.entry_index],
                self.time[i],
                p.entry_index,
                i,
                int(p.side),
                reason,
                quantity,
                p.entry,
                price,
                gross,
                fees,
                funding,
                gross - fees - funding,
                *p.excursions(price),
            )
        )
        if closes_position:
            self.exposed_bars += i - p.entry_index
            self.position = None
        else:
            p.quantity -= quantity
            p.fees -= entry_fees
            p.funding -= funding

    def trade_within_bar(self, i: int) -> None:
        """Apply liquidation, stops, take-profit and partial exits within bar `i`."""
        p = self.position
        assert p is not None
        open_price = self.open[i]
        worst, best = (self.low[i], self.high[i]) if p.side > 0 else (self.high[i], self.low[i])
        liquidation = p.liquidation_level(self.execution)
        worst_mark = worst if self.mark is None else (self.mark[0][i] if p.side > 0 else self.mark[1][i])
        hits_liquidation = liquidation is not None and p.at_or_worse(worst_mark, liquidation)
        stop, reason = p.stop_level(self.execution)
        # At the open: levels that a gap has jumped over fill at the open.
        if hits_liquidation and liquidation is not None and p.at_or_worse(open_price, liquidation):
            self.liquidate(i)
            return
        if stop is not None and p.at_or_worse(open_price, stop):
            self.close_position(i, open_price, reason)
            return
        self.take_profits(i, open_price, at_open=True)
        if self.position is None:
            return
        # From the open to the close. A bar has its extremes but not their order, so `intrabar` decides which level is reached first.
        hits_stop = stop is not None and p.at_or_worse(worst, stop)
        profit = p.next_profit_level(self.execution)
        hits_profit = profit is not None and p.at_or_better(best, profit)
        if hits_profit and (hits_stop or hits_liquidation):
            self.ambiguous_bars += 1
            best_is_nearer = abs(best - open_price) < abs(open_price - worst)
            if self.execution.intrabar == "optimistic" or (self.execution.intrabar == "path" and best_is_nearer):
                self.take_profits(i, best)
                if self.position is None:
                    return
        # On the way to the worst price, the nearer of stop and liquidation comes first.
        if stop is not None and hits_stop and not (hits_liquidation and liquidation is not None and not p.at_or_better(stop, liquidation)):
            self.close_position(i, stop, reason)
        elif hits_liquidation:
            self.liquidate(i)
        elif hits_profit:
            self.take_profits(i, best)

    def liquidate(self, i: int) -> None:
        """Close the position at its bankruptcy price, where the whole margin is lost and no fee is charged."""
        p = self.position
        assert p is not None
        self.close_quantity(i, p.quantity, p.entry * (1.0 - p.side / self.execution.leverage), LIQUIDATION)

    def take_profits(self, i: int, reached: float, *, at_open: bool = False) -> None:
        """Fill every profit level up to the price `reached`, the nearest first: at the level itself or, if `at_open`, at `reached`."""
        while (p := self.position) is not None:
            level = p.next_profit_level(self.execution)
            if level is None or not p.at_or_better(reached, level):
                return
            price = reached if at_open else level
            if p.partial_exit_level(self.execution) != level:
                self.close_quantity(i, p.quantity, price, TAKE_PROFIT)
                continue
            quantity = p.partial_exit_quantity(self.execution)
            p.partial_exits_done += 1
            if quantity > 0:
                self.close_quantity(i, min(quantity, p.quantity), price, PARTIAL_EXIT)


def simulate(bars: Bars, orders: Orders, execution: Execution, control: Control) -> Outcome:
    """Run the orders over the bars.

    Raises:
        Cancelled: `control.cancel()` was called.
    """
    return Simulator(bars, orders, execution).run(control)
