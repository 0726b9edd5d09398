"""Names of datasets and strategies: valid ones are accepted everywhere, and rows of earlier versions with others stay readable."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.files import csv
from workers.db.tables import DatasetRow, RunRow, ScheduleRow, StrategyRow
from workers.fetch import requests
from workers.fetch.requests import FetchRequest

pytestmark = pytest.mark.anyio
BAD = ("a/b", "..", ".", "library", "x@1", "01a20e01-da8e-76f1-9b64-4804fb8cfa41", "", "x" * 121)
FETCH = FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m")


async def test_a_name_that_could_not_be_addressed_is_refused_everywhere(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy, bars: bt.Bars
) -> None:
    await service.strategies.create("cross", cross)
    for name in BAD:
        run = workers.CreateAndRunRequest(name=name, strategy=cross, dataset=dataset.id)
        fetch = msgspec.structs.replace(FETCH, dataset=name)
        for attempt in (
            service.strategies.create(name, cross),
            service.strategies.update("cross", strategy=cross, name=name),
            service.backtests.create_and_run(run),
            service.datasets.create(name, csv(bars)),
            service.resources.data.create(name, bars),
            service.fetches.create(fetch),
            service.fetches.create_schedule(workers.ScheduleRequest(fetch=fetch)),
        ):
            with pytest.raises(workers.Invalid) as error:
                await attempt
            assert (error.value.code, error.value.hint[:4]) == ("invalid_name", "use ")
    assert [stored.name for stored in (await service.strategies.list()).items] == ["cross"]
    assert [stored.name for stored in (await service.datasets.list()).items] == [dataset.name]
    assert (await service.fetches.list()).items == (await service.fetches.list_schedules()).items == ()


async def test_datasets_and_strategies_of_earlier_versions_stay_readable(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy, bars: bt.Bars
) -> None:
    other = await service.strategies.create("other", cross.with_params(fast=5))
    ids = {}
    for name in ("a/b", "..", "library", "synthetic@1", other.id):
        ids[name] = (await service.strategies.create("new", cross)).id, (await service.resources.data.create("new", bars)).id
        async with service.resources.database.write() as session:
            for table, identifier in zip((StrategyRow, DatasetRow), ids[name], strict=True):
                await session.execute(sa.update(table).where(table.id == identifier).values(name=name))
    for name, (strategy_id, dataset_id) in ids.items():
        assert (await service.strategies.get(strategy_id)).name == name
        assert (await service.datasets.get(name)).id == dataset_id
        assert (await service.datasets.get(f"{dataset_id}@1")).name == name
        assert (await service.strategies.get(name)).id == (other.id if name == other.id else strategy_id), "a name doesn't shadow an id"
        changed = await service.strategies.update(strategy_id, strategy=cross, name=name)
        assert (changed.version, changed.name) == (2, name)
    run = await service.backtests.submit(workers.BacktestRequest(dataset="synthetic@1", strategy="a/b"))
    assert (run.strategy_id, run.dataset_id) == ids["a/b"][:1] + ids["synthetic@1"][1:]


async def test_fetches_of_earlier_versions_stay_readable(service: workers.Service) -> None:
    fetch, schedule = await service.fetches.create(FETCH), await service.fetches.create_schedule(workers.ScheduleRequest(fetch=FETCH))
    old = msgspec.json.encode(msgspec.structs.replace(FETCH, dataset="a/b")).decode()
    async with service.resources.database.write() as session:
        await session.execute(sa.update(RunRow).where(RunRow.id == fetch.id).values(request=old))
        await session.execute(sa.update(ScheduleRow).where(ScheduleRow.id == schedule.id).values(request=old, dataset="a/b"))
    assert (await service.fetches.get(fetch.id)).dataset == "a/b"
    assert [item.dataset for item in (await service.fetches.list_schedules()).items] == ["a/b"]
    assert requests.decode(old).name == "a/b"
