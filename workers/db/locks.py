"""Named locks, held until the transaction ends."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession


async def lock(session: AsyncSession, name: str) -> None:
    """Wait for the lock `name` and take it. SQLite has only one writer at a time and needs no lock."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))
