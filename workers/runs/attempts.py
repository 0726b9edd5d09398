"""Attempts at runs, as their workers record them: start and end, for many runs at once.

A worker's write names the attempt that the worker started. If another attempt has started since, the write changes nothing and returns False.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.in_list import in_list
from workers.db.tables import RESULTS, AttemptRow, RunRow
from workers.errors import WorkersError
from workers.model.clock import now_ms
from workers.model.runs import Attempt, RunError, StageDurations, encode
from workers.model.states import WAITING, AttemptOutcome, RunState, predecessors
from workers.runs import coalesce, store
from workers.runs.store import KnownResult


class JobToStart(NamedTuple):
    """A job of the queue; `is_lost` if the worker that had it before died or stopped responding."""

    run_id: str
    number: int
    is_lost: bool = False


class StartedRun(NamedTuple):
    """A run, the number of the attempt that was started, which fences the attempt's writes, and the result if an equal run has one."""

    row: Any
    attempt: int
    known: KnownResult | None = None


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt, in a state of its run: done, or waiting again, `retrying` after an error or `queued` if its worker stops.

    Attributes:
        result: the row for the table of results, stored with the end.
        output: what a kind of job without such a table found.
        delay_ms: how long a waiting run has to wait.
        failed: whether a run that is retried has used up one of its failures.
    """

    started: StartedRun
    state: RunState
    error: RunError | None = None
    stages: StageDurations | None = None
    engine: str | None = None
    cached: bool = False
    result: Mapping[str, Any] | None = None
    output: str | None = None
    delay_ms: int = 0
    failed: bool = True


class _Ended(NamedTuple):
    id: str
    state: RunState
    has_followers: bool


_START: Final = (
    sa.update(RunRow)
    .where(
        in_list(RunRow.id, "ids"),
        in_list(RunRow.id + ":" + sa.cast(RunRow.job, sa.Text), "jobs"),
        RunRow.state.in_(predecessors(RunState.RUNNING)),
    )
    .values(
        failures=sa.case(
            (sa.and_(RunRow.state == RunState.RUNNING, in_list(RunRow.id, "lost")), RunRow.failures + 1), else_=RunRow.failures
        ),
        state=RunState.RUNNING,
        attempt=RunRow.attempt + 1,
        worker=sa.bindparam("by"),
        started_at=sa.bindparam("now"),
        updated_at=sa.bindparam("now"),
    )
    .returning(*RunRow.__table__.columns, sa.exists().where(RESULTS.c.fingerprint == RunRow.fingerprint).label("has_result"))
)
_LOSE_ATTEMPTS: Final = (
    sa.update(AttemptRow)
    .where(in_list(AttemptRow.run_id, "ids"), AttemptRow.finished_at.is_(None))
    .values(finished_at=sa.bindparam("now"), outcome=AttemptOutcome.LOST)
)
_INSERT_ATTEMPT: Final = sa.insert(AttemptRow)
_LOCK_CURRENT: Final = (
    sa.select(RunRow.id, RunRow.attempt, RunRow.has_followers)
    .where(
        in_list(RunRow.id, "ids"),
        in_list(RunRow.id + ":" + sa.cast(RunRow.attempt, sa.Text), "attempts"),
        RunRow.state == RunState.RUNNING,
    )
    .order_by(RunRow.id)
    .with_for_update()
)
_END_RUN: Final = (
    sa.update(RunRow)
    .where(RunRow.id == sa.bindparam("run"))
    .values(
        state=sa.bindparam("new_state"),
        error=sa.bindparam("new_error"),
        stages=sa.bindparam("new_stages"),
        engine=sa.bindparam("new_engine"),
        fingerprint=sa.bindparam("new_fingerprint"),
        cached=sa.bindparam("is_cached"),
        output=sa.func.coalesce(sa.bindparam("new_output", type_=sa.Text()), RunRow.output),
        finished_at=sa.bindparam("ended_at"),
        updated_at=sa.bindparam("now"),
        job=sa.bindparam("new_job"),
        failures=RunRow.failures + sa.bindparam("failed"),
        due_at=sa.bindparam("new_due_at"),
    )
)
_END_ATTEMPT: Final = (
    sa.update(AttemptRow)
    .where(AttemptRow.run_id == sa.bindparam("run"), AttemptRow.attempt == sa.bindparam("number"))
    .values(finished_at=sa.bindparam("now"), outcome=sa.bindparam("new_outcome"), error=sa.bindparam("new_error"))
)
_WAITING_OUTCOMES: Final = {RunState.RETRYING: AttemptOutcome.FAILED, RunState.QUEUED: AttemptOutcome.REQUEUED}


def start(connection: sa.Connection, jobs: Sequence[JobToStart], *, worker: str) -> list[StartedRun | None]:
    """Start an attempt for each job; None if the job is out of date: the run is finished, cancelled, or has a newer job."""
    now = now_ms()
    given = {
        "ids": [job.run_id for job in jobs],
        "jobs": [f"{job.run_id}:{job.number}" for job in jobs],
        "lost": [job.run_id for job in jobs if job.is_lost],
        "by": worker,
        "now": now,
    }
    rows = {row.id: row for row in connection.execute(_START, given)}
    if taken_over := [row.id for row in rows.values() if row.attempt > 1]:
        # The attempt of the worker that lost its lease has no end yet.
        connection.execute(_LOSE_ATTEMPTS, {"ids": taken_over, "now": now})
    if rows:
        attempts = [{"run_id": row.id, "attempt": row.attempt, "worker": worker, "started_at": now} for row in rows.values()]
        connection.execute(_INSERT_ATTEMPT, attempts)
    fingerprints = [row.fingerprint for row in rows.values() if row.has_result]
    results = store.find_known(connection, fingerprints) if fingerprints else {}
    for row in rows.values():
        coalesce.move_followers(connection, row)
    # Two jobs of one run may be in the list, as the queue may deliver one that is out of date.
    found = (rows.get(job.run_id) for job in jobs)
    return [
        None if row is None or row.job != job.number else StartedRun(row, row.attempt, results.get(row.fingerprint))
        for job, row in zip(jobs, found, strict=True)
    ]


def end(connection: sa.Connection, ends: Sequence[End]) -> list[bool | Exception]:
    """End attempts, each with the result that it found; False for those whose run another attempt has started since.

    The outcome is an error if the result differs from the stored one of an equal run. That attempt has then not ended.
    """
    now = now_ms()
    # The number of the attempt is the fence: a worker whose lease has expired may still be running, and must not overwrite its successor.
    given = {"ids": [each.started.row.id for each in ends], "attempts": [f"{each.started.row.id}:{each.started.attempt}" for each in ends]}
    current = {(row.id, row.attempt): row for row in connection.execute(_LOCK_CURRENT, given)}
    outcomes: list[bool | Exception] = [(each.started.row.id, each.started.attempt) in current for each in ends]
    results = [each.result for each, is_current in zip(ends, outcomes, strict=True) if is_current and each.result is not None]
    digests = store.save_results(connection, results)
    runs, attempts, jobs = [], [], []
    for i, each in enumerate(ends):
        row, attempt = each.started.row, each.started.attempt
        if not outcomes[i]:
            continue
        if each.result is not None and digests[each.result["fingerprint"]] != each.result["digest"]:
            outcomes[i] = _different_result()
            continue
        waits = each.state in WAITING
        job, due_at = (attempt + 1, now + each.delay_ms) if waits else (row.job, row.due_at)
        error = None if each.error is None else encode(each.error)
        runs.append(
            {
                "run": row.id,
                "new_state": each.state,
                "new_error": error,
                "new_stages": None if each.stages is None else encode(each.stages),
                "new_engine": each.engine,
                "new_fingerprint": row.fingerprint if each.result is None else each.result["fingerprint"],
                "is_cached": each.cached,
                "new_output": each.output,
                "ended_at": None if waits else now,
                "now": now,
                "new_job": job,
                "failed": int(each.state == RunState.RETRYING and each.failed),
                "new_due_at": due_at,
            }
        )
        outcome = _WAITING_OUTCOMES.get(each.state) or AttemptOutcome(each.state)
        attempts.append({"run": row.id, "number": attempt, "now": now, "new_outcome": outcome, "new_error": error})
        if waits:
            jobs.append({"run_id": row.id, "kind": row.kind, "job": job, "due_at": due_at})
    if runs:
        connection.execute(_END_RUN, runs)
        connection.execute(_END_ATTEMPT, attempts)
    store.insert_jobs(connection, jobs)
    for each, has_ended in zip(ends, outcomes, strict=True):
        if has_ended is True and current[each.started.row.id, each.started.attempt].has_followers:
            coalesce.move_followers(connection, _Ended(each.started.row.id, each.state, True))
    return outcomes


async def record_progress(session: AsyncSession, started: StartedRun, *, output: str) -> bool:
    """Store what the attempt has done so far; False if another attempt has started since."""
    is_current = (RunRow.id == started.row.id, RunRow.attempt == started.attempt, RunRow.state == RunState.RUNNING)
    return await session.scalar(sa.update(RunRow).where(*is_current).values(output=output).returning(RunRow.id)) is not None


async def list_attempts(session: AsyncSession, run_id: str) -> tuple[Attempt, ...]:
    """The attempts of a run, in order."""
    rows = await session.scalars(sa.select(AttemptRow).where(AttemptRow.run_id == run_id).order_by(AttemptRow.attempt))
    return tuple(
        Attempt(
            attempt=row.attempt,
            worker=row.worker,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=None if row.outcome is None else AttemptOutcome(row.outcome),
            error=store.to_error(row.error),
        )
        for row in rows
    )


def _different_result() -> WorkersError:
    return WorkersError(
        "an equal run had a different result",
        where="digest",
        hint="this is a bug in Barstorm; please report it with the digests of both engines",
        code="not_reproducible",
    )
