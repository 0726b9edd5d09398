"""Candles and funding rates from an exchange that misbehaves, through ccxt's own code and as jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

import python_core as bt
import workers
from tests.support.exchange import MINUTE, MONTH, ExchangeServer, Faults, Market
from tests.support.marks import on_postgresql, on_sqlite
from tests.support.waiting import Until
from tests.support.workers import StartWorker, WorkerProcesses
from workers.data import catalog, parts
from workers.data.parts import SERIES
from workers.db.tables import DatasetGapRow, RunRow, ScheduleRow
from workers.fetch import candles, exchange, schedules
from workers.fetch.candles import FetchReport, TimeRange
from workers.fetch.exchange import Exchanges
from workers.jobs import fetch as fetching
from workers.model.callers import OPERATOR
from workers.model.states import DONE, RunState
from workers.process.worker import LeaseWorker

pytestmark = pytest.mark.anyio


BEGIN = 1_577_836_800_000
WORK = """
import workers.fetch.candles, workers.process.run, workers
workers.fetch.candles.read_candles.__kwdefaults__["chunk_bars"] = 1000
workers.process.run.run(workers.Settings.from_env())
"""


def history(bars: int, *, seed: int = 5) -> Market:
    """A market with real gaps, one of them longer than a response, and a funding rate every 8 hours."""
    made = bt.synthetic(bars, timeframe="1m", seed=seed)
    rows = np.column_stack([made.time - made.time[0] + BEGIN, made.open, made.high, made.low, made.close, made.volume]).astype(np.float64)
    rows = np.delete(rows, np.r_[bars // 100 : bars // 100 + 3, bars // 2 : bars // 2 + 1, bars // 2 + 500 : bars // 2 + 3000], axis=0)
    times = np.arange(BEGIN, rows[-1, 0], 8 * 60 * MINUTE, dtype=np.float64)
    return Market(rows, np.column_stack([times, np.random.default_rng(seed).normal(0, 1e-4, len(times))]))


def just_after(rows: np.ndarray, *, bars: int | None = None) -> int:
    """A time at which the first `bars` candles are closed and the next is open."""
    return int(rows[-1 if bars is None else bars - 1, 0]) + MINUTE + 20_000


def true_gaps(rows: np.ndarray) -> list[TimeRange]:
    holes = np.flatnonzero(np.diff(rows[:, 0]) > MINUTE)
    return [TimeRange(int(rows[i, 0]) + MINUTE, int(rows[i + 1, 0]) - MINUTE) for i in holes]


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own retry delays are short; Retry-After headers are obeyed."""
    monkeypatch.setattr(exchange, "FIRST_WAIT_S", 0.01)
    monkeypatch.setitem(candles.read_candles.__kwdefaults__, "chunk_bars", 1000)


@pytest.fixture
def market() -> Market:
    return history(6000)


@pytest.fixture
def server(market: Market) -> Iterator[ExchangeServer]:
    """Bybit's spot and linear market, before its last 100 candles."""
    with ExchangeServer({"spot": market, "linear": market}, now_ms=just_after(market.rows, bars=len(market.rows) - 100)) as started:
        yield started


@pytest.fixture
def settings(settings: workers.Settings, server: ExchangeServer) -> workers.Settings:
    return msgspec.structs.replace(settings, exchange_proxy_url=server.url)


@pytest.fixture
def ended(service: workers.Service, until: Until) -> Callable[..., Awaitable[workers.Fetch]]:
    """`await ended(fetch.id)`: the fetch when it has finished."""

    async def wait(fetch_id: str, within_s: float = 60) -> workers.Fetch:
        async def done() -> bool:
            return (await service.fetches.get(fetch_id)).state in DONE

        await until(done, within_s)
        return await service.fetches.get(fetch_id)

    return wait


Ended = Callable[..., Awaitable[workers.Fetch]]


async def stored(service: workers.Service, reference: str, series: str = "bars") -> np.ndarray:
    async with service.resources.database.read() as session:
        dataset = await catalog.get(session, OPERATOR, reference)
        of = [part for part in await catalog.list_parts(session, dataset) if part.series == series]
    columns = parts.read(service.resources.artifacts, of)
    return np.column_stack(list(columns.values()))


