"""The SQL statements about runs, as functions of a session.

A worker's write names the attempt that the worker started. If another attempt has started since, the write changes nothing and returns False.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import RESULTS, AttemptRow, OutboxRow, RunRow
from workers.db.upsert import insert
from workers.model.clock import now_ms
from workers.model.runs import Attempt, Run, RunError, StageDurations, decode_request, encode
from workers.model.states import OPEN, WAITING, AttemptOutcome, Priority, RunState, predecessors
from workers.runs import coalesce


class StartedRun(NamedTuple):
    """A run and the number of the attempt that was started, which fences the attempt's writes."""

    row: RunRow
    attempt: int


async def insert_run(session: AsyncSession, row: RunRow) -> None:
    """Store a new run and, unless it has a result or follows an equal run, its job."""
    session.add(row)
    await session.flush()
    if row.state == RunState.QUEUED and row.leader_id is None:
        session.add(OutboxRow(run_id=row.id, kind=row.kind, job=row.job, due_at=row.due_at))


async def get_run(session: AsyncSession, run_id: str) -> RunRow | None:
    return await session.get(RunRow, run_id)


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
            error=to_error(row.error),
        )
        for row in rows
    )


async def count_by_state(session: AsyncSession) -> dict[RunState, int]:
    """The number of runs in each state."""
    counts = dict((await session.execute(sa.select(RunRow.state, sa.func.count()).group_by(RunRow.state))).all())
    return {state: counts.get(state, 0) for state in RunState}


async def start(session: AsyncSession, run_id: str, job: int, *, worker: str) -> StartedRun | None:
    """Start an attempt; None if the job is out of date: the run is finished, cancelled, or has a newer job."""
    now = now_ms()
    row = await session.scalar(
        sa.update(RunRow)
        .where(RunRow.id == run_id, RunRow.job == job, RunRow.state.in_(predecessors(RunState.RUNNING)))
        .values(
            # Takeover: the queue has given the job of a running run to another worker, so the lease of the first one has expired.
            failures=sa.case((RunRow.state == RunState.RUNNING, RunRow.failures + 1), else_=RunRow.failures),
            state=RunState.RUNNING,
            attempt=RunRow.attempt + 1,
            worker=worker,
            started_at=now,
            updated_at=now,
        )
        .returning(RunRow)
    )
    if row is None:
        return None
    # The attempt of the worker that lost its lease has no end yet.
    await session.execute(
        sa.update(AttemptRow)
        .where(AttemptRow.run_id == run_id, AttemptRow.finished_at.is_(None))
        .values(finished_at=now, outcome=AttemptOutcome.LOST)
    )
    session.add(AttemptRow(run_id=run_id, attempt=row.attempt, worker=worker, started_at=now))
    await coalesce.move_followers(session, row)
    return StartedRun(row, row.attempt)


async def finish(
    session: AsyncSession,
    started: StartedRun,
    state: RunState,
    *,
    error: RunError | None = None,
    stages: StageDurations | None = None,
    engine: str | None = None,
    fingerprint: str | None = None,
    cached: bool = False,
    output: str | None = None,
) -> bool:
    """Finish the run; False if another attempt has started since."""
    now = now_ms()
    values = {
        "state": state,
        "error": None if error is None else encode(error),
        "stages": None if stages is None else encode(stages),
        "engine": engine,
        "fingerprint": fingerprint or started.row.fingerprint,
        "cached": cached,
        "finished_at": now,
    }
    if output is not None:
        values["output"] = output
    return await _end_attempt(session, started, values, now=now, outcome=AttemptOutcome(state), error=error)


async def record_progress(session: AsyncSession, started: StartedRun, *, output: str) -> bool:
    """Store what the attempt has done so far; False if another attempt has started since."""
    is_current = (RunRow.id == started.row.id, RunRow.attempt == started.attempt, RunRow.state == RunState.RUNNING)
    return await session.scalar(sa.update(RunRow).where(*is_current).values(output=output).returning(RunRow.id)) is not None


async def requeue(session: AsyncSession, started: StartedRun, state: RunState, *, delay_ms: int = 0, error: RunError | None = None) -> bool:
    """Queue the run again: in state retrying after an error, queued if its worker stops. False if another attempt has started since."""
    now = now_ms()
    failed = state == RunState.RETRYING
    values = {
        "state": state,
        "error": None if error is None else encode(error),
        "job": started.attempt + 1,
        "failures": RunRow.failures + int(failed),
        "due_at": now + delay_ms,
    }
    outcome = AttemptOutcome.FAILED if failed else AttemptOutcome.REQUEUED
    if not await _end_attempt(session, started, values, now=now, outcome=outcome, error=error):
        return False
    session.add(OutboxRow(run_id=started.row.id, kind=started.row.kind, job=started.attempt + 1, due_at=now + delay_ms))
    return True


