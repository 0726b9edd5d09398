"""Stored strategies: named, versioned, and valid, since making a `Strategy` compiles it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from workers.db import revision
from workers.db.database import Database
from workers.db.tables import StrategyRow
from workers.errors import Conflict, NotFound
from workers.model.clock import TimeMs, now_ms
from workers.model.names import check_name, is_reference, new_id
from workers.model.runs import encode


class StoredStrategy(msgspec.Struct, frozen=True, kw_only=True):
    """A stored strategy. Every update increments `version`; runs keep the strategy they were accepted with."""

    id: str
    name: str
    strategy: bt.Strategy
    version: Annotated[int, Meta(ge=1, description="Version, from 1.")]
    created_at: TimeMs
    updated_at: TimeMs


async def create(database: Database, name: str, strategy: bt.Strategy) -> StoredStrategy:
    """Store a new strategy.

    Raises:
        Conflict: the name is taken.
    """
    check_name(name)
    now = now_ms()
    row = StrategyRow(id=new_id(), name=name, strategy=encode(strategy), version=1, created_at=now, updated_at=now)
    try:
        async with database.write() as session:
            session.add(row)
            await revision.count_change(session)
    except IntegrityError:
        raise name_taken(name) from None
    return _to_strategy(row)


async def get(session: AsyncSession, reference: str) -> StoredStrategy:
    """A strategy by id or name.

    Raises:
        NotFound: there is no such strategy.
    """
    return _to_strategy(await _row(session, reference))


async def list_all(session: AsyncSession) -> tuple[StoredStrategy, ...]:
    """All strategies, by name."""
    return tuple(_to_strategy(row) for row in (await session.scalars(sa.select(StrategyRow).order_by(StrategyRow.name))).all())


async def update(
    database: Database, reference: str, *, strategy: bt.Strategy | None, name: str | None, version: int | None
) -> StoredStrategy:
    """Change a strategy; if `version` is given, only that version.

    Raises:
        NotFound: there is no such strategy.
        Conflict: it has another version, or the new name is taken.
    """
    if name is not None:
        check_name(name)
    try:
        async with database.write() as session:
            row = await _row(session, reference, version)
            row.strategy = row.strategy if strategy is None else encode(strategy)
            row.name = row.name if name is None else name
            row.version += 1
            row.updated_at = now_ms()
            await revision.count_change(session)
    except IntegrityError:
        raise name_taken(str(name)) from None
    return _to_strategy(row)


async def delete(database: Database, reference: str, *, version: int | None) -> None:
    """Delete a strategy; if `version` is given, only that version. Its runs stay.

    Raises:
        NotFound: there is no such strategy.
        Conflict: it has another version.
    """
    async with database.write() as session:
        await session.delete(await _row(session, reference, version))
        await revision.count_change(session)


async def _row(session: AsyncSession, reference: str, version: int | None = None) -> StrategyRow:
    matches = sa.select(StrategyRow).where(sa.or_(StrategyRow.id == reference, StrategyRow.name == reference))
    best = matches.order_by(StrategyRow.id != reference).limit(1).with_for_update()
    row = await session.scalar(best) if is_reference(reference) else None
    if row is None:
        raise NotFound(
            f"strategy {reference!r:.130} not found", where="strategy", hint="create it, or use the id or name of an existing strategy"
        )
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
        strategy=msgspec.json.decode(row.strategy, type=bt.Strategy),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
