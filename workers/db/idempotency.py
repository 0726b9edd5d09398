"""Idempotency keys: a request repeated under the same key is carried out once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.in_list import in_list
from workers.db.tables import IdempotencyKeyRow
from workers.db.upsert import insert
from workers.errors import Conflict
from workers.model.clock import now_ms
from workers.model.runs import RunOptions

TTL_MS: Final = 86_400_000
BATCH: Final = 10_000
_DELETE_OLD: Final = sa.delete(IdempotencyKeyRow).where(
    in_list(IdempotencyKeyRow.key, "keys"), IdempotencyKeyRow.created_at < sa.bindparam("before")
)
_FIND: Final = sa.select(IdempotencyKeyRow.key, IdempotencyKeyRow.request, IdempotencyKeyRow.subject_id).where(
    in_list(IdempotencyKeyRow.key, "keys")
)


async def find_subject(session: AsyncSession, options: RunOptions, operation: str, request: str) -> str | None:
    """The id of what an earlier request under this key created, if there was one.

    Raises:
        Conflict: the key was used with a different request.
    """
    if not options.key:
        return None
    row = await session.get(IdempotencyKeyRow, _key(options, operation), populate_existing=True)
    if row is None or row.created_at < now_ms() - TTL_MS:
        return None
    if row.request != _hash(request):
        raise _mismatch()
    return row.subject_id


async def record(session: AsyncSession, options: RunOptions, operation: str, request: str, subject_id: str) -> str:
    """Record what this key creates, in the same transaction; returns its id, or that of a concurrent request that was first.

    Raises:
        Conflict: the key was used with a different request.
    """
    if not options.key:
        return subject_id
    claims = [Claim(options, operation, request, subject_id)]
    (first,) = await (await session.connection()).run_sync(record_all, claims)
    if isinstance(first, Conflict):
        raise first
    return first


class Claim(NamedTuple):
    """A key, the request that it is used for, and the id of what the request creates."""

    options: RunOptions
    operation: str
    request: str
    subject_id: str


def record_all(connection: sa.Connection, claims: Sequence[Claim]) -> list[str | Conflict]:
    """Record what these keys create; the outcome of each is the id of what its first request created, or the error of `find_subject`."""
    now = now_ms()
    rows = [
        {"key": _key(each.options, each.operation), "request": _hash(each.request), "subject_id": each.subject_id, "created_at": now}
        for each in claims
    ]
    keys = {"keys": [row["key"] for row in rows]}
    connection.execute(_DELETE_OLD, keys | {"before": now - TTL_MS})
    # In the order of the keys, so that two transactions never wait for each other.
    new = insert(connection, IdempotencyKeyRow).on_conflict_do_nothing()
    connection.execute(new, sorted({row["key"]: row for row in reversed(rows)}.values(), key=itemgetter("key")))
    stored = {row.key: row for row in connection.execute(_FIND, keys)}
    return [stored[row["key"]].subject_id if stored[row["key"]].request == row["request"] else _mismatch() for row in rows]


async def release(session: AsyncSession, options: RunOptions, operation: str, subject_id: str) -> None:
    """Make a key usable again after its request has failed."""
    await session.execute(
        sa.delete(IdempotencyKeyRow).where(IdempotencyKeyRow.key == _key(options, operation), IdempotencyKeyRow.subject_id == subject_id)
    )


async def delete_expired(session: AsyncSession) -> None:
    """Delete expired keys, at most a batch, so that the statement stays within its time limit."""
    expired = sa.select(IdempotencyKeyRow.key).where(IdempotencyKeyRow.created_at < now_ms() - TTL_MS).limit(BATCH)
    await session.execute(sa.delete(IdempotencyKeyRow).where(IdempotencyKeyRow.key.in_(expired)))


def _mismatch() -> Conflict:
    return Conflict(
        "this idempotency key was used with a different request",
        where="key",
        hint="use a new key for a new request",
        code="idempotency_mismatch",
    )


def _key(options: RunOptions, operation: str) -> str:
    return _hash(f"{options.owner}\0{operation}\0{options.key}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
