"""What a job does, from its start in the database to its end there."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, TypeVar

import structlog

import python_core as bt
from workers import datasets, outbox, results, store
from workers.database import Database, is_unreachable
from workers.datasets import BarsCache
from workers.errors import WorkersError
from workers.queue import Queue, RedisError, Retry, job_id
from workers.results import Results
from workers.runs import RunError, RunState, Stages, decode_request
from workers.settings import Settings
from workers.store import Started

T = TypeVar("T")
LONGEST_WAIT_S: Final = 300.0
_log = structlog.stdlib.get_logger(__name__)


class Stop(StrEnum):
    """Why a job is stopped before its end."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    HAND_OVER = "hand over"
    TAKEN_OVER = "taken over"


class Job:
    """A job while a worker has it. `stop` may come from anywhere in the worker; the kernel notices within milliseconds."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.control = bt.Control()
        self.reason: Stop | None = None

    def stop(self, reason: Stop) -> None:
        if self.reason is None:
            self.reason = reason
            self.control.cancel()


class Executor:
    """What the jobs of one worker process share."""

    def __init__(self, settings: Settings, database: Database, queue: Queue, worker: str) -> None:
        self.settings = settings
        self.database = database
        self.queue = queue
        self.worker = worker
        self.results = Results(database, queue, settings)
        self.bars = BarsCache(settings.folder, settings.bars_cache_mb * 1_000_000)
        self.threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="kernel")
        self.jobs: dict[str, Job] = {}


async def backtest(ctx: dict[str, Any], run_id: str, number: int) -> None:
    """Run the backtest `run_id`, as the job of this number asks."""
    await _attempt(ctx["executor"], run_id, number, _backtest)


async def _attempt(executor: Executor, run_id: str, number: int, work: Callable[[Executor, Started, Job], Awaitable[None]]) -> None:
    """Start an attempt and see it to an end, whatever happens; only an unreachable database leaves it open, to be tried again."""
    identifier = job_id(run_id, number)
    job = executor.jobs[identifier] = Job(run_id)
    timeout = asyncio.get_running_loop().call_later(executor.settings.job_timeout_s, job.stop, Stop.TIMEOUT)
    try:
        async with executor.database.write() as session:
            started = await store.start(session, run_id, number, worker=executor.worker)
        if started is None:
            _log.info("job is out of date", run=run_id, job=number)
            return
        try:
            _check(executor, started)
            await work(executor, started, job)
        except Exception as error:
            await _end(executor, started, job, error)
    except Exception as error:
        if not is_unreachable(error):
            raise
        _log.warning("database does not answer", run=run_id, reason=str(error))
        raise Retry(defer=random.uniform(1, 3)) from error
    finally:
        timeout.cancel()
        del executor.jobs[identifier]


class _Lost(Exception):
    """Workers died of this run too often."""


def _check(executor: Executor, started: Started) -> None:
    if started.row.cancel_requested:
        raise bt.Cancelled("cancelled before it started")
    if started.row.failures >= executor.settings.max_failures:
        raise _Lost


async def _backtest(executor: Executor, started: Started, job: Job) -> None:
    row = started.row
    request = decode_request(row.request)
    assert isinstance(request.strategy, bt.Strategy)
    strategy = request.strategy
    if found := await executor.results.reusable(row.fingerprint, request.engine):
        async with executor.database.write() as session:
            await store.finish(session, started, RunState.SUCCEEDED, engine=found.engine, cached=True)
        return
    async with executor.database.read() as session:
        dataset = await datasets.find(session, row.dataset_id)

    def compute() -> tuple[dict[str, Any], Stages]:
        clock = [time.perf_counter()]
        bars = executor.bars.load(dataset)
        clock.append(time.perf_counter())
        result = bt.backtest(bars, strategy, request.execution, engine=request.engine, control=job.control)
        _ = result.metrics
        clock.append(time.perf_counter())
        kept = results.save(executor.settings.folder, result)
        clock.append(time.perf_counter())
        load, kernel, save = (round((end - begin) * 1000, 3) for begin, end in itertools.pairwise(clock))
        queue = max((row.started_at or row.created_at) - row.created_at, 0)
        return kept, Stages(queue_ms=queue, load_ms=load, kernel_ms=kernel, save_ms=save)

    kept, stages = await asyncio.get_running_loop().run_in_executor(executor.threads, _contained, compute)
    async with executor.database.write() as session:
        mine = await store.finish(
            session, started, RunState.SUCCEEDED, stages=stages, engine=kept["engine"], fingerprint=kept["fingerprint"]
        )
        if mine and await store.keep_result(session, kept) != kept["digest"]:
            raise WorkersError(
                "an equal run has found another result",
                where="digest",
                hint="this is a fault of Barstorm: please report both engines' digests",
                code="not_reproducible",
            )
    if not mine:
        _log.warning("result not kept: another worker has the run", run=row.id, attempt=started.attempt)
        return
    await executor.results.remember(results.from_row(kept))
    _log.info("run succeeded", run=row.id, engine=kept["engine"], bars=kept["bars"], kernel_ms=stages.kernel_ms)


def _contained(work: Callable[[], T]) -> T:
    """A panic of the compiled kernel is no `Exception`; it must not end the thread's owner."""
    try:
        return work()
    except Exception:
        raise
    except BaseException as panic:
        raise RuntimeError(f"{type(panic).__name__}: {panic}") from panic


