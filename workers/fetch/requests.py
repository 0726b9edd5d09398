"""Fetches of market data from an exchange, as a client sees them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.data import timeframes
from workers.db import idempotency, locks
from workers.db.database import Database
from workers.db.paging import page_of
from workers.db.tables import IS_FETCH, IS_OPEN, RunRow
from workers.db.visible import visible
from workers.errors import Conflict, NotFound
from workers.fetch.candles import FetchReport
from workers.fetch.exchange import check_exchange
from workers.model.callers import Caller
from workers.model.clock import LAST_MS, TimeMs, now_ms
from workers.model.names import Id, Label, Name, Owner, check_name, is_label, is_reference, new_id
from workers.model.pages import NextCursor
from workers.model.runs import RunError, RunOptions, encode
from workers.model.selection import MarketKind
from workers.model.states import Priority, RunState
from workers.queue.queue import Queue
from workers.runs import store
from workers.runs.runs import cancel_run

KIND: Final = "data_fetch"
# The options of a scheduled fetch: no client waits for it.
SCHEDULED: Final = RunOptions(priority=Priority.LOW)
# The kinds of `MarketKind` that exchanges have.
FetchKind = Literal["spot", "linear", "inverse"]


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Candles to fetch from an exchange and store as a dataset. If the dataset exists, only missing candles are fetched."""

    exchange: Annotated[Label, Meta(description="Id of the exchange in ccxt.", examples=["bybit", "binance"])]
    symbol: Annotated[
        Label, Meta(description="Symbol in the notation of ccxt (BTC/USDT) or of the exchange (BTCUSDT).", examples=["BTC/USDT"])
    ]
    timeframe: Annotated[
        timeframes.Timeframe, Meta(description="Timeframe of the candles; the exchange must have it.", examples=["1m", "1d", "1M"])
    ]
    kind: Annotated[
        MarketKind,
        Meta(description="Kind of market: spot, or perpetual futures settled in the quote (linear) or base currency (inverse)."),
    ] = "spot"
    since: Annotated[
        Annotated[int, Meta(ge=0, le=LAST_MS)] | None,
        Meta(
            description="Only candles that open at or after this time, UTC epoch milliseconds; default: the start of the dataset or else of the market."
        ),
    ] = None
    until: Annotated[
        Annotated[int, Meta(ge=0, le=LAST_MS)] | None,
        Meta(description="Only candles that open before this time, UTC epoch milliseconds; default: up to the last closed one."),
    ] = None
    funding: Annotated[bool, Meta(description="Whether to fetch funding rates too; only for perpetual futures.")] = False
    dataset: Annotated[
        Name | None,
        Meta(description="Name of the dataset; default: exchange, symbol, kind and timeframe, such as bybit-btcusdt-1m."),
    ] = None

    def __post_init__(self) -> None:
        for name in ("exchange", "symbol"):
            value = getattr(self, name)
            if not is_label(value):
                raise ValueError(
                    f"{name}: {value!r:.60} is not a valid {name}; use 1 to 60 printable characters, without spaces at the ends"
                )
        try:
            msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))
        except bt.BarstormError as error:
            raise ValueError(str(error)) from None
        if self.kind not in get_args(FetchKind):
            raise ValueError(f"kind: {self.kind} markets can't be fetched; use spot, linear or inverse")
        if self.funding and self.kind == "spot":
            raise ValueError("funding: spot markets have no funding rates; leave it out, or use kind linear or inverse")
        if self.until is not None and self.until <= (self.since or 0):
            raise bt.BarsError(f"{self.until} is not after since, {self.since or 0}", where="until", code="empty_range")

    @property
    def name(self) -> str:
        """The name of the dataset."""
        if self.dataset is not None:
            return self.dataset
        symbol = "".join(letter for letter in self.symbol.partition(":")[0].lower() if letter.isalnum())
        return "-".join([self.exchange.lower(), symbol, *([] if self.kind == "spot" else [self.kind]), self.timeframe])


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """A fetch and its state. Bars that it has stored are kept even if it fails or is cancelled."""

    id: Id
    state: Annotated[RunState, Meta(description="State of the fetch.")]
    request: Annotated[FetchRequest, Meta(description="The request.")]
    dataset: Annotated[str, Meta(description="Name of the dataset.")]
    owner: Owner
    attempt: Annotated[int, Meta(description="Number of attempts so far.")]
    cancel_requested: Annotated[bool, Meta(description="Whether a client has requested its cancellation.")]
    worker: Annotated[str | None, Meta(description="Id of the worker that is running it or ran it last.")]
    created_at: Annotated[TimeMs, Meta(description="When it was accepted, UTC epoch milliseconds.")]
    started_at: Annotated[TimeMs | None, Meta(description="When its last attempt started, UTC epoch milliseconds.")]
    finished_at: Annotated[TimeMs | None, Meta(description="When it finished, UTC epoch milliseconds.")]
    report: Annotated[FetchReport | None, Meta(description="What it has stored so far.")]
    error: Annotated[RunError | None, Meta(description="Why it failed; null unless it has.")]


class FetchPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of fetches, newest first."""

    items: Annotated[tuple[Fetch, ...], Meta(description="The fetches of this page.")]
    next_cursor: NextCursor


def check(request: FetchRequest) -> None:
    """Check what stored requests need not fulfil, as they may be of an earlier version or another installation.

    Raises:
        NotInstalled: ccxt is not installed.
        Invalid: unknown exchange, or a dataset can't have this name.
    """
    check_exchange(request.exchange)
    check_name(request.name, where="dataset")


async def submit(database: Database, owner: str, request: FetchRequest, options: RunOptions) -> Fetch:
    """Accept a fetch, or return an equal one that is in progress.

    Raises:
        Invalid: unknown exchange, or a dataset can't have this name.
        NotInstalled: ccxt is not installed.
        Conflict: the idempotency key was used for another request.
    """
    check(request)
    encoded = encode(request)
    async with database.write() as session:
        # Taken before the key is read, so that the second of two equal requests finds the first.
        await locks.lock(session, f"{KIND} {owner} {encoded}")
        before = await idempotency.find_subject(session, owner, options.key, KIND, options.keyed(encoded))
        accepting = idempotency.get_subject(session, RunRow, before, "fetch") if before else accept(session, owner, request, options)
        row = await accepting
        row = await session.get_one(RunRow, await idempotency.record(session, owner, options.key, KIND, options.keyed(encoded), row.id))
        return to_fetch(row)


async def accept(session: AsyncSession, owner: str, request: FetchRequest, options: RunOptions) -> RunRow:
    """The run of an equal unfinished fetch of this owner, or a new one with its job."""
    encoded, now = encode(request), now_ms()
    await locks.lock(session, f"{KIND} {owner} {encoded}")
    same: tuple[Any, ...] = IS_FETCH, RunRow.owner == owner, RunRow.request == encoded
    equal = sa.select(RunRow).where(*same, IS_OPEN, ~RunRow.cancel_requested)
    if options.run_at is None and (row := await session.scalar(equal.limit(1))) is not None:
        return row
    row = RunRow(
        id=new_id(),
        kind=KIND,
        owner=owner,
        priority=options.priority,
        state=RunState.QUEUED,
        request=encoded,
        fingerprint="",
        due_at=max(now, options.run_at or now),
        created_at=now,
        updated_at=now,
    )
    await store.insert_run(session, row)
    return row


async def get(database: Database, caller: Caller, fetch_id: str) -> Fetch:
    async with database.read() as session:
        row = await session.get(RunRow, fetch_id) if is_reference(fetch_id) else None
    if row is None or row.kind != KIND or not caller.sees(row.owner):
        raise NotFound(f"fetch {fetch_id!r:.130} not found", where="fetch", hint="use the id of a submitted fetch")
    return to_fetch(row)


async def page(database: Database, caller: Caller, *, limit: int, cursor: str | None) -> FetchPage:
    """Fetches, newest first."""
    async with database.read() as session:
        conditions: tuple[Any, ...] = IS_FETCH, visible(caller, RunRow.owner)
        rows, next_cursor = await page_of(session, "fetches", RunRow, *conditions, limit=limit, cursor=cursor)
    return FetchPage(items=tuple(map(to_fetch, rows)), next_cursor=next_cursor)


async def cancel(database: Database, queue: Queue, caller: Caller, fetch_id: str) -> Fetch:
    """Cancel a fetch; the bars that it has stored are kept.

    Raises:
        Conflict: it has finished.
    """
    fetch = await get(database, caller, fetch_id)
    row = await cancel_run(database, queue, fetch_id)
    if row is None:
        raise Conflict(
            f"the fetch has already finished ({fetch.state})",
            where="fetch",
            hint="only unfinished fetches can be cancelled",
            code="finished",
        )
    return to_fetch(row)


def decode(raw: str) -> FetchRequest:
    return msgspec.json.decode(raw, type=FetchRequest)


def to_fetch(row: RunRow) -> Fetch:
    request = decode(row.request)
    return Fetch(
        id=row.id,
        state=RunState(row.state),
        request=request,
        dataset=request.name,
        owner=row.owner,
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        worker=row.worker,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        report=None if row.output is None else msgspec.json.decode(row.output, type=FetchReport),
        error=store.to_error(row.error),
    )
