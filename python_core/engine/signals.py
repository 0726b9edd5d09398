"""A plan over bars: signals and frozen levels, one row for each strategy bar, and the base bar on which its orders fill."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.engine.control import Control
from python_core.errors import StrategyError
from python_core.execution import Atr
from python_core.indicators import INDICATORS
from python_core.language.plan import SEEN, STREAKS, Node
from python_core.language.vocabulary import COLUMNS, TIME_PARTS
from python_core.numerics.elementwise import BINARY, COMPARISONS, UNARY
from python_core.strategy.strategy import LEVELS, Plan, Signals

Mask = npt.NDArray[np.bool_]
Series = npt.NDArray[np.float64]


class StrategyBars:
    """Bars in the strategy's timeframe, built from base bars; a bar that the data does not complete is left out.

    `fills_at[k]` is the first base bar that opens at or after the close of strategy bar k; n where there is none.
    `closes[k]` is when it closes, `on_close[k]` says whether the base bar before it closes just then (it does not where the data has a gap).
    """

    def __init__(self, bars: Bars, timeframe: str | None) -> None:
        length = bars.timeframe_ms if timeframe is None else timeframes.milliseconds(timeframe)
        check_multiple(bars, timeframe)
        self._bars, self._higher = bars, {0: self}
        self.base_bars = len(bars)
        if length == bars.timeframe_ms:
            self.columns: dict[str, Series] = {name: getattr(bars, name) for name in COLUMNS}
            self.columns["time"] = bars.time.astype(np.float64)
            self.closes = bars.time + length
            self.fills_at = np.arange(1, len(bars) + 1)
            self.on_close = np.ones(len(bars), dtype=bool)
            return
        bucket = timeframes.bucket_start(bars.time, length)
        first = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        ends = bucket[first] + length
        complete = ends <= bars.time[-1] + bars.timeframe_ms
        last = np.append(first[1:], len(bars)) - 1
        first, last, ends = first[complete], last[complete], ends[complete]
        self.closes = ends
        self.columns = {
            "open": bars.open[first],
            "high": np.maximum.reduceat(bars.high, first)[: len(first)] if len(first) else np.empty(0),
            "low": np.minimum.reduceat(bars.low, first)[: len(first)] if len(first) else np.empty(0),
            "close": bars.close[last],
            "volume": _sums(bars.volume, first, last),
            "time": bucket[first].astype(np.float64),
        }
        if len(first) and last[-1] + 1 < len(bars):
            # reduceat runs to the end of the data; the last complete bar does not.
            self.columns["high"][-1] = bars.high[first[-1] : last[-1] + 1].max()
            self.columns["low"][-1] = bars.low[first[-1] : last[-1] + 1].min()
        self.fills_at = last + 1
        self.on_close = bars.time[last] + bars.timeframe_ms >= ends

    def __len__(self) -> int:
        return len(self.fills_at)

    def higher(self, frame: int) -> StrategyBars:
        """The same history in bars of `frame` milliseconds; 0: these."""
        if frame not in self._higher:
            self._higher[frame] = StrategyBars(self._bars, timeframes.name(frame))
        return self._higher[frame]


def check_multiple(bars: Bars, timeframe: str | None) -> None:
    """A strategy runs on the timeframe of the bars or a whole multiple of it."""
    length = bars.timeframe_ms if timeframe is None else timeframes.milliseconds(timeframe)
    if length % bars.timeframe_ms:
        raise StrategyError(
            f"{timeframe} is no whole multiple of the bars' {bars.timeframe}",
            where="timeframe",
            hint="use a coarser timeframe or finer bars",
        )


def _sums(values: Series, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Series:
    """Sums from `first` to `last`, each added up from left to right."""
    total = values[first].copy()
    for offset in range(1, int((last - first).max(initial=0)) + 1):
        there = first + offset <= last
        total[there] += values[first[there] + offset]
    return total


class Orders:
    """Signals and levels of every strategy bar, after the rules of the contract for signals on one bar.

    An entry and an opposite entry cancel each other; an entry whose stop or target is not known yet is none.
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
        self.fills_at, self._on_close, self._base_bars = bars.fills_at, bars.on_close, bars.base_bars

    def at(self, k: int) -> tuple[bool, bool, bool, bool]:
        """entry_long, exit_long, entry_short, exit_short of strategy bar `k`."""
        a, b, c, d = self._masks
        return a[k], b[k], c[k], d[k]

    def level(self, name: str, k: int, spec: Atr | str) -> float:
        """The level's series at strategy bar `k`: a price or distance, times the multiple of an ATR distance."""
        value: float = self._levels[name][k]
        return spec.multiple * value if isinstance(spec, Atr) else value

    def schedule(self, fill: str) -> tuple[dict[int, int], dict[int, int]]:
        """Base bar to strategy bar, for orders that fill at an open and for those that fill at a close."""
        at_open, at_close = {}, {}
        for k in self._any.tolist():
            i = int(self.fills_at[k])
            if i == self._base_bars:
                continue
            if fill == "close" and self._on_close[k]:
                at_close[i - 1] = k
            else:
                at_open[i] = k
        return at_open, at_close