async def _end(executor: Executor, started: Started, job: Job, error: Exception) -> None:
    """End an attempt that did not succeed: the run is cancelled, failed, dead, or queued again."""
    row, settings = started.row, executor.settings
    reason = Stop.CANCELLED if isinstance(error, bt.Cancelled) and job.reason is None else job.reason
    if isinstance(error, bt.Cancelled) and reason == Stop.TAKEN_OVER:
        _log.warning("run left to the worker that took it over", run=row.id, attempt=started.attempt)
        return
    async with executor.database.write() as session:
        if isinstance(error, bt.Cancelled) and reason == Stop.HAND_OVER:
            await store.requeue(session, started, RunState.QUEUED)
            outcome = "handed over"
        elif isinstance(error, bt.Cancelled) and reason == Stop.CANCELLED:
            await store.finish(session, started, RunState.CANCELLED)
            outcome = "cancelled"
        elif _passing(error) and row.failures + 1 < settings.max_failures:
            longest_s = min(settings.retry_s * 2**row.failures, LONGEST_WAIT_S)
            delay_ms = int(random.uniform(0, longest_s) * 1000)
            await store.requeue(session, started, RunState.RETRYING, delay_ms=delay_ms, error=_told(error, reason, settings))
            outcome = "will be tried again"
        else:
            state = RunState.DEAD if _passing(error) or isinstance(error, _Lost) else RunState.FAILED
            await store.finish(session, started, state, error=_told(error, reason, settings))
            outcome = str(state)
    with suppress(RedisError, OSError):
        await outbox.send(executor.database, executor.queue)  # else the relay will
    told = isinstance(error, bt.BarstormError | WorkersError | _Lost)
    level = logging.INFO if told else logging.WARNING if _passing(error) else logging.ERROR
    _log.log(
        level, f"run {outcome}", run=row.id, attempt=started.attempt, reason=str(error), exc_info=error if level == logging.ERROR else None
    )


def _passing(error: Exception) -> bool:
    """Whether another attempt may fare better: the machine failed, not the request."""
    return isinstance(error, OSError | MemoryError | RedisError) or is_unreachable(error)


def _told(error: Exception, reason: Stop | None, settings: Settings) -> RunError:
    """The reason as a client is told; of faults that are not the client's only the kind, the rest is in the log."""
    if isinstance(error, bt.Cancelled) and reason == Stop.TIMEOUT:
        return RunError(
            code="timeout", message=f"it ran longer than {settings.job_timeout_s:g} s", hint="use fewer bars, or raise the limit"
        )
    if isinstance(error, bt.BarstormError | WorkersError):
        return RunError(code=error.code, message=error.message, where=error.where, hint=error.hint)
    if isinstance(error, _Lost):
        return RunError(code="worker_lost", message=f"{settings.max_failures} workers died or fell silent while they had it")
    if _passing(error):
        return RunError(code="machine", message=f"the worker's machine failed: {type(error).__name__}", hint="see the worker's log")
    return RunError(code="internal", message=f"the worker failed with {type(error).__name__}", hint="see the worker's log")
