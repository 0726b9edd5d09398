"""Names, tags and notes: results don't depend on them, and no process shows old ones."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.workers import Finished
from workers.db.tables import RunTagRow
from workers.model.labels import LabelChanges
from workers.model.runs import RunOptions
from workers.model.states import RunState
from workers.process.worker import LeaseWorker

pytestmark = pytest.mark.anyio

LABELS = {"name": "a first try", "tags": ("btc", "trend"), "notes": "Loses in\nsideways markets."}


def labelled(request: workers.BacktestRequest, **labels: Any) -> workers.BacktestRequest:
    return msgspec.structs.replace(request, **labels)


def labels_of(run: workers.Run | workers.RunSummary) -> dict[str, Any]:
    return {"name": run.name, "tags": run.tags, "notes": run.notes}


async def stored_tags(service: workers.Service, run_id: str) -> set[str]:
    async with service.resources.database.read() as session:
        return set(await session.scalars(sa.select(RunTagRow.tag).where(RunTagRow.run_id == run_id)))


async def test_a_run_has_the_labels_of_its_request(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    accepted = await service.backtests.submit(labelled(request_, **LABELS))
    run = await finished(accepted.id)
    assert labels_of(accepted) == labels_of(run) == LABELS
    assert run.state == RunState.SUCCEEDED
    assert {"name", "tags", "notes"}.isdisjoint(run.request.__struct_fields__)
    assert await stored_tags(service, run.id) == {"btc", "trend"}
    (listed,) = (await service.backtests.list()).items
    assert labels_of(listed) == LABELS


async def test_equal_requests_with_other_labels_are_runs_of_their_own_with_one_result(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    first, follower = [await service.backtests.submit(labelled(request_, name=name)) for name in ("one", "two")]
    one, two = await finished(first.id), await finished(follower.id)
    assert (one.name, two.name, one.id == two.id) == ("one", "two", False)
    third = await service.backtests.submit(labelled(request_, name="three", tags=("t",)))
    plain = await service.backtests.submit(request_)
    assert (third.name, third.state, third.cached) == ("three", RunState.SUCCEEDED, True)
    assert len({each.id for each in (one, two, third, plain)}) == 4
    assert len({each.result.digest for each in (one, two, third, plain) if each.result}) == 1
    for request, run in ((labelled(request_, name="three", tags=("t",)), third), (labelled(request_, name="one"), one), (request_, plain)):
        for _ in range(2):  # from the database, then from memory
            assert (await service.backtests.submit(request)).id == run.id


async def test_a_key_covers_the_labels(service: workers.Service, request_: workers.BacktestRequest) -> None:
    options = RunOptions(key="k")
    run = await service.backtests.submit(labelled(request_, **LABELS), options)
    assert (await service.backtests.submit(labelled(request_, **LABELS), options)).id == run.id
    for other in (request_, labelled(request_, **LABELS | {"notes": ""})):
        with pytest.raises(workers.Conflict, match="different request"):
            await service.backtests.submit(other, options)


async def test_each_request_of_a_batch_has_its_own_labels(service: workers.Service, request_: workers.BacktestRequest) -> None:
    requests = [labelled(request_, name=f"{i}", tags=("batch", f"t{i}")) for i in range(3)]
    batch = await service.backtests.submit_batch(tuple(requests))
    assert [item.run and labels_of(item.run) for item in batch.items] == [
        {"name": f"{i}", "tags": ("batch", f"t{i}"), "notes": ""} for i in range(3)
    ]


async def test_create_and_run_names_strategy_and_run(service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy) -> None:
    request = workers.CreateAndRunRequest(name="crossing", strategy=cross, dataset=dataset.id, run_name="try 1", tags=("b", "a"))
    run = await service.backtests.create_and_run(request)
    assert labels_of(run) == {"name": "try 1", "tags": ("a", "b"), "notes": ""}
    assert (await service.strategies.get("crossing")).id == run.strategy_id
    plain = await service.backtests.create_and_run(workers.CreateAndRunRequest(name="other", strategy=cross, dataset=dataset.id))
    assert labels_of(plain) == {"name": "", "tags": (), "notes": ""}
    with pytest.raises(ValueError, match="tags"):
        workers.CreateAndRunRequest(name="x", strategy=cross, dataset=dataset.id, tags=("a b",))


async def test_a_rerun_keeps_the_labels_unless_others_are_given(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(labelled(request_, **LABELS))).id)
    assert await service.backtests.rerun(run.id) == run
    other = await service.backtests.rerun(run.id, changes=LabelChanges(name="again", notes=""))
    assert (other.id == run.id, labels_of(other)) == (False, {"name": "again", "tags": ("btc", "trend"), "notes": ""})


async def test_labels_change_in_any_state(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(labelled(request_, **LABELS))
    changed = await service.backtests.update(run.id, LabelChanges(tags=("new",)))
    assert labels_of(changed) == LABELS | {"tags": ("new",)}
    assert await stored_tags(service, run.id) == {"new"}
    await service.backtests.cancel(run.id)
    changed = await service.backtests.update(run.id, LabelChanges(name="", tags=(), notes="none"))
    assert (labels_of(changed), changed.state) == ({"name": "", "tags": (), "notes": "none"}, RunState.CANCELLED)
    assert await stored_tags(service, run.id) == set()
    assert await service.backtests.update(run.id, LabelChanges()) == changed


async def test_who_does_not_see_a_run_can_not_change_its_labels(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    another = service.acting_as(workers.Caller(owner="another", scope=workers.Scope.WRITE))
    for run_id in (run.id, "none", "\0"):
        with pytest.raises(workers.NotFound):
            await another.backtests.update(run_id, LabelChanges(name="x"))
    assert (await service.backtests.get(run.id)).name == ""
    reader = service.acting_as(workers.Caller(scope=workers.Scope.READ))
    with pytest.raises(workers.Forbidden):
        await reader.backtests.update(run.id, LabelChanges(name="x"))


async def test_other_processes_show_new_labels_as_soon_as_the_change_returns(
    service: workers.Service, settings: workers.Settings, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(request_)).id)
    async with workers.open_service(settings) as other:

        async def read() -> None:
            """Keep the other process asking, as it does under load."""
            while True:
                await other.backtests.get(run.id)
                await asyncio.sleep(0)

        reader = asyncio.create_task(read())
        shown = []
        for i in range(20):
            await service.backtests.update(run.id, LabelChanges(name=f"name {i}"))
            shown.append((await other.backtests.get(run.id)).name)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert shown == [f"name {i}" for i in range(20)]


async def test_a_request_does_not_stand_for_a_run_that_another_process_has_renamed(
    service: workers.Service, settings: workers.Settings, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(labelled(request_, name="old"))).id)
    async with workers.open_service(settings) as other:
        assert (await other.backtests.submit(labelled(request_, name="old"))).id == run.id
        await service.backtests.update(run.id, LabelChanges(name="new"))
        again = await other.backtests.submit(labelled(request_, name="old"))
        assert (again.id == run.id, again.name) == (False, "old")
        assert (await other.backtests.submit(labelled(request_, name="new"))).id == run.id
