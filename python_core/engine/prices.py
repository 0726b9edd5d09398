"""Touched levels, slippage and ticks. The twin is `core_rs/src/simulation/prices.rs`."""

from __future__ import annotations

import math
from typing import Final

from python_core.execution import Execution

# Levels are touched by a price that misses them by a rounding error only: 110.0 touches 100 * 1.1, which is 110.00000000000001.
_FALLING: Final = 1.000000000001
_RISING: Final = 0.999999999999


def touches(price: float, level: float, direction: float, through: float = 0.0) -> bool:
    """Whether a price that moves up (`direction` 1.0) or down (-1.0) touches the level, or goes through it by that fraction."""
    if direction > 0:
        return price >= level * (1.0 + through) if through > 0 else price >= level * _RISING
    return price <= level * (1.0 - through) if through > 0 else price <= level * _FALLING


class Prices:
    """Slippage and ticks of a run."""

    def __init__(self, execution: Execution) -> None:
        self.slippage = float(execution.slippage)
        self.tick = float(execution.tick)
        # Most ticks are 1 / a whole number: dividing by it gives the float nearest to the decimal price, as multiplying by the tick does not.
        inverse = 1.0 / self.tick if self.tick > 0 else math.inf
        whole = float(math.floor(inverse + 0.5)) if inverse < math.inf else 0.0
        self.ticks_per_unit = whole if whole >= 1.0 and abs(inverse - whole) <= 1e-9 * whole else 0.0

    def slipped(self, price: float, direction: float) -> float:
        """Fill price of a market order or a stop that buys (`direction` 1.0) or sells (-1.0)."""
        return self.rounded(price * (1.0 + direction * self.slippage), direction)

    def rounded(self, price: float, direction: float) -> float:
        """The price in whole ticks, rounded up (`direction` 1.0) or down (-1.0)."""
        if self.tick == 0.0:
            return price
        ratio = price / self.tick
        if not abs(ratio) < 2.0**52:
            return price
        ticks = float(whole_units(ratio, direction))
        return ticks / self.ticks_per_unit if self.ticks_per_unit > 0 else ticks * self.tick


def whole_units(ratio: float, direction: float) -> int:
    """`ratio`, below 2**52, rounded up or down; the nearest whole number if it is within a billionth of it.

    In float64, 0.3 is slightly less than 3 * 0.1 but is three steps of 0.1.
    """
    nearest = math.floor(ratio + 0.5)
    if abs(ratio - nearest) <= 1e-9 * abs(nearest):
        return nearest
    return math.ceil(ratio) if direction > 0 else math.floor(ratio)
