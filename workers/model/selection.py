"""The bars that a request selects."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

import python_core as bt
from python_core.data import timeframes
from workers.model.clock import LAST_MS
from workers.model.names import Label, is_label

MarketKind = Literal["spot", "linear", "inverse", "fx", "equity"]
Reference = Annotated[str, Meta(min_length=1, max_length=120)]

_Time = Annotated[int, Meta(ge=0, le=LAST_MS)]
MARKET_FIELDS: Final = ("symbol", "timeframe", "exchange", "kind")
WarmUp = Literal["auto", "start"]


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bars of a dataset, named by id or name or by its symbol and timeframe; all of them or a range."""

    dataset: Annotated[
        Reference | None,
        Meta(
            description="Id or name of a dataset, in its newest version; `@` and a number select an older one: `btcusdt-1h@3`.",
            examples=["btcusdt-1h"],
        ),
    ] = None
    symbol: Annotated[
        Label | None,
        Meta(description="Instead of `dataset`, together with `timeframe`: symbol of the dataset; case and separators are ignored."),
    ] = None
    timeframe: Annotated[
        timeframes.Timeframe | None,
        Meta(description="Timeframe of the dataset, such as 1h or 1M (a month; 1m is a minute); only with `symbol`."),
    ] = None
    exchange: Annotated[Label | None, Meta(description="Exchange of the dataset, if several have the symbol; only with `symbol`.")] = None
    kind: Annotated[MarketKind | None, Meta(description="Kind of market, if the symbol has several; only with `symbol`.")] = None
    start: Annotated[
        _Time | None,
        Meta(description="The run starts with the first bar that opens at or after this time, UTC epoch milliseconds; default: the first."),
    ] = None
    end: Annotated[_Time | None, Meta(description="Only bars that open before this time, UTC epoch milliseconds.")] = None
    warm_up_from: Annotated[
        WarmUp | _Time,
        Meta(
            description="Bars before `start` that indicators are computed from, without trading: `auto` for as many as they need to settle, as far as "
            "the dataset has them; `start` for none; or those that open at or after a time, UTC epoch milliseconds."
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        if self.dataset is None:
            self._check_market()
        else:
            if not isinstance(self.dataset, str) or not 0 < len(self.dataset) <= 120:
                raise ValueError(f"dataset: expected an id or name, got {self.dataset!r:.60}; use 1 to 120 characters")
            if given := [name for name in MARKET_FIELDS if getattr(self, name) is not None]:
                raise ValueError(f"{given[0]}: dataset already determines it; leave out {given[0]} or dataset")
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value <= LAST_MS):
                raise ValueError(f"{name}: {value!r:.60} is not a valid time; use UTC epoch milliseconds")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise bt.BarsError(
                f"{self.end} is not after start, {self.start}",
                where="end",
                hint="the range includes start and excludes end",
                code="empty_range",
            )
        self._check_warm_up()

    def _check_market(self) -> None:
        if self.symbol is None or self.timeframe is None:
            raise ValueError("dataset: no bars are selected; give dataset, or symbol and timeframe")
        for name in ("symbol", "exchange"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not is_label(value)):
                raise ValueError(
                    f"{name}: {value!r:.60} is not a valid {name}; use 1 to 60 printable characters, without spaces at the ends"
                )
        if self.kind is not None and self.kind not in get_args(MarketKind):
            raise ValueError(f"kind: {self.kind!r:.40} is unknown; use one of {', '.join(get_args(MarketKind))}")
        try:
            msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))
        except bt.BarstormError as error:
            raise ValueError(str(error)) from None

    def _check_warm_up(self) -> None:
        given = self.warm_up_from
        if given in get_args(WarmUp):
            return
        if type(given) is not int or not 0 <= given <= LAST_MS:
            raise ValueError(f"warm_up_from: {given!r:.60} is not a valid time; use auto, start or UTC epoch milliseconds")
        if self.start is None:
            raise ValueError(f"warm_up_from: {given} is a warm-up without a start; give start, or leave warm_up_from out")
        if given > self.start:
            raise bt.BarsError(
                f"{given} is not before start, {self.start}",
                where="warm_up_from",
                hint="use an earlier time, auto or start",
                code="empty_range",
            )

    @property
    def is_range(self) -> bool:
        """Whether it selects a range instead of all bars."""
        return self.start is not None or self.end is not None

    def selection(self) -> dict[str, Any]:
        """The fields of the selection, without those of subclasses."""
        return {name: getattr(self, name) for name in Selection.__struct_fields__}
