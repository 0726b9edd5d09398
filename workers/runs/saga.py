"""Work of several steps that must be done whole or not at all, though each commits by itself.

A step and the note that it is done are one transaction, so that it is done once, whoever dies when. When a step fails, those before it are
undone in reverse order, each in one transaction with its note, too. Whatever stands still for a while is taken up again by `resume`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.database import Database, is_unreachable
from workers.db.tables import SagaRow
from workers.model.clock import now_ms
from workers.model.runs import RunError, encode

# Who has not moved for so long has been left by its process.
GRACE_MS: Final = 15_000
BATCH: Final = 100
# What ended so long ago is forgotten.
KEPT_MS: Final = 7 * 86_400_000
_log = structlog.stdlib.get_logger(__name__)

Data = dict[str, Any]


class SagaState(StrEnum):
    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    UNDONE = "undone"


class Step(NamedTuple):
    """`do` and `undo` write through the session they are given. `do` may add to the data, of which later steps and `undo` know."""

    do: Callable[[AsyncSession, Data], Awaitable[None]]
    undo: Callable[[AsyncSession, Data], Awaitable[None]] | None = None


async def begin(session: AsyncSession, identifier: str, kind: str, data: Data) -> None:
    """Keep what is to be done, in a transaction of the caller's; `go_on` does it."""
    now = now_ms()
    session.add(SagaRow(id=identifier, kind=kind, state=SagaState.RUNNING, data=encode(data), created_at=now, updated_at=now))


async def go_on(database: Database, identifier: str, steps: Sequence[Step]) -> SagaState:
    """Do the steps that are left, or undo those that are done.

    Raises:
        Exception: what made a step fail; the steps before it are undone by then. A database that can't be reached leaves it for later.
    """
    failed: Exception | None = None
    while True:
        try:
            state = await _next(database, identifier, steps)
        except Exception as error:
            if is_unreachable(error) or failed is not None:
                raise
            failed = error
            await _turn_back(database, identifier, error)
            continue
        if state in (SagaState.DONE, SagaState.UNDONE):
            if failed is not None:
                raise failed
            return state


async def resume(database: Database, sagas: Mapping[str, Sequence[Step]]) -> int:
    """Go on with what its process has left; how many. Forgets what has long ended."""
    now = now_ms()
    unfinished = sa.select(SagaRow.id, SagaRow.kind).where(SagaRow.state.in_((SagaState.RUNNING, SagaState.UNDOING)))
    async with database.read() as session:
        left = (await session.execute(unfinished.where(SagaRow.updated_at < now - GRACE_MS).limit(BATCH))).all()
    for identifier, kind in left:
        if kind not in sagas:
            continue  # of another version
        try:
            await go_on(database, identifier, sagas[kind])
        except Exception as error:
            if is_unreachable(error):
                raise
            _log.warning("saga undone", saga=identifier, kind=kind, reason=str(error))
    async with database.write() as session:
        await session.execute(
            sa.delete(SagaRow).where(SagaRow.state.in_((SagaState.DONE, SagaState.UNDONE)), SagaRow.updated_at < now - KEPT_MS)
        )
    return len(left)


async def _next(database: Database, identifier: str, steps: Sequence[Step]) -> SagaState:
    """One step forward, or back."""
    async with database.write() as session:
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


async def _turn_back(database: Database, identifier: str, error: Exception) -> None:
    told = RunError(code=getattr(error, "code", "internal"), message=str(error)[:1000])
    async with database.write() as session:
        await session.execute(
            sa.update(SagaRow)
            .where(SagaRow.id == identifier, SagaRow.state == SagaState.RUNNING)
            .values(state=SagaState.UNDOING, error=encode(told), updated_at=now_ms())
        )
