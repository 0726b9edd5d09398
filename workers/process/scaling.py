"""As many worker processes as there is work for, between a least and a most, which may be none.

While there may be no worker, the supervisor does itself what workers do besides jobs: it tells the queue what the database has accepted
and what the queue has lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from workers.db.database import open_database
from workers.process.reconcile import reconcile_forever
from workers.queue.heartbeat import live_workers
from workers.queue.queue import QueueStats, RedisError, open_queue
from workers.runs import outbox
from workers.settings import Settings

LOOK_S: Final = 0.5
# A job that waits so long, though workers run, calls for another.
PATIENCE_MS: Final = 1000
_log = structlog.stdlib.get_logger(__name__)


class Scaling(NamedTuple):
    """How many workers there may be, and the levels of the queue that they take from."""

    least: int
    most: int
    levels: str


def wanted(running: int, figures: QueueStats, scaling: Scaling, *, concurrency: int, idle: bool) -> int:
    """How many workers there should be: at most twice as many as now for jobs that wait, one less when some have long been idle."""
    needed = -(-(figures.ready + figures.held) // concurrency)
    waiting = calling(figures, scaling)
    if waiting and (running == 0 or figures.age_ms >= PATIENCE_MS):
        target = max(running, min(needed, 2 * running or 1))
    elif not waiting and idle:
        target = running - 1
    else:
        target = running
    return max(scaling.least, min(target, scaling.most))


def calling(figures: QueueStats, scaling: Scaling) -> bool:
    """Whether there are jobs that these workers could take now."""
    return not figures.paused and bool(set(figures.levels) & set(scaling.levels))


async def scale(
    settings: Settings,
    scaling: Scaling,
    workers: Callable[[], Mapping[int, str]],
    start: Callable[[], None],
    retire: Callable[[str], None],
) -> None:
    """Start workers and retire idle ones, until cancelled; `workers` are the names of those that run, by process id."""
    async with open_database(settings.database_url) as database, open_queue(settings.redis_url) as queue:
        background = [
            asyncio.create_task(outbox.Relay(database, queue).run()),
            asyncio.create_task(reconcile_forever(database, queue, every_s=settings.reconcile_s, lease_s=settings.lease_s)),
        ]
        since = time.monotonic()
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    figures, running = await queue.figures(), workers()
                    busy = {info.pid for info in await live_workers(queue) if info.running}
                except (RedisError, SQLAlchemyError, OSError) as error:
                    _log.warning("the queue can't be looked at", reason=str(error))
                    continue
                idle = [name for pid, name in running.items() if pid not in busy]
                if calling(figures, scaling) or not idle:
                    since = time.monotonic()
                long_idle = time.monotonic() - since >= settings.idle_s
                target = wanted(len(running), figures, scaling, concurrency=settings.concurrency, idle=long_idle)
                for _ in range(target - len(running)):
                    start()
                if target < len(running) and idle:
                    _log.info("worker retired", process=idle[-1], workers=target)
                    retire(idle[-1])
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
