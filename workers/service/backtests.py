"""Backtests: submit, follow, cancel, and read results."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from workers.errors import WorkersError
from workers.model.runs import Attempt, BacktestRequest, EquityCurve, MonthlyReturns, Run, RunError, RunOptions, RunPage, TradePage
from workers.model.states import RunState
from workers.runs import create_and_run, runs
from workers.runs.create_and_run import CreateAndRunRequest
from workers.runs.follow import RunUpdate
from workers.runs.intake import DEFAULT_OPTIONS
from workers.service.operation_group import OperationGroup, operation

MAX_BATCH: Final = 1_000


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request: the run, or why it was not accepted."""

    run: Run | None = None
    error: RunError | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each request, in the order of the requests."""

    items: tuple[BatchItem, ...]


class Backtests(OperationGroup):
    name: ClassVar[str] = "backtests"

    @operation
    async def submit(self, request: BacktestRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Submit a backtest.

        The run is stored and queued before the response is sent. If an equal run has finished, its result is returned at once; if one is in
        progress, the new run follows it and gets the same result.

        The bars are those of `dataset`, or of the one dataset with this `symbol` and `timeframe`, in its newest version. `start` and `end`
        restrict the run to a range; indicators are computed from earlier bars, too, as `warm_up_from` says.

        Raises:
            NotFound: unknown dataset or strategy.
            Invalid: strategy and execution don't fit together, or there are no bars in the range.
            Conflict: the idempotency key was used for another request, or several datasets match.
        """
        resources = self._resources
        accepted = await resources.intake.submit(request, options)
        resources.relay.wake()
        return await self._run(accepted)

    @operation
    async def submit_batch(
        self, backtests: Annotated[tuple[BacktestRequest, ...], Meta(max_length=MAX_BATCH)], options: RunOptions = DEFAULT_OPTIONS
    ) -> Batch:
        """Submit many backtests.

        Up to 1,000 requests, each accepted or refused on its own, as if it had been submitted alone. All have the same owner, priority and time;
        with an idempotency key, the whole batch can be repeated.
        """
        resources = self._resources
        outcomes = await resources.intake.submit_all(backtests, options)
        resources.relay.wake()
        return Batch(items=tuple([await self._batch_item(outcome) for outcome in outcomes]))

    async def _batch_item(self, outcome: Run | str | WorkersError) -> BatchItem:
        if isinstance(outcome, WorkersError):
            return BatchItem(error=RunError.from_exception(outcome))
        return BatchItem(run=await self._run(outcome))

    async def _run(self, accepted: Run | str) -> Run:
        return await self._resources.runs.get(accepted) if isinstance(accepted, str) else accepted

    @operation
    async def get(self, run_id: str) -> Run:
        """Get a backtest.

        Its state and, once it has finished, its result or error.
        """
        return await self._resources.runs.get(run_id)

    @operation
    async def list(self, state: RunState | None = None, limit: int = 50, cursor: str | None = None) -> RunPage:
        """List backtests.

        Newest first, without results.
        """
        return await runs.page(self._resources.database, state=state, limit=limit, cursor=cursor)

    @operation
    async def cancel(self, run_id: str) -> Run:
        """Cancel a backtest.

        A queued run is cancelled at once, a running one within a moment. A finished run can't be cancelled.

        Raises:
            Conflict: the run has finished.
        """
        run = await runs.cancel(self._resources.database, self._resources.queue, run_id)
        self._resources.relay.wake()  # a run that followed this one may now run itself
        return run

    @operation
    async def list_attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """List the attempts of a backtest.

        Each start by a worker, in order: which worker, when it started and ended, and the outcome.
        """
        return await runs.list_attempts(self._resources.database, run_id)

    @operation
    async def stream_events(self, run_id: str, after: str = "") -> AsyncGenerator[RunUpdate, None]:
        """Stream the events of a backtest.

        `progress` events with state, fraction done, message and estimated time left, then one `end` event with the run. A client that
        reconnects continues after the last event it received.
        """
        return await self._resources.streams.open(run_id, after)

    @operation
    async def rerun(self, run_id: str, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Run a backtest again.

        Submits the request of an earlier run as a new run. If the result is still stored, it is returned at once.
        """
        return await self.submit((await self._resources.runs.get(run_id)).request, options)

    @operation
    async def create_and_run(self, request: CreateAndRunRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Create a strategy and run it.

        Stores the strategy and submits the run in one step. If the run can't be accepted, the strategy is not stored.
        """
        resources = self._resources
        run_id = await create_and_run.create_and_run(resources.database, resources.bars, request, options)
        resources.relay.wake()
        return await resources.runs.get(run_id)

    @operation
    async def get_trades(self, run_id: str, offset: int = 0, limit: int = 100) -> TradePage:
        """Get the trades of a backtest.

        In the order of their exits. Times are UTC epoch milliseconds.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(run_id)
        return await self._resources.results.trades(run, offset=offset, limit=limit)

    @operation
    async def get_equity(self, run_id: str, points: int | None = None) -> EquityCurve:
        """Get the equity curve of a backtest.

        The equity at the close of every bar or, with `points`, a sample of at most that many: the first, the last, and the lows and highs
        in between.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(run_id)
        return await self._resources.results.equity(run, points=points)

    @operation
    async def get_monthly_returns(self, run_id: str) -> MonthlyReturns:
        """Get the monthly returns of a backtest.

        The return of each UTC month that has bars: equity at its last close relative to that of the month before, the first relative to the
        initial capital.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await self._resources.runs.require_succeeded(run_id)
        return await self._resources.results.monthly_returns(run)
