"""Fetches: market data asked for from an exchange, as a client sees it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.data import timeframes
from workers.db import idempotency, locks
from workers.db.database import Database
from workers.db.tables import RunRow
from workers.errors import Conflict, Invalid, NotFound
from workers.fetch.candles import FetchReport
from workers.fetch.exchange import check_exchange
from workers.model.clock import TimeMs, now_ms
from workers.model.names import check_name, is_reference, new_id
from workers.model.runs import RunError, RunOptions, encode
from workers.model.selection import MarketKind
from workers.model.states import OPEN, Priority, RunState
from workers.queue.queue import Queue
from workers.runs import store, submit

KIND: Final = "data_fetch"


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Candles to fetch from an exchange and store as a dataset. If the dataset exists, only missing candles are fetched."""

    exchange: Annotated[str, Meta(min_length=1, max_length=60, description="Id of the exchange in ccxt.", examples=["bybit", "binance"])]
    symbol: Annotated[
        str, Meta(min_length=1, max_length=60, description="Symbol in the notation of ccxt (BTC/USDT) or of the exchange (BTCUSDT).")
    ]
    timeframe: Annotated[str, Meta(max_length=20, description="Timeframe of the candles.", examples=["1m"])]
    kind: Annotated[
        MarketKind, Meta(description="Kind of market: spot, or perpetual futures settled in the quote (linear) or base currency (inverse).")
    ] = "spot"
    since: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None,
        Meta(
            description="Only candles that open at or after this time, UTC epoch milliseconds; default: the start of the dataset or else of the market."
        ),
    ] = None
    until: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)] | None,
        Meta(description="Only candles that open before this time, UTC epoch milliseconds; default: up to the last closed one."),
    ] = None
    funding: Annotated[bool, Meta(description="Whether to fetch funding rates too; only for perpetual futures.")] = False
    dataset: Annotated[
        Annotated[str, Meta(min_length=1, max_length=120)] | None,
        Meta(description="Name of the dataset; default: exchange, symbol, kind and timeframe, such as bybit-btcusdt-1m."),
    ] = None

    def __post_init__(self) -> None:
        for name in ("exchange", "symbol"):
            value = getattr(self, name)
            if not 0 < len(value) <= 60 or not value.isprintable() or value != value.strip():
                raise ValueError(f"{name}: {value!r:.60} is no {name}; use 1 to 60 printable characters, no blanks at the ends")
        try:
            msgspec.structs.force_setattr(self, "timeframe", timeframes.parse(self.timeframe))
            if self.dataset is not None:
                check_name(self.dataset, where="dataset")
        except (bt.BarstormError, Invalid) as error:
            raise ValueError(str(error)) from None
        if self.kind not in ("spot", "linear", "inverse"):
            raise ValueError(f"kind: exchanges have no {self.kind} markets here; use spot, linear or inverse")
        if self.funding and self.kind == "spot":
            raise ValueError("funding: spot markets have none; leave it out, or use kind linear or inverse")
        if self.until is not None and self.until <= (self.since or 0):
            raise ValueError(f"until: {self.until} is not after since, {self.since or 0}")

    @property
    def name(self) -> str:
        """The name of its dataset."""
        if self.dataset is not None:
            return self.dataset
        symbol = "".join(letter for letter in self.symbol.partition(":")[0].lower() if letter.isalnum())
        return "-".join([self.exchange.lower(), symbol, *([] if self.kind == "spot" else [self.kind]), self.timeframe])


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """A fetch and its state. Bars that it has stored are kept even if it fails or is cancelled."""

    id: str
    state: RunState
    request: FetchRequest
    dataset: Annotated[str, Meta(description="Name of the dataset.")]
    owner: str
    attempt: Annotated[int, Meta(description="Number of attempts so far.")]
    cancel_requested: Annotated[bool, Meta(description="Whether a client has asked to cancel it.")]
    worker: Annotated[str | None, Meta(description="Id of the worker that is running it or ran it last.")]
    created_at: TimeMs
    started_at: TimeMs | None
    finished_at: TimeMs | None
    report: Annotated[FetchReport | None, Meta(description="What it has stored so far.")]
    error: RunError | None


class FetchPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of fetches, newest first; `next_cursor` is null on the last page."""

    items: tuple[Fetch, ...]
    next_cursor: str | None


async def ask(database: Database, request: FetchRequest, options: RunOptions) -> Fetch:
    """Accept a fetch; while an equal one is on its way, that one is the answer.

    Raises:
        Invalid: there is no such exchange.
        Unavailable: ccxt is not installed.
        Conflict: the key has come with another request.
    """
    check_exchange(request.exchange)
    asked = encode(request)
    async with database.write() as session:
        # Held before the key is looked at, so that who comes second finds it.
        await locks.lock(session, f"{KIND} {asked}")
        before = await idempotency.find_subject(session, options, KIND, asked)
        row = await session.get(RunRow, before) if before else await accept(session, request, options)
        if row is None:
            raise NotFound("that fetch is gone", where="key", hint="use a new key")
        row = await session.get_one(RunRow, await idempotency.record(session, options, KIND, asked, row.id))
        return to_fetch(row)


async def accept(session: AsyncSession, request: FetchRequest, options: RunOptions) -> RunRow:
    """The run of an equal fetch that is open, or a new one and its job."""
    asked, now = encode(request), now_ms()
    await locks.lock(session, f"{KIND} {asked}")
    there = sa.select(RunRow).where(RunRow.kind == KIND, RunRow.request == asked, RunRow.state.in_(OPEN), ~RunRow.cancel_requested)
    if options.run_at is None and (row := await session.scalar(there.limit(1))) is not None:
        return row
    row = RunRow(
        id=new_id(),
        kind=KIND,
        owner=options.owner,
        priority=options.priority,
        state=RunState.QUEUED,
        request=asked,
        fingerprint="",
        due_at=max(now, options.run_at or now),
        created_at=now,
        updated_at=now,
    )
    await store.insert_run(session, row)
    return row


async def get(database: Database, fetch_id: str) -> Fetch:
    async with database.read() as session:
        row = await session.get(RunRow, fetch_id) if is_reference(fetch_id) else None
    if row is None or row.kind != KIND:
        raise NotFound(f"there is no fetch {fetch_id!r:.130}", where="fetch", hint="use the id of a fetch you asked for")
    return to_fetch(row)


async def page(database: Database, *, limit: int, cursor: str | None) -> FetchPage:
    """Fetches, newest first; the cursor is the id of the last one of the page before."""
    if not 1 <= limit <= 1000:
        raise Invalid(f"{limit} is out of range", where="limit", hint="use 1 to 1000")
    if cursor is not None and not is_reference(cursor):
        raise Invalid(f"{cursor!r:.60} is no cursor", where="cursor", hint="use the next_cursor of the page before")
    query = sa.select(RunRow).where(RunRow.kind == KIND).order_by(RunRow.id.desc()).limit(limit + 1)
    async with database.read() as session:
        rows = (await session.scalars(query if cursor is None else query.where(RunRow.id < cursor))).all()
    items = tuple(to_fetch(row) for row in rows[:limit])
    return FetchPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


async def cancel(database: Database, queue: Queue, fetch_id: str) -> Fetch:
    """Cancel a fetch; what it has stored stays.

    Raises:
        Conflict: it is done.
    """
    found = await get(database, fetch_id)
    row = await submit.cancel_run(database, queue, fetch_id)
    if row is None:
        raise Conflict(f"the fetch is done: it has {found.state}", where="fetch", hint="cancel what waits or runs", code="finished")
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
        error=None if row.error is None else msgspec.json.decode(row.error, type=RunError),
    )


def options_of(owner: str) -> RunOptions:
    """Those of a fetch that nobody waits for."""
    return RunOptions(owner=owner, priority=Priority.LOW)
