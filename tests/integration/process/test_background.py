"""Background tasks outlive whatever happens to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

import python_core as bt
import workers
from tests.support.files import csv
from tests.support.waiting import Until
from workers import background
from workers.queue.queue import Queue

pytestmark = pytest.mark.anyio


async def test_a_task_that_fails_is_started_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.001)
    calls, went_on = 0, asyncio.Event()

    async def loop() -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise RecursionError("out of clients") if calls % 2 else ConnectionError("gone")
        went_on.set()
        await asyncio.Event().wait()

    before = background.RESTARTS["a test"]
    async with background.running(**{"a test": loop}):
        await asyncio.wait_for(went_on.wait(), 60)
    assert background.RESTARTS["a test"] - before == 3


async def test_a_task_that_has_done_its_work_is_not_started_again() -> None:
    calls: list[int] = []

    async def once() -> None:
        calls.append(1)

    await asyncio.wait_for(background.supervise("once", once), 60)
    assert calls == [1]


async def test_accepted_jobs_are_sent_after_an_error_that_nobody_expected(
    sqlite_url: str,
    redis_url: str,
    tmp_path: Path,
    bars: bt.Bars,
    cross: bt.Strategy,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed, enqueue = asyncio.Event(), Queue.enqueue

    async def fail(*_: object) -> int:
        monkeypatch.setattr(Queue, "enqueue", enqueue)
        failed.set()
        raise RecursionError("maximum recursion depth exceeded")

    settings = workers.Settings(data_dir=str(tmp_path), database_url=sqlite_url, redis_url=redis_url)
    async with workers.open_service(settings) as service:
        await service.datasets.create("d", csv(bars))
        restarts = (await service.queue.get_metrics()).restarts
        monkeypatch.setattr(Queue, "enqueue", fail)
        await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross))
        await asyncio.wait_for(failed.wait(), 60)

        async def is_sent() -> bool:
            metrics = await service.queue.get_metrics()
            return metrics.ready == 1 and metrics.outbox == 0

        await until(is_sent)
        assert (await service.queue.get_metrics()).restarts == restarts + 1


async def test_a_task_that_swallows_a_cancellation_ends_nevertheless() -> None:
    async def loop() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async with asyncio.timeout(60), background.running(loop=loop):
        await asyncio.sleep(0)
