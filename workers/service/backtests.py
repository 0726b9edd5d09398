"""Backtests: submit, follow, list, label, compare, verify and delete them, and read results."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from operator import attrgetter
from typing import Annotated, BinaryIO, ClassVar, Final

import msgspec
from msgspec import Meta

from workers.accounts.quotas import Quotas
from workers.data.table_files import TableFormat
from workers.errors import Conflict, Invalid, NotFound, WorkersError
from workers.model.callers import Scope
from workers.model.labels import NO_CHANGES, LabelChanges
from workers.model.run_filter import ALL_RUNS, RunFilter
from workers.model.runs import (
    Attempt,
    BacktestRequest,
    EquityCurve,
    MonthlyReturns,
    Run,
    RunError,
    RunOptions,
    RunPage,
    SelectedRunPage,
    TradePage,
    encode,
)
from workers.model.selection import Reference
from workers.model.states import DONE
from workers.runs import create_and_run, deletion, intake, labels, listing, runs
from workers.runs.compare import MAX_POINTS, MAX_RUNS, MIN_RUNS, RunComparison, compare
from workers.runs.create_and_run import CreateAndRunRequest
from workers.runs.deletion import DeletedRuns, RunSelection
from workers.runs.feed import FeedUpdate
from workers.runs.fields import parse as parse_fields
from workers.runs.follow import RunUpdate
from workers.runs.intake import DEFAULT_OPTIONS, Rerun
from workers.runs.verify import Verification, verify
from workers.service.operation_group import OperationGroup, operation

MAX_BATCH: Final = 1_000
# The longest wait for the end of a run in one request.
MAX_WAIT_S: Final = 60


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request: the run, or why it was not accepted."""

    run: Annotated[Run | None, Meta(description="The run; null if the request was refused.")] = None
    error: Annotated[RunError | None, Meta(description="Why the request was refused; null if it was accepted.")] = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each request, in the order of the requests."""

    items: Annotated[tuple[BatchItem, ...], Meta(description="One item for each request.")]


class Backtests(OperationGroup):
    name: ClassVar[str] = "backtests"

    @operation(Scope.WRITE)
    async def submit(self, request: BacktestRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Submit a backtest.

        The run is stored and queued before the response is sent. If an equal run has finished, its result is returned at once; if one is in
        progress, the new run follows it and gets the same result.

        The bars are those of `dataset`, or of the one dataset with this `symbol` and `timeframe`, in its newest version. `start` and `end`
        restrict the run to a range; indicators are computed from earlier bars, too, as `warm_up_from` says.

        `name`, `tags` and `notes` are for people; they don't change the result. The same request with others is a run of its own.

        Raises:
            NotFound: unknown dataset or strategy.
            Invalid: strategy and execution don't fit together, or there are no bars in the range.
            Conflict: the idempotency key was used for another request or a run that was deleted, or several datasets match.
        """
        return await self._submit(request, options)

    async def _submit(self, request: BacktestRequest, options: RunOptions, rerun: Rerun | None = None) -> Run:
        resources = self._resources
        accepted = await resources.intake.submit(self._caller, request, options, rerun=rerun)
        resources.relay.send_accepted(intake.jobs_of([accepted]), intake.without_jobs([accepted]))
        return await self._run(accepted)

    @operation(Scope.WRITE)
    async def submit_batch(
        self, backtests: Annotated[tuple[BacktestRequest, ...], Meta(max_length=MAX_BATCH)], options: RunOptions = DEFAULT_OPTIONS
    ) -> Batch:
        """Submit many backtests.

        Up to 1,000 requests, each accepted or refused on its own, as if it had been submitted alone. All have the same owner, priority and time;
        with an idempotency key, the whole batch can be repeated: each request has the key and its position, and one that differs from that of an earlier
        batch in its position is refused.
        """
        resources = self._resources
        outcomes = await resources.intake.submit_all(self._caller, backtests, options)
        resources.relay.send_accepted(intake.jobs_of(outcomes), intake.without_jobs(outcomes))
        return Batch(items=tuple([await self._batch_item(outcome) for outcome in outcomes]))

    async def _batch_item(self, outcome: Run | str | WorkersError) -> BatchItem:
        try:
            if isinstance(outcome, WorkersError):
                raise outcome
            return BatchItem(run=await self._run(outcome))
        except WorkersError as error:
            return BatchItem(error=RunError.from_exception(error))

    async def _run(self, accepted: Run | str) -> Run:
        if isinstance(accepted, Run) and accepted.state not in DONE:
            return accepted
        run_id = accepted.id if isinstance(accepted, Run) else accepted
        try:
            return await self._resources.runs.get(self._caller, run_id)
        except NotFound:
            what, hint = f"run {run_id}, which this request repeats, was deleted", "submit it again, with a new key if it has one"
            raise Conflict(what, where="run", hint=hint, code="deleted") from None

    @operation(Scope.READ)
    async def get(self, run_id: str, wait_s: Annotated[int, Meta(ge=0, le=MAX_WAIT_S)] = 0) -> Run:
        """Get a backtest.

        Its state and, once it has finished, its result or error.
        """
        if wait_s:  # when it has finished, or as it is after that time; at once if very many requests wait already
            return await self._resources.streams.wait(self._caller, run_id, wait_s)
        return await self._resources.runs.get(self._caller, run_id)

    @operation(Scope.READ)
    async def list(
        self,
        filter: RunFilter = ALL_RUNS,
        sort: Annotated[str, Meta(max_length=100, extra_json_schema={"pattern": listing.SORT_PATTERN})] = listing.NEWEST_FIRST,
        fields: tuple[str, ...] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage | SelectedRunPage:
        """List backtests.

        Those that meet all conditions, newest first, with headline metrics instead of results. They can be sorted by any metric, as in
        `metrics.sharpe`, or by `created_at`; `-` before it puts the largest first. Runs without a value come last. With `fields`, such as
        `id,name,metrics.calmar,request.strategy.params`, the items have only these fields.

        Raises:
            Invalid: a field, the order or the cursor is not known.
            NotFound: the filter names a dataset or a strategy that doesn't exist.
        """
        selected = None if fields is None else parse_fields(fields)
        return await listing.page(self._resources.database, self._caller, filter, sort=sort, selected=selected, limit=limit, cursor=cursor)

    @operation(Scope.WRITE)
    async def update(self, run_id: str, changes: LabelChanges) -> Run:
        """Update a backtest.

        Changes its name, tags and notes, in any state. Those that are left out stay; an empty text or list removes one.
        """
        await labels.change(self._resources.database, self._caller, run_id, changes)
        return await self._resources.runs.get(self._caller, run_id)

    @operation(Scope.WRITE, audited=True)
    async def delete(self, run_id: str) -> None:
        """Delete a backtest.

        Deletes a finished run with its attempts, so that its dataset can be deleted, too. The result is kept as a cache: an equal request still
        gets it at once.

        Raises:
            Conflict: the run has not finished; cancel it first.
        """
        await deletion.delete(self._resources.database, self._caller, run_id)

    @operation(Scope.WRITE, audited=True)
    async def delete_many(self, selection: RunSelection) -> DeletedRuns:
        """Delete many backtests.

        Deletes the finished runs that meet all conditions; unfinished ones are left and counted. They are deleted in batches, each of them all
        or nothing. Runs created meanwhile stay.

        Raises:
            NotFound: the selection names a dataset or a strategy that doesn't exist.
        """
        return await deletion.delete_all(self._resources.database, self._caller, selection)

    @operation(Scope.READ)
    async def compare(
        self,
        ids: Annotated[tuple[Reference, ...], Meta(min_length=MIN_RUNS, max_length=MAX_RUNS)],
        points: Annotated[int, Meta(ge=2, le=MAX_POINTS)] = 200,
    ) -> RunComparison:
        """Compare backtests.

        Two to ten runs that have succeeded, side by side: requests and metrics, the fields in which the requests differ, equity curves at the
        same times, each relative to its initial capital, and the correlation of daily returns.

        Raises:
            Conflict: a run has not succeeded.
        """
        resources = self._resources
        found = []
        for run_id in dict.fromkeys(ids):
            try:
                found.append(await resources.runs.require_succeeded(self._caller, run_id))
            except WorkersError as error:
                error.where = f"ids[{ids.index(run_id)}]"
                raise
        if not MIN_RUNS <= len(found) <= MAX_RUNS:
            raise Invalid(f"{len(found)} different runs can't be compared", where="ids", hint=f"use {MIN_RUNS} to {MAX_RUNS}")
        return await compare(resources.results, resources.lookups, found, points=points)

    @operation(Scope.READ)
    async def verify(self, run_id: str) -> Verification:
        """Verify a backtest.

        Computes it again from its stored bars and request, and compares the digest of the outputs with that of the stored result.

        Raises:
            Conflict: the run has not succeeded, or was computed by another contract.
        """
        resources = self._resources
        run = await resources.runs.require_succeeded(self._caller, run_id)
        return await verify(resources.results, resources.lookups, resources.workroom, run)

    @operation(Scope.WRITE)
    async def cancel(self, run_id: str) -> Run:
        """Cancel a backtest.

        A queued run is cancelled at once, a running one within a moment. A finished run can't be cancelled.

        Raises:
            Conflict: the run has finished.
        """
        run = await runs.cancel(self._resources.database, self._resources.queue, self._caller, run_id)
        self._resources.relay.wake()  # a run that followed this one may now run itself
        return run

    @operation(Scope.READ)
    async def list_attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """List the attempts of a backtest.

        Each start by a worker, in order: which worker, when it started and ended, and the outcome.
        """
        return await runs.list_attempts(self._resources.database, self._caller, run_id)

    @operation(Scope.READ)
    async def stream_events(self, run_id: str, after: str = "") -> AsyncGenerator[RunUpdate, None]:
        """Stream the events of a backtest.

        `progress` events with state, fraction done, message and estimated time left, then one `end` event with the run. A client that
        reconnects continues after the last event it received.
        """
        return await self._resources.streams.open(self._caller, run_id, after)

    @operation(Scope.READ)
    async def stream_all_events(self, after: str = "") -> AsyncGenerator[FeedUpdate, None]:
        """Stream the events of all runs.

        New states and progress of the caller's backtests and fetches, as they happen. An event may come twice, and one that a newer one has
        overtaken is left out. A client that reconnects continues after the last event it received, if that is not too long ago: the last 5,000
        announcements are stored, each about one or more runs, for a day. Otherwise it is told that it has missed some.
        """
        return await self._resources.feed.open(self._caller, after)

    @operation(Scope.WRITE)
    async def rerun(self, run_id: str, options: RunOptions = DEFAULT_OPTIONS, changes: LabelChanges = NO_CHANGES) -> Run:
        """Run a backtest again.

        Submits the request of an earlier run, with its name, tags and notes unless others are given. If the result is still stored, it is
        returned at once.
        """
        given = encode(("rerun", run_id, changes))
        # A repeated request needs no earlier run, which may be gone or have other labels.
        if (known_id := await self._resources.intake.find_earlier(self._caller, options, given)) is not None:
            return await self._run(known_id)
        run = await self._resources.runs.get(self._caller, run_id)
        its_labels = {"name": run.name, "tags": run.tags, "notes": run.notes}
        request = BacktestRequest(**msgspec.structs.asdict(run.request) | its_labels | changes.given())
        is_own = run.owner == self._caller.owner
        return await self._submit(request, options, Rerun(given, run.strategy_id, run.strategy_version) if is_own else Rerun(given))

    @operation(Scope.WRITE, audited=attrgetter("name"))
    async def create_and_run(self, request: CreateAndRunRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Create a strategy and run it.

        Stores the strategy and submits the run in one step. If the run can't be accepted, the strategy is not stored.
        """
        resources = self._resources
        run_id = await create_and_run.create_and_run(
            resources.database, resources.bars, Quotas.of(resources.settings), self._caller, request, options
        )
        resources.relay.wake()
        return await self._run(run_id)

    @operation(Scope.READ)
    async def get_trades(self, run_id: str, limit: int = 100, cursor: str | None = None) -> TradePage:
        """Get the trades of a backtest.

        In the order of their exits. Times are UTC epoch milliseconds.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(self._caller, run_id)
        return await self._resources.results.trades(run, limit=limit, cursor=cursor)

    @operation(Scope.READ)
    async def get_equity(self, run_id: str, points: int | None = None) -> EquityCurve:
        """Get the equity curve of a backtest.

        The equity at the close of every bar or, with `points`, a sample of at most that many: the first, the last, and the lows and highs
        in between.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(self._caller, run_id)
        return await self._resources.results.equity(run, points=points)

    @operation(Scope.READ)
    async def export_trades(self, run_id: str, file: BinaryIO, format: TableFormat = "parquet") -> None:
        """Export the trades of a backtest.

        Writes all trades to a CSV, Parquet or Arrow file, in which times are dates, in UTC.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(self._caller, run_id)
        await self._resources.result_files.write_trades(run, file, format)

    @operation(Scope.READ)
    async def export_equity(self, run_id: str, file: BinaryIO, format: TableFormat = "parquet", points: int | None = None) -> None:
        """Export the equity curve of a backtest.

        Writes the equity at the close of every bar, or a sample of at most `points`, to a CSV, Parquet or Arrow file, in which times are dates, in UTC.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(self._caller, run_id)
        await self._resources.result_files.write_equity(run, file, format, points=points)

    @operation(Scope.READ)
    async def get_monthly_returns(self, run_id: str) -> MonthlyReturns:
        """Get the monthly returns of a backtest.

        The return of each UTC month that has bars: equity at its last close relative to that of the month before, the first relative to the
        initial capital.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(self._caller, run_id)
        return await self._resources.results.monthly_returns(run)
