"""The SQL statements about runs and their results. Those that every run needs are functions of a connection and handle many runs at once; the
others, of a session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from workers.db import revision
from workers.db.in_list import in_list
from workers.db.revision import Revisions
from workers.db.tables import IS_OPEN, RESULTS, CatalogRow, OutboxRow, RunRow, RunTagRow
from workers.model.clock import now_ms
from workers.model.runs import Backtest, Run, RunError, RunInfo, StageDurations, decode_request
from workers.model.states import WAITING, Priority, RunState
from workers.runs import coalesce


class KnownResult(Protocol):
    """The stored result of an equal run: which engine computed it, and the names of its files."""

    engine: str
    trades_hash: str | None
    equity_hash: str | None


_GET_RUN: Final[sa.Select[Any]] = sa.select(
    *RunRow.__table__.columns, sa.select(CatalogRow.runs_revision).scalar_subquery().label("runs_revision")
).where(RunRow.id == sa.bindparam("run"))
_INSERT_JOB: Final = sa.insert(OutboxRow)
_INSERT_RUN: Final = sa.insert(RunRow)
_INSERT_TAG: Final = sa.insert(RunTagRow)
_FIND_RESULTS: Final = sa.select(
    RESULTS.c.fingerprint, RESULTS.c.digest, RESULTS.c.engine, RESULTS.c.trades_hash, RESULTS.c.equity_hash
).where(in_list(RESULTS.c.fingerprint, "fingerprints"))
_FIND_RESULTS_AND_REVISIONS: Final = sa.select(*revision.BOTH.selected_columns, *_FIND_RESULTS.selected_columns).select_from(
    sa.outerjoin(CatalogRow, RESULTS, in_list(RESULTS.c.fingerprint, "fingerprints"))
)
_GET_RESULTS: Final = sa.select(RESULTS).where(in_list(RESULTS.c.fingerprint, "fingerprints"))


def _save_result(new: postgresql.Insert | sqlite.Insert) -> sa.Insert:
    # Equal digests may come with other file names: another version of the Parquet writer gives other bytes.
    files = {name: new.excluded[name] for name in ("trades_data", "trades_hash", "equity_hash")}
    return new.on_conflict_do_update(index_elements=[RESULTS.c.fingerprint], set_=files, where=RESULTS.c.digest == new.excluded.digest)


_SAVE_RESULT: Final = {"postgresql": _save_result(postgresql.insert(RESULTS)), "sqlite": _save_result(sqlite.insert(RESULTS))}


def insert_runs(connection: sa.Connection, runs: Sequence[Mapping[str, Any]]) -> None:
    """Store new runs, each with all columns that have no default, and the jobs of those that have neither a result nor a leader."""
    connection.execute(_INSERT_RUN, list(runs))
    insert_tags(connection, {run["id"]: decode_tags(run["tags"]) for run in runs})
    jobs = [
        {"run_id": run["id"], "kind": run["kind"], "job": 1, "due_at": run["due_at"]}
        for run in runs
        if run["state"] == RunState.QUEUED and run["leader_id"] is None
    ]
    insert_jobs(connection, jobs)


def insert_tags(connection: sa.Connection, tags: Mapping[str, Sequence[str]]) -> None:
    """Store the tags of these runs where filters find them."""
    if rows := [{"run_id": run_id, "tag": tag} for run_id, its_tags in tags.items() for tag in its_tags]:
        connection.execute(_INSERT_TAG, rows)


def insert_jobs(connection: sa.Connection, jobs: Sequence[Mapping[str, Any]]) -> None:
    """Put jobs into the outbox."""
    if jobs:
        connection.execute(_INSERT_JOB, list(jobs))


async def insert_run(session: AsyncSession, row: RunRow) -> None:
    """Store a new run and, unless it has a result or follows an equal run, its job."""
    session.add(row)
    await session.flush()
    if row.state == RunState.QUEUED and row.leader_id is None:
        session.add(OutboxRow(run_id=row.id, kind=row.kind, job=row.job, due_at=row.due_at))


async def get_run(session: AsyncSession, run_id: str) -> RunRow | None:
    return await session.get(RunRow, run_id)


def read_run(connection: sa.Connection, run_id: str) -> sa.Row[Any] | None:
    """The columns of a run, and the revision of runs."""
    return connection.execute(_GET_RUN, {"run": run_id}).one_or_none()


async def count_by_state(session: AsyncSession) -> dict[RunState, int]:
    """The number of runs in each state."""
    counts = dict((await session.execute(sa.select(RunRow.state, sa.func.count()).group_by(RunRow.state))).all())
    return {state: counts.get(state, 0) for state in RunState}


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


def find_known_and_revisions(connection: sa.Connection, fingerprints: Sequence[str]) -> tuple[dict[str, KnownResult], Revisions]:
    """As `find_known`, and the revisions of catalog and runs."""
    rows: list[Any] = list(connection.execute(_FIND_RESULTS_AND_REVISIONS, {"fingerprints": list(fingerprints)}))
    found = {row.fingerprint: row for row in rows if row.fingerprint is not None}
    return found, Revisions(rows[0].revision, rows[0].runs_revision)


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
    saved = connection.execute(_SAVE_RESULT[connection.dialect.name], list(results))
    if saved.rowcount == len(results):  # drivers that don't count have another number
        return {result["fingerprint"]: result["digest"] for result in results}
    stored = connection.execute(_FIND_RESULTS, {"fingerprints": [result["fingerprint"] for result in results]})
    return {row.fingerprint: row.digest for row in stored}


def to_error(raw: str | None) -> RunError | None:
    return None if raw is None else msgspec.json.decode(raw, type=RunError)


def to_run(row: Any) -> Run:
    """The run of a row, without its result."""
    return new_run(dict(row._mapping) if isinstance(row, sa.Row) else vars(row), decode_request(row.request))


def new_run(row: Mapping[str, Any], request: Backtest) -> Run:
    """The run of these columns, whose request is decoded already, without its result."""
    values: dict[str, Any] = {name: value_of(row, name) for name in RunInfo.__struct_fields__ if name != "request"}
    return Run(**values, request=request)


def value_of(row: Mapping[str, Any], field: str) -> Any:
    """A field of `RunInfo` from its column."""
    value = row[field]
    decode = _DECODE.get(field)
    return value if decode is None else decode(value)


def decode_tags(raw: str) -> tuple[str, ...]:
    return msgspec.json.decode(raw, type=tuple[str, ...]) if raw != "[]" else ()


# How the fields of `RunInfo` are read whose columns have another form.
_DECODE: Final[dict[str, Callable[[Any], Any]]] = {
    "tags": decode_tags,
    "state": RunState,
    "request": decode_request,
    "dataset_id": lambda raw: raw or "",
    "priority": Priority,
    "stages": lambda raw: None if raw is None else msgspec.json.decode(raw, type=StageDurations),
    "error": to_error,
}
