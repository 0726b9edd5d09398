"""The worker: claims jobs under a lease, renews the lease while they run, and returns unfinished jobs to the queue when it has to stop.

A lease makes a job safe from the death of its worker: if it isn't renewed in time, the queue gives the job to another worker.

It is ARQ's worker with another way to claim and finish jobs: one call that finishes and claims many, instead of several calls for each job; a
list to block on instead of polling; and a lease of seconds instead of a lock as long as the longest job.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

import python_core as bt
from workers import background
from workers.jobs.job import Job, Stop
from workers.jobs.outage import Outage
from workers.jobs.registry import Function
from workers.model.clock import now_ms
from workers.queue import heartbeat, keys
from workers.queue.durations import Durations
from workers.queue.heartbeat import RunningJob, WorkerInfo, memory_mb
from workers.queue.queue import ALL_PRIORITIES, ArqWorker, ClaimedJob, Queue, RedisError, Retry, arq_options, func
from workers.queue.wakeups import Wakeups
from workers.settings import Settings

IDLE_S: Final = 5.0
REPORT_S: Final = 2.0
# How often it checks for cancellations whose message was lost.
CANCEL_S: Final = 0.5
# How often it checks for jobs that have waited too long.
WAITING_S: Final = 0.25
# A job whose last two workers died may have killed them; run it alone, so that no other job dies with it.
SUSPECT_LOSSES: Final = 2
# A worker holds as many jobs as it can finish within `HOLD_S`, at most `MAX_HELD`. A job that waits longer than `MAX_WAIT_S` goes back to the queue.
MAX_HELD: Final = 128
HOLD_S: Final = 0.25
MAX_WAIT_S: Final = 1.0
# The number of jobs that the average of their times goes back.
ADAPT_OVER: Final = 16
# How long jobs may take to stop when they are returned to the queue.
REQUEUE_S: Final = 10.0
_log = structlog.stdlib.get_logger(__name__)


class LeaseWorker(ArqWorker):
    """Runs jobs of the queue, `concurrency` at a time, until `stop()`; with `burst`, until the queue is empty.

    It claims more of them while they are short, so that many start and end in one transaction; those that then wait too long go back.
    """

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        functions: Mapping[str, Function],
        *,
        worker: str,
        jobs: dict[str, Job],
        outage: Outage | None = None,
        priorities: str = ALL_PRIORITIES,
        burst: bool = False,
        ctx: dict[Any, Any] | None = None,
    ) -> None:
        super().__init__(
            [func(function, name=name) for name, function in functions.items()],
            max_jobs=settings.concurrency,
            burst=burst,
            ctx=ctx,
            **arq_options(queue),
        )
        self.id = worker
        self._running: dict[str, RunningJob] = {}
        self._settings = settings
        self._queue = queue
        self._jobs = jobs
        self._outage = outage or Outage()
        self._priorities = priorities
        self._lease_ms = int(settings.lease_s * 1000)
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._finished: list[str] = []
        self._suspects: list[ClaimedJob] = []
        self._isolated_id = ""
        # How many jobs it holds at most, and how many seconds the latest of them took each, on average.
        self._limit = settings.concurrency
        self._job_s = math.inf
        # A renewal that Redis receives after the end of its job would claim the job again, so these calls are made one at a time.
        self._lease_lock = asyncio.Lock()
        self._started_at = now_ms()
        self._durations = Durations()

    def stop(self) -> None:
        """Claim no more jobs; let those that are running finish within `drain_s`, and return the rest to the queue."""
        self._stopping.set()
        self._changed.set()

    async def main(self) -> None:
        loops = background.running(
            leases=self._renew_leases,
            cancellations=self._watch_cancellations,
            waiting=self._return_waiting_jobs,
            heartbeat=self._report_heartbeat,
        )
        try:
            async with loops:
                await self._claim_jobs()
                await self._drain()
        finally:
            with suppress(RedisError, OSError):
                await self._durations.send(self._queue)
                await heartbeat.delete(self._queue, self.id)
                await self._queue.wake(self._priorities)  # pass on a wake-up that this worker may have received

    async def _claim_jobs(self) -> None:
        async with Wakeups(self._queue, self._priorities) as wakeups:
            while not self._stopping.is_set():
                self._changed.clear()
                if (pause_s := self._outage.pause_s) > 0:
                    self._limit = self._settings.concurrency
                    await self._pause(pause_s)
                    continue
                # A suspect waits until all other jobs are done, and none is claimed until it is done itself.
                if self._suspects and not self.tasks:
                    self._isolated_id = self._suspects[0].id
                    self._start(self._suspects.pop(0))
                free = 0 if self._suspects or self._isolated_id in self.tasks else self._limit - len(self.tasks)
                try:
                    if free <= 0 and not self._finished:
                        await wakeups.forward_until(self._changed)
                        continue
                    claimed, next_ms = await self._finish_and_claim(free)
                    for job in claimed:
                        self._accept(job)
                    if not claimed and free > 0:
                        if self.burst and next_ms < 0:
                            return
                        await wakeups.wait(IDLE_S if next_ms < 0 else min(next_ms / 1000, IDLE_S), self._changed)
                except (RedisError, OSError) as error:
                    _log.warning("queue not reachable; trying again", reason=str(error))
                    await self._pause(1.0)

    async def _pause(self, seconds: float) -> None:
        """Claim nothing for a while, but report the jobs that are done meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, 1.0)):
                await self._stopping.wait()
        if self._finished:
            with suppress(RedisError, OSError):
                await self._finish_and_claim(0)

    async def _finish_and_claim(self, max_jobs: int) -> tuple[list[ClaimedJob], int]:
        """Finish the completed jobs and claim others, in one call."""
        async with self._lease_lock:
            done, self._finished = self._finished, []
            try:
                return await self._queue.claim(self.id, self._lease_ms, max_jobs, priorities=self._priorities, finished=done)
            except BaseException:
                self._finished += done  # to be reported with the next call
                raise

    def _accept(self, job: ClaimedJob) -> None:
        if job.id in self._running:
            return  # the lease of this worker had expired, and the worker claimed the job again before any other
        self._running[job.id] = RunningJob(run_id=job.run_id, kind=job.kind, since=now_ms())
        if job.expired_leases < SUSPECT_LOSSES:
            self._start(job)
        else:
            self._suspects.append(job)

    def _start(self, job: ClaimedJob) -> None:
        task = self.tasks[job.id] = asyncio.create_task(self._run(job))
        task.add_done_callback(lambda done: self._on_done(job.id, done))

    async def _run(self, job: ClaimedJob) -> None:
        started_at = time.monotonic()
        try:
            if job.kind not in self.functions:
                _log.error("unknown kind of job; skipped", job=job.id, kind=job.kind)
            elif await self.functions[job.kind].coroutine(self.ctx | {"job_try": job.expired_leases + 1}, job.run_id, job.job) is False:
                self.jobs_failed += 1
            else:
                self.jobs_complete += 1
        except Retry as retry:
            self.jobs_retried += 1
            async with self._lease_lock:
                del self._running[job.id]
                await self._queue.release(self.id, job.id, retry.defer_score or 0)
        else:
            self._finished.append(job.id)
            self._adapt(time.monotonic() - started_at)
        finally:
            if job.kind in self.functions:
                self._durations.observe(job.kind, time.monotonic() - started_at)

    def _adapt(self, seconds: float) -> None:
        """Hold as many jobs as are done within `HOLD_S`, by the share of each of the latest ones in the time that they took together."""
        share_s = seconds / len(self.tasks)
        self._job_s = share_s if math.isinf(self._job_s) else self._job_s + (share_s - self._job_s) / ADAPT_OVER
        self._limit = max(self._settings.concurrency, min(int(HOLD_S / self._job_s), MAX_HELD))

    def _on_done(self, identifier: str, task: asyncio.Task[None]) -> None:
        del self.tasks[identifier]
        self._running.pop(identifier, None)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()):
            # The job is not finished in the queue: its lease expires, and it is claimed again.
            self.jobs_failed += 1
            _log.error("job failed outside its attempt; it is claimed again after its lease", job=identifier, exc_info=error)

    async def _drain(self) -> None:
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=self._settings.drain_s if self._stopping.is_set() else None)
        for job in self._jobs.values():
            job.stop(Stop.REQUEUE)
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=REQUEUE_S)
        with suppress(RedisError, OSError):
            await self._queue.finish(self.id, *self._finished)
            for suspect in self._suspects:
                await self._queue.release(self.id, suspect.id, 0)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            if not self._running:
                continue
            try:
                async with self._lease_lock:
                    lost = await self._queue.renew(self.id, self._lease_ms, list(self._running))
                for suspect in [suspect for suspect in self._suspects if suspect.id in lost]:
                    self._suspects.remove(suspect)
                    del self._running[suspect.id]
                for identifier in lost & self._jobs.keys():
                    self._jobs[identifier].stop(Stop.TAKEN_OVER)
            except (RedisError, OSError) as error:
                _log.warning("leases not renewed; trying again", reason=str(error))

    async def _watch_cancellations(self) -> None:
        async with self._queue.redis.pubsub() as pubsub:
            await pubsub.subscribe(keys.CANCELS)
            looked_at = 0.0
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=CANCEL_S)
                cancelled = [] if message is None else [message["data"].decode()]
                if self._jobs and time.monotonic() > looked_at + CANCEL_S:
                    cancelled += await self._queue.cancel_requested([job.run_id for job in self._jobs.values()])
                    looked_at = time.monotonic()
                for job in self._jobs.values():
                    if job.run_id in cancelled:
                        job.stop(Stop.CANCELLED)

    async def _return_waiting_jobs(self) -> None:
        """Let other workers have the jobs that wait behind a long one."""
        while True:
            await asyncio.sleep(WAITING_S)
            before = time.monotonic() - MAX_WAIT_S
            waiting = [job for job in self._jobs.values() if job.waits_since is not None and job.waits_since < before]
            if waiting:
                self._limit, self._job_s = self._settings.concurrency, math.inf
            for job in waiting:
                job.stop(Stop.REQUEUE)

    async def _report_heartbeat(self) -> None:
        while True:
            info = WorkerInfo(
                id=self.id,
                host=socket.gethostname(),
                pid=os.getpid(),
                engine=bt.engine,
                started_at=self._started_at,
                seen_at=now_ms(),
                running=tuple(self._running.values()),
                done=self.jobs_complete + self.jobs_failed,
                failed=self.jobs_failed,
                memory_mb=memory_mb(),
                restarts=background.RESTARTS.total(),
            )
            with suppress(RedisError, OSError):
                await heartbeat.report(self._queue, info)
                await self._durations.send(self._queue)
            await asyncio.sleep(REPORT_S)