async def read_all(url: str, name: str, kind: str, begin: int) -> tuple[np.ndarray, list[TimeRange], np.ndarray, FetchReport]:
    """All candles and gaps of an exchange and, except for a spot market, its funding rates."""
    exchanges, report = Exchanges(url), FetchReport()
    try:
        opened = await exchanges.get(name)
        opened._client.throttler.config["refillRate"] *= 20
        found = opened.market("BTCUSDT", kind)  # type: ignore[arg-type]
        end = candles.closed_until(opened, MINUTE)
        chunks = [chunk async for chunk in candles.read_candles(opened, found, "1m", begin, end, report)]
        rates = {} if kind == "spot" else await candles.read_funding(opened, found, begin, end, report)
    finally:
        await exchanges.close()
    assert all(len(chunk.columns["time"]) <= 1000 + candles.MAX_REQUESTS * 1000 for chunk in chunks), (
        "a chunk, and the requests of one page"
    )
    rows = np.concatenate([np.column_stack([chunk.columns[name] for name in SERIES["bars"]]) for chunk in chunks])
    return rows, [gap for chunk in chunks for gap in chunk.gaps], np.column_stack(list(rates.values()) or [[]]), report


@pytest.mark.parametrize(("name", "kind"), [("bybit", "spot"), ("bybit", "linear"), ("binance", "spot"), ("binance", "linear")])
async def test_a_misbehaving_exchange_gives_exactly_its_true_series(name: str, kind: str) -> None:
    truth = history(20_000, seed=len(name + kind))
    faults = Faults.all(seed=len(name + kind), share=0.06, rate_limited=0)
    with ExchangeServer({kind: truth}, now_ms=just_after(truth.rows), faults=faults, page_size=300) as server:
        rows, gaps, rates, report = await read_all(server.url, name, kind, BEGIN)
    assert np.array_equal(rows, truth.rows)
    assert gaps == true_gaps(truth.rows)
    if kind != "spot":
        assert np.array_equal(rates, truth.funding)
    assert {"server_error", "truncated", "invalid_json", "reset", "empty", "duplicated", "missing", "unordered", "unfinished"} <= set(
        faults.injected
    )
    assert report.duplicates > 0
    assert report.conflicts > 0
    assert server.early_requests == 0


async def test_retry_after_headers_are_obeyed(market: Market) -> None:
    faults = Faults(seed=2, rate_limited=0.1)
    with ExchangeServer({"spot": market}, now_ms=just_after(market.rows), faults=faults) as server:
        rows, *_ = await read_all(server.url, "binance", "spot", BEGIN)
    assert np.array_equal(rows, market.rows)
    assert faults.injected["rate_limited"] > 0
    assert server.early_requests == 0


async def test_years_before_a_market_began_cost_a_few_requests(market: Market, server: ExchangeServer) -> None:
    rows, gaps, *_ = await read_all(server.url, "bybit", "spot", 0)
    assert np.array_equal(rows, market.rows[:-100])
    assert gaps[0] == TimeRange(0, BEGIN - MINUTE)
    assert server.requests["/v5/market/kline"] < 50


async def test_a_fetch_becomes_a_dataset(
    service: workers.Service, worker: LeaseWorker, server: ExchangeServer, market: Market, ended: Ended
) -> None:
    server.faults = Faults.all(3, 0.02, rate_limited=0)
    request = workers.FetchRequest(exchange="bybit", symbol="btc/usdt", timeframe="1m", kind="linear", since=BEGIN, funding=True)
    done = await ended((await service.fetches.create(request)).id)
    assert done.state == RunState.SUCCEEDED, done.error
    dataset = await service.datasets.get("bybit-btcusdt-linear-1m")
    assert (dataset.symbol, dataset.exchange, dataset.kind, dataset.tick_size) == ("BTC/USDT:USDT", "bybit", "linear", 0.01)
    assert np.array_equal(await stored(service, dataset.id), market.rows[:-100])
    last = market.rows[-101, 0]
    assert np.array_equal(await stored(service, dataset.id, "funding"), market.funding[market.funding[:, 0] <= last])
    report = done.report
    assert report is not None
    assert (report.dataset, report.bars, report.gaps) == (dataset.reference, dataset.rows, dataset.gaps)
    assert report.funding == (market.funding[:, 0] <= last).sum()
    async with service.resources.database.read() as session:
        rows = await session.scalars(sa.select(DatasetGapRow).order_by(DatasetGapRow.start))
        assert [TimeRange(row.start, row.end) for row in rows] == true_gaps(market.rows[:-100])


