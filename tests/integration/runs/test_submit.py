"""Submission: idempotency keys, coalescing of equal runs, and run options, on both databases."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from typing import Any, cast

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.files import parquet
from tests.support.runs import end, start
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.data import workroom
from workers.db import idempotency
from workers.db.tables import AttemptRow, IdempotencyKeyRow, OutboxRow
from workers.model import names
from workers.model.clock import now_ms
from workers.model.runs import RunOptions
from workers.model.states import Priority, RunState
from workers.process.worker import LeaseWorker
from workers.runs import acceptance, intake, results

pytestmark = pytest.mark.anyio


async def count(service: workers.Service, table: type) -> int:
    async with service.resources.database.read() as session:
        return await session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


async def test_a_key_gives_the_same_run_and_refuses_another_request(service: workers.Service, request_: workers.BacktestRequest) -> None:
    options = RunOptions(key="monday")
    first = await service.backtests.submit(request_, options)
    assert (await service.backtests.submit(request_, options)).id == first.id
    other = msgspec.structs.replace(request_, execution=bt.Execution(slippage=0.001))
    with pytest.raises(workers.Conflict, match="different request"):
        await service.backtests.submit(other, options)
    assert (await service.backtests.submit(other, RunOptions(key="tuesday"))).id != first.id
    another = service.acting_as(workers.Caller(owner="another", scope=workers.Scope.ADMIN, sees_all=True))
    assert (await another.backtests.submit(other, options)).id != first.id, "each owner has separate keys"


@pytest.mark.parametrize("change", [{"priority": Priority.HIGH}, {"run_at": now_ms() + 7_200_000}, {"run_at": None}])
async def test_a_key_stands_for_priority_and_start_time_too(
    service: workers.Service, request_: workers.BacktestRequest, change: dict[str, Any]
) -> None:
    options = RunOptions(key="k", run_at=now_ms() + 3_600_000)
    create = workers.CreateAndRunRequest(name="n", dataset=request_.dataset, strategy=cast(bt.Strategy, request_.strategy))
    first = await service.backtests.submit(request_, options), await service.backtests.create_and_run(create, options)
    changed = msgspec.structs.replace(options, **change)
    with pytest.raises(workers.Conflict, match="priority or start time"):
        await service.backtests.submit(request_, changed)
    with pytest.raises(workers.Conflict, match="priority or start time"):
        await service.backtests.create_and_run(create, changed)
    again = await service.backtests.submit(request_, options), await service.backtests.create_and_run(create, options)
    assert [run.id for run in again] == [run.id for run in first]


async def test_a_key_without_options_is_stored_as_before_they_counted(service: workers.Service, request_: workers.BacktestRequest) -> None:
    await service.backtests.submit(request_, RunOptions(key="k"))
    async with service.resources.database.read() as session:
        stored = await session.scalar(sa.select(IdempotencyKeyRow.request))
    assert stored == hashlib.sha256(msgspec.json.encode(request_.backtest)).hexdigest()


async def test_one_key_used_by_many_at_once_gives_one_run(service: workers.Service, request_: workers.BacktestRequest) -> None:
    runs = await asyncio.gather(*(service.backtests.submit(request_, RunOptions(key="k")) for _ in range(20)))
    assert len({run.id for run in runs}) == 1
    assert len((await service.backtests.list()).items) == 1


async def test_a_key_of_a_refused_request_is_not_used_up(service: workers.Service, request_: workers.BacktestRequest) -> None:
    with pytest.raises(workers.NotFound):
        await service.backtests.submit(msgspec.structs.replace(request_, dataset="none"), RunOptions(key="k"))
    await service.backtests.submit(request_, RunOptions(key="k"))


async def test_a_key_expires(service: workers.Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await service.backtests.submit(request_, RunOptions(key="k"))
    monkeypatch.setattr(idempotency, "TTL_MS", -1)
    assert (await service.backtests.submit(request_, RunOptions(key="k"))).id != first.id
    async with service.resources.database.write() as session:
        await idempotency.delete_expired(session)
    assert await count(service, IdempotencyKeyRow) == 0


FETCH = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=0)


@pytest.mark.parametrize("options", [RunOptions(), RunOptions(key="k"), RunOptions(key="k", run_at=now_ms() + 3_600_000)])
async def test_equal_fetches_submitted_at_once_are_one(service: workers.Service, options: RunOptions) -> None:
    asked = await asyncio.gather(*(service.fetches.create(FETCH, options) for _ in range(20)))
    assert len({fetch.id for fetch in asked}) == 1
    assert len((await service.fetches.list()).items) == 1


async def test_of_two_fetches_at_once_under_one_key_one_is_refused(service: workers.Service) -> None:
    other = msgspec.structs.replace(FETCH, symbol="ETHUSDT")
    asks = [service.fetches.create(request, RunOptions(key="k")) for request in (FETCH, other) * 10]
    asked = await asyncio.gather(*asks, return_exceptions=True)
    kinds = Counter(type(answer) for answer in asked)
    assert kinds == {workers.Fetch: 10, workers.Conflict: 10}
    assert len((await service.fetches.list()).items) == 1


async def test_a_hundred_equal_submissions_at_once_run_one_job(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    accepted = await asyncio.gather(*(service.backtests.submit(request_) for _ in range(100)))
    ended = [await finished(run.id) for run in accepted]
    assert {run.state for run in ended} == {RunState.SUCCEEDED}
    assert len({run.result.digest for run in ended if run.result}) == 1
    async with service.resources.database.read() as session:
        started = (await session.execute(sa.select(AttemptRow.run_id, AttemptRow.attempt, AttemptRow.outcome))).all()
    assert len(started) == 1, started
    assert [run.id for run in {run.id: run for run in ended}.values() if not run.cached] == [started[0].run_id]


async def test_followers_share_the_states_and_the_end_of_their_leader(service: workers.Service, request_: workers.BacktestRequest) -> None:
    leader, follower = [await service.backtests.submit(request_) for _ in range(2)]
    assert (leader.leader_id, follower.leader_id) == (None, leader.id)
    assert await count(service, OutboxRow) <= 1

    async def state() -> RunState:
        return (await service.backtests.get(follower.id)).state

    error = workers.RunError(code="machine", message="it broke")
    database = service.resources.database
    started = await start(database, leader.id)
    assert await state() == RunState.RUNNING
    late = await service.backtests.submit(request_)
    assert (late.leader_id, late.state) == (leader.id, RunState.RUNNING)
    assert await end(database, started, RunState.RETRYING, error=error)
    assert await state() == RunState.RETRYING
    assert await end(database, await start(database, leader.id, 2), RunState.FAILED, error=error)
    for run in (leader, follower, late):
        assert ((await service.backtests.get(run.id)).state, (await service.backtests.get(run.id)).error) == (RunState.FAILED, error)
    assert (await service.backtests.submit(request_)).leader_id is None, "a finished run leads no others"


@pytest.mark.parametrize("running", [False, True])
async def test_when_the_leader_is_cancelled_a_follower_is_promoted(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    start_worker: StartWorker,
    finished: Finished,
    until: Until,
    gate: threading.Event,
    running: bool,
) -> None:
    request = msgspec.structs.replace(request_, engine="python")
    leader, second, third = [await service.backtests.submit(request) for _ in range(3)]

    async def is_running() -> bool:
        return (await service.backtests.get(leader.id)).state == RunState.RUNNING

    if not running:
        await service.backtests.cancel(leader.id)
    async with start_worker(settings):
        if running:
            await until(is_running)
            await service.backtests.cancel(leader.id)
        gate.set()
        ended = [await finished(run.id) for run in (leader, second, third)]
    assert [run.state for run in ended] == [RunState.CANCELLED, RunState.SUCCEEDED, RunState.SUCCEEDED]
    assert [run.cached for run in ended] == [False, False, True]


async def test_a_cancelled_follower_leaves_the_others_alone(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    runs = [await service.backtests.submit(request_) for _ in range(3)]
    assert (await service.backtests.cancel(runs[1].id)).state == RunState.CANCELLED
    async with start_worker(settings):
        states = [(await finished(run.id)).state for run in runs]
    assert states == [RunState.SUCCEEDED, RunState.CANCELLED, RunState.SUCCEEDED]


async def test_no_run_follows_one_that_is_less_urgent_or_due_later(service: workers.Service, request_: workers.BacktestRequest) -> None:
    low = await service.backtests.submit(request_, RunOptions(priority=workers.Priority.LOW))
    high = await service.backtests.submit(request_, RunOptions(priority=workers.Priority.HIGH))
    normal = await service.backtests.submit(request_)
    assert (high.leader_id, normal.leader_id) == (None, high.id)
    other = msgspec.structs.replace(request_, execution=bt.Execution(slippage=0.001))
    later = await service.backtests.submit(other, RunOptions(run_at=now_ms() + 60_000))
    assert (await service.backtests.submit(other)).leader_id is None
    assert later.leader_id is low.leader_id is None


async def test_a_due_run_is_followed_though_it_was_accepted_by_a_clock_ahead(
    service: workers.Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as ahead:
        ahead.setattr(names, "now_ms", lambda: now_ms() + 30_000)
        leader = await service.backtests.submit(request_)
    assert leader.due_at > now_ms()
    assert (await service.backtests.submit(request_)).leader_id == leader.id


async def test_a_scheduled_run_waits_for_its_time(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished
) -> None:
    at = now_ms() + 1000
    accepted = await service.backtests.submit(request_, RunOptions(run_at=at))
    assert accepted.due_at == at
    run = await finished(accepted.id)
    assert run.started_at is not None
    assert run.started_at >= at - 50


@pytest.mark.parametrize("options", [{"key": "x" * 201}, {"run_at": -1}, {"run_at": 2**60}])
def test_invalid_run_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(workers.Invalid):
        RunOptions(**options)


async def test_a_result_of_another_contract_is_not_used(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = await finished((await service.backtests.submit(request_)).id)
    from python_core.engine import inputs

    monkeypatch.setattr(inputs, "CONTRACT", inputs.CONTRACT + 1)
    again = await service.backtests.submit(request_)
    assert (again.cached, again.state) == (False, RunState.QUEUED)
    assert again.fingerprint != first.fingerprint


async def test_a_name_that_another_process_has_changed_is_looked_up_again(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    await service.strategies.create("crossing", cross)
    named = msgspec.structs.replace(request_, dataset=dataset.name, strategy="crossing")
    before = await service.backtests.submit(named)
    later = bt.synthetic(2100)
    async with workers.open_service(settings) as other:
        await other.datasets.append(dataset.id, parquet(later[2000:]))
        await other.strategies.update("crossing", strategy=cross.with_params(fast=11))
        after = await service.backtests.submit(named)
        assert (before.dataset_version, before.strategy_version) == (1, 1)
        assert (after.dataset_version, after.strategy_version) == (2, 2)
        await other.strategies.delete("crossing")
        with pytest.raises(workers.NotFound):
            await service.backtests.submit(named)


async def test_a_run_accepted_while_its_dataset_is_deleted_is_refused(service: workers.Service, cross: bt.Strategy) -> None:
    for i in range(20):
        await service.datasets.create(f"d{i}", parquet(bt.synthetic(100, seed=i)))
        request = workers.BacktestRequest(dataset=f"d{i}", strategy=cross)
        submitted, deleted = await asyncio.gather(
            service.backtests.submit(request), service.datasets.delete(f"d{i}"), return_exceptions=True
        )
        found = (type(submitted), type(deleted))
        assert found in ((workers.Run, workers.Conflict), (workers.NotFound, type(None))), (submitted, deleted)


async def test_runs_accepted_in_one_transaction_fail_one_by_one(service: workers.Service, request_: workers.BacktestRequest) -> None:
    others = [msgspec.structs.replace(request_, execution=bt.Execution(slippage=1e-6 * i)) for i in range(20)]
    none = msgspec.structs.replace(request_, dataset="none")
    outcomes = await asyncio.gather(*map(service.backtests.submit, [*others, none]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [workers.Run] * 20 + [workers.NotFound]
    assert len({outcome.id for outcome in outcomes if isinstance(outcome, workers.Run)}) == 20


async def test_a_batch_of_new_ranges_does_not_fill_their_queue(
    service: workers.Service, request_: workers.BacktestRequest, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workroom.WAITING, "bars", 2)
    monkeypatch.setattr(intake, "RANGES_AT_ONCE", 2)
    ranges = [msgspec.structs.replace(request_, start=int(bars.time[100 + i])) for i in range(20)]
    batch = await service.backtests.submit_batch(tuple(ranges))
    assert [item.error for item in batch.items] == [None] * 20
    assert len({item.run.fingerprint for item in batch.items if item.run}) == 20


async def test_a_repeated_rerun_needs_the_earlier_run_no_longer(service: workers.Service, request_: workers.BacktestRequest) -> None:
    run = await service.backtests.submit(request_)
    key, named = RunOptions(key="k"), workers.LabelChanges(name="again")
    again = await service.backtests.rerun(run.id, key, named)
    await service.backtests.update(run.id, workers.LabelChanges(notes="other"))
    assert (await service.backtests.rerun(run.id, key, named)).id == again.id
    await service.backtests.cancel(run.id)
    await service.backtests.delete(run.id)
    assert (await service.backtests.rerun(run.id, key, named)).id == again.id
    for refused in (service.backtests.rerun(run.id, key), service.backtests.rerun(again.id, key, named)):
        with pytest.raises(workers.Conflict, match="different request"):
            await refused
    with pytest.raises(workers.NotFound):
        await service.backtests.rerun(run.id)


async def test_a_rerun_is_of_the_same_stored_strategy(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, cross: bt.Strategy, finished: Finished
) -> None:
    stored = await service.strategies.create("crossing", cross)
    run = await finished((await service.backtests.submit(msgspec.structs.replace(request_, strategy="crossing"))).id)
    await service.strategies.update("crossing", strategy=cross.with_params(fast=11))
    again = await service.backtests.rerun(run.id, changes=workers.LabelChanges(name="again"))
    assert (again.strategy_id, again.strategy_version, again.request.strategy) == (stored.id, 1, cross)
    listed = await service.backtests.list(workers.RunFilter(strategy="crossing"))
    assert [each.id for each in listed.items] == [again.id, run.id]
    assert (await service.backtests.rerun(run.id)).id == run.id, "the same request is the same run"


async def test_a_request_is_compared_with_the_newest_equal_runs_of_its_name(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
) -> None:
    async def submit(**labels: str) -> str:
        # With a key, as a process remembers the finished runs of requests without one.
        options = RunOptions(key=names.new_id())
        return (await service.backtests.submit(msgspec.structs.replace(request_, **labels), options)).id

    first = await finished(await submit(name="a"))
    others = [await submit(name=f"b{i}") for i in range(acceptance.MAX_COMPARED + 5)]
    assert await submit(name="a") == first.id, "runs of other names are not in the way"
    assert len({first.id, *others}) == acceptance.MAX_COMPARED + 6
    for i in range(acceptance.MAX_COMPARED):
        await submit(name="a", notes=str(i))
    late = await submit(name="a")
    assert late != first.id, "it is behind as many as are compared"
    assert await submit(name="a") == late


async def test_attempts_are_listed(
    service: workers.Service,
    worker: LeaseWorker,
    request_: workers.BacktestRequest,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save, failures = results.save, [OSError(28, "No space left on device")]

    def full_disk(*given: Any, **options: Any) -> dict[str, object]:
        if failures:
            raise failures.pop()
        return save(*given, **options)

    monkeypatch.setattr(results, "save", full_disk)
    run = await finished((await service.backtests.submit(request_)).id)
    attempts = await service.backtests.list_attempts(run.id)
    assert [(attempt.attempt, attempt.outcome, attempt.error and attempt.error.code) for attempt in attempts] == [
        (1, "failed", "machine"),
        (2, "succeeded", None),
    ]
    with pytest.raises(workers.NotFound):
        await service.backtests.list_attempts("none")
