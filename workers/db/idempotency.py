"""Idempotency keys: a request repeated under the same key is carried out once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.in_list import in_list
from workers.db.tables import IdempotencyKeyRow, Table
from workers.db.upsert import insert
from workers.errors import Conflict
from workers.model.clock import now_ms
from workers.model.names import check_label
from workers.model.runs import MAX_KEY_LENGTH

TTL_MS: Final = 86_400_000
# The subject of a key whose request is still being carried out.
PENDING: Final = ""
R = TypeVar("R", bound=Table)
BATCH: Final = 10_000
_DELETE_OLD: Final = sa.delete(IdempotencyKeyRow).where(
    in_list(IdempotencyKeyRow.key, "keys"), IdempotencyKeyRow.created_at < sa.bindparam("before")
)
_DELETE: Final = sa.delete(IdempotencyKeyRow).where(in_list(IdempotencyKeyRow.key, "keys"))
_FIND: Final = sa.select(IdempotencyKeyRow.key, IdempotencyKeyRow.request, IdempotencyKeyRow.subject_id).where(
    in_list(IdempotencyKeyRow.key, "keys")
)


class Replays:
    """How many keys in a request were those of earlier requests."""

    count = 0


_replays: Final[ContextVar[Replays | None]] = ContextVar("replays", default=None)


def count_replays() -> Replays:
    """Count the replays of the current task, and of those that it starts."""
    replays = Replays()
    _replays.set(replays)
    return replays


def note_replay() -> None:
    """Count a replay."""
    if (replays := _replays.get()) is not None:
        replays.count += 1


async def find_subject(session: AsyncSession, owner: str, key: str, operation: str, request: str) -> str | None:
    """The id of what an earlier request of this owner under this key created, if there was one. An empty key is none.

    Raises:
        Conflict: the key was used with a different request.
    """
    if not key:
        return None
    row = await session.get(IdempotencyKeyRow, _key(owner, key, operation), populate_existing=True)
    if row is None or row.created_at < now_ms() - TTL_MS:
        return None
    if row.request != _hash(request):
        raise _mismatch()
    note_replay()
    return row.subject_id


async def record(session: AsyncSession, owner: str, key: str, operation: str, request: str, subject_id: str) -> str:
    """Record what this key creates, in the same transaction; returns its id, or that of a concurrent request that was first.

    Raises:
        Conflict: the key was used with a different request.
    """
    if not key:
        return subject_id
    claims = [Claim(owner, key, operation, request, subject_id)]
    (first,) = await (await session.connection()).run_sync(record_all, claims)
    if isinstance(first, Conflict):
        raise first
    if first != subject_id:
        note_replay()
    return first


async def get_subject(session: AsyncSession, table: type[R], id_: str, what: str) -> R:
    """What an earlier request created.

    Raises:
        Conflict: it was deleted since.
    """
    row = await session.get(table, id_)
    if row is None:
        raise deleted(what)
    return row


def deleted(what: str) -> Conflict:
    return Conflict(f"the {what} of this idempotency key was deleted", where="key", hint="use a new key", code="deleted")


class Claim(NamedTuple):
    """A key of an owner, the request that it is used for, and the id of what the request creates."""

    owner: str
    key: str
    operation: str
    request: str
    subject_id: str


def record_all(connection: sa.Connection, claims: Sequence[Claim]) -> list[str | Conflict]:
    """Record what these keys create; the outcome of each is the id of what its first request created, or the error of `find_subject`."""
    now = now_ms()
    rows = [
        {
            "key": _key(each.owner, each.key, each.operation),
            "request": _hash(each.request),
            "subject_id": each.subject_id,
            "created_at": now,
        }
        for each in claims
    ]
    keys = {"keys": [row["key"] for row in rows]}
    connection.execute(_DELETE_OLD, keys | {"before": now - TTL_MS})
    # In the order of the keys, so that two transactions never wait for each other.
    new = insert(connection, IdempotencyKeyRow).on_conflict_do_nothing()
    connection.execute(new, sorted({row["key"]: row for row in reversed(rows)}.values(), key=itemgetter("key")))
    stored = {row.key: row for row in connection.execute(_FIND, keys)}
    return [stored[row["key"]].subject_id if stored[row["key"]].request == row["request"] else _mismatch() for row in rows]


async def settle(session: AsyncSession, owner: str, key: str, operation: str, subject_id: str) -> None:
    """Record what a pending key has created."""
    pending = IdempotencyKeyRow.key == _key(owner, key, operation), IdempotencyKeyRow.subject_id == PENDING
    await session.execute(sa.update(IdempotencyKeyRow).where(*pending).values(subject_id=subject_id))


async def release(session: AsyncSession, owner: str, key: str, operation: str, subject_id: str) -> None:
    """Make a key usable again after its request has failed."""
    await session.execute(
        sa.delete(IdempotencyKeyRow).where(IdempotencyKeyRow.key == _key(owner, key, operation), IdempotencyKeyRow.subject_id == subject_id)
    )


def release_all(connection: sa.Connection, claims: Sequence[Claim]) -> None:
    """Make the keys of these claims usable again, in the transaction that recorded them."""
    if claims:
        connection.execute(_DELETE, {"keys": [_key(each.owner, each.key, each.operation) for each in claims]})


async def delete_expired(session: AsyncSession) -> None:
    """Delete expired keys, at most a batch, so that the statement stays within its time limit."""
    expired = sa.select(IdempotencyKeyRow.key).where(IdempotencyKeyRow.created_at < now_ms() - TTL_MS).limit(BATCH)
    await session.execute(sa.delete(IdempotencyKeyRow).where(IdempotencyKeyRow.key.in_(expired)))


def _mismatch() -> Conflict:
    return Conflict(
        "this idempotency key was used with a different request, priority or start time",
        where="key",
        hint="use a new key for a new request",
        code="idempotency_mismatch",
    )


def _key(owner: str, key: str, operation: str) -> str:
    """
    Raises:
        Invalid: the key is no printable text.
    """
    if key:
        check_label(key, where="key", max_length=MAX_KEY_LENGTH)
    return _hash(f"{owner}\0{operation}\0{key}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
