"""Comparison and verification of runs."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.data import workroom
from workers.db.tables import RESULTS
from workers.process.worker import LeaseWorker

pytestmark = pytest.mark.anyio

DAY_MS = 86_400_000


async def done(service: workers.Service, finished: Finished, request: workers.BacktestRequest, **changes: Any) -> workers.Run:
    run = await finished((await service.backtests.submit(msgspec.structs.replace(request, **changes))).id)
    assert run.result is not None, run
    return run


def relative(bars: bt.Bars, run: workers.Run, at: int) -> float | None:
    """Equity / initial capital at a time, from the library."""
    request = run.request
    assert isinstance(request.strategy, bt.Strategy)
    result = bt.backtest(bars.between(request.start, None), request.strategy, request.execution)
    if not result.time[0] <= at < result.time[-1] + bars.timeframe_ms:
        return None
    return float(result.equity[result.time <= at][-1] / request.execution.initial_capital)


async def test_runs_are_compared_on_one_axis_of_time(
    service: workers.Service,
    worker: LeaseWorker,
    bars: bt.Bars,
    request_: workers.BacktestRequest,
    cross: bt.Strategy,
    finished: Finished,
    results_in_files: None,
) -> None:
    middle = int(bars.time[1000])
    execution = bt.Execution(initial_capital=500.0, commission=0.001)
    runs = [
        await done(service, finished, request_),
        await done(service, finished, request_, strategy=cross.with_params(fast=5), execution=execution),
        await done(service, finished, request_, start=middle, warm_up_from="start"),
    ]
    compared = await service.backtests.compare(tuple(run.id for run in runs), points=50)
    assert compared.runs == tuple(runs)
    assert {each.field: each.values for each in compared.differences} == {
        "start": (None, None, middle),
        "warm_up_from": ("auto", "auto", "start"),
        "strategy.params.fast": (10, 5, 10),
        "execution.initial_capital": (10_000.0, 500.0, 10_000.0),
        "execution.commission": (0.0006, 0.001, 0.0006),
    }
    time = compared.equity.time
    assert (len(time), time[0], time[-1]) == (50, bars.time[0], bars.time[-1])
    assert np.ptp(np.diff(time)) <= 1
    for run, curve in zip(runs, compared.equity.curves, strict=True):
        assert curve == tuple(relative(bars, run, at) for at in time)
    assert compared.equity.curves[2][0] is None


async def test_the_correlation_is_that_of_daily_returns(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, request_: workers.BacktestRequest, cross: bt.Strategy, finished: Finished
) -> None:
    never = bt.Strategy(entry_long="close < 0")
    strategies = (cross, cross.with_params(fast=6), never)
    runs = [await done(service, finished, request_, strategy=strategy) for strategy in strategies]
    correlation = (await service.backtests.compare(tuple(run.id for run in runs))).correlation

    def daily(strategy: bt.Strategy) -> Any:
        equity = bt.backtest(bars, strategy, bt.Execution()).equity
        days = bars.time // DAY_MS
        closing = np.array([equity[days == day][-1] for day in np.unique(days)])
        return closing / np.concatenate(([10_000.0], closing[:-1])) - 1

    expected = np.corrcoef(daily(strategies[0]), daily(strategies[1]))[0, 1]
    assert correlation[0][1] == correlation[1][0] == pytest.approx(expected, abs=1e-12)
    assert correlation[0][0] == pytest.approx(1.0)
    assert 0.1 < abs(expected) < 1.0
    assert correlation[2] == (None, None, None), "a curve that doesn't vary"


async def test_only_two_to_ten_different_runs_that_have_succeeded_are_compared(
    service: workers.Service, request_: workers.BacktestRequest
) -> None:
    run = await service.backtests.submit(request_)
    other = await service.backtests.submit(msgspec.structs.replace(request_, execution=bt.Execution(slippage=0.001)))
    with pytest.raises(workers.Conflict, match=f"run {run.id} is"):
        await service.backtests.compare((run.id, other.id))
    with pytest.raises(workers.NotFound, match="'none'"):
        await service.backtests.compare(("none", run.id))
    another = service.acting_as(workers.Caller(owner="another", scope=workers.Scope.READ))
    with pytest.raises(workers.NotFound):
        await another.backtests.compare((run.id, other.id))
    await service.backtests.cancel(run.id)
    with pytest.raises(workers.Conflict, match="has no result"):
        await service.backtests.compare((run.id, run.id))


async def test_the_same_run_twice_is_not_compared(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await done(service, finished, request_)
    with pytest.raises(workers.Invalid, match="1 different runs"):
        await service.backtests.compare((run.id, run.id))


@pytest.mark.parametrize("engine", ["auto", "python"])
async def test_a_run_is_verified_by_computing_it_again(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, request_: workers.BacktestRequest, finished: Finished, engine: str
) -> None:
    run = await done(service, finished, request_, start=int(bars.time[1500]), engine=engine)
    assert run.result is not None
    reader = service.acting_as(workers.Caller(scope=workers.Scope.READ))
    found = await reader.backtests.verify(run.id)
    assert (found.equal, found.stored_digest, found.computed_digest) == (True, run.result.digest, run.result.digest)
    assert found.engine == run.result.engine
    another = service.acting_as(workers.Caller(owner="another"))
    with pytest.raises(workers.NotFound):
        await another.backtests.verify(run.id)


async def change_result(service: workers.Service, **values: Any) -> None:
    async with service.resources.database.write() as session:
        await session.execute(sa.update(RESULTS).values(**values))


async def test_a_stored_result_that_was_changed_is_found_out(
    service: workers.Service, settings: workers.Settings, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await done(service, finished, request_)
    assert run.result is not None
    await change_result(service, digest="0" * 64)
    async with workers.open_service(settings) as fresh:
        found = await fresh.backtests.verify(run.id)
    assert (found.equal, found.stored_digest, found.computed_digest) == (False, "0" * 64, run.result.digest)
    await change_result(service, contract=1)
    async with workers.open_service(settings) as fresh:
        with pytest.raises(workers.Conflict) as caught:
            await fresh.backtests.verify(run.id)
    assert caught.value.code == "contract_changed"


async def test_verifications_are_bounded_work(
    settings: workers.Settings, cross: bt.Strategy, monkeypatch: pytest.MonkeyPatch, start_worker: StartWorker, until: Until
) -> None:
    monkeypatch.setitem(workroom.WAITING, "backtests", 1)
    limited = msgspec.structs.replace(settings, work_processes=1, work_timeout_s=0.5)
    async with workers.open_service(limited) as service, start_worker(limited):
        dataset = await service.resources.data.create("long", bt.synthetic(160_000, timeframe="1m"))
        run = await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=cross, engine="python"))

        async def succeeded() -> bool:
            return (await service.backtests.get(run.id)).result is not None

        await until(succeeded)
        verifying = [service.backtests.verify(run.id) for _ in range(4)]
        found = [type(each) for each in await asyncio.gather(*verifying, return_exceptions=True)]
    assert sorted(kind.__name__ for kind in found) == ["LimitExceeded", "LimitExceeded", "TooManyRequests", "TooManyRequests"]
