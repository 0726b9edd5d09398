"""Sagas: work of several steps, each its own transaction, of which either all take effect or none.

A step and the record that it is done are one transaction, so each step is done once, whichever process dies and when. If a step fails, the
steps before it are undone in reverse order, again one transaction each. `resume` continues sagas whose process has died.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.database import Database
from workers.db.tables import SagaRow
from workers.model.clock import now_ms
from workers.model.runs import RunError, encode
from workers.outages import is_unreachable

# A saga without progress for this long has lost its process.
GRACE_MS: Final = 15_000
BATCH: Final = 100
# Finished sagas are deleted after this time.
RETENTION_MS: Final = 7 * 86_400_000
_log = structlog.stdlib.get_logger(__name__)

Data = dict[str, Any]


class SagaState(StrEnum):
    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    UNDONE = "undone"


class Step(NamedTuple):
    """`do` and `undo` write through the session they are given. What `do` adds to the data, later steps and `undo` see."""

    do: Callable[[AsyncSession, Data], Awaitable[None]]
    undo: Callable[[AsyncSession, Data], Awaitable[None]] | None = None


async def start(session: AsyncSession, identifier: str, kind: str, data: Data) -> None:
    """Store a saga in the caller's transaction; `advance` executes it."""
    now = now_ms()
    session.add(SagaRow(id=identifier, kind=kind, state=SagaState.RUNNING, data=encode(data), created_at=now, updated_at=now))


async def advance(database: Database, identifier: str, steps: Sequence[Step]) -> SagaState:
    """Do the remaining steps or, if one fails, undo those that are done.

    Raises:
        Exception: the error of the failed step, raised when the steps before it are undone. If the database can't be reached, the saga stays
            as it is for `resume`.
    """
    failed: Exception | None = None
    while True:
        try:
            state = await _advance_one(database, identifier, steps)
        except Exception as error:
            if is_unreachable(error) or failed is not None:
                raise
            failed = error
            await _start_undo(database, identifier, error)
            continue
        if state in (SagaState.DONE, SagaState.UNDONE):
            if failed is not None:
                raise failed
            return state


async def resume(database: Database, sagas: Mapping[str, Sequence[Step]]) -> int:
    """Continue sagas whose process has died; returns their number. Deletes sagas that finished long ago."""
    now = now_ms()
    unfinished = sa.select(SagaRow.id, SagaRow.kind).where(SagaRow.state.in_((SagaState.RUNNING, SagaState.UNDOING)))
    async with database.read() as session:
        stalled = (await session.execute(unfinished.where(SagaRow.updated_at < now - GRACE_MS).limit(BATCH))).all()
    for identifier, kind in stalled:
        if kind not in sagas:
            continue  # stored by another version
        try:
            await advance(database, identifier, sagas[kind])
        except Exception as error:
            if is_unreachable(error):
                raise
            _log.warning("saga undone", saga=identifier, kind=kind, reason=str(error))
    async with database.write() as session:
        await session.execute(
            sa.delete(SagaRow).where(SagaRow.state.in_((SagaState.DONE, SagaState.UNDONE)), SagaRow.updated_at < now - RETENTION_MS)
        )
    return len(stalled)


async def _advance_one(database: Database, identifier: str, steps: Sequence[Step]) -> SagaState:
    """Do one step, or undo one."""
    async with database.write() as session:
        # Several processes may advance one saga at once; the row lock makes them take turns.
        row = await session.scalar(sa.select(SagaRow).where(SagaRow.id == identifier).with_for_update())
        if row is None:
            return SagaState.UNDONE
        state, data = SagaState(row.state), msgspec.json.decode(row.data)
        if state == SagaState.RUNNING:
            await steps[row.step].do(session, data)
            row.step += 1
            row.state = SagaState.DONE if row.step == len(steps) else state
        elif state == SagaState.UNDOING:
            if row.step and (undo := steps[row.step - 1].undo) is not None:
                await undo(session, data)
            row.step = max(row.step - 1, 0)
            row.state = state if row.step else SagaState.UNDONE
        row.data, row.updated_at = encode(data), now_ms()
        return SagaState(row.state)


async def _start_undo(database: Database, identifier: str, error: Exception) -> None:
    reason = RunError(code=getattr(error, "code", "internal"), message=str(error)[:1000])
    async with database.write() as session:
        await session.execute(
            sa.update(SagaRow)
            .where(SagaRow.id == identifier, SagaRow.state == SagaState.RUNNING)
            .values(state=SagaState.UNDOING, error=encode(reason), updated_at=now_ms())
        )
