"""Submissions while their dataset is deleted: accepted and the deletion refused, or not found; never an internal error. On both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
import workers
from tests.support.files import csv
from workers.data import catalog
from workers.db.tables import DatasetRow
from workers.runs import store

pytestmark = pytest.mark.anyio
ROUNDS = 15


async def test_of_a_deletion_and_submissions_at_once_the_first_wins(service: workers.Service, bars: bt.Bars, cross: bt.Strategy) -> None:
    for number in range(ROUNDS):
        name = f"r{number}"
        dataset = await service.resources.data.create(name, bars)
        request = workers.BacktestRequest(dataset=name, strategy=cross, execution=bt.Execution(slippage=number / 1000))
        steps = [
            service.backtests.submit(request),
            service.datasets.delete(name),
            service.backtests.create_and_run(workers.CreateAndRunRequest(name=f"s{number}", strategy=cross, dataset=dataset.id)),
            service.datasets.delete(dataset.id),
            service.backtests.submit_batch((request, request)),
        ]
        shift = number % len(steps)
        order = [*range(shift, len(steps)), *range(shift)]
        outcomes: dict[int, Any] = dict(zip(order, await asyncio.gather(*(steps[i] for i in order), return_exceptions=True), strict=True))
        batch = outcomes.pop(4)
        runs = [outcomes[0], outcomes[2], *(item.run or item.error.code for item in batch.items)]
        accepted = [run for run in runs if isinstance(run, workers.Run)]
        refused = [run for run in runs if run not in accepted]
        assert all(run == "not_found" or isinstance(run, workers.NotFound) for run in refused), runs
        deletions = [outcomes[1], outcomes[3]]
        assert all(deleted is None or isinstance(deleted, workers.Conflict | workers.NotFound) for deleted in deletions), deletions
        assert deletions.count(None) == (0 if accepted else 1)
        if accepted:
            assert (await service.datasets.get(dataset.id)) == dataset


async def test_a_dataset_that_goes_in_the_last_moment_is_not_found(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_runs = store.insert_runs

    def lose_dataset(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        connection.execute(sa.delete(DatasetRow))
        insert_runs(connection, rows)

    monkeypatch.setattr(store, "insert_runs", lose_dataset)
    with pytest.raises(workers.NotFound, match="dataset 'synthetic' was deleted during this request") as error:
        await service.backtests.create_and_run(workers.CreateAndRunRequest(name="cross", strategy=cross, dataset="synthetic"))
    assert error.value.where == "dataset"
    assert (await service.strategies.list()).items == (await service.backtests.list()).items == ()
    with pytest.raises(workers.Conflict, match="changed during every attempt"):
        await service.backtests.submit(workers.BacktestRequest(dataset="synthetic", strategy=cross))


async def test_of_equal_deletions_at_once_one_succeeds(service: workers.Service, bars: bt.Bars) -> None:
    for number in range(5):
        await service.resources.data.create(f"d{number}", bars[:1000])
        await service.datasets.append(f"d{number}", csv(bars))
        for reference in (f"d{number}@1", f"d{number}"):
            outcomes = await asyncio.gather(*(service.datasets.delete(reference) for _ in range(4)), return_exceptions=True)
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "NotFound", "NotFound", "NotFound"], outcomes


@pytest.mark.parametrize("method", ["delete", "list_versions", "get_report"])
async def test_a_dataset_that_goes_while_it_is_read_is_not_found(
    service: workers.Service, dataset: workers.Dataset, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    get = catalog.get

    async def lose(session: AsyncSession, caller: workers.Caller, reference: str) -> workers.Dataset:
        found = await get(session, caller, reference)
        await session.execute(sa.delete(DatasetRow))
        return found

    monkeypatch.setattr(catalog, "get", lose)
    with pytest.raises(workers.NotFound, match="was deleted during this request"):
        await getattr(service.datasets, method)(dataset.id)
