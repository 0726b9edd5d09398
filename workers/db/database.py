"""The database, SQLite or PostgreSQL: transactions and migration of the schema."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from workers.errors import Conflict
from workers.outages import is_stale_session

T = TypeVar("T")
MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Time limits of PostgreSQL: of a statement, of its wait for a lock, of a transaction between two statements, of the check of a pooled
# connection, of a new one, and of the wait for a free one.
STATEMENT_S: Final = 5.0
LOCK_S: Final = 3.0
IDLE_TRANSACTION_S: Final = 20.0
PING_S: Final = 2.0
CONNECT_S: Final = 3.0
# A pooled connection is checked before its use, unless it was used within this time: then the check would only be another round trip.
UNCHECKED_S: Final = 0.1
POOL_S: Final = 15.0
# The server applies the limit of a statement; how much longer we wait for a server that does not.
GRACE_S: Final = 1.0
# SQLite's waits for its lock are not in turn, so that a busy one needs more time.
SQLITE_LOCK_S: Final = 10.0
MIGRATION_S: Final = 3600.0
_MIGRATION_LOCK: Final = 0x6261727374


class Database:
    """Read and write transactions, as blocks with a session or as plain functions of a connection.

    On SQLite, writing transactions take the write lock at their start, so that concurrent writers wait instead of failing halfway.
    """

    def __init__(self, engine: AsyncEngine, file: _SqliteFile | None = None) -> None:
        self.engine = engine
        self._writing = engine.execution_options(writing=True)
        # On PostgreSQL, every statement sees what was committed before it in any case; a transaction would only be two more round trips.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._file = file
        self._writer = asyncio.Lock()

    @property
    def kind(self) -> str:
        return self.engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with self._turn(), AsyncSession(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    async def query(self, work: Callable[[sa.Connection], T]) -> T:
        """Call `work`, which only reads. On SQLite it runs in a thread as a whole, instead of a change of threads per statement."""
        if self._file is not None:
            return await self._file.run(work, writing=False)
        async with self._reading.connect() as connection:
            return await connection.run_sync(work)

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """Call `work` in a transaction that writes, and commit."""
        if self._file is not None:
            async with self._turn():
                return await self._file.run(work, writing=True)
        async with self._writing.begin() as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """On SQLite, the writers of this process take turns: its own lock goes to who asks at the right moment, and some would never get it."""
        if self._file is None:
            yield
            return
        try:
            async with asyncio.timeout(SQLITE_LOCK_S):
                await self._writer.acquire()
        except TimeoutError as error:
            raise OperationalError("BEGIN IMMEDIATE", None, error, hide_parameters=True) from error
        try:
            yield
        finally:
            self._writer.release()

    async def migrate(self) -> None:
        """Bring the schema up to date; concurrent processes wait for the first.

        Raises:
            Conflict: a newer version of Barstorm has migrated this database.
        """
        if await self._revision() == head():
            return
        engine = _create_engine(self.engine.url, statement_s=MIGRATION_S, lock_s=MIGRATION_S)
        try:
            async with engine.execution_options(writing=True, migrating=True).begin() as connection:
                if self.kind == "postgresql":
                    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                await connection.run_sync(_upgrade)
        finally:
            await engine.dispose()

    async def _revision(self) -> str | None:
        async with self.engine.connect() as connection:
            if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
                return None
            revision: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return revision


class _SqliteFile:
    """The functions of `Database.query` and `Database.transact` on SQLite: in one thread for writers, who take turns anyway, and one for readers."""

    def __init__(self, url: URL) -> None:
        self._engine = sa.create_engine(url.set(drivername="sqlite"), hide_parameters=True, connect_args={"timeout": SQLITE_LOCK_S})
        _listen_to_sqlite(self._engine)
        self._engines = {writing: self._engine.execution_options(writing=writing) for writing in (False, True)}
        self._threads = {writing: ThreadPoolExecutor(1, thread_name_prefix="sqlite") for writing in (False, True)}

    async def run(self, work: Callable[[sa.Connection], T], *, writing: bool) -> T:
        def transact() -> T:
            with self._engines[writing].begin() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads[writing], transact)

    def close(self) -> None:
        for thread in self._threads.values():
            thread.shutdown()
        self._engine.dispose()


def head() -> str:
    """The newest revision; files of migrations start with their revision, a number of four digits."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """The database at a SQLAlchemy URL; creates the folder of a SQLite file."""
    target = make_url(url)
    is_sqlite = target.get_backend_name() == "sqlite"
    if is_sqlite and target.database:
        Path(target.database).parent.mkdir(parents=True, exist_ok=True)
    engine = _create_engine(target, statement_s=STATEMENT_S, lock_s=SQLITE_LOCK_S if is_sqlite else LOCK_S)
    file = _SqliteFile(target) if is_sqlite else None
    try:
        yield Database(engine, file)
    finally:
        await engine.dispose()
        if file is not None:
            await asyncio.to_thread(file.close)


def _create_engine(url: URL, *, statement_s: float, lock_s: float) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, hide_parameters=True, connect_args={"timeout": lock_s}, pool_timeout=SQLITE_LOCK_S)
        _listen_to_sqlite(engine.sync_engine)
        return engine
    limits = {
        "statement_timeout": statement_s,
        "lock_timeout": lock_s,
        "idle_in_transaction_session_timeout": max(statement_s, IDLE_TRANSACTION_S),
    }
    # Not as parameters of the connection, which PgBouncer refuses.
    set_limits = "; ".join(f"SET {name} = {int(limit_s * 1000)}" for name, limit_s in limits.items())
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=POOL_S,
        connect_args={
            "timeout": CONNECT_S,
            "command_timeout": statement_s + GRACE_S,
            "async_creator_fn": partial(_connect_postgresql, set_limits),
        },
    )
    event.listen(engine.sync_engine, "connect", _mark_used)
    event.listen(engine.sync_engine, "checkin", _mark_used)
    event.listen(engine.sync_engine, "checkout", _ping)
    event.listen(engine.sync_engine, "handle_error", _drop_stale_session)
    return engine


async def _connect_postgresql(set_limits: str, **options: Any) -> Any:
    import asyncpg

    connection = None
    try:
        connection = await asyncpg.connect(**options)
        await connection.execute(set_limits, timeout=CONNECT_S)
        return connection
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, OSError):
            # As an error of the driver, SQLAlchemy and we can tell it from an error of files.
            raise asyncpg.PostgresConnectionError(str(error) or f"no connection within {CONNECT_S:g} s") from error
        raise


def _mark_used(_: object, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ping(connection: Any, record: Any, _: object) -> None:
    """Check a pooled connection before its use. SQLAlchemy's own ping has no time limit, and takes three round trips."""
    if time.monotonic() < record.info["used_at"] + UNCHECKED_S:
        return
    try:
        connection.run_async(lambda driver: driver.execute("SELECT 1", timeout=PING_S))
    except Exception as error:
        connection.driver_connection.terminate()  # closing it in order would wait for a server that does not answer
        raise InvalidatePoolError from error


def _drop_stale_session(context: ExceptionContext) -> OperationalError | None:
    """Drop this connection and, as the others are likely to have the same fault, all that are pooled."""
    error = context.original_exception
    if context.connection is None or not is_stale_session(error):
        return None
    context.is_disconnect = True
    if not isinstance(error, TimeoutError):
        return None
    if not context.connection.invalidated:
        driver_connection: Any = context.connection.connection.driver_connection
        driver_connection.terminate()
    limit = TimeoutError("no response within the time limit")
    return OperationalError(context.statement, None, limit, hide_parameters=True, connection_invalidated=True)


def _listen_to_sqlite(engine: sa.Engine) -> None:
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # otherwise the driver begins transactions itself, too late
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Where two connections switch a new database at the same time, SQLite refuses one at once, whatever its time limit."""
    give_up_at = time.monotonic() + SQLITE_LOCK_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("migrating"):
        # Alembic changes a column in SQLite by copying the table; dropping the old one would delete the rows that refer to it.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.info["foreign_keys_off"] = True
    elif connection.info.pop("foreign_keys_off", False):
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writing") else "BEGIN")


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(f"unknown database schema ({error})", where="database_url", hint="update to the newest Barstorm") from None
