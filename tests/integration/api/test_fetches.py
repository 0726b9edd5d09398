"""Fetches and schedules over HTTP, on a real service without workers: nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import workers
from api import create_app
from tests.support.marks import on_sqlite
from tests.support.serving import Serve

BTC = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": 1_704_067_200_000}


@pytest.fixture
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
        yield client


@on_sqlite
def test_a_fetch_is_accepted_followed_and_cancelled(client: httpx.Client) -> None:
    answer = client.post("/fetches", json=BTC)
    assert answer.status_code == 202
    accepted = answer.json()
    assert (accepted["state"], accepted["dataset"], accepted["report"]) == ("queued", "bybit-btcusdt-1m", None)
    location = answer.headers["location"].removeprefix("/api/v1")
    found = client.get(location)
    assert found.json() == accepted
    assert client.get(location, headers={"if-none-match": found.headers["etag"]}).status_code == 304
    assert client.get("/fetches").json() == {"items": [accepted], "next_cursor": None}
    assert client.post(f"{location}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{location}/cancel").status_code == 409
    assert client.get("/fetches/none").status_code == 404
    assert client.get(f"/backtests/{accepted['id']}").status_code == 404


@on_sqlite
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"exchange": "bybitt"}, "bybit"),
        ({"timeframe": "7m"}, "use one of 1m"),
        ({"symbol": " "}, "symbol"),
        ({"funding": True}, "spot markets have no funding rates"),
        ({"kind": "fx"}, "use spot, linear or inverse"),
        ({"until": 5}, "is not after since"),
        ({"since": -1}, ">= 0"),
        ({"dataset": "a\nb"}, "dataset"),
        ({"when": 1}, "unknown field"),
    ],
)
def test_a_fetch_that_makes_no_sense_is_refused_with_a_hint(client: httpx.Client, change: dict[str, Any], told: str) -> None:
    for address, body in (("/fetches", BTC | change), ("/schedules", {"fetch": BTC | change})):
        answer = client.post(address, json=body)
        assert answer.status_code == 400
        assert told in answer.text
    assert client.get("/fetches").json()["items"] == []
    assert client.get("/schedules").json()["total"] == 0


@on_sqlite
def test_a_schedule_is_kept_listed_and_deleted(client: httpx.Client) -> None:
    body = {"fetch": {name: value for name, value in BTC.items() if name != "since"}}
    answer = client.post("/schedules", json=body, headers={"barstorm-owner": "ann"})
    assert answer.status_code == 201
    kept = answer.json()
    assert (kept["dataset"], kept["every_s"], kept["owner"]) == ("bybit-btcusdt-1m", 60, "ann")
    location = answer.headers["location"].removeprefix("/api/v1")
    assert client.get(location).json() == kept
    assert client.get("/schedules").json() == {"items": [kept], "offset": 0, "total": 1}
    assert client.post("/schedules", json=body | {"every_s": 300}).status_code == 409
    assert client.post("/schedules", json=body | {"every_s": 1}).status_code == 400
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.delete(location).status_code == 404
