"""Selections: the bars of a range or a market, with the same fingerprint however they are selected."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt
import workers
from tests.support.workers import Finished
from workers.data.parts import SERIES
from workers.model.clock import LAST_MS
from workers.model.runs import RunOptions
from workers.model.states import RunState
from workers.process.worker import LeaseWorker

HOUR: int = 3_600_000

pytestmark = pytest.mark.anyio


def with_all(bars: bt.Bars) -> bt.Bars:
    rates = (bars.time[::8], np.linspace(-0.001, 0.001, len(bars.time[::8])))
    return bars.with_series(funding=rates, mark=(bars.time, bars.low * 0.999, bars.high * 1.001))


def alone(bars: bt.Bars, begin: int, end: int) -> bt.Bars:
    """Some of the bars, as bars of their own."""
    assert bars.funding is not None
    assert bars.mark is not None
    times, rates = bars.funding
    inside = (times >= bars.time[begin]) & (times < bars.time[end - 1] + HOUR)
    return bt.Bars(
        *(getattr(bars, name)[begin:end].copy() for name in SERIES["bars"]),
        timeframe="1h",
        funding=(times[inside], rates[inside]),
        mark=(bars.mark[0][begin:end].copy(), bars.mark[1][begin:end].copy()),
    )


def instrument(symbol: str, **values: Any) -> workers.Instrument:
    return workers.Instrument(symbol=symbol, **values)


async def refused(service: workers.Service, kind: type[workers.WorkersError], request: workers.BacktestRequest) -> str:
    with pytest.raises(kind) as caught:
        await service.backtests.submit(request)
    return str(caught.value)


@pytest.mark.parametrize("isolated", [False, True])
async def test_a_range_gives_the_result_of_a_dataset_with_only_these_bars(
    service: workers.Service,
    settings: workers.Settings,
    start_worker: Any,
    bars: bt.Bars,
    cross: bt.Strategy,
    finished: Finished,
    isolated: bool,
) -> None:
    whole = with_all(bars)
    wanted = alone(whole, 500, 1500)
    dataset = await service.resources.data.create("whole", whole)
    execution = bt.Execution(leverage=2)
    request = workers.BacktestRequest(
        dataset="whole",
        strategy=cross,
        execution=execution,
        start=int(bars.time[500]),
        end=int(bars.time[1500]),
        warm_up_from="start",
        engine="python" if isolated else "auto",
    )
    accepted = await service.backtests.submit(request)
    assert (accepted.request.dataset, accepted.request.start, accepted.request.end) == (dataset.reference, request.start, request.end)
    async with start_worker(msgspec.structs.replace(settings, isolate_python=isolated)):
        run = await finished(accepted.id)
    expected = bt.backtest(wanted, cross, execution)
    assert run.result is not None, run.error
    assert run.result.fingerprint == run.fingerprint == accepted.fingerprint == expected.fingerprint
    assert (run.result.digest, run.result.bars, run.dataset_version) == (expected.digest, 1000, 1)
    assert (await service.backtests.get_equity(run.id)).time == tuple(wanted.time.tolist())

    await service.resources.data.create("part", wanted)
    again = await service.backtests.submit(msgspec.structs.replace(request, dataset="part", start=None, end=None))
    assert (again.state, again.cached, again.result) == (RunState.SUCCEEDED, True, run.result)


async def test_a_range_may_exceed_the_bars_and_defaults_to_all(
    service: workers.Service, bars: bt.Bars, request_: workers.BacktestRequest
) -> None:
    first, last = int(bars.time[0]), int(bars.time[-1])
    ranges = [(None, None), (first, None), (None, last + 1), (0, LAST_MS), (first - HOUR + 1, last + HOUR)]
    runs = [await service.backtests.submit(msgspec.structs.replace(request_, start=start, end=end)) for start, end in ranges]
    assert len({run.fingerprint for run in runs}) == 1
    assert {run.leader_id for run in runs} == {None, runs[0].id}
    late = msgspec.structs.replace(request_, start=first + 1)
    assert (await service.backtests.submit(late)).fingerprint != runs[0].fingerprint
    open_ended = msgspec.structs.replace(request_, start=first + HOUR, end=LAST_MS)
    assert (await service.backtests.submit(open_ended)).fingerprint == (await service.backtests.submit(late)).fingerprint


async def test_a_range_without_bars_is_refused_with_the_available_range(
    service: workers.Service, bars: bt.Bars, cross: bt.Strategy
) -> None:
    times = np.concatenate([bars.time[:100], bars.time[100:] + 50 * HOUR])
    gapped = bt.Bars(times, *(getattr(bars, name) for name in SERIES["bars"][1:]), timeframe="1h")
    await service.resources.data.create("gapped", gapped)
    first, last = int(times[0]), int(times[-1])
    gap = int(times[99])
    for start, end in ((last + 1, None), (None, first), (gap + 1, gap + 50 * HOUR), (first + 1, first + 2)):
        text = await refused(service, workers.Invalid, workers.BacktestRequest(dataset="gapped", strategy=cross, start=start, end=end))
        assert str(first) in text
        assert str(last) in text
    assert (await service.backtests.list()).items == ()
    for start, end in ((5, 5), (6, 5), (-1, None), (None, LAST_MS + 1), (True, None), (1.5, None)):
        with pytest.raises(ValueError, match=r"start|end"):
            workers.BacktestRequest(dataset="gapped", strategy=cross, start=start, end=end)  # type: ignore[arg-type]


async def test_a_hundred_submissions_of_one_range_hash_it_once_and_not_in_this_process(
    service: workers.Service, request_: workers.BacktestRequest, bars: bt.Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, done = service.resources.workroom.run, []

    async def recorded(kind: Any, *arguments: Any) -> Any:
        done.append(kind)
        return await run(kind, *arguments)

    monkeypatch.setattr(service.resources.workroom, "run", recorded)
    monkeypatch.delattr(bt.Bars, "fingerprint")
    ranged = msgspec.structs.replace(request_, start=int(bars.time[100]))
    runs = await asyncio.gather(*(service.backtests.submit(ranged) for _ in range(100)))
    runs.append(await service.backtests.submit(msgspec.structs.replace(ranged, execution=bt.Execution(slippage=0.01))))
    assert done == ["bars"]
    assert len({run.leader_id for run in runs}) == 2


async def test_a_market_and_timeframe_select_their_only_dataset(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, cross: bt.Strategy, finished: Finished
) -> None:
    dataset = await service.resources.data.create("d", bars[:1500], instrument("BTC/USDT:USDT", exchange="bybit", kind="linear"))
    await service.resources.data.create("other", bt.synthetic(500), instrument("ETH/USDT", exchange="bybit"))
    request = workers.BacktestRequest(symbol="btcusdt", timeframe="60", strategy=cross, start=int(bars.time[100]))
    key = RunOptions(key="k")
    first = await service.backtests.submit(request, key)
    assert (first.dataset_id, first.dataset_version, first.request.dataset) == (dataset.id, 1, f"{dataset.id}@1")
    assert (first.request.symbol, first.request.timeframe, first.request.start) == (None, None, request.start)
    named = await service.backtests.submit(workers.BacktestRequest(dataset="d", strategy=cross, start=request.start))
    assert named.fingerprint == first.fingerprint

    grown = await service.resources.data.append("d", {"bars": {name: getattr(bars, name)[1500:] for name in SERIES["bars"]}})
    second = await service.backtests.submit(
        msgspec.structs.replace(request, exchange="Bybit", kind="linear", symbol="BTC/USDT:USDT", end=LAST_MS)
    )
    assert (second.dataset_version, grown.version) == (2, 2)
    assert (await service.backtests.submit(request, key)).id == first.id, "an idempotency key returns the same run"
    again = await service.backtests.rerun(first.id)
    assert (again.dataset_version, again.fingerprint) == (1, first.fingerprint)
    created = await service.backtests.create_and_run(
        workers.CreateAndRunRequest(name="s", strategy=cross, symbol="BTCUSDT", timeframe="1h", start=request.start)
    )
    assert (created.dataset_version, created.fingerprint) == (2, second.fingerprint)
    counts = []
    for run in (first, second, again, created):
        result = (await finished(run.id)).result
        assert result is not None
        counts.append(result.bars)
    assert counts == [1400, 1900, 1400, 1900]


async def test_a_market_without_a_dataset_is_not_found_with_suggestions(
    service: workers.Service, bars: bt.Bars, cross: bt.Strategy
) -> None:
    request = workers.BacktestRequest(symbol="BTCUSDT", timeframe="1h", strategy=cross)
    assert "upload" in await refused(service, workers.NotFound, request)
    await service.resources.data.create("minutes", bt.synthetic(300, timeframe="1m"), instrument("BTC/USDT", exchange="bybit"))
    await service.resources.data.create("quarters", bt.synthetic(300, timeframe="15m"), instrument("BTC/USDT", exchange="bybit"))
    await service.resources.data.create("days", bt.synthetic(300, timeframe="1d"), instrument("BTC/USDT", exchange="bybit"))
    text = await refused(service, workers.NotFound, request)
    assert "'quarters' has 15m bars" in text
    assert "timeframe 1h" in text
    assert all(name in text for name in ("minutes", "days"))
    assert "'minutes' (BTC/USDT 1m" in await refused(service, workers.NotFound, msgspec.structs.replace(request, symbol="BTC/USDC"))
    for other in ({"exchange": "okx"}, {"kind": "linear"}, {"symbol": "BTC/USDT:USDT"}):
        text = await refused(service, workers.NotFound, msgspec.structs.replace(request, timeframe="1d", **other))
        assert "'days'" in text, other
    assert (await service.backtests.list()).items == ()


async def test_months_and_minutes_are_different_timeframes_of_a_market(service: workers.Service, cross: bt.Strategy) -> None:
    minutes = await service.resources.data.create("minutes", bt.synthetic(300, timeframe="1m"), instrument("BTC/USDT"))
    months = await service.resources.data.create("months", bt.synthetic(300, timeframe="1M"), instrument("BTC/USDT"))
    days = await service.resources.data.create("days", bt.synthetic(300, timeframe="1d"), instrument("ETH/USDT"))
    await service.resources.data.create("weeks", bt.synthetic(300, timeframe="1w"), instrument("ETH/USDT"))
    for timeframe, dataset in (("1m", minutes), ("1M", months), ("M", months), ("1", minutes)):
        request = workers.BacktestRequest(symbol="BTCUSDT", timeframe=timeframe, strategy=cross)
        assert (await service.backtests.submit(request)).dataset_id == dataset.id
    text = await refused(service, workers.NotFound, workers.BacktestRequest(symbol="ETHUSDT", timeframe="1M", strategy=cross))
    assert f"{days.name!r} has 1d bars" in text, "weeks don't fit into months"


async def test_a_market_with_several_datasets_is_a_conflict_that_lists_them(
    service: workers.Service, bars: bt.Bars, cross: bt.Strategy
) -> None:
    await service.resources.data.create("spot", bars, instrument("BTC/USDT", exchange="bybit"))
    linear = await service.resources.data.create("perpetual", bars, instrument("BTC/USDT:USDT", exchange="bybit", kind="linear"))
    other = await service.resources.data.create("other", bars, instrument("BTCUSDT", exchange="okx"))
    request = workers.BacktestRequest(symbol="BTC/USDT", timeframe="1h", strategy=cross)
    text = await refused(service, workers.Conflict, request)
    assert all(name in text for name in ("'spot'", "'perpetual'", "'other'", "exchange"))
    assert "3 datasets" in text
    assert "2 datasets" in await refused(service, workers.Conflict, msgspec.structs.replace(request, exchange="bybit"))
    for values, found in (({"kind": "linear"}, linear), ({"symbol": "BTC/USDT:USDT"}, linear), ({"exchange": "OKX"}, other)):
        assert (await service.backtests.submit(msgspec.structs.replace(request, **values))).dataset_id == found.id


async def test_a_strategy_is_not_stored_when_its_range_has_no_bars(
    service: workers.Service, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    with pytest.raises(workers.Invalid, match="no bar opens"):
        await service.backtests.create_and_run(workers.CreateAndRunRequest(name="a", strategy=cross, dataset=dataset.name, end=1))
    with pytest.raises(workers.NotFound):
        await service.strategies.get("a")
