"""Runs as a client sees them: read, list, cancel."""

from __future__ import annotations

from typing import Final

import msgspec

from workers.cache import Recent
from workers.db.database import Database
from workers.db.paging import page_of_runs
from workers.db.tables import RunRow
from workers.errors import Conflict, NotFound
from workers.model.names import is_reference
from workers.model.runs import Attempt, Run, RunPage
from workers.model.states import OPEN, RunState
from workers.queue import events
from workers.queue.queue import Queue, RedisError
from workers.runs import attempts, intake, store
from workers.runs.results import Results

# Finished runs that a process remembers.
MAX_REMEMBERED: Final = 10_000
OPERATION: Final = intake.OPERATION


class Runs:
    """Runs by id. Each process remembers those that have succeeded, which never change again."""

    def __init__(self, database: Database, results: Results) -> None:
        self._database = database
        self._results = results
        self._finished = Recent[str, Run](MAX_REMEMBERED)

    async def get(self, run_id: str) -> Run:
        """A run, with its result if it has succeeded.

        Raises:
            NotFound: there is no such backtest.
        """
        if (known := self._finished.get(run_id)) is not None:
            return known
        row = await self._database.query(lambda connection: store.read_run(connection, run_id)) if is_reference(run_id) else None
        if row is None or row.kind != OPERATION:
            raise not_found(run_id)
        run = store.to_run(row)
        if run.state != RunState.SUCCEEDED:
            return run
        stored = await self._results.load(run.fingerprint)
        if stored is None:
            return run
        # The stored result may be of another engine than the one that this run used; both give the same bits.
        result = msgspec.structs.replace(stored.result, engine=row.engine or stored.result.engine)
        run = self._finished[run_id] = msgspec.structs.replace(run, result=result)
        return run

    async def require_succeeded(self, run_id: str) -> Run:
        """A run that has succeeded.

        Raises:
            NotFound: there is no such backtest.
            Conflict: it has not, or not yet.
        """
        run = await self.get(run_id)
        if run.state in OPEN:
            raise Conflict(f"the run is {run.state}", where="run", hint="wait until it has finished", code="not_finished")
        if run.state != RunState.SUCCEEDED:
            raise Conflict(f"a {run.state} run has no result", where="run", hint="see its state and error", code="no_result")
        return run


async def list_attempts(database: Database, run_id: str) -> tuple[Attempt, ...]:
    """The attempts of a run, in order."""
    row = await _row(database, run_id)
    async with database.read() as session:
        return await attempts.list_attempts(session, row.id)


async def page(database: Database, *, state: RunState | None, limit: int, cursor: str | None) -> RunPage:
    """Runs, newest first; the cursor is the id of the last run of the previous page."""
    conditions = [RunRow.kind == OPERATION] if state is None else [RunRow.kind == OPERATION, RunRow.state == state]
    async with database.read() as session:
        rows, next_cursor = await page_of_runs(session, *conditions, limit=limit, cursor=cursor)
    return RunPage(items=tuple(map(store.to_run, rows)), next_cursor=next_cursor)


async def cancel(database: Database, queue: Queue, run_id: str) -> Run:
    """Cancel a run: a queued one at once, a running one as soon as its worker notices.

    Raises:
        Conflict: it has finished.
    """
    await _row(database, run_id)
    row = await cancel_run(database, queue, run_id)
    if row is None:
        run = store.to_run(await _row(database, run_id))
        raise Conflict(
            f"the run has already finished ({run.state})", where="run", hint="only unfinished runs can be cancelled", code="finished"
        )
    return store.to_run(row)


async def cancel_run(database: Database, queue: Queue, run_id: str) -> RunRow | None:
    """Cancel a run of any kind; None if it has finished."""
    async with database.write() as session:
        row = await store.cancel(session, run_id)
    if row is None:
        return None
    if row.state == RunState.CANCELLED:
        await events.publish_states(queue, {row.id: RunState.CANCELLED})
    try:
        if row.state == RunState.RUNNING:
            await queue.request_cancel([row.id])
        else:
            await queue.remove(row.id, row.job)
    except (RedisError, OSError):
        pass  # a waiting job will find its run cancelled; for a running one, the reconciler repeats the request
    return row


async def _row(database: Database, run_id: str) -> RunRow:
    async with database.read() as session:
        row = await store.get_run(session, run_id) if is_reference(run_id) else None
    if row is None or row.kind != "backtest":
        raise not_found(run_id)
    return row


def not_found(run_id: str) -> NotFound:
    return NotFound(f"run {run_id!r:.130} not found", where="run", hint="use the id of a submitted run")
