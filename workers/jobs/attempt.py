"""An attempt at a job of any kind, from its start in the database to its end there."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import msgspec
import structlog

import python_core as bt
from workers.data.bars_cache import open_bars_cache
from workers.db.batches import Batches
from workers.db.database import Database
from workers.errors import WorkersError
from workers.fetch.exchange import Exchanges
from workers.jobs.job import Job, Stop
from workers.jobs.outage import Outage
from workers.jobs.threads import KernelThreads
from workers.model.runs import RunError
from workers.model.states import WAITING, RunState
from workers.outages import is_unreachable
from workers.queue import events
from workers.queue.queue import Queue, RedisError, Retry, job_id
from workers.runs import attempts, outbox, store
from workers.runs.attempts import End, JobToStart, StartedRun
from workers.runs.lookups import Lookups
from workers.runs.results import Results
from workers.settings import Settings
from workers.storage import open as storage

# How long after its start a run is announced as running. Short runs end before that, and are announced once.
STARTED_S: Final = 0.02
MAX_RETRY_WAIT_S: Final = 300.0
_log = structlog.stdlib.get_logger(__name__)


class Executor:
    """Resources that the jobs of one worker process share. Attempts that start or end together are one transaction."""

    def __init__(self, settings: Settings, database: Database, queue: Queue, worker: str) -> None:
        self.settings = settings
        self.database = database
        self.queue = queue
        self.worker = worker
        self.artifacts = storage.open_artifacts(settings)
        self.bars = open_bars_cache(settings, self.artifacts, settings.bars_cache_mb * 1_000_000)
        self.lookups = Lookups(database)
        self.results = Results(database, self.artifacts, self.bars, self.lookups)
        self.exchanges = Exchanges(settings.exchange_proxy_url)
        self.jobs: dict[str, Job] = {}
        self.outage = Outage()
        self.start = Batches[JobToStart, StartedRun | None](database, lambda *work: attempts.start(*work, worker=worker))
        self.end = Batches[End, bool](database, attempts.end)
        self._announcing: dict[float, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(settings.concurrency)
        self.threads = KernelThreads(settings.concurrency, self._slots)

    def announce(self, run_id: str, state: RunState) -> None:
        """Announce the new state of a run, together with those of the same moment. Few want to know at once that a run has started."""
        self.queue.unpublished[run_id] = state
        delay_s = STARTED_S if state == RunState.RUNNING else 0.0
        if delay_s not in self._announcing:
            self._announcing[delay_s] = asyncio.create_task(self._announce(delay_s))

    async def _announce(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        del self._announcing[delay_s]
        await events.publish_states(self.queue, {})

    @asynccontextmanager
    async def slot(self, job: Job) -> AsyncIterator[None]:
        """One of the `concurrency` places for work; a worker holds more jobs than that if they are short.

        Raises:
            Cancelled: the job was stopped while it waited.
        """
        job.waits_since = time.monotonic()
        if self._slots.locked():
            await job.unless_stopped(self._slots.acquire())
        else:
            await self._slots.acquire()
        job.waits_since = None
        try:
            yield
        finally:
            self._slots.release()


class AttemptLimits(NamedTuple):
    """How long an attempt may take, how many may fail, and the longest wait before the first retry."""

    timeout_s: float
    max_failures: int
    retry_s: float


class JobKind(NamedTuple):
    """A kind of job; `registry.KINDS` lists all of them.

    `work(executor, started, job)` does the job:

    - It does its work in `executor.slot(job)`, and then ends the run with `executor.end(End(started=started, state=RunState.SUCCEEDED, ...))`,
      which stores a result with it. If that returns False, another worker has taken over the run.
    - It can be cancelled: it checks `job.control.cancelled`, passes `job.control` to the kernel, or waits with `job.unless_stopped`.
    - It reports progress with `job.control.check(fraction)` and `job.message`.
    - It may be executed twice, so its effects outside the database must be idempotent.

    It fails by raising. `WorkersError` and `BarstormError` end the run as failed, with their message. A transient error (`MemoryError`,
    `KernelDied`, or where `is_transient` is true) is retried after a random wait of at most `retry_s`, doubled each time; after `max_failures`
    attempts the run is dead. An outage (`OSError`, a lost database or Redis) does not count, unless others succeed meanwhile. Limits that are
    None are taken from the settings.
    """

    name: str
    work: Callable[[Executor, StartedRun, Job], Awaitable[None]]
    timeout_s: float | None = None
    max_failures: int | None = None
    retry_s: float | None = None
    is_transient: Callable[[Exception], bool] = lambda error: False

    def limits(self, settings: Settings) -> AttemptLimits:
        return AttemptLimits(
            settings.job_timeout_s if self.timeout_s is None else self.timeout_s,
            settings.max_failures if self.max_failures is None else self.max_failures,
            settings.retry_s if self.retry_s is None else self.retry_s,
        )


async def attempt(kind: JobKind, ctx: dict[str, Any], run_id: str, number: int) -> bool:
    """Make an attempt and record its end; False if the run failed.

    Raises:
        Retry: the database can't be reached, so the attempt stays open. The queue delivers the job again.
    """
    executor: Executor = ctx["executor"]
    limits = kind.limits(executor.settings)
    identifier = job_id(run_id, number)
    job = executor.jobs[identifier] = Job(run_id)
    timeout = asyncio.get_running_loop().call_later(limits.timeout_s, job.stop, Stop.TIMEOUT)
    try:
        started = await executor.start(JobToStart(run_id, number, is_lost=ctx["job_try"] > 1))
        if started is None:
            _log.info("job skipped: it is out of date", run=run_id, job=number)
            await _publish_current_state(executor, run_id)
            return True
        executor.announce(run_id, RunState.RUNNING)
        # From here on the attempt is on record, so every exception must end it there, too.
        try:
            _check_startable(started, limits)
            await kind.work(executor, started, job)
        except Exception as error:
            return await _end_attempt(executor, kind, started, job, error)
        executor.outage.end()
        executor.announce(run_id, RunState.SUCCEEDED)
        return True
    except Exception as error:
        if not is_unreachable(error):
            raise
        executor.outage.begin()
        _log.warning("database not reachable; job returned to the queue", run=run_id, reason=str(error))
        raise Retry(defer=random.uniform(1, 3)) from error
    finally:
        timeout.cancel()
        del executor.jobs[identifier]


class KernelDied(Exception):
    """The process of a run has died, for example because the system has too little memory."""


class _WorkersLost(Exception):
    """Too many workers died while they had this run."""


def _check_startable(started: StartedRun, limits: AttemptLimits) -> None:
    if started.row.cancel_requested:
        raise bt.Cancelled("cancelled before it started")
    if started.row.failures >= limits.max_failures:
        raise _WorkersLost(f"the last worker died or stopped responding; failed attempts: {started.row.failures}")


async def _end_attempt(executor: Executor, kind: JobKind, started: StartedRun, job: Job, error: Exception) -> bool:
    """Record the end of an attempt that did not succeed. False if the run failed, rather than being cancelled or requeued."""
    row, limits = started.row, kind.limits(executor.settings)
    is_outage = is_unreachable(error)
    transient = _is_transient(error) or kind.is_transient(error)
    failed = not is_outage or executor.outage.blames(started.attempt - 1)
    if is_outage:
        executor.outage.begin()
    reason = Stop.CANCELLED if isinstance(error, bt.Cancelled) and job.reason is None else job.reason
    # The takeover has already ended this attempt in the database, as lost.
    if isinstance(error, bt.Cancelled) and reason == Stop.TAKEN_OVER:
        _log.warning("attempt ended: another worker has taken over the run", run=row.id, attempt=started.attempt)
        return True
    end = End(started=started, state=RunState.CANCELLED)
    if isinstance(error, bt.Cancelled) and reason == Stop.REQUEUE:
        end, outcome = msgspec.structs.replace(end, state=RunState.QUEUED), "requeued"
    elif isinstance(error, bt.Cancelled) and reason == Stop.CANCELLED:
        outcome = "cancelled"
    elif transient and (not failed or row.failures + 1 < limits.max_failures):
        # The whole wait is random, so that runs that failed together are not retried together.
        max_wait_s = min(limits.retry_s * 2 ** (row.failures if failed else 0), MAX_RETRY_WAIT_S)
        delay_ms = int(random.uniform(0, max_wait_s) * 1000)
        run_error = _run_error(error, reason, limits)
        end = End(started=started, state=RunState.RETRYING, error=run_error, delay_ms=delay_ms, failed=failed)
        outcome = "failed; it will be retried" if failed else "met an outage; it will be retried"
    else:
        state = RunState.DEAD if transient or isinstance(error, _WorkersLost) else RunState.FAILED
        end, outcome = End(started=started, state=state, error=_run_error(error, reason, limits)), str(state)
    await executor.end(end)
    state = end.state
    executor.announce(row.id, state)
    if state in WAITING:
        with suppress(RedisError, OSError):
            await outbox.send(executor.database, executor.queue)  # at once; if it fails, the relay sends later
    expected = isinstance(error, bt.BarstormError | WorkersError | _WorkersLost)
    level = logging.INFO if expected else logging.WARNING if transient else logging.ERROR
    _log.log(
        level, f"run {outcome}", run=row.id, attempt=started.attempt, reason=str(error), exc_info=error if level == logging.ERROR else None
    )
    return state in (RunState.QUEUED, RunState.CANCELLED)


async def _publish_current_state(executor: Executor, run_id: str) -> None:
    """Announce a state that may not have been announced: the process that changed it may have died in between."""
    row = await executor.database.query(lambda connection: store.read_run(connection, run_id))
    if row is not None:
        executor.announce(run_id, RunState(row.state))


def _is_transient(error: Exception) -> bool:
    """Whether another attempt may succeed: the machine failed, not the request."""
    return isinstance(error, MemoryError | KernelDied) or is_unreachable(error)


def _run_error(error: Exception, reason: Stop | None, limits: AttemptLimits) -> RunError:
    """The error as clients see it. For an internal error they see only the type; the log has the details."""
    if isinstance(error, bt.Cancelled) and reason == Stop.TIMEOUT:
        return RunError(
            code="timeout", message=f"the run took longer than {limits.timeout_s:g} s", hint="use fewer bars, or raise the limit"
        )
    if isinstance(error, bt.BarstormError | WorkersError):
        return RunError.from_exception(error)
    if isinstance(error, _WorkersLost):
        return RunError(code="worker_lost", message=str(error))
    if _is_transient(error):
        return RunError(code="machine", message=f"the worker's machine failed: {type(error).__name__}", hint="see the worker's log")
    return RunError(code="internal", message=f"the worker failed with {type(error).__name__}", hint="see the worker's log")
