"""Runs as a client uses them: submit, read, rerun, cancel."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.engine.inputs import Inputs
from workers import strategies
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.data.resolve import ResolvedDataset
from workers.db import idempotency
from workers.db.database import Database
from workers.db.paging import page_of_runs
from workers.db.tables import RunRow
from workers.errors import Conflict, NotFound
from workers.model.clock import now_ms
from workers.model.names import is_reference, new_id
from workers.model.runs import Attempt, BacktestRequest, Run, RunOptions, RunPage, RunResult, decode_request, encode
from workers.model.states import RunState
from workers.queue.queue import Queue, RedisError
from workers.runs import coalesce, store
from workers.runs.results import Results

OPERATION: Final = "backtest"
DEFAULT_OPTIONS: Final = RunOptions()


async def submit(
    database: Database, results: Results, bars: BarsCache, request: BacktestRequest, options: RunOptions = DEFAULT_OPTIONS
) -> Run:
    """Accept a backtest. The run and its job are one transaction; if the result is stored, the run has succeeded at once.

    Raises:
        NotFound: unknown dataset or strategy.
        Invalid: strategy and execution don't fit together, or there are no bars in the range.
        Conflict: the idempotency key was used for another request, or several datasets match.
    """
    encoded = encode(request)
    # Saves the work of `prepare` in most cases; the transaction below decides.
    async with database.read() as session:
        known_id = await idempotency.find_subject(session, options, OPERATION, encoded)
    if known_id is not None:
        return await get(database, results, known_id)
    row, result = await prepare(database, results, bars, request, options)
    async with database.write() as session:
        run_id = await idempotency.record(session, options, OPERATION, encoded, row.id)
        if run_id == row.id:
            result = await accept(session, results, row, request, result)
    if run_id != row.id:
        return await get(database, results, run_id)
    return msgspec.structs.replace(store.to_run(row), result=result)


async def accept(
    session: AsyncSession, results: Results, row: RunRow, request: BacktestRequest, result: RunResult | None
) -> RunResult | None:
    """Store a prepared run, as a follower of an equal unfinished run if there is one; returns its result if that is stored."""
    if result is None:
        await coalesce.join(session, row)
        # An equal run may have finished since `prepare`.
        if row.leader_id is None:
            result = await results.reusable_in(session, row.fingerprint, request.engine)
    if result is not None:
        row.state, row.finished_at, row.cached, row.engine = RunState.SUCCEEDED, now_ms(), True, result.engine
    await store.insert_run(session, row)
    return result


async def prepare(
    database: Database, results: Results, bars: BarsCache, request: BacktestRequest, options: RunOptions
) -> tuple[RunRow, RunResult | None]:
    """The run of a request, not stored yet, and its result if that is stored.

    Raises:
        NotFound: unknown dataset or strategy.
        Conflict: several datasets match.
        Invalid: strategy and execution don't fit together, the dataset is of inverse contracts, or there are no bars in the range.
    """
    async with database.read() as session:
        stored = None if isinstance(request.strategy, bt.Strategy) else await strategies.get(session, request.strategy)
    strategy = cast(bt.Strategy, request.strategy) if stored is None else stored.strategy
    resolved = await resolve.resolve(database, bars, request, strategy, request.execution)
    dataset = resolved.dataset
    request = msgspec.structs.replace(request, **resolve.pinned_to(dataset), strategy=strategy)
    fingerprint = fingerprint_of(resolved, strategy, request.execution)
    result = await results.reusable(fingerprint, request.engine)
    now = now_ms()
    row = RunRow(
        id=new_id(),
        kind="backtest",
        owner=options.owner,
        priority=options.priority,
        state=RunState.QUEUED,
        request=encode(request),
        dataset_id=dataset.id,
        dataset_version=dataset.version,
        strategy_id=None if stored is None else stored.id,
        strategy_version=None if stored is None else stored.version,
        fingerprint=fingerprint,
        coalesce_key=f"{fingerprint}:{request.engine}",
        due_at=max(now, options.run_at or now),
        created_at=now,
        updated_at=now,
    )
    return row, result


def fingerprint_of(resolved: ResolvedDataset, strategy: bt.Strategy, execution: bt.Execution) -> str:
    """The fingerprint that the kernel will give this run, computed without loading the bars."""
    return Inputs(cast(bt.Bars, resolved), strategy, execution, resolved.first).fingerprint  # it reads only the fingerprint of bars


async def get(database: Database, results: Results, run_id: str) -> Run:
    """A run, with its result if it has succeeded."""
    row = await _row(database, run_id)
    run = store.to_run(row)
    if run.state != RunState.SUCCEEDED:
        return run
    stored = await results.load(run.fingerprint)
    if stored is None:
        return run
    # The stored result may be of another engine than the one that this run used; both give the same bits.
    return msgspec.structs.replace(run, result=msgspec.structs.replace(stored.result, engine=row.engine or stored.result.engine))


async def rerun(database: Database, results: Results, bars: BarsCache, run_id: str, options: RunOptions) -> Run:
    """Accept the request of an earlier run again, with the same bars and the same strategy."""
    row = await _row(database, run_id)
    return await submit(database, results, bars, decode_request(row.request), options)


async def list_attempts(database: Database, run_id: str) -> tuple[Attempt, ...]:
    """The attempts of a run, in order."""
    row = await _row(database, run_id)
    async with database.read() as session:
        return await store.list_attempts(session, row.id)


async def require_succeeded(database: Database, run_id: str) -> Run:
    """A run that has succeeded.

    Raises:
        Conflict: it has not, or not yet.
    """
    run = store.to_run(await _row(database, run_id))
    if run.state in (RunState.QUEUED, RunState.RUNNING, RunState.RETRYING):
        raise Conflict(f"the run is {run.state}", where="run", hint="wait until it has finished", code="not_finished")
    if run.state != RunState.SUCCEEDED:
        raise Conflict(f"a {run.state} run has no result", where="run", hint="see its state and error", code="no_result")
    return run


async def page(database: Database, *, state: RunState | None, limit: int, cursor: str | None) -> RunPage:
    """Runs, newest first; the cursor is the id of the last run of the previous page."""
    conditions = [RunRow.kind == OPERATION] if state is None else [RunRow.kind == OPERATION, RunRow.state == state]
    async with database.read() as session:
        rows, next_cursor = await page_of_runs(session, *conditions, limit=limit, cursor=cursor)
    return RunPage(items=tuple(map(store.to_run, rows)), next_cursor=next_cursor)


async def cancel(database: Database, queue: Queue, run_id: str) -> Run:
    """Cancel a run: a queued one at once, a running one as soon as its worker notices.

    Raises:
        Conflict: it has finished.
    """
    await _row(database, run_id)
    row = await cancel_run(database, queue, run_id)
    if row is None:
        run = store.to_run(await _row(database, run_id))
        raise Conflict(
            f"the run has already finished ({run.state})", where="run", hint="only unfinished runs can be cancelled", code="finished"
        )
    return store.to_run(row)


async def cancel_run(database: Database, queue: Queue, run_id: str) -> RunRow | None:
    """Cancel a run of any kind; None if it has finished."""
    async with database.write() as session:
        row = await store.cancel(session, run_id)
    if row is None:
        return None
    try:
        if row.state == RunState.RUNNING:
            await queue.request_cancel([row.id])
        else:
            await queue.remove(row.id, row.job)
    except (RedisError, OSError):
        pass  # a waiting job will find its run cancelled; for a running one, the reconciler repeats the request
    return row


async def _row(database: Database, run_id: str) -> RunRow:
    async with database.read() as session:
        row = await store.get_run(session, run_id) if is_reference(run_id) else None
    if row is None or row.kind != "backtest":
        raise NotFound(f"run {run_id!r:.130} not found", where="run", hint="use the id of a submitted run")
    return row
