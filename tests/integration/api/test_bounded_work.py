"""Work that takes long is limited in number, time and memory, ends with its client, and holds up no reads."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
import pytest

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.waiting import Eventually
from tests.support.workers import worker_process
from workers.data import workroom
from workers.data.workroom import WAITING, Process

BARS = bt.synthetic(25_000, timeframe="1m")
# Takes most of a minute on 20,000 bars.
HOSTILE = {"entry_long": " and ".join(f"correlation(close, volume, {500 + 7 * i}) > -2" for i in range(20))}
SIMPLE = {"entry_long": "crossover(close, sma(close, 20))", "exit_long": "crossunder(close, sma(close, 20))"}
RAW = {"content-type": "text/csv"}


class Api:
    """A running API with the dataset `d`, and its processes that work."""

    def __init__(self, app: Any, url: str) -> None:
        self.url = f"{url}/api/v1"
        self.workroom = app.state.service.resources.workroom

    def busy(self) -> list[Process]:
        return [process for process in self.workroom._all if not process.is_free]

    @contextmanager
    def begin(self, method: str, path: str, body: bytes, content_type: str) -> Iterator[socket.socket]:
        """A request whose response nobody reads; the connection is closed after the block."""
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
            head = (
                f"{method} /api/v1{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            yield connection

    def begin_diagnosis(self) -> Any:
        return self.begin("POST", "/strategies/diagnose", json({"dataset": "d", "strategy": HOSTILE}), "application/json")


def json(value: Any) -> bytes:
    return msgspec.json.encode(value)


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str, redis_url: str) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url, redis_url=redis_url)


@pytest.fixture
def start(serve: Serve) -> Iterator[Callable[[workers.Settings], Api]]:
    """`start(settings)`: an API with the dataset `d`."""

    async def add(settings: workers.Settings) -> None:
        async with workers.open_service(settings) as service:
            await service.resources.data.create("d", BARS)

    with ExitStack() as stack:

        def start(settings: workers.Settings) -> Api:
            asyncio.run(add(settings))
            app = create_app(settings)
            api = Api(app, stack.enter_context(serve(app)))
            httpx.post(f"{api.url}/strategies/check", json=SIMPLE, timeout=60).raise_for_status()  # starts a process
            return api

        yield start


def test_hostile_diagnoses_hold_up_no_reads(start: Callable[..., Api], settings: workers.Settings, eventually: Eventually) -> None:
    api = start(settings)
    with httpx.Client(base_url=api.url, timeout=60) as client, worker_process(settings):
        run = client.post("/backtests", json={"dataset": "d", "strategy": SIMPLE}).raise_for_status().json()
        eventually(lambda: client.get(f"/backtests/{run['id']}").json()["state"] == "succeeded")
    paths = (f"/backtests/{run['id']}/trades", f"/backtests/{run['id']}/equity?points=500", "/datasets/d/bars?limit=500")
    with httpx.Client(base_url=api.url, timeout=60) as client:
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(api.begin_diagnosis())
            eventually(lambda: len(api.busy()) == settings.work_processes)
            for path in paths:
                client.get(path).raise_for_status()
            # New ranges are hashed by processes of their own.
            ranged = {"dataset": "d", "strategy": SIMPLE, "start": int(BARS.time[5_000])}
            assert client.post("/backtests", json=ranged).status_code == 202
            assert len(api.busy()) == settings.work_processes, "the diagnoses were done before the reads"
        eventually(lambda: not api.busy())


def test_beyond_the_queue_a_request_is_told_when_to_try_again(
    start: Callable[..., Api], settings: workers.Settings, eventually: Eventually
) -> None:
    api = start(msgspec.structs.replace(settings, work_processes=1))
    with ExitStack() as stack:
        for _ in range(1 + WAITING["strategies"]):
            stack.enter_context(api.begin_diagnosis())
        eventually(lambda: api.workroom._queues["strategies"]._waiting == WAITING["strategies"])
        for path, body in (("check", SIMPLE), ("plot", {"dataset": "d", "strategy": SIMPLE})):
            refused = httpx.post(f"{api.url}/strategies/{path}", json=body, timeout=60)
            assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
            assert refused.json()["code"] == "too_many_requests"
            assert int(refused.headers["retry-after"]) >= 1
            assert f"try again in {refused.headers['retry-after']} s" in refused.json()["detail"]
        # Other kinds of work have places of their own.
        uploaded = httpx.post(f"{api.url}/datasets", params={"name": "e"}, content=csv(BARS), headers=RAW, timeout=60)
        assert uploaded.status_code == 201, uploaded.text
    eventually(lambda: not api.busy())
    assert httpx.post(f"{api.url}/strategies/check", json=SIMPLE, timeout=60).status_code == 200


ABANDONED = {
    "diagnose": ("POST", "/strategies/diagnose", json({"dataset": "d", "strategy": HOSTILE}), "application/json"),
    "plot": ("POST", "/strategies/plot", json({"dataset": "d", "strategy": HOSTILE}), "application/json"),
    "check": ("POST", "/strategies/check", json(SIMPLE), "application/json"),
    "import": ("POST", "/datasets?" + urlencode({"name": "new"}), csv(BARS), "text/csv"),
    "append": ("POST", "/datasets/d/append", csv(BARS), "text/csv"),
    "export": ("GET", "/datasets/d/file?format=csv", b"", "text/plain"),
    "resample": ("GET", "/datasets/d/bars?timeframe=1h", b"", "text/plain"),
    "page": ("GET", "/datasets/d/bars?limit=10", b"", "text/plain"),
    "range": ("POST", "/backtests", json({"dataset": "d", "strategy": SIMPLE, "start": int(BARS.time[5_000])}), "application/json"),
}


@pytest.mark.parametrize("name", ABANDONED)
def test_work_ends_with_its_client(name: str, start: Callable[..., Api], settings: workers.Settings, eventually: Eventually) -> None:
    api = start(settings)
    eventually(lambda: api.workroom._idle)
    # Paused, the work would never end by itself.
    [process] = api.workroom._idle
    pid = process._child.pid
    os.kill(pid, signal.SIGSTOP)
    with api.begin(*ABANDONED[name]):
        eventually(lambda: api.busy() == [process])
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    eventually(lambda: not api.busy())
    # Nothing is stored, and the next request finds a process.
    listed = httpx.get(f"{api.url}/datasets", timeout=60).json()["items"]
    assert [(dataset["name"], dataset["version"]) for dataset in listed] == [("d", 1)]
    assert httpx.get(f"{api.url}/backtests", timeout=60).json()["items"] == []
    assert httpx.post(f"{api.url}/strategies/check", json=SIMPLE, timeout=60).status_code == 200


def test_an_abandoned_import_leaves_no_files(start: Callable[..., Api], settings: workers.Settings, eventually: Eventually) -> None:
    api = start(settings)
    rows = b"".join(b"%d,1,1,1,1,1\n" % (1_704_067_200_000 + i * 60_000) for i in range(2_000_000))
    [process] = api.workroom._idle
    fds = Path(f"/proc/{process._child.pid}/fd")

    def scratch_files() -> list[str]:
        return [name for name in (link_of(fd) for fd in fds.iterdir()) if name.startswith(str(settings.folder / "scratch"))]

    with api.begin("POST", "/datasets?name=new", b"time,open,high,low,close,volume\n" + rows, "text/csv"):
        eventually(lambda: scratch_files())
        os.kill(process._child.pid, signal.SIGSTOP)  # or it might be done before the connection is closed
        assert scratch_files()
    eventually(lambda: not fds.exists())
    assert not [path for path in settings.folder.rglob("*") if path.is_file() and path.parts[-2] in ("scratch", "drafts")]
    open_here = [link_of(fd) for fd in Path("/proc/self/fd").iterdir()]
    assert not [name for name in open_here if "(deleted)" in name and str(settings.folder) in name]
    assert len(httpx.get(f"{api.url}/datasets", timeout=60).json()["items"]) == 1


def link_of(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_a_refused_file_leaves_its_process_to_the_next_request(
    start: Callable[..., Api], settings: workers.Settings, eventually: Eventually
) -> None:
    api = start(settings)
    [process] = api.workroom._idle
    for path in ("datasets?name=new", "datasets/d/append"):
        assert httpx.post(f"{api.url}/{path}", content=b"not a market\n1\n", headers=RAW, timeout=60).status_code == 400
    assert api.workroom._idle == [process]


def test_a_process_without_work_ends(
    start: Callable[..., Api], settings: workers.Settings, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workroom, "IDLE_S", 0.3)
    api = start(settings)
    for _ in range(2):
        eventually(lambda: not api.workroom._all)
        assert httpx.post(f"{api.url}/strategies/check", json=SIMPLE, timeout=60).status_code == 200


def test_work_beyond_the_time_limit_is_ended(start: Callable[..., Api], settings: workers.Settings, eventually: Eventually) -> None:
    api = start(msgspec.structs.replace(settings, work_timeout_s=1.5))
    [process] = api.workroom._idle
    response = httpx.post(f"{api.url}/strategies/diagnose", json={"dataset": "d", "strategy": HOSTILE}, timeout=60)
    assert (response.status_code, response.json()["code"]) == (400, "time_limit")
    assert "longer than the limit of 1.5 s" in response.json()["detail"]
    assert not Path(f"/proc/{process._child.pid}").exists()


def test_work_beyond_the_memory_limit_is_ended(start: Callable[..., Api], settings: workers.Settings) -> None:
    api = start(msgspec.structs.replace(settings, work_memory_mb=100))
    sides = (("entry_long", 2), ("exit_long", 100), ("entry_short", 200), ("exit_short", 300))
    many = {name: " and ".join(f"close+{i}>{i}" for i in range(first, first + 100)) for name, first in sides}
    response = httpx.post(f"{api.url}/strategies/diagnose", json={"dataset": "d", "strategy": many}, timeout=120)
    assert (response.status_code, response.json()["code"]) == (400, "memory_limit")
    assert "more memory than the limit of 100 MB" in response.json()["detail"]
    # The polars library aborts when it can't allocate.
    frame = BARS.to_polars().write_csv().encode() + b" " * 150_000_000
    response = httpx.post(f"{api.url}/datasets", params={"name": "e"}, content=frame, headers=RAW, timeout=120)
    assert (response.status_code, response.json()["code"]) == (400, "memory_limit"), response.text
    assert httpx.post(f"{api.url}/strategies/check", json=SIMPLE, timeout=60).status_code == 200


def test_small_uploads_that_unpack_to_much_are_refused(
    start: Callable[..., Api], settings: workers.Settings, eventually: Eventually
) -> None:
    zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    api = start(settings)
    bomb = zstd.compress(b"time,open,high,low,close,volume\n" + b"1704067200000,1,1,1,1,1\n" * 3_000_000)
    assert len(bomb) < 100_000

    def upload(number: int) -> httpx.Response:
        arguments = {"name": f"bomb {number}", "policy": "drop"}
        return httpx.post(
            f"{api.url}/datasets", params=arguments, content=bomb, headers={"content-type": "application/octet-stream"}, timeout=300
        )

    with ThreadPoolExecutor(8) as threads:
        for response in threads.map(upload, range(8)):
            assert (response.status_code, response.json()["code"]) == (413, "file_too_large"), response.text
            assert "unpacks to more than 67,108,864 bytes" in response.json()["detail"]
    assert len(httpx.get(f"{api.url}/datasets", timeout=60).json()["items"]) == 1
    assert not [path for path in settings.folder.rglob("*") if path.is_file() and path.parts[-2] in ("scratch", "drafts")]


KILLED = """
import asyncio, sys, msgspec, workers, python_core as bt
from tests.integration.api.test_bounded_work import BARS, HOSTILE
async def main():
    async with workers.open_service(workers.Settings.from_env()) as service:
        await service.resources.data.create("d", BARS)
        work = asyncio.create_task(service.strategies.diagnose("d", bt.Strategy(**HOSTILE)))
        while not service.resources.workroom._all:
            await asyncio.sleep(0.01)
        [process] = service.resources.workroom._all
        print(process._child.pid, flush=True)
        await work
asyncio.run(main())
"""


def test_a_killed_api_process_leaves_no_process_behind(settings: workers.Settings, eventually: Eventually) -> None:
    root = Path(__file__).resolve().parents[3]
    environ = {**os.environ, **settings.to_env(), "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", KILLED], env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        status = Path(f"/proc/{int(process.stdout.readline())}/stat")
        # Busy with the diagnosis, and not only with its imports: seconds of processor time.
        eventually(lambda: int(status.read_text().rsplit(")", 1)[1].split()[11]) > 3 * os.sysconf("SC_CLK_TCK"))
        process.kill()
        eventually(lambda: not status.exists() or ") Z " in status.read_text(), within_s=10)
