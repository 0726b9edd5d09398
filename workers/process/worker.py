"""The worker process: claims jobs under a lease, keeps the lease while they run, and hands them back when it has to stop.

It is ARQ's worker with another way to get jobs and to let them go: one call that claims many and lets go of many instead of several for
each job, a list to block on instead of polling, and a lease of seconds instead of a lock as long as the longest job.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

import python_core as bt
from workers import logs
from workers.db.database import open_database
from workers.fetch import schedules
from workers.jobs.attempt import Executor, Job, Stop
from workers.jobs.registry import FUNCTIONS, Function
from workers.model.clock import now_ms
from workers.process import garbage
from workers.queue import events, heartbeat, valkey
from workers.queue.heartbeat import RunningJob, WorkerInfo, memory_mb
from workers.queue.queue import ALL_LEVELS, ArqWorker, ClaimedJob, Queue, RedisError, Retry, arq_options, func, open_queue
from workers.queue.wakeups import Wakeups
from workers.runs import create_and_run, outbox, saga
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


@asynccontextmanager
async def open_worker(settings: Settings, *, levels: str = ALL_LEVELS, burst: bool = False) -> AsyncIterator[LeaseWorker]:
    """A worker with all it needs; `main()` runs it. The relay, the reconciler and the sweep run as long as it is open."""
    async with AsyncExitStack() as stack:
        if not settings.redis_url:
            settings = msgspec.structs.replace(settings, redis_url=await stack.enter_async_context(valkey.valkey(settings.folder)))
        database = await stack.enter_async_context(open_database(settings.database_url))
        await database.migrate()
        queue = await stack.enter_async_context(open_queue(settings.redis_url, owner_limit=settings.owner_concurrency))
        executor = Executor(settings, database, queue, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}")
        stack.push_async_callback(executor.exchanges.close)
        stack.callback(executor.threads.shutdown, wait=False, cancel_futures=True)
        if burst:
            await outbox.send(database, queue)
        background = [
            asyncio.create_task(outbox.Relay(database, queue).run()),
            asyncio.create_task(outbox.reconcile_forever(database, queue, every_s=settings.reconcile_s, lease_s=settings.lease_s)),
            asyncio.create_task(garbage.sweep_forever(database, executor.artifacts, queue, every_s=settings.sweep_s)),
            asyncio.create_task(events.tell_progress(queue, executor.jobs)),
            asyncio.create_task(_resume_sagas(executor)),
            asyncio.create_task(schedules.ask_due_forever(database, queue, every_s=min(settings.reconcile_s, 1.0))),
            # The first run would otherwise wait for it.
            asyncio.create_task(asyncio.to_thread(import_module, "polars")),
        ]
        try:
            yield LeaseWorker(
                settings,
                queue,
                FUNCTIONS,
                worker=executor.worker,
                jobs=executor.jobs,
                levels=levels,
                burst=burst,
                ctx={"executor": executor},
            )
        finally:
            with suppress(RedisError, SQLAlchemyError, OSError):
                await outbox.send(database, queue)  # what was handed back on the way out
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)


async def _resume_sagas(executor: Executor) -> None:
    known = create_and_run.sagas(executor.database, executor.results, executor.bars)
    every_s = executor.settings.reconcile_s
    while True:
        await asyncio.sleep(every_s)
        try:
            if await executor.queue.my_turn("sagas", every_s * 0.9):
                await saga.resume(executor.database, known)
        except (RedisError, SQLAlchemyError, OSError) as error:
            _log.warning("sagas not looked after", reason=str(error))


async def work(settings: Settings, *, levels: str = ALL_LEVELS, burst: bool = False) -> None:
    """Be a worker until SIGTERM or SIGINT; with `burst`, until nothing is left to do."""
    async with open_worker(settings, levels=levels, burst=burst) as worker:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        _log.info("worker started", worker=worker.id, engine=bt.engine, concurrency=settings.concurrency)
        await worker.main()
        _log.info("worker stopped", worker=worker.id)


def run(settings: Settings, *, levels: str = ALL_LEVELS, burst: bool = False) -> None:
    """A worker as a process of its own."""
    logs.set_up(settings)
    # The Python kernel holds the interpreter for so long at a time; at the usual 5 ms, leases and cancels would wait for it again and again.
    sys.setswitchinterval(0.0005)
    working = work(settings, levels=levels, burst=burst)
    try:
        import uvloop
    except ImportError:
        asyncio.run(working)
    else:
        uvloop.run(working)
