"""This project, through its public calls, which also compute all metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Grid, Job, Market, Stops

from contenders import Contender, Output, Table


class Barstorm(Contender):
    name = "barstorm"
    package = "python_core"
    excursions = True

    def __init__(self) -> None:
        import python_core

        self.bt = python_core
        self.version = f"{python_core.__version__} ({python_core.engine})"

    def single(self, job: Job) -> Callable[[], Output]:
        run = self._run(job)

        def call() -> Output:
            result = run()
            trades = result.trades.array if job.excursions else result.trades.column("net")
            return Output(result.equity, trades, len(result.trades))

        return call

    def report(self, job: Job) -> Callable[[], Any]:
        run = self._run(job)

        def call() -> tuple[Any, ...]:
            result = run()
            return result.metrics, result.trades.array, result.equity

        return call

    def sweep(self, grid: Grid) -> Callable[[], Table]:
        bt, bars, execution = self.bt, self.bars(grid.market), self._execution(grid.stops)
        risk = grid.stops is not None
        strategy = self.strategy(shorts=False)
        lengths = {"fast": grid.fast, "slow": grid.slow}

        metrics = ("final_equity", "trades", "max_drawdown", "volatility") if risk else ("final_equity", "trades")

        def call() -> Table:
            made = bt.sweep(bars, strategy, lengths, execution, objective="final_equity", metrics=metrics, threads=grid.threads)
            table = Table(made.column("final_equity"), made.column("trades"))
            if risk:
                table = table._replace(drawdown=made.column("max_drawdown"), volatility=made.column("volatility") / np.sqrt(365))
            return table

        return call

    def _run(self, job: Job) -> Callable[[], Any]:
        bt, bars, execution = self.bt, self.bars(job.market), self._execution(job.stops)
        if job.crossing:
            strategy = self.strategy(job.shorts)
            return lambda: bt.backtest(bars, strategy, execution)
        given = job.signals
        signals = bt.Signals(given.entry_long, given.exit_long, given.entry_short, given.exit_short)
        return lambda: bt.simulate(bars, signals, execution)

    def bars(self, market: Market) -> Any:
        return self.bt.Bars(market.time, market.open, market.high, market.low, market.close, market.volume)

    def _execution(self, stops: Stops) -> Any:
        loss, profit = stops or (None, None)
        return self.bt.Execution(initial_capital=CAPITAL, commission=FEE, stop_loss=loss, take_profit=profit)

    def strategy(self, shorts: bool) -> Any:
        up, down = (f"cross{way}(sma(close, fast), sma(close, slow))" for way in ("over", "under"))
        short = {"entry_short": down, "exit_short": up} if shorts else {}
        return self.bt.Strategy(entry_long=up, exit_long=down, **short, params={"fast": FAST, "slow": SLOW})
