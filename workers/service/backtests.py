"""Backtests: submit, follow, cancel, and read results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from workers.model.runs import Attempt, BacktestRequest, EquityCurve, MonthlyReturns, Run, RunOptions, RunPage, TradePage
from workers.model.states import RunState
from workers.runs import create_and_run, follow, submit
from workers.runs.create_and_run import CreateAndRunRequest
from workers.runs.follow import RunUpdate
from workers.runs.submit import DEFAULT_OPTIONS
from workers.service.operation_group import OperationGroup, operation


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
        run = await submit.submit(resources.database, resources.results, resources.bars, request, options)
        resources.relay.wake()
        return run

    @operation
    async def get(self, run_id: str) -> Run:
        """Get a backtest.

        Its state and, once it has finished, its result or error.
        """
        return await submit.get(self._resources.database, self._resources.results, run_id)

    @operation
    async def list(self, state: RunState | None = None, limit: int = 50, cursor: str | None = None) -> RunPage:
        """List backtests.

        Newest first, without results.
        """
        return await submit.page(self._resources.database, state=state, limit=limit, cursor=cursor)

    @operation
    async def cancel(self, run_id: str) -> Run:
        """Cancel a backtest.

        A queued run is cancelled at once, a running one within a moment. A finished run can't be cancelled.

        Raises:
            Conflict: the run has finished.
        """
        run = await submit.cancel(self._resources.database, self._resources.queue, run_id)
        self._resources.relay.wake()  # a run that followed this one may now run itself
        return run

    @operation
    async def list_attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """List the attempts of a backtest.

        Each start by a worker, in order: which worker, when it started and ended, and the outcome.
        """
        return await submit.list_attempts(self._resources.database, run_id)

    @operation
    async def stream_events(self, run_id: str, after: str = "") -> AsyncIterator[RunUpdate]:
        """Stream the events of a backtest.

        `progress` events with state, fraction done, message and estimated time left, then one `end` event with the run. A client that
        reconnects continues after the last event it received.
        """
        resources = self._resources
        return await follow.stream_events(resources.database, resources.results, resources.queue, run_id, after)

    @operation
    async def rerun(self, run_id: str, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Run a backtest again.

        Submits the request of an earlier run as a new run. If the result is still stored, it is returned at once.
        """
        resources = self._resources
        run = await submit.rerun(resources.database, resources.results, resources.bars, run_id, options)
        resources.relay.wake()
        return run

    @operation
    async def create_and_run(self, request: CreateAndRunRequest, options: RunOptions = DEFAULT_OPTIONS) -> Run:
        """Create a strategy and run it.

        Stores the strategy and submits the run in one step. If the run can't be accepted, the strategy is not stored.
        """
        resources = self._resources
        run = await create_and_run.create_and_run(resources.database, resources.results, resources.bars, request, options)
        resources.relay.wake()
        return run

    @operation
    async def get_trades(self, run_id: str, offset: int = 0, limit: int = 100) -> TradePage:
        """Get the trades of a backtest.

        In the order of their exits. Times are UTC epoch milliseconds.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await submit.require_succeeded(self._resources.database, run_id)
        return await self._resources.results.trades(run.fingerprint, offset=offset, limit=limit)

    @operation
    async def get_equity(self, run_id: str, points: int | None = None) -> EquityCurve:
        """Get the equity curve of a backtest.

        The equity at the close of every bar or, with `points`, a sample of at most that many: the first, the last, and the lows and highs
        in between.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await submit.require_succeeded(self._resources.database, run_id)
        return await self._resources.results.equity(run.fingerprint, points=points)

    @operation
    async def get_monthly_returns(self, run_id: str) -> MonthlyReturns:
        """Get the monthly returns of a backtest.

        The return of each UTC month that has bars: equity at its last close relative to that of the month before, the first relative to the
        initial capital.

        Raises:
            Conflict: the run has not succeeded.
        """
        run = await submit.require_succeeded(self._resources.database, run_id)
        return await self._resources.results.monthly_returns(run.fingerprint, initial_capital=run.request.execution.initial_capital)
