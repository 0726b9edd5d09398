"""An open position and the levels that end it."""

from __future__ import annotations

from python_core.engine.sizing import whole_steps
from python_core.execution import Execution
from python_core.trades import BREAK_EVEN, STOP_LOSS, TRAILING_STOP


class Position:
    """An open position.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        opened, strategy_bar: bar of the first entry, and strategy bar of its signal.
        entry: average entry price.
        largest: largest quantity so far, from which partial exits take their shares.
        fees, funding: paid so far, without what exits have settled.
        highest, lowest: highest and lowest price from the first entry to the end of the bar before.
        stop, target: prices of the stop-loss and the take-profit.
        trail: distance of the trailing stop: a price difference if it is from a series, else a fraction.
        rungs: steps of `partial_exits` that have been reached.
    """

    def __init__(self, side: float, opened: int, strategy_bar: int, price: float) -> None:
        self.side = side
        self.opened = opened
        self.strategy_bar = strategy_bar
        self.entry = price
        self.quantity = 0.0
        self.largest = 0.0
        self.entries = 0
        self.fees = 0.0
        self.funding = 0.0
        self.highest = self.lowest = price
        self.stop: float | None = None
        self.target: float | None = None
        self.trail: float | None = None
        self.rungs = 0

    @property
    def best(self) -> float:
        """The most favourable price so far."""
        return self.highest if self.side > 0 else self.lowest

    def beyond(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or worse for the position."""
        return price <= level if self.side > 0 else price >= level

    def reached(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or better for the position."""
        return price >= level if self.side > 0 else price <= level

    def liquidation_level(self, rules: Execution) -> float | None:
        """Price at which the margin is down to the maintenance margin; None for a long position without leverage."""
        if rules.leverage == 1.0 and self.side > 0:
            return None
        return self.entry * (1.0 - self.side * (1.0 / rules.leverage - rules.maintenance_margin))

    def stop_level(self, rules: Execution) -> tuple[float | None, int]:
        """The nearest of stop-loss, trailing stop and break-even stop, and its reason."""
        level, reason = self.stop, STOP_LOSS
        if self.trail is not None:
            start = rules.trailing_activation
            if start is None or self.reached(self.best, self.entry * (1.0 + self.side * start)):
                if isinstance(rules.trailing_stop, float | int):
                    trailing = self.best * (1.0 - self.side * self.trail)
                else:
                    trailing = self.best - self.side * self.trail
                if level is None or (trailing != level and self.reached(trailing, level)):
                    level, reason = trailing, TRAILING_STOP
        if rules.break_even_at is not None and self.reached(self.best, self.entry * (1.0 + self.side * rules.break_even_at)):
            if level is None or (self.entry != level and self.reached(self.entry, level)):
                level, reason = self.entry, BREAK_EVEN
        return level, reason

    def next_profit(self, rules: Execution) -> float | None:
        """The nearer of the take-profit and the next partial exit."""
        rung = self.rung_level(rules)
        if rung is None or (self.target is not None and not self.beyond(rung, self.target)):
            return self.target
        return rung

    def rung_level(self, rules: Execution) -> float | None:
        """Price of the next partial exit."""
        ladder = rules.partial_exits
        return self.entry * (1.0 + self.side * ladder[self.rungs][0]) if self.rungs < len(ladder) else None

    def rung_quantity(self, rules: Execution) -> float:
        """Quantity of the next partial exit; shares that add up to 1 close all that is left."""
        total = 0.0
        for _, share in rules.partial_exits[: self.rungs + 1]:
            total += share
        if total >= 1.0 - 1e-9:  # ten tenths add up to 0.9999999999999999
            return self.quantity
        quantity = self.largest * rules.partial_exits[self.rungs][1]
        return whole_steps(quantity, rules.step) if rules.step > 0 else quantity
