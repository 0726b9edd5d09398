"""One attempt at a job of any kind, from its start in the database to its end there."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import structlog

import python_core as bt
from workers.data.bars_cache import open_bars_cache
from workers.db.database import Database, is_unreachable
from workers.errors import WorkersError
from workers.fetch.exchange import Exchanges
from workers.model.runs import RunError
from workers.model.states import DONE, RunState
from workers.queue import events
from workers.queue.queue import Queue, RedisError, Retry, job_id
from workers.runs import outbox, store
from workers.runs.results import Results
from workers.runs.store import StartedRun
from workers.settings import Settings
from workers.storage import open as storage

T = TypeVar("T")
LONGEST_WAIT_S: Final = 300.0
_log = structlog.stdlib.get_logger(__name__)


class Stop(StrEnum):
    """Why a job is stopped before its end."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    REQUEUE = "requeue"
    TAKEN_OVER = "taken over"


class Job:
    """A job while a worker has it. `stop` comes from the worker's loop; the kernel notices within milliseconds."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.control = bt.Control()
        self.message = ""
        self.reason: Stop | None = None
        self._stopped = asyncio.Event()

    def stop(self, reason: Stop) -> None:
        if self.reason is None:
            self.reason = reason
            self.control.cancel()
            self._stopped.set()

    @property
    def progress(self) -> float:
        return self.control.progress

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """The answer of `work`, which is cancelled when the job is stopped; for work that waits rather than reckons.

        Raises:
            Cancelled: the job was stopped.
        """
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise bt.Cancelled(f"the job was stopped: {self.reason}")
            return working.result()
        finally:
            for waiting in (working, stopped):
                waiting.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)


class Executor:
    """What the jobs of one worker process share."""

    def __init__(self, settings: Settings, database: Database, queue: Queue, worker: str) -> None:
        self.settings = settings
        self.database = database
        self.queue = queue
        self.worker = worker
        self.artifacts = storage.open_artifacts(settings)
        self.results = Results(database, queue, self.artifacts, settings)
        self.bars = open_bars_cache(settings, self.artifacts, settings.bars_cache_mb * 1_000_000)
        self.exchanges = Exchanges(settings.exchange_proxy_url)
        self.threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="kernel")
        self.jobs: dict[str, Job] = {}


class AttemptLimits(NamedTuple):
    """How long an attempt may take, how many may fail, and the longest first wait between them."""

    timeout_s: float
    max_failures: int
    retry_s: float


class JobKind(NamedTuple):
    """A kind of job, as `tasks.KINDS` lists them.

    `work(executor, started, job)` does it. It ends the run in the transaction that keeps what it found, by `store.finish(session, started,
    RunState.SUCCEEDED, ...)`; if that says False, another worker has the run, and the transaction must change nothing else. It looks at
    `job.control.cancelled`, hands `job.control` to the kernel or waits by `job.unless_stopped`, so that it can be cancelled, and tells how
    far it is by `job.control.check(fraction)` and `job.message`. It may be run twice: what it leaves outside the database must bear that.

    To fail, it raises: `WorkersError` and `BarstormError` end the run as failed with their message; what another attempt may mend (`OSError`,
    `MemoryError`, a lost database or Redis, or what `passing` says) is tried again after a random wait of at most `retry_s`, doubled each
    time, and ends dead after `max_failures` attempts. What is None is as the settings say.
    """

    name: str
    work: Callable[[Executor, StartedRun, Job], Awaitable[None]]
    timeout_s: float | None = None
    max_failures: int | None = None
    retry_s: float | None = None
    passing: Callable[[Exception], bool] = lambda error: False

    def limits(self, settings: Settings) -> AttemptLimits:
        return AttemptLimits(
            settings.job_timeout_s if self.timeout_s is None else self.timeout_s,
            settings.max_failures if self.max_failures is None else self.max_failures,
            settings.retry_s if self.retry_s is None else self.retry_s,
        )


async def attempt(kind: JobKind, ctx: dict[str, Any], run_id: str, number: int) -> bool:
    """Start an attempt and see it to an end, whatever happens; only an unreachable database leaves it open, to be tried again.

    False if the run failed.
    """
    executor: Executor = ctx["executor"]
    limits = kind.limits(executor.settings)
    identifier = job_id(run_id, number)
    job = executor.jobs[identifier] = Job(run_id)
    timeout = asyncio.get_running_loop().call_later(limits.timeout_s, job.stop, Stop.TIMEOUT)
    try:
        async with executor.database.write() as session:
            started = await store.start(session, run_id, number, worker=executor.worker)
        if started is None:
            _log.info("job is out of date", run=run_id, job=number)
            return True
        await events.tell(executor.queue, run_id, RunState.RUNNING)
        try:
            _check(started, limits)
            await kind.work(executor, started, job)
        except Exception as error:
            return await _end(executor, kind, started, job, error)
        await events.tell(executor.queue, run_id, RunState.SUCCEEDED, ends=True)
        return True
    except Exception as error:
        if not is_unreachable(error):
            raise
        _log.warning("database does not answer", run=run_id, reason=str(error))
        raise Retry(defer=random.uniform(1, 3)) from error
    finally:
        timeout.cancel()
        del executor.jobs[identifier]


def contained(work: Callable[[], T]) -> T:
    """For work in a thread: a panic of the compiled kernel is no `Exception`; it must not end the thread's owner."""
    try:
        return work()
    except Exception:
        raise
    except BaseException as panic:
        raise RuntimeError(f"{type(panic).__name__}: {panic}") from panic


