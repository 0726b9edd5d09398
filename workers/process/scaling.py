"""Scaling: as many worker processes as the queue needs, between a minimum, which may be 0, and a maximum.

With no worker running, no process would send accepted jobs to the queue. So the supervisor runs the relay and the reconciler itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import structlog

from workers import background
from workers.db.database import open_database
from workers.process.reconcile import reconcile_forever
from workers.queue.heartbeat import live_workers
from workers.queue.queue import MAX_WAIT_S, QueueStats, open_queue
from workers.runs import outbox
from workers.settings import Settings

POLL_S: Final = 0.5
# If the oldest job has waited this long although workers are running, another worker is started.
MAX_WAIT_MS: Final = 1000
_log = structlog.stdlib.get_logger(__name__)


class Scaling(NamedTuple):
    """The minimum and maximum number of workers, and the priorities that they serve."""

    min_workers: int
    max_workers: int
    priorities: str


def target_workers(running: int, stats: QueueStats, scaling: Scaling, *, concurrency: int, idle: bool) -> int:
    """The number of workers that should run: up to twice as many while jobs wait, one fewer when some have been idle for long."""
    needed = -(-(stats.ready + stats.held) // concurrency)
    waiting = has_claimable_jobs(stats, scaling)
    # At most twice as many at a time: starting a process takes a second, and the jobs may be done by then.
    if waiting and (running == 0 or stats.age_ms >= MAX_WAIT_MS):
        target = max(running, min(needed, 2 * running or 1))
    elif not waiting and idle:
        target = running - 1
    else:
        target = running
    return max(scaling.min_workers, min(target, scaling.max_workers))


def has_claimable_jobs(stats: QueueStats, scaling: Scaling) -> bool:
    """Whether there are jobs that these workers could claim now."""
    return not stats.paused and bool(set(stats.claimable) & set(scaling.priorities))


async def scale(
    settings: Settings,
    scaling: Scaling,
    workers: Callable[[], Mapping[int, str]],
    start: Callable[[], None],
    retire: Callable[[str], None],
) -> None:
    """Start workers and retire idle ones until cancelled; `workers()` gives the names of the running ones by process id."""
    async with (
        open_database(settings.database_url) as database,
        open_queue(settings.redis_url, owner_limit=settings.owner_concurrency) as queue,
    ):
        housekeeping = background.running(
            relay=outbox.Relay(database, queue).run,
            reconcile=partial(reconcile_forever, database, queue, every_s=settings.reconcile_s, lease_s=settings.lease_s),
        )
        busy_at = time.monotonic()
        async with housekeeping:
            while True:
                if workers():
                    await asyncio.sleep(POLL_S)
                else:
                    await queue.wait(MAX_WAIT_S, scaling.priorities)
                stats, running = await queue.stats(), workers()
                busy = {info.pid for info in await live_workers(queue) if info.running}
                idle = [name for pid, name in running.items() if pid not in busy]
                if has_claimable_jobs(stats, scaling) or not idle:
                    busy_at = time.monotonic()
                long_idle = time.monotonic() - busy_at >= settings.idle_s
                target = target_workers(len(running), stats, scaling, concurrency=settings.concurrency, idle=long_idle)
                for _ in range(target - len(running)):
                    start()
                if target < len(running) and idle:
                    _log.info("worker retired", process=idle[-1], workers=target)
                    retire(idle[-1])
