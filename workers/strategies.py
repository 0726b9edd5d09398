"""Stored strategies: named, versioned, and valid, since making a `Strategy` compiles it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from workers.db import idempotency, revision
from workers.db.database import Database
from workers.db.paging import begins_with, page_of
from workers.db.tables import StrategyRow
from workers.db.visible import find_named, not_found, visible
from workers.errors import Conflict
from workers.model.callers import Caller
from workers.model.clock import TimeMs, now_ms
from workers.model.names import Id, Owner, check_name, is_reference, new_id
from workers.model.pages import NextCursor
from workers.model.runs import encode

OPERATION: Final = "strategy"


class StoredStrategy(msgspec.Struct, frozen=True, kw_only=True):
    """A stored strategy. Every update increments `version`; runs keep the strategy they were accepted with."""

    id: Id
    name: Annotated[str, Meta(description="Name of the strategy.", examples=["sma-cross"])]
    owner: Owner
    strategy: Annotated[bt.Strategy, Meta(description="The strategy.")]
    version: Annotated[int, Meta(ge=1, description="Version, from 1.")]
    created_at: Annotated[TimeMs, Meta(description="When it was created, UTC epoch milliseconds.")]
    updated_at: Annotated[TimeMs, Meta(description="When it was changed last, UTC epoch milliseconds.")]


class StrategyPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of strategies, sorted by name."""

    items: Annotated[tuple[StoredStrategy, ...], Meta(description="The strategies of this page.")]
    next_cursor: NextCursor


async def create(database: Database, caller: Caller, name: str, strategy: bt.Strategy, key: str) -> StoredStrategy:
    """Store a new strategy.

    Raises:
        Invalid: the name is not valid.
        Conflict: the name is taken, or the idempotency key was used for another request.
    """
    check_name(name)
    now = now_ms()
    row = StrategyRow(id=new_id(), owner=caller.owner, name=name, strategy=encode(strategy), version=1, created_at=now, updated_at=now)
    try:
        async with database.write() as session:
            first = await idempotency.record(session, caller.owner, key, OPERATION, f"{name}\0{row.strategy}", row.id)
            if first != row.id:
                return _to_strategy(await idempotency.get_subject(session, StrategyRow, first, "strategy"))
            session.add(row)
            await revision.count_change(session)
    except IntegrityError:
        raise name_taken(name) from None
    return _to_strategy(row)


async def get(session: AsyncSession, caller: Caller, reference: str) -> StoredStrategy:
    """A strategy by id or name.

    Raises:
        NotFound: there is no such strategy.
    """
    return _to_strategy(await _row(session, caller, reference))


async def page(session: AsyncSession, caller: Caller, *, name_prefix: str | None, limit: int, cursor: str | None) -> StrategyPage:
    """Strategies that the caller sees, by name."""
    conditions = visible(caller, StrategyRow.owner), begins_with(StrategyRow.name, name_prefix)
    rows, next_cursor = await page_of(
        session, "strategies", StrategyRow, *conditions, by=("name", "owner"), ascending=True, limit=limit, cursor=cursor
    )
    return StrategyPage(items=tuple(map(_to_strategy, rows)), next_cursor=next_cursor)


async def update(
    database: Database, caller: Caller, reference: str, *, strategy: bt.Strategy | None, name: str | None, version: int | None
) -> StoredStrategy:
    """Change a strategy; if `version` is given, only that version.

    Raises:
        NotFound: there is no such strategy.
        Invalid: the new name is not valid.
        Conflict: it has another version, or the new name is taken.
    """
    try:
        async with database.write() as session:
            row = await _row(session, caller, reference, version)
            if name is not None and name != row.name:  # earlier versions accepted others
                check_name(name)
            row.strategy = row.strategy if strategy is None else encode(strategy)
            row.name = row.name if name is None else name
            row.version += 1
            row.updated_at = now_ms()
            await revision.count_change(session)
    except IntegrityError:
        raise name_taken(str(name)) from None
    return _to_strategy(row)


async def delete(database: Database, caller: Caller, reference: str, *, version: int | None) -> None:
    """Delete a strategy; if `version` is given, only that version. Its runs stay.

    Raises:
        NotFound: there is no such strategy.
        Conflict: it has another version.
    """
    async with database.write() as session:
        await session.delete(await _row(session, caller, reference, version))
        await revision.count_change(session)


async def _row(session: AsyncSession, caller: Caller, reference: str, version: int | None = None) -> StrategyRow:
    found = find_named(caller, StrategyRow, reference).with_for_update()
    row: StrategyRow | None = await session.scalar(found) if is_reference(reference) else None
    if row is None:
        raise not_found("strategy", reference, caller, hint="create it")
    if version is not None and version != row.version:
        raise Conflict(
            f"the strategy has version {row.version}, not {version}",
            where="version",
            hint="read it again and repeat the change",
            code="version_mismatch",
        )
    return row


def name_taken(name: str) -> Conflict:
    return Conflict(f"the name {name!r} is taken by another strategy", where="name", hint="use another name", code="name_taken")


def _to_strategy(row: StrategyRow) -> StoredStrategy:
    return StoredStrategy(
        id=row.id,
        name=row.name,
        owner=row.owner,
        strategy=msgspec.json.decode(row.strategy, type=bt.Strategy),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
