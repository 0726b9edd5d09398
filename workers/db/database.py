"""The database, SQLite or PostgreSQL: transactions and migration of the schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from workers.errors import Conflict

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION_LOCK: Final = 0x6261727374


class Database:
    """Read and write transactions.

    On SQLite, `write()` takes the write lock at its start, so that concurrent writers wait instead of failing halfway.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(writing=True)

    @property
    def kind(self) -> str:
        return self.engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    async def migrate(self) -> None:
        """Bring the schema up to date; concurrent processes wait for the first.

        Raises:
            Conflict: a newer version of Barstorm has migrated this database.
        """
        if await self._revision() == head():
            return
        async with self.engine.execution_options(writing=True, migrating=True).begin() as connection:
            if self.kind == "postgresql":
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            await connection.run_sync(_upgrade)

    async def _revision(self) -> str | None:
        async with self.engine.connect() as connection:
            if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
                return None
            revision: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return revision


def head() -> str:
    """The newest revision; files of migrations start with their revision, a number of four digits."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """The database at a SQLAlchemy URL; creates the folder of a SQLite file."""
    options: dict[str, Any] = {"hide_parameters": True}
    target = make_url(url)
    if target.get_backend_name() == "sqlite":
        if target.database:
            Path(target.database).parent.mkdir(parents=True, exist_ok=True)
        options |= {"connect_args": {"timeout": 30}}
    else:
        options |= {"pool_pre_ping": True, "pool_size": 5, "max_overflow": 15}
    engine = create_async_engine(target, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()


def is_unreachable(error: BaseException) -> bool:
    """Whether an error means that the database can't be reached."""
    if isinstance(error, DBAPIError):
        # SQLAlchemy raises lost connections of asyncpg as the bare class.
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError) or type(error) is DBAPIError
    return isinstance(error, PoolTimeout | OSError)


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # otherwise the driver begins transactions itself, too late
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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
