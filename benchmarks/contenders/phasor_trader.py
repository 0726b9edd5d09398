"""phasor-trader; its column-major arrays share one column of prices between the combinations of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Grid, Job, Market, Mask, Stops
from reference import Rules

from contenders import Contender, Output, Table

_COLUMNS = 250  # of a sweep at a time


class Phasor(Contender):
    name = "phasor-trader"
    package = "phasor"
    rules = Rules(orders_first=False, entry_bar=False)

    def __init__(self) -> None:
        from importlib.metadata import version

        import phasor

        self.phasor, self.version = phasor, version("phasor-trader")

    def single(self, job: Job) -> Callable[[], Output]:
        run, market = self._run(job), job.market

        def call() -> Output:
            masks = self._crossings(market) if job.crossing else None
            made = run(masks)
            trades = made.trades()
            return Output(made.value(), trades, len(trades["pnl"]))

        return call

    def report(self, job: Job) -> Callable[[], Any]:
        run = self._run(job)

        def call() -> Any:
            made = run(None)
            return made.stats(), made.trades(), made.value()

        return call

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        market, risk = grid.market, grid.stops is not None
        blocks = []
        for first in range(0, len(grid.pairs), _COLUMNS):
            signals = [grid.signals(pair) for pair in grid.pairs[first : first + _COLUMNS]]
            masks = zip(*((one.entry_long, one.exit_long) for one in signals), strict=True)
            blocks.append(tuple(np.asfortranarray(np.stack(side, axis=1)) for side in masks))
        options = self._options(market, grid.stops)

        def summary(entries: Any, exits: Any) -> Any:
            columns = entries.shape[1]
            made = self.phasor.from_signals(market.close, entries, exits, column_map=[0] * columns, threads=grid.threads, **options)
            if not risk:
                # Its total_return() builds full equity curves and takes twice as long as the run.
                trades = made.trades()
                profit = np.bincount(trades["col"], trades["pnl"], columns)
                return np.stack((CAPITAL + profit, np.bincount(trades["col"], minlength=columns)))
            known = made.metrics()
            return np.stack((CAPITAL * (1 + known["total_return"]), known["trade_count"], -known["max_drawdown"], known["sharpe_ratio"]))

        def call() -> Table:
            return Table(*np.concatenate([summary(*block) for block in blocks], axis=1))

        return call

    def _run(self, job: Job) -> Callable[[tuple[Mask, Mask] | None], Any]:
        market, signals, options = job.market, job.signals, self._options(job.market, job.stops)
        masks = signals.entry_long, signals.exit_long
        if job.shorts:
            # An entry reverses; a position open at the end must be closed by another mask.
            end = np.zeros(len(market), np.bool_)
            end[-1] = True
            options |= {"direction": "both", "force_exit": end}
            masks = signals.entry_long, signals.entry_short
        return lambda crossings: self.phasor.from_signals(market.close, *(crossings or masks), **options)

    def _options(self, market: Market, stops: Stops) -> dict[str, Any]:
        options: dict[str, Any] = {"open": market.open, "price": "nextopen", "init_cash": CAPITAL, "fees": FEE, "size": np.inf}
        if stops is not None:
            options |= {"high": market.high, "low": market.low, "sl_stop": stops[0], "tp_stop": stops[1], "stop_entry_price": "fillprice"}
        return options

    def _crossings(self, market: Market) -> tuple[Mask, Mask]:
        fast, slow = (self.phasor.indicators.ma(market.close, length).ma for length in (FAST, SLOW))
        return self.phasor._phasor.crossed_above(fast, slow), self.phasor._phasor.crossed_above(slow, fast)
