"""A request that is repeated with its `Idempotency-Key` creates nothing new, whatever it creates."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from workers.db import idempotency

STRATEGY = {"entry_long": "close > open"}
FETCH = {"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": 0}
RAW = {"content-type": "text/csv"}
BARS = bt.synthetic(200)
MORE = csv(BARS[:100]), csv(BARS[:150])

# Path, and two different requests.
Requests = tuple[dict[str, Any], dict[str, Any]]
CREATIONS: dict[str, Requests] = {
    "/datasets": ({"params": {"name": "a"}, "content": MORE[0]}, {"params": {"name": "a"}, "content": MORE[1]}),
    "/datasets?symbol=X": ({"params": {"name": "b"}, "content": MORE[0]}, {"params": {"name": "c"}, "content": MORE[0]}),
    "/datasets/bars/append": ({"content": csv(BARS)}, {"content": MORE[1]}),
    "/strategies": ({"json": {"name": "a", "strategy": STRATEGY}}, {"json": {"name": "b", "strategy": STRATEGY}}),
    "/fetches": ({"json": FETCH}, {"json": FETCH | {"since": 1}}),
    "/schedules": ({"json": {"fetch": FETCH}}, {"json": {"fetch": FETCH | {"timeframe": "1h"}}}),
    "/backtests": (
        {"json": {"dataset": "bars", "strategy": STRATEGY}},
        {"json": {"dataset": "bars", "strategy": STRATEGY, "execution": {"slippage": 0.1}}},
    ),
    "/queue/backtest/create-and-run": (
        {"json": {"name": "n", "dataset": "bars", "strategy": STRATEGY}},
        {"json": {"name": "m", "dataset": "bars", "strategy": STRATEGY}},
    ),
}


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path / "data"), database_url=database_url, redis_url=redis_url)


@pytest.fixture
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service that has half of the bars, and no worker."""
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
        client.post("/datasets", params={"name": "bars"}, content=MORE[0], headers=RAW).raise_for_status()
        yield client


def post(client: httpx.Client, path: str, key: str = "k", **request: Any) -> httpx.Response:
    headers = {"idempotency-key": key, **(RAW if "content" in request else {})}
    return client.post(path, headers=headers, **request)


def is_replayed(response: httpx.Response) -> bool:
    return response.headers.get("idempotency-replayed") == "true"


@pytest.mark.parametrize("path", CREATIONS)
def test_a_repeated_request_creates_nothing_and_a_different_one_is_refused(client: httpx.Client, path: str) -> None:
    request, other = CREATIONS[path]
    first, again = post(client, path, **request), post(client, path, **request)
    assert first.is_success, first.text
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    refused = post(client, path, **other)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_mismatch")
    assert not is_replayed(refused)
    separate = post(client, path, "another", **other)
    assert not is_replayed(separate)


@pytest.mark.parametrize("path", CREATIONS)
def test_a_key_that_is_not_printable_creates_nothing(client: httpx.Client, path: str) -> None:
    for key in ("\x84", "\xad", "x" * 201):
        headers = httpx.Headers({"idempotency-key": key}, encoding="latin-1")
        request = CREATIONS[path][0]
        refused = client.post(path, headers=httpx.Headers([*headers.raw, *(RAW.items() if "content" in request else ())]), **request)
        assert (refused.status_code, refused.json()["errors"][0]["path"]) == (400, "header.Idempotency-Key")
    assert not is_replayed(post(client, path, **CREATIONS[path][0]))


def test_a_rerun_and_a_batch_are_repeated(client: httpx.Client) -> None:
    request, other = CREATIONS["/backtests"]
    run = post(client, "/backtests", "first", **request).json()
    client.post(f"/backtests/{run['id']}/cancel").raise_for_status()
    first, again = (post(client, "/queue/backtest/run", "second", json={"backtest": run["id"]}) for _ in range(2))
    assert first.json()["id"] != run["id"]
    assert (is_replayed(first), is_replayed(again), again.json()) == (False, True, first.json())
    batch = {"backtests": [request["json"], other["json"]]}
    first, again = (post(client, "/backtests/batch", "third", json=batch) for _ in range(2))
    assert (is_replayed(first), is_replayed(again), again.json()) == (False, True, first.json())


@pytest.mark.parametrize(
    ("path", "address"), [("/datasets", "/datasets/{id}"), ("/strategies", "/strategies/{id}"), ("/schedules", "/schedules/{id}")]
)
def test_what_was_deleted_is_not_created_again_under_its_key(client: httpx.Client, path: str, address: str) -> None:
    request, _ = CREATIONS[path]
    created = post(client, path, **request).json()
    client.delete(address.format(**created)).raise_for_status()
    gone = post(client, path, **request)
    assert (gone.status_code, gone.json()["errors"][0]["path"]) == (409, "header.Idempotency-Key")
    assert not is_replayed(post(client, path, "another", **request))


def test_a_key_of_a_refused_upload_is_not_used_up(client: httpx.Client) -> None:
    refused = post(client, "/datasets", params={"name": "new"}, content=b"time,open\n1,2\n")
    assert refused.status_code == 400
    accepted = post(client, "/datasets", params={"name": "new"}, content=MORE[0])
    assert (accepted.status_code, is_replayed(accepted)) == (201, False)


def test_an_upload_that_died_is_repeated_under_its_key(
    client: httpx.Client, settings: workers.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None: ...

    with monkeypatch.context() as dead:
        dead.setattr(idempotency, "settle", nothing)  # as if the process had died before it
        first = post(client, "/datasets", params={"name": "new"}, content=MORE[0])
    again = post(client, "/datasets", params={"name": "new"}, content=MORE[0])
    assert (again.status_code, again.json(), is_replayed(again)) == (201, first.json(), False)
    assert is_replayed(post(client, "/datasets", params={"name": "new"}, content=MORE[0]))


def test_equal_uploads_at_once_create_one_dataset(client: httpx.Client) -> None:
    with ThreadPoolExecutor(6) as threads:
        responses = list(threads.map(lambda _: post(client, "/datasets", params={"name": "new"}, content=MORE[0]), range(6)))
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["id"] for response in responses}) == 1


def test_owners_have_separate_keys(client: httpx.Client) -> None:
    request, _ = CREATIONS["/strategies"]
    mine = post(client, "/strategies", **request)
    theirs = client.post("/strategies", headers={"idempotency-key": "k", "barstorm-owner": "bob"}, **request)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]
    assert not is_replayed(theirs)
