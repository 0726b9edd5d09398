"""The outbox: jobs accepted by the database and not yet sent to the queue, and the relay that sends them.

A run and its outbox row are one transaction, so no accepted run is lost when a process dies before it has reached Redis. A job has one id,
under which the queue stores it once, so sending a job twice does no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers import background
from workers.db.database import Database
from workers.db.in_list import in_list
from workers.db.tables import OutboxRow, RunRow
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.queue import events
from workers.queue.queue import Queue, QueuedJob, job_id
from workers.runs import store

BATCH: Final = 1000
# How often the relay looks without being woken: another process may have died between commit and sending.
IDLE_S: Final = 1.0
# Its shortest time between two looks. A job that arrives after a longer one is sent at once.
PAUSE_S: Final = 0.01


class UnsentJob(NamedTuple):
    """A job in the outbox: accepted, not yet sent to the queue."""

    kind: str
    run_id: str
    job: int
    due_at: int
    updated_at: int
    owner: str
    priority: str


_LIST: Final = (
    sa.select(OutboxRow.kind, RunRow.id, OutboxRow.job, OutboxRow.due_at, RunRow.updated_at, RunRow.owner, RunRow.priority)
    .join(RunRow, RunRow.id == OutboxRow.run_id)
    .order_by(OutboxRow.id)
    .limit(sa.bindparam("at_most"))
)
_DELETE: Final = sa.delete(OutboxRow).where(
    in_list(OutboxRow.run_id, "run_ids"), in_list(OutboxRow.run_id + ":" + sa.cast(OutboxRow.job, sa.Text), "jobs")
)


def list_unsent(connection: sa.Connection, limit: int = BATCH) -> list[UnsentJob]:
    return [UnsentJob(*row) for row in connection.execute(_LIST, {"at_most": limit})]


def delete_sent(connection: sa.Connection, jobs: Sequence[UnsentJob | QueuedJob]) -> None:
    connection.execute(_DELETE, {"run_ids": [job.run_id for job in jobs], "jobs": [job_id(job.run_id, job.job) for job in jobs]})


async def size(session: AsyncSession) -> int:
    return await session.scalar(sa.select(sa.func.count()).select_from(OutboxRow)) or 0


async def send(database: Database, queue: Queue) -> int:
    """Send the jobs in the outbox, at most a batch; returns their number."""
    unsent = await database.query(list_unsent)
    now = now_ms()
    jobs = [QueuedJob(job.kind, job.run_id, job.job, remaining_delay_ms(job, now), job.owner, job.priority) for job in unsent]
    await _send(database, queue, jobs)
    return len(jobs)


async def _send(database: Database, queue: Queue, jobs: Sequence[QueuedJob]) -> None:
    if jobs:
        await queue.enqueue(jobs)
        await database.transact(lambda connection: delete_sent(connection, jobs))


def remaining_delay_ms(job: UnsentJob | store.OpenRun, now: int) -> int:
    """How long a job still has to wait."""
    # Never longer than its whole delay: the clock of the process that accepted it may be ahead of ours.
    return max(min(job.due_at - now, job.due_at - job.updated_at), 0)


class Relay:
    """Sends jobs to the queue: accepted ones at once, and whatever is in the outbox when woken or after `IDLE_S`. It runs until cancelled.

    It also repeats announcements that Redis missed.
    """

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue
        self._woken = asyncio.Event()
        self._accepted: list[QueuedJob] = []
        self._look_at = 0.0

    def wake(self) -> None:
        """Send what is in the outbox."""
        self._look_at = 0.0
        self._woken.set()

    def send_accepted(self, jobs: Sequence[QueuedJob], others: Mapping[str, RunState]) -> None:
        """Send these jobs, which are in the outbox, without looking for them there, and announce `others`, which were accepted without a job."""
        if jobs or others:
            self._accepted += jobs
            self._queue.accepted.update(others)
            self._woken.set()

    async def run(self) -> None:
        self._look_at = 0.0  # jobs that could not be sent before a restart are in the outbox
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._woken.wait()
            self._woken.clear()
            accepted, self._accepted = self._accepted, []
            await _send(self._database, self._queue, accepted)
            await events.publish_unpublished(self._queue)
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + IDLE_S
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