async def _end_attempt(
    session: AsyncSession, started: StartedRun, values: Mapping[str, Any], *, now: int, outcome: AttemptOutcome, error: RunError | None
) -> bool:
    run_id, attempt = started.row.id, started.attempt
    # The number of the attempt is the fence: a worker whose lease has expired may still be running, and must not overwrite its successor.
    changed = await session.scalar(
        sa.update(RunRow)
        .where(RunRow.id == run_id, RunRow.attempt == attempt, RunRow.state.in_(predecessors(RunState(values["state"]))))
        .where(RunRow.state == RunState.RUNNING)
        .values(**values, updated_at=now)
        .returning(RunRow)
        .execution_options(populate_existing=True)
    )
    if changed is None:
        return False
    await coalesce.move_followers(session, changed)
    await session.execute(
        sa.update(AttemptRow)
        .where(AttemptRow.run_id == run_id, AttemptRow.attempt == attempt)
        .values(finished_at=now, outcome=outcome, error=None if error is None else encode(error))
    )
    return True


async def cancel(session: AsyncSession, run_id: str) -> RunRow | None:
    """Cancel a waiting run or a follower at once, or request the cancellation of a running one; None if the run is finished."""
    now = now_ms()
    cancelled: RunRow | None = await session.scalar(
        sa.update(RunRow)
        .where(RunRow.id == run_id, RunRow.state.in_(WAITING) | ((RunRow.state == RunState.RUNNING) & RunRow.leader_id.is_not(None)))
        .values(state=RunState.CANCELLED, cancel_requested=True, finished_at=now, updated_at=now)
        .returning(RunRow)
    )
    if cancelled is not None:
        # A job already sent is harmless: `start` finds the run cancelled.
        await session.execute(sa.delete(OutboxRow).where(OutboxRow.run_id == run_id))
        await coalesce.move_followers(session, cancelled)
        return cancelled
    running: RunRow | None = await session.scalar(
        sa.update(RunRow).where(RunRow.id == run_id, RunRow.state == RunState.RUNNING).values(cancel_requested=True).returning(RunRow)
    )
    return running


class OpenRun(NamedTuple):
    """An unfinished run, whose job should be in the queue."""

    id: str
    kind: str
    state: str
    job: int
    due_at: int
    updated_at: int
    cancel_requested: bool
    owner: str
    priority: str


async def open_runs(session: AsyncSession, *, unchanged_since: int, after_id: str, limit: int) -> list[OpenRun]:
    """Unfinished runs that are not in the outbox, not followers, and have not changed since a time; by id."""
    query = (
        sa.select(*(getattr(RunRow, name) for name in OpenRun._fields))
        .where(RunRow.state.in_(OPEN), RunRow.updated_at < unchanged_since, RunRow.id > after_id, RunRow.leader_id.is_(None))
        .where(~sa.exists().where(OutboxRow.run_id == RunRow.id))
        .order_by(RunRow.id)
        .limit(limit)
    )
    return [OpenRun(*row) for row in (await session.execute(query)).all()]


async def get_result(session: AsyncSession, fingerprint: str) -> sa.RowMapping | None:
    return (await session.execute(sa.select(RESULTS).where(RESULTS.c.fingerprint == fingerprint))).mappings().one_or_none()


async def files_of_results(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these files belong to a result."""
    columns = (RESULTS.c.trades_hash, RESULTS.c.equity_hash)
    return {name for column in columns for name in await session.scalars(sa.select(column).where(column.in_(names)))}


async def save_result(session: AsyncSession, values: Mapping[str, Any]) -> str:
    """Store a result and return the stored digest. If it was stored before with an equal digest, only the names of its files are replaced."""
    # Equal digests may come with other file names: another version of the Parquet writer gives other bytes.
    new = insert(session, RESULTS).values(**values)
    files = {name: new.excluded[name] for name in ("trades_hash", "equity_hash")}
    same = RESULTS.c.digest == new.excluded.digest
    digest = await session.scalar(
        new.on_conflict_do_update(index_elements=[RESULTS.c.fingerprint], set_=files, where=same).returning(RESULTS.c.digest)
    )
    if digest is None:
        digest = await session.scalar(sa.select(RESULTS.c.digest).where(RESULTS.c.fingerprint == values["fingerprint"]))
    return str(digest)


def to_error(raw: str | None) -> RunError | None:
    return None if raw is None else msgspec.json.decode(raw, type=RunError)


def to_run(row: RunRow) -> Run:
    """A run without its result."""
    return Run(
        id=row.id,
        state=RunState(row.state),
        request=decode_request(row.request),
        dataset_id=row.dataset_id or "",
        dataset_version=row.dataset_version,
        strategy_id=row.strategy_id,
        strategy_version=row.strategy_version,
        fingerprint=row.fingerprint,
        owner=row.owner,
        priority=Priority(row.priority),
        leader_id=row.leader_id,
        attempt=row.attempt,
        cached=row.cached,
        cancel_requested=row.cancel_requested,
        worker=row.worker,
        created_at=row.created_at,
        due_at=row.due_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stages=None if row.stages is None else msgspec.json.decode(row.stages, type=StageDurations),
        error=to_error(row.error),
    )
