"""The result of a backtest, and the hashes that make it reproducible."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.execution import Execution
from python_core.immutable import Immutable, freeze
from python_core.language.normalize import canonical
from python_core.metrics import Metrics, MonthlyReturn
from python_core.metrics.monthly import monthly_returns
from python_core.strategy.compile import LEVELS
from python_core.strategy.signals import Signals
from python_core.strategy.strategy import Strategy
from python_core.trades import Trades

# Part of every fingerprint. Raise it when the same inputs may give other outputs than before.
CONTRACT: Final = 2


class Result(Immutable):
    """The result of one run.

    Attributes:
        trades: all exits, in order.
        equity: float64[bars], account value at each bar's close after all costs, in the quote currency.
        engine: the engine that ran it, "rust" or "python".
        rejected_orders: number of entries that were too large for the account or too small for the market.
        ambiguous_bars: number of bars that met levels on both sides of the open, so that `intrabar` decided which came first.
        ruined: whether equity fell to 0 or below, which ends the run.
    """

    trades: Trades
    equity: npt.NDArray[np.float64]
    engine: str
    rejected_orders: int
    ambiguous_bars: int
    ruined: bool
    _inputs: tuple[Bars, Strategy | Signals, Execution]
    _row: list[float | None]
    _metrics: Metrics | None

    def __init__(
        self,
        bars: Bars,
        program: Strategy | Signals,
        execution: Execution,
        *,
        engine: str,
        metrics: list[float | None],
        trades: Trades,
        equity: npt.NDArray[np.float64],
        counts: tuple[int, int, bool],
    ) -> None:
        rejected_orders, ambiguous_bars, ruined = counts
        vars(self).update(
            trades=trades,
            equity=freeze(equity),
            engine=engine,
            rejected_orders=rejected_orders,
            ambiguous_bars=ambiguous_bars,
            ruined=ruined,
            _inputs=(bars, program, execution),
            _row=metrics,
            _metrics=None,
        )

    @property
    def bars(self) -> int:
        """Number of bars."""
        return len(self.equity)

    @property
    def time(self) -> npt.NDArray[np.int64]:
        """Open times of the bars, int64[bars], epoch milliseconds."""
        return self._inputs[0].time

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
        return monthly_returns(self.equity, self.time, self._inputs[2].initial_capital)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the inputs; see `bt.fingerprint`."""
        return fingerprint(*self._inputs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the outputs: all bits of trades, equity and metrics, and the counts."""
        digest = hashlib.sha256(b"result 1\n")
        for array in (self.trades.array, self.equity, self.values):
            digest.update(f"{len(array)}\n".encode())
            digest.update(array.tobytes())
        digest.update(f"{self.rejected_orders} {self.ambiguous_bars} {int(self.ruined)}".encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Result {self.bars:,} bars, {len(self.trades):,} trades, final equity {self.equity[-1]:,.2f}, {self.engine}>"


def fingerprint(bars: Bars, program: Strategy | Signals, execution: Execution) -> str:
    """SHA-256 (hex) of the inputs of a run: contract number, bars, canonical strategy (or signals) and execution.

    Runs with equal fingerprints have equal digests, whichever engine, machine or number of threads ran them.

    Example:
        bars, strategy = bt.synthetic(100), bt.Strategy(entry_long="close > open")
        assert bt.fingerprint(bars, strategy, bt.Execution()) == bt.backtest(bars, strategy).fingerprint
    """
    digest = hashlib.sha256(f"barstorm contract {CONTRACT}\n{bars.fingerprint}\n".encode())
    if isinstance(program, Signals):
        for mask in program.masks:
            digest.update(b"-" if mask is None else mask.tobytes())
    else:
        digest.update(msgspec.json.encode(program.canonical(), order="deterministic"))
    digest.update(b"\n")
    digest.update(msgspec.json.encode(canonical_execution(execution), order="deterministic"))
    return digest.hexdigest()


def canonical_execution(execution: Execution) -> dict[str, Any]:
    """The execution with all its defaults, ints as floats, and expressions in canonical form."""
    fields: dict[str, Any] = {}
    for name in execution.__struct_fields__:
        value = getattr(execution, name)
        if name in LEVELS and isinstance(value, str):
            fields[name] = canonical(name, value)
        elif isinstance(value, int) and name not in ("pyramiding", "max_bars"):
            fields[name] = float(value)
        elif name == "partial_exits":
            fields[name] = [[float(profit), float(share)] for profit, share in value]
        elif isinstance(value, msgspec.Struct):
            fields[name] = {"multiple": float(value.multiple), "period": value.period}  # type: ignore[attr-defined]
        else:
            fields[name] = value
    return fields
