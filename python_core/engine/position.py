"""An open position."""

from __future__ import annotations

import math


class Position:
    """An open position.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        opened, strategy_bar: bar of the first entry, and strategy bar of its signal.
        entry: average entry price.
        largest: the greatest quantity so far, of which partial exits take their shares.
        fees, funding: paid so far, without what exits have settled.
        highest, lowest: of the prices since the first entry, of whole bars up to the one before.
        stop, target: prices of the stop-loss and the take-profit.
        trail: distance of the trailing stop, in money if it comes from a series, else a fraction.
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
        """The best price so far for the position."""
        return self.highest if self.side > 0 else self.lowest

    def beyond(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or worse for the position."""
        return price <= level if self.side > 0 else price >= level

    def reached(self, price: float, level: float) -> bool:
        """Whether `price` is at `level` or better for the position."""
        return price >= level if self.side > 0 else price <= level


def whole_steps(quantity: float, step: float) -> float:
    """`quantity` rounded down to a multiple of `step`.

    Within a billionth of a multiple it is that multiple: in float64, 0.3 is slightly less than 3 * 0.1 but is three steps of 0.1.
    """
    ratio = quantity / step
    if not ratio < 2.0**52:  # every float this large is an integer
        return quantity
    nearest = math.floor(ratio + 0.5)
    steps = nearest if abs(ratio - nearest) <= 1e-9 * nearest else math.floor(ratio)
    return float(steps) * step
