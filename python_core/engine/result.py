"""The result of a backtest."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from python_core.engine.inputs import Inputs
from python_core.engine.strategy_bars import StrategyBars
from python_core.immutable import Immutable, freeze
from python_core.metrics import Metrics, MonthlyReturn
from python_core.metrics.monthly import monthly_returns
from python_core.strategy.compile import compile_plan
from python_core.strategy.signals import Signals
from python_core.trades import Trades


class Counts(NamedTuple):
    """What happened to orders and bars of a run, besides trades."""

    rejected_orders: int = 0
    clipped_orders: int = 0
    filtered_entries: int = 0
    expired_orders: int = 0
    ambiguous_bars: int = 0
    ruined: bool = False


class Result(Immutable):
    """The result of one run.

    Attributes:
        trades: all exits, in order.
        equity: float64[bars], read-only, account value at each bar's close after all costs, in the quote currency.
        engine: the engine that ran it, "rust" or "python".
        rejected_orders: number of entries that were too large for the account, too small for the market, or had a stop or a target on the
            wrong side.
        clipped_orders: number of entries that were filled with the quantity that the account could pay for, less than asked.
        filtered_entries: number of entries outside hours or days, above the number of a day, or within a cooldown.
        expired_orders: number of resting entries that were removed because they expired.
        ambiguous_bars: number of bars that met levels on both sides of the open, so that `intrabar` decided which came first.
        ruined: whether equity fell to nothing, which ends the run.
    """

    trades: Trades
    equity: npt.NDArray[np.float64]
    engine: str
    rejected_orders: int
    clipped_orders: int
    filtered_entries: int
    expired_orders: int
    ambiguous_bars: int
    ruined: bool
    _inputs: Inputs
    _row: list[float | None]
    _metrics: Metrics | None

    def __init__(
        self,
        inputs: Inputs,
        *,
        engine: str,
        metrics: list[float | None],
        trades: Trades,
        equity: npt.NDArray[np.float64],
        counts: tuple[int, int, int, int, int, bool],
    ) -> None:
        """The result of a run; `equity` is a new array, and `counts` are those of `Counts`."""
        equity.setflags(write=False)
        rejected_orders, clipped_orders, filtered_entries, expired_orders, ambiguous_bars, ruined = counts
        vars(self).update(
            trades=trades,
            equity=equity,
            engine=engine,
            _inputs=inputs,
            _row=metrics,
            _metrics=None,
            rejected_orders=rejected_orders,
            clipped_orders=clipped_orders,
            filtered_entries=filtered_entries,
            expired_orders=expired_orders,
            ambiguous_bars=ambiguous_bars,
            ruined=ruined,
        )

    @property
    def bars(self) -> int:
        """Number of bars, without the warm-up."""
        return len(self.equity)

    @property
    def time(self) -> npt.NDArray[np.int64]:
        """Open times of the bars, int64[bars], epoch milliseconds."""
        return self._inputs.bars.time[self._inputs.first :]

    @cached_property
    def warm_up_shortfall(self) -> int:
        """Strategy bars that are missing before the start, for every signal to be known there; 0 for ready-made signals."""
        bars, program, _, first, _ = self._inputs
        if isinstance(program, Signals):
            return 0
        before = 0 if first == 0 else int(np.searchsorted(StrategyBars(bars, program.timeframe).fills_at, first, side="right"))
        return max(0, compile_plan(program, (), bars.timeframe).warm_up - before)

    @property
    def metrics(self) -> Metrics:
        """Metrics of the run; None where undefined."""
        # Not a cached_property: until Python 3.12 its lock takes as long as everything else here.
        if (metrics := self._metrics) is None:
            metrics = vars(self)["_metrics"] = Metrics.from_row(self._row)
        return metrics

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """The metrics as float64[len(metrics.NAMES)], in that order, NaN where undefined."""
        return freeze(np.array([math.nan if value is None else value for value in self._row]))

    @cached_property
    def monthly_returns(self) -> tuple[MonthlyReturn, ...]:
        """The return of each UTC month that has bars."""
        return monthly_returns(self.equity, self.time, self._inputs.execution.initial_capital)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the inputs; see `bt.fingerprint`."""
        return self._inputs.fingerprint

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the outputs: all bits of trades, equity and metrics, and the counts."""
        digest = hashlib.sha256(b"result 2\n")
        for array in (self.trades.array, self.equity, self.values):
            digest.update(f"{len(array)}\n".encode())
            digest.update(array.tobytes())
        digest.update(" ".join(str(int(getattr(self, name))) for name in Counts._fields).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Result {self.bars:,} bars, {len(self.trades):,} trades, final equity {self.equity[-1]:,.2f}, {self.engine}>"
