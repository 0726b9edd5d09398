"""Every SQL statement about runs, as functions over a session.

A worker's writes name the attempt that it started; when another attempt has begun since, they change nothing and say so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.tables import RESULTS, AttemptRow, OutboxRow, RunRow
from workers.model.clock import now_ms
from workers.model.runs import Attempt, Run, RunError, Stages, decode_request, encode
from workers.model.states import OPEN, WAITING, Priority, RunState, predecessors
from workers.runs import coalesce


class StartedRun(NamedTuple):
    """An attempt that has begun: its number fences what it writes."""

    row: RunRow
    attempt: int


async def insert_run(session: AsyncSession, row: RunRow) -> None:
    """Keep a new run and, unless it is answered already or follows an equal one, the job that will run it."""
    session.add(row)
    await session.flush()
    if row.state == RunState.QUEUED and row.leader_id is None:
        session.add(OutboxRow(run_id=row.id, kind=row.kind, job=row.job, due_at=row.due_at))


async def run(session: AsyncSession, run_id: str) -> RunRow | None:
    return await session.get(RunRow, run_id)


async def runs(session: AsyncSession, *, state: RunState | None, limit: int, before_id: str | None) -> Sequence[RunRow]:
    """Backtests, newest first."""
    query = sa.select(RunRow).where(RunRow.kind == "backtest").order_by(RunRow.id.desc()).limit(limit)
    if state is not None:
        query = query.where(RunRow.state == state)
    if before_id is not None:
        query = query.where(RunRow.id < before_id)
    return (await session.scalars(query)).all()


async def attempts(session: AsyncSession, run_id: str) -> tuple[Attempt, ...]:
    """Every start of a run, in order."""
    rows = await session.scalars(sa.select(AttemptRow).where(AttemptRow.run_id == run_id).order_by(AttemptRow.attempt))
    return tuple(
        Attempt(
            attempt=row.attempt,
            worker=row.worker,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
            error=None if row.error is None else msgspec.json.decode(row.error, type=RunError),
        )
        for row in rows
    )


async def counts(session: AsyncSession) -> dict[RunState, int]:
    """How many runs are in each state."""
    found = dict((await session.execute(sa.select(RunRow.state, sa.func.count()).group_by(RunRow.state))).all())
    return {state: found.get(state, 0) for state in RunState}


async def start(session: AsyncSession, run_id: str, job: int, *, worker: str) -> StartedRun | None:
    """Begin an attempt; None if the job is out of date: the run is done, cancelled, or has a newer job."""
    now = now_ms()
    row = await session.scalar(
        sa.update(RunRow)
        .where(RunRow.id == run_id, RunRow.job == job, RunRow.state.in_(predecessors(RunState.RUNNING)))
        .values(
            # A run found running has lost its worker.
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
    await session.execute(
        sa.update(AttemptRow).where(AttemptRow.run_id == run_id, AttemptRow.finished_at.is_(None)).values(finished_at=now, outcome="lost")
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
    stages: Stages | None = None,
    engine: str | None = None,
    fingerprint: str | None = None,
    cached: bool = False,
    output: str | None = None,
) -> bool:
    """End the run; False if the attempt is no longer the run's."""
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
    return await _leave(session, started, values, now=now, outcome=state, error=error)


async def note(session: AsyncSession, started: StartedRun, *, output: str) -> bool:
    """Keep what the run has found so far; False if the attempt is no longer the run's."""
    mine = (RunRow.id == started.row.id, RunRow.attempt == started.attempt, RunRow.state == RunState.RUNNING)
    return await session.scalar(sa.update(RunRow).where(*mine).values(output=output).returning(RunRow.id)) is not None


async def requeue(session: AsyncSession, started: StartedRun, state: RunState, *, delay_ms: int = 0, error: RunError | None = None) -> bool:
    """Queue the run again, as retrying after an error or as queued when its worker stops; False if the attempt is no longer the run's."""
    now = now_ms()
    failed = state == RunState.RETRYING
    values = {
        "state": state,
        "error": None if error is None else encode(error),
        "job": started.attempt + 1,
        "failures": RunRow.failures + int(failed),
        "due_at": now + delay_ms,
    }
    if not await _leave(session, started, values, now=now, outcome="failed" if failed else "handed over", error=error):
        return False
    session.add(OutboxRow(run_id=started.row.id, kind=started.row.kind, job=started.attempt + 1, due_at=now + delay_ms))
    return True


