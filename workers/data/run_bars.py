"""The bars of a run: a range of a dataset, and the bars before it that warm up the strategy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import python_core as bt
from python_core.data import timeframes
from python_core.engine.kernel import compile_run
from workers.model.selection import Selection


class BarRange(NamedTuple):
    """A range of bars, and what comes before it.

    Attributes:
        start, end: times in UTC epoch milliseconds, the first included, the second not; None: no limit.
        warm_up_from: time of the first bar of the warm-up; None: it has `warm_up_bars`.
        warm_up_bars: number of bars of `timeframe_ms`.
        longest_ms: length of the longest bars that the strategy uses. The warm-up starts with a whole one.
    """

    start: int | None = None
    end: int | None = None
    warm_up_from: int | None = None
    warm_up_bars: int = 0
    timeframe_ms: int = 1
    longest_ms: int = 1

    @property
    def is_all(self) -> bool:
        return self.start is None and self.end is None


class RunBars(NamedTuple):
    """Bars from the first of the warm-up on, and the position of the first bar of the run."""

    bars: bt.Bars
    first: int


def bar_range(selection: Selection, strategy: bt.Strategy, execution: bt.Execution, timeframe: str) -> BarRange:
    """The range that a selection and the warm-up of a strategy need of a dataset of this timeframe."""
    wanted = BarRange(selection.start, selection.end)
    if selection.start is None or selection.warm_up_from == "start":
        return wanted
    if isinstance(selection.warm_up_from, int):
        return wanted._replace(warm_up_from=selection.warm_up_from)
    plan = compile_run(strategy, execution, timeframe)
    timeframe_ms = timeframes.milliseconds(strategy.timeframe or timeframe)
    longest_ms = max(timeframe_ms, *(node.timeframe_ms for node in plan.nodes))
    return wanted._replace(warm_up_bars=plan.settle, timeframe_ms=timeframe_ms, longest_ms=longest_ms)


def select(bars: bt.Bars, wanted: BarRange) -> RunBars:
    """The bars of a range with its warm-up, as far as there are bars before it; as a view.

    Raises:
        BarsError: there is no bar in the range.
    """
    run = bars.between(wanted.start, wanted.end)
    start = int(run.time[0])
    begin = min(start, _warm_up_from(bars, start, wanted) if wanted.warm_up_from is None else wanted.warm_up_from)
    read = bars.between(begin, wanted.end)
    return RunBars(read, len(read) - len(run))


def _warm_up_from(bars: bt.Bars, start: int, wanted: BarRange) -> int:
    """Time from which there are `warm_up_bars` before the strategy's bar that contains the start, and only whole bars of any timeframe."""
    at = int(np.searchsorted(bars.time, start))
    if wanted.timeframe_ms <= bars.timeframe_ms:
        begin = int(bars.time[max(0, at - wanted.warm_up_bars)])
    else:
        opens = timeframes.bucket_start(bars.time[: at + 1], wanted.timeframe_ms)
        opens = opens[np.flatnonzero(np.append(True, opens[1:] != opens[:-1]))]
        begin = int(opens[max(0, len(opens) - 1 - wanted.warm_up_bars)])
    if wanted.longest_ms <= bars.timeframe_ms:
        return begin
    return int(timeframes.bucket_start(np.array([begin]), wanted.longest_ms)[0])
