"""Health and metrics of the service, from the database, Redis and the reports of the workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Meta

import python_core as bt
from workers.cache import cache_with_key
from workers.db.database import Database
from workers.model.states import RunState
from workers.queue.heartbeat import WorkerInfo, live_workers
from workers.queue.queue import Queue
from workers.runs import outbox, store

TIMEOUT_S: Final = 3.0


class ComponentHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a component to a query."""

    kind: Annotated[str, Meta(description="Which product it is.", examples=["sqlite", "postgresql", "valkey", "redis"])]
    ok: Annotated[bool, Meta(description="Whether it responded within 3 seconds.")]
    latency_ms: Annotated[float, Meta(description="Time until the response or the failure.")]
    error: Annotated[str | None, Meta(description="Why it failed.")] = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service and of its components."""

    status: Annotated[Literal["ok", "down"], Meta(description="`ok` if both the database and Redis respond.")]
    database: ComponentHealth
    redis: ComponentHealth
    workers: Annotated[int | None, Meta(description="Workers that have reported within the last 10 seconds; null if Redis is down.")]
    engine: Annotated[Literal["rust", "python"], Meta(description="Engine that the API process uses.")]
    engine_reason: Annotated[str, Meta(description="Why it uses this engine.")]
    version: Annotated[str, Meta(description="Version of Barstorm.")]
    contract: Annotated[int, Meta(description="Version of the contract between Python and the compiled engine; part of every fingerprint.")]


class QueueMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in the queue, runs by state, and workers."""

    ready: Annotated[int, Meta(description="Jobs that can start now.")]
    delayed: Annotated[int, Meta(description="Jobs that are due later, such as retries.")]
    running: Annotated[int, Meta(description="Jobs that workers are running.")]
    outbox: Annotated[int, Meta(description="Jobs accepted but not yet sent to the queue.")]
    paused: Annotated[bool, Meta(description="Whether the queue is paused.")]
    oldest_ready_s: Annotated[float | None, Meta(description="How long the oldest ready job has been ready, in seconds; null if none is.")]
    runs: Annotated[dict[RunState, int], Meta(description="Number of runs in each state.")]
    workers: Annotated[tuple[WorkerInfo, ...], Meta(description="Workers that have reported within the last 10 seconds.")]


async def check_health(database: Database, queue: Queue) -> Health:
    """Query the database and Redis, each for at most 3 seconds."""

    alive: list[WorkerInfo] = []

    async def redis() -> str:
        server = await queue.redis.info("server")
        alive.extend(await live_workers(queue))
        return str(server.get("server_name", "redis"))

    async def sql() -> str:
        async with database.read() as session:
            await session.execute(sa.select(sa.literal(1)))
        return database.kind

    database_check, redis_check = await asyncio.gather(_check(database.kind, sql), _check("redis", redis))
    return Health(
        status="ok" if database_check.ok and redis_check.ok else "down",
        database=database_check,
        redis=redis_check,
        workers=len(alive) if redis_check.ok else None,
        engine=bt.engine,
        engine_reason=bt.engine_reason,
        version=bt.__version__,
        contract=bt.CONTRACT,
    )


async def get_metrics(database: Database, queue: Queue) -> QueueMetrics:
    stats = await queue.stats()
    async with database.read() as session:
        unsent = await outbox.size(session)
    return QueueMetrics(
        ready=stats.ready,
        delayed=stats.delayed,
        running=stats.held,
        outbox=unsent,
        paused=stats.paused,
        oldest_ready_s=None if stats.age_ms < 0 else stats.age_ms / 1000,
        runs=await _counts(database),
        workers=await live_workers(queue),
    )


# Cached, because counting reads all runs ever submitted.
@cache_with_key("runs:{database.engine.url}", ttl_s=1.0)
async def _counts(database: Database) -> dict[RunState, int]:
    async with database.read() as session:
        return await store.count_by_state(session)


async def _check(kind: str, query: Callable[[], Awaitable[str]]) -> ComponentHealth:
    started_at = time.perf_counter()
    error: str | None = None
    try:
        kind = await asyncio.wait_for(query(), TIMEOUT_S)
    except TimeoutError:
        error = f"no response within {TIMEOUT_S:g} s"
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"[:200]
    return ComponentHealth(kind=kind, ok=error is None, latency_ms=round((time.perf_counter() - started_at) * 1000, 3), error=error)
