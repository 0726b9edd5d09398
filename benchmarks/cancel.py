"""The time from the call that cancels a running backtest until its kernel has stopped.

Run as a program, it is the worker process, which records when each kernel ended: python cancel.py FILE.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import end_to_end
import msgspec
from report import table

import python_core as bt
import workers
from workers.model.states import DONE, RunState

WAIT_S = 60.0
STRATEGY = bt.Strategy(
    entry_long="crossover(close, wma(close, 200)) and correlation(close, volume, 100) > 0",
    exit_long="crossunder(close, wma(close, 200))",
)


class Kernel(NamedTuple):
    """A kernel, and a number of bars that keeps it busy for seconds."""

    name: str
    engine: str
    isolated: bool
    bars: int


class CancelTimes(NamedTuple):
    bars: int
    p50_ms: float
    worst_ms: float


def kernels(rust_bars: int) -> list[Kernel]:
    return [
        Kernel("Rust", "rust", False, rust_bars),
        Kernel("Python in its own process", "python", True, 300_000),
    ]


async def measure(count: int, rust_bars: int, redis_url: str, folder: Path) -> dict[str, CancelTimes]:
    found = {}
    settings = workers.Settings(
        data_dir=str(folder / "cancel"), database_url=f"sqlite:///{folder / 'cancel.sqlite'}", redis_url=redis_url, log_level="error"
    )
    await end_to_end.empty(redis_url)
    async with workers.open_service(settings) as service:
        for kernel in kernels(rust_bars):
            if kernel.engine == "rust" and bt.engine != "rust":
                continue
            path = service.resources.settings.folder / f"{kernel.bars}.parquet"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                bt.synthetic(kernel.bars, timeframe="1m").to_polars().write_parquet(path)
                await service.datasets.create(f"bars-{kernel.bars}", path)
            log = folder / f"ended-{len(found)}"
            request = workers.BacktestRequest(dataset=f"bars-{kernel.bars}", strategy=STRATEGY, engine=kernel.engine)
            async with _worker(msgspec.structs.replace(settings, isolate_python=kernel.isolated), log):
                for _ in range(4):  # so that the bars are in memory; loading them is not interrupted
                    await _cancel_ms(service, request, log)
                times_ms = [await _cancel_ms(service, request, log) for _ in range(count)]
            found[kernel.name] = CancelTimes(kernel.bars, statistics.median(times_ms), max(times_ms))
            print(f"cancel, {kernel.name}: {found[kernel.name]}", file=sys.stderr, flush=True)
    return found


async def _cancel_ms(service: workers.Service, request: workers.BacktestRequest, log: Path) -> float:
    run = await service.backtests.submit(request)
    async with asyncio.timeout(WAIT_S):
        while (await service.backtests.get(run.id)).state != RunState.RUNNING:
            await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0.5, 1))
        before = len(_ends(log))
        cancelled_at = time.monotonic_ns()
        await service.backtests.cancel(run.id)
        while len(ends := _ends(log)) == before:
            await asyncio.sleep(0.005)
        while (state := (await service.backtests.get(run.id)).state) not in DONE:
            await asyncio.sleep(0.005)
    if state != RunState.CANCELLED:
        raise RuntimeError(f"the run is {state}: it ended before it could be cancelled")
    return (ends[-1] - cancelled_at) / 1e6


def _ends(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()]


@asynccontextmanager
async def _worker(settings: workers.Settings, log: Path) -> AsyncIterator[None]:
    log.touch()
    process = subprocess.Popen([sys.executable, __file__, str(log)], env={**os.environ, **settings.to_env()})
    try:
        yield
    finally:
        process.terminate()
        process.communicate()


def text(cancels: dict[str, CancelTimes]) -> str:
    head = (
        "A backtest with averages and correlations, on bars already in memory, is cancelled half a second to a second after it started. "
        "Milliseconds from the call to the service, through database and Redis, until the worker's kernel has stopped; for Python in its own "
        "process, until that process has ended."
    )
    rows = [[name, f"{found.bars:,}", f"{found.p50_ms:.1f}", f"{found.worst_ms:.1f}", ""] for name, found in cancels.items()]
    return f"{head}\n\n{table(['', 'bars', 'median ms', 'worst ms', ''], rows)}"


def record_ends(path: Path) -> None:
    from workers.jobs import backtest

    compute, compute_isolated = backtest.compute, backtest.compute_isolated
    log = path.open("a", buffering=1)

    def recorded(*arguments: Any) -> Any:
        try:
            return compute(*arguments)
        finally:
            log.write(f"{time.monotonic_ns()}\n")

    async def recorded_isolated(*arguments: Any) -> Any:
        try:
            return await compute_isolated(*arguments)
        finally:
            log.write(f"{time.monotonic_ns()}\n")

    backtest.compute, backtest.compute_isolated = recorded, recorded_isolated


if __name__ == "__main__":
    from workers.cli.main import main

    record_ends(Path(sys.argv[1]))
    sys.exit(main(["worker-process"]))
