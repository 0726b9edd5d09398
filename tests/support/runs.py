"""What a worker writes about a run, one run at a time."""

from __future__ import annotations

from typing import Any

from workers.db.database import Database
from workers.model.states import RunState
from workers.runs import attempts
from workers.runs.attempts import End, JobToStart, StartedRun


async def start(database: Database, run_id: str, job: int = 1, *, worker: str = "worker", is_lost: bool = True) -> StartedRun | None:
    """Start a job; if its run is running already, the worker that has it counts as dead unless `is_lost` is false."""
    given = [JobToStart(run_id, job, is_lost)]
    (started,) = await database.transact(lambda connection: attempts.start(connection, given, worker=worker))
    return started


async def end(database: Database, started: StartedRun | None, state: RunState, **found: Any) -> bool:
    assert started is not None
    (outcome,) = await database.transact(lambda connection: attempts.end(connection, [End(started=started, state=state, **found)]))
    assert isinstance(outcome, bool), outcome
    return outcome
