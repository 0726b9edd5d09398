"""The SQL statements about runs. Those that every run needs are functions of a connection and handle many runs at once; the others, of a session.

A worker's write names the attempt that the worker started. If another attempt has started since, the write changes nothing and returns False.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db.in_list import in_list
from workers.db.tables import IS_OPEN, RESULTS, AttemptRow, OutboxRow, RunRow
from workers.errors import WorkersError
from workers.model.clock import now_ms
from workers.model.runs import Attempt, BacktestRequest, Run, RunError, RunResult, StageDurations, decode_request, encode
from workers.model.states import WAITING, AttemptOutcome, Priority, RunState, predecessors
from workers.runs import coalesce


class KnownResult(Protocol):
    """The stored result of an equal run: which engine computed it, and the names of its files."""

    engine: str
    trades_hash: str | None
    equity_hash: str | None


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


class _Ended(NamedTuple):
    id: str
    state: RunState
    has_followers: bool


_GET_RUN: Final = sa.select(*RunRow.__table__.columns).where(RunRow.id == sa.bindparam("run"))
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
    .returning(*RunRow.__table__.columns)
)
_LOSE_ATTEMPTS: Final = (
    sa.update(AttemptRow)
    .where(in_list(AttemptRow.run_id, "ids"), AttemptRow.finished_at.is_(None))
    .values(finished_at=sa.bindparam("now"), outcome=AttemptOutcome.LOST)
)
_INSERT_ATTEMPT: Final = sa.insert(AttemptRow)
_INSERT_JOB: Final = sa.insert(OutboxRow)
_INSERT_RUN: Final = sa.insert(RunRow)
_LOCK_CURRENT: Final = (
    sa.select(RunRow.id, RunRow.has_followers)
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
_FIND_RESULTS: Final = sa.select(
    RESULTS.c.fingerprint, RESULTS.c.digest, RESULTS.c.engine, RESULTS.c.trades_hash, RESULTS.c.equity_hash
).where(in_list(RESULTS.c.fingerprint, "fingerprints"))
_GET_RESULTS: Final = sa.select(RESULTS).where(in_list(RESULTS.c.fingerprint, "fingerprints"))


def _save_result(new: postgresql.Insert | sqlite.Insert) -> sa.Insert:
    # Equal digests may come with other file names: another version of the Parquet writer gives other bytes.
    files = {name: new.excluded[name] for name in ("trades_data", "trades_hash", "equity_hash")}
    return new.on_conflict_do_update(index_elements=[RESULTS.c.fingerprint], set_=files, where=RESULTS.c.digest == new.excluded.digest)


_SAVE_RESULT: Final = {"postgresql": _save_result(postgresql.insert(RESULTS)), "sqlite": _save_result(sqlite.insert(RESULTS))}
_WAITING_OUTCOMES: Final = {RunState.RETRYING: AttemptOutcome.FAILED, RunState.QUEUED: AttemptOutcome.REQUEUED}


def _different_result() -> WorkersError:
    return WorkersError(
        "an equal run had a different result",
        where="digest",
        hint="this is a bug in Barstorm; please report it with the digests of both engines",
        code="not_reproducible",
    )


def insert_runs(connection: sa.Connection, runs: Sequence[Mapping[str, Any]]) -> None:
    """Store new runs, each with all columns that have no default, and the jobs of those that have neither a result nor a leader."""
    connection.execute(_INSERT_RUN, list(runs))
    jobs = [
        {"run_id": run["id"], "kind": run["kind"], "job": 1, "due_at": run["due_at"]}
        for run in runs
        if run["state"] == RunState.QUEUED and run["leader_id"] is None
    ]
    if jobs:
        connection.execute(_INSERT_JOB, jobs)


async def insert_run(session: AsyncSession, row: RunRow) -> None:
    """Store a new run and, unless it has a result or follows an equal run, its job."""
    session.add(row)
    await session.flush()
    if row.state == RunState.QUEUED and row.leader_id is None:
        session.add(OutboxRow(run_id=row.id, kind=row.kind, job=row.job, due_at=row.due_at))


async def get_run(session: AsyncSession, run_id: str) -> RunRow | None:
    return await session.get(RunRow, run_id)


def read_run(connection: sa.Connection, run_id: str) -> sa.Row[Any] | None:
    """The columns of a run."""
    return connection.execute(_GET_RUN, {"run": run_id}).one_or_none()


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
    fingerprints = [row.fingerprint for row in rows.values() if row.coalesce_key is not None]
    results = find_known(connection, fingerprints) if fingerprints else {}
    for row in rows.values():
        coalesce.move_followers(connection, row)
    found = (rows.get(job.run_id) for job in jobs)
    return [None if row is None else StartedRun(row, row.attempt, results.get(row.fingerprint)) for row in found]


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


def end(connection: sa.Connection, ends: Sequence[End]) -> list[bool | Exception]:
    """End attempts, each with the result that it found; False for those whose run another attempt has started since.

    The outcome is an error if the result differs from the stored one of an equal run. That attempt has then not ended.
    """
    now = now_ms()
    # The number of the attempt is the fence: a worker whose lease has expired may still be running, and must not overwrite its successor.
    given = {"ids": [each.started.row.id for each in ends], "attempts": [f"{each.started.row.id}:{each.started.attempt}" for each in ends]}
    current = {row.id: row for row in connection.execute(_LOCK_CURRENT, given)}
    outcomes: list[bool | Exception] = [each.started.row.id in current for each in ends]
    results = [each.result for each, is_current in zip(ends, outcomes, strict=True) if is_current and each.result is not None]
    digests = save_results(connection, results)
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
    if jobs:
        connection.execute(_INSERT_JOB, jobs)
    for each, has_ended in zip(ends, outcomes, strict=True):
        if has_ended is True and current[each.started.row.id].has_followers:
            coalesce.move_followers(connection, _Ended(each.started.row.id, each.state, True))
    return outcomes


async def record_progress(session: AsyncSession, started: StartedRun, *, output: str) -> bool:
    """Store what the attempt has done so far; False if another attempt has started since."""
    is_current = (RunRow.id == started.row.id, RunRow.attempt == started.attempt, RunRow.state == RunState.RUNNING)
    return await session.scalar(sa.update(RunRow).where(*is_current).values(output=output).returning(RunRow.id)) is not None


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
        await (await session.connection()).run_sync(coalesce.move_followers, cancelled)
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
        .where(IS_OPEN, RunRow.updated_at < unchanged_since, RunRow.id > after_id, RunRow.leader_id.is_(None))
        .where(~sa.exists().where(OutboxRow.run_id == RunRow.id))
        .order_by(RunRow.id)
        .limit(limit)
    )
    return [OpenRun(*row) for row in (await session.execute(query)).all()]


def find_known(connection: sa.Connection, fingerprints: Sequence[str]) -> dict[str, KnownResult]:
    """What is needed to reuse the stored results among these fingerprints."""
    found: dict[str, Any] = {row.fingerprint: row for row in connection.execute(_FIND_RESULTS, {"fingerprints": list(fingerprints)})}
    return found


def find_results(connection: sa.Connection, fingerprints: Sequence[str]) -> dict[str, sa.RowMapping]:
    """The stored results among these fingerprints."""
    rows = connection.execute(_GET_RESULTS, {"fingerprints": list(fingerprints)}).mappings() if fingerprints else ()
    return {row["fingerprint"]: row for row in rows}


async def files_of_results(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these files belong to a result."""
    columns = (RESULTS.c.trades_hash, RESULTS.c.equity_hash)
    return {name for column in columns for name in await session.scalars(sa.select(column).where(column.in_(names)))}


