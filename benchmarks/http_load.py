"""A client that costs little: raw HTTP/1.1 over connections that are kept open, each with one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple


class Load(NamedTuple):
    """What a load found: answers a second, the status of each, and the time of each in milliseconds."""

    rate: float
    statuses: dict[int, int]
    waits_ms: list[float]


class _Connection(asyncio.Protocol):
    def __init__(self, take: Callable[[], bytes | None], statuses: dict[int, int], waits_ms: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take = take
        self._statuses = statuses
        self._waits_ms = waits_ms
        self._buffer = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        request = self._take()
        if request is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self._buffer = b""
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._waits_ms.append((time.perf_counter() - self._began) * 1000)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"the server closed the connection: {error}"))


async def load(port: int, requests: list[bytes], *, connections: int) -> Load:
    """Send all requests over this number of connections."""
    statuses: dict[int, int] = {}
    waits_ms: list[float] = []
    waiting = iter(requests)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(lambda: next(waiting, None), statuses, waits_ms), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    return Load(len(waits_ms) / (time.perf_counter() - began), statuses, waits_ms)


def get(path: str, **headers: str) -> bytes:
    return _request("GET", path, b"", headers)


def post(path: str, body: bytes, **headers: str) -> bytes:
    return _request("POST", path, body, {"content-type": "application/json", "content-length": str(len(body)), **headers})


def _request(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
