"""The worker process: claims jobs under a lease, keeps the lease while they run, and hands them back when it has to stop.

It is ARQ's worker with another way to get jobs and to let them go: one call that claims many and lets go of many instead of several for
each job, a list to block on instead of polling, and a lease of seconds instead of a lock as long as the longest job.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog

import python_core as bt
from workers.jobs.attempt import Job, Stop
from workers.jobs.registry import Function
from workers.model.clock import now_ms
from workers.queue import heartbeat
from workers.queue.heartbeat import RunningJob, WorkerInfo, memory_mb
from workers.queue.queue import ALL_LEVELS, ArqWorker, ClaimedJob, Queue, RedisError, Retry, arq_options, func
from workers.queue.wakeups import Wakeups
from workers.settings import Settings

IDLE_S: Final = 5.0
REPORT_S: Final = 2.0
CANCEL_S: Final = 0.02
# A job that so many workers fell silent with may have killed them; it runs alone, so that it can take no other along.
SUSPECT: Final = 2
HAND_OVER_S: Final = 10.0
_log = structlog.stdlib.get_logger(__name__)


class LeaseWorker(ArqWorker):
    """Runs the queue's jobs, `concurrency` at once, until `stop()`; with `burst`, until the queue is empty."""

    def __init__(
        self,
        settings: Settings,
        queue: Queue,
        functions: Mapping[str, Function],
        *,
        worker: str,
        jobs: dict[str, Job],
        levels: str = ALL_LEVELS,
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
        self.held: dict[str, RunningJob] = {}
        self._settings = settings
        self._queue = queue
        self._jobs = jobs
        self._levels = levels
        self._lease_ms = int(settings.lease_s * 1000)
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._finished: list[str] = []
        self._suspects: list[ClaimedJob] = []
        self._alone = ""
        # A renewal that overtook the end of its job would take it up again.
        self._in_turn = asyncio.Lock()
        self._started_at = now_ms()

    def stop(self) -> None:
        """Claim no more; finish what runs within `drain_s`, hand the rest back."""
        self._stopping.set()
        self._changed.set()

    async def main(self) -> None:
        background = [asyncio.create_task(loop()) for loop in (self._keep_leases, self._watch_cancels, self._report)]
        try:
            await self._claim_jobs()
            await self._drain()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            with suppress(RedisError, OSError):
                await heartbeat.delete(self._queue, self.id)
                await self._queue.wake(self._levels)  # this worker may have taken a wake-up that it no longer follows

    async def _claim_jobs(self) -> None:
        async with Wakeups(self._queue, self._levels) as bell:
            while not self._stopping.is_set():
                self._changed.clear()
                if self._suspects and not self.tasks:
                    self._alone = self._suspects[0].id
                    self._start(self._suspects.pop(0))
                free = 0 if self._suspects or self._alone in self.tasks else self._settings.concurrency - len(self.tasks)
                try:
                    if free <= 0 and not self._finished:
                        await bell.pass_on_until(self._changed)
                        continue
                    claimed, next_ms = await self._exchange(free)
                    for job in claimed:
                        self._begin(job)
                    if not claimed and free > 0:
                        if self.burst and next_ms < 0:
                            return
                        await bell.wait(IDLE_S if next_ms < 0 else min(next_ms / 1000, IDLE_S), self._changed)
                except (RedisError, OSError) as error:
                    _log.warning("queue does not answer", reason=str(error))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), 1)

    async def _exchange(self, most: int) -> tuple[list[ClaimedJob], int]:
        """Let go of what is done and claim more, in one call."""
        async with self._in_turn:
            done, self._finished = self._finished, []
            try:
                return await self._queue.exchange(self.id, self._lease_ms, most, levels=self._levels, done=done)
            except BaseException:
                self._finished += done
                raise

    def _begin(self, job: ClaimedJob) -> None:
        if job.id in self.held:
            return  # our own lease had run out, and we were the first to claim it again
        self.held[job.id] = RunningJob(run_id=job.run_id, kind=job.kind, since=now_ms())
        if job.lost < SUSPECT:
            self._start(job)
        else:
            self._suspects.append(job)

    def _start(self, job: ClaimedJob) -> None:
        task = self.tasks[job.id] = asyncio.create_task(self._run(job))
        task.add_done_callback(lambda done: self._ended(job.id, done))

    async def _run(self, job: ClaimedJob) -> None:
        try:
            if job.kind not in self.functions:
                _log.error("no such kind of job", job=job.id, kind=job.kind)
            elif await self.functions[job.kind].coroutine(self.ctx, job.run_id, job.job) is False:
                self.jobs_failed += 1
            else:
                self.jobs_complete += 1
        except Retry as retry:
            self.jobs_retried += 1
            async with self._in_turn:
                del self.held[job.id]
                await self._queue.release(self.id, job.id, retry.defer_score or 0)
        else:
            self._finished.append(job.id)

    def _ended(self, identifier: str, task: asyncio.Task[None]) -> None:
        del self.tasks[identifier]
        self.held.pop(identifier, None)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()):
            # Whatever it was, the lease will run out and the job be claimed again.
            self.jobs_failed += 1
            _log.error("job left to its lease", job=identifier, exc_info=error)

    async def _drain(self) -> None:
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=self._settings.drain_s if self._stopping.is_set() else None)
        for job in self._jobs.values():
            job.stop(Stop.REQUEUE)
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=HAND_OVER_S)
        with suppress(RedisError, OSError):
            await self._queue.finish(self.id, *self._finished)
            for suspect in self._suspects:
                await self._queue.release(self.id, suspect.id, 0)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            if not self.held:
                continue
            try:
                async with self._in_turn:
                    lost = await self._queue.renew(self.id, self._lease_ms, list(self.held))
                for suspect in [suspect for suspect in self._suspects if suspect.id in lost]:
                    self._suspects.remove(suspect)
                    del self.held[suspect.id]
                for identifier in lost & self._jobs.keys():
                    self._jobs[identifier].stop(Stop.TAKEN_OVER)
            except (RedisError, OSError) as error:
                _log.warning("leases not renewed", reason=str(error))

    async def _watch_cancels(self) -> None:
        while True:
            await asyncio.sleep(CANCEL_S)
            if not self._jobs:
                continue
            runs = {job.run_id: job for job in self._jobs.values()}
            with suppress(RedisError, OSError):
                for run_id in await self._queue.cancelled(list(runs)):
                    runs[run_id].stop(Stop.CANCELLED)

    async def _report(self) -> None:
        while True:
            info = WorkerInfo(
                id=self.id,
                host=socket.gethostname(),
                pid=os.getpid(),
                engine=bt.engine,
                started_at=self._started_at,
                seen_at=now_ms(),
                running=tuple(self.held.values()),
                done=self.jobs_complete + self.jobs_failed,
                failed=self.jobs_failed,
                memory_mb=memory_mb(),
            )
            with suppress(RedisError, OSError):
                await heartbeat.report(self._queue, info)
            await asyncio.sleep(REPORT_S)
