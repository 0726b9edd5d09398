"""Deletion of runs: everything that belongs to one goes, its dataset is free, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.runs import end, start
from tests.support.workers import Finished
from workers.db.tables import AttemptRow, OutboxRow, RunRow, RunTagRow, SagaRow
from workers.model.clock import now_ms
from workers.model.names import first_id
from workers.model.runs import RunOptions
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.runs import deletion

pytestmark = pytest.mark.anyio

ERROR = workers.RunError(code="machine", message="it broke")


def variant(request: workers.BacktestRequest, i: int, **labels: Any) -> workers.BacktestRequest:
    return msgspec.structs.replace(request, execution=bt.Execution(slippage=i / 1e6), **labels)


async def count(service: workers.Service, table: type, *conditions: Any) -> int:
    async with service.resources.database.read() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


async def gone(service: workers.Service, run_id: str) -> bool:
    try:
        await service.backtests.get(run_id)
    except workers.NotFound:
        return True
    return False


async def test_a_deleted_run_leaves_nothing_but_its_result(
    service: workers.Service,
    settings: workers.Settings,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    dataset: workers.Dataset,
    finished: Finished,
) -> None:
    run = await finished((await service.backtests.submit(msgspec.structs.replace(request_, name="x", tags=("a",)))).id)
    with pytest.raises(workers.Conflict, match="1 run refers"):
        await service.datasets.delete(dataset.id)
    async with workers.open_service(settings) as other:
        assert await other.backtests.get(run.id) == run
        await service.backtests.delete(run.id)
        assert await gone(other, run.id), "another process remembers it"
    assert await gone(service, run.id)
    assert [await count(service, table) for table in (RunRow, AttemptRow, RunTagRow, OutboxRow)] == [0, 0, 0, 0]
    with pytest.raises(workers.NotFound):
        await service.backtests.delete(run.id)
    again = await service.backtests.submit(request_)
    assert (again.cached, again.state, again.result) == (True, RunState.SUCCEEDED, run.result)
    await service.backtests.delete(again.id)
    await service.datasets.delete(dataset.id)


async def test_a_request_does_not_stand_for_a_run_that_another_process_has_deleted(
    service: workers.Service, settings: workers.Settings, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    run = await finished((await service.backtests.submit(request_)).id)
    async with workers.open_service(settings) as other:
        for _ in range(2):
            assert (await other.backtests.submit(request_)).id == run.id
        await service.backtests.delete(run.id)
        assert (await other.backtests.submit(request_)).id != run.id


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING, RunState.RETRYING])
async def test_an_unfinished_run_must_be_cancelled_first(
    service: workers.Service, request_: workers.BacktestRequest, state: RunState
) -> None:
    run = await service.backtests.submit(request_)
    database = service.resources.database
    if state != RunState.QUEUED:
        started = await start(database, run.id)
        if state == RunState.RETRYING:
            assert await end(database, started, state, error=ERROR)
    with pytest.raises(workers.Conflict, match=f"the run is {state}"):
        await service.backtests.delete(run.id)
    assert (await service.backtests.get(run.id)).state == state


async def test_an_attempt_at_a_deleted_run_changes_nothing(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    database = service.resources.database
    lost = await start(database, run.id)
    taken_over = await start(database, run.id)
    assert await end(database, taken_over, RunState.FAILED, error=ERROR)
    await service.backtests.delete(run.id)
    assert not await end(database, lost, RunState.SUCCEEDED)
    assert await start(database, run.id) is None
    assert await count(service, AttemptRow) == 0


async def test_a_run_is_ended_or_deleted_when_both_happen_at_once(service: workers.Service, request_: workers.BacktestRequest) -> None:
    database = service.resources.database
    for i in range(10):
        run = await service.backtests.submit(variant(request_, i))
        started = await start(database, run.id)
        ended, deleted = await asyncio.gather(
            end(database, started, RunState.FAILED, error=ERROR), service.backtests.delete(run.id), return_exceptions=True
        )
        assert ended is True
        assert await gone(service, run.id) == (deleted is None)
        assert deleted is None or isinstance(deleted, workers.Conflict)


async def test_followers_outlive_their_leader(service: workers.Service, request_: workers.BacktestRequest) -> None:
    leader, follower, cancelled = [await service.backtests.submit(request_) for _ in range(3)]
    await service.backtests.cancel(cancelled.id)
    await service.backtests.delete(cancelled.id)
    with pytest.raises(workers.Conflict):
        await service.backtests.delete(follower.id)
    assert await end(service.resources.database, await start(service.resources.database, leader.id), RunState.FAILED, error=ERROR)
    await service.backtests.delete(leader.id)
    left = await service.backtests.get(follower.id)
    assert (left.state, left.error, left.leader_id) == (RunState.FAILED, ERROR, None)


async def test_a_dead_letter_is_redriven_or_deleted(service: workers.Service, request_: workers.BacktestRequest) -> None:
    database = service.resources.database
    for i in range(10):
        run = await service.backtests.submit(variant(request_, i))
        assert await end(database, await start(database, run.id), RunState.DEAD, error=ERROR)
        selection = workers.DeadLetterSelection(ids=(run.id,))
        redriven, deleted = await asyncio.gather(service.queue.redrive(selection), service.backtests.delete(run.id), return_exceptions=True)
        assert isinstance(redriven, workers.AffectedRuns)
        if deleted is None:
            assert (redriven.ids, await gone(service, run.id)) == ((), True)
        else:
            assert (redriven.ids, type(deleted)) == ((run.id,), workers.Conflict)


async def test_a_repeated_request_starts_nothing_new_after_its_run_was_deleted(
    service: workers.Service, request_: workers.BacktestRequest, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    key = RunOptions(key="k")
    both = workers.CreateAndRunRequest(name="crossing", strategy=cross, dataset=dataset.id)
    for run in (await service.backtests.submit(request_, key), await service.backtests.create_and_run(both, key)):
        await service.backtests.cancel(run.id)
        await service.backtests.delete(run.id)
    assert await count(service, SagaRow) == 0
    for repeat in (service.backtests.submit(request_, key), service.backtests.create_and_run(both, key)):
        with pytest.raises(workers.Conflict) as caught:
            await repeat
        assert caught.value.code == "deleted"
    (run,) = [await service.backtests.submit(request_)]
    (item,) = (await service.backtests.submit_batch((request_,), key)).items
    assert item.run is not None, "a batch numbers its key"
    await service.backtests.cancel(item.run.id)
    await service.backtests.delete(item.run.id)
    (item,) = (await service.backtests.submit_batch((request_,), key)).items
    assert item.error is not None
    assert item.error.code == "deleted"
    assert await count(service, RunRow) == 1
    assert not await gone(service, run.id)


async def test_the_stream_of_a_run_that_was_deleted_ends(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    updates = await service.backtests.stream_events(run.id)
    reading = asyncio.ensure_future(anext(updates, None))
    await asyncio.sleep(0)
    async with service.resources.database.write() as session:  # as by another process, whose announcement was lost
        await session.execute(sa.delete(RunRow).where(RunRow.id == run.id))
    for watches in service.resources.streams._subscriber._watches.values():
        for watch in watches:
            watch.report(look=True)
    assert await reading is None


async def test_a_filter_selects_what_is_deleted(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletion, "BATCH", 3)
    runs = [await service.backtests.submit(variant(request_, i, tags=("old",) if i < 8 else ("new",))) for i in range(10)]
    done = [await finished(run.id) for run in runs]
    late = RunOptions(run_at=done[0].created_at + 86_400_000)
    waiting = await service.backtests.submit(variant(request_, 99, tags=("old",)), late)
    another = service.acting_as(workers.Caller(owner="another", scope=workers.Scope.WRITE))
    assert await another.backtests.delete_many(workers.RunSelection(all=True)) == workers.DeletedRuns(deleted=0, unfinished=0)
    sharpes = sorted(run.result.metrics.sharpe or 0.0 for run in done[:8] if run.result)
    worse = workers.RunSelection(tags=("old",), metrics=(f"sharpe<{sharpes[4]!r}",))
    assert await service.backtests.delete_many(worse) == workers.DeletedRuns(deleted=4, unfinished=0)
    assert await service.backtests.delete_many(workers.RunSelection(tags=("old",))) == workers.DeletedRuns(deleted=4, unfinished=1)
    left = {run.id for run in (await service.backtests.list()).items}
    assert left == {done[8].id, done[9].id, waiting.id}
    assert await service.backtests.delete_many(workers.RunSelection(ids=(done[8].id, "none"))) == workers.DeletedRuns(
        deleted=1, unfinished=0
    )
    assert await service.backtests.delete_many(workers.RunSelection(all=True)) == workers.DeletedRuns(deleted=1, unfinished=1)
    assert not await gone(service, waiting.id)


async def test_fetches_are_not_deleted_with_backtests(service: workers.Service) -> None:
    fetch = await service.fetches.create(workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=0))
    await service.fetches.cancel(fetch.id)
    assert (await service.backtests.delete_many(workers.RunSelection(all=True))).deleted == 0
    for change in (service.backtests.delete(fetch.id), service.backtests.get(fetch.id)):
        with pytest.raises(workers.NotFound):
            await change


def test_all_runs_are_selected_only_explicitly() -> None:
    for body in (b"{}", b'{"all": false}', b'{"all": true, "tags": ["a"]}', b'{"al": true}', b'{"tags": null}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(body, type=workers.RunSelection)


@pytest.mark.parametrize("field", ["ids", "tags", "metrics"])
def test_an_empty_list_is_not_taken_for_no_condition(field: str) -> None:
    for other in ({"state": "succeeded"}, {"all": True}, {}):
        with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}"):
            msgspec.convert({field: []} | other, workers.RunSelection)
    for kind in (workers.RunFilter, workers.RunSelection):
        with pytest.raises(ValueError, match=f"{field}: the list is empty"):
            kind(state=RunState.SUCCEEDED, **{field: ()})


async def test_runs_that_are_created_during_a_deletion_stay(
    service: workers.Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        await service.backtests.cancel((await service.backtests.submit(variant(request_, i))).id)
    delete = deletion._delete
    created: list[str] = []

    def delete_and_create(connection: sa.Connection, ids: Sequence[str]) -> int:
        if ids and len(created) < 10:
            created.append(first_id(now_ms() + 1_000 + len(created)))
            row = connection.execute(sa.select(RunRow.__table__).where(RunRow.id == ids[0])).one()._asdict()
            connection.execute(sa.insert(RunRow).values(row | {"id": created[-1]}))
        return delete(connection, ids)

    monkeypatch.setattr(deletion, "BATCH", 1)
    monkeypatch.setattr(deletion, "_delete", delete_and_create)
    assert await service.backtests.delete_many(workers.RunSelection(state=RunState.CANCELLED)) == workers.DeletedRuns(
        deleted=3, unfinished=0
    )
    assert [run.id for run in (await service.backtests.list()).items] == created[::-1]
    assert len(created) == 3


async def test_deletions_are_in_the_audit_log(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    with pytest.raises(workers.Conflict):
        await service.backtests.delete(run.id)
    await service.backtests.cancel(run.id)
    await service.backtests.delete(run.id)
    await service.backtests.delete_many(workers.RunSelection(all=True))
    reader = service.acting_as(workers.Caller(scope=workers.Scope.READ))
    for refused in (reader.backtests.delete(run.id), reader.backtests.delete_many(workers.RunSelection(all=True))):
        with pytest.raises(workers.Forbidden):
            await refused
    entries = [(entry.operation, entry.subject, entry.outcome) for entry in (await service.keys.list_audit()).items]
    assert entries[:5] == [
        ("backtests.delete_many", '{"all":true}', "forbidden"),
        ("backtests.delete", run.id, "forbidden"),
        ("backtests.delete_many", '{"all":true}', "ok"),
        ("backtests.delete", run.id, "ok"),
        ("backtests.delete", run.id, "not_finished"),
    ]
