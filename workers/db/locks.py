"""Named locks, held until the transaction ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

_NAMES: Final = sa.bindparam("names", type_=postgresql.ARRAY(sa.Text()))
_NUMBERS: Final = (
    sa.select(sa.func.hashtextextended(sa.column("name"), 0).label("number"))
    .select_from(sa.func.unnest(_NAMES).alias("name"))
    .order_by("number")
).subquery()
_LOCK_ALL: Final = sa.select(sa.func.count(sa.func.pg_advisory_xact_lock(_NUMBERS.c.number)))


async def lock(session: AsyncSession, name: str) -> None:
    """Wait for the lock `name` and take it. SQLite has only one writer at a time and needs no lock."""
    await (await session.connection()).run_sync(lock_all, [name])


def lock_all(connection: sa.Connection, names: Sequence[str]) -> None:
    """Wait for these locks and take them, in one order for all transactions, so that two never wait for each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_ALL, {"names": list(names)})
