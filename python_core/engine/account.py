"""Cash, position and trades of a run. The twin is `core_rs/src/simulation/account.rs`.

Both engines give the same bits, so every float expression keeps its order of operations.
"""

from __future__ import annotations

from python_core.engine.position import Position
from python_core.engine.sizing import DUST
from python_core.execution import Execution
from python_core.trades import LIQUIDATION


class Account:
    """Balance, position, trades and exposure.

    Attributes:
        balance: cash, of which the position's margin is a part.
        trades: rows of `TRADE_DTYPE`; their bars are numbered from the first bar of the run.
        traded_notional: sum over all fills, money.
        exposed_bars: number of bars in which a position was open, without that of the open one.
        ruined: whether equity fell to nothing, which ends the run.
    """

    def __init__(self, execution: Execution, time: list[int], first: int) -> None:
        self.execution, self.time, self.first = execution, time, first
        self.balance = float(execution.initial_capital)
        self.dust = DUST * float(execution.initial_capital)
        self.position: Position | None = None
        self.trades: list[tuple[int | float, ...]] = []
        self.traded_notional = 0.0
        self.exposed_bars = 0
        self.exposed_until = -1
        self.ruined = False

    def equity_at(self, price: float) -> float:
        """Equity with the position valued at `price`."""
        p = self.position
        return self.balance if p is None else self.balance + p.side * p.quantity * (price - p.entry)

    @property
    def free(self) -> float:
        """The part of the balance that is not margin."""
        return self.balance if self.position is None else self.balance - self.position.margin

    def pay_funding(self, price: float, rate: float) -> None:
        """Pay funding on the position at `price`; what free cash can't pay comes out of the margin."""
        if (p := self.position) is None:
            return
        cost, free = p.quantity * p.side * price * rate, self.free
        if cost > free:
            p.deficit += cost - max(free, 0.0)
        self.balance -= cost
        p.funding += cost

    def enter(self, position: Position, quantity: float, price: float, rate: float, average: float) -> None:
        """Buy or sell short `quantity` at `price` as the first entry of a position or an add to the open one, whose entry is then `average`."""
        fee = quantity * price * rate + self.execution.order_fee
        self.balance -= fee
        self.traded_notional += quantity * price
        self.position, position.entry = position, average
        position.quantity += quantity
        position.max_quantity = max(position.max_quantity, position.quantity)
        position.entries += 1
        position.fees += fee

    def close_quantity(self, i: int, quantity: float, price: float, rate: float, reason: int, *, at_open: bool) -> bool:
        """Close `quantity` of the position at `price` in bar `i`, and record the trade. Returns whether that was all of it.

        `at_open` is whether it happens before what lies inside the bar.
        """
        p = self.position
        assert p is not None
        closes_position = quantity >= p.quantity
        share = 1.0 if closes_position else quantity / p.quantity
        deficit = p.deficit * share
        gross = p.side * quantity * (price - p.entry)
        fee = 0.0
        if reason != LIQUIDATION:
            fee = quantity * price * rate + self.execution.order_fee
            fee = min(fee, max((quantity * p.entry / self.execution.leverage - deficit) + gross, 0.0))
        self.balance = self.balance + gross - fee
        self.traded_notional += quantity * price
        entry_fees, funding = p.fees * share, p.funding * share
        fees = entry_fees + fee
        net = gross - fees - funding
        entry_index, first = p.entry_index, self.first
        self.trades.append(
            (
                self.time[entry_index],
                self.time[i],
                entry_index - first,
                i - first,
                int(p.side),
                reason,
                quantity,
                p.entry,
                price,
                gross,
                fees,
                funding,
                net,
                *p.excursions(price),
            )
        )
        p.net += net
        if closes_position:
            self._leave(i, p, at_open=at_open)
        else:
            p.quantity -= quantity
            p.fees -= entry_fees
            p.funding -= funding
            p.deficit -= deficit
        return closes_position

    def _leave(self, i: int, position: Position, *, at_open: bool) -> None:
        """Count the bars of the position, each bar once, and end the run if nothing is left."""
        begin = max(position.entry_index + position.entered_at_close, self.exposed_until + 1)
        end = i - 1 if at_open and i > position.entry_index else i
        self.exposed_bars += max(end - begin + 1, 0)
        self.exposed_until = max(end, self.exposed_until)
        self.position = None
        if self.balance <= self.dust:
            self.balance, self.ruined = 0.0, True
