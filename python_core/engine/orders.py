"""Orders of every strategy bar, and the base bars on which they are due.

The twins in `core_rs/src/signals` are `order_tile.rs` and `level.rs`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.engine.evaluate import evaluate
from python_core.engine.prices import Prices
from python_core.engine.strategy_bars import StrategyBars
from python_core.execution import RESTING, Execution
from python_core.levels import Atr, Side
from python_core.strategy.compile import LEVEL_SIDES, Plan
from python_core.strategy.signals import Signals

Mask = npt.NDArray[np.bool_]
Series = npt.NDArray[np.float64]
NONE, FRACTION, DISTANCE, PRICE = range(4)


class Level(NamedTuple):
    """A level of an entry at its signal's bar: none, a fraction of a price, a distance from it, or a price."""

    kind: int
    value: float = 0.0

    def from_price(self, price: float, direction: float) -> float | None:
        """The level above (`direction` 1.0) or below (-1.0) a price; None for no level."""
        if self.kind == FRACTION:
            return price * (1.0 + direction * self.value)
        if self.kind == DISTANCE:
            return price + direction * self.value
        return self.value if self.kind == PRICE else None


class Entry(NamedTuple):
    """An entry order.

    Attributes:
        side: 1.0 for long, -1.0 for short.
        strategy_bar: that of its signal.
        resting_level: price at which it rests, in whole ticks; None for a market order.
    """

    side: float
    strategy_bar: int
    resting_level: float | None


class Due(NamedTuple):
    """The orders of one strategy bar; of its entries those that are known and don't cancel each other."""

    entry_long: Entry | None
    exit_long: bool
    entry_short: Entry | None
    exit_short: bool


class Orders:
    """Orders, levels and sizes of every strategy bar."""

    def __init__(
        self,
        bars: StrategyBars,
        execution: Execution,
        masks: tuple[Mask, Mask, Mask, Mask],
        series: tuple[Series | None, ...],
        signals: Signals | None,
    ) -> None:
        self._execution, self._prices = execution, Prices(execution)
        self._masks = tuple(mask.tolist() for mask in masks)
        self._any: list[bool] = (masks[0] | masks[1] | masks[2] | masks[3]).tolist()
        self._close = bars.columns["close"].tolist()
        self._series = [None if values is None else values.tolist() for values in series]
        given = (None,) * len(LEVEL_SIDES) if signals is None else signals.levels
        self._given = [None if values is None else values.tolist() for values in given]
        self._sizes = None if signals is None or signals.size is None else signals.size.tolist()
        brought = () if signals is None else signals.shape.levels
        self._resting = next((name for name in RESTING if getattr(execution, name) is not None or name in brought), None)
        self.fills_at: list[int] = bars.fills_at.tolist()

    @property
    def rest_as_limits(self) -> bool:
        """Whether entries that rest are limits; else they are stops."""
        return self._resting == "entry_limit"

    def due(self, k: int) -> Due | None:
        """The orders of strategy bar `k`; None if it has no signal."""
        if not self._any[k]:
            return None
        enters_long, exit_long, enters_short, exit_short = (mask[k] for mask in self._masks)
        entry_long = self._entry(k, 1.0) if enters_long else None
        entry_short = self._entry(k, -1.0) if enters_short else None
        if entry_long is not None and entry_short is not None and (entry_long.resting_level is None or entry_short.resting_level is None):
            entry_long = entry_short = None
        return Due(entry_long, exit_long, entry_short, exit_short)

    def _entry(self, k: int, side: float) -> Entry | None:
        """The entry of a side; None if one of its numbers is not known, or is none that an order can have."""
        size, trailing = self.size(k), self.level("trailing_stop", k, side)
        levels = [self.level(name, k, side) for name in ("stop_loss", "take_profit")]
        if math.isnan(size) or any(math.isnan(level.value) for level in (trailing, *levels)):
            return None
        if trailing.kind == DISTANCE and trailing.value < 0:
            return None
        if self._resting is None:
            return Entry(side, k, None)
        toward = -side if self.rest_as_limits else side
        level = self.level(self._resting, k, side).from_price(self._close[k], toward)
        if level is None:
            return Entry(side, k, None)
        if math.isnan(level):
            return None
        level = self._prices.rounded(level, toward)
        return Entry(side, k, level) if 0 < level < math.inf else None

    def size(self, k: int) -> float:
        """The size of an entry of strategy bar `k`, NaN where there is none."""
        return self._execution.size if self._sizes is None else self._sizes[k]

    def level(self, name: str, k: int, side: float) -> Level:
        """A level (`LEVELS`) of an entry of strategy bar `k`; its value is NaN where it is not known."""
        side_name: Side = "long" if side > 0 else "short"
        i = LEVEL_SIDES.index((name, side_name))
        amount = DISTANCE if name == "trailing_stop" else PRICE
        if (given := self._given[i]) is not None:
            return Level(NONE) if given[k] == 0 or math.isinf(given[k]) else Level(amount, given[k])
        spec = self._execution.level(name, side_name)
        if spec is None:
            return Level(NONE)
        if (series := self._series[i]) is None:
            return Level(FRACTION, float(spec))
        return Level(DISTANCE, spec.multiple * series[k]) if isinstance(spec, Atr) else Level(amount, series[k])

    def stop_loss(self, k: int, side: float, price: float) -> float | None:
        """The stop-loss of a position entered at `price`, in whole ticks."""
        level = self.level("stop_loss", k, side).from_price(price, -side)
        return None if level is None else self._prices.rounded(level, -side)

    def take_profit(self, k: int, side: float, price: float) -> float | None:
        """The take-profit of a position entered at `price`, in whole ticks."""
        level = self.level("take_profit", k, side).from_price(price, side)
        return None if level is None else self._prices.rounded(level, side)

    def trailing_stop(self, k: int, side: float) -> tuple[float | None, float | None]:
        """The distance of a trailing stop, as a fraction of the best price or as an amount."""
        level = self.level("trailing_stop", k, side)
        return level.value if level.kind == FRACTION else None, level.value if level.kind == DISTANCE else None


def make_orders(
    bars: Bars, timeframe: str | None, plan: Plan, execution: Execution, signals: Signals | None, control: Control | None = None
) -> Orders:
    """Orders of a plan; with ready-made `signals` (on base bars) only the levels of the execution are the plan's."""
    strategy_bars = StrategyBars(bars, timeframe)
    values = evaluate(plan.nodes, strategy_bars, control, fill_at_close=execution.fill == "close")
    never = np.zeros(len(strategy_bars), dtype=bool)
    if signals is None:
        masks = [never if i < 0 else values[i][0] for i in plan.conditions]
    else:
        masks = [never if mask is None else mask for mask in signals.masks]
    series = tuple(None if i < 0 else values[i][0] for i in plan.levels)
    return Orders(strategy_bars, execution, (masks[0], masks[1], masks[2], masks[3]), series, signals)
