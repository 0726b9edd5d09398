"""What a run costs the database, however many runs share a transaction: every statement is a round trip, every commit a write to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.files import csv
from workers.db.database import open_database
from workers.jobs.attempt import Executor
from workers.jobs.compute import compute
from workers.model.callers import OPERATOR
from workers.model.states import RunState
from workers.queue.queue import open_queue
from workers.runs.attempts import End, JobToStart, StartedRun
from workers.runs.intake import Intake

pytestmark = pytest.mark.anyio

# The first words of the statements of each step; on SQLite, BEGIN is one of them.
ACCEPT = {
    "sqlite": ["BEGIN", "SELECT", "SELECT", "INSERT", "INSERT"],
    "postgresql": ["SELECT", "SELECT", "SELECT", "INSERT", "INSERT"],
}
START = {"sqlite": ["BEGIN", "UPDATE", "INSERT"], "postgresql": ["UPDATE", "INSERT"]}
# Drivers for PostgreSQL don't count the rows of many inserts, so the digests are read.
END = {
    "sqlite": ["BEGIN", "SELECT", "INSERT", "UPDATE", "UPDATE"],
    "postgresql": ["SELECT", "INSERT", "SELECT", "UPDATE", "UPDATE"],
}


@contextmanager
def recorded() -> Iterator[tuple[list[str], list[sa.Connection]]]:
    """The first words of all statements, and the connections of all commits."""
    statements: list[str] = []
    commits: list[sa.Connection] = []

    def record(_: sa.Connection, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement.split(maxsplit=1)[0])

    def record_commit(connection: sa.Connection) -> None:
        commits.append(connection)

    sa.event.listen(sa.Engine, "before_cursor_execute", record)
    sa.event.listen(sa.Engine, "commit", record_commit)
    try:
        yield statements, commits
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", record)
        sa.event.remove(sa.Engine, "commit", record_commit)


@pytest.mark.parametrize("count", [2, 40])
async def test_runs_that_are_accepted_started_or_ended_together_are_one_transaction_of_few_statements(
    database_url: str, redis_url: str, tmp_path: Path, bars: bt.Bars, cross: bt.Strategy, count: int
) -> None:
    settings = workers.Settings(data_dir=str(tmp_path), database_url=database_url, redis_url=redis_url)
    async with workers.open_service(settings) as service:
        dataset = await service.datasets.create("d", csv(bars))
    # Without the service, whose background tasks have statements of their own.
    async with open_database(database_url) as database, open_queue(redis_url) as queue:
        executor = Executor(settings, database, queue, "worker")
        intake = Intake(database, executor.results, executor.bars, executor.lookups)
        execution = [bt.Execution(slippage=i / 1e6) for i in range(count + 1)]
        requests = [workers.BacktestRequest(dataset="d", strategy=cross, execution=each) for each in execution]
        await intake.submit(OPERATOR, requests.pop())  # the first one looks up its dataset

        with recorded() as (statements, commits):
            runs = await asyncio.gather(*(intake.submit(OPERATOR, request) for request in requests))
        assert (statements, len(commits)) == (ACCEPT[database.kind], 1)

        with recorded() as (statements, commits):
            jobs = [JobToStart(run.id, 1) for run in runs if isinstance(run, workers.Run)]
            started = [each for each in await asyncio.gather(*map(executor.start, jobs)) if each is not None]
        assert (statements, len(commits), len(started)) == (START[database.kind], 1, count)

        _, parts = await executor.lookups.version(dataset.id, dataset.version)

        def computed(each: StartedRun, request: workers.BacktestRequest) -> End:
            row = compute(executor.artifacts, executor.bars, dataset, parts, request, bt.Control()).row
            return End(started=each, state=RunState.SUCCEEDED, result=row)

        ends = [computed(each, request) for each, request in zip(started, requests, strict=True)]
        with recorded() as (statements, commits):
            assert all(await asyncio.gather(*map(executor.end, ends)))
        assert (statements, len(commits)) == (END[database.kind], 1)