def save_results(connection: sa.Connection, results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Store results and return the stored digests by fingerprint. Where an equal digest was stored before, only the names of files are replaced."""
    if not results:
        return {}
    connection.execute(_SAVE_RESULT[connection.dialect.name], list(results))
    stored = connection.execute(_FIND_RESULTS, {"fingerprints": [result["fingerprint"] for result in results]})
    return {row.fingerprint: row.digest for row in stored}


def to_error(raw: str | None) -> RunError | None:
    return None if raw is None else msgspec.json.decode(raw, type=RunError)


def to_run(row: Any) -> Run:
    """The run of a row, without its result."""
    return new_run(dict(row._mapping) if isinstance(row, sa.Row) else vars(row), decode_request(row.request))


def new_run(row: Mapping[str, Any], request: BacktestRequest, result: RunResult | None = None) -> Run:
    """The run of these columns, whose request is decoded already."""
    return Run(
        id=row["id"],
        state=RunState(row["state"]),
        request=request,
        dataset_id=row["dataset_id"] or "",
        dataset_version=row["dataset_version"],
        strategy_id=row["strategy_id"],
        strategy_version=row["strategy_version"],
        fingerprint=row["fingerprint"],
        owner=row["owner"],
        priority=Priority(row["priority"]),
        leader_id=row["leader_id"],
        attempt=row["attempt"],
        cached=row["cached"],
        cancel_requested=row["cancel_requested"],
        worker=row["worker"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        stages=None if row["stages"] is None else msgspec.json.decode(row["stages"], type=StageDurations),
        error=to_error(row["error"]),
        result=result,
    )