class _WorkersLost(Exception):
    """Workers died of this run too often."""


def _check(started: StartedRun, limits: AttemptLimits) -> None:
    if started.row.cancel_requested:
        raise bt.Cancelled("cancelled before it started")
    if started.row.failures >= limits.max_failures:
        raise _WorkersLost


async def _end(executor: Executor, kind: JobKind, started: StartedRun, job: Job, error: Exception) -> bool:
    """End an attempt that did not succeed: the run is cancelled, failed, dead, or queued again. False unless somebody wished it so."""
    row, limits = started.row, kind.limits(executor.settings)
    passing = _passing(error) or kind.passing(error)
    reason = Stop.CANCELLED if isinstance(error, bt.Cancelled) and job.reason is None else job.reason
    if isinstance(error, bt.Cancelled) and reason == Stop.TAKEN_OVER:
        _log.warning("run left to the worker that took it over", run=row.id, attempt=started.attempt)
        return True
    async with executor.database.write() as session:
        if isinstance(error, bt.Cancelled) and reason == Stop.REQUEUE:
            state, outcome = RunState.QUEUED, "requeued"
            await store.requeue(session, started, state)
        elif isinstance(error, bt.Cancelled) and reason == Stop.CANCELLED:
            state, outcome = RunState.CANCELLED, "cancelled"
            await store.finish(session, started, state)
        elif passing and row.failures + 1 < limits.max_failures:
            longest_s = min(limits.retry_s * 2**row.failures, LONGEST_WAIT_S)
            delay_ms = int(random.uniform(0, longest_s) * 1000)
            state, outcome = RunState.RETRYING, "will be tried again"
            await store.requeue(session, started, state, delay_ms=delay_ms, error=_told(error, reason, limits))
        else:
            state = RunState.DEAD if passing or isinstance(error, _WorkersLost) else RunState.FAILED
            outcome = str(state)
            await store.finish(session, started, state, error=_told(error, reason, limits))
    await events.tell(executor.queue, row.id, state, ends=state in DONE)
    with suppress(RedisError, OSError):
        await outbox.send(executor.database, executor.queue)  # else the relay will
    told = isinstance(error, bt.BarstormError | WorkersError | _WorkersLost)
    level = logging.INFO if told else logging.WARNING if passing else logging.ERROR
    _log.log(
        level, f"run {outcome}", run=row.id, attempt=started.attempt, reason=str(error), exc_info=error if level == logging.ERROR else None
    )
    return state in (RunState.QUEUED, RunState.CANCELLED)


def _passing(error: Exception) -> bool:
    """Whether another attempt may fare better: the machine failed, not the request."""
    return isinstance(error, OSError | MemoryError | RedisError) or is_unreachable(error)


def _told(error: Exception, reason: Stop | None, limits: AttemptLimits) -> RunError:
    """The reason as a client is told; of faults that are not the client's only the kind, the rest is in the log."""
    if isinstance(error, bt.Cancelled) and reason == Stop.TIMEOUT:
        return RunError(code="timeout", message=f"it ran longer than {limits.timeout_s:g} s", hint="use fewer bars, or raise the limit")
    if isinstance(error, bt.BarstormError | WorkersError):
        return RunError(code=error.code, message=error.message, where=error.where, hint=error.hint)
    if isinstance(error, _WorkersLost):
        return RunError(code="worker_lost", message=f"{limits.max_failures} workers died or fell silent while they had it")
    if _passing(error):
        return RunError(code="machine", message=f"the worker's machine failed: {type(error).__name__}", hint="see the worker's log")
    return RunError(code="internal", message=f"the worker failed with {type(error).__name__}", hint="see the worker's log")
