"""The reference simulator: bar by bar, in the order of the contract.

The twins in `core_rs/src/simulation` are `mod.rs`, `entries.rs` (orders that are due) and `intrabar.rs` (gaps).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.engine.fills import Fills
from python_core.engine.intrabar import InsideBar
from python_core.engine.orders import Due, Orders
from python_core.engine.result import Counts
from python_core.execution import Execution
from python_core.trades import END, REVERSAL, RUIN, SIGNAL, TIME, TRADE_DTYPE

MINUTE_MS = 60_000


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
    """Runs orders over bars from the bar `first` on; those before it are warm-up."""

    def __init__(self, bars: Bars, orders: Orders, execution: Execution, first: int) -> None:
        self.bars, self.orders, self.execution, self.first = bars, orders, execution, first
        self.fills = Fills(bars, orders, execution, first)
        self.account = self.fills.account
        # Strategy bars by the base bar at whose open their orders are due.
        self.due = {i: k for k, i in enumerate(orders.fills_at) if i < len(bars)}
        self.fills.last_due = max((k for i, k in self.due.items() if i <= first), default=-1)
        self.funding: list[tuple[int, float]] = []
        if bars.funding is not None:
            times, rates = bars.funding
            # Exchanges stamp some payments a few milliseconds late.
            self.funding = list(zip((times // MINUTE_MS * MINUTE_MS).tolist(), rates.tolist(), strict=True))
        self.next_funding = 0

    def run(self, control: Control) -> Outcome:
        n, account = len(self.bars), self.account
        equity = np.zeros(n - self.first)
        for i in range(self.first, n):
            if (i - self.first) % 4096 == 0:
                control.check((i - self.first) / (n - self.first))
            self.fills.begin_bar(i, self.due.get(i))
            for step in (self._pay_funding, self._open, self._inside, self._close):
                step(i)
                if account.ruined:
                    break
            if i == n - 1 and account.position is not None:
                self.fills.close_market(self.fills.close[i], END, at_open=False)
            if account.ruined:
                break
            equity[i - self.first] = account.equity_at(self.fills.close[i])
        fills = self.fills
        return Outcome(
            np.array(account.trades, dtype=TRADE_DTYPE),
            equity,
            account.exposed_bars,
            account.traded_notional,
            Counts(
                fills.rejected_orders,
                fills.clipped_orders,
                fills.filtered_entries,
                fills.expired_orders,
                fills.ambiguous_bars,
                account.ruined,
            ),
        )

    def _pay_funding(self, i: int) -> None:
        """Step 1 of the contract."""
        time, open_price = self.fills.time[i], self.fills.open[i]
        while self.next_funding < len(self.funding) and self.funding[self.next_funding][0] <= time:
            self.account.pay_funding(open_price, self.funding[self.next_funding][1])
            self.next_funding += 1

    def _open(self, i: int) -> None:
        """Step 2: liquidation, orders that are due, and levels that the open has jumped over."""
        fills, account = self.fills, self.account
        if fills.is_liquidated_at_open():
            fills.liquidate(at_open=True)
        for step in (self._fill_due, self._gaps_of_position, self._gaps_of_entries):
            if account.ruined:
                return
            step(i)

    def _fill_due(self, i: int) -> None:
        """Orders due at this open, and exits by time."""
        fills = self.fills
        k = self.due.get(i)
        if k is not None:
            fills.expired_orders += fills.resting.expire(k)
        orders = None if k is None or self.execution.fill == "close" else self._orders_of(k)
        self._fill_orders(orders, fills.open[i], exit_by_time=self._exits_by_time(i, k), at_close=False)

    def _orders_of(self, k: int) -> Due | None:
        """The orders of a strategy bar; those that would fill at the first bar or before don't exist."""
        return self.orders.due(k) if self.orders.fills_at[k] > self.first else None

    def _exits_by_time(self, i: int, k: int | None) -> bool:
        """Whether the position is closed after `max_bars`, or because the bar opens outside the trading times."""
        p, execution = self.account.position, self.execution
        if p is None:
            return False
        if execution.flat_outside and not self.fills.times.is_open(self.fills.time[i]):
            return True
        return execution.max_bars is not None and k is not None and k - p.entry_strategy_bar >= execution.max_bars

    def _fill_orders(self, due: Due | None, price: float, *, exit_by_time: bool, at_close: bool) -> None:
        """Exits, then entries. An exit and an entry of its side: while a position of that side is open neither counts, else only the entry."""
        fills, account = self.fills, self.account
        entry_long, exit_long, entry_short, exit_short = due or (None, False, None, False)
        side = 0.0 if account.position is None else account.position.side
        if exit_long and entry_long is not None:
            exit_long, entry_long = False, None if side > 0 else entry_long
        if exit_short and entry_short is not None:
            exit_short, entry_short = False, None if side < 0 else entry_short
        if account.position is not None:
            exits, opposite = (exit_long, entry_short) if side > 0 else (exit_short, entry_long)
            reverses = opposite is not None and opposite.resting_level is None
            if exits or reverses or exit_by_time:
                fills.close_market(price, SIGNAL if exits else REVERSAL if reverses else TIME, at_open=not at_close)
        if exit_long:
            fills.resting.remove(1.0)
        if exit_short:
            fills.resting.remove(-1.0)
        for entry in (entry_long, entry_short):
            if entry is None or account.ruined or not fills.has_room(entry.side):
                continue
            if entry.resting_level is None:
                fills.enter_market(entry, price, at_close=at_close)
            else:
                fills.place(entry)

    def _gaps_of_position(self, i: int) -> None:
        """Levels of the position that the open touches fill at the open."""
        fills, open_price = self.fills, self.fills.open[i]
        if fills.is_liquidated_at_open():
            fills.liquidate(at_open=True)
        if (p := self.account.position) is None:
            return
        stop, reason = p.stop_level()
        if stop is not None and p.falls_to(open_price, stop):
            fills.stop_out(open_price, reason, at_open=True)
        while self.account.position is p:
            level = p.next_profit_level()
            if level is None or not p.reaches_profit(open_price, level):
                return
            fills.take_profit(level, open_price, at_open=True)

    def _gaps_of_entries(self, i: int) -> None:
        """A resting entry that the open touches fills at the open; if both are touched, the nearer one, unless it is rejected."""
        fills, open_price = self.fills, self.fills.open[i]
        while not self.account.ruined:
            touched = [entry for entry in fills.resting.all() if fills.can_fill(entry) and fills.resting.touched(entry, open_price)]
            if not touched or fills.fill_resting_at_open(min(touched, key=lambda entry: abs(entry.level - open_price))):
                return

    def _inside(self, i: int) -> None:
        """Step 3: levels between the open and the extremes."""
        if self.account.position is not None or self.fills.resting.all():
            InsideBar(self.fills).run()

    def _close(self, i: int) -> None:
        """Step 4: the extremes since the entry, orders that fill at the close, and ruin."""
        fills, account = self.fills, self.account
        price = fills.close[i]
        if (p := account.position) is not None:
            high, low = fills.high[i], fills.low[i]
            if fills.opened_inside is not None:
                # Only what surely came after the fill.
                if fills.resting.direction(fills.opened_inside) > 0:
                    low = price
                else:
                    high = price
            p.observe_bar(high, low)
        if self.execution.fill == "close" and (k := self.due.get(i + 1)) is not None:
            before, fills.last_due = fills.last_due, k
            if (due := self._orders_of(k)) is not None:
                self._fill_orders(due, price, exit_by_time=False, at_close=True)
            fills.last_due = before
        if not account.ruined and account.equity_at(price) <= account.dust:
            fills.close_market(price, RUIN, at_open=False)


def simulate(bars: Bars, orders: Orders, execution: Execution, control: Control, first: int = 0) -> Outcome:
    """Run the orders over the bars from the bar `first` on.

    Raises:
        Cancelled: `control.cancel()` was called.
    """
    return Simulator(bars, orders, execution, first).run(control)
