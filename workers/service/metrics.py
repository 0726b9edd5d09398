"""Metrics of the service, from database, Redis and the reports of workers; what can't be known at the moment is null."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError

from workers import background
from workers.cache import cache_with_key
from workers.db.database import Database
from workers.db.tables import AttemptRow
from workers.model.states import AttemptOutcome, RunState
from workers.queue.durations import AttemptDurations, read_durations
from workers.queue.heartbeat import WorkerInfo, live_workers
from workers.queue.queue import Queue, RedisError
from workers.runs import outbox, store
from workers.service.health import TIMEOUT_S, HealthCheck

T = TypeVar("T")
RunCounts = Annotated[dict[RunState, int], Meta(title="RunCounts", description="Number of runs in each state.")]
_UNKNOWN: Final = "; null if it can't be known at the moment."


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Ended attempts, since the database was created."""

    by_outcome: Annotated[
        dict[AttemptOutcome, int],
        Meta(
            description="By outcome; `lost`: the worker died, `requeued`: it was stopped, `failed`: an error, after which some are retried."
        ),
    ]
    repeated: Annotated[int, Meta(description="Number of attempts that were not the first of their run: retries and takeovers.")]


class QueueMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in the queue, runs by state, attempts, workers, and what the service depends on."""

    ready: Annotated[int | None, Meta(description=f"Number of jobs that can start now{_UNKNOWN}")]
    delayed: Annotated[int | None, Meta(description=f"Number of jobs that are due later, such as retries{_UNKNOWN}")]
    running: Annotated[int | None, Meta(description=f"Number of jobs that workers are running{_UNKNOWN}")]
    outbox: Annotated[int | None, Meta(description=f"Number of jobs accepted but not yet sent to the queue{_UNKNOWN}")]
    paused: Annotated[bool | None, Meta(description=f"Whether the queue is paused{_UNKNOWN}")]
    oldest_ready_s: Annotated[float | None, Meta(description="How long the oldest ready job has been ready, in seconds; null if none is.")]
    runs: Annotated[RunCounts | None, Meta(description=f"Number of runs in each state{_UNKNOWN}")]
    attempts: Annotated[AttemptCounts | None, Meta(description=f"Attempts that have ended, at most 15 seconds ago{_UNKNOWN}")]
    durations: Annotated[
        tuple[AttemptDurations, ...] | None, Meta(description=f"How long attempts took, since Redis began to count{_UNKNOWN}")
    ]
    workers: Annotated[tuple[WorkerInfo, ...] | None, Meta(description=f"Workers that have reported within the last 10 seconds{_UNKNOWN}")]
    up: Annotated[
        dict[Literal["database", "redis", "files"], bool], Meta(description="Whether each part that the service depends on can be written.")
    ]
    disk_free_bytes: Annotated[int | None, Meta(description=f"Free space on the disk of the data folder, in bytes{_UNKNOWN}")]
    restarts: Annotated[
        int,
        Meta(
            description="Number of restarts of background tasks after errors, in the process that answers; those of workers are in `workers`."
        ),
    ]


async def get_metrics(database: Database, queue: Queue, check_health: HealthCheck) -> QueueMetrics:
    """What is known within 3 seconds."""
    health, (unsent, runs, attempts), (stats, durations, workers) = await asyncio.gather(
        check_health(),
        asyncio.gather(_known(_outbox_size(database)), _known(_count_runs(database)), _known(_count_attempts(database))),
        asyncio.gather(_known(queue.stats()), _known(read_durations(queue)), _known(live_workers(queue))),
    )
    return QueueMetrics(
        ready=stats and stats.ready,
        delayed=stats and stats.delayed,
        running=stats and stats.held,
        outbox=unsent,
        paused=stats and stats.paused,
        oldest_ready_s=None if stats is None or stats.age_ms < 0 else stats.age_ms / 1000,
        runs=runs,
        attempts=attempts,
        durations=durations,
        workers=workers,
        up={"database": health.database.ok, "redis": health.redis.ok, "files": health.files.ok},
        disk_free_bytes=health.disk_free_bytes,
        restarts=background.RESTARTS.total(),
    )


async def _known(value: Awaitable[T]) -> T | None:
    """The value; None if the part that has it does not respond."""
    try:
        return await asyncio.wait_for(value, TIMEOUT_S)
    except (RedisError, SQLAlchemyError, OSError):  # a timeout is an OSError
        return None


async def _outbox_size(database: Database) -> int:
    async with database.read() as session:
        return await outbox.size(session)


# Cached, because counting reads all runs ever submitted.
@cache_with_key("runs:{database.engine.url}", ttl_s=1.0)
async def _count_runs(database: Database) -> dict[RunState, int]:
    async with database.read() as session:
        return await store.count_by_state(session)


# The same, and there is no index for it: a million attempts take some tenths of a second.
@cache_with_key("attempts:{database.engine.url}", ttl_s=15.0)
async def _count_attempts(database: Database) -> AttemptCounts:
    repeated = sa.func.sum(sa.case((AttemptRow.attempt > 1, 1), else_=0))
    query = sa.select(AttemptRow.outcome, sa.func.count(), repeated).group_by(AttemptRow.outcome)
    async with database.read() as session:
        rows = (await session.execute(query)).all()
    counts = {outcome: count for outcome, count, _ in rows}
    return AttemptCounts(
        by_outcome={outcome: counts.get(outcome, 0) for outcome in AttemptOutcome}, repeated=sum(int(row[2]) for row in rows)
    )
