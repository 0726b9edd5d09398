"""Runs as a client sees them: read and cancel."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from workers.cache import Recent
from workers.db.database import Database
from workers.db.tables import RunRow
from workers.errors import Conflict, NotFound
from workers.model.callers import Caller
from workers.model.names import is_reference
from workers.model.runs import Attempt, Run
from workers.model.states import OPEN, RunState
from workers.queue import events
from workers.queue.queue import Queue, RedisError
from workers.runs import attempts, store, submission
from workers.runs.results import Results
from workers.runs.runs_revision import RunsRevision

# Finished runs that a process remembers.
MAX_REMEMBERED: Final = 10_000
OPERATION: Final = submission.OPERATION


class _Known(NamedTuple):
    """A run that has succeeded, and the revision of runs in which it was read."""

    run: Run
    revision: int


class Runs:
    """Runs by id. Each process remembers those that have succeeded: only their labels still change, or they are deleted."""

    def __init__(self, database: Database, results: Results) -> None:
        self._database = database
        self._results = results
        self._revision = RunsRevision(database)
        self._finished = Recent[str, _Known](MAX_REMEMBERED)

    async def get(self, caller: Caller, run_id: str) -> Run:
        """A run, with its result if it has succeeded.

        Raises:
            NotFound: there is no such backtest, or the caller doesn't see it.
        """
        known = self._finished.get(run_id)
        if known is not None and known.revision == await self._revision.current() and caller.sees(known.run.owner):
            return known.run
        row = await self._database.query(lambda connection: store.read_run(connection, run_id)) if is_reference(run_id) else None
        if row is None or row.kind != OPERATION or not caller.sees(row.owner):
            raise not_found(run_id)
        run = store.to_run(row)
        if run.state != RunState.SUCCEEDED:
            return run
        stored = await self._results.load(run.fingerprint)
        if stored is None:
            return run
        # The stored result may be of another engine than the one that this run used; both give the same bits.
        result = msgspec.structs.replace(stored.result, engine=row.engine or stored.result.engine)
        run = msgspec.structs.replace(run, result=result)
        self._finished[run_id] = _Known(run, row.runs_revision)
        return run

    async def require_succeeded(self, caller: Caller, run_id: str) -> Run:
        """A run that has succeeded.

        Raises:
            NotFound: there is no such backtest.
            Conflict: it has not, or not yet.
        """
        run = await self.get(caller, run_id)
        if run.state in OPEN:
            raise Conflict(f"run {run_id} is {run.state}", where="run", hint="wait until it has finished", code="not_finished")
        if run.state != RunState.SUCCEEDED:
            raise Conflict(f"a {run.state} run has no result: {run_id}", where="run", hint="see its state and error", code="no_result")
        return run


async def list_attempts(database: Database, caller: Caller, run_id: str) -> tuple[Attempt, ...]:
    """The attempts of a run, in order."""
    row = await find_row(database, caller, run_id)
    async with database.read() as session:
        return await attempts.list_attempts(session, row.id)


async def cancel(database: Database, queue: Queue, caller: Caller, run_id: str) -> Run:
    """Cancel a run: a queued one at once, a running one as soon as its worker notices.

    Raises:
        Conflict: it has finished.
    """
    await find_row(database, caller, run_id)
    row = await cancel_run(database, queue, run_id)
    if row is None:
        run = store.to_run(await find_row(database, caller, run_id))
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


async def find_row(database: Database, caller: Caller, run_id: str) -> RunRow:
    """
    Raises:
        NotFound: there is no such backtest, or the caller doesn't see it.
    """
    async with database.read() as session:
        row = await store.get_run(session, run_id) if is_reference(run_id) else None
    if row is None or row.kind != OPERATION or not caller.sees(row.owner):
        raise not_found(run_id)
    return row


def not_found(run_id: str) -> NotFound:
    return NotFound(f"run {run_id!r:.130} not found", where="run", hint="use the id of a submitted run")
