"""A database that hangs, is locked, is lost without a word or can't be written: a few seconds, then an outage with its reason."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.support.freezing import frozen
from tests.support.postgres import Postgres
from tests.support.proxy import proxy
from workers.db import database as module
from workers.db.database import Database, open_database
from workers.db.tables import IdempotencyKeyRow, OutboxRow
from workers.outages import is_unreachable, outage

pytestmark = pytest.mark.anyio
# All limits together are shorter; without limits, a call waits for as long as the fault lasts.
WITHIN_S = 30


async def read(database: Database) -> object:
    async with database.read() as session:
        return await session.scalar(sa.text("SELECT 1"))


async def write(database: Database, key: str) -> None:
    async with database.write() as session:
        session.add(IdempotencyKeyRow(key=key, request="r", subject_id="s", created_at=0))


async def reason(call: object) -> str:
    """The reason of the outage that a call ends with, soon."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- checked below
        async with asyncio.timeout(WITHIN_S):
            await call  # type: ignore[misc]
    assert not str(caught.value).startswith("Timeout"), "hangs"
    found = outage(caught.value)
    assert found is not None, repr(caught.value)
    assert found.where == "database"
    return found.message


async def pooled(database: Database, count: int) -> None:
    """Leave this number of connections in the pool, unused for long enough to be checked before their next use."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(database.engine.connect())
    await asyncio.sleep(module.UNCHECKED_S)


@asynccontextmanager
async def other_session(url: str) -> AsyncIterator[sa.ext.asyncio.AsyncConnection]:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def test_a_frozen_server_is_an_outage_until_it_responds_again(own_postgres: Postgres) -> None:
    async with open_database(own_postgres.url("postgres")) as database:
        await database.migrate()
        await pooled(database, 3)
        async with database.read() as session:
            await session.execute(sa.text("SELECT 1"))
            with frozen(own_postgres):
                in_use, idle, new = await asyncio.gather(
                    reason(session.execute(sa.text("SELECT 2"))), reason(read(database)), reason(write(database, "k"))
                )
        assert "no response within" in in_use
        assert "no connection within" in idle
        assert "no connection within" in new
        assert await read(database) == 1


async def test_a_locked_table_is_an_outage_and_the_connection_stays_usable(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_S", 0.5)
    async with open_database(postgres_url) as database:
        async with other_session(postgres_url) as other:
            await other.execute(sa.text("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE"))
            assert "lock timeout" in await reason(write(database, "k"))
        await write(database, "k")


async def test_a_statement_that_takes_too_long_is_an_outage(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_S", 0.5)
    async with open_database(postgres_url) as database, database.read() as session:
        assert "statement timeout" in await reason(session.execute(sa.text("SELECT pg_sleep(120)")))


async def test_connections_that_are_lost_without_a_word_are_replaced(postgres: Postgres, postgres_url: str) -> None:
    with proxy(postgres.port) as between:
        async with open_database(postgres_url.replace(str(postgres.port), str(between.port))) as database:
            await pooled(database, 5)
            between.drop_open()
            async with asyncio.timeout(WITHIN_S):
                assert await asyncio.gather(*(read(database) for _ in range(10))) == [1] * 10


async def test_a_pooled_connection_is_used_again(postgres_url: str) -> None:
    async def process(database: Database) -> object:
        async with database.read() as session:
            return await session.scalar(sa.text("SELECT pg_backend_pid()"))

    async with open_database(postgres_url) as database:
        assert len({await process(database) for _ in range(3)}) == 1


async def test_after_a_failover_the_connections_to_the_side_that_is_read_only_are_dropped(postgres: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    async with open_database(postgres_url) as database:
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await pooled(database, 5)
        assert "read-only" in await reason(write(database, "during"))
        await pooled(database, 5)
        postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert "read-only" in await reason(write(database, "after"))
        await asyncio.gather(*(write(database, f"later {i}") for i in range(5)))


async def test_a_session_that_is_idle_within_a_transaction_gives_its_locks_back(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_S", 1.0)
    monkeypatch.setattr(module, "IDLE_TRANSACTION_S", 1.0)
    async with open_database(postgres_url) as database:
        locked, written = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with database.read() as holder:
                await holder.execute(sa.text("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE"))
                locked.set()
                await written.wait()
                await holder.execute(sa.text("SELECT 1"))

        # The driver may notice with the statement, or only when the session is closed.
        holding = asyncio.create_task(hold())
        await locked.wait()
        async with asyncio.timeout(WITHIN_S):
            await write(database, "k")
        written.set()
        await reason(holding)


async def test_a_pool_without_a_free_connection_is_an_outage(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_S", 0.1)
    async with open_database(postgres_url) as database, AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(database.engine.connect())
        assert "all connections are in use" in await reason(read(database))


async def test_a_migration_may_wait_for_longer_than_other_statements(bare_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_S", 0.2)
    monkeypatch.setattr(module, "LOCK_S", 0.2)
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    async with open_database(bare_postgres_url) as database:
        async with other_session(bare_postgres_url) as other:
            await other.execute(sa.select(sa.func.pg_advisory_xact_lock(module._MIGRATION_LOCK)))
            migrating = asyncio.create_task(database.migrate())
            done, _ = await asyncio.wait([migrating], timeout=2)
            assert not done
        await migrating
        await write(database, "k")


async def test_a_locked_sqlite_file_is_an_outage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SQLITE_LOCK_S", 0.2)
    async with open_database(sqlite_url) as database:
        other = sqlite3.connect(sqlite_url.partition(":///")[2], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in await reason(write(database, "k"))
        other.close()
        await write(database, "k")


async def test_a_fault_of_a_request_is_no_outage(database_url: str) -> None:
    async with open_database(database_url) as database:
        await write(database, "k")
        duplicate = write(database, "k")
        with pytest.raises(sa.exc.IntegrityError) as error:
            await duplicate
        assert not is_unreachable(error.value)
        with pytest.raises(sa.exc.IntegrityError) as error:
            async with database.write() as session:
                session.add(OutboxRow(run_id="unknown", kind="backtest", job=1, due_at=0))
        assert not is_unreachable(error.value)
        for statement, value in (("SELECT * FROM nowhere", 0), ("SELECT CAST(:value AS bigint)", "text")):
            if database.kind == "sqlite" and value:
                continue  # it has no types that could differ
            with pytest.raises(sa.exc.DBAPIError) as wrong:
                async with database.read() as session:
                    await session.execute(sa.text(statement), {"value": value} if value else {})
            assert not is_unreachable(wrong.value), wrong.value
        async with database.read() as session:
            assert await session.scalar(sa.text("SELECT 1")) == 1
