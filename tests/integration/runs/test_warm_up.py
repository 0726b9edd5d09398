"""A run on a range reads earlier bars to warm up, so that it trades as a run over all bars does from then on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

import python_core as bt
import workers
from tests.support.files import parquet
from tests.support.workers import Finished, StartWorker
from workers.process.worker import LeaseWorker

pytestmark = pytest.mark.anyio
HOUR = 3_600_000
STRATEGIES = {
    "ema": bt.Strategy(entry_long="crossover(ema(close, 50), ema(close, 200))", exit_long="crossunder(ema(close, 50), ema(close, 200))"),
    "4h": bt.Strategy(entry_long="crossover(close, ema(close, 20))", exit_long="close < ema(close, 20)", timeframe="4h"),
    "nested": bt.Strategy(
        entry_long="crossover(close, sma(close, 20)) and at('1d', close > sma(close, 10))", exit_long="close < sma(close, 20)"
    ),
}


@pytest.fixture
def bars() -> bt.Bars:
    return bt.synthetic(12_000)


def free_start(whole: bt.Result, after: int) -> int:
    """The time of the first bar after a position, late in the bars, in which there is none."""
    trade = next(trade for trade in whole.trades if trade.exit_time >= after)
    return trade.exit_time + HOUR


@pytest.mark.parametrize("name", STRATEGIES)
async def test_a_range_has_the_trades_of_the_whole_from_its_start_on(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, dataset: workers.Dataset, finished: Finished, name: str
) -> None:
    strategy = STRATEGIES[name]
    execution = bt.Execution(sizing="fixed_notional", size=1000, stop_loss=bt.Atr(multiple=5.0))
    whole = bt.backtest(bars, strategy, execution)
    start = free_start(whole, int(bars.time[8_000]))
    expected = [(trade.entry_time, trade.exit_time, trade.reason) for trade in whole.trades if trade.entry_time > start]
    assert len(expected) > 3
    request = workers.BacktestRequest(dataset=dataset.id, strategy=strategy, execution=execution, start=start)
    found = {}
    for warm_up in ("auto", "start"):
        run = await finished((await service.backtests.submit(msgspec.structs.replace(request, warm_up_from=warm_up))).id)
        assert run.result is not None, run.error
        assert run.result.bars == int((bars.time >= start).sum())
        items = (await service.backtests.get_trades(run.id, limit=1000)).items
        found[warm_up] = [(trade.entry_time, trade.exit_time, trade.reason) for trade in items], run.result.warm_up_shortfall
        curve = await service.backtests.get_equity(run.id)
        assert curve.time[0] == start
    assert found["auto"] == (expected, 0)
    assert found["start"][0] != expected
    assert (found["start"][1] or 0) > 0


@pytest.mark.parametrize("isolated", [False, True])
async def test_a_warm_up_gives_the_result_and_the_fingerprint_of_the_library(
    service: workers.Service,
    settings: workers.Settings,
    start_worker: StartWorker,
    bars: bt.Bars,
    dataset: workers.Dataset,
    finished: Finished,
    isolated: bool,
) -> None:
    strategy, start, begin, end = STRATEGIES["4h"], int(bars.time[6_001]), int(bars.time[5_000]), int(bars.time[7_000])
    request = workers.BacktestRequest(
        dataset=dataset.id, strategy=strategy, start=start, end=end, warm_up_from=begin, engine="python" if isolated else "auto"
    )
    async with start_worker(msgspec.structs.replace(settings, isolate_python=isolated)):
        accepted = await service.backtests.submit(request)
        run = await finished(accepted.id)
    expected = bt.backtest(bars.between(None, end), strategy, start=start, warm_up_from=begin)
    assert run.result is not None, run.error
    assert run.result.fingerprint == run.fingerprint == accepted.fingerprint == expected.fingerprint
    assert (run.result.digest, run.result.bars) == (expected.digest, 999)
    assert run.result.warm_up_shortfall == expected.warm_up_shortfall == 0


async def test_runs_with_other_warm_ups_are_other_runs(
    service: workers.Service, bars: bt.Bars, dataset: workers.Dataset, request_: workers.BacktestRequest
) -> None:
    start = int(bars.time[500])
    ways: tuple[Any, ...] = ("auto", "start", int(bars.time[400]), int(bars.time[401]), 0)
    runs = [await service.backtests.submit(msgspec.structs.replace(request_, start=start, warm_up_from=way)) for way in ways]
    assert len({run.fingerprint for run in runs}) == len(ways)
    assert {run.leader_id for run in runs} == {None}
    assert [run.request.warm_up_from for run in runs] == list(ways)
    again = await service.backtests.submit(msgspec.structs.replace(request_, start=start, warm_up_from=int(bars.time[400]) - 1))
    assert again.leader_id == runs[2].id, "it reads the same bars"
    assert (await service.backtests.rerun(runs[0].id)).fingerprint == runs[0].fingerprint


async def test_a_start_at_the_first_bar_is_a_run_over_all_bars_that_lacks_its_warm_up(
    service: workers.Service, worker: LeaseWorker, bars: bt.Bars, request_: workers.BacktestRequest, finished: Finished
) -> None:
    whole = await finished((await service.backtests.submit(request_)).id)
    first = await finished((await service.backtests.submit(msgspec.structs.replace(request_, start=int(bars.time[0])))).id)
    assert first.cached
    assert first.result == whole.result
    assert whole.result is not None
    assert isinstance(request_.strategy, bt.Strategy)
    assert whole.result.warm_up_shortfall == request_.strategy.warm_up_bars


async def test_a_created_strategy_runs_with_the_warm_up_that_was_asked_for(
    service: workers.Service, bars: bt.Bars, request_: workers.BacktestRequest, dataset: workers.Dataset, cross: bt.Strategy
) -> None:
    start = int(bars.time[500])
    for i, way in enumerate(("auto", "start")):
        request = workers.CreateAndRunRequest(name=f"s{i}", strategy=cross, dataset=dataset.id, start=start, warm_up_from=way)
        created = await service.backtests.create_and_run(request)
        same = await service.backtests.submit(msgspec.structs.replace(request_, start=start, warm_up_from=way))
        assert created.request.warm_up_from == way
        assert created.fingerprint == same.fingerprint


async def test_funding_of_the_warm_up_is_not_paid(
    service: workers.Service, worker: LeaseWorker, cross: bt.Strategy, finished: Finished
) -> None:
    plain = bt.synthetic(1_000)
    perpetual = plain.with_series(funding=(plain.time, np.full(len(plain), 0.01)))
    await service.resources.data.create("perpetual", perpetual)
    request = workers.BacktestRequest(dataset="perpetual", strategy=cross, start=int(plain.time[600]), warm_up_from=0)
    run = await finished((await service.backtests.submit(request)).id)
    assert run.result is not None
    assert run.result.digest == bt.backtest(perpetual, cross, start=int(plain.time[600])).digest


async def test_equal_bars_with_their_warm_up_are_one_run_whatever_else_the_dataset_has(
    service: workers.Service, bars: bt.Bars, cross: bt.Strategy
) -> None:
    runs = []
    for name, part in (("part", bars[400:1000]), ("more", bars[:1000])):
        await service.datasets.create(name, parquet(part))
        runs.append(await service.backtests.submit(workers.BacktestRequest(dataset=name, strategy=cross, start=int(bars.time[500]))))
    assert runs[0].fingerprint == runs[1].fingerprint
    assert runs[1].leader_id == runs[0].id
