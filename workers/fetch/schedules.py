"""Schedules: fetches that are repeated regularly, so that a dataset stays up to date."""

from __future__ import annotations

import zlib
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.exc import IntegrityError

from python_core.data import timeframes
from workers.db import idempotency
from workers.db.database import Database
from workers.db.paging import page_of
from workers.db.tables import RunRow, ScheduleRow
from workers.db.visible import visible
from workers.errors import Conflict, NotFound
from workers.fetch import requests
from workers.fetch.candles import SETTLE_MS
from workers.fetch.requests import FetchRequest
from workers.model.callers import Caller
from workers.model.clock import TimeMs, now_ms
from workers.model.names import Id, Owner, is_reference, new_id
from workers.model.pages import NextCursor
from workers.model.runs import encode
from workers.model.states import OPEN

OPERATION: Final = "schedule"
BATCH: Final = 100
# Schedules of the same period are spread over this time, so that they don't all hit an exchange at once.
SPREAD_MS: Final = 5_000
MIN_PERIOD_MS: Final = 60_000


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fetch to repeat regularly, so that its dataset stays up to date."""

    fetch: Annotated[FetchRequest, Meta(description="The fetch, without `until`.")]
    every_s: Annotated[
        Annotated[int, Meta(ge=60, le=604_800)] | None,
        Meta(description="Period in seconds; default: the timeframe, but at least a minute and at most a day."),
    ] = None

    def __post_init__(self) -> None:
        if self.fetch.until is not None:
            raise ValueError("fetch.until: a schedule has no end; leave it out")
        if self.every_s is not None and not 60 <= self.every_s <= 604_800:
            raise ValueError(f"every_s: {self.every_s} is out of range; use 60 to 604800")

    @property
    def every_ms(self) -> int:
        if self.every_s is not None:
            return self.every_s * 1000
        return min(max(timeframes.milliseconds(self.fetch.timeframe), MIN_PERIOD_MS), timeframes.DAY_MS)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A fetch that is repeated regularly. No fetch starts while the previous one is in progress."""

    id: Id
    dataset: Annotated[str, Meta(description="Name of the dataset.")]
    fetch: Annotated[FetchRequest, Meta(description="The fetch that is repeated.")]
    every_s: Annotated[int, Meta(description="Period in seconds.")]
    owner: Owner
    created_at: Annotated[TimeMs, Meta(description="When it was created, UTC epoch milliseconds.")]
    next_at: Annotated[TimeMs, Meta(description="When the next fetch is due, UTC epoch milliseconds.")]
    last_fetch: Annotated[str | None, Meta(description="Id of the fetch that it started last.")]


class SchedulePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of schedules, sorted by dataset."""

    items: Annotated[tuple[Schedule, ...], Meta(description="The schedules of this page.")]
    next_cursor: NextCursor


async def create(database: Database, request: ScheduleRequest, owner: str, key: str) -> Schedule:
    """Store a schedule, due at once.

    Raises:
        Invalid: unknown exchange, or a dataset can't have this name.
        NotInstalled: ccxt is not installed.
        Conflict: the dataset already has a schedule, or the idempotency key was used for another request.
    """
    requests.check(request.fetch)
    now = now_ms()
    row = ScheduleRow(
        id=new_id(),
        dataset=request.fetch.name,
        request=encode(request.fetch),
        every_ms=request.every_ms,
        owner=owner,
        created_at=now,
        next_at=now,
    )
    try:
        async with database.write() as session:
            first = await idempotency.record(session, owner, key, OPERATION, encode(request), row.id)
            if first != row.id:
                return _to_schedule(await idempotency.get_subject(session, ScheduleRow, first, "schedule"))
            session.add(row)
    except IntegrityError:
        hint = "delete that schedule first"
        raise Conflict(f"{request.fetch.name!r} already has a schedule", where="dataset", hint=hint, code="name_taken") from None
    return _to_schedule(row)


async def page(database: Database, caller: Caller, *, limit: int, cursor: str | None) -> SchedulePage:
    """Schedules that the caller sees, by dataset."""
    is_visible = visible(caller, ScheduleRow.owner)
    async with database.read() as session:
        rows, next_cursor = await page_of(
            session, "schedules", ScheduleRow, is_visible, by=("dataset", "owner"), ascending=True, limit=limit, cursor=cursor
        )
    return SchedulePage(items=tuple(map(_to_schedule, rows)), next_cursor=next_cursor)


async def get(database: Database, caller: Caller, schedule_id: str) -> Schedule:
    async with database.read() as session:
        row = await session.get(ScheduleRow, schedule_id) if is_reference(schedule_id) else None
    if row is None or not caller.sees(row.owner):
        raise _unknown(schedule_id)
    return _to_schedule(row)


async def delete(database: Database, caller: Caller, schedule_id: str) -> None:
    """Delete a schedule; a fetch of it that is in progress continues."""
    async with database.write() as session:
        row = await session.get(ScheduleRow, schedule_id, with_for_update=True) if is_reference(schedule_id) else None
        if row is None or not caller.sees(row.owner):
            raise _unknown(schedule_id)
        await session.delete(row)


async def submit_due(database: Database) -> int:
    """Submit the fetches that are due; returns their number. Several processes may do so at once: each due time is taken by one of them."""
    now = now_ms()
    async with database.read() as session:
        due = (await session.scalars(sa.select(ScheduleRow).where(ScheduleRow.next_at <= now).limit(BATCH))).all()
    return sum([await _submit(database, row, now) for row in due])


async def _submit(database: Database, row: ScheduleRow, now: int) -> bool:
    # Spread by the hash of the id, so that the offset of a schedule never changes.
    offset = SETTLE_MS + zlib.crc32(row.id.encode()) % SPREAD_MS
    next_at = (max(now - offset, 0) // row.every_ms + 1) * row.every_ms + offset
    async with database.write() as session:
        # Of several processes that read the same due time, one changes it; the others find it changed.
        claimed = await session.scalar(
            sa.update(ScheduleRow)
            .where(ScheduleRow.id == row.id, ScheduleRow.next_at == row.next_at)
            .values(next_at=next_at)
            .returning(ScheduleRow.id)
        )
        if claimed is None or await session.scalar(sa.select(RunRow.id).where(RunRow.id == row.fetch_id, RunRow.state.in_(OPEN))):
            return False
        run = await requests.accept(session, row.owner, requests.decode(row.request), requests.SCHEDULED)
        await session.execute(sa.update(ScheduleRow).where(ScheduleRow.id == row.id).values(fetch_id=run.id))
    return True


def _unknown(schedule_id: str) -> NotFound:
    return NotFound(f"schedule {schedule_id!r:.130} not found", where="schedule", hint="use an id from the list of schedules")


def _to_schedule(row: ScheduleRow) -> Schedule:
    return Schedule(
        id=row.id,
        dataset=row.dataset,
        fetch=requests.decode(row.request),
        every_s=row.every_ms // 1000,
        owner=row.owner,
        created_at=row.created_at,
        next_at=row.next_at,
        last_fetch=row.fetch_id,
    )
