"""Metrics count what has happened, and survive parts that are away."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy.engine import make_url

import workers
from tests.support.marks import on_postgresql
from tests.support.postgres import Postgres
from tests.support.runs import end, start
from tests.support.waiting import Until
from workers.model.states import AttemptOutcome, RunState
from workers.queue.durations import Durations, read_durations
from workers.queue.queue import RedisError, open_queue

pytestmark = pytest.mark.anyio


async def test_attempts_are_counted_by_outcome(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    database = service.resources.database
    for attempt in (1, 2):  # the second takes over from the first
        started = await start(database, run.id, 1, worker=f"w-{attempt}")
    assert await end(database, started, RunState.RETRYING, error=workers.RunError(code="machine", message="it broke"))
    assert await end(database, await start(database, run.id, 3, worker="w-3"), RunState.SUCCEEDED)
    metrics = await service.queue.get_metrics()
    assert metrics.attempts is not None
    assert metrics.attempts.by_outcome == {outcome: int(outcome in ("lost", "failed", "succeeded")) for outcome in AttemptOutcome}
    assert metrics.attempts.repeated == 2


@on_postgresql
async def test_metrics_survive_a_database_that_is_away(
    service: workers.Service, postgres: Postgres, settings: workers.Settings, until: Until
) -> None:
    name = make_url(settings.database_url).database
    await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await asyncio.to_thread(postgres.sql, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    async def is_noticed() -> bool:
        return (await service.queue.get_metrics()).up == {"database": False, "redis": True, "files": True}

    await until(is_noticed)
    metrics = await service.queue.get_metrics()
    assert (metrics.ready, metrics.running, metrics.paused, metrics.workers) == (0, 0, False, ())
    assert (metrics.outbox, metrics.runs) == (None, None)
    await asyncio.to_thread(postgres.sql, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    async def is_back() -> bool:
        return (await service.queue.get_metrics()).runs is not None

    await until(is_back)


async def test_durations_of_all_workers_are_added_up(redis_url: str) -> None:
    async with open_queue(redis_url) as queue:
        observers = [Durations() for _ in range(3)]
        for i, observer in enumerate(observers):
            for seconds in (0.001, 0.1, 0.2, 5000.0)[: i + 2]:
                observer.observe("backtest", seconds)
            observer.observe("fetch", 2.0)
        await asyncio.gather(*(observer.send(queue) for observer in (*observers, *observers)))
        backtests, fetches = await read_durations(queue)
        assert (backtests.kind, backtests.count, fetches.kind, fetches.count) == ("backtest", 9, "fetch", 3)
        assert backtests.sum_s == pytest.approx(3 * 0.101 + 2 * 0.2 + 5000)
        buckets = Counter(backtests.buckets)
        assert (buckets["0.01"], buckets["0.1"], buckets["0.3"], buckets["3000.0"], buckets["+Inf"]) == (3, 6, 8, 8, 9)


async def test_durations_wait_for_a_redis_that_is_away(redis_url: str) -> None:
    durations = Durations()
    durations.observe("backtest", 1.0)
    async with open_queue("redis://127.0.0.1:1") as away:
        with pytest.raises((RedisError, OSError)):
            await durations.send(away)
    async with open_queue(redis_url) as queue:
        await durations.send(queue)
        assert [found.count for found in await read_durations(queue)] == [1]
