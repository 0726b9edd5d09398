"""What a client can do with runs: submit, follow, cancel."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from workers import strategies
from workers.data import resolve
from workers.data.bars_cache import BarsCache
from workers.data.resolve import ResolvedDataset
from workers.db import idempotency
from workers.db.database import Database
from workers.db.tables import RunRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.clock import now_ms
from workers.model.names import is_reference, new_id
from workers.model.runs import Attempt, BacktestRequest, Run, RunOptions, RunPage, RunResult, decode_request, encode
from workers.model.states import RunState
from workers.queue.queue import Queue, RedisError
from workers.runs import coalesce, store
from workers.runs.results import Results

OPERATION: Final = "backtest"
NOW: Final = RunOptions()


async def submit(database: Database, results: Results, bars: BarsCache, request: BacktestRequest, options: RunOptions = NOW) -> Run:
    """Accept a backtest: a run, and in the same transaction the job that will run it; or its answer, if an equal run has found it.

    Raises:
        NotFound: there is no such dataset or strategy.
        Invalid: strategy and execution don't go together, or no bar is in the range.
        Conflict: the key has come with another request, or several datasets are meant.
    """
    asked = encode(request)
    async with database.read() as session:
        before = await idempotency.known(session, options, OPERATION, asked)
    if before is not None:
        return await get(database, results, before)
    row, found = await prepare(database, results, bars, request, options)
    async with database.write() as session:
        before = await idempotency.keep(session, options, OPERATION, asked, row.id)
        if before == row.id:
            found = await accept(session, results, row, request, found)
    if before != row.id:
        return await get(database, results, before)
    return msgspec.structs.replace(store.to_run(row), result=found)


async def accept(
    session: AsyncSession, results: Results, row: RunRow, request: BacktestRequest, found: RunResult | None
) -> RunResult | None:
    """Keep a run that was prepared; it follows an equal one that is on its way, or is answered by one that has ended since."""
    if found is None:
        await coalesce.join(session, row)
        if row.leader_id is None:
            found = await results.reusable_now(session, row.fingerprint, request.engine)
    if found is not None:
        row.state, row.finished_at, row.cached, row.engine = RunState.SUCCEEDED, now_ms(), True, found.engine
    await store.insert_run(session, row)
    return found


async def prepare(
    database: Database, results: Results, bars: BarsCache, request: BacktestRequest, options: RunOptions
) -> tuple[RunRow, RunResult | None]:
    """The run that a request asks for, not kept yet, and its answer if there is one already.

    Raises:
        NotFound: there is no such dataset or strategy.
        Conflict: several datasets are meant.
        Invalid: strategy and execution don't go together, the dataset is of inverse contracts, or no bar is in the range.
    """
    selected = await resolve.look_up(database, bars, request)
    dataset = selected.dataset
    async with database.read() as session:
        stored = None if isinstance(request.strategy, bt.Strategy) else await strategies.find(session, request.strategy)
    strategy = cast(bt.Strategy, request.strategy) if stored is None else stored.strategy
    request = msgspec.structs.replace(request, **resolve.resolved(dataset), strategy=strategy)
    fingerprint = fingerprint_of(selected, strategy, request.execution)
    found = await results.reusable(fingerprint, request.engine)
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
        flight=f"{fingerprint}:{request.engine}",
        due_at=max(now, options.run_at or now),
        created_at=now,
        updated_at=now,
    )
    return row, found


def fingerprint_of(selected: ResolvedDataset, strategy: bt.Strategy, execution: bt.Execution) -> str:
    """The fingerprint that the kernel will give this run, without loading the bars.

    Raises:
        Invalid: an expression of the execution can't be read.
    """
    try:
        return bt.fingerprint(cast(bt.Bars, selected), strategy, execution)  # of bars it reads the fingerprint only
    except bt.BarstormError as error:
        raise Invalid(error.message, where=error.where, hint=error.hint, code=error.code) from error


async def get(database: Database, results: Results, run_id: str) -> Run:
    """A run, with its result once it succeeded."""
    row = await _row(database, run_id)
    run = store.to_run(row)
    if run.state != RunState.SUCCEEDED:
        return run
    found = await results.load(run.fingerprint)
    if found is None:
        return run
    return msgspec.structs.replace(run, result=msgspec.structs.replace(found.result, engine=row.engine or found.result.engine))


async def again(database: Database, results: Results, bars: BarsCache, run_id: str, options: RunOptions) -> Run:
    """Accept what an earlier run asked for, on the bars and with the strategy that it had."""
    row = await _row(database, run_id)
    return await submit(database, results, bars, decode_request(row.request), options)


async def attempts(database: Database, run_id: str) -> tuple[Attempt, ...]:
    """Every start of a run, in order."""
    row = await _row(database, run_id)
    async with database.read() as session:
        return await store.attempts(session, row.id)


async def succeeded(database: Database, run_id: str) -> Run:
    """A run that has a result.

    Raises:
        Conflict: it has none, or none yet.
    """
    run = store.to_run(await _row(database, run_id))
    if run.state in (RunState.QUEUED, RunState.RUNNING, RunState.RETRYING):
        raise Conflict(f"the run is {run.state}", where="run", hint="wait until it has succeeded", code="not_finished")
    if run.state != RunState.SUCCEEDED:
        raise Conflict(f"the run has {run.state}, so there is no result", where="run", hint="see its error", code="no_result")
    return run


async def page(database: Database, *, state: RunState | None, limit: int, cursor: str | None) -> RunPage:
    """Runs, newest first; the cursor is the id of the last run of the page before."""
    if not 1 <= limit <= 1000:
        raise Invalid(f"{limit} is out of range", where="limit", hint="use 1 to 1000")
    if cursor is not None and not is_reference(cursor):
        raise Invalid(f"{cursor!r:.60} is no cursor", where="cursor", hint="use the next_cursor of the page before")
    async with database.read() as session:
        rows = await store.runs(session, state=state, limit=limit + 1, before_id=cursor)
    items = tuple(store.to_run(row) for row in rows[:limit])
    return RunPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


async def cancel(database: Database, queue: Queue, run_id: str) -> Run:
    """Cancel a run: a waiting one at once, a running one as soon as its worker notices.

    Raises:
        Conflict: it is done.
    """
    await _row(database, run_id)
    row = await cancel_job(database, queue, run_id)
    if row is None:
        run = store.to_run(await _row(database, run_id))
        raise Conflict(f"the run is done: it has {run.state}", where="run", hint="cancel runs that wait or run", code="finished")
    return store.to_run(row)


async def cancel_job(database: Database, queue: Queue, run_id: str) -> RunRow | None:
    """Cancel a run of any kind; None if it is done."""
    async with database.write() as session:
        row = await store.cancel(session, run_id)
    if row is None:
        return None
    try:
        if row.state == RunState.RUNNING:
            await queue.request_cancel([row.id])
        else:
            await queue.drop(row.id, row.job)
    except (RedisError, OSError):
        pass  # the database knows: the job will find its run cancelled, or the reconciler asks again
    return row


async def _row(database: Database, run_id: str) -> RunRow:
    async with database.read() as session:
        row = await store.run(session, run_id) if is_reference(run_id) else None
    if row is None or row.kind != "backtest":
        raise NotFound(f"there is no run {run_id!r:.130}", where="run", hint="use the id of a run you submitted")
    return row
