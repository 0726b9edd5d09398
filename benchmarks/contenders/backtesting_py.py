"""backtesting.py, event by event in Python, with its fractional units."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CAPITAL, FAST, FEE, SLOW, Job, Signals, crossings, moving_average
from reference import Rules

from contenders import Contender, Output

_ALL = 1 - 1e-12  # of the equity; 1 would mean one unit
_UNIT = 1e-9


class Backtesting(Contender):
    name = "backtesting.py"
    package = "backtesting"
    rules = Rules(entry_bar=False)  # levels that depend on the fill can only be set after it
    max_bars = 100_000

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import backtesting
            import pandas
            from backtesting import lib

        backtesting.backtesting._tqdm = lambda steps, **_options: steps  # its progress bar
        self.backtesting, self.lib, self.pandas = backtesting, lib, pandas
        self.version = backtesting.__version__

    def single(self, job: Job) -> Callable[[], Output]:
        run = self.report(job)

        def call() -> Output:
            stats = run()
            return Output(stats["_equity_curve"]["Equity"].to_numpy(), stats["_trades"], len(stats["_trades"]))

        return call

    def report(self, job: Job) -> Callable[[], Any]:
        market = job.market
        columns = {name.title(): getattr(market, name) for name in ("open", "high", "low", "close", "volume")}
        frame = self.pandas.DataFrame(columns, index=self.pandas.to_datetime(market.time, unit="ms"))
        strategy = _strategy(self.backtesting.Strategy, job)

        def call() -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = self.lib.FractionalBacktest(
                    frame, strategy, fractional_unit=_UNIT, cash=CAPITAL, commission=FEE, finalize_trades=True
                )
                return made.run()

        return call


def _strategy(base: Any, job: Job) -> Any:
    never = np.zeros(len(job.market), np.bool_)

    class Crossing(base):  # type: ignore[misc]
        def init(self) -> None:
            signals = job.signals
            if job.crossing:
                averages = (moving_average(job.market.close, length) for length in (FAST, SLOW))
                signals = Signals.of(*crossings(*averages), shorts=True)
            masks = (signals.entry_long, signals.exit_long, signals.entry_short, signals.exit_short)
            self.masks = [never if mask is None else mask for mask in masks]
            self.entry_long, self.exit_long, self.entry_short, self.exit_short = self.masks

        def next(self) -> None:
            i = len(self.data) - 1
            position, buys, sells = self.position, self.entry_long[i], self.entry_short[i]
            if position:
                if job.stops is not None:
                    for trade in self.trades:
                        if trade.sl is None:
                            side = 1 if trade.is_long else -1
                            trade.tp = trade.entry_price * (1 + side * job.stops[1])
                            trade.sl = trade.entry_price * (1 - side * job.stops[0])
                if (position.is_long and (self.exit_long[i] or sells)) or (position.is_short and (self.exit_short[i] or buys)):
                    position.close()
                else:
                    return
            if buys and not sells:
                self.buy(size=_ALL)
            elif sells and not buys:
                self.sell(size=_ALL)

    return Crossing
