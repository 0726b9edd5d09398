"""Datasets and instruments as clients see them."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta

from workers.errors import Invalid
from workers.model.clock import TimeMs
from workers.model.names import Id, Owner, is_label
from workers.model.pages import NextCursor
from workers.model.selection import MarketKind


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is traded, and where. `linear` and `inverse` are perpetual futures settled in the quote or base currency."""

    symbol: Annotated[str, Meta(max_length=60, description="Symbol, such as BTC/USDT.")] = ""
    exchange: Annotated[
        str,
        Meta(
            max_length=60,
            description="Exchange, such as bybit. For an equity, a market identifier code such as XNYS sets the calendar of its sessions.",
        ),
    ] = ""
    kind: MarketKind = "spot"
    tick_size: Annotated[float | None, Meta(description="Smallest price increment.")] = None
    lot_size: Annotated[float | None, Meta(description="Smallest quantity increment.")] = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(MarketKind):
            raise ValueError(f"kind: {self.kind!r:.40} is unknown; use one of {', '.join(get_args(MarketKind))}")
        for name in ("symbol", "exchange"):
            value = getattr(self, name)
            if value and not is_label(value):
                raise ValueError(
                    f"{name}: {value!r:.60} is not a valid {name}; use up to 60 printable characters, without spaces at the ends"
                )
        for name in ("tick_size", "lot_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}: {value!r} is not a valid size; use a finite number greater than 0")


def instrument(**values: Any) -> Instrument:
    """An instrument, from values given by a client.

    Raises:
        Invalid: a value is wrong.
    """
    try:
        return Instrument(**values)
    except ValueError as error:
        where, _, text = str(error).partition(": ")
        message, _, hint = text.partition("; ")
        raise Invalid(message, where=where, hint=hint) from None


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a dataset: the bars of one instrument in one timeframe. A version never changes."""

    id: Id
    name: Annotated[str, Meta(description="Name of the dataset.", examples=["btcusdt-1h"])]
    version: Annotated[
        int, Meta(description="Version, from 1; every append adds one. `name@version` and `id@version` refer to this version.")
    ]
    symbol: Annotated[str, Meta(description="Symbol, or empty.")]
    exchange: Annotated[str, Meta(description="Exchange, or empty.")]
    kind: Annotated[MarketKind, Meta(description="Kind of market.")]
    tick_size: Annotated[float | None, Meta(description="Smallest price increment, in the quote currency.")]
    lot_size: Annotated[float | None, Meta(description="Smallest quantity increment, in the base currency or in shares.")]
    owner: Owner
    timeframe: Annotated[str, Meta(description="Time between bars.", examples=["5m"])]
    rows: Annotated[int, Meta(description="Number of bars.")]
    start: Annotated[int, Meta(description="Open time of the first bar, UTC epoch milliseconds.")]
    end: Annotated[int, Meta(description="Open time of the last bar, UTC epoch milliseconds.")]
    gaps: Annotated[
        int, Meta(description="Number of gaps: places where bars are missing; for an equity, only within the sessions of its exchange.")
    ]
    fingerprint: Annotated[str, Meta(description="Hash of the data, whatever file it came from.")]
    bytes: Annotated[int, Meta(description="Size of its files in bytes, including those shared with other versions.")]
    source: Annotated[str, Meta(description="Where the new data of this version came from, such as `upload` or an exchange.")]
    created_at: Annotated[TimeMs, Meta(description="When the dataset was created, UTC epoch milliseconds.")]
    updated_at: Annotated[TimeMs, Meta(description="When this version was created, UTC epoch milliseconds.")]

    @property
    def reference(self) -> str:
        return f"{self.id}@{self.version}"


class DatasetPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of datasets."""

    items: Annotated[tuple[Dataset, ...], Meta(description="The datasets or versions of this page.")]
    next_cursor: NextCursor


class DatasetFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which datasets to list; texts are compared as they are stored."""

    symbol: str | None = None
    timeframe: str | None = None
    exchange: str | None = None
    name_prefix: str | None = None


NO_FILTERS: Final = DatasetFilters()
