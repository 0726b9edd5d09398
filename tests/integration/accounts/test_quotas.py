"""How much one owner may have in progress, and compute in a day."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

import python_core as bt
import workers
from workers import Caller, Scope
from workers.accounts import quotas
from workers.db import idempotency
from workers.model.clock import now_ms
from workers.service.service import Service

OWNERS = [Caller(owner=owner, scope=Scope.ADMIN, sees_all=True) for owner in ("anna", "ben")]


def variants(request: workers.BacktestRequest, count: int) -> list[workers.BacktestRequest]:
    return [msgspec.structs.replace(request, execution=bt.Execution(slippage=i / 1e6)) for i in range(count)]


@pytest.fixture
def settings(settings: workers.Settings, request: pytest.FixtureRequest) -> workers.Settings:
    return msgspec.structs.replace(settings, **request.param)


def of(**limits: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [limits], indirect=True)


@of(owner_runs=5)
async def test_an_owner_has_so_many_unfinished_runs(service: Service, request_: workers.BacktestRequest) -> None:
    anna, ben = map(service.acting_as, OWNERS)
    outcomes = await asyncio.gather(*map(anna.backtests.submit, variants(request_, 9)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, workers.TooManyRequests)]
    assert [error.code for error in refused] == ["quota_runs"] * 4
    assert len((await anna.backtests.list()).items) == 5
    await ben.backtests.submit(request_)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, workers.Run)]
    await anna.backtests.cancel(accepted[0].id)
    await anna.backtests.submit(variants(request_, 20)[-1])


@of(owner_runs=2)
async def test_a_batch_and_create_and_run_are_limited_too(service: Service, request_: workers.BacktestRequest) -> None:
    anna = service.acting_as(OWNERS[0])
    batch = await anna.backtests.submit_batch(tuple(variants(request_, 3)))
    assert sorted(item.error.code if item.error else "" for item in batch.items) == ["", "", "quota_runs"]
    create = workers.CreateAndRunRequest(name="new", dataset=request_.dataset, strategy=bt.Strategy(entry_long="close > 1"))
    with pytest.raises(workers.TooManyRequests):
        await anna.backtests.create_and_run(create, workers.RunOptions(key="k"))
    assert (await anna.strategies.list()).items == (), "the strategy is not stored either"
    for item in batch.items:
        if item.run is not None:
            await anna.backtests.cancel(item.run.id)
    await anna.backtests.create_and_run(create, workers.RunOptions(key="k"))


@of(owner_bars_a_day=5_000)
async def test_an_owner_computes_so_many_bars_a_day(
    service: Service, request_: workers.BacktestRequest, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = map(service.acting_as, OWNERS)
    first, second, third = variants(request_, 3)
    for request in (first, second):
        await anna.backtests.submit(request)
    with pytest.raises(workers.TooManyRequests) as refused:
        await anna.backtests.submit(third)
    assert refused.value.code == "quota_bars"
    assert 0 < refused.value.retry_after_s <= quotas.DAY_S
    half = msgspec.structs.replace(third, start=int(bars.time[1_000]))
    await anna.backtests.submit(half)
    with pytest.raises(workers.TooManyRequests):
        await anna.backtests.submit(third)
    await ben.backtests.submit(third)
    tomorrow = now_ms() + quotas.DAY_S * 1000
    monkeypatch.setattr(quotas, "now_ms", lambda: tomorrow)
    await anna.backtests.submit(variants(request_, 4)[-1])


def codes(outcomes: list[workers.Run | BaseException]) -> Counter[str]:
    """How many runs were accepted, and the codes of the errors."""
    return Counter(outcome.code if isinstance(outcome, workers.WorkersError) else type(outcome).__name__ for outcome in outcomes)


@of(owner_runs=1, owner_bars_a_day=2_500)
@pytest.mark.parametrize("key", ["", "k"])
async def test_equal_requests_at_once_count_once(service: Service, request_: workers.BacktestRequest, key: str) -> None:
    anna = service.acting_as(OWNERS[0])
    options = workers.RunOptions(key=key)
    equal = await asyncio.gather(*(anna.backtests.submit(request_, options) for _ in range(5)))
    assert len({run.id for run in equal}) == (1 if key else 5)
    late = await anna.backtests.submit(request_)
    assert late.leader_id is not None
    for code in ("quota_runs", "quota_bars"):
        with pytest.raises(workers.TooManyRequests) as refused:
            await anna.backtests.submit(variants(request_, 2)[1])
        assert refused.value.code == code
        for run in (await anna.backtests.list(workers.RunFilter(state=workers.RunState.QUEUED))).items:
            await anna.backtests.cancel(run.id)


@of(owner_bars_a_day=5_000)
async def test_a_request_that_its_key_refuses_costs_nothing(
    service: Service, request_: workers.BacktestRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = service.acting_as(OWNERS[0])
    first, other, more = variants(request_, 3)
    await anna.backtests.submit(first, workers.RunOptions(key="k"))

    async def unknown(*_: object) -> None: ...

    with monkeypatch.context() as late:
        late.setattr(idempotency, "find_subject", unknown)  # as if the key were used only after it was looked up
        outcomes = await asyncio.gather(
            *(anna.backtests.submit(request, workers.RunOptions(key="k")) for request in (first, other)), return_exceptions=True
        )
    assert codes(outcomes) == {"Run": 1, "idempotency_mismatch": 1}
    await anna.backtests.submit(more)


@of(owner_runs=1)
async def test_a_key_of_a_request_beyond_a_quota_is_not_used_up(service: Service, request_: workers.BacktestRequest) -> None:
    anna = service.acting_as(OWNERS[0])
    first, second = variants(request_, 2)
    run = await anna.backtests.submit(first)
    key = workers.RunOptions(key="k")
    asks = [anna.backtests.submit(second, key), anna.backtests.submit(second, key), anna.backtests.submit(second)]
    assert codes(await asyncio.gather(*asks, return_exceptions=True)) == {"quota_runs": 3}
    await anna.backtests.cancel(run.id)
    accepted = await anna.backtests.submit(second, key)
    assert (accepted.leader_id, (await anna.backtests.submit(second, key)).id) == (None, accepted.id)
    assert len((await anna.backtests.list()).items) == 2


@of(owner_runs=1)
async def test_a_fetch_is_no_backtest(service: Service, request_: workers.BacktestRequest) -> None:
    anna = service.acting_as(OWNERS[0])
    await anna.fetches.create(workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=0))
    await anna.backtests.submit(request_)


@of(owner_runs=1)
async def test_quotas_hold_for_what_has_no_owner(service: Service, request_: workers.BacktestRequest) -> None:
    first, second = variants(request_, 2)
    await service.backtests.submit(first)
    with pytest.raises(workers.TooManyRequests):
        await service.backtests.submit(second)
