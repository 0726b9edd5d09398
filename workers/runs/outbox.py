"""The relay, which tells the queue what the database has accepted, and the reconciler, which tells it again what it lost.

A job sent twice has one id and is there once, so both may stop anywhere and begin again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from workers.db import idempotency
from workers.db.database import Database
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.queue import pause
from workers.queue.queue import Queue, QueuedJob, RedisError
from workers.runs import store

BATCH: Final = 1000
# A relay that nobody wakes looks by itself, for what a process left behind that died between commit and sending.
IDLE_S: Final = 1.0
GRACE_MS: Final = 3000
_log = structlog.stdlib.get_logger(__name__)


async def send(database: Database, queue: Queue) -> int:
    """Send what waits in the outbox; how many jobs."""
    async with database.read() as session:
        rows = await store.unsent(session, BATCH)
    if not rows:
        return 0
    now = now_ms()
    await queue.enqueue([QueuedJob(row.kind, row.run_id, row.job, _delay_ms(row, now), row.owner, row.priority) for row in rows])
    async with database.write() as session:
        await store.sent(session, rows)
    return len(rows)


async def reconcile(database: Database, queue: Queue, *, lease_ms: int, now: Callable[[], int] = now_ms) -> int:
    """Send again what the queue should have and has not; how many jobs.

    A pause first, lest what comes back is claimed at once. A run that looks running may well be, so its job comes back at the end of a lease, which a live worker will have renewed by then.
    """
    await pause.remind(database, queue)
    mended, after = 0, ""
    while True:
        async with database.read() as session:
            runs = await store.open_runs(session, unchanged_since=now() - GRACE_MS, after_id=after, limit=BATCH)
        if not runs:
            return mended
        lost = set(await queue.missing([(run.id, run.job) for run in runs]))
        if lost:
            # Those that ended between the two looks are not lost.
            async with database.read() as session:
                still = await store.open_runs(session, unchanged_since=now() - GRACE_MS, after_id=after, limit=BATCH)
            lost &= {(run.id, run.job) for run in still}
        after = runs[-1].id
        jobs = [
            QueuedJob(
                run.kind,
                run.id,
                run.job,
                lease_ms if run.state == RunState.RUNNING else _delay_ms(run, now()),
                run.owner,
                run.priority,
            )
            for run in runs
            if (run.id, run.job) in lost
        ]
        mended += await queue.enqueue(jobs)
        if cancelled := [run.id for run in runs if run.cancel_requested]:
            await queue.request_cancel(cancelled)


def _delay_ms(waiting: store.UnsentJob | store.OpenRun, now: int) -> int:
    """What a job still has to wait; never more than was wished, for the clock of whoever accepted it may be ahead of ours."""
    return max(min(waiting.due_at - now, waiting.due_at - waiting.updated_at), 0)


class Relay:
    """Runs `send` whenever woken, and now and then by itself, until its task is cancelled."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        pause_s = IDLE_S
        while True:
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                while await send(self._database, self._queue) == BATCH:
                    pass
                pause_s = IDLE_S
            except (RedisError, SQLAlchemyError, OSError) as error:
                pause_s = min(pause_s * 2, 30.0)
                _log.warning("jobs wait in the outbox", reason=str(error), again_in_s=pause_s)


@asynccontextmanager
async def relaying(database: Database, queue: Queue) -> AsyncIterator[Relay]:
    """A relay that runs until the block ends."""
    relay = Relay(database, queue)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def reconcile_forever(database: Database, queue: Queue, *, every_s: float, lease_s: float) -> None:
    """Reconcile in every period, by one process of all that run this."""
    while True:
        await asyncio.sleep(every_s)
        try:
            if await queue.my_turn("reconcile", every_s * 0.9):
                mended = await reconcile(database, queue, lease_ms=int(lease_s * 1000))
                async with database.write() as session:
                    await idempotency.forget_old(session)
                if mended:
                    _log.warning("the queue had lost jobs; they are back", jobs=mended)
        except (RedisError, SQLAlchemyError, OSError) as error:
            _log.warning("queue not reconciled", reason=str(error))
