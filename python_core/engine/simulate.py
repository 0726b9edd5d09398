"""The reference simulator: bar by bar, in the order of the contract.

Read it along with the contract. The compiled engine gives the same bits, so every float expression keeps its order of operations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.engine.orders import Orders
from python_core.engine.position import Position
from python_core.engine.sizing import order_quantity
from python_core.execution import Atr, Execution
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
    rejected_orders: int
    ambiguous_bars: int
    ruined: bool


class Simulator:
    """Account, position and trades while the bars pass."""

    def __init__(self, bars: Bars, orders: Orders, execution: Execution) -> None:
        self.bars, self.orders, self.rules = bars, orders, execution
        self.time = bars.time.tolist()
        self.open, self.high, self.low, self.close = (getattr(bars, name).tolist() for name in ("open", "high", "low", "close"))
        self.mark = None if bars.mark is None else (bars.mark[0].tolist(), bars.mark[1].tolist())
        self.balance = execution.capital
        self.position: Position | None = None
        self.trades: list[tuple[int | float, ...]] = []
        self.exposed_bars = self.rejected_orders = self.ambiguous_bars = 0
        self.traded_notional = 0.0
        self.ruined = False

    def run(self, control: Control) -> Outcome:
        n = len(self.time)
        equity = np.empty(n)
        at_open, at_close = self.orders.schedule(self.rules.fill)
        due = {fills_at: k for k, fills_at in enumerate(self.orders.fills_at.tolist())}
        funding = [] if self.bars.funding is None else list(zip(*(column.tolist() for column in self.bars.funding), strict=True))
        paid = 0
        for i in range(n):
            if i % 4096 == 0:
                control.check(i / n)
            # 1. Funding
            while paid < len(funding) and funding[paid][0] <= self.time[i]:
                self.pay_funding(i, funding[paid][1])
                paid += 1
            # 2. Open: orders of the strategy bar that has just closed, and the exit by time
            k = at_open.get(i)
            time_is_up = self.time_is_up(i, due)
            if k is not None:
                self.fill(i, k, self.open[i], time_is_up)
            elif time_is_up:
                self.leave(i, self.open[i], TIME)
            # 3. Inside the bar
            if self.position is not None:
                self.inside(i)
            # 4. Close
            if self.position is not None:
                self.position.highest = max(self.position.highest, self.high[i])
                self.position.lowest = min(self.position.lowest, self.low[i])
            k = at_close.get(i)
            if k is not None:
                self.fill(i, k, self.close[i], False)
            # 5. End of data
            if i == n - 1 and self.position is not None and self.marked(self.close[i]) > 0:
                self.leave(i, self.close[i], END)
            if self.marked(self.close[i]) <= 0:
                if self.position is not None:
                    self.leave(i, self.close[i], RUIN)
                self.ruined = True
                equity[i:] = self.balance
                break
            equity[i] = self.marked(self.close[i])
        return Outcome(
            np.array(self.trades, dtype=TRADE_DTYPE),
            equity,
            self.exposed_bars,
            self.traded_notional,
            self.rejected_orders,
            self.ambiguous_bars,
            self.ruined,
        )

    def marked(self, price: float) -> float:
        """Equity with the position valued at `price`."""
        p = self.position
        return self.balance if p is None else self.balance + p.side * p.quantity * (price - p.entry)

    def pay_funding(self, i: int, rate: float) -> None:
        if (p := self.position) is not None:
            cost = p.quantity * p.side * self.open[i] * rate
            self.balance -= cost
            p.funding += cost

    def time_is_up(self, i: int, due: dict[int, int]) -> bool:
        """Whether the position has been open for `max_bars` strategy bars when bar `i` opens."""
        return (
            self.rules.max_bars is not None
            and self.position is not None
            and i in due
            and due[i] - self.position.strategy_bar >= self.rules.max_bars
        )

    def fill(self, i: int, k: int, price: float, time_is_up: bool) -> None:
        """Execute the orders of strategy bar `k`, exits before entries."""
        entry_long, exit_long, entry_short, exit_short = self.orders.at(k)
        if (p := self.position) is not None:
            leaves, reverses = (exit_long, entry_short) if p.side > 0 else (exit_short, entry_long)
            if leaves or reverses or time_is_up:
                self.leave(i, price, SIGNAL if leaves else REVERSAL if reverses else TIME)
        if entry_long or entry_short:
            p, side = self.position, 1.0 if entry_long else -1.0
            if p is None or p.entries < self.rules.pyramiding:
                self.enter(i, k, side, price)

    def enter(self, i: int, k: int, side: float, price: float) -> None:
        """Open a position or add to it, or reject the order if it is too large for the account or too small for the market."""
        rules, p = self.rules, self.position
        fill_price = price * (1.0 + side * rules.slippage)
        equity = self.marked(price)
        free = self.balance if p is None else self.balance - p.quantity * p.entry / rules.leverage
        stop = self.level("stop_loss", k, side, fill_price) if rules.sizing == "risk" else None
        quantity = order_quantity(rules, side, fill_price, stop, equity, free)
        if quantity is None:
            self.rejected_orders += 1
            return
        fee = quantity * fill_price * rules.commission
        self.balance -= fee
        self.traded_notional += quantity * fill_price
        if p is None:
            p = self.position = Position(side, i, k, fill_price)
        else:
            p.entry = (p.entry * p.quantity + fill_price * quantity) / (p.quantity + quantity)
        p.quantity += quantity
        p.largest = max(p.largest, p.quantity)
        p.entries += 1
        p.fees += fee
        p.stop = self.level("stop_loss", k, side, p.entry)
        p.target = self.level("take_profit", k, side, p.entry)
        distance = rules.trailing_stop
        p.trail = distance if distance is None or isinstance(distance, float | int) else self.orders.level("trailing_stop", k, distance)

    def level(self, name: str, k: int, side: float, entry: float) -> float | None:
        """Price of the stop or target of an entry at `entry` on the signal of strategy bar `k`."""
        value = getattr(self.rules, name)
        toward = -side if name == "stop_loss" else side
        if value is None:
            return None
        if isinstance(value, Atr):
            return entry + toward * self.orders.level(name, k, value)
        if isinstance(value, str):
            return self.orders.level(name, k, value)
        return entry * (1.0 + toward * float(value))

    def leave(self, i: int, price: float, reason: int) -> None:
        """Close the whole position with a market order."""
        p = self.position
        assert p is not None
        self.exit(i, p.quantity, price * (1.0 - p.side * self.rules.slippage), reason)

    def exit(self, i: int, quantity: float, price: float, reason: int) -> None:
        """Close `quantity` of the position at `price` and record the trade; fees and funding are split by quantity."""
        p = self.position
        assert p is not None
        fee = 0.0 if reason == LIQUIDATION else quantity * price * self.rules.commission
        gross = p.side * quantity * (price - p.entry)
        self.balance = self.balance + gross - fee
        self.traded_notional += quantity * price
        whole = quantity >= p.quantity
        share = 1.0 if whole else quantity / p.quantity
        entry_fees, funding = p.fees * share, p.funding * share
        fees = entry_fees + fee
        high, low = max(p.highest, price), min(p.lowest, price)
        favourable, adverse = (high, low) if p.side > 0 else (low, high)
        self.trades.append(
            (
                self.time[p.opened],
                self.time[i],
                p.opened,
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
                p.side * (adverse - p.entry) / p.entry,
                p.side * (favourable - p.entry) / p.entry,
            )
        )
        if whole:
            self.exposed_bars += i - p.opened
            self.position = None
        else:
            p.quantity -= quantity
            p.fees -= entry_fees
            p.funding -= funding

    def inside(self, i: int) -> None:
        """Liquidation, stops and targets within bar `i`."""
        p = self.position
        assert p is not None
        price = self.open[i]
        worst, best = (self.low[i], self.high[i]) if p.side > 0 else (self.high[i], self.low[i])
        liquidation = p.liquidation_level(self.rules)
        marked = worst if self.mark is None else (self.mark[0][i] if p.side > 0 else self.mark[1][i])
        liquidates = liquidation is not None and p.beyond(marked, liquidation)
        stop, reason = p.stop_level(self.rules)
        # At the open: a gap may have jumped over levels, which then fill at the open.
        if liquidates and liquidation is not None and p.beyond(price, liquidation):
            self.liquidate(i)
            return
        if stop is not None and p.beyond(price, stop):
            self.leave(i, price, reason)
            return
        self.take_profits(i, price, at_open=True)
        if self.position is None:
            return
        # From the open to the close. A bar has its extremes but not their order, so `intrabar` decides which level is reached first.
        stops = stop is not None and p.beyond(worst, stop)
        profit = p.next_profit(self.rules)
        profits = profit is not None and p.reached(best, profit)
        if profits and (stops or liquidates):
            self.ambiguous_bars += 1
            nearer = abs(best - price) < abs(price - worst)
            if self.rules.intrabar == "optimistic" or (self.rules.intrabar == "path" and nearer):
                self.take_profits(i, best)
                if self.position is None:
                    return
        # On the way down to the worst price, the nearer of stop and liquidation comes first.
        if stop is not None and stops and not (liquidates and liquidation is not None and not p.reached(stop, liquidation)):
            self.leave(i, stop, reason)
        elif liquidates:
            self.liquidate(i)
        elif profits:
            self.take_profits(i, best)

    def liquidate(self, i: int) -> None:
        """Close the position at its bankruptcy price, where the whole margin is lost and no fee is charged."""
        p = self.position
        assert p is not None
        self.exit(i, p.quantity, p.entry * (1.0 - p.side / self.rules.leverage), LIQUIDATION)

    def take_profits(self, i: int, reached: float, *, at_open: bool = False) -> None:
        """Fill every profit level up to the price `reached`, nearest first, at the level; `at_open` at the open, which is better."""
        while (p := self.position) is not None:
            level, rung = p.next_profit(self.rules), p.rung_level(self.rules)
            if level is None or not p.reached(reached, level):
                return
            price = reached if at_open else level
            if rung is None or rung != level:
                self.exit(i, p.quantity, price, TAKE_PROFIT)
                continue
            quantity = p.rung_quantity(self.rules)
            p.rungs += 1
            if quantity > 0:
                self.exit(i, min(quantity, p.quantity), price, PARTIAL_EXIT)


def simulate(bars: Bars, orders: Orders, execution: Execution, control: Control) -> Outcome:
    """Run the orders over the bars.

    Raises:
        Cancelled: `control.cancel()` was called.
    """
    return Simulator(bars, orders, execution).run(control)
