"""Health of the service: whether database, Redis and file store can be written, and the workers that report."""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import structlog
from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError

import python_core as bt
from workers.codes import Code
from workers.db import server as database_server
from workers.db.database import Database
from workers.errors import Unavailable
from workers.queue import server as redis_server
from workers.queue.heartbeat import WorkerInfo, live_workers
from workers.queue.queue import Queue, RedisError
from workers.settings import Settings
from workers.storage.artifacts import Artifacts, write_and_discard

HealthStatus = Literal["ok", "down"]
UsedEngine = Literal["rust", "python"]

TIMEOUT_S: Final = 3.0
# All who ask within this time get the same answer: load balancers and monitors may each ask once a second.
SHARED_S: Final = 1.0
_CODES: Final = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}
_log = structlog.stdlib.get_logger(__name__)


class ComponentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a component can be written."""

    kind: Annotated[str, Meta(description="Which product it is.", examples=["sqlite", "postgresql", "valkey", "redis", "folder", "s3"])]
    ok: Annotated[bool, Meta(description="Whether it could be written within 3 seconds.")]
    latency_ms: Annotated[float, Meta(description="Time until the response or the failure, in milliseconds.")]
    error: Annotated[str | None, Meta(description="Why it can't be written, and what would help.")] = None
    code: Annotated[
        Code | None,
        Meta(description="The reason as a stable name; `refused` and `failed` stand for all others. Null if it could be written."),
    ] = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service and of its components."""

    status: Annotated[HealthStatus, Meta(description="`ok` if database, Redis and file store can be written.")]
    database: Annotated[ComponentHealth, Meta(description="SQLite or PostgreSQL.")]
    redis: Annotated[ComponentHealth, Meta(description="Redis or Valkey, which holds the queue.")]
    files: Annotated[ComponentHealth, Meta(description="The folder or bucket of bars and results.")]
    workers: Annotated[
        int | None, Meta(description="Number of workers that have reported within the last 10 seconds; null if Redis is down.")
    ]
    disk_free_bytes: Annotated[
        int | None, Meta(description="Free space on the disk of the data folder, in bytes; null if it does not respond.")
    ]
    engine: Annotated[UsedEngine, Meta(description="Engine that the API process uses.")]
    engine_reason: Annotated[str, Meta(description="Why it uses this engine.")]
    version: Annotated[str, Meta(description="Version of Barstorm.")]
    contract: Annotated[int, Meta(description="Version of the contract between Python and the compiled engine; part of every fingerprint.")]


class HealthCheck:
    """Writes to each component what leaves nothing behind: to Redis a command without effect, to disks a file without a name."""

    def __init__(self, settings: Settings, database: Database, queue: Queue, artifacts: Artifacts) -> None:
        self._folder = settings.folder
        self._files_kind = "s3" if settings.artifacts_url else "folder"
        self._database = database
        self._queue = queue
        self._artifacts = artifacts
        self._check: asyncio.Task[Health] | None = None
        self._valid_until = 0.0
        self._threads: dict[str, asyncio.Future[None]] = {}

    async def __call__(self) -> Health:
        """The health of the service, at most a second old. Takes 3 seconds at most."""
        if self._check is None or (self._check.done() and time.monotonic() >= self._valid_until):
            self._check = asyncio.create_task(self._query())
        return await asyncio.shield(self._check)

    async def _query(self) -> Health:
        workers: list[tuple[WorkerInfo, ...]] = []
        free_bytes: list[int] = []
        products = ["redis"]

        async def database() -> None:
            await database_server.check_writable(self._database)
            if file := database_server.sqlite_file(self._database):
                await self._in_thread("database", lambda: _check_sqlite(file))

        async def redis() -> None:
            products.append(await redis_server.product(self._queue))
            workers.append(await live_workers(self._queue))
            await redis_server.check_writable(self._queue)

        async def files() -> None:
            def write() -> None:
                self._folder.mkdir(parents=True, exist_ok=True)
                free_bytes.append(shutil.disk_usage(self._folder).free)
                self._artifacts.check_writable()

            await self._in_thread("files", write)

        components = await asyncio.gather(
            _check(lambda: self._database.kind, database),
            _check(lambda: products[-1], redis),
            _check(lambda: self._files_kind, files),
        )
        self._valid_until = time.monotonic() + SHARED_S
        return Health(
            status="ok" if all(component.ok for component in components) else "down",
            database=components[0],
            redis=components[1],
            files=components[2],
            workers=len(workers[0]) if workers else None,
            disk_free_bytes=free_bytes[0] if free_bytes else None,
            engine=bt.engine,
            engine_reason=bt.engine_reason,
            version=bt.__version__,
            contract=bt.CONTRACT,
        )

    async def _in_thread(self, name: str, work: Callable[[], None]) -> None:
        """Do blocking work. While a disk hangs, one thread waits for it, however often this is called."""
        if (running := self._threads.get(name)) is None or running.done():
            running = self._threads[name] = asyncio.ensure_future(asyncio.to_thread(work))
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(running)


async def list_risks(database: Database, queue: Queue) -> list[str]:
    """What can make database and Redis lose accepted runs or their jobs; of those that can't be asked, nothing."""
    risks: list[str] = []
    for asked in (database_server.list_risks(database), redis_server.list_risks(queue)):
        try:
            risks += await asyncio.wait_for(asked, TIMEOUT_S)
        except (SQLAlchemyError, RedisError, OSError) as error:
            _log.debug("settings not checked", reason=str(error))
    return risks


def _check_sqlite(file: str) -> None:
    database_server.check_sqlite_file(file)
    write_and_discard(Path(file).parent)


async def _check(kind: Callable[[], str], write: Callable[[], Awaitable[None]]) -> ComponentHealth:
    started_at = time.perf_counter()
    error: str | None = None
    code: str | None = None
    try:
        await asyncio.wait_for(write(), TIMEOUT_S)
    except TimeoutError:
        code, error = "timeout", f"no response within {TIMEOUT_S:g} s"
    except Unavailable as refused:
        code, error = refused.code, str(refused)
    except (RedisError, SQLAlchemyError) as lost:
        code, error = "unreachable", f"{type(lost).__name__}: {lost}"[:300]
    except OSError as failed:
        code, error = _CODES.get(failed.errno or 0, "unreachable"), f"{failed}"[:300]
    except Exception as failed:
        code, error = "failed", f"{type(failed).__name__}: {failed}"[:300]
    latency_ms = round((time.perf_counter() - started_at) * 1000, 3)
    return ComponentHealth(kind=kind(), ok=error is None, latency_ms=latency_ms, error=error, code=code)
