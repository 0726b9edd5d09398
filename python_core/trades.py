"""Trades of a run: the array that the engines write, and a struct for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import index
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

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
# The column `reason` holds positions in REASONS.
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
SIGNAL, REVERSAL, STOP_LOSS, TRAILING_STOP, BREAK_EVEN, TAKE_PROFIT, PARTIAL_EXIT, TIME, LIQUIDATION, RUIN, END = range(len(REASONS))

TRADE_DTYPE: Final = np.dtype(
    [(name, "<i8") for name in ("entry_time", "exit_time", "entry_index", "exit_index", "side", "reason")]
    + [(name, "<f8") for name in ("quantity", "entry_price", "exit_price", "gross", "fees", "funding", "net", "mae", "mfe")]
)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One exit of a position, in whole or in part. Money is in the quote currency.

    Attributes:
        entry_time, exit_time: open times of the bars of entry and exit, epoch milliseconds.
        entry_price: the position's average entry price.
        gross: profit before `fees` and `funding`, which are positive when paid; `net` is what remains.
        bars_held: bars from entry to exit.
        mae, mfe: maximum adverse and favourable excursion, signed fractions of the entry price (-0.02: 2 % against).
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
    """The trades of a run in the order of their exits: iterate for `Trade`s, or use `array` or `column` for NumPy arrays."""

    def __init__(self, array: npt.NDArray[np.void], complete: Callable[[], None] | None) -> None:
        self._array = array
        # The compiled engine skips bars between events, so it leaves mae and mfe open; `complete` fills them in on first use.
        self._complete = complete

    @property
    def array(self) -> npt.NDArray[np.void]:
        """All columns, a structured array of `TRADE_DTYPE`.

        Times are epoch milliseconds, `entry_index` and `exit_index` positions of bars; `side` is 1 or -1, `reason` a position in `REASONS`.
        """
        if self._complete is not None:
            self._complete()
            self._complete = None
        return self._array

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column of `array`, int64[trades] or float64[trades].

        Raises:
            KeyError: unknown column.
        """
        if name not in (names := TRADE_DTYPE.names or ()):
            raise KeyError(f"trades have no column {name!r}; use one of {', '.join(names)}")
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
