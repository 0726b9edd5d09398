"""A TCP proxy before a server, whose open connections a test can make silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.ports import free_port


class Proxy:
    """Forwards connections to a port of this machine. `drop_open` makes the open ones a black hole: they stay open, and what is sent on them
    is lost. New ones work."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.started = threading.Event()
        self._target = target
        self._generation = 0
        self._handlers: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    def drop_open(self) -> None:
        self._generation += 1

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ended.set)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.started.set()
        await self._ended.wait()
        server.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._generation
        self._handlers.add(asyncio.current_task())  # nothing else holds on to the handler of a silent connection
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65_536):
                    if generation == self._generation:
                        target.write(data)
                        await target.drain()
            if generation == self._generation:
                target.close()

        # In Python 3.11, asyncio complains of handlers that are cancelled, as these are at the end.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
        writer.close()
        server_writer.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy in a thread of its own, during the block."""
    opened = Proxy(target)
    thread = threading.Thread(target=lambda: asyncio.run(opened.run()))
    thread.start()
    assert opened.started.wait(60)
    try:
        yield opened
    finally:
        opened.end()
        thread.join()