def orders(bars: Bars, timeframe: str | None, plan: Plan, signals: Signals | None, control: Control | None = None) -> Orders:
    """Evaluate a plan, or take ready-made signals (base timeframe) and only the plan's levels."""
    strategy_bars = StrategyBars(bars, timeframe)
    n = len(strategy_bars)
    values = evaluate(plan.nodes, strategy_bars, control)
    never = np.zeros(n, dtype=bool)
    if signals is None:
        masks = [never if i < 0 else values[i][0] for i in plan.conditions]
    else:
        masks = [never if mask is None else mask for mask in signals.masks]
    levels = {name: values[i][0] for name, i in zip(LEVELS, plan.levels, strict=True) if i >= 0}
    return Orders(strategy_bars, (masks[0], masks[1], masks[2], masks[3]), levels)


Value = tuple[npt.NDArray[np.generic], Mask]


def evaluate(nodes: tuple[Node, ...], bars: StrategyBars, control: Control | None = None) -> list[tuple[np.ndarray, Mask]]:
    """Every node's values and where they are known. A truth is known where all that it compares is known, and false elsewhere.

    Raises:
        Cancelled: `control.cancel()` was called; looked at before each node.
    """
    values: list[tuple[np.ndarray, Mask]] = []
    computed: dict[Node, tuple[Series, ...]] = {}
    with np.errstate(all="ignore"):
        for node in nodes:
            if control is not None:
                control.check(0.0)
            rows = bars.higher(node.frame)
            columns, n = rows.columns, len(rows)
            inputs = [values[i] for i in node.inputs]
            series = [value for value, _ in inputs]
            if node.op in (*COLUMNS, "time"):
                result = columns[node.op]
            elif node.op == "const":
                result = np.full(n, node.args[0])
            elif node.op == "truth":
                values.append((np.full(n, bool(node.args[0])), np.ones(n, dtype=bool)))
                continue
            elif node.op in SEEN:
                closed = np.searchsorted(bars.higher(nodes[node.inputs[0]].frame).closes, rows.closes, side="right") - 1
                value, known = inputs[0]
                # -1, no bar has closed yet, is what comes last.
                values.append((np.append(value, False if node.op == "at_truth" else np.nan)[closed], np.append(known, False)[closed]))
                continue
            elif node.op in TIME_PARTS:
                result = _part_of_time(node.op, columns["time"])
            elif node.op in UNARY:
                result = UNARY[node.op](*series)
            elif node.op in BINARY:
                result = BINARY[node.op](*series)
            elif node.op == "select":
                condition, known = inputs[0]
                result = np.where(known, np.where(condition, series[1], series[2]), np.nan)
            elif node.op in INDICATORS:
                indicator = INDICATORS[node.op]
                count = len(indicator.arguments)
                whole = node._replace(args=node.args[:count])  # all outputs are computed at once
                if whole not in computed:
                    computed[whole] = indicator.compute(series, whole.args)
                result = computed[whole][int(node.args[count]) if indicator.outputs else 0]
            else:
                values.append(_streak(node, inputs[0]) if node.op in STREAKS else _truth(node.op, inputs))
                continue
            values.append((result, ~np.isnan(result)))
    return values


def _part_of_time(part: str, time_ms: Series) -> Series:
    days, in_day = np.divmod(time_ms, timeframes.DAY_MS)
    if part == "weekday":
        return (days + 3.0) % 7.0  # 1970-01-01 was a Thursday
    return in_day // 3_600_000 if part == "hour" else in_day // 60_000 % 60.0


def _streak(node: Node, series: tuple[np.ndarray, Mask]) -> tuple[np.ndarray, Mask]:
    """Whether each of the last bars, as many as the number says, was above (rising) or below (falling) the one before it."""
    x, known = series
    length = int(node.args[0])
    moved = np.zeros(len(x), dtype=bool)
    moved[1:] = x[1:] > x[:-1] if node.op == "rising" else x[1:] < x[:-1]
    return _in_a_row(moved) >= length, _in_a_row(known) > length


def _in_a_row(mask: Mask) -> npt.NDArray[np.int64]:
    """How many bars up to each have been true without a break."""
    positions = np.arange(len(mask))
    return positions - np.maximum.accumulate(np.where(mask, -1, positions))


def _truth(op: str, inputs: list[tuple[np.ndarray, Mask]]) -> tuple[np.ndarray, Mask]:
    if op == "not":
        value, known = inputs[0]
        return ~value & known, known
    (a, a_known), (b, b_known) = inputs
    known = a_known & b_known
    if op in COMPARISONS:
        return COMPARISONS[op](a, b) & known, known
    if op == "and":
        return a & b & known, known
    if op == "or":
        return (a | b) & known, known
    now = (a > b if op == "crossover" else a < b) & known
    earlier = (a <= b if op == "crossover" else a >= b) & known
    both = np.zeros(len(known), dtype=bool)
    both[1:] = known[1:] & known[:-1]
    crossed = np.zeros(len(known), dtype=bool)
    crossed[1:] = now[1:] & earlier[:-1]
    return crossed & both, both