async def test_an_update_requests_only_new_candles(
    service: workers.Service, worker: LeaseWorker, server: ExchangeServer, market: Market, ended: Ended
) -> None:
    request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN)
    await ended((await service.fetches.create(request)).id)
    before = await service.datasets.get("bybit-btcusdt-1m")
    requested: list[int] = []
    server.on_candles = lambda minutes, since: requested.append(since)
    await ended((await service.fetches.create(request)).id)
    assert requested == [], "no candles are new, and the gaps are known"
    server.now_ms = just_after(market.rows, bars=len(market.rows) - 50)
    await ended((await service.fetches.create(request)).id)
    after = await service.datasets.get("bybit-btcusdt-1m")
    assert min(requested) > before.end
    assert after.version == before.version + 1
    assert np.array_equal(await stored(service, after.id), market.rows[:-50])
    assert np.array_equal(await stored(service, before.reference), market.rows[:-100])


@on_sqlite
async def test_a_long_fetch_returns_to_the_queue_and_continues(
    service: workers.Service, worker: LeaseWorker, market: Market, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIME_SLICE_S", 0.0)
    request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN)
    done = await ended((await service.fetches.create(request)).id)
    assert (done.state, done.attempt > 2) == (RunState.SUCCEEDED, True)
    assert done.report is not None
    assert done.report.bars == len(market.rows) - 100
    assert np.array_equal(await stored(service, done.dataset), market.rows[:-100])


@on_postgresql
async def test_missing_bars_before_and_between_are_fetched(
    service: workers.Service, worker: LeaseWorker, market: Market, ended: Ended
) -> None:
    spans = [(1000, 1500), (2500, 2700)]
    for begin, end in spans:
        since, until = int(market.rows[begin, 0]), int(market.rows[end, 0])
        request = workers.FetchRequest(exchange="binance", symbol="BTCUSDT", timeframe="1m", since=since, until=until, dataset="some")
        assert (await ended((await service.fetches.create(request)).id)).state == RunState.SUCCEEDED
    whole = workers.FetchRequest(exchange="binance", symbol="BTCUSDT", timeframe="1m", since=BEGIN, dataset="some")
    assert (await ended((await service.fetches.create(whole)).id)).state == RunState.SUCCEEDED
    assert np.array_equal(await stored(service, "some"), market.rows[:-100])


@on_postgresql
async def test_a_killed_worker_costs_no_bar(
    service: workers.Service, settings: workers.Settings, server: ExchangeServer, market: Market, ended: Ended
) -> None:
    server.page_size = 400
    server.faults = Faults(seed=4, duplicated=0.1, missing=0.1, unordered=0.1)
    far = asyncio.Event()
    loop, last = asyncio.get_running_loop(), [0, 0]

    def watch(minutes: int, since: int) -> None:
        last[0] = since
        if last[1] == 0 and since > market.rows[len(market.rows) // 2, 0]:
            loop.call_soon_threadsafe(far.set)

    server.on_candles = watch
    accepted = await service.fetches.create(workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN))
    processes = WorkerProcesses(settings)
    try:
        killed = processes.start(WORK)
        await asyncio.wait_for(far.wait(), 60)
        killed.kill()
        killed.wait()
        half = await service.datasets.get("bybit-btcusdt-1m")
        requested: list[int] = []
        server.on_candles = lambda minutes, since: requested.append(since)
        processes.start(WORK)
        done = await ended(accepted.id)
    finally:
        processes.end()
    assert done.state == RunState.SUCCEEDED, done.error
    assert done.attempt == 2
    assert 1000 <= half.rows < len(market.rows) - 100
    assert min(requested) > half.end, "stored candles are not requested again"
    assert np.array_equal(await stored(service, half.id), market.rows[:-100])
    assert done.report is not None
    assert done.report.bars == len(market.rows) - 100


