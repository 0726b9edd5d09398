"""`Prefer: wait`: the answer comes when the run has finished, without polling, and without anything left behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from litestar import Litestar

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process
from workers.runs import follow

STRATEGY = {"entry_long": "crossover(sma(close, 5), sma(close, 20))", "exit_long": "crossunder(sma(close, 5), sma(close, 20))"}
BACKTESTS = "/api/v1/backtests"
WAIT = {"prefer": "wait=60"}


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path / "data"), redis_url=redis_url)


@pytest.fixture
def app(settings: workers.Settings) -> Litestar:
    return create_app(settings)


@pytest.fixture
def client(app: Litestar, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service that has a dataset and no worker."""
    with serve(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        upload(client)
        yield client


def upload(client: httpx.Client) -> None:
    client.post(
        "/api/v1/datasets", params={"name": "bars"}, content=csv(bt.synthetic(200)), headers={"content-type": "text/csv"}
    ).raise_for_status()


def body(capital: int = 1000) -> dict[str, Any]:
    return {"dataset": "bars", "strategy": STRATEGY, "execution": {"initial_capital": capital}}


def waiting(app: Litestar, count: int) -> Callable[[], bool]:
    return lambda: app.state.service.resources.streams.waiting == count


def test_a_submission_that_waits_returns_the_finished_run(client: httpx.Client, settings: workers.Settings) -> None:
    with worker_process(settings):
        submitted = client.post(BACKTESTS, json=body(), headers={"prefer": 'respond-async, Wait="60"'})
        created = client.post("/api/v1/queue/backtest/create-and-run", json={**body(2000), "name": "crosses"}, headers=WAIT)
        queued = client.post(BACKTESTS, json=body(3000))
        read = client.get(queued.headers["location"], headers={"prefer": "wait=600"})
    for response in (submitted, created, read):
        assert (response.status_code, response.json()["state"]) == (200, "succeeded"), response.text
        assert response.headers["preference-applied"] == "wait=60"
        assert response.json()["result"]["bars"] == 200
    assert submitted.headers["location"] == f"{BACKTESTS}/{submitted.json()['id']}"
    again = client.post("/api/v1/queue/backtest/run", json={"backtest": submitted.json()["id"]}, headers=WAIT)
    assert (again.status_code, again.json(), again.headers["preference-applied"]) == (200, submitted.json(), "wait=60")
    unchanged = client.get(read.url, headers={**WAIT, "if-none-match": read.headers["etag"]})
    assert (unchanged.status_code, unchanged.headers["preference-applied"]) == (304, "wait=60")


def test_without_an_end_in_time_the_answer_is_as_without_the_preference(client: httpx.Client) -> None:
    began = time.monotonic()
    response = client.post(BACKTESTS, json=body(), headers={"prefer": "wait=1"})
    assert time.monotonic() - began >= 1
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert "preference-applied" not in response.headers
    read = client.get(response.headers["location"], headers={"prefer": "wait=1"})
    assert (read.status_code, read.json()) == (200, response.json())
    for ignored in ("wait=0", "wait=-5", "wait=soon", "wait", "handling=strict; wait=60", "=", "wait=٣"):
        assert client.get(response.headers["location"], headers={"prefer": ignored.encode()}).json()["state"] == "queued"


def test_whatever_ends_a_run_ends_the_wait(client: httpx.Client, app: Litestar, eventually: Callable[..., None]) -> None:
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(client.post, BACKTESTS, json=body(), headers=WAIT)
        eventually(waiting(app, 1))
        follower = threads.submit(client.post, BACKTESTS, json=body(), headers=WAIT)
        eventually(waiting(app, 2))
        newest, oldest = client.get(BACKTESTS).json()["items"]
        assert newest["leader_id"] == oldest["id"]
        client.post(f"{BACKTESTS}/{oldest['id']}/cancel").raise_for_status()
        assert (leader.result().status_code, leader.result().json()["state"]) == (200, "cancelled")
        client.post(f"{BACKTESTS}/{newest['id']}/cancel").raise_for_status()
        assert (follower.result().status_code, follower.result().json()["state"]) == (200, "cancelled")
    assert waiting(app, 0)()


def test_a_wait_ends_with_its_client(client: httpx.Client, app: Litestar, eventually: Callable[..., None]) -> None:
    address = urlsplit(str(client.base_url))
    run = client.post(BACKTESTS, json=body()).headers["location"]
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(f"GET {run} HTTP/1.1\r\nhost: {address.netloc}\r\nprefer: wait=60\r\n\r\n".encode())
        eventually(waiting(app, 1))
    eventually(waiting(app, 0), within_s=30)


def test_too_many_waits_are_answered_at_once(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MAX_WAITING", 0)
    began = time.monotonic()
    assert client.post(BACKTESTS, json=body(), headers=WAIT).status_code == 202
    assert time.monotonic() - began < 30


def test_a_server_that_stops_answers_those_who_wait(app: Litestar, serve: Serve, eventually: Callable[..., None]) -> None:
    with ThreadPoolExecutor(1) as threads, httpx.Client(timeout=60) as client:
        with serve(app) as url:
            client.base_url = httpx.URL(url)
            upload(client)
            response = threads.submit(client.post, BACKTESTS, json=body(), headers=WAIT)
            eventually(waiting(app, 1))
            began = time.monotonic()
        assert time.monotonic() - began < 30
        assert (response.result().status_code, response.result().json()["state"]) == (202, "queued")
