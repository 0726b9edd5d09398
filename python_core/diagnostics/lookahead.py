"""Whether signals depend on later bars, or on where the data begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.data.bars import Bars
from python_core.diagnostics.values import Values, default_expressions, evaluate_expressions, history_start, warm_up_bars
from python_core.engine.strategy_bars import StrategyBars
from python_core.execution import Fill
from python_core.strategy.compile import CONDITIONS
from python_core.strategy.strategy import Strategy

# Strategy bars at the end of the data that are compared.
TAIL: Final = 200


class LookAhead(msgspec.Struct, frozen=True, kw_only=True):
    """An expression whose past values changed when later bars were cut off."""

    expression: Annotated[str, Meta(description="The expression, or the name of a condition.")]
    cut: Annotated[int, Meta(description="Number of bars that remained.")]
    time: Annotated[int, Meta(description="Open time of the first strategy bar that changed, UTC epoch milliseconds.")]


class HistoryDependence(msgspec.Struct, frozen=True, kw_only=True):
    """How much an expression depends on where the data begins: recent values with a shorter history compared with the whole."""

    expression: Annotated[str, Meta(description="The expression, or the name of a condition.")]
    history: Annotated[int, Meta(description="Length of the shorter history: strategy bars before the first one compared.")]
    difference: Annotated[float | None, Meta(description="Largest relative difference, a fraction; null for conditions.")]
    changed: Annotated[int, Meta(description="Number of compared bars on which the values differ.")]


class SignalCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether signals depend on future bars or on where the data begins."""

    sound: Annotated[bool, Meta(description="Whether no expression depends on future bars.")]
    settled: Annotated[bool, Meta(description="Whether no signal changed with the longest of the shorter histories.")]
    look_ahead: Annotated[tuple[LookAhead, ...], Meta(description="Expressions that depend on future bars.")]
    recursion: Annotated[tuple[HistoryDependence, ...], Meta(description="How far expressions depend on where the data begins.")]


def check(bars: Bars, strategy: Strategy, *, fill: Fill = "next_open", cuts: int = 10, seed: int = 0) -> SignalCheck:
    """Check that signals depend neither on later bars nor on where the data begins.

    Look-ahead: the data is cut at `cuts` random bars; no earlier value may change by a bit. With `fill="next_open"` the last value before a
    cut is not compared: it depends on when the next bar opens, and its orders can't fill without that bar. Recursion: the first bars are dropped; an
    exponential average remembers them for a while, so its recent values, and signals that use them, may change.

    Raises:
        StrategyError: an expression that can't be run on these bars.

    Example:
        check = bt.diagnostics.check(bt.synthetic(500), bt.Strategy(entry_long="close > ema(close, 20)"))
        check.sound, check.settled
    """
    texts = default_expressions(strategy)
    whole = evaluate_expressions(bars, strategy, texts, fill)
    random = np.random.default_rng(seed)
    lengths = sorted({int(length) for length in random.integers(1, max(len(bars), 2), size=cuts)} - {len(bars)})
    ahead = [row for length in lengths for row in _look_ahead(bars, strategy, texts, whole, length, fill)]
    recursion = list(_recursion(bars, strategy, texts, whole, fill))
    longest = max((row.history for row in recursion), default=0)
    settled = all(not row.changed for row in recursion if row.history == longest and row.expression in CONDITIONS)
    return SignalCheck(sound=not ahead, settled=settled, look_ahead=tuple(ahead), recursion=tuple(recursion))


def _look_ahead(bars: Bars, strategy: Strategy, texts: Mapping[str, str], whole: Values, length: int, fill: Fill) -> Iterator[LookAhead]:
    cut = evaluate_expressions(bars[:length], strategy, texts, fill)
    rows = len(cut.time) if fill == "close" else int((StrategyBars(bars[:length], strategy.timeframe).fills_at < length).sum())
    for label, column in cut.columns.items():
        changed = np.flatnonzero(~_same(column[:rows], whole.columns[label][:rows]))
        if len(changed):
            yield LookAhead(expression=label, cut=length, time=int(cut.time[changed[0]]))


def _recursion(bars: Bars, strategy: Strategy, texts: Mapping[str, str], whole: Values, fill: Fill) -> Iterator[HistoryDependence]:
    warm_up, rows = max(warm_up_bars(bars, strategy), 1), len(whole.time)
    tail = min(TAIL, rows // 4)
    # Each history is twice as long as the one before, as an exponential average forgets at a constant rate.
    for factor in (1, 2, 4, 8, 16):
        history = warm_up * factor
        if not tail or history + tail >= rows:
            return
        first = int(np.searchsorted(bars.time, history_start(bars, strategy, int(whole.time[rows - tail - history]))))
        late = evaluate_expressions(bars[first:], strategy, texts, fill)
        for label, column in late.columns.items():
            a, b = whole.columns[label][-tail:], column[-tail:]
            changed = int((~_same(a, b)).sum())
            yield HistoryDependence(expression=label, history=history, difference=_difference(a, b), changed=changed)


def _same(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    if a.dtype == np.bool_:
        return np.asarray(a == b)
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _difference(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float | None:
    if a.dtype == np.bool_:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    scale = np.maximum(np.maximum(np.abs(x), np.abs(y))[known], np.finfo(np.float64).tiny)
    return float((np.abs(x - y)[known] / scale).max(initial=0.0))
