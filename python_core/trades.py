"""Trades of a run: the array that the engines write, and a struct for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import index
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.immutable import Immutable, freeze

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

COLUMNS: Final = TRADE_DTYPE.names or ()
WORDS: Final = TRADE_DTYPE.itemsize // 8


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One exit of a position, in whole or in part. Money is in the quote currency."""

    entry_time: Annotated[int, Meta(description="Open time of the bar of the entry, UTC epoch milliseconds.")]
    exit_time: Annotated[int, Meta(description="Open time of the bar of the exit, UTC epoch milliseconds.")]
    side: Annotated[Literal["long", "short"], Meta(description="Side of the position.")]
    quantity: Annotated[float, Meta(description="Quantity closed, in the base currency or in shares.")]
    entry_price: Annotated[float, Meta(description="Average entry price of the position, in the quote currency.")]
    exit_price: Annotated[float, Meta(description="Price of the fill of the exit, in the quote currency.")]
    gross: Annotated[float, Meta(description="Profit before fees and funding; money.")]
    fees: Annotated[float, Meta(description="Commissions paid; money.")]
    funding: Annotated[float, Meta(description="Funding paid; money, negative when received.")]
    net: Annotated[float, Meta(description="Profit after fees and funding; money.")]
    reason: Annotated[Reason, Meta(description="Why the position was closed.")]
    bars_held: Annotated[int, Meta(description="Number of bars from entry to exit.")]
    mae: Annotated[float, Meta(description="Maximum adverse excursion, a signed fraction of the entry price: -0.02 is 2 % against.")]
    mfe: Annotated[float, Meta(description="Maximum favourable excursion, a signed fraction of the entry price.")]


class Trades(Immutable):
    """The trades of a run in the order of their exits: iterate for `Trade`s, or use `array` or `column` for read-only NumPy arrays."""

    _words: npt.NDArray[np.int64]
    _fill: Callable[[npt.NDArray[np.int64]], None] | None

    def __init__(self, words: npt.NDArray[np.int64], fill: Callable[[npt.NDArray[np.int64]], None] | None) -> None:
        """Trades of a new array of `TRADE_DTYPE` as int64 words; `fill` fills in mae and mfe in a copy of them."""
        # The compiled engine skips bars between events, so it leaves mae and mfe open; they are filled in on first use.
        vars(self).update(_words=freeze(words), _fill=fill)

    @property
    def array(self) -> npt.NDArray[np.void]:
        """All columns, a structured array of `TRADE_DTYPE`.

        Times are epoch milliseconds, `entry_index` and `exit_index` positions of bars; `side` is 1 or -1, `reason` a position in `REASONS`.
        """
        if (fill := self._fill) is not None:
            words = self._words.copy()
            fill(words)
            vars(self)["_words"] = freeze(words)
            vars(self)["_fill"] = None  # last, as other threads look at it first
        return self._words.view(TRADE_DTYPE)

    def __getstate__(self) -> dict[str, Any]:
        return {"_words": self.array.view(np.int64), "_fill": None}

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column of `array`, int64[trades] or float64[trades].

        Raises:
            KeyError: unknown column.
        """
        if name not in COLUMNS:
            raise KeyError(f"trades have no column {name!r}; use one of {', '.join(COLUMNS)}")
        return (self.array if name in ("mae", "mfe") else self._words.view(TRADE_DTYPE))[name]

    def __len__(self) -> int:
        return len(self._words) // WORDS

    def __iter__(self) -> Iterator[Trade]:
        for i in range(len(self)):
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
