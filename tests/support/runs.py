"""What a worker writes about a run, one run at a time."""

from __future__ import annotations

from typing import Any

from workers.db.database import Database
from workers.model.states import RunState
from workers.runs import store
from workers.runs.store import End, StartedRun


async def start(database: Database, run_id: str, job: int = 1, *, worker: str = "worker") -> StartedRun | None:
    (started,) = await database.transact(lambda connection: store.start(connection, [(run_id, job)], worker=worker))
    return started


async def end(database: Database, started: StartedRun | None, state: RunState, **found: Any) -> bool:
    assert started is not None
    (outcome,) = await database.transact(lambda connection: store.end(connection, [End(started=started, state=state, **found)]))
    assert isinstance(outcome, bool), outcome
    return outcome
