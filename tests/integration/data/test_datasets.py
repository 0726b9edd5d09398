"""Datasets: appends, immutable versions that share files, limits, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import python_core as bt
import workers
from workers.data import catalog, parts
from workers.data.bars_cache import BarsCache
from workers.data.parts import Part
from workers.process.worker import LeaseWorker

pytestmark = pytest.mark.anyio


def columns(bars: bt.Bars) -> dict[str, np.ndarray]:
    return {name: getattr(bars, name) for name in parts.SERIES["bars"]}


def series_from_bars(bars: bt.Bars) -> Mapping[Any, Any]:
    return {"bars": columns(bars)}


def without(bars: bt.Bars, begin: int, end: int) -> bt.Bars:
    return bt.Bars(*(np.delete(column, slice(begin, end)) for column in columns(bars).values()), timeframe=bars.timeframe)


async def files(service: workers.Service, dataset: workers.Dataset) -> list[Part]:
    async with service.resources.database.read() as session:
        return await catalog.list_parts(session, dataset)


async def load(service: workers.Service, dataset: workers.Dataset) -> bt.Bars:
    return BarsCache(service.resources.artifacts, 0, folder=service.resources.settings.folder / "columns").load(
        dataset, await files(service, dataset)
    )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 500)


async def test_an_append_creates_a_version_and_keeps_the_previous_one(service: workers.Service, bars: bt.Bars, small_parts: None) -> None:
    first = await service.resources.data.create("d", bars[:1500])
    second = await service.resources.data.append("d", series_from_bars(bars[1500:]), source="more")
    assert (second.id, second.version, second.rows, second.source) == (first.id, 2, 2000, "more")
    assert second.fingerprint == bars.fingerprint
    assert (await load(service, second)).fingerprint == bars.fingerprint
    assert (await load(service, first)).fingerprint == bars[:1500].fingerprint
    assert await service.datasets.get("d") == await service.datasets.get(f"{first.id}@2") == second
    assert await service.datasets.get("d@1") == first
    shared = set(await files(service, first)) & set(await files(service, second))
    assert len(shared) == 3
    with pytest.raises(workers.NotFound, match="no version 3"):
        await service.datasets.get("d@3")


async def test_existing_rows_are_not_duplicated_and_other_values_are_refused(service: workers.Service, bars: bt.Bars) -> None:
    first = await service.resources.data.create("d", bars)
    assert await service.resources.data.append("d", series_from_bars(bars[100:300])) == first
    changed = {name: column.copy() for name, column in columns(bars[100:300]).items()}
    changed["volume"][7] += 1
    with pytest.raises(workers.Conflict, match="volume") as error:
        await service.resources.data.append("d", {"bars": changed})
    assert error.value.code == "bars_differ"
    assert await service.datasets.get("d") == first


async def test_filling_a_gap_rewrites_only_its_part(service: workers.Service, bars: bt.Bars, small_parts: None) -> None:
    first = await service.resources.data.create("d", without(bars, 700, 800))
    assert (first.gaps, first.rows) == (1, 1900)
    second = await service.resources.data.append("d", series_from_bars(bars[650:850]))
    assert (second.gaps, second.fingerprint) == (0, bars.fingerprint)
    assert len(set(await files(service, first)) & set(await files(service, second))) == 3


async def test_bars_before_the_first_are_added(service: workers.Service, bars: bt.Bars) -> None:
    await service.resources.data.create("d", bars[1000:])
    assert (await service.resources.data.append("d", series_from_bars(bars[:1000]))).fingerprint == bars.fingerprint


async def test_many_small_appends_leave_few_files(service: workers.Service, bars: bt.Bars) -> None:
    dataset = await service.resources.data.create("d", bars[:1900])
    for i in range(1900, 2000):
        dataset = await service.resources.data.append("d", series_from_bars(bars[i : i + 1]))
    assert (dataset.version, dataset.fingerprint) == (101, bars.fingerprint)
    assert len(await files(service, dataset)) <= 5


async def test_concurrent_appends_all_succeed(service: workers.Service, bars: bt.Bars) -> None:
    await service.resources.data.create("d", bars[:1000])
    await asyncio.gather(*(service.resources.data.append("d", series_from_bars(bars[i : i + 250])) for i in range(1000, 2000, 250)))
    newest = await service.datasets.get("d")
    assert (newest.version, newest.fingerprint) == (5, bars.fingerprint)


async def test_funding_and_mark_prices_are_part_of_the_dataset(service: workers.Service, bars: bt.Bars) -> None:
    plain = await service.resources.data.create("d", bars)
    funding = {"time": bars.time[::8], "rate": np.full(len(bars.time[::8]), 0.0001)}
    paid = await service.resources.data.append("d", {"funding": funding})
    assert paid.fingerprint != plain.fingerprint
    marked = await service.resources.data.append("d", {"mark": {"time": bars.time[5:], "low": bars.low[5:] - 0.001, "high": bars.high[5:]}})
    loaded = await load(service, marked)
    assert loaded.fingerprint == marked.fingerprint
    assert loaded.funding is not None
    assert loaded.mark is not None
    assert (loaded.funding[1] == 0.0001).all()
    assert (loaded.mark[0][:5] == bars.low[:5]).all(), "a bar without a mark price has its own"
    assert (loaded.mark[0][5:] == bars.low[5:] - 0.001).all()
    again = await service.resources.data.create("again", loaded)
    assert again.fingerprint == marked.fingerprint


@pytest.mark.parametrize(
    ("series", "words"),
    [
        ({"bars": {"time": [0]}}, "use time, open"),
        ({"funding": {"time": [1, 1], "rate": [0.1, 0.1]}}, "not after the row before"),
        ({"funding": {"time": [1], "rate": [float("nan")]}}, "finite"),
        ({"mark": {"time": [1], "low": [2.0], "high": [1.0]}}, "above the mark high"),
    ],
)
async def test_invalid_rows_are_refused(service: workers.Service, bars: bt.Bars, series: Any, words: str) -> None:
    first = await service.resources.data.create("d", bars)
    with pytest.raises(workers.Invalid, match=words):
        await service.resources.data.append("d", series)
    with pytest.raises(workers.Invalid, match="less than one 1h bar"):
        await service.resources.data.append("d", series_from_bars(bt.synthetic(100, timeframe="1m")))
    assert await service.datasets.get("d") == first
    assert len(list(service.resources.artifacts.list_all())) == 1


async def test_a_run_uses_the_version_of_its_submission(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, cross: bt.Strategy, finished: Any
) -> None:
    await service.resources.data.create("d", bars[:1000])
    first = await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross))
    await service.resources.data.append("d", series_from_bars(bars[1000:]))
    second = await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross))
    old = await service.backtests.submit(workers.BacktestRequest(dataset="d@1", strategy=cross))
    runs = [await finished(run.id) for run in (first, second, old)]
    assert [(run.dataset_version, run.result.bars) for run in runs] == [(1, 1000), (2, 2000), (1, 1000)]
    assert runs[0].request.dataset == f"{runs[0].dataset_id}@1"


async def test_an_append_that_loses_to_another_is_retried(service: workers.Service, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    await service.resources.data.create("d", bars[:1000])
    find = catalog.get

    async def losing(*arguments: Any) -> workers.Dataset:
        found = await find(*arguments)
        monkeypatch.setattr(catalog, "get", find)
        await service.resources.data.append("d", series_from_bars(bars[1000:1500]))
        return found

    monkeypatch.setattr(catalog, "get", losing)
    newest = await service.resources.data.append("d", series_from_bars(bars[1500:]))
    assert (newest.version, newest.fingerprint) == (3, bars.fingerprint)


async def test_a_dataset_with_runs_can_not_be_deleted(service: workers.Service, bars: bt.Bars, cross: bt.Strategy) -> None:
    for end in (500, 1000, 2000):
        await (
            service.resources.data.create("d", bars[:end])
            if end == 500
            else service.resources.data.append("d", series_from_bars(bars[:end]))
        )
    await service.backtests.submit(workers.BacktestRequest(dataset="d@1", strategy=cross))
    for reference, words in (("d", "1 run refers"), ("d@1", "1 run refers"), ("d@3", "newest version")):
        with pytest.raises(workers.Conflict, match=words) as error:
            await service.resources.data.delete(reference)
        assert error.value.code == "in_use"
    await service.resources.data.delete("d@2")
    with pytest.raises(workers.NotFound):
        await service.datasets.get("d@2")
    await service.resources.data.create("other", bars)
    await service.resources.data.delete("other")
    assert [dataset.name for dataset in (await service.datasets.list()).items] == ["d"]


async def test_data_beyond_the_limit_is_refused(settings: workers.Settings, bars: bt.Bars) -> None:
    async with workers.open_service(settings) as service:
        small = type(service.resources.data)(
            service.resources.database, service.resources.artifacts, scratch=service.resources.data.scratch, max_bytes=150_000
        )
        await small.create("a", bars)
        with pytest.raises(workers.Invalid, match="would exceed") as error:
            await small.create("b", bt.synthetic(2000, seed=8))
        assert error.value.code == "too_much_data"
        assert len(list(service.resources.artifacts.list_all())) == 1


async def test_the_data_of_each_owner_is_limited(settings: workers.Settings, bars: bt.Bars) -> None:
    other = bt.synthetic(2000, seed=8)
    async with workers.open_service(settings) as service:
        data = type(service.resources.data)(
            service.resources.database,
            service.resources.artifacts,
            scratch=service.resources.data.scratch,
            max_bytes=10**9,
            max_owner_bytes=150_000,
        )
        first = await data.create("a", bars[:1500], owner="anna")
        assert first.owner == "anna"
        for owner in ("bert", ""):
            await data.create(f"of {owner or 'nobody'}", bars[:1500], owner=owner)
        # Equal files are stored once, but count for each owner.
        for owner, name in (("anna", "owner 'anna'"), ("", "without an owner")):
            with pytest.raises(workers.Invalid, match=f"{name}.* would exceed") as error:
                await data.create("more", other, owner=owner)
            assert (error.value.code, error.value.where) == ("too_much_data", "owner")
        with pytest.raises(workers.Invalid, match="owner 'anna'"):
            await data.append(first.id, series_from_bars(bars[1500:]), source="other")
        assert await data.append(first.id, series_from_bars(bars[:100])) == first
        with pytest.raises(workers.NotFound):
            await service.datasets.get("more")
        await data.delete(first.id)
        assert (await data.create("more", other, owner="anna")).owner == "anna"
        with pytest.raises(workers.Invalid, match="not a valid owner"):
            await data.create("wrong", other, owner=" anna")


async def test_inverse_contracts_are_stored_but_not_backtested(service: workers.Service, bars: bt.Bars, cross: bt.Strategy) -> None:
    await service.resources.data.create("inverse", bars, workers.Instrument(symbol="BTCUSD", kind="inverse"))
    with pytest.raises(workers.Invalid, match="inverse contracts") as error:
        await service.backtests.submit(workers.BacktestRequest(dataset="inverse", strategy=cross))
    assert error.value.code == "unsupported_kind"
