"""Memory, latency and keys at half load, for a minute and for BARSTORM_SOAK_S seconds (default: half an hour)."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import python_core as bt
import workers
from workers.model.states import DONE

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SOAK_S = float(os.environ.get("BARSTORM_SOAK_S", "1800"))
WINDOWS = 12
CLIENTS = 8
STRATEGY = bt.Strategy(entry_long="crossover(close, sma(close, 20))", exit_long="crossunder(close, sma(close, 20))")


class Window(NamedTuple):
    """Measurements of a part of the soak test; `keys` counts only those that don't expire."""

    jobs: int
    memory_mb: float
    p50_ms: float
    keys: int


class Clients:
    """Clients that submit distinct runs and wait for them."""

    def __init__(self, service: workers.Service) -> None:
        self.service = service
        self.latencies_ms: list[float] = []
        self._count = 0

    async def run_one(self) -> None:
        self._count += 1
        execution = bt.Execution(slippage=self._count * 1e-8)
        began = time.monotonic()
        run = await self.service.backtests.submit(workers.BacktestRequest(dataset="soak", strategy=STRATEGY, execution=execution))
        while (await self.service.backtests.get(run.id)).state not in DONE:
            await asyncio.sleep(0.01)
        self.latencies_ms.append((time.monotonic() - began) * 1000)

    async def rate(self, seconds: float) -> float:
        """Throughput with `CLIENTS` clients, in runs per second."""
        end, before = time.monotonic() + seconds, len(self.latencies_ms)

        async def client() -> None:
            while time.monotonic() < end:
                await self.run_one()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return (len(self.latencies_ms) - before) / seconds

    async def soak(self, rate: float, seconds: float) -> Window:
        """Submit runs at a steady rate. The memory is that of the largest worker."""
        end, due, running = time.monotonic() + seconds, time.monotonic(), set[asyncio.Task[None]]()
        self.latencies_ms.clear()
        while time.monotonic() < end:
            task = asyncio.create_task(self.run_one())
            running.add(task)
            task.add_done_callback(running.discard)
            due += 1 / rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
        await asyncio.gather(*running)
        metrics = await self.service.queue.get_metrics()
        memory_mb = max(worker.memory_mb for worker in metrics.workers)
        redis = self.service.resources.queue.redis
        lasting = [key async for key in redis.scan_iter(count=1000) if await redis.ttl(key) == -1]
        return Window(len(self.latencies_ms), memory_mb, statistics.median(self.latencies_ms), len(lasting))


@pytest.mark.parametrize("soak_s", [60.0, pytest.param(SOAK_S, marks=pytest.mark.long)], ids=["short", "long"])
async def test_memory_latency_and_keys_stay_flat(open_stage: Any, tmp_path: Path, soak_s: float) -> None:
    with open_stage(megabytes=4096) as stage:
        for _ in range(2):
            stage.start_worker()
        async with workers.open_service(stage.settings) as service:
            path = tmp_path / "bars.parquet"
            bt.synthetic(2000).to_polars().write_parquet(path)
            await service.datasets.create("soak", path)
            clients = Clients(service)
            await clients.run_one()
            full = await clients.rate(min(soak_s / 10, 20))
            windows = [await clients.soak(full / 2, soak_s / WINDOWS) for _ in range(WINDOWS)]
    print(f"full load {full:.0f} runs/s; at half load:", *windows, sep="\n")
    third = WINDOWS // 3
    early, late = windows[third : 2 * third], windows[-third:]

    def median(of: list[Window], name: str) -> float:
        return statistics.median(getattr(window, name) for window in of)

    assert median(late, "memory_mb") < median(early, "memory_mb") * 1.1 + 10
    assert median(late, "p50_ms") < median(early, "p50_ms") * 2 + 20
    assert median(late, "keys") <= median(early, "keys") + 20
    assert sum(window.jobs for window in windows) > 0.8 * full / 2 * soak_s
