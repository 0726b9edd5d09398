"""The computation of a backtest: bars in, result out, without queue or database."""

from __future__ import annotations

from collections.abc import Sequence

import python_core as bt
from workers.data.bars_cache import BarsCache
from workers.data.parts import Part
from workers.data.run_bars import RunBars, bar_range
from workers.model.datasets import Dataset
from workers.model.runs import Backtest


def load_bars(cache: BarsCache, dataset: Dataset, parts: Sequence[Part], request: Backtest) -> RunBars:
    """The bars that an accepted request needs.

    Raises:
        Invalid: a stored file is missing or damaged.
    """
    assert isinstance(request.strategy, bt.Strategy)
    return cache.load_range(dataset, parts, bar_range(request, request.strategy, request.execution, dataset.timeframe))


def backtest(cache: BarsCache, dataset: Dataset, parts: Sequence[Part], request: Backtest, control: bt.Control) -> bt.Result:
    """The result of an accepted request."""
    return on_bars(load_bars(cache, dataset, parts, request), request, control)


def on_bars(run_bars: RunBars, request: Backtest, control: bt.Control) -> bt.Result:
    """The result of an accepted request on its bars."""
    assert isinstance(request.strategy, bt.Strategy)
    bars, first = run_bars
    start = int(bars.time[first])
    return bt.backtest(bars, request.strategy, request.execution, start=start, engine=request.engine, control=control)
