"""Outages of what workers need are waited for, and use up no failures of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.postgres import Postgres
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.db.tables import RunRow
from workers.jobs import outage
from workers.jobs.outage import Outage
from workers.model.states import RunState
from workers.runs import results

pytestmark = pytest.mark.anyio


async def submit(service: workers.Service, request: workers.BacktestRequest, count: int) -> list[str]:
    others = [msgspec.structs.replace(request, execution=bt.Execution(slippage=1e-6 * i)) for i in range(count)]
    return [run.id for run in await asyncio.gather(*map(service.backtests.submit, others))]


async def failures(service: workers.Service) -> int:
    async with service.resources.database.read() as session:
        return await session.scalar(sa.select(sa.func.sum(RunRow.failures))) or 0


async def test_runs_outlast_a_full_disk_however_long(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "FIRST_PAUSE_S", 0.02)
    save, tries, is_full = results.save, 0, True

    def on_a_full_disk(*given: Any, **options: Any) -> dict[str, object]:
        nonlocal tries
        tries += 1
        if is_full:
            raise OSError(28, "No space left on device")
        return save(*given, **options)

    async def tried_often() -> bool:
        return tries > 3 * settings.max_failures

    monkeypatch.setattr(results, "save", on_a_full_disk)
    async with start_worker(settings):
        runs = await submit(service, request_, 4)
        await until(tried_often)
        is_full = False
        assert [(await finished(run)).state for run in runs] == [RunState.SUCCEEDED] * 4
    assert await failures(service) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no state in which it can only be read
async def test_runs_outlast_a_database_that_refuses_writes(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    postgres: Postgres,
) -> None:
    name = service.resources.database.engine.url.database
    runs = await submit(service, request_, 10)

    async def sent() -> bool:
        return (await service.queue.get_metrics()).ready == 10

    await until(sent)
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with start_worker(settings) as worker:

        async def tried() -> bool:
            return worker.jobs_retried > 0

        await until(tried)
        postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert [(await finished(run)).state for run in runs] == [RunState.SUCCEEDED] * 10
    assert await failures(service) == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 0.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(outage.time, "monotonic", lambda: now)
    return advance


async def test_pauses_grow_to_a_minute_and_end_with_a_success(clock: Callable[[float], None]) -> None:
    found, pauses = Outage(), []
    for _ in range(9):
        for _ in range(3):
            found.begin()
        pauses.append(found.pause_s)
        clock(found.pause_s)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    found.end()
    assert found.pause_s == 0
    found.begin()
    assert found.pause_s == 0.5


async def test_a_run_that_meets_an_outage_between_successes_of_others_is_blamed(clock: Callable[[float], None]) -> None:
    found = Outage()
    assert not found.blames(0)
    assert found.blames(outage.FORGIVEN)
    found.begin()
    assert not found.blames(outage.FORGIVEN)
