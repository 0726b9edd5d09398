"""Datasets and instruments as clients see them."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from workers.errors import Invalid
from workers.model.clock import TimeMs
from workers.model.selection import MarketKind


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traded, and where. `linear` and `inverse` are perpetuals, settled in the quote or the base currency."""

    symbol: Annotated[str, Meta(max_length=60, description="Such as BTC/USDT.")] = ""
    exchange: Annotated[
        str,
        Meta(max_length=60, description="Such as bybit; of an equity a code in capitals, such as XNYS, is the calendar of its sessions."),
    ] = ""
    kind: MarketKind = "spot"
    tick_size: Annotated[float | None, Meta(description="Smallest step of its price.")] = None
    lot_size: Annotated[float | None, Meta(description="Smallest step of a quantity.")] = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(MarketKind):
            raise ValueError(f"kind: {self.kind!r:.40} is unknown; use one of {', '.join(get_args(MarketKind))}")
        for name in ("symbol", "exchange"):
            value = getattr(self, name)
            if len(value) > 60 or (value and (not value.isprintable() or value != value.strip())):
                raise ValueError(f"{name}: {value!r:.60} is no {name}; use up to 60 printable characters, no blanks at the ends")
        for name in ("tick_size", "lot_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}: {value!r} is no size; use a finite number greater than 0")


def instrument(**values: Any) -> Instrument:
    """An instrument of single values.

    Raises:
        Invalid: names the value that is wrong.
    """
    try:
        return Instrument(**values)
    except ValueError as error:
        where, _, text = str(error).partition(": ")
        message, _, hint = text.partition("; ")
        raise Invalid(message, where=where, hint=hint) from None


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a market's data in one timeframe; it never changes. `start` and `end` are the open times of the first and the last bar."""

    id: str
    name: str
    version: Annotated[int, Meta(description="Counts up with each append. `name@version` or `id@version` names just this one.")]
    symbol: str
    exchange: str
    kind: MarketKind
    tick_size: float | None
    lot_size: float | None
    owner: Annotated[str, Meta(description="Whose it is, where the one who made it has said so.")]
    timeframe: Annotated[str, Meta(examples=["5m"])]
    rows: Annotated[int, Meta(description="Number of bars.")]
    start: TimeMs
    end: TimeMs
    gaps: Annotated[
        int, Meta(description="How often bars are missing between two bars; of an equity, within the sessions of its exchange.")
    ]
    fingerprint: Annotated[str, Meta(description="Hash of the data; equal data has one fingerprint, however it was uploaded.")]
    bytes: Annotated[int, Meta(description="Size of its files, some of which it may share with other versions.")]
    source: Annotated[str, Meta(description="Where this version's new data came from.")]
    created_at: TimeMs
    updated_at: Annotated[TimeMs, Meta(description="When this version was made.")]

    @property
    def reference(self) -> str:
        return f"{self.id}@{self.version}"
