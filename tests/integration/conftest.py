"""A service on real components: each kind of database, Valkey, and workers in the process of the test."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

import python_core as bt
import workers
from tests.support import waiting
from tests.support.workers import Finished, StartWorker
from workers.jobs import backtest, compute
from workers.model.states import DONE
from workers.process.run import open_worker
from workers.process.worker import LeaseWorker
from workers.runs import results


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Silence the log: tests provoke failures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> workers.Settings:
    """Settings for each database, with short waits."""
    return workers.Settings(
        data_dir=str(tmp_path / "data"),
        database_url=database_url,
        redis_url=redis_url,
        lease_s=1.0,
        retry_s=0.02,
        reconcile_s=0.2,
        drain_s=0.2,
    )


@pytest.fixture
async def service(settings: workers.Settings) -> AsyncIterator[workers.Service]:
    async with workers.open_service(settings) as opened:
        yield opened


@pytest.fixture
def start_worker() -> StartWorker:
    """`start_worker(settings)`: a worker in this process within the block."""

    @asynccontextmanager
    async def start(settings: workers.Settings) -> AsyncIterator[LeaseWorker]:
        async with open_worker(settings) as worker:
            task = asyncio.create_task(worker.main())
            try:
                yield worker
            finally:
                worker.stop()
                await task

    return start


@pytest.fixture
async def worker(settings: workers.Settings, service: workers.Service, start_worker: StartWorker) -> AsyncIterator[LeaseWorker]:
    async with start_worker(settings) as started:
        yield started


@pytest.fixture(scope="session")
def until() -> waiting.Until:
    """`await until(condition, within_s=60)`: wait until the coroutine function returns true; fail after that time."""
    return waiting.until


@pytest.fixture
def finished(service: workers.Service, until: waiting.Until) -> Finished:
    """`await finished(run_id)`: the run when it has finished."""

    async def wait(run_id: str, within_s: float = 60) -> workers.Run:
        async def done() -> bool:
            return (await service.backtests.get(run_id)).state in DONE

        await until(done, within_s)
        return await service.backtests.get(run_id)

    return wait


@pytest.fixture
def results_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades and equity are written to files, however small they are."""
    monkeypatch.setattr(results, "MAX_PACKED_BYTES", 0)
    monkeypatch.setattr(results, "MAX_RECOMPUTED_MS", -1.0)


@pytest.fixture
def bars() -> bt.Bars:
    return bt.synthetic(2000)


@pytest.fixture
def cross() -> bt.Strategy:
    return bt.Strategy(
        entry_long="crossover(sma(close, fast), sma(close, slow))",
        exit_long="crossunder(sma(close, fast), sma(close, slow))",
        params={"fast": 10, "slow": 30},
    )


@pytest.fixture
async def dataset(service: workers.Service, bars: bt.Bars) -> workers.Dataset:
    return await service.resources.data.create("synthetic", bars, workers.instrument(symbol="SYNTHETIC"))


@pytest.fixture
def request_(dataset: workers.Dataset, cross: bt.Strategy) -> workers.BacktestRequest:
    return workers.BacktestRequest(dataset=dataset.id, strategy=cross)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Runs that ask for the Python engine wait in the kernel, in workers of this process, until `gate.set()` or until they are stopped."""
    opened = threading.Event()

    def hold(*given: Any) -> compute.Computed:
        *_, request, control = given
        while request.engine == "python" and not control.cancelled and not opened.is_set():
            opened.wait(0.005)
        return compute.compute(*given)

    monkeypatch.setattr(backtest, "compute", hold)
    return opened


@pytest.fixture
async def slow_request(service: workers.Service, cross: bt.Strategy) -> workers.BacktestRequest:
    """A run over enough bars to take the Python engine about a second on a slow machine."""
    dataset = await service.resources.data.create("long", bt.synthetic(80_000, timeframe="1m"))
    return workers.BacktestRequest(dataset=dataset.id, strategy=cross, engine="python")
