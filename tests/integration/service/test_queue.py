"""Dead letters, events and sagas, on both databases."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.runs import end, start
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.cli.dead_letters import run_action
from workers.db.tables import SagaRow
from workers.jobs.job import Job, Stop
from workers.model.callers import OPERATOR
from workers.model.clock import now_ms
from workers.model.names import new_id
from workers.model.runs import RunOptions
from workers.model.states import RunState
from workers.process import reconcile
from workers.process.worker import LeaseWorker
from workers.queue import events, keys
from workers.runs import create_and_run, follow, outbox, saga
from workers.runs.saga import SagaState, Step

pytestmark = pytest.mark.anyio


async def die(service: workers.Service, request_: workers.BacktestRequest, count: int = 1) -> list[str]:
    """Create runs that are dead after two attempts each."""
    error = workers.RunError(code="machine", message="it broke")
    ids = []
    for i in range(count):
        run = await service.backtests.submit(msgspec.structs.replace(request_, execution=bt.Execution(initial_capital=1000 + i)))
        database = service.resources.database
        assert await end(database, await start(database, run.id, 1, worker="w-1"), RunState.RETRYING, error=error)
        assert await end(database, await start(database, run.id, 2, worker="w-2"), RunState.DEAD, error=error)
        ids.append(run.id)
    return ids


async def test_a_dead_letter_has_its_request_and_the_error_of_each_attempt(
    service: workers.Service, request_: workers.BacktestRequest
) -> None:
    (run_id,) = await die(service, request_)
    (listed,) = (await service.queue.list_dead_letters()).items
    assert (listed.id, listed.attempt, listed.error and listed.error.code) == (run_id, 2, "machine")
    letter = await service.queue.get_dead_letter(run_id)
    assert letter.request["dataset"] == (await service.backtests.get(run_id)).request.dataset
    assert [(attempt.worker, attempt.outcome, attempt.error and attempt.error.code) for attempt in letter.attempts or ()] == [
        ("w-1", "failed", "machine"),
        ("w-2", "dead", "machine"),
    ]
    alive = await service.backtests.submit(request_)
    with pytest.raises(workers.NotFound):
        await service.queue.get_dead_letter(alive.id)


async def test_dead_letters_are_paged(service: workers.Service, request_: workers.BacktestRequest) -> None:
    ids = await die(service, request_, 5)
    seen: list[str] = []
    page = await service.queue.list_dead_letters(limit=2)
    seen += [letter.id for letter in page.items]
    while page.next_cursor:
        page = await service.queue.list_dead_letters(limit=2, cursor=page.next_cursor)
        seen += [letter.id for letter in page.items]
    assert seen == ids[::-1]


async def test_a_redriven_dead_letter_runs_and_keeps_its_attempts(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, start_worker: StartWorker, finished: Finished
) -> None:
    one, *others = await die(service, request_, 4)
    assert (await service.queue.redrive(workers.DeadLetterSelection(ids=(one, one, "none")))).ids == (one,)
    assert (await service.queue.redrive(workers.DeadLetterSelection(ids=(one,)))).ids == ()
    assert sorted((await service.queue.redrive(workers.DeadLetterSelection(all=True))).ids) == others
    async with start_worker(settings):
        for run_id in (one, *others):
            run = await finished(run_id)
            assert (run.state, run.attempt, run.error) == (RunState.SUCCEEDED, 3, None)
    assert [attempt.outcome for attempt in await service.backtests.list_attempts(one)] == ["failed", "dead", "succeeded"]


async def test_a_discarded_dead_letter_is_cancelled_and_keeps_its_error(
    service: workers.Service, request_: workers.BacktestRequest
) -> None:
    (run_id,) = await die(service, request_)
    assert (await service.queue.discard(workers.DeadLetterSelection(ids=(run_id,)))).ids == (run_id,)
    run = await service.backtests.get(run_id)
    assert (run.state, run.error and run.error.code) == (RunState.CANCELLED, "machine")
    assert (await service.queue.list_dead_letters()).items == ()
    assert (await service.queue.redrive(workers.DeadLetterSelection(all=True))).ids == ()


@pytest.mark.parametrize("selection", [{}, {"ids": ("a",), "all": True}])
def test_a_selection_has_ids_or_all(selection: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not both"):
        workers.DeadLetterSelection(**selection)


async def test_the_command_lists_shows_and_redrives(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest
) -> None:
    one, other = await die(service, request_, 2)
    command = [sys.executable, "-m", "workers.cli.main", "dead", "list"]
    listed = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, **settings.to_env()}, capture_output=True, text=True, timeout=60
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[-1] == "2 dead letters"
    assert one in listed.stdout
    assert "machine: it broke" in listed.stdout

    async def lines(action: str, *ids: str, select_all: bool = False) -> list[str]:
        return list(await run_action(service.queue, action, ids, select_all=select_all))

    assert any("attempt 2" in line for line in await lines("show", one))
    with pytest.raises(workers.Invalid, match="--all"):
        await lines("discard")
    assert await lines("redrive", one) == [one, "1 run queued again"]
    assert await lines("discard", select_all=True) == [other, "1 run discarded"]


async def received(service: workers.Service, run_id: str, after: str = "") -> list[workers.RunUpdate]:
    async with asyncio.timeout(60):
        return [update async for update in await service.backtests.stream_events(run_id, after=after) if update.event_id]


async def test_a_run_streams_its_progress_and_its_end(
    service: workers.Service,
    worker: LeaseWorker,
    slow_request: workers.BacktestRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "PROGRESS_S", 0.02)
    accepted = await service.backtests.submit(slow_request)
    updates = await received(service, accepted.id)
    *events_, end = updates
    fractions = [item.event.fraction for item in events_ if item.event and item.event.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 2
    assert all(item.event and item.event.eta_s is not None for item in events_ if item.event and item.event.fraction)
    assert end.run is not None
    assert (end.event_id, end.run.state) == (follow.END, RunState.SUCCEEDED)
    again = await received(service, accepted.id, after=events_[1].event_id or "")
    assert [item.event_id for item in again] == [item.event_id for item in updates[2:]]
    assert 0 < await service.resources.queue.redis.ttl(keys.events(accepted.id)) <= events.STORED_S


async def test_a_follower_shares_the_events_of_its_leader(
    service: workers.Service,
    settings: workers.Settings,
    slow_request: workers.BacktestRequest,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "PROGRESS_S", 0.02)
    _, follower = [await service.backtests.submit(slow_request) for _ in range(2)]
    async with start_worker(settings):
        *events_, end = await received(service, follower.id)
    assert any(item.event and item.event.fraction for item in events_)
    assert end.run is not None
    assert (end.run.id, end.run.state) == (follower.id, RunState.SUCCEEDED)


async def test_the_end_is_sent_even_if_redis_is_emptied(service: workers.Service, request_: workers.BacktestRequest) -> None:
    accepted = await service.backtests.submit(request_)
    listening = asyncio.create_task(received(service, accepted.id))
    await service.resources.queue.redis.flushall()
    await service.backtests.cancel(accepted.id)
    assert [update.event_id for update in await listening] == [follow.END]
    with pytest.raises(workers.NotFound):
        await service.backtests.stream_events("none")
    with pytest.raises(workers.Invalid, match="not an event id"):
        await service.backtests.stream_events(accepted.id, after="$")


async def test_events_are_bounded(service: workers.Service, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    class Endless(Job):
        reports = 0

        @property
        def progress(self) -> float:
            self.reports += 1
            return self.reports / 1000 + 0.005

    monkeypatch.setattr(events, "PROGRESS_S", 0)
    monkeypatch.setattr(events, "MIN_CHANGE", 0.0001)
    job = Endless("run")
    publishing = asyncio.create_task(events.publish_progress(service.resources.queue, {"job": job}))

    async def enough() -> bool:
        return job.reports > events.MAX_EVENTS + 50

    await until(enough)
    publishing.cancel()
    assert await service.resources.queue.redis.xlen(keys.events("run")) == events.MAX_EVENTS


async def test_a_strategy_and_its_run_are_created_together_or_not_at_all(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    run = await service.backtests.create_and_run(workers.CreateAndRunRequest(name="a", strategy=cross, dataset=dataset.name))
    assert run.strategy_id == (await service.strategies.get("a")).id
    with pytest.raises(workers.Conflict, match="taken by another strategy"):
        await service.backtests.create_and_run(workers.CreateAndRunRequest(name="a", strategy=cross, dataset=dataset.name))
    key = RunOptions(key="k")
    with pytest.raises(workers.NotFound, match="dataset"):
        await service.backtests.create_and_run(workers.CreateAndRunRequest(name="b", strategy=cross, dataset="none"), key)
    with pytest.raises(workers.NotFound):
        await service.strategies.get("b")
    request = workers.CreateAndRunRequest(name="b", strategy=cross, dataset=dataset.name)
    first = await service.backtests.create_and_run(request, key)
    assert (await service.backtests.create_and_run(request, key)).id == first.id
    with pytest.raises(workers.Conflict, match="different request"):
        await service.backtests.create_and_run(workers.CreateAndRunRequest(name="c", strategy=cross, dataset=dataset.name), key)


async def saga_state(service: workers.Service, identifier: str) -> tuple[str, int]:
    async with service.resources.database.read() as session:
        row = await session.get(SagaRow, identifier)
    assert row is not None
    return row.state, row.step


async def begin(service: workers.Service, identifier: str, kind: str, data: saga.Data) -> None:
    async with service.resources.database.write() as session:
        await saga.start(session, identifier, kind, data)


async def test_a_saga_left_half_done_is_completed(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = workers.CreateAndRunRequest(name="a", strategy=cross, dataset=dataset.name)
    run_id = new_id()
    await begin(
        service,
        run_id,
        create_and_run.KIND,
        {"strategy_id": "s", "run_id": run_id, "request": request, "options": RunOptions(), "caller": OPERATOR},
    )
    known = create_and_run.sagas(service.resources.database, service.resources.bars)
    first_two = known[create_and_run.KIND][:2]

    async def killed(session: object, data: object) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await saga.advance(service.resources.database, run_id, [*first_two, Step(killed)])
    assert await saga_state(service, run_id) == (SagaState.RUNNING, 2)
    assert await saga.resume(service.resources.database, known) == 0, "its process may still be working"
    monkeypatch.setattr(saga, "GRACE_MS", -1)
    assert await saga.resume(service.resources.database, known) == 1
    assert await saga_state(service, run_id) == (SagaState.DONE, 3)
    assert (await service.backtests.get(run_id)).strategy_id == "s"


async def test_a_failed_saga_is_undone_even_by_another_process(service: workers.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    def note(text: str, error: BaseException | None = None) -> Any:
        async def step(session: object, data: saga.Data) -> None:
            data["seen"] = [*data.get("seen", []), text]
            log.append(text)
            if error is not None and log.count(text) == 1:
                raise error

        return step

    steps = [
        Step(note("do 1"), note("undo 1")),
        Step(note("do 2"), note("undo 2", asyncio.CancelledError())),
        Step(note("do 3", ValueError("no"))),
    ]
    await begin(service, "s", "test", {})
    with pytest.raises(asyncio.CancelledError):
        await saga.advance(service.resources.database, "s", steps)
    assert await saga_state(service, "s") == (SagaState.UNDOING, 2)
    monkeypatch.setattr(saga, "GRACE_MS", -1)
    await saga.resume(service.resources.database, {"test": steps})
    assert await saga_state(service, "s") == (SagaState.UNDONE, 0)
    assert log == ["do 1", "do 2", "do 3", "undo 2", "undo 2", "undo 1"]
    async with service.resources.database.read() as session:
        row = await session.get(SagaRow, "s")
    assert row is not None
    assert msgspec.json.decode(row.data)["seen"] == ["do 1", "do 2", "undo 2", "undo 1"], "a step that failed leaves nothing"


async def test_a_saga_advanced_by_several_at_once_is_done_once(service: workers.Service) -> None:
    async def count(session: Any, data: saga.Data) -> None:
        data["count"] = data.get("count", 0) + 1

    await begin(service, "s", "test", {})
    states = await asyncio.gather(*(saga.advance(service.resources.database, "s", [Step(count)] * 5) for _ in range(4)))
    assert set(states) == {SagaState.DONE}
    async with service.resources.database.read() as session:
        assert msgspec.json.decode((await session.scalars(sa.select(SagaRow.data))).one()) == {"count": 5}


async def test_a_waiting_job_can_be_stopped() -> None:
    job = Job("run")
    waiting = asyncio.create_task(job.unless_stopped(asyncio.sleep(60)))
    await asyncio.sleep(0)
    job.stop(Stop.CANCELLED)
    with pytest.raises(bt.Cancelled):
        await waiting
    assert await Job("run").unless_stopped(asyncio.sleep(0, "done")) == "done"


async def test_a_pause_outlasts_an_emptied_redis(service: workers.Service, request_: workers.BacktestRequest) -> None:
    async def reconciled() -> tuple[int, bool]:
        await reconcile.reconcile(service.resources.database, service.resources.queue, lease_ms=1000, now=lambda: now_ms() + 10_000)
        stats = await service.resources.queue.stats()
        return stats.ready, stats.paused

    await service.backtests.submit(request_)
    await service.queue.pause()
    await service.queue.pause()
    await outbox.send(service.resources.database, service.resources.queue)
    await service.resources.queue.redis.flushall()
    assert await reconciled() == (1, True)
    assert (await service.resources.queue.claim("worker", 1000, 5))[0] == []
    await service.queue.resume()
    assert await reconciled() == (1, False)
    await service.resources.queue.pause()  # as if Redis had lost the resumption
    assert await reconciled() == (1, False)
