"""Idempotency keys: what a client asks twice under one key is done once."""

from __future__ import annotations

import hashlib
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import KeyRow
from workers.errors import Conflict
from workers.model.clock import now_ms
from workers.model.runs import RunOptions

# So long a key is known; later it is a new one.
KEPT_MS: Final = 86_400_000


async def known(session: AsyncSession, options: RunOptions, operation: str, request: str) -> str | None:
    """The id of what this key has led to before, if it has.

    Raises:
        Conflict: it came with another request.
    """
    if not options.key:
        return None
    there = await session.get(KeyRow, _key(options, operation), populate_existing=True)
    if there is None or there.created_at < now_ms() - KEPT_MS:
        return None
    if there.request != _hash(request):
        raise Conflict(
            "this idempotency key came with another request before",
            where="key",
            hint="use a new key for a new request",
            code="idempotency_mismatch",
        )
    return there.subject_id


async def keep(session: AsyncSession, options: RunOptions, operation: str, request: str, subject_id: str) -> str:
    """Note in the transaction that makes it what this key leads to; returns the id that it leads to, which may be an earlier one.

    Raises:
        Conflict: it came with another request.
    """
    if not options.key:
        return subject_id
    key, now = _key(options, operation), now_ms()
    await session.execute(sa.delete(KeyRow).where(KeyRow.key == key, KeyRow.created_at < now - KEPT_MS))
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = {"key": key, "request": _hash(request), "subject_id": subject_id, "created_at": now}
    if await session.scalar(insert(KeyRow).values(**values).on_conflict_do_nothing().returning(KeyRow.key)):
        return subject_id
    return await known(session, options, operation, request) or subject_id


async def free(session: AsyncSession, options: RunOptions, operation: str, subject_id: str) -> None:
    """Let a key be used again, since what it led to has come to nothing."""
    await session.execute(sa.delete(KeyRow).where(KeyRow.key == _key(options, operation), KeyRow.subject_id == subject_id))


async def forget_old(session: AsyncSession) -> None:
    await session.execute(sa.delete(KeyRow).where(KeyRow.created_at < now_ms() - KEPT_MS))


def _key(options: RunOptions, operation: str) -> str:
    return _hash(f"{options.owner}\0{operation}\0{options.key}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
