"""Orders of every strategy bar, and the base bars on which they fill. The twin is `core_rs/src/signals/orders.rs`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.engine.evaluate import evaluate
from python_core.engine.strategy_bars import StrategyBars
from python_core.execution import LEVELS, Fill
from python_core.levels import Atr
from python_core.strategy.compile import Plan
from python_core.strategy.signals import Signals

Mask = npt.NDArray[np.bool_]
Series = npt.NDArray[np.float64]


class Orders:
    """Signals and levels of every strategy bar.

    Entries of both sides on one bar cancel each other; an entry whose stop or target is not known yet is dropped.
    """

    def __init__(self, bars: StrategyBars, masks: tuple[Mask, Mask, Mask, Mask], levels: dict[str, Series]) -> None:
        entry_long, exit_long, entry_short, exit_short = masks
        known = np.ones(len(bars), dtype=bool)
        for name, values in levels.items():
            with np.errstate(invalid="ignore"):
                known &= values >= 0 if name == "trailing_stop" else ~np.isnan(values)
        entry_long, entry_short = entry_long & ~entry_short & known, entry_short & ~entry_long & known
        self._masks = tuple(mask.tolist() for mask in (entry_long, exit_long, entry_short, exit_short))
        self._any = np.flatnonzero(entry_long | exit_long | entry_short | exit_short)
        self._levels = {name: values.tolist() for name, values in levels.items()}
        self.fills_at, self._base_bars = bars.fills_at, bars.base_bars

    def at(self, k: int) -> tuple[bool, bool, bool, bool]:
        """entry_long, exit_long, entry_short, exit_short of strategy bar `k`."""
        a, b, c, d = self._masks
        return a[k], b[k], c[k], d[k]

    def level(self, name: str, k: int, spec: Atr | str) -> float:
        """The level's series at strategy bar `k`, times the multiple if it is an ATR distance."""
        value: float = self._levels[name][k]
        return spec.multiple * value if isinstance(spec, Atr) else value

    def schedule(self, fill: str) -> tuple[dict[int, int], dict[int, int]]:
        """Two maps of base bar to strategy bar: orders that fill at the base bar's open, and those that fill at its close."""
        at_open, at_close = {}, {}
        for k in self._any.tolist():
            i = int(self.fills_at[k])
            if i == self._base_bars:
                continue
            if fill == "close":
                at_close[i - 1] = k
            else:
                at_open[i] = k
        return at_open, at_close


def make_orders(
    bars: Bars, timeframe: str | None, plan: Plan, signals: Signals | None, control: Control | None = None, *, fill: Fill = "next_open"
) -> Orders:
    """Orders of a plan; with ready-made `signals` (on base bars) only the levels are the plan's."""
    strategy_bars = StrategyBars(bars, timeframe)
    n = len(strategy_bars)
    values = evaluate(plan.nodes, strategy_bars, control, fill_at_close=fill == "close")
    never = np.zeros(n, dtype=bool)
    if signals is None:
        masks = [never if i < 0 else values[i][0] for i in plan.conditions]
    else:
        masks = [never if mask is None else mask for mask in signals.masks]
    levels = {name: values[i][0] for name, i in zip(LEVELS, plan.levels[::2], strict=True) if i >= 0}
    return Orders(strategy_bars, (masks[0], masks[1], masks[2], masks[3]), levels)
