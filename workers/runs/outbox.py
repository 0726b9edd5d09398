"""The outbox: jobs accepted by the database and not yet sent to the queue, and the relay that sends them.

A run and its outbox row are one transaction, so no accepted run is lost when a process dies before it has reached Redis. A job has one id,
under which the queue stores it once, so sending a job twice does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers import background
from workers.db.database import Database
from workers.db.in_list import in_list
from workers.db.tables import OutboxRow, RunRow
from workers.model.clock import now_ms
from workers.queue import events
from workers.queue.queue import Queue, QueuedJob
from workers.runs import store

BATCH: Final = 1000
# How often the relay looks without being woken: another process may have died between commit and sending.
IDLE_S: Final = 1.0
# Its shortest time between two looks. A job that arrives after a longer one is sent at once.
PAUSE_S: Final = 0.01


class UnsentJob(NamedTuple):
    """A job in the outbox: accepted, not yet sent to the queue."""

    id: int
    kind: str
    run_id: str
    job: int
    due_at: int
    updated_at: int
    owner: str
    priority: str


_LIST: Final = (
    sa.select(OutboxRow.id, OutboxRow.kind, RunRow.id, OutboxRow.job, OutboxRow.due_at, RunRow.updated_at, RunRow.owner, RunRow.priority)
    .join(RunRow, RunRow.id == OutboxRow.run_id)
    .order_by(OutboxRow.id)
    .limit(sa.bindparam("at_most"))
)
_DELETE: Final = sa.delete(OutboxRow).where(in_list(OutboxRow.id, "ids", sa.BigInteger))


def list_unsent(connection: sa.Connection, limit: int = BATCH) -> list[UnsentJob]:
    return [UnsentJob(*row) for row in connection.execute(_LIST, {"at_most": limit})]


def delete_sent(connection: sa.Connection, jobs: Sequence[UnsentJob]) -> None:
    connection.execute(_DELETE, {"ids": [job.id for job in jobs]})


async def size(session: AsyncSession) -> int:
    return await session.scalar(sa.select(sa.func.count()).select_from(OutboxRow)) or 0


async def send(database: Database, queue: Queue) -> int:
    """Send the jobs in the outbox, at most a batch; returns their number."""
    jobs = await database.query(list_unsent)
    if not jobs:
        return 0
    now = now_ms()
    await queue.enqueue([QueuedJob(job.kind, job.run_id, job.job, remaining_delay_ms(job, now), job.owner, job.priority) for job in jobs])
    await database.transact(lambda connection: delete_sent(connection, jobs))
    return len(jobs)


def remaining_delay_ms(job: UnsentJob | store.OpenRun, now: int) -> int:
    """How long a job still has to wait."""
    # Never longer than its whole delay: the clock of the process that accepted it may be ahead of ours.
    return max(min(job.due_at - now, job.due_at - job.updated_at), 0)


class Relay:
    """Runs `send` when woken, and once in `IDLE_S` anyway, until its task is cancelled. It also repeats announcements that Redis missed."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._woken.wait()
            self._woken.clear()
            await events.publish_unpublished(self._queue)
            while await send(self._database, self._queue) == BATCH:
                pass
            # Many runs may arrive now; sent together, they cost less.
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def relaying(database: Database, queue: Queue) -> AsyncIterator[Relay]:
    """A relay that runs until the block ends."""
    relay = Relay(database, queue)
    async with background.running(relay=relay.run):
        yield relay
