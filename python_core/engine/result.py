"""What a backtest gives back, and the two hashes that make it reproducible."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from operator import index
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.engine.simulate import REASONS, TRADE_DTYPE
from python_core.execution import Execution
from python_core.language.normalize import canonical
from python_core.metrics.compute import Metrics
from python_core.strategy.strategy import LEVELS, Signals, Strategy

# Part of every fingerprint; raised whenever the same inputs may give other outputs than before.
CONTRACT: Final = 1

Reason = Literal[
    "signal",
    "reversal",
    "stop_loss",
    "trailing_stop",
    "break_even",
    "take_profit",
    "partial_exit",
    "time",
    "liquidation",
    "ruin",
    "end",
]


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One exit of a position, whole or in part; money is in the quote currency.

    `entry_price` is the position's average entry, `gross` the profit before `fees` and `funding` (both positive when paid),
    `net` what is left; `mae` and `mfe` are the furthest move against and for the position as fractions of the entry price.
    """

    entry_time: int
    exit_time: int
    side: Literal["long", "short"]
    quantity: float
    entry_price: float
    exit_price: float
    gross: float
    fees: float
    funding: float
    net: float
    reason: Reason
    bars_held: int
    mae: float
    mfe: float


class Trades:
    """The trades of a run in order; iterate for `Trade`s, or use `array` or `column` for NumPy arrays.

    The compiled engine skips bars between events, so that `mae` and `mfe` are looked up when somebody first asks for them.
    """

    def __init__(self, array: npt.NDArray[np.void], complete: Callable[[], None] | None) -> None:
        self._array = array
        self._complete = complete

    @property
    def array(self) -> npt.NDArray[np.void]:
        """All columns, a structured array of `simulate.TRADE_DTYPE`."""
        if self._complete is not None:
            self._complete()
            self._complete = None
        return self._array

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column of `array`, by its name there.

        Raises:
            KeyError: there is none of that name.
        """
        if name not in (names := TRADE_DTYPE.names or ()):
            raise KeyError(f"trades have no column {name!r}: they have {', '.join(names)}")
        return (self.array if name in ("mae", "mfe") else self._array)[name]

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Trade]:
        for i in range(len(self.array)):
            yield self[i]

    def __getitem__(self, i: int) -> Trade:
        (entry_time, exit_time, entry_index, exit_index, side, reason, quantity, entry, exit, gross, fees, funding, net, mae, mfe) = (
            self.array[index(i)].item()
        )
        return Trade(
            entry_time=entry_time,
            exit_time=exit_time,
            side="long" if side > 0 else "short",
            quantity=quantity,
            entry_price=entry,
            exit_price=exit,
            gross=gross,
            fees=fees,
            funding=funding,
            net=net,
            reason=REASONS[reason],
            bars_held=exit_index - entry_index,
            mae=mae,
            mfe=mfe,
        )

    def __repr__(self) -> str:
        return f"<Trades {len(self):,}>"


class Result:
    """The outcome of one run.

    Attributes:
        trades: every exit, in order.
        equity: float64[n], money at each bar's close, everything paid.
        engine: "rust" or "python".
        rejected_orders: entries that were too large for the account or too small for the market.
        ambiguous_bars: bars that spanned levels on both sides, so that `intrabar` decided.
        ruined: equity reached 0 and the run ended.
    """

    def __init__(
        self,
        bars: Bars,
        program: Strategy | Signals,
        execution: Execution,
        *,
        engine: str,
        metrics: list[float | None],
        trades: npt.NDArray[Any],
        complete: Callable[[], None] | None,
        equity: npt.NDArray[np.float64],
        counts: tuple[int, int, bool],
    ) -> None:
        self._inputs = (bars, program, execution)
        self._known = metrics
        self.engine = engine
        self.trades = Trades(trades.view(TRADE_DTYPE), complete)
        # Not by cached_property, whose lock before Python 3.12 takes as long as all else in it.
        self._metrics: Metrics | None = None
        self.equity = equity
        self.rejected_orders, self.ambiguous_bars, self.ruined = counts

    @property
    def bars(self) -> int:
        """How many bars were run."""
        return len(self.equity)

    @property
    def time(self) -> npt.NDArray[np.int64]:
        """Open times of the bars, int64[n], epoch milliseconds."""
        return self._inputs[0].time

    @property
    def metrics(self) -> Metrics:
        if self._metrics is None:
            self._metrics = Metrics.from_known(self._known)
        return self._metrics

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """The metrics in their flat form, in the order of `metrics.NAMES`, NaN where undefined."""
        return np.array([math.nan if value is None else value for value in self._known])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the inputs: see `fingerprint`."""
        return fingerprint(*self._inputs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the outputs: trades, equity and metrics to the last bit, and the counts."""
        digest = hashlib.sha256(b"result 1\n")
        for array in (self.trades.array, self.equity, self.values):
            digest.update(f"{len(array)}\n".encode())
            digest.update(array.tobytes())
        digest.update(f"{self.rejected_orders} {self.ambiguous_bars} {int(self.ruined)}".encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Result {self.bars:,} bars, {len(self.trades):,} trades, final equity {self.equity[-1]:,.2f}, {self.engine}>"


def fingerprint(bars: Bars, program: Strategy | Signals, execution: Execution) -> str:
    """SHA-256 (hex) of the contract's version, the bars, the canonical strategy (or the signals) and the execution.

    One fingerprint always gives one digest, whatever the engine, the machine or the number of threads.
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
    """The execution with all defaults, whole numbers as the floats they stand for, and expressions in one spelling."""
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
