"""The stream of all runs over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

import python_core as bt
import workers
from api import create_app
from api.http import sse
from tests.support.files import csv
from tests.support.serving import Serve
from workers.runs import feed, follow

STRATEGY = {"entry_long": "close > open"}
EVENTS = "/api/v1/events"


@pytest.fixture
def app(tmp_path: Path, redis_url: str) -> Litestar:
    return create_app(workers.Settings(data_dir=str(tmp_path / "data"), redis_url=redis_url))


@pytest.fixture
def url(app: Litestar, serve: Serve) -> Iterator[str]:
    with serve(app) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def submit(client: httpx.Client, capital: int, **headers: str) -> str:
    body = {"dataset": "bars", "strategy": STRATEGY, "execution": {"initial_capital": capital}}
    return str(client.post("/api/v1/backtests", json=body, headers=headers).raise_for_status().json()["id"])


def upload(client: httpx.Client, **headers: str) -> None:
    headers["content-type"] = "text/csv"
    client.post("/api/v1/datasets", params={"name": "bars"}, content=csv(bt.synthetic(100)), headers=headers).raise_for_status()


@contextmanager
def stream(url: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a stream that is open."""
    with httpx.stream("GET", url + EVENTS, headers=headers, timeout=60) as response:
        assert response.raise_for_status().headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert next(lines) == "retry: 1000"
        yield parsed(lines)


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "event" in event:
            yield event | {"data": json.loads(event["data"])}
            event = {}
        else:
            event = {}


def test_events_name_the_run_and_can_be_continued(client: httpx.Client, url: str, app: Litestar, eventually: Callable[..., None]) -> None:
    upload(client)
    with stream(url) as events:
        run_id = submit(client, 1000)
        first = next(events)
        assert (first["event"], first["data"]["run_id"], first["data"]["state"]) == ("state", run_id, "queued")
        assert first["data"]["kind"] == "backtest"
        assert abs(first["data"]["at"] / 1000 - time.time()) < 60
    eventually(lambda: app.state.service.resources.feed.count == 0)
    client.post(f"/api/v1/backtests/{run_id}/cancel").raise_for_status()
    with stream(url, **{"last-event-id": first["id"]}) as events:
        assert next(events)["data"] | {"at": 0} == first["data"] | {"state": "cancelled", "at": 0}
    with stream(url, **{"last-event-id": "1-1"}) as events:
        assert next(events) | {"id": ""} == {"event": "gap", "data": {}, "id": ""}
    refused = client.get(EVENTS, headers={"last-event-id": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (400, "header.Last-Event-ID")


def test_keys_see_the_runs_of_their_owner(client: httpx.Client, url: str) -> None:
    admin = {"authorization": f"Bearer {client.post('/api/v1/keys', json={'name': 'root', 'scope': 'admin'}).json()['secret']}"}
    keys = {}
    for owner in ("anna", "ben"):
        key = client.post("/api/v1/keys", json={"name": owner, "owner": owner, "scope": "write"}, headers=admin).json()
        keys[owner] = {"authorization": f"Bearer {key['secret']}"}
        upload(client, **keys[owner])
    with stream(url, **keys["anna"]) as of_anna, stream(url, **admin) as of_all:
        of_ben = submit(client, 1000, **keys["ben"])
        expected = submit(client, 2000, **keys["anna"])
        assert next(of_anna)["data"]["run_id"] == expected
        assert {next(of_all)["data"]["run_id"] for _ in range(2)} == {of_ben, expected}
    assert client.get(EVENTS).status_code == 401


def test_all_streams_of_a_process_have_one_limit(client: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_STREAMS", 1)
    upload(client)
    run_id = submit(client, 1000)
    with stream(url):
        for path in (EVENTS, f"/api/v1/backtests/{run_id}/events"):
            refused = client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")


def test_a_server_that_stops_ends_its_streams(app: Litestar, serve: Serve) -> None:
    began = time.monotonic()
    with serve(app) as url:
        context = stream(url)
        events = context.__enter__()
        began = time.monotonic()
    assert time.monotonic() - began < 30
    with pytest.raises(httpx.HTTPError):
        next(events)


@pytest.mark.parametrize("path", [EVENTS, "/api/v1/backtests/{run_id}/events"])
@pytest.mark.parametrize("end", ["deleted", "expired"])
def test_a_stream_ends_with_its_key(client: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch, path: str, end: str) -> None:
    for module in (feed, follow):
        monkeypatch.setattr(module, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(sse, "CHECK_S", 0.05)

    def key(**fields: object) -> dict[str, Any]:
        return dict(client.post("/api/v1/keys", json={"name": "k", "owner": "anna"} | fields).raise_for_status().json())

    def bearer(new: dict[str, Any]) -> dict[str, str]:
        return {"authorization": f"Bearer {new['secret']}"}

    client.headers = bearer(key(scope="admin"))
    upload(client)
    path = path.format(run_id=submit(client, 1000))
    new, lasting = key(), key()
    with (
        httpx.stream("GET", url + path, headers=bearer(new), timeout=60) as ends,
        httpx.stream("GET", url + path, headers=bearer(lasting)) as stays,
    ):
        lines, others = ends.iter_lines(), stays.iter_lines()
        assert next(lines) == next(others) == "retry: 1000"
        if end == "deleted":
            client.delete(f"/api/v1/keys/{new['key']['id']}").raise_for_status()
        else:
            client.post(f"/api/v1/keys/{new['key']['id']}/rotate", params={"grace_s": 1}).raise_for_status()
        assert all(line in ("", ": waiting") or line.startswith("id: ") for line in lines), "only keep-alives, and then the end"
        for _ in range(50):
            next(others)


def test_a_stream_without_a_key_ends_with_the_first_key(client: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_S", 0.05)
    with stream(url) as events:
        client.post("/api/v1/keys", json={"name": "k", "scope": "admin"}).raise_for_status()
        assert list(events) == []