@on_sqlite
async def test_a_cancelled_fetch_keeps_what_it_has_stored(
    service: workers.Service, worker: LeaseWorker, server: ExchangeServer, market: Market, ended: Ended, until: Until
) -> None:
    server.page_size = 100
    accepted = await service.fetches.create(workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN))

    async def some() -> bool:
        report = (await service.fetches.get(accepted.id)).report
        return report is not None and report.bars >= 1000

    await until(some)
    await service.fetches.cancel(accepted.id)
    done = await ended(accepted.id)
    assert done.state == RunState.CANCELLED
    rows = await stored(service, "bybit-btcusdt-1m")
    assert np.array_equal(rows, market.rows[: len(rows)])
    with pytest.raises(workers.Conflict, match="has already finished"):
        await service.fetches.cancel(accepted.id)


@on_sqlite
async def test_months_are_fetched_as_the_calendar_has_them(
    service: workers.Service, worker: LeaseWorker, server: ExchangeServer, ended: Ended
) -> None:
    hours = bt.synthetic(18 * 31 * 24, timeframe="1h", start="2019-11-01")
    rows = np.column_stack([hours.time, hours.open, hours.high, hours.low, hours.close, hours.volume]).astype(np.float64)
    months = hours.resample("1M").time
    # June and July 2020 are missing at the exchange; the last month is still open.
    rows = rows[(rows[:, 0] < months[7]) | (rows[:, 0] >= months[9])]
    server.markets["spot"] = Market(rows)
    server.now_ms = int(months[14]) + 40 * 60 * MINUTE
    server.page_size = 5
    request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="M", since=int(months[0]) + 1)
    done = await ended((await service.fetches.create(request)).id)
    assert done.state == RunState.SUCCEEDED, done.error
    dataset = await service.datasets.get("bybit-btcusdt-1M")
    assert (dataset.timeframe, dataset.rows, dataset.gaps) == ("1M", 11, 1)
    bars = await stored(service, dataset.id)
    assert bars[:, 0].astype(int).tolist() == [*months[1:7], *months[9:14]]
    assert np.array_equal(bars, server.markets["spot"].candles(MONTH)[[*range(1, 7), *range(7, 12)]])
    assert done.report is not None
    assert (done.report.gaps, done.report.missing) == (1, 2)
    requested: list[int] = []
    server.on_candles = lambda minutes, since: requested.append(since)
    again = await ended((await service.fetches.create(request)).id)
    assert (again.state, requested) == (RunState.SUCCEEDED, []), "no candles are new, and the gap is known"


@on_sqlite
async def test_what_an_exchange_lacks_fails_with_a_hint(
    service: workers.Service, worker: LeaseWorker, dataset: workers.Dataset, ended: Ended
) -> None:
    async def error(**values: object) -> tuple[str, str]:
        request = workers.FetchRequest(**{"exchange": "bybit", "symbol": "BTCUSDT", "timeframe": "1m", "since": BEGIN} | values)  # type: ignore[arg-type]
        done = await ended((await service.fetches.create(request)).id)
        assert done.state == RunState.FAILED
        assert done.error is not None
        return done.error.code, done.error.hint

    assert await error(symbol="BTCUSTD") == ("unknown_symbol", "did you mean BTC/USDT?")
    assert (await error(kind="inverse"))[0] == "unknown_symbol"
    assert await error(timeframe="8h") == ("invalid", "use one of 1m 3m 5m 15m 30m 1h 2h 4h 6h 12h 1d 1w 1M")
    assert await error(dataset=dataset.name) == ("other_market", "use another dataset for this fetch")
    with pytest.raises(workers.Invalid, match="did you mean binance"):
        await service.fetches.create(workers.FetchRequest(exchange="binanse", symbol="BTCUSDT", timeframe="1m"))


@on_sqlite
async def test_a_fetch_from_an_unreachable_exchange_ends_dead(
    service: workers.Service,
    settings: workers.Settings,
    server: ExchangeServer,
    start_worker: StartWorker,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "MAX_TRIES", 2)
    server.faults = Faults(reset=1.0)
    monkeypatch.setattr(Faults, "transport_fault", lambda self: "reset")
    async with start_worker(msgspec.structs.replace(settings, max_failures=2)):
        request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN)
        done = await ended((await service.fetches.create(request)).id)
    assert (done.state, done.attempt) == (RunState.DEAD, 2)
    assert done.error is not None
    assert done.error.code == "exchange_down"


