"""Runs whose worker dies, pauses or stops, on both databases."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

import workers
from tests.support.runs import start
from tests.support.waiting import Until
from tests.support.workers import HOLD, Finished, StartWorker, WorkerProcesses, running
from workers.model.states import RunState
from workers.queue.queue import QueuedJob, job_id

pytestmark = pytest.mark.anyio


@pytest.fixture
def processes(settings: workers.Settings) -> Iterator[WorkerProcesses]:
    started = WorkerProcesses(settings)
    yield started
    started.end()


async def test_a_killed_worker_s_run_is_taken_over(
    service: workers.Service,
    processes: WorkerProcesses,
    request_: workers.BacktestRequest,
    until: Until,
    finished: Finished,
) -> None:
    first = processes.start(HOLD)
    accepted = await service.backtests.submit(request_)
    await until(running(service, accepted.id))
    killed = (await service.backtests.get(accepted.id)).worker
    first.kill()
    first.wait()
    processes.start()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)
    assert run.worker != killed


async def test_a_paused_worker_that_resumes_late_changes_nothing(
    service: workers.Service, processes: WorkerProcesses, request_: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    first = processes.start(HOLD)
    accepted = await service.backtests.submit(request_)
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
    service: workers.Service, processes: WorkerProcesses, request_: workers.BacktestRequest, until: Until, finished: Finished
) -> None:
    first = processes.start(HOLD)
    accepted = await service.backtests.submit(request_)
    await until(running(service, accepted.id))
    first.terminate()
    assert await asyncio.to_thread(first.wait, 60) == 0
    waiting = await service.backtests.get(accepted.id)
    assert waiting.state == RunState.QUEUED
    assert not await service.resources.queue.missing([QueuedJob("backtest", accepted.id, 2)]), job_id(accepted.id, 2)
    processes.start()
    run = await finished(accepted.id)
    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)


async def test_a_run_that_kills_every_worker_ends_dead(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    accepted = await service.backtests.submit(request_)
    for i in range(settings.max_failures + 1):  # each but the first takes over from the one before
        assert await start(service.resources.database, accepted.id, worker=f"killed-{i}")
    async with start_worker(settings):
        run = await finished(accepted.id)
    assert run.state == RunState.DEAD
    assert run.error is not None
    assert run.error.code == "worker_lost"


async def test_a_cancelled_run_whose_worker_died_ends_cancelled(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    accepted = await service.backtests.submit(request_)
    assert await start(service.resources.database, accepted.id, worker="killed")
    assert (await service.backtests.cancel(accepted.id)).state == RunState.RUNNING
    async with start_worker(settings):
        assert (await finished(accepted.id)).state == RunState.CANCELLED
