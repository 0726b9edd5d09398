"""Fills of orders and levels, and what follows from them.

The twins in `core_rs/src/simulation` are `entries.rs`, `account.rs` (exits) and `resting.rs`.
"""

from __future__ import annotations

from python_core.data.bars import Bars
from python_core.engine.account import Account
from python_core.engine.orders import Entry, Orders
from python_core.engine.position import Position
from python_core.engine.prices import Prices
from python_core.engine.resting import RestingEntries, RestingEntry
from python_core.engine.sizing import size_entry
from python_core.engine.trading_times import TradingTimes
from python_core.execution import Execution
from python_core.trades import LIQUIDATION, PARTIAL_EXIT, REVERSAL, TAKE_PROFIT


class Fills:
    """Fills orders on one market and counts what becomes of them.

    Attributes:
        i: the base bar.
        last_due: the last strategy bar whose orders were due by the open of the bar, or by its close once orders fill there; -1: none.
        resting_price: price, before slippage, of the resting entry that has filled in this bar.
        opened_inside: the resting entry that has opened a position inside this bar.
    """

    def __init__(self, bars: Bars, orders: Orders, execution: Execution, first: int) -> None:
        self.orders, self.execution = orders, execution
        self.time: list[int] = bars.time.tolist()
        self.open: list[float] = bars.open.tolist()
        self.high: list[float] = bars.high.tolist()
        self.low: list[float] = bars.low.tolist()
        self.close: list[float] = bars.close.tolist()
        self.mark = None if bars.mark is None else (bars.mark[0].tolist(), bars.mark[1].tolist())
        self.prices = Prices(execution)
        self.account = Account(execution, self.time, first)
        self.times = TradingTimes(execution)
        self.resting = RestingEntries(
            are_limits=orders.rest_as_limits, limit_through=execution.limit_through, expires=execution.entry_expires
        )
        self.i, self.last_due = first, -1
        self.resting_price: float | None = None
        self.opened_inside: RestingEntry | None = None
        self.rejected_orders = self.clipped_orders = self.filtered_entries = self.expired_orders = self.ambiguous_bars = 0

    def begin_bar(self, i: int, due: int | None) -> None:
        """Go to the open of bar `i`, at which the orders of strategy bar `due` are due, if any."""
        self.i, self.resting_price, self.opened_inside = i, None, None
        if due is not None:
            self.last_due = due

    def close_market(self, price: float, reason: int, *, at_open: bool) -> None:
        """Close the whole position with a market order at `price`, before slippage."""
        p = self.account.position
        assert p is not None
        fill = p.better(self.prices.slipped(price, -p.side), p.bankruptcy_price)
        self.close_quantity(p.quantity, fill, self.execution.commission, reason, at_open=at_open)

    def close_quantity(self, quantity: float, price: float, rate: float, reason: int, *, at_open: bool) -> bool:
        """Close a part of the position or all of it. A position left with a loss starts the cooldown, which removes resting entries.

        Returns whether it does.
        """
        p = self.account.position
        assert p is not None
        is_left = self.account.close_quantity(self.i, quantity, price, rate, reason, at_open=at_open)
        if not (is_left and p.net < 0 and self.execution.cooldown > 0):
            return False
        self.times.start_cooldown(self.last_due)
        self.resting.clear()
        return True

    def stop_out(self, level: float, reason: int, *, at_open: bool = False) -> None:
        """Close the position at its stop; on the bar of a resting entry no better than that entry's price."""
        p = self.account.position
        assert p is not None
        self.close_market(level if self.resting_price is None else p.worse(level, self.resting_price), reason, at_open=at_open)

    def liquidate(self, *, at_open: bool = False) -> None:
        """Close the position at its bankruptcy price, where the whole margin is lost and no fee is charged."""
        p = self.account.position
        assert p is not None
        self.close_quantity(p.quantity, p.bankruptcy_price, 0.0, LIQUIDATION, at_open=at_open)

    def is_liquidated_at_open(self) -> bool:
        """Whether both the open and the bar's triggering extreme touch the liquidation level."""
        p = self.account.position
        if p is None or (level := p.liquidation_level) is None:
            return False
        return p.falls_to(self.open[self.i], level) and p.falls_to(self.liquidation_extreme(p, self.adverse_extreme(p)), level)

    def adverse_extreme(self, position: Position) -> float:
        """The worst price of the bar for the position."""
        return self.low[self.i] if position.side > 0 else self.high[self.i]

    def favourable_extreme(self, position: Position) -> float:
        """The best price of the bar for the position."""
        return self.high[self.i] if position.side > 0 else self.low[self.i]

    def liquidation_extreme(self, position: Position, worst: float) -> float:
        """The price that triggers a liquidation: the worst mark price of the bar if there is a mark series, else `worst`."""
        if self.mark is None:
            return worst
        price: float = self.mark[0][self.i] if position.side > 0 else self.mark[1][self.i]
        return price

    def inside(self, level: float) -> float:
        """Fill price of a level inside the bar."""
        return min(max(level, self.low[self.i]), self.high[self.i])

    def take_profit(self, level: float, price: float, *, at_open: bool = False) -> None:
        """Fill the next profit level at `price`."""
        p, rate = self.account.position, self.execution.maker_rate
        assert p is not None
        if p.partial_exit_level() != level:
            self.close_quantity(p.quantity, price, rate, TAKE_PROFIT, at_open=at_open)
            return
        quantity = p.partial_exit_quantity()
        p.partial_exits_done += 1
        if quantity > 0:
            self.close_quantity(quantity, price, rate, PARTIAL_EXIT, at_open=at_open)

    def has_room(self, side: float) -> bool:
        """Whether an entry of a side can open a position, reverse it, or add to it."""
        p = self.account.position
        return p is None or p.side != side or p.entries < self.execution.pyramiding

    def enter_market(self, entry: Entry, price: float, *, at_close: bool = False) -> None:
        """Fill a market entry at `price`, before slippage, unless it is void. A position of the other side has been closed before."""
        if self.times.is_cooling(entry.strategy_bar) or not self.times.may_enter(self.time[self.i]):
            self.filtered_entries += 1
            return
        fill = self.prices.slipped(price, entry.side)
        k = entry.strategy_bar
        self._enter(entry.side, k, price=price, fill=fill, rate=self.execution.commission, strategy_bar=k, at_close=at_close)

    def place(self, entry: Entry) -> None:
        """Place an entry that rests, unless it is void."""
        if self.times.is_cooling(entry.strategy_bar):
            self.filtered_entries += 1
            return
        assert entry.resting_level is not None
        self.resting.place(RestingEntry(entry.side, entry.strategy_bar, entry.resting_level, self.i))

    def can_fill(self, entry: RestingEntry) -> bool:
        """Whether a resting entry can fill in this bar."""
        return self.has_room(entry.side) and self.times.may_enter(self.time[self.i])

    def fill_resting_at_open(self, entry: RestingEntry) -> bool:
        """Fill a resting entry that the open has touched. Returns whether it has opened a position or added to one."""
        price, maker = self.open[self.i], False
        if not self.resting.are_limits:
            fill = self.prices.slipped(price, entry.side)
        elif entry.placed_at == self.i:
            slipped = self.prices.slipped(price, entry.side)
            fill = min(slipped, entry.level) if entry.side > 0 else max(slipped, entry.level)
        else:
            fill, maker = price, True
        return self._fill_resting(entry, price, fill, maker=maker, at_open=True)

    def fill_resting_inside(self, entry: RestingEntry) -> bool:
        """Fill a resting entry inside the bar, at its level. Returns whether it has opened a position or added to one."""
        price, maker = self.inside(entry.level), self.resting.are_limits
        fill = price if maker else self.prices.slipped(price, entry.side)
        p = self.account.position
        filled = self._fill_resting(entry, price, fill, maker=maker, at_open=False)
        if filled and (p is None or p.side != entry.side):
            self.opened_inside = entry
        return filled

    def _fill_resting(self, entry: RestingEntry, price: float, fill: float, *, maker: bool, at_open: bool) -> bool:
        self.resting.remove(entry.side)
        rate = self.execution.maker_rate if maker else self.execution.commission
        p = self.account.position
        if p is not None and p.side != entry.side:
            cools_down = self.close_quantity(p.quantity, p.better(fill, p.bankruptcy_price), rate, REVERSAL, at_open=at_open)
            if self.account.ruined:
                return False
            if cools_down:
                self.filtered_entries += 1
                return False
        filled = self._enter(entry.side, entry.strategy_bar, price=price, fill=fill, rate=rate, strategy_bar=self.last_due)
        if filled:
            self.resting_price = price
        return filled

    def _enter(self, side: float, k: int, *, price: float, fill: float, rate: float, strategy_bar: int, at_close: bool = False) -> bool:
        """Open a position or add to it on the signal of strategy bar `k`, or reject the order. Returns whether it has filled.

        Args:
            price: before slippage; the account is valued at it.
            fill: after slippage.
            strategy_bar: from which `max_bars` counts.
        """
        account, orders, execution = self.account, self.orders, self.execution
        p = account.position
        stop_loss = orders.stop_loss(k, side, fill) if execution.sizing == "risk" else None
        size = size_entry(
            execution,
            size=orders.size(k),
            side=side,
            price=fill,
            rate=rate,
            stop_loss=stop_loss,
            equity=account.equity_at(price),
            free=account.free,
        )
        if size is None:
            self.rejected_orders += 1
            return False
        entry = fill if p is None else (p.entry * p.quantity + fill * size.quantity) / (p.quantity + size.quantity)
        stop_loss, take_profit = orders.stop_loss(k, side, entry), orders.take_profit(k, side, entry)
        if (stop_loss is not None and side * stop_loss >= side * fill) or (take_profit is not None and side * take_profit <= side * fill):
            self.rejected_orders += 1
            return False
        if p is None:
            p = Position(execution, self.prices, side, fill, entry_index=self.i, entry_strategy_bar=strategy_bar, entered_at_close=at_close)
        account.enter(p, size.quantity, fill, rate, entry)
        p.stop_loss, p.take_profit = stop_loss, take_profit
        p.trailing_fraction, p.trailing_distance = orders.trailing_stop(k, side)
        self.clipped_orders += size.clipped
        self.times.count_entry(self.time[self.i])
        self.resting.clear()
        return True
