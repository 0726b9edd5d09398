"""`barstorm data fetch`: market data from an exchange, by the workers that run or, if none does, by one of its own."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from workers.errors import Invalid, WorkersError
from workers.fetch.requests import Fetch, FetchRequest
from workers.fetch.schedules import ScheduleRequest
from workers.model.states import DONE, RunState
from workers.process.run import open_worker
from workers.process.supervisor import shared_queue
from workers.service.service import Service, open_service
from workers.settings import Settings

LOOK_S: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", help="such as BTCUSDT or BTC/USDT")
    parser.add_argument("timeframe", help="such as 1m")
    parser.add_argument("--exchange", required=True, help="as ccxt calls it, such as bybit")
    parser.add_argument("--kind", default="spot", choices=("spot", "linear", "inverse"))
    parser.add_argument("--since", type=_time, help="date or time, UTC; else where the dataset or the market begins")
    parser.add_argument("--until", type=_time, help="only candles that open before; else up to the last closed one")
    parser.add_argument("--funding", action="store_true", help="funding rates, too")
    parser.add_argument("--name", help="name of the dataset; else made of exchange, symbol and timeframe")
    parser.add_argument(
        "--keep-fresh", action="store_true", help="don't wait, but have the workers of `barstorm serve` fetch again and again"
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Fetch, and tell how it goes; the exit code."""
    try:
        request = FetchRequest(
            exchange=options.exchange,
            symbol=options.symbol,
            timeframe=options.timeframe,
            kind=options.kind,
            since=options.since,
            until=options.until,
            funding=options.funding,
            dataset=options.name,
        )
        schedule = ScheduleRequest(fetch=request) if options.keep_fresh else None
    except ValueError as error:
        raise Invalid(str(error), where="data fetch", hint="see `barstorm data fetch --help`") from None
    return asyncio.run(_fetch(settings, request) if schedule is None else _keep_fresh(settings, schedule))


async def _fetch(settings: Settings, request: FetchRequest) -> int:
    async with shared_queue(settings) as named, open_service(named) as service:
        accepted = await service.fetches.create(request)
        async with _worker(named, service):
            done = await _ended(service, accepted.id)
        if done.error is not None:
            error = done.error
            raise WorkersError(error.message, where=error.where, hint=error.hint, code=error.code)
        if done.state != RunState.SUCCEEDED or done.report is None:
            raise WorkersError(f"the fetch was {done.state}; what it has stored stays", hint="ask again to go on")
        report = done.report
        print(f"{done.dataset}: {report.bars:,} bars and {report.funding:,} funding rates more, {report.gaps:,} gaps noted")
    return 0


async def _keep_fresh(settings: Settings, request: ScheduleRequest) -> int:
    async with shared_queue(settings) as named, open_service(named) as service:
        schedule = await service.fetches.create_schedule(request)
    print(f"{schedule.dataset} is fetched every {schedule.every_s:,} s while workers run; schedule {schedule.id}")
    return 0


@asynccontextmanager
async def _worker(settings: Settings, service: Service) -> AsyncIterator[None]:
    """A worker for as long as the block takes, unless there is one."""
    async with AsyncExitStack() as stack:
        if not (await service.queue.get_health()).workers:
            worker = await stack.enter_async_context(open_worker(settings))
            working = asyncio.create_task(worker.main())
            stack.push_async_callback(lambda: working)
            stack.callback(worker.stop)
        yield


async def _ended(service: Service, fetch_id: str) -> Fetch:
    told = 0
    while True:
        fetch = await service.fetches.get(fetch_id)
        if fetch.state in DONE:
            return fetch
        if fetch.report is not None and fetch.report.bars > told:
            told = fetch.report.bars
            print(f"{told:,} bars", flush=True)
        await asyncio.sleep(LOOK_S)


def _time(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; use one such as 2024-01-01 or 2024-01-01T12:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
