"""An open position, its fees and funding, and the levels that close it. The twin is `core_rs/src/simulation/position.rs`."""

from __future__ import annotations

from python_core.engine.sizing import round_down_to_step
from python_core.execution import Execution
from python_core.trades import BREAK_EVEN, STOP_LOSS, TRAILING_STOP


class Position:
    """An open position.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        entry_index, entry_strategy_bar: bar of the first entry, and strategy bar of its signal.
        entry: average entry price.
        max_quantity: largest quantity so far, of which partial exits close shares.
        entries: number of entries.
        fees, funding: paid so far, without what exits have settled.
        highest, lowest: highest and lowest price from the first entry to the end of the bar before.
        stop_loss, take_profit: their prices.
        trailing_distance: distance of the trailing stop: a fraction of the price if the execution sets one, else an amount.
        partial_exits_done: number of `partial_exits` that have been reached.
    """

    def __init__(self, side: float, entry_index: int, entry_strategy_bar: int, price: float) -> None:
        self.side = side
        self.entry_index = entry_index
        self.entry_strategy_bar = entry_strategy_bar
        self.entry = price
        self.quantity = 0.0
        self.max_quantity = 0.0
        self.entries = 0
        self.fees = 0.0
        self.funding = 0.0
        self.highest = self.lowest = price
        self.stop_loss: float | None = None
        self.take_profit: float | None = None
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

    def at_or_worse(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or worse for the position."""
        return price <= level if self.side > 0 else price >= level

    def at_or_better(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or better for the position."""
        return price >= level if self.side > 0 else price <= level

    def liquidation_level(self, execution: Execution) -> float | None:
        """Price at which the margin is down to the maintenance margin; None for a long position without leverage."""
        if execution.leverage == 1.0 and self.side > 0:
            return None
        return self.entry * (1.0 - self.side * (1.0 / execution.leverage - execution.maintenance_margin))

    def stop_level(self, execution: Execution) -> tuple[float | None, int]:
        """The nearest of stop-loss, trailing stop and break-even stop, and its reason."""
        level, reason = self.stop_loss, STOP_LOSS
        if self.trailing_distance is not None:
            start = execution.trailing_activation
            if start is None or self.at_or_better(self.best_price, self.entry * (1.0 + self.side * start)):
                if isinstance(execution.trailing_stop, float | int):
                    trailing = self.best_price * (1.0 - self.side * self.trailing_distance)
                else:
                    trailing = self.best_price - self.side * self.trailing_distance
                if level is None or (trailing != level and self.at_or_better(trailing, level)):
                    level, reason = trailing, TRAILING_STOP
        start = execution.break_even_at
        if start is not None and self.at_or_better(self.best_price, self.entry * (1.0 + self.side * start)):
            if level is None or (self.entry != level and self.at_or_better(self.entry, level)):
                level, reason = self.entry, BREAK_EVEN
        return level, reason

    def next_profit_level(self, execution: Execution) -> float | None:
        """The nearer of the next partial exit and the take-profit."""
        partial = self.partial_exit_level(execution)
        if partial is None or (self.take_profit is not None and not self.at_or_worse(partial, self.take_profit)):
            return self.take_profit
        return partial

    def partial_exit_level(self, execution: Execution) -> float | None:
        """Price of the next partial exit."""
        if self.partial_exits_done == len(execution.partial_exits):
            return None
        profit, _ = execution.partial_exits[self.partial_exits_done]
        return self.entry * (1.0 + self.side * profit)

    def partial_exit_quantity(self, execution: Execution) -> float:
        """Quantity of the next partial exit; shares that add up to 1 close what is left."""
        total = 0.0
        for _, share in execution.partial_exits[: self.partial_exits_done + 1]:
            total += share
        if total >= 1.0 - 1e-9:  # ten tenths add up to 0.9999999999999999
            return self.quantity
        quantity = self.max_quantity * execution.partial_exits[self.partial_exits_done][1]
        return round_down_to_step(quantity, execution.step) if execution.step > 0 else quantity
