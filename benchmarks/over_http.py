"""The whole service over HTTP: submissions, reads and the whole way, beside an echo and bare durable commits, all in one run.

Run as a program, it is the echo: python over_http.py PORT.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import end_to_end
from http_load import Load, get, load, post
from report import number, table

import python_core as bt
import workers

CONNECTIONS = 32
BATCH = 1000
API = "/api/v1/backtests"
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
# The share of a core that each worker has when the growth with a second one is measured.
QUOTA = 0.1
# Between two requests, in seconds, so that each meets an idle service.
PAUSE_S = 0.02


class Figure(NamedTuple):
    """Requests, runs or commits a second, and processor time of the serving processes for each, in milliseconds (NaN: not measured)."""

    rate: float
    cpu_ms: float = float("nan")


class Waits(NamedTuple):
    """Milliseconds of one request at a time, with pauses between them: an echo, a submission, and from a submission to its result."""

    echo: float
    submit: float
    p50: float
    p99: float


class Measured(NamedTuple):
    """What was measured with one database."""

    figures: dict[str, Figure]
    idle: Waits


async def measure(requests: int, rounds: int, latencies: int, redis_url: str, folder: Path) -> dict[str, Measured]:
    """What was measured, by database."""
    found = {}
    for kind in ("sqlite", "postgresql"):
        async with end_to_end.database(kind, folder) as url:
            settings = workers.Settings(data_dir=str(folder / f"http-{kind}"), database_url=url, redis_url=redis_url, log_level="error")
            with ExitStack() as stack:
                bench = _Bench(settings, stack)
                measured = [await bench.measure(requests) for _ in range(rounds)]
                measured.append(await bench.measure_growth(requests))
                idle = await bench.measure_idle(latencies)
            names = dict.fromkeys(name for figures in measured for name in figures)
            figures = {name: _median([figures[name] for figures in measured if name in figures]) for name in names}
            figures["durable commits"] = Figure(await _commits(kind, url, folder, requests))
            figures["kernel alone, 1 process"] = _kernel(requests)
            found[kind] = Measured(figures, idle)
        print(f"{kind}: {found[kind]}", file=sys.stderr, flush=True)
    return found


def _median(figures: Sequence[Figure]) -> Figure:
    return Figure(statistics.median(each.rate for each in figures), statistics.median(each.cpu_ms for each in figures))


class _Bench:
    """An echo and an API as processes of their own; workers come and go."""

    def __init__(self, settings: workers.Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._count = 0
        self._echo_port, self._port = free_port(), free_port()
        self._echo = stack.enter_context(running([__file__, str(self._echo_port)], settings))
        self._api = stack.enter_context(running(["-m", "workers.cli.main", "api", "--port", str(self._port)], settings))
        for port, path in ((self._echo_port, "/echo"), (self._port, API)):
            wait_for(f"http://127.0.0.1:{port}{path}")
        bars = settings.folder / "bars.parquet"
        bars.parent.mkdir(parents=True, exist_ok=True)
        bt.synthetic(end_to_end.BARS, timeframe="5m").to_polars().write_parquet(bars)
        send(f"http://127.0.0.1:{self._port}/api/v1/datasets?name=bench", bars.read_bytes(), "application/octet-stream")

    async def measure(self, requests: int) -> dict[str, Figure]:
        await end_to_end.empty(self._settings.redis_url)
        echo = [post("/echo", self._body()) for _ in range(requests)]
        found = {
            "echo, POST": await self._load(self._echo_port, echo, self._echo),
            "echo, GET": await self._load(self._echo_port, [get("/echo")] * requests, self._echo),
            "submit, new": await self._load(self._port, [post(API, self._body()) for _ in range(requests)], self._api),
            "submit, new, 1 connection": await self._load(
                self._port, [post(API, self._body()) for _ in range(requests // 10)], self._api, connections=1
            ),
        }
        batches = [self._batch(BATCH) for _ in range(max(requests // BATCH, 1))]
        of_batches = await self._load(self._port, batches, self._api, connections=1)
        found["submit, batches of 1,000"] = Figure(of_batches.rate * BATCH, of_batches.cpu_ms / BATCH)
        with self._workers(end_to_end.WORKERS) as started:
            await self._all_done()
            found["whole way, batches"] = await self._whole_way(requests, started)
        known = self._body()
        with self._workers(1):
            run = json.loads(send(f"http://127.0.0.1:{self._port}{API}", known))
            await self._all_done()
        path = f"{API}/{run['id']}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}") as answer:
            tag = answer.headers["etag"]
        found["submit, known"] = await self._load(self._port, [post(API, known)] * requests, self._api)
        found["GET, finished"] = await self._load(self._port, [get(path)] * requests, self._api)
        found["GET, not modified"] = await self._load(self._port, [get(path, if_none_match=tag)] * requests, self._api)
        return found

    async def measure_growth(self, requests: int) -> dict[str, Figure]:
        """Runs a second of one and of two workers that have a tenth of a core each, so that they don't take it from the database."""
        if not os.access(CPU_GROUPS, os.W_OK):
            return {}
        found = {}
        for count in (1, 2):
            send(f"http://127.0.0.1:{self._port}/api/v1/queue/pause", b"")
            body = json.dumps({"backtests": [json.loads(self._body()) for _ in range(BATCH)]}).encode()
            send(f"http://127.0.0.1:{self._port}{API}/batch", body)
            with self._workers(count) as started, ExitStack() as stack:
                await asyncio.sleep(3)  # they are started without a limit
                for worker in started:
                    stack.enter_context(_cpu_quota(worker.pid))
                send(f"http://127.0.0.1:{self._port}/api/v1/queue/resume", b"")
                began = time.perf_counter()
                await self._all_done()
                found[f"{count} worker{'s' * (count > 1)}, a tenth of a core each"] = Figure(BATCH / (time.perf_counter() - began))
        return found

    async def measure_idle(self, count: int) -> Waits:
        """One run at a time on one idle worker; the client reads the events of each run until its end."""
        echo, submit, result = [], [], []
        with self._workers(1), ExitStack() as stack:
            await self._all_done()
            echo_server = stack.enter_context(closing(HTTPConnection("127.0.0.1", self._echo_port)))
            api = stack.enter_context(closing(HTTPConnection("127.0.0.1", self._port)))
            for _ in range(count + 10):
                for connection, path, waits in ((echo_server, "/echo", echo), (api, API, submit)):
                    await asyncio.sleep(PAUSE_S)
                    began = time.perf_counter()
                    connection.request("POST", path, self._body(), {"content-type": "application/json"})
                    answer = connection.getresponse().read()
                    waits.append((time.perf_counter() - began) * 1000)
                api.request("GET", f"{API}/{json.loads(answer)['id']}/events")
                assert b"event: end" in api.getresponse().read()
                result.append((time.perf_counter() - began) * 1000)
        medians = [statistics.median(waits[10:]) for waits in (echo, submit, result)]
        return Waits(*medians, sorted(result[10:])[int(count * 0.99)])

    async def _whole_way(self, runs: int, started: Sequence[subprocess.Popen[bytes]]) -> Figure:
        """From the first request to the end of the last run, with API and workers side by side."""
        processes = (self._api, *started)
        before, began = sum(cpu_s(each.pid) for each in processes), time.perf_counter()
        await load(self._port, [self._batch(BATCH) for _ in range(max(runs // BATCH, 1))], connections=2)
        await self._all_done()
        took_s, used_s = time.perf_counter() - began, sum(cpu_s(each.pid) for each in processes) - before
        return Figure(runs / took_s, used_s / runs * 1000)

    async def _load(self, port: int, requests: list[bytes], process: subprocess.Popen[bytes], connections: int = CONNECTIONS) -> Figure:
        before = cpu_s(process.pid)
        found: Load = await load(port, requests, connections=connections)
        assert not [status for status in found.statuses if status not in (200, 202, 304)], found.statuses
        return Figure(found.rate, (cpu_s(process.pid) - before) / len(requests) * 1000)

    @contextmanager
    def _workers(self, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
        with ExitStack() as stack:
            command = ["-m", "workers.cli.main", "worker-process"]
            yield [stack.enter_context(running(command, self._settings)) for _ in range(count)]

    async def _all_done(self) -> None:
        """Wait until no run is waiting or running."""
        async with asyncio.timeout(600):
            while True:
                await asyncio.sleep(0.05)
                states = (fetch(f"http://127.0.0.1:{self._port}{API}?state={state}&limit=1") for state in ("queued", "running", "retrying"))
                if not any(json.loads(state)["items"] for state in states):
                    return

    def _batch(self, count: int) -> bytes:
        return post(f"{API}/batch", b'{"backtests":[%b]}' % b",".join(self._body() for _ in range(count)))

    def _body(self) -> bytes:
        """A request that no other equals."""
        self._count += 1
        strategy = {
            "entry_long": end_to_end.STRATEGY.entry_long,
            "exit_long": end_to_end.STRATEGY.exit_long,
            "params": {"fast": 10, "slow": 30},
        }
        execution = {"commission": 0.0006, "slippage": self._count * 1e-9}
        return json.dumps({"dataset": "bench", "strategy": strategy, "execution": execution}).encode()


@contextmanager
def running(arguments: list[str], settings: workers.Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], env={**os.environ, **settings.to_env()}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _cpu_quota(pid: int) -> Iterator[None]:
    group = CPU_GROUPS / f"barstorm-bench-{pid}"
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text(str(int(QUOTA * int((group / "cpu.cfs_period_us").read_text()))))
        for thread in Path(f"/proc/{pid}/task").iterdir():
            (group / "tasks").write_text(thread.name)
        yield
    finally:
        for thread in (group / "tasks").read_text().split():
            (CPU_GROUPS / "tasks").write_text(thread)
        group.rmdir()


def _kernel(count: int) -> Figure:
    """The same backtests in one process, without anything of the service."""
    bars, before, began = bt.synthetic(end_to_end.BARS, timeframe="5m"), time.process_time(), time.perf_counter()
    for i in range(count):
        _ = bt.backtest(bars, end_to_end.STRATEGY, bt.Execution(slippage=i * 1e-9)).metrics
    return Figure(count / (time.perf_counter() - began), (time.process_time() - before) / count * 1000)


async def _commits(kind: str, url: str, folder: Path, count: int) -> float:
    """Durable commits of one small row a second: one at a time on SQLite, over 20 connections on PostgreSQL."""
    if kind == "sqlite":
        connection = sqlite3.connect(folder / "commits.sqlite", isolation_level=None)
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS t (value TEXT)")
        began = time.perf_counter()
        for i in range(count):
            connection.execute("INSERT INTO t VALUES (?)", (str(i),))
        return count / (time.perf_counter() - began)
    import asyncpg

    connections = [await asyncpg.connect(url.replace("+asyncpg", "")) for _ in range(20)]
    await connections[0].execute("CREATE TABLE IF NOT EXISTS commits (value TEXT)")
    waiting = iter(range(count))

    async def commit(connection: Any) -> None:
        statement = await connection.prepare("INSERT INTO commits VALUES ($1)")
        for i in waiting:
            await statement.fetch(str(i))

    began = time.perf_counter()
    await asyncio.gather(*map(commit, connections))
    took_s = time.perf_counter() - began
    for connection in connections:
        await connection.close()
    return count / took_s


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            fetch(url)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def send(url: str, body: bytes, content_type: str = "application/json") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": content_type}, method="POST")) as answer:
        return bytes(answer.read())


# Requests or runs a second on SQLite and PostgreSQL, on a machine whose echo answered this many.
GOAL_ECHO = 9_800
GOALS = {
    "submit, new": (1500, 1500),
    "submit, batches of 1,000": (5000, 5000),
    "submit, known": (5000, 5000),
    "GET, finished": (5000, 5000),
    "GET, not modified": (7000, 7000),
    "whole way, batches": (700, 1000),
}


IDLE_P50_MS, IDLE_P99_MS = 8, 20


def text(found: dict[str, Measured]) -> str:
    head = (
        f"API, {end_to_end.WORKERS} workers, database, Valkey and the client share the processors. Requests over {CONNECTIONS} connections, each with "
        f"one at a time, if nothing else is said; the client is a small one in Python. *Echo*: a Litestar application that decodes and returns the "
        "same body, or returns a constant. *Durable commits*: one row each, by the driver alone, over 20 connections on PostgreSQL. *Whole way*: from "
        f"the first batch to the end of the last of these {end_to_end.BARS:,}-bar backtests, with API and workers side by side. *CPU*: processor time "
        "of the API process (on the whole way, of API and workers, the kernel included) for each request or run. *Share*: relative to the echo of the "
        f"same kind; so are the goals, which were set on a machine whose echo answered {GOAL_ECHO:,}/s. *Kernel alone*: the same backtests in a loop."
    )
    rows = []
    for column, (kind, (figures, _)) in enumerate(found.items()):
        for name, figure in figures.items():
            goal = GOALS[name][column] if name in GOALS else None
            share = figure.rate / figures["echo, GET" if name.startswith("GET") else "echo, POST"].rate
            outcome = "" if goal is None else "met" if share >= goal / GOAL_ECHO else "missed"
            cpu = "" if figure.cpu_ms != figure.cpu_ms else f"{figure.cpu_ms:.2f}"
            rows.append([kind, name, number(figure.rate), f"{share:.0%}", cpu, "" if goal is None else f"{goal / GOAL_ECHO:.0%}", outcome])
    idle = (
        f"One run at a time, {PAUSE_S * 1000:g} ms between two requests, on one worker; the client waits for the `end` of the run's events. "
        "*Echo*: of the echo application, with the same pauses. Milliseconds."
    )
    waits = []
    for kind, (_, (echo, submit, p50, p99)) in found.items():
        met = "met" if p50 <= IDLE_P50_MS and p99 <= IDLE_P99_MS else "missed"
        waits.append([kind, *(f"{value:.1f}" for value in (echo, submit, p50, p99)), f"{IDLE_P50_MS} and {IDLE_P99_MS}", met])
    return "\n\n".join(
        [
            head,
            table(["", "", "a second", "share", "CPU ms", "goal", ""], rows, left=2),
            idle,
            table(["", "echo p50", "submit p50", "result p50", "p99", "goal", ""], waits),
        ]
    )


def echo(port: int) -> None:
    import uvicorn
    from litestar import Litestar
    from litestar import get as get_route
    from litestar import post as post_route

    @post_route("/echo", status_code=200)
    async def echo_body(data: dict[str, Any]) -> dict[str, Any]:
        return data

    @get_route("/echo")
    async def echo_constant() -> dict[str, str]:
        return {"state": "fine"}

    application = Litestar([echo_body, echo_constant], openapi_config=None)
    uvicorn.run(application, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    echo(int(sys.argv[1]))
