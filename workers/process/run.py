"""A worker process: the worker, its resources, its housekeeping and its signals."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import import_module

import structlog
from sqlalchemy.exc import SQLAlchemyError

import python_core as bt
from workers import background, logs
from workers.db.database import open_database
from workers.fetch import schedules
from workers.jobs.attempt import Executor
from workers.jobs.registry import FUNCTIONS
from workers.process.garbage import collect_garbage_forever
from workers.process.periodic import periodic
from workers.process.reconcile import reconcile_forever
from workers.process.startup import migrate_when_reachable
from workers.process.worker import LeaseWorker
from workers.queue import events
from workers.queue.queue import ALL_PRIORITIES, RedisError, open_queue
from workers.queue.valkey import with_redis
from workers.runs import create_and_run, outbox, saga
from workers.service import health
from workers.settings import Settings

_log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def open_worker(settings: Settings, *, priorities: str = ALL_PRIORITIES, burst: bool = False) -> AsyncIterator[LeaseWorker]:
    """A worker with all it needs; `main()` runs it. Relay and housekeeping run as long as it is open."""
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(with_redis(settings))
        database = await stack.enter_async_context(open_database(settings.database_url))
        await database.migrate()
        queue = await stack.enter_async_context(open_queue(settings.redis_url, owner_limit=settings.owner_concurrency))
        executor = Executor(settings, database, queue, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}")
        stack.push_async_callback(executor.exchanges.close)
        stack.callback(executor.threads.close)
        if burst:
            await outbox.send(database, queue)
        housekeeping = background.running(
            relay=outbox.Relay(database, queue).run,
            reconcile=partial(reconcile_forever, database, queue, every_s=settings.reconcile_s, lease_s=settings.lease_s),
            garbage_collection=partial(collect_garbage_forever, database, executor.artifacts, queue, every_s=settings.gc_s),
            progress=partial(events.publish_progress, queue, executor.jobs),
            sagas=partial(_resume_sagas_forever, executor),
            schedules=partial(_submit_due_fetches_forever, executor),
            risks=partial(_warn_of_risks, executor),
            # Imported in the background, or the first run would wait for it.
            imports=partial(asyncio.to_thread, import_module, "polars"),
        )
        async with housekeeping:
            try:
                yield LeaseWorker(
                    settings,
                    queue,
                    FUNCTIONS,
                    worker=executor.worker,
                    jobs=executor.jobs,
                    outage=executor.outage,
                    priorities=priorities,
                    burst=burst,
                    ctx={"executor": executor},
                )
            finally:
                with suppress(RedisError, SQLAlchemyError, OSError):
                    await outbox.send(database, queue)  # jobs requeued on the way out


async def _resume_sagas_forever(executor: Executor) -> None:
    sagas = create_and_run.sagas(executor.database, executor.bars)

    async def work() -> None:
        await saga.resume(executor.database, sagas)

    await periodic(executor.queue, "sagas", executor.settings.reconcile_s, work)


async def _submit_due_fetches_forever(executor: Executor) -> None:
    async def work() -> None:
        if await schedules.submit_due(executor.database):
            await outbox.send(executor.database, executor.queue)

    await periodic(executor.queue, "schedules", min(executor.settings.reconcile_s, 1.0), work)


async def _warn_of_risks(executor: Executor) -> None:
    for risk in await health.list_risks(executor.database, executor.queue):
        _log.warning(risk)


async def work(settings: Settings, *, priorities: str = ALL_PRIORITIES, burst: bool = False) -> None:
    """Work until SIGTERM or SIGINT; with `burst`, until the queue is empty."""
    await migrate_when_reachable(settings)
    async with open_worker(settings, priorities=priorities, burst=burst) as worker:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        _log.info("worker started", worker=worker.id, engine=bt.engine, concurrency=settings.concurrency)
        await worker.main()
        _log.info("worker stopped", worker=worker.id)


def run(settings: Settings, *, priorities: str = ALL_PRIORITIES, burst: bool = False) -> None:
    """Run a worker as a process of its own."""
    logs.set_up(settings)
    # The Python kernel holds the interpreter for a whole switch interval. With the usual 5 ms, renewals of leases and cancels would wait
    # that long at every step.
    sys.setswitchinterval(0.0005)
    working = work(settings, priorities=priorities, burst=burst)
    try:
        import uvloop
    except ImportError:
        asyncio.run(working)
    else:
        uvloop.run(working)
