"""Dead letters: runs that failed too often to be retried automatically. An operator redrives or discards them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from workers.db.database import Database
from workers.db.paging import page_of
from workers.db.tables import OutboxRow, RunRow
from workers.db.visible import visible
from workers.errors import Conflict, NotFound
from workers.model.callers import Caller
from workers.model.clock import TimeMs, now_ms
from workers.model.names import Id, Owner, is_reference
from workers.model.pages import NextCursor
from workers.model.runs import Attempt, RunError
from workers.model.states import Priority, RunState, predecessors
from workers.runs import attempts, store

BATCH: Final = 500


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A run that failed too often. `request` and `attempts` are only set when a single dead letter is read, not in lists."""

    id: Id
    kind: Annotated[str, Meta(description="Kind of job.", examples=["backtest"])]
    owner: Owner
    priority: Annotated[Priority, Meta(description="Priority in the queue.")]
    attempt: Annotated[int, Meta(description="Number of attempts so far.")]
    error: Annotated[RunError | None, Meta(description="The error of its last attempt.")]
    created_at: Annotated[TimeMs, Meta(description="When it was accepted, UTC epoch milliseconds.")]
    died_at: Annotated[TimeMs | None, Meta(description="When its last attempt failed, UTC epoch milliseconds.")]
    request: Annotated[Any, Meta(description="The request that was submitted.")] = None
    attempts: Annotated[tuple[Attempt, ...] | None, Meta(description="Its attempts, in order.")] = None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters, newest first."""

    items: Annotated[tuple[DeadLetter, ...], Meta(description="The dead letters of this page.")]
    next_cursor: NextCursor


class DeadLetterSelection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters: those with these ids, or all."""

    ids: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=120)], ...], Meta(max_length=1000, description="Ids of runs.")] = ()
    all: Annotated[bool, Meta(description="Whether to select all dead letters; then give no ids.")] = False

    def __post_init__(self) -> None:
        if bool(self.ids) == self.all:
            raise ValueError("ids: give ids or set all to true, but not both")


class AffectedRuns(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of the selection that were dead, and so were redriven or discarded."""

    ids: Annotated[tuple[str, ...], Meta(description="Ids of the runs.")]


async def page(database: Database, caller: Caller, *, limit: int, cursor: str | None) -> DeadLetterPage:
    async with database.read() as session:
        conditions = RunRow.state == RunState.DEAD, visible(caller, RunRow.owner)
        rows, next_cursor = await page_of(session, "dead letters", RunRow, *conditions, limit=limit, cursor=cursor)
    return DeadLetterPage(items=tuple(map(_to_dead_letter, rows)), next_cursor=next_cursor)


async def get(database: Database, caller: Caller, run_id: str) -> DeadLetter:
    """A dead letter with its request and the error of each attempt."""
    async with database.read() as session:
        row = await store.get_run(session, run_id) if is_reference(run_id) else None
        if row is None or row.state != RunState.DEAD or not caller.sees(row.owner):
            raise NotFound(f"dead letter {run_id!r:.130} not found", where="run", hint="use an id from the list of dead letters")
        made = await attempts.list_attempts(session, run_id)
    return msgspec.structs.replace(_to_dead_letter(row), request=msgspec.json.decode(row.request), attempts=made)


async def redrive(database: Database, caller: Caller, selection: DeadLetterSelection) -> AffectedRuns:
    """Queue dead runs again as if they had never failed; their attempts stay on record."""
    return await _move_all(database, caller, selection, RunState.QUEUED)


async def discard(database: Database, caller: Caller, selection: DeadLetterSelection) -> AffectedRuns:
    """Cancel dead runs; they keep their last error."""
    return await _move_all(database, caller, selection, RunState.CANCELLED)


def require_affected(affected: AffectedRuns, run_id: str) -> None:
    """
    Raises:
        Conflict: the run was not changed, because it is not dead.
    """
    if run_id not in affected.ids:
        raise Conflict(f"run {run_id!r:.130} is not dead", where="run", hint="use an id from the list of dead letters", code="not_dead")


async def _move_all(database: Database, caller: Caller, selection: DeadLetterSelection, state: RunState) -> AffectedRuns:
    moved: list[str] = []
    ids = sorted(filter(is_reference, selection.ids))
    # In batches, so that no transaction locks thousands of rows.
    while True:
        query = sa.select(RunRow).where(RunRow.state == RunState.DEAD, RunRow.state.in_(predecessors(state)), visible(caller, RunRow.owner))
        if not selection.all:
            query = query.where(RunRow.id.in_(ids))
        async with database.write() as session:
            rows: Sequence[RunRow] = (await session.scalars(query.order_by(RunRow.id).limit(BATCH).with_for_update())).all()
            for row in rows:
                _move(row, state)
                if state == RunState.QUEUED:
                    session.add(OutboxRow(run_id=row.id, kind=row.kind, job=row.job, due_at=row.due_at))
        moved += [row.id for row in rows]
        if len(rows) < BATCH:
            return AffectedRuns(ids=tuple(moved))


def _move(row: RunRow, state: RunState) -> None:
    row.state, row.updated_at = state, now_ms()
    row.leader_id, row.has_followers = None, False
    if state == RunState.QUEUED:
        # A new job number, so that a leftover job of the dead run can't start it.
        row.job, row.failures, row.due_at = row.attempt + 1, 0, row.updated_at
        row.error = row.started_at = row.finished_at = None
        row.cancel_requested = False


def _to_dead_letter(row: RunRow) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        kind=row.kind,
        owner=row.owner,
        priority=Priority(row.priority),
        attempt=row.attempt,
        error=store.to_error(row.error),
        created_at=row.created_at,
        died_at=row.finished_at,
    )
