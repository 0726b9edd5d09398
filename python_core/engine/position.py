"""An open position, its fees, funding and deficit, and the levels that close it.

The twins in `core_rs/src/simulation` are `position.rs` and `intrabar.rs` (levels).
"""

from __future__ import annotations

from python_core.engine.prices import Prices, touches
from python_core.engine.sizing import round_down_to_step
from python_core.execution import Execution
from python_core.trades import BREAK_EVEN, STOP_LOSS, TRAILING_STOP


class Position:
    """An open position.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        entry_index, entry_strategy_bar: bar of the first entry, and the last strategy bar whose orders were due by then.
        entered_at_close: whether the first entry filled at its bar's close.
        entry: average entry price.
        max_quantity: largest quantity so far, of which partial exits close shares.
        entries: number of entries.
        fees, funding, deficit: paid so far, without what exits have settled; the deficit is funding that came out of the margin.
        net: of the exits so far, money.
        highest, lowest: highest and lowest price from the first entry to the end of the bar before.
        stop_loss, take_profit: their prices, in whole ticks.
        trailing_fraction, trailing_distance: distance of the trailing stop, as a fraction of the best price or as an amount.
        partial_exits_done: number of `partial_exits` that have been reached.
    """

    def __init__(
        self,
        execution: Execution,
        prices: Prices,
        side: float,
        price: float,
        *,
        entry_index: int,
        entry_strategy_bar: int,
        entered_at_close: bool,
    ) -> None:
        self.execution, self.prices, self.side = execution, prices, side
        self.entry_index = entry_index
        self.entry_strategy_bar = entry_strategy_bar
        self.entered_at_close = entered_at_close
        self.entry = price
        self.quantity = 0.0
        self.max_quantity = 0.0
        self.entries = 0
        self.fees = self.funding = self.deficit = self.net = 0.0
        self.highest = self.lowest = price
        self.stop_loss: float | None = None
        self.take_profit: float | None = None
        self.trailing_fraction: float | None = None
        self.trailing_distance: float | None = None
        self.partial_exits_done = 0

    def observe_bar(self, high: float, low: float) -> None:
        """Extend the price range by that of a bar at whose end the position is still open."""
        self.highest = max(self.highest, high)
        self.lowest = min(self.lowest, low)

    def excursions(self, price: float) -> tuple[float, float]:
        """MAE and MFE of an exit at `price`, as fractions of the entry price."""
        high, low = max(self.highest, price), min(self.lowest, price)
        favourable, adverse = (high, low) if self.side > 0 else (low, high)
        return self.side * (adverse - self.entry) / self.entry, self.side * (favourable - self.entry) / self.entry

    @property
    def best_price(self) -> float:
        """The most favourable price so far."""
        return self.highest if self.side > 0 else self.lowest

    def worse(self, a: float, b: float) -> float:
        """The worse of two prices for the position."""
        return min(a, b) if self.side > 0 else max(a, b)

    def better(self, a: float, b: float) -> float:
        """The better of two prices for the position."""
        return max(a, b) if self.side > 0 else min(a, b)

    def falls_to(self, price: float, level: float) -> bool:
        """Whether a price that moves against the position touches the level."""
        return touches(price, level, -self.side)

    def rises_to(self, price: float, level: float) -> bool:
        """Whether a price that moves in favour of the position touches the level."""
        return touches(price, level, self.side)

    @property
    def margin(self) -> float:
        """Cash that the position holds."""
        return self.quantity * self.entry / self.execution.leverage - self.deficit

    @property
    def liquidation_level(self) -> float | None:
        """Price at which the margin is down to the maintenance margin; None for a long without leverage and deficit."""
        if self.execution.leverage == 1 and self.side > 0 and not self.deficit > 0:
            return None
        return self._less_deficit(self.entry * (1.0 - self.side * (1.0 / self.execution.leverage - self.execution.maintenance_margin)))

    @property
    def bankruptcy_price(self) -> float:
        """Price at which the whole margin is lost."""
        return self._less_deficit(self.entry * (1.0 - self.side / self.execution.leverage))

    def _less_deficit(self, price: float) -> float:
        return price + self.side * (self.deficit / self.quantity) if self.deficit > 0 else price

    def stop_level(self) -> tuple[float | None, int]:
        """The nearest of stop-loss, trailing stop and break-even stop, and its reason; of equal ones the first."""
        level, reason = self.stop_loss, STOP_LOSS
        for other, other_reason in ((self._trailing_level(), TRAILING_STOP), (self._break_even_level(), BREAK_EVEN)):
            if other is not None and (level is None or (other > level if self.side > 0 else other < level)):
                level, reason = other, other_reason
        return level, reason

    def _trailing_level(self) -> float | None:
        if self.trailing_fraction is None and self.trailing_distance is None:
            return None
        activation = self.execution.trailing_activation
        if activation is not None and not self._has_gained(activation):
            return None
        if self.trailing_fraction is not None:
            level = self.best_price * (1.0 - self.side * self.trailing_fraction)
        else:
            assert self.trailing_distance is not None
            level = self.best_price - self.side * self.trailing_distance
        return self.prices.rounded(level, -self.side)

    def _break_even_level(self) -> float | None:
        gain = self.execution.break_even_at
        return None if gain is None or not self._has_gained(gain) else self.prices.rounded(self.entry, -self.side)

    def _has_gained(self, gain: float) -> bool:
        return self.rises_to(self.best_price, self.entry * (1.0 + self.side * gain))

    def next_profit_level(self) -> float | None:
        """The nearer of the next partial exit and the take-profit."""
        partial, target = self.partial_exit_level(), self.take_profit
        if partial is None:
            return target
        return partial if target is None else self.worse(partial, target)

    def reaches_profit(self, price: float, level: float) -> bool:
        """Whether `price` fills a profit level, which is a limit."""
        return touches(price, level, self.side, self.execution.limit_through)

    def partial_exit_level(self) -> float | None:
        """Price of the next partial exit."""
        if self.partial_exits_done == len(self.execution.partial_exits):
            return None
        profit, _ = self.execution.partial_exits[self.partial_exits_done]
        return self.prices.rounded(self.entry * (1.0 + self.side * profit), self.side)

    def partial_exit_quantity(self) -> float:
        """Quantity of the next partial exit; shares that add up to 1 close what is left."""
        total = 0.0
        for _, share in self.execution.partial_exits[: self.partial_exits_done + 1]:
            total += share
        if total >= 1.0 - 1e-9:  # ten tenths add up to 0.9999999999999999
            return self.quantity
        quantity = self.max_quantity * self.execution.partial_exits[self.partial_exits_done][1]
        step = self.execution.step
        return min(round_down_to_step(quantity, step) if step > 0 else quantity, self.quantity)
