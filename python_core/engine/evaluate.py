"""The series of a plan, one value for each strategy bar. The twin is `core_rs/src/signals/evaluate.rs`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.engine.control import Control
from python_core.engine.strategy_bars import StrategyBars
from python_core.indicators import INDICATORS
from python_core.language.plan import AT_OPS, STREAKS, Node
from python_core.language.vocabulary import COLUMNS, TIME_PARTS
from python_core.numerics.elementwise import BINARY, COMPARISONS, MEANS, UNARY

Mask = npt.NDArray[np.bool_]
Series = npt.NDArray[np.float64]


def evaluate(
    nodes: tuple[Node, ...], strategy_bars: StrategyBars, control: Control | None = None, *, fill_at_close: bool = False
) -> list[tuple[np.ndarray, Mask]]:
    """Values of every node, and a mask of the bars on which they are known.

    Numbers are NaN where they are not known; conditions are false there, and known where everything they compare is known. `fill_at_close`
    says which bars of higher timeframes are visible, as in `StrategyBars.last_visible`.

    Raises:
        Cancelled: `control.cancel()` was called; checked before each node.
    """
    values: list[tuple[np.ndarray, Mask]] = []
    computed: dict[Node, tuple[Series, ...]] = {}
    with np.errstate(all="ignore"):
        for node in nodes:
            if control is not None:
                control.check(0.0)
            bars = strategy_bars.higher_timeframe(node.timeframe_ms)
            columns, n = bars.columns, len(bars)
            inputs = [values[i] for i in node.inputs]
            series = [value for value, _ in inputs]
            if node.op in (*COLUMNS, "time"):
                result = columns[node.op]
            elif node.op == "const":
                result = np.full(n, node.args[0])
            elif node.op == "const_condition":
                values.append((np.full(n, bool(node.args[0])), np.ones(n, dtype=bool)))
                continue
            elif node.op in AT_OPS:
                higher = strategy_bars.higher_timeframe(nodes[node.inputs[0]].timeframe_ms)
                visible = bars.last_visible(higher, fill_at_close=fill_at_close)
                value, known = inputs[0]
                # -1 means that no bar is visible yet; it picks the value appended at the end.
                values.append((np.append(value, False if node.op == "at_condition" else np.nan)[visible], np.append(known, False)[visible]))
                continue
            elif node.op in TIME_PARTS:
                result = _time_part(node.op, columns["time"])
            elif node.op in UNARY:
                result = UNARY[node.op](*series)
            elif node.op in BINARY:
                result = BINARY[node.op](*series)
            elif node.op in MEANS:
                result = MEANS[node.op](*series)
            elif node.op == "select":
                condition, known = inputs[0]
                result = np.where(known, np.where(condition, series[1], series[2]), np.nan)
            elif node.op in INDICATORS:
                indicator = INDICATORS[node.op]
                count = len(indicator.arguments)
                # The last argument picks an output; without it the key is the same for all of them, which are computed at once.
                call = node._replace(args=node.args[:count])
                if call not in computed:
                    computed[call] = indicator.compute(series, call.args)
                result = computed[call][int(node.args[count]) if indicator.outputs else 0]
            else:
                values.append(_streak(node, inputs[0]) if node.op in STREAKS else _condition(node.op, inputs))
                continue
            values.append((result, ~np.isnan(result)))
    return values


def _time_part(part: str, time_ms: Series) -> Series:
    days, in_day = np.divmod(time_ms, timeframes.DAY_MS)
    if part == "weekday":
        return (days + 3.0) % 7.0  # 1970-01-01 was a Thursday
    return in_day // 3_600_000 if part == "hour" else in_day // 60_000 % 60.0


def _streak(node: Node, series: tuple[np.ndarray, Mask]) -> tuple[np.ndarray, Mask]:
    """Whether each of the last N bars was above (rising) or below (falling) the one before it."""
    x, known = series
    length = int(node.args[0])
    moved = np.zeros(len(x), dtype=bool)
    moved[1:] = x[1:] > x[:-1] if node.op == "rising" else x[1:] < x[:-1]
    return _streak_lengths(moved) >= length, _streak_lengths(known) > length


def _streak_lengths(mask: Mask) -> npt.NDArray[np.int64]:
    """Length of the unbroken run of true bars that ends at each bar, 0 where it is false."""
    positions = np.arange(len(mask))
    return positions - np.maximum.accumulate(np.where(mask, -1, positions))


def _condition(op: str, inputs: list[tuple[np.ndarray, Mask]]) -> tuple[np.ndarray, Mask]:
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
    # A cross needs both series known on this bar and on the one before.
    now = (a > b if op == "crossover" else a < b) & known
    earlier = (a <= b if op == "crossover" else a >= b) & known
    both = np.zeros(len(known), dtype=bool)
    both[1:] = known[1:] & known[:-1]
    crossed = np.zeros(len(known), dtype=bool)
    crossed[1:] = now[1:] & earlier[:-1]
    return crossed & both, both
