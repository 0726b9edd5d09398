"""The Python kernel in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

import python_core as bt
import workers
from tests.support.workers import Finished, StartWorker
from workers.data import resolve
from workers.jobs import isolated as isolated_kernel
from workers.model.states import RunState

pytestmark = pytest.mark.anyio


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The kernel doesn't use the database, so one is enough."""
    return sqlite_url


@pytest.fixture
def isolated(settings: workers.Settings) -> workers.Settings:
    return msgspec.structs.replace(settings, isolate_python=True)


def kernels() -> list[int]:
    """Process ids of the kernels that are children of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"workers.jobs.isolated" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_an_isolated_run_gives_the_same_result(
    service: workers.Service,
    isolated: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if a run that can't work had been accepted by a version that had no rule against it.
    monkeypatch.setattr(resolve, "check_runnable", lambda *_: None)
    async with start_worker(isolated):
        run = await finished((await service.backtests.submit(msgspec.structs.replace(request_, engine="python"))).id)
        wrong = bt.Strategy(entry_long="close > open", timeframe="1m")
        bad = msgspec.structs.replace(request_, strategy=wrong, engine="python")
        failed = await finished((await service.backtests.submit(bad)).id)
    bars = bt.synthetic(2000)
    assert isinstance(request_.strategy, bt.Strategy)
    expected = bt.backtest(bars, request_.strategy)
    assert run.result is not None
    assert (run.result.engine, run.result.digest, run.result.metrics) == ("python", expected.digest, expected.metrics)
    assert failed.error is not None
    assert (failed.state, failed.error.code, failed.error.where) == (RunState.FAILED, "invalid_strategy", "timeframe")


async def test_an_isolated_run_reports_progress_and_is_killed_when_cancelled(
    service: workers.Service,
    isolated: workers.Settings,
    cross: bt.Strategy,
    start_worker: StartWorker,
    finished: Finished,
    tmp_path: Path,
) -> None:
    path = tmp_path / "long.parquet"
    bt.synthetic(300_000, timeframe="1m").to_polars().write_parquet(path)
    dataset = await service.datasets.create("long", path)
    async with start_worker(isolated):
        accepted = await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=cross, engine="python"))
        async for update in await service.backtests.stream_events(accepted.id):
            if update.event and update.event.fraction:
                break
        (kernel,) = kernels()
        os.kill(kernel, signal.SIGSTOP)  # it can't end by itself
        await service.backtests.cancel(accepted.id)
        assert (await finished(accepted.id)).state == RunState.CANCELLED
        assert kernels() == []


async def test_a_kernel_that_dies_is_retried_until_the_run_is_dead(
    service: workers.Service,
    isolated: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolated_kernel.sys, "executable", "/bin/false")
    async with start_worker(msgspec.structs.replace(isolated, max_failures=2)):
        run = await finished((await service.backtests.submit(msgspec.structs.replace(request_, engine="python"))).id)
    assert run.error is not None
    assert (run.state, run.attempt, run.error.code) == (RunState.DEAD, 2, "machine")


async def test_a_kernel_ends_with_its_worker(service: workers.Service, settings: workers.Settings) -> None:
    command = [sys.executable, "-c", "from workers.jobs import isolated; isolated._end_with_worker()"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(b""), 60)
    assert (process.returncode, errors) == (1, b"")