async def test_equal_unfinished_fetches_are_one(service: workers.Service) -> None:
    request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN)
    first = await service.fetches.create(request)
    assert (await service.fetches.create(request)).id == first.id
    await service.fetches.cancel(first.id)
    assert (await service.fetches.create(request)).id != first.id
    keyed = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="5m")
    second = await service.fetches.create(keyed, workers.RunOptions(key="mine"))
    await service.fetches.cancel(second.id)
    assert (await service.fetches.create(keyed, workers.RunOptions(key="mine"))).id == second.id
    assert len((await service.fetches.list()).items) == 3


async def test_a_schedule_keeps_a_dataset_up_to_date(
    service: workers.Service, worker: LeaseWorker, server: ExchangeServer, market: Market, until: Until
) -> None:
    request = workers.ScheduleRequest(fetch=workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN))
    schedule = await service.fetches.create_schedule(request)

    async def holds(bars: int) -> bool:
        return any(dataset.rows == bars for dataset in (await service.datasets.list()).items)

    await until(lambda: holds(len(market.rows) - 100))
    server.now_ms = just_after(market.rows)
    async with service.resources.database.write() as session:
        await session.execute(sa.update(ScheduleRow).values(next_at=0))
    await until(lambda: holds(len(market.rows)))
    assert (await service.fetches.get_schedule(schedule.id)).next_at > schedule.next_at
    with pytest.raises(workers.Conflict, match="already has a schedule"):
        await service.fetches.create_schedule(request)
    await service.fetches.delete_schedule(schedule.id)
    assert (await service.fetches.list_schedules()).items == ()


def test_a_schedule_runs_at_most_once_a_minute_and_at_least_once_a_day() -> None:
    for timeframe, every_s in (("1s", 60), ("1m", 60), ("5m", 300), ("1d", 86_400), ("1M", 86_400)):
        request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe=timeframe)
        assert workers.ScheduleRequest(fetch=request).every_ms == every_s * 1000


async def test_a_schedule_submits_once_a_period_and_one_fetch_at_a_time(service: workers.Service) -> None:
    request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", since=BEGIN)
    schedule = await service.fetches.create_schedule(workers.ScheduleRequest(fetch=request))
    assert sum(await asyncio.gather(*(schedules.submit_due(service.resources.database) for _ in range(5)))) == 1
    for _ in range(3):
        async with service.resources.database.write() as session:
            await session.execute(sa.update(ScheduleRow).values(next_at=0))
        assert await schedules.submit_due(service.resources.database) == 0, "the previous fetch has not finished"
    async with service.resources.database.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(RunRow)) == 1
    first = (await service.fetches.get_schedule(schedule.id)).last_fetch
    assert first is not None
    await service.fetches.cancel(first)
    async with service.resources.database.write() as session:
        await session.execute(sa.update(ScheduleRow).values(next_at=0))
    assert await schedules.submit_due(service.resources.database) == 1
    again = await service.fetches.get_schedule(schedule.id)
    assert again.last_fetch != first
    assert again.next_at % MINUTE >= candles.SETTLE_MS, "candles are requested only when they can't change any more"


@pytest.mark.long
@on_sqlite
async def test_a_misbehaving_exchange_gives_exactly_its_million_bars(
    service: workers.Service, settings: workers.Settings, start_worker: StartWorker, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(candles.read_candles.__kwdefaults__, "chunk_bars", candles.CHUNK_BARS)
    truth = history(1_000_000)
    with ExchangeServer({"linear": truth}, now_ms=just_after(truth.rows), faults=Faults.all(7, 0.02, rate_limited=0.005)) as server:
        async with start_worker(msgspec.structs.replace(settings, exchange_proxy_url=server.url)):
            request = workers.FetchRequest(exchange="bybit", symbol="BTCUSDT", timeframe="1m", kind="linear", since=BEGIN, funding=True)
            done = await ended((await service.fetches.create(request)).id, 1200)
    assert done.state == RunState.SUCCEEDED, done.error
    assert np.array_equal(await stored(service, done.dataset), truth.rows)
    assert np.array_equal(await stored(service, done.dataset, "funding"), truth.funding)
