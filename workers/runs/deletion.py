"""Deletion of finished runs, with everything that belongs to one: attempts, tags, what is known of its saga.

Its result stays, as a cache for equal runs. So does its idempotency key, for the day that it is valid: a late repetition of the request must not start
a new run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from workers.db import revision
from workers.db.database import Database
from workers.db.in_list import in_list
from workers.db.tables import IS_FOLLOWER, RunRow, SagaRow
from workers.errors import Conflict
from workers.model.callers import Caller
from workers.model.clock import now_ms
from workers.model.names import first_id
from workers.model.run_filter import RunFilter
from workers.model.states import DONE, OPEN, RunState
from workers.runs.filters import select_runs
from workers.runs.runs import find_row
from workers.runs.runs_revision import outdate

# Runs deleted in one transaction.
BATCH: Final = 500


class RunSelection(RunFilter, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Runs to delete: those that meet all of these conditions, or all runs."""

    all: Annotated[bool, Meta(description="Whether to select all runs; then give no condition.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_empty != self.all:
            raise ValueError("all: give conditions or set all to true, but not both")


class DeletedRuns(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the selected runs."""

    deleted: Annotated[int, Meta(description="Number of runs that were deleted.")]
    unfinished: Annotated[int, Meta(description="Number of runs that were left, because they have not finished.")]


_DELETE: Final = sa.delete(RunRow).where(in_list(RunRow.id, "ids"), RunRow.state.in_(DONE)).returning(RunRow.id, RunRow.state)
_FREE_FOLLOWERS: Final = sa.update(RunRow).where(IS_FOLLOWER, in_list(RunRow.leader_id, "ids")).values(leader_id=None)
_DELETE_SAGAS: Final = sa.delete(SagaRow).where(in_list(SagaRow.id, "ids"))


async def delete(database: Database, caller: Caller, run_id: str) -> None:
    """Delete a finished run.

    Raises:
        NotFound: there is no such backtest, or the caller doesn't see it.
        Conflict: it has not finished.
    """
    row = await find_row(database, caller, run_id)
    if not await database.transact(lambda connection: _delete(connection, [row.id])):
        row = await find_row(database, caller, run_id)
        raise Conflict(f"the run is {row.state}", where="run", hint="cancel it, and wait until it has ended", code="not_finished")
    await outdate()


async def delete_all(database: Database, caller: Caller, selection: RunSelection) -> DeletedRuns:
    """Delete the finished runs of a selection that exist now, in batches. If it is interrupted, some are deleted and the others are not.

    Raises:
        NotFound: the selection names a dataset or a strategy that doesn't exist.
    """
    # Runs that are created meanwhile stay; otherwise it might never end.
    until = first_id(now_ms() + 1)
    async with database.read() as session:
        selected, id_ = await select_runs(session, caller, selection)
    selected = selected.where(id_ < until)
    in_order = selected.where(RunRow.state.in_(DONE)).order_by(id_).limit(BATCH).with_for_update(of=RunRow)
    deleted, after = 0, ""

    def delete_batch(connection: sa.Connection) -> Sequence[str]:
        ids = connection.scalars(in_order.where(id_ > after)).all()
        _delete(connection, ids)
        return ids

    while ids := await database.transact(delete_batch):
        deleted, after = deleted + len(ids), ids[-1]
    unfinished = sa.select(sa.func.count()).select_from(selected.where(RunRow.state.in_(OPEN)).subquery())
    async with database.read() as session:
        left = await session.scalar(unfinished)
    await outdate()
    return DeletedRuns(deleted=deleted, unfinished=left or 0)


def _delete(connection: sa.Connection, ids: Sequence[str]) -> int:
    """Delete those of these runs that have finished; returns their number."""
    # The state is part of the statement: a worker may be ending the run, or an operator may redrive it.
    rows = connection.execute(_DELETE, {"ids": list(ids)}).all()
    if rows:
        deleted = {"ids": [row.id for row in rows]}
        connection.execute(_FREE_FOLLOWERS, deleted)
        connection.execute(_DELETE_SAGAS, deleted)
        if any(row.state == RunState.SUCCEEDED for row in rows):
            revision.count_change_of_runs(connection)
    return len(rows)
