"""One fault at a time, and what is guaranteed then."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

import python_core as bt
import workers
from tests.chaos.stage import Stage
from workers.model.states import DONE, RunState

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LONG = bt.synthetic(80_000, timeframe="1m")
CROSS = bt.Strategy(
    entry_long="crossover(sma(close, fast), sma(close, slow))",
    exit_long="crossunder(sma(close, fast), sma(close, slow))",
    params={"fast": 5, "slow": 20},
)


async def submit_long(service: workers.Service, folder: Path, count: int) -> list[str]:
    """Submit runs that take seconds on the Python engine."""
    path = folder / "long.parquet"
    LONG.to_polars().write_parquet(path)
    await service.datasets.create("long", path)
    return [
        (
            await service.backtests.submit(
                workers.BacktestRequest(dataset="long", strategy=CROSS, execution=bt.Execution(slippage=i * 1e-6), engine="python")
            )
        ).id
        for i in range(count)
    ]


async def until_attempt(service: workers.Service, run_id: str, attempt: int) -> workers.Run:
    async with asyncio.timeout(60):
        while (run := await service.backtests.get(run_id)).attempt < attempt:
            await asyncio.sleep(0.02)
    return run


async def all_ended(service: workers.Service, stage: Stage, ids: list[str]) -> list[workers.Run]:
    async with asyncio.timeout(150):
        while True:
            stage.replace_dead()
            runs = [await service.backtests.get(run_id) for run_id in ids]
            if all(run.state in DONE for run in runs):
                return runs
            await asyncio.sleep(0.1)


async def test_another_worker_takes_over_a_killed_worker_s_run_within_twenty_seconds(open_stage: Any, tmp_path: Path) -> None:
    with open_stage() as stage:  # with the default lease
        assert stage.settings.lease_s == workers.Settings().lease_s
        async with workers.open_service(stage.settings) as service:
            for _ in range(2):
                stage.start_worker()
            async with asyncio.timeout(60):
                while len((await service.queue.get_metrics()).workers or ()) < 2:
                    await asyncio.sleep(0.05)
            (run_id,) = await submit_long(service, tmp_path, 1)
            holder = (await until_attempt(service, run_id, 1)).worker
            (killed,) = (worker for worker in stage.workers if holder and f"-{worker.process.pid}-" in holder)
            killed_at, began = time.time(), time.monotonic()
            stage.workers.remove(killed)
            killed.process.kill()
            killed.process.wait()
            run = await until_attempt(service, run_id, 2)
            took_s = time.monotonic() - began
            print(f"taken over {took_s:.1f} s after the kill")
            assert took_s < 20
            assert run.started_at is not None
            assert run.started_at / 1000 - killed_at < 20
            await service.backtests.cancel(run_id)


async def test_a_job_that_kills_its_workers_ends_dead_and_others_succeed(open_stage: Any, tmp_path: Path) -> None:
    with open_stage(lease_s=1, concurrency=4, max_failures=5) as stage:
        stage.start_worker()
        async with workers.open_service(stage.settings) as service:
            innocent = await submit_long(service, tmp_path, 5)
            poison = [
                (
                    await service.backtests.submit(
                        workers.BacktestRequest(dataset="long", strategy=bt.Strategy(entry_long="close > poison", params={"poison": i}))
                    )
                ).id
                for i in (1, 2)
            ]
            runs = await all_ended(service, stage, innocent + poison)
        assert [run.state for run in runs] == [RunState.SUCCEEDED] * 5 + [RunState.DEAD] * 2
        assert all(run.error is not None and run.error.code == "worker_lost" for run in runs[5:])
        assert all(run.attempt == stage.settings.max_failures + 1 for run in runs[5:]), "the last attempt only records the end"
