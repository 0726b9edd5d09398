"""The database: schema, transactions, and writes fenced by the attempt, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
import workers
from tests.support.runs import end, start
from workers.db.database import MIGRATIONS, Database, head, open_database
from workers.db.tables import AttemptRow, DatasetRow, OutboxRow, RunRow, StrategyRow, Table
from workers.model.clock import now_ms
from workers.model.names import new_id
from workers.model.runs import Backtest, RunError, encode
from workers.model.states import RunState
from workers.runs import attempts, outbox, store
from workers.runs.attempts import End, JobToStart, StartedRun
from workers.runs.outbox import UnsentJob

pytestmark = pytest.mark.anyio
ERROR = RunError(code="machine", message="it broke")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
async def row(database: Database) -> RunRow:
    """A run that was just accepted."""
    now = now_ms()
    strategy = bt.Strategy(entry_long="close > open")
    dataset = DatasetRow(
        id=new_id(), name="d", symbol="", timeframe="1h", rows=1, start=0, end=0, fingerprint="f" * 64, bytes=1, created_at=now
    )
    run = RunRow(
        id=new_id(),
        kind="backtest",
        state=RunState.QUEUED,
        request=encode(Backtest(dataset=dataset.id, strategy=strategy)),
        dataset_id=dataset.id,
        fingerprint="a" * 64,
        due_at=now,
        created_at=now,
        updated_at=now,
    )
    async with database.write() as session:
        session.add(dataset)
        await session.flush()
        await store.insert_run(session, run)
    return run


async def begin(database: Database, row: RunRow, job: int = 1, worker: str = "worker") -> StartedRun:
    started = await start(database, row.id, job, worker=worker)
    assert started is not None
    return started


async def unsent(session: AsyncSession) -> list[UnsentJob]:
    return await (await session.connection()).run_sync(outbox.list_unsent)


async def state(database: Database, row: RunRow) -> str:
    async with database.read() as session:
        return str(await session.scalar(sa.select(RunRow.state).where(RunRow.id == row.id)))


async def test_the_migrated_schema_equals_the_tables(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Table.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [head()]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_writers_of_a_process_take_turns(database: Database) -> None:
    order = []

    async def write(i: int) -> None:
        async with database.write() as session:
            await session.execute(sa.text("UPDATE catalog SET revision = revision + 1"))
            await asyncio.sleep(0.02)
            order.append(i)

    def count(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE catalog SET revision = revision + 1"))

    writes = [asyncio.create_task(write(i) if i % 2 else database.transact(count)) for i in range(20)]
    await asyncio.wait_for(asyncio.gather(*writes), 60)
    assert order == list(range(1, 20, 2))


async def test_migrations_keep_the_data(bare_database_url: str) -> None:
    def to(revision: str) -> Callable[[sa.Connection], None]:
        def migrate(connection: sa.Connection) -> None:
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(MIGRATIONS))
            (command.downgrade if revision == "0001" else command.upgrade)(config, revision)

        return migrate

    async with open_database(bare_database_url) as opened:
        await opened.migrate()
        now = now_ms()
        values = {"id": "d", "name": "d", "symbol": "", "timeframe": "1h", "rows": 1, "start": 0, "end": 0, "bytes": 1, "created_at": now}
        async with opened.write() as session:
            session.add(DatasetRow(fingerprint="f" * 64, **values))
            await session.flush()
            run = RunRow(
                id="r",
                kind="backtest",
                state=RunState.QUEUED,
                request="{}",
                dataset_id="d",
                fingerprint="a" * 64,
                due_at=now,
                created_at=now,
                updated_at=now,
            )
            await store.insert_run(session, run)
            session.add(AttemptRow(run_id="r", attempt=1, worker="w", started_at=now))
        for revision in ("0001", "head"):
            async with opened.engine.execution_options(writing=True, migrating=True).begin() as connection:
                await connection.run_sync(to(revision))
        async with opened.read() as session:
            found = await store.get_run(session, "r")
            assert found is not None
            assert (found.owner, found.priority, found.dataset_id) == ("", "normal", "d")
            assert await session.scalar(sa.select(sa.func.count()).select_from(AttemptRow)) == 1
            assert len(await unsent(session)) == 1


async def test_owners_are_not_merged_by_a_downgrade(bare_database_url: str) -> None:
    def downgrade(connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.downgrade(config, "0012")

    async with open_database(bare_database_url) as opened:
        await opened.migrate()
        async with opened.write() as session:
            for owner in ("anna", "ben"):
                session.add(StrategyRow(id=new_id(), owner=owner, name="cross", strategy="{}", version=1, created_at=1, updated_at=1))
        with pytest.raises(CommandError, match=r"\['anna', 'ben'\]"):
            async with opened.engine.execution_options(writing=True, migrating=True).begin() as connection:
                await connection.run_sync(downgrade)
        async with opened.read() as session:
            assert await session.scalar(sa.select(sa.func.count()).select_from(StrategyRow)) == 2
            assert await session.scalar(sa.text("SELECT version_num FROM alembic_version")) == head()


async def test_concurrent_migrations_run_once(bare_database_url: str) -> None:
    async with open_database(bare_database_url) as one, open_database(bare_database_url) as other:
        await asyncio.gather(*(database.migrate() for database in (one, other) * 4))
        async with one.read() as session:
            assert await session.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 1


async def test_a_new_file_that_another_process_writes_to_is_waited_for(bare_sqlite_url: str) -> None:
    with closing(sqlite3.connect(make_url(bare_sqlite_url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with open_database(bare_sqlite_url) as database:
            migrating = asyncio.create_task(database.migrate())
            await asyncio.sleep(0.2)
            assert not migrating.done()
            other.execute("ROLLBACK")
            await migrating


async def test_a_schema_of_a_newer_version_is_refused(database: Database) -> None:
    async with database.write() as session:
        await session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(workers.Conflict, match="newest Barstorm"):
        await database.migrate()


async def test_a_run_and_its_job_are_stored_together_or_not_at_all(database: Database, row: RunRow) -> None:
    async with database.read() as session:
        assert [(job.run_id, job.job) for job in await unsent(session)] == [(row.id, 1)]
    other = RunRow(**{column.key: getattr(row, column.key) for column in RunRow.__table__.columns} | {"id": new_id(), "dataset_id": "none"})
    with pytest.raises(sa.exc.IntegrityError):
        async with database.write() as session:
            await store.insert_run(session, other)
    async with database.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(OutboxRow)) == 1


async def test_an_attempt_that_was_taken_over_writes_nothing(database: Database, row: RunRow) -> None:
    first = await begin(database, row, worker="silent")
    second = await begin(database, row, worker="other")
    assert (first.attempt, second.attempt, second.row.failures) == (1, 2, 1)
    assert not await end(database, first, RunState.FAILED, error=ERROR)
    assert not await end(database, first, RunState.RETRYING, error=ERROR)
    assert await state(database, row) == RunState.RUNNING
    assert await end(database, second, RunState.SUCCEEDED)
    assert not await end(database, second, RunState.FAILED, error=ERROR), "a final state is final"
    assert await state(database, row) == RunState.SUCCEEDED
    async with database.read() as session:
        attempts = (await session.scalars(sa.select(AttemptRow).order_by(AttemptRow.attempt))).all()
    assert [(attempt.worker, attempt.outcome) for attempt in attempts] == [("silent", "lost"), ("other", "succeeded")]


async def test_a_retry_has_a_new_job_and_its_old_one_starts_nothing(database: Database, row: RunRow) -> None:
    started = await begin(database, row)
    assert await end(database, started, RunState.RETRYING, delay_ms=50, error=ERROR)
    assert await start(database, row.id, 1, worker="late delivery") is None
    async with database.read() as session:
        assert [job.job for job in await unsent(session)] == [1, 2]
    again = await begin(database, row, job=2)
    assert (again.attempt, again.row.failures) == (2, 1)


async def test_of_two_jobs_of_a_run_only_the_current_one_starts_it(database: Database, row: RunRow) -> None:
    jobs = [JobToStart(row.id, number) for number in (2, 1, 3)]
    started = await database.transact(lambda connection: attempts.start(connection, jobs, worker="w"))
    assert [each and each.attempt for each in started] == [None, 1, None]


async def test_of_two_attempts_at_a_run_only_the_later_one_ends_it(database: Database, row: RunRow) -> None:
    first, second = [await begin(database, row) for _ in range(2)]
    ends = [End(started=first, state=RunState.FAILED, error=ERROR), End(started=second, state=RunState.SUCCEEDED)]
    assert await database.transact(lambda connection: attempts.end(connection, ends)) == [False, True]
    assert await state(database, row) == RunState.SUCCEEDED


async def test_a_finished_run_can_not_be_started_or_cancelled(database: Database, row: RunRow) -> None:
    started = await begin(database, row)
    assert await end(database, started, RunState.SUCCEEDED)
    assert await start(database, row.id, 1, worker="late delivery") is None
    async with database.write() as session:
        assert await store.cancel(session, row.id) is None


async def test_a_cancelled_run_leaves_no_job(database: Database, row: RunRow) -> None:
    async with database.write() as session:
        cancelled = await store.cancel(session, row.id)
    assert cancelled is not None
    assert cancelled.state == RunState.CANCELLED
    async with database.write() as session:
        assert await unsent(session) == []
    assert await start(database, row.id, 1, worker="late") is None


async def test_open_runs_are_those_that_should_be_in_the_queue(database: Database, row: RunRow) -> None:
    async with database.write() as session:
        assert await store.open_runs(session, unchanged_since=now_ms() + 1, after_id="", limit=10) == [], "its job is still in the outbox"
        await (await session.connection()).run_sync(outbox.delete_sent, await unsent(session))
    async with database.read() as session:
        assert [run.id for run in await store.open_runs(session, unchanged_since=now_ms() + 1, after_id="", limit=10)] == [row.id]
        assert await store.open_runs(session, unchanged_since=row.updated_at, after_id="", limit=10) == []
        assert await store.open_runs(session, unchanged_since=now_ms() + 1, after_id=row.id, limit=10) == []
        assert (await store.count_by_state(session))[RunState.QUEUED] == 1


async def test_of_concurrent_starts_only_the_last_can_finish_the_run(database: Database, row: RunRow) -> None:
    starts = await asyncio.gather(*(begin(database, row, worker=f"worker-{i}") for i in range(8)))
    assert sorted(started.attempt for started in starts) == list(range(1, 9))

    ends = await asyncio.gather(*(end(database, started, RunState.SUCCEEDED) for started in starts))
    assert [started.attempt for started, ended in zip(starts, ends, strict=True) if ended] == [8]


async def test_concurrent_writes_of_processes_succeed(database_url: str, database: Database, row: RunRow) -> None:
    script = """
import asyncio, sys
import sqlalchemy as sa
from workers.db.database import open_database
from workers.db.tables import RunRow

async def main():
    async with open_database(sys.argv[1]) as database:
        for _ in range(60):
            async with database.write() as session:
                run = await session.scalar(sa.select(RunRow).with_for_update())
                run.failures += 1

asyncio.run(main())
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, database_url], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, errors = await asyncio.to_thread(writer.communicate, None, 60)
        assert writer.returncode == 0, errors
    async with database.read() as session:
        assert await session.scalar(sa.select(RunRow.failures)) == 180
