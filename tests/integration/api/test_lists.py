"""Lists over HTTP: paged in one way, each taking back only its own cursors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.marks import on_sqlite
from tests.support.serving import Serve

STRATEGY = {"entry_long": "close > open", "exit_long": "close < open"}
FETCH = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m"}
COUNT = 3


@pytest.fixture
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
        yield client


@pytest.fixture
def lists(client: httpx.Client) -> dict[str, str]:
    """The address of each list, by its operation, with at least three items where a client can add them."""
    key = client.post("/keys", json={"name": "first", "owner": "", "scope": "admin"}).raise_for_status().json()["secret"]
    client.headers["authorization"] = f"Bearer {key}"
    for i in range(COUNT):
        query, bars = {"name": f"d{i}", "symbol": f"S{i}", "exchange": "here"}, csv(bt.synthetic(50, seed=i))
        client.post("/datasets", params=query, content=bars, headers={"content-type": "text/csv"}).raise_for_status()
        client.post("/datasets/d0/append", content=csv(bt.synthetic(60 + 10 * i, seed=0)), headers={"content-type": "text/csv"})
        for address, body in {
            "/strategies": {"name": f"s{i}", "strategy": STRATEGY},
            "/backtests": {"dataset": "d0", "strategy": STRATEGY, "execution": {"slippage": i / 1000}},
            "/fetches": FETCH | {"since": i},
            "/schedules": {"fetch": FETCH | {"dataset": f"d{i}"}},
            "/keys": {"name": f"k{i}"},
        }.items():
            client.post(address, json=body).raise_for_status()
    paths = client.get(client.base_url.join("/schema/openapi.json")).json()["paths"]
    listing = {
        operation["get"]["operationId"]: path.removeprefix("/api/v1").replace("{dataset}", "d0")
        for path, operation in paths.items()
        if any(parameter["name"] == "cursor" for parameter in operation.get("get", {}).get("parameters", ()))
    }
    del listing["get_backtest_trades"]  # needs a worker
    return listing


@on_sqlite
def test_a_list_takes_back_its_own_cursors_and_no_others(client: httpx.Client, lists: dict[str, str]) -> None:
    cursors = {}
    for operation, address in lists.items():
        whole = client.get(address, params={"limit": 1000}).raise_for_status().json()
        whole_items = whole.get("items", whole.get("time"))
        assert whole["next_cursor"] is None
        assert "offset" not in whole
        query: dict[str, Any] = {"limit": 1}
        items = []
        while True:
            page = client.get(address, params=query).raise_for_status().json()
            items += page.get("items", page.get("time"))
            if page["next_cursor"] is None:
                break
            query["cursor"] = cursors[operation] = page["next_cursor"]
        assert items == whole_items, operation
        assert len(items) >= COUNT or operation == "list_dead_letters", operation
    assert set(cursors) == set(lists) - {"list_dead_letters"}
    for operation, address in lists.items():
        others = [cursor for other, cursor in cursors.items() if other != operation]
        for cursor in (*others, "zzz", "W10", "é", "x" * 5_000, cursors.get(operation, "x") + "="):
            refused = client.get(address, params={"limit": 1, "cursor": cursor})
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor"), (operation, cursor)
            assert refused.json()["errors"][0]["path"] == "query.cursor"
        assert client.get(address, params={"limit": 1, "cursor": ""}).json() == client.get(address, params={"limit": 1}).json()


@on_sqlite
def test_lists_of_datasets_and_strategies_are_filtered(client: httpx.Client, lists: dict[str, str]) -> None:
    def names(address: str, **query: Any) -> list[str]:
        return [item["name"] for item in client.get(address, params=query).raise_for_status().json()["items"]]

    assert names("/datasets", symbol="S1") == ["d1"]
    assert names("/datasets", timeframe="60", exchange="here") == names("/datasets", name_prefix="d") == ["d0", "d1", "d2"]
    assert names("/datasets", timeframe="1d") == names("/datasets", exchange="there") == names("/strategies", name_prefix="S") == []
    assert names("/strategies", name_prefix="s2") == ["s2"]
    assert client.get("/datasets", params={"timeframe": "7m"}).json()["code"] == "unknown_timeframe"
