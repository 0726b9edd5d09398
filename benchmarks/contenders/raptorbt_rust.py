"""raptorbt. It always computes metrics and excursions; a sweep uses all processors."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CAPITAL, FEE, Grid, Job, Market, Stops
from reference import Rules

from contenders import Contender, Output, Table, Unsupported

_ITEMS = 100  # of a sweep at a time, since each keeps its curves


class Raptor(Contender):
    name = "raptorbt"
    package = "raptorbt"
    excursions = True
    rules = Rules(target_gap=False)

    def __init__(self) -> None:
        from importlib.metadata import version

        import raptorbt

        self.raptorbt, self.version = raptorbt, version("raptorbt")

    def single(self, job: Job) -> Callable[[], Output]:
        run = self._run(job)

        def call() -> Output:
            made = run()
            trades = made.trades()
            return Output(made.equity_curve(), trades, len(trades))

        return call

    def report(self, job: Job) -> Callable[[], Any]:
        run = self._run(job)

        def call() -> Any:
            made = run()
            return made.metrics, made.trades(), made.equity_curve()

        return call

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        if grid.threads != (os.cpu_count() or 1):
            raise Unsupported("a batch always uses all processors")
        signals = [grid.signals(pair) for pair in grid.pairs]
        columns, config = _columns(grid.market), self._config(grid.stops)
        item = self.raptorbt.BatchSingleItem

        def summary(first: int) -> Any:
            items = [item(str(i), s.entry_long, s.exit_long) for i, s in enumerate(signals[first : first + _ITEMS])]
            made = [result.metrics for _, result in self.raptorbt.batch_single_backtest(*columns, items, config)]
            return [(CAPITAL * (1 + m.total_return_pct / 100), m.total_trades, m.max_drawdown_pct / 100, m.sharpe_ratio) for m in made]

        def call() -> Table:
            rows = [row for first in range(0, len(signals), _ITEMS) for row in summary(first)]
            return Table(*np.array(rows).T[: 4 if grid.stops is not None else 2])

        return call

    def _run(self, job: Job) -> Callable[[], Any]:
        if job.shorts:
            raise Unsupported("a run is long-only or short-only")
        columns, config, signals = _columns(job.market), self._config(job.stops), job.signals
        return lambda: self.raptorbt.run_single_backtest(*columns, signals.entry_long, signals.exit_long, 1, 1.0, "", config)

    def _config(self, stops: Stops) -> Any:
        config = self.raptorbt.BacktestConfig(initial_capital=CAPITAL, fees=FEE, fill_timing="next_bar_open")
        if stops is not None:
            config.set_fixed_stop(stops[0])
            config.set_fixed_target(stops[1])
        return config


def _columns(market: Market) -> tuple[Any, ...]:
    """Times are in nanoseconds."""
    return market.time * 1_000_000, market.open, market.high, market.low, market.close, market.volume
