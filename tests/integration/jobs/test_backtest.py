"""Runs from submission to result, error or cancellation, on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import python_core as bt
import workers
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker, running
from workers.data import resolve
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.queue import keys
from workers.runs import results
from workers.storage import artifacts

pytestmark = pytest.mark.anyio


async def test_a_run_gives_the_result_of_the_library(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    bars: bt.Bars,
    cross: bt.Strategy,
    finished: Finished,
) -> None:
    accepted = await service.backtests.submit(request_)
    assert accepted.state == RunState.QUEUED
    run = await finished(accepted.id)
    expected = bt.backtest(bars, cross)
    assert run.state == RunState.SUCCEEDED
    assert run.result is not None
    assert run.stages is not None
    assert run.stages.kernel_ms > 0
    assert (run.result.digest, run.result.metrics) == (expected.digest, expected.metrics)
    assert run.fingerprint == run.result.fingerprint == expected.fingerprint
    first = await service.backtests.get_trades(run.id, limit=1)
    page = await service.backtests.get_trades(run.id, limit=3, cursor=first.next_cursor)
    assert page.items == tuple(expected.trades)[1:4]
    assert page.total == len(expected.trades)
    equity = await service.backtests.get_equity(run.id)
    assert (list(equity.time), list(equity.equity)) == (expected.time.tolist(), expected.equity.tolist())


async def test_thinned_equity_keeps_its_ends_and_its_extremes(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(request_)).id)
    whole = await service.backtests.get_equity(run.id)
    for points in (2, 3, 50, 1999):
        thin = await service.backtests.get_equity(run.id, points=points)
        assert len(thin.time) <= points
        assert thin.total == len(whole.time)
        assert set(zip(thin.time, thin.equity, strict=True)) <= set(zip(whole.time, whole.equity, strict=True))
        assert (thin.time[0], thin.time[-1]) == (whole.time[0], whole.time[-1])
        if points >= 4:
            assert (min(thin.equity), max(thin.equity)) == (min(whole.equity), max(whole.equity))


async def test_an_equal_submission_needs_no_job(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    first = await finished((await service.backtests.submit(request_)).id)
    assert await service.backtests.submit(request_) == first, "the same request of the same owner is the same run"
    other = await service.acting_as(workers.Caller(owner="another", scope=workers.Scope.ADMIN, sees_all=True)).backtests.submit(request_)
    assert other.id != first.id
    assert (other.state, other.cached, other.result) == (RunState.SUCCEEDED, True, first.result)


async def test_an_equal_run_on_the_other_engine_is_computed_and_has_the_same_digest(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    first = await finished((await service.backtests.submit(request_)).id)
    assert first.result is not None
    if first.result.engine == "python":
        pytest.skip("the compiled kernel is not installed")
    other = await finished((await service.backtests.submit(msgspec.structs.replace(request_, engine="python"))).id)
    assert other.result is not None
    assert (other.cached, other.result.engine, other.result.digest) == (False, "python", first.result.digest)


async def test_a_result_without_its_files_is_computed_again(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_PACKED_BYTES", 0)
    first = await finished((await service.backtests.submit(request_)).id)
    assert (await service.backtests.submit(request_)).id == (await service.backtests.submit(request_)).id == first.id
    found = await service.resources.results.load(first.fingerprint)
    assert found is not None
    service.resources.artifacts.delete([found.trades or ""])
    with pytest.raises(workers.Conflict, match="run it again"):
        await service.backtests.get_trades(first.id)
    again = await finished((await service.backtests.submit(request_)).id)
    assert (again.state, again.cached, again.id == first.id) == (RunState.SUCCEEDED, False, False)
    assert (await service.backtests.get_trades(first.id)).total > 0


@pytest.mark.parametrize("in_files", [False, True])
async def test_trades_and_equity_are_the_same_from_the_row_and_from_files(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    bars: bt.Bars,
    cross: bt.Strategy,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
    in_files: bool,
) -> None:
    if in_files:
        monkeypatch.setattr(results, "MAX_PACKED_BYTES", 0)
    monkeypatch.setattr(results, "MAX_RECOMPUTED_MS", -1 if in_files else 1e9)
    run = await finished((await service.backtests.submit(request_)).id)
    stored = await service.resources.results.load(run.fingerprint)
    assert stored is not None
    assert (stored.trades is not None, stored.trades_data is None, stored.equity is not None) == (in_files,) * 3
    expected = bt.backtest(bars, cross)
    assert (await service.backtests.get_trades(run.id, limit=1000)).items == tuple(expected.trades)
    assert (await service.backtests.get_equity(run.id)).equity == tuple(expected.equity.tolist())
    assert (await service.backtests.get_monthly_returns(run.id)).items == expected.monthly_returns


async def test_an_equity_curve_that_comes_out_differently_is_not_shown(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "MAX_RECOMPUTED_MS", 1e9)
    run = await finished((await service.backtests.submit(request_)).id)
    backtest = bt.backtest
    monkeypatch.setattr(bt, "backtest", lambda bars, strategy, execution, **options: backtest(bars, strategy, bt.Execution(slippage=0.01)))
    with pytest.raises(workers.Conflict, match="digest") as raised:
        await service.backtests.get_equity(run.id)
    assert raised.value.code == "not_reproducible"


async def test_an_equity_curve_of_an_earlier_contract_is_not_computed_by_this_one(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "MAX_RECOMPUTED_MS", 1e9)
    run = await finished((await service.backtests.submit(request_)).id)
    monkeypatch.setattr(bt, "CONTRACT", bt.CONTRACT + 1)
    with pytest.raises(workers.Conflict, match="run it again") as raised:
        await service.backtests.get_equity(run.id)
    assert raised.value.code == "contract_changed"
    assert (await service.backtests.get_trades(run.id)).total > 0


async def test_a_failing_run_keeps_its_error_and_is_not_retried(
    service: workers.Service, worker: LeaseWorker, dataset: workers.Dataset, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if accepted by a version that had no rule against it.
    monkeypatch.setattr(resolve, "check_runnable", lambda *_: None)
    finer_than_the_bars = bt.Strategy(entry_long="close > open", timeframe="1m")
    accepted = await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=finer_than_the_bars))
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.FAILED, 1)
    assert run.error is not None
    assert (run.error.code, run.error.where) == ("invalid_strategy", "timeframe")
    with pytest.raises(workers.Conflict, match="a failed run has no result"):
        await service.backtests.get_trades(run.id)


async def test_a_run_with_damaged_bars_fails_with_that_error(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    dataset: workers.Dataset,
    settings: workers.Settings,
    finished: Finished,
) -> None:
    (stored,) = service.resources.artifacts.list_all()
    artifacts.Folder(settings.folder / "artifacts").path(stored.hash).write_bytes(b"PAR1 damaged")
    run = await finished((await service.backtests.submit(request_)).id)
    assert run.state == RunState.FAILED
    assert run.error is not None
    assert run.error.code == "dataset_damaged"


async def test_a_run_is_retried_after_machine_errors_until_it_is_dead(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    settings: workers.Settings,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, failures = results.save, [MemoryError()] * 2

    def full_disk(*given: Any, **options: Any) -> dict[str, object]:
        if failures:
            raise failures.pop()
        return save(*given, **options)

    monkeypatch.setattr(results, "save", full_disk)
    run = await finished((await service.backtests.submit(request_)).id)
    assert (run.state, run.attempt, run.error) == (RunState.SUCCEEDED, 3, None)
    failures += [MemoryError()] * 100
    other = msgspec.structs.replace(request_, execution=bt.Execution(slippage=0.001))
    dead = await finished((await service.backtests.submit(other)).id)
    assert (dead.state, dead.attempt) == (RunState.DEAD, settings.max_failures)
    assert dead.error is not None
    assert dead.error.code == "machine"


async def test_an_internal_error_fails_the_run_without_details(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise type("PanicException", (BaseException,), {})("secret insides")

    monkeypatch.setattr(bt, "backtest", panic)
    run = await finished((await service.backtests.submit(request_)).id)
    assert run.state == RunState.FAILED
    assert run.error is not None
    assert run.error.code == "internal"
    assert "secret" not in msgspec.json.encode(run).decode()


async def test_a_run_that_takes_too_long_fails(
    service: workers.Service,
    settings: workers.Settings,
    slow_request: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
) -> None:
    async with start_worker(msgspec.structs.replace(settings, job_timeout_s=0.1)):
        run = await finished((await service.backtests.submit(slow_request)).id)
    assert run.state == RunState.FAILED
    assert run.error is not None
    assert run.error.code == "timeout"


async def test_a_waiting_run_is_cancelled_at_once(service: workers.Service, request_: workers.BacktestRequest, until: Until) -> None:
    run = await service.backtests.submit(request_)

    async def sent() -> bool:
        return (await service.queue.get_metrics()).ready == 1

    await until(sent)
    assert (await service.backtests.cancel(run.id)).state == RunState.CANCELLED
    assert (await service.queue.get_metrics()).ready == 0
    with pytest.raises(workers.Conflict, match="cancelled"):
        await service.backtests.cancel(run.id)


async def test_a_running_run_is_cancelled_in_the_kernel(
    service: workers.Service, worker: LeaseWorker, slow_request: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    assert (await service.backtests.cancel(accepted.id)).cancel_requested
    run = await finished(accepted.id)
    assert (run.state, run.result) == (RunState.CANCELLED, None)
    assert await service.resources.results.load(run.fingerprint) is None


@pytest.mark.parametrize("heard", [True, False])
async def test_a_cancellation_is_heard_at_once_and_found_if_it_was_not(
    service: workers.Service,
    worker: LeaseWorker,
    slow_request: workers.BacktestRequest,
    until: Until,
    finished: Finished,
    heard: bool,
) -> None:
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    redis = service.resources.queue.redis
    if heard:
        await redis.publish(keys.CANCELS, accepted.id)
    else:
        await redis.set(keys.cancel(accepted.id), b"1")
    assert (await finished(accepted.id)).state == RunState.CANCELLED