async def _leave(
    session: AsyncSession, started: StartedRun, values: Mapping[str, Any], *, now: int, outcome: str, error: RunError | None
) -> bool:
    run_id, attempt = started.row.id, started.attempt
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
    """End a run that waits or follows as cancelled, or ask for the end of a running one; None if it is neither."""
    now = now_ms()
    ended: RunRow | None = await session.scalar(
        sa.update(RunRow)
        .where(RunRow.id == run_id, RunRow.state.in_(WAITING) | ((RunRow.state == RunState.RUNNING) & RunRow.leader_id.is_not(None)))
        .values(state=RunState.CANCELLED, cancel_requested=True, finished_at=now, updated_at=now)
        .returning(RunRow)
    )
    if ended is not None:
        await session.execute(sa.delete(OutboxRow).where(OutboxRow.run_id == run_id))
        await coalesce.move_followers(session, ended)
        return ended
    asked: RunRow | None = await session.scalar(
        sa.update(RunRow).where(RunRow.id == run_id, RunRow.state == RunState.RUNNING).values(cancel_requested=True).returning(RunRow)
    )
    return asked


class UnsentJob(NamedTuple):
    """A job that the queue has not been told of."""

    id: int
    kind: str
    run_id: str
    job: int
    due_at: int
    updated_at: int
    owner: str
    priority: str


async def unsent(session: AsyncSession, limit: int) -> list[UnsentJob]:
    query = (
        sa.select(
            OutboxRow.id, OutboxRow.kind, RunRow.id, OutboxRow.job, OutboxRow.due_at, RunRow.updated_at, RunRow.owner, RunRow.priority
        )
        .join(RunRow, RunRow.id == OutboxRow.run_id)
        .order_by(OutboxRow.id)
        .limit(limit)
    )
    return [UnsentJob(*row) for row in (await session.execute(query)).all()]


async def sent(session: AsyncSession, rows: Sequence[UnsentJob]) -> None:
    await session.execute(sa.delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows])))


async def outbox_size(session: AsyncSession) -> int:
    return await session.scalar(sa.select(sa.func.count()).select_from(OutboxRow)) or 0


class OpenRun(NamedTuple):
    """An unfinished run that the queue should know."""

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
    """Unfinished runs that have left the outbox and have not changed for a while, by id."""
    query = (
        sa.select(*(getattr(RunRow, name) for name in OpenRun._fields))
        .where(RunRow.state.in_(OPEN), RunRow.updated_at < unchanged_since, RunRow.id > after_id, RunRow.leader_id.is_(None))
        .where(~sa.exists().where(OutboxRow.run_id == RunRow.id))
        .order_by(RunRow.id)
        .limit(limit)
    )
    return [OpenRun(*row) for row in (await session.execute(query)).all()]


async def result(session: AsyncSession, fingerprint: str) -> sa.RowMapping | None:
    return (await session.execute(sa.select(RESULTS).where(RESULTS.c.fingerprint == fingerprint))).mappings().one_or_none()


async def files_of_results(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these files belong to a result."""
    columns = (RESULTS.c.trades_hash, RESULTS.c.equity_hash)
    return {name for column in columns for name in await session.scalars(sa.select(column).where(column.in_(names)))}


async def keep_result(session: AsyncSession, values: Mapping[str, Any]) -> str:
    """Keep a result unless an equal run has, of which only files written anew count; returns the digest that is kept."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    added = insert(RESULTS).values(**values)
    files = {name: added.excluded[name] for name in ("trades_hash", "equity_hash")}
    same = RESULTS.c.digest == added.excluded.digest
    kept = await session.scalar(
        added.on_conflict_do_update(index_elements=[RESULTS.c.fingerprint], set_=files, where=same).returning(RESULTS.c.digest)
    )
    if kept is None:
        kept = await session.scalar(sa.select(RESULTS.c.digest).where(RESULTS.c.fingerprint == values["fingerprint"]))
    return str(kept)


def to_run(row: RunRow) -> Run:
    """The run of a row, without its result."""
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
        follows=row.leader_id,
        attempt=row.attempt,
        cached=row.cached,
        cancel_requested=row.cancel_requested,
        worker=row.worker,
        created_at=row.created_at,
        due_at=row.due_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stages=None if row.stages is None else msgspec.json.decode(row.stages, type=Stages),
        error=None if row.error is None else msgspec.json.decode(row.error, type=RunError),
    )
