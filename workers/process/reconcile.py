"""The reconciler: makes the queue agree with the database again after Redis has lost jobs, or some of its keys.

A job has one id, under which the queue stores it once, so sending a job twice does no harm, and the reconciler may stop anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from workers.accounts import audit, quotas
from workers.db import idempotency
from workers.db.database import Database
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.process.periodic import periodic
from workers.queue import pause
from workers.queue.queue import Queue, QueuedJob
from workers.runs import store
from workers.runs.outbox import remaining_delay_ms

BATCH: Final = 1000
# Younger changes may not have reached the queue yet.
GRACE_MS: Final = 3000
_log = structlog.stdlib.get_logger(__name__)


async def reconcile(database: Database, queue: Queue, *, lease_ms: int, now: Callable[[], int] = now_ms) -> int:
    """Restore what the queue has lost of the jobs of unfinished runs, whichever of its keys are gone; returns the number of these jobs."""
    # The pause comes first, or workers would claim the jobs that are sent below.
    await pause.restore(database, queue)
    restored, after = 0, ""
    while True:
        async with database.read() as session:
            runs = await store.open_runs(session, unchanged_since=now() - GRACE_MS, after_id=after, limit=BATCH)
        if not runs:
            break
        lost = await queue.missing([_queued_job(run, lease_ms, now()) for run in runs])
        if lost:
            # A run that finished between the two reads is rightly missing from the queue.
            async with database.read() as session:
                unfinished = await store.open_runs(session, unchanged_since=now() - GRACE_MS, after_id=after, limit=BATCH)
            still_open = {(run.id, run.job) for run in unfinished}
            restored += await queue.enqueue([job for job in lost if (job.run_id, job.job) in still_open])
        after = runs[-1].id
        if cancelled := [run.id for run in runs if run.cancel_requested]:
            await queue.request_cancel(cancelled)
    return restored + await queue.repair(lease_ms)


def _queued_job(run: store.OpenRun, lease_ms: int, now: int) -> QueuedJob:
    # A run in state running may have a live worker. The job is due one lease later: by then that worker has renewed its lease, and with it
    # holds the job again.
    delay_ms = lease_ms if run.state == RunState.RUNNING else remaining_delay_ms(run, now)
    return QueuedJob(run.kind, run.id, run.job, delay_ms, run.owner, run.priority)


async def reconcile_forever(database: Database, queue: Queue, *, every_s: float, lease_s: float) -> None:
    """Reconcile, and delete what has expired, once a period until cancelled."""

    async def work() -> None:
        restored = await reconcile(database, queue, lease_ms=int(lease_s * 1000))
        async with database.write() as session:
            await idempotency.delete_expired(session)
            connection = await session.connection()
            await connection.run_sync(audit.delete_old)
            await connection.run_sync(quotas.delete_old)
        if restored:
            _log.warning("jobs that the queue had lost are restored", jobs=restored)

    await periodic(queue, "reconcile", every_s, work)
