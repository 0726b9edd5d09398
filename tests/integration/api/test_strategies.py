"""Strategies over HTTP: the library, checks, and diagnoses on a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

import python_core as bt
import workers
from api import create_app
from python_core import diagnostics
from python_core.strategy import library


@pytest.fixture
def client(tmp_path: Path, sqlite_url: str, redis_url: str) -> Iterator[TestClient[Any]]:
    with TestClient(
        create_app(workers.Settings(data_dir=str(tmp_path), database_url=sqlite_url, redis_url=redis_url)), base_url="http://127.0.0.1"
    ) as client:
        yield client


def test_each_library_strategy_can_be_listed_checked_and_stored(client: TestClient[Any]) -> None:
    response = client.get("/api/v1/strategies/library")
    assert response.status_code == 200
    items = response.json()["items"]
    assert [item["name"] for item in items] == list(library.names())
    for item in items:
        recipe = library.load(item["name"])
        checked = client.post("/api/v1/strategies/check", json=item["strategy"])
        assert checked.status_code == 200, checked.text
        assert checked.json() == {
            "hash": recipe.strategy.hash,
            "warm_up_bars": recipe.strategy.warm_up_bars,
            "settle_bars": recipe.strategy.settle_bars,
            "explanation": recipe.strategy.explain(),
            "canonical": recipe.strategy.canonical(),
        }
        stored = client.post("/api/v1/strategies", json={"name": item["name"], "strategy": item["strategy"]})
        assert stored.status_code == 201, stored.text
        assert stored.json()["strategy"] == item["strategy"]
    again = client.get("/api/v1/strategies/library", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304


def test_an_error_of_a_check_names_the_position(client: TestClient[Any]) -> None:
    response = client.post("/api/v1/strategies/check", json={"entry_long": "close > smaa(close, 20)"})
    assert response.status_code == 400
    assert "entry_long, column 9: unknown function 'smaa'; did you mean 'sma'?" in response.json()["detail"]
    params = {"fast": {"type": "int", "default": 10, "min": 20}}
    response = client.post("/api/v1/strategies/check", json={"entry_long": "close > sma(close, fast)", "params": params})
    assert response.status_code == 400
    assert "10 is out of range; use at least 20" in response.json()["detail"]


def test_a_checked_strategy_is_not_stored(client: TestClient[Any]) -> None:
    assert (
        client.post("/api/v1/strategies/check", json={"entry_long": "close > open"}).json()["hash"]
        == bt.Strategy(entry_long="close > open").hash
    )
    assert client.get("/api/v1/strategies").json()["items"] == []


CROSS: dict[str, Any] = {"entry_long": "crossover(close, sma(close, n))", "exit_long": "close < sma(close, n)", "params": {"n": 20}}


@pytest.fixture
def bars(client: TestClient[Any]) -> bt.Bars:
    """The bars of the dataset `walk`."""
    bars = bt.synthetic(600, timeframe="1h")
    text = bars.to_polars().write_csv()
    uploaded = client.post(
        "/api/v1/datasets",
        params={"name": "walk", "timeframe": "1h"},
        content=text.encode(),
        headers={"content-type": "application/octet-stream"},
    )
    assert uploaded.status_code == 201, uploaded.text
    return bars


def test_a_diagnosis_is_that_of_the_library(client: TestClient[Any], bars: bt.Bars) -> None:
    body = {"dataset": "walk", "strategy": CROSS, "execution": {"stop_loss": 0.05}}
    response = client.post("/api/v1/strategies/diagnose", json=body)
    assert response.status_code == 200, response.text
    expected = diagnostics.diagnose(bars, bt.Strategy(**CROSS), bt.Execution(stop_loss=0.05))
    assert msgspec.convert(response.json(), diagnostics.Diagnosis) == expected
    assert expected.activity.trades > 0

    idle = client.post("/api/v1/strategies/diagnose", json={"dataset": "walk", "strategy": {"entry_long": "rsi(close, 14) > 200"}})
    assert idle.json()["activity"]["findings"] == ["entry_long: rsi(close, 14) > 200 was never true on 586 bars"]


def test_values_can_be_plotted(client: TestClient[Any], bars: bt.Bars) -> None:
    body = {"dataset": "walk", "strategy": CROSS, "expressions": ["sma(close, n)", "entry_long"], "start": int(bars.time[18]), "limit": 4}
    shown = client.post("/api/v1/strategies/plot", json=body).json()
    assert shown["time"] == bars.time[18:22].tolist()
    assert shown["columns"]["sma(close, n)"][0] is None
    assert shown["columns"]["sma(close, n)"][1] == pytest.approx(bars.close[:20].mean(), rel=1e-12)
    assert all(isinstance(value, bool) for value in shown["columns"]["entry_long"])
    assert len(client.post("/api/v1/strategies/plot", json={"dataset": "walk", "strategy": CROSS}).json()["time"]) == 500
    body = {"dataset": "walk", "strategy": CROSS, "fill": "close"}
    assert client.post("/api/v1/strategies/plot", json=body).status_code == 200
    assert client.post("/api/v1/strategies/plot", json=body | {"fill": "later"}).status_code == 400


@pytest.mark.parametrize(
    ("address", "change", "status", "detail"),
    [
        ("diagnose", {"dataset": "talk"}, 404, "dataset 'talk' not found"),
        ("diagnose", {"strategy": {**CROSS, "timeframe": "15m"}}, 400, "15m bars can't be built from 1h bars"),
        ("plot", {"expressions": ["close > smaa(close, 2)"]}, 400, "column 9: unknown function 'smaa'; did you mean 'sma'?"),
        ("plot", {"expressions": ["close"] * 51}, 400, "51 expressions; use at most 50"),
        ("plot", {"limit": 5_001}, 400, "limit"),
    ],
)
def test_an_invalid_diagnosis_or_plot_is_refused(
    client: TestClient[Any], bars: bt.Bars, address: str, change: dict[str, Any], status: int, detail: str
) -> None:
    response = client.post(f"/api/v1/strategies/{address}", json={"dataset": "walk", "strategy": CROSS, **change})
    assert response.status_code == status, response.text
    assert detail in response.json()["detail"]
