"""Fetches and schedules over HTTP, on a real service without workers, so that nothing is fetched."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import workers
from api import create_app
from tests.support.marks import on_sqlite
from tests.support.serving import Serve
from workers.fetch import exchange

ROOT = Path(__file__).resolve().parents[3]
BTC = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": 1_704_067_200_000}


@pytest.fixture
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
        yield client


@on_sqlite
def test_a_fetch_is_accepted_polled_and_cancelled(client: httpx.Client) -> None:
    response = client.post("/fetches", json=BTC)
    assert response.status_code == 202
    accepted = response.json()
    assert (accepted["state"], accepted["dataset"], accepted["report"]) == ("queued", "bybit-btcusdt-1m", None)
    location = response.headers["location"].removeprefix("/api/v1")
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
    ("change", "text"),
    [
        ({"exchange": "bybitt"}, "bybit"),
        ({"timeframe": "7m"}, "use one of 1s"),
        ({"symbol": " "}, "symbol"),
        ({"funding": True}, "spot markets have no funding rates"),
        ({"kind": "fx"}, "use spot, linear or inverse"),
        ({"until": 5}, "is not after since"),
        ({"since": -1}, ">= 0"),
        ({"dataset": "a\nb"}, "dataset"),
        ({"when": 1}, "unknown field"),
    ],
)
def test_an_invalid_fetch_is_refused_with_a_hint(client: httpx.Client, change: dict[str, Any], text: str) -> None:
    for address, body in (("/fetches", BTC | change), ("/schedules", {"fetch": BTC | change})):
        response = client.post(address, json=body)
        assert response.status_code == 400
        assert text in response.text
    assert client.get("/fetches").json()["items"] == []
    assert client.get("/schedules").json()["items"] == []


@on_sqlite
def test_without_ccxt_fetches_are_not_implemented_and_the_hint_installs_it(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "find_spec", lambda name: None)
    for address, body in (("/fetches", BTC), ("/schedules", {"fetch": BTC})):
        response = client.post(address, json=body)
        assert (response.status_code, response.json()["code"]) == (501, "not_installed")
        assert "run `make .venv/exchanges`, or `pip install '.[service,exchanges]'`, in the checkout" in response.json()["detail"]
    assert client.get("/fetches").json()["items"] == client.get("/schedules").json()["items"] == []
    assert {"service", "exchanges"} <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    subprocess.run(["make", "--dry-run", "--silent", ".venv/exchanges"], cwd=ROOT, check=True, capture_output=True, timeout=60)


@on_sqlite
def test_a_schedule_is_created_listed_and_deleted(client: httpx.Client) -> None:
    body = {"fetch": {name: value for name, value in BTC.items() if name != "since"}}
    response = client.post("/schedules", json=body, headers={"barstorm-owner": "ann"})
    assert response.status_code == 201
    created = response.json()
    assert (created["dataset"], created["every_s"], created["owner"]) == ("bybit-btcusdt-1m", 60, "ann")
    location = response.headers["location"].removeprefix("/api/v1")
    assert client.get(location).json() == created
    assert client.get("/schedules").json() == {"items": [created], "next_cursor": None}
    assert client.post("/schedules", json=body | {"every_s": 300}, headers={"barstorm-owner": "ann"}).status_code == 409
    assert client.post("/schedules", json=body | {"every_s": 1}).status_code == 400
    assert client.delete(location).status_code == 204
    assert client.get(location).status_code == 404
    assert client.delete(location).status_code == 404
