"""Heartbeats: what each worker process reports about itself, in one Redis hash."""

from __future__ import annotations

import resource
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta

from workers.model.clock import TimeMs, now_ms
from workers.queue import keys
from workers.queue.queue import Queue, RedisError

# A worker counts as gone after the first, and its report is deleted after the second.
SILENT_MS: Final = 10_000
DELETE_MS: Final = 300_000


class RunningJob(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a worker is running."""

    run_id: Annotated[str, Meta(description="Id of the run.")]
    kind: Annotated[str, Meta(description="Kind of job.", examples=["backtest"])]
    since: Annotated[TimeMs, Meta(description="When the worker started it, UTC epoch milliseconds.")]


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The latest report of a worker process."""

    id: Annotated[str, Meta(description="Id of the worker.")]
    host: Annotated[str, Meta(description="Host name.")]
    pid: Annotated[int, Meta(description="Process id.")]
    engine: Annotated[str, Meta(description="Engine that it uses.", examples=["rust", "python"])]
    started_at: Annotated[TimeMs, Meta(description="When it started, UTC epoch milliseconds.")]
    seen_at: Annotated[TimeMs, Meta(description="When it last reported, UTC epoch milliseconds.")]
    running: Annotated[tuple[RunningJob, ...], Meta(description="Jobs that it is running.")]
    done: Annotated[int, Meta(description="Number of jobs that it has finished, including failed ones.")]
    failed: Annotated[int, Meta(description="Number of jobs that failed.")]
    memory_mb: Annotated[float, Meta(description="Resident memory, in megabytes.")]
    restarts: Annotated[int, Meta(description="Number of restarts of its background tasks after errors.")] = 0


async def report(queue: Queue, info: WorkerInfo) -> None:
    """Publish a worker's report."""
    await cast(Awaitable[int], queue.redis.hset(keys.WORKERS, info.id, cast(str, msgspec.json.encode(info))))


async def delete(queue: Queue, *worker_ids: str) -> None:
    """Delete the reports of workers that are gone."""
    await cast(Awaitable[int], queue.redis.hdel(keys.WORKERS, *worker_ids))


async def live_workers(queue: Queue) -> tuple[WorkerInfo, ...]:
    """The workers that reported recently, by id; deletes old reports."""
    raw = await cast(Awaitable[dict[bytes, bytes]], queue.redis.hgetall(keys.WORKERS))
    live, expired, now = [], [], now_ms()
    for _, report in sorted(raw.items()):
        try:
            info = msgspec.json.decode(report, type=WorkerInfo)
        except msgspec.ValidationError:
            continue  # written by another version
        if now - info.seen_at <= SILENT_MS:
            live.append(info)
        elif now - info.seen_at > DELETE_MS:
            expired.append(info.id)
    if expired:
        with suppress(RedisError):  # they can be read even if Redis refuses writes
            await delete(queue, *expired)
    return tuple(live)


def memory_mb() -> float:
    """Resident memory of this process; its peak on systems without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return round(pages * resource.getpagesize() / 1e6, 1)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)
