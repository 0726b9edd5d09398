"""`barstorm data fetch`: fetch market data with the running workers or, if there are none, with one of its own."""

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
from workers.queue.valkey import with_redis
from workers.service.service import Service, open_service
from workers.settings import Settings

POLL_S: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", metavar="SYMBOL", help="such as BTCUSDT or BTC/USDT")
    parser.add_argument("timeframe", metavar="TIMEFRAME", help="such as 1m (a minute) or 1M (a month)")
    parser.add_argument("--exchange", required=True, metavar="ID", help="id of the exchange in ccxt, such as bybit")
    parser.add_argument("--kind", default="spot", choices=("spot", "linear", "inverse"), help="kind of market (default: %(default)s)")
    parser.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="first time, UTC, such as 2024-01-01 (default: start of the dataset or else of the market)",
    )
    parser.add_argument(
        "--until", type=_time, metavar="TIME", help="fetch only candles that open before this time (default: up to the last closed one)"
    )
    parser.add_argument("--funding", action="store_true", help="fetch funding rates too")
    parser.add_argument("--name", help="name of the dataset (default: from exchange, symbol and timeframe)")
    parser.add_argument(
        "--schedule", action="store_true", help="create a schedule instead: the workers of `barstorm serve` then fetch regularly"
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Fetch and print the progress; returns the exit code."""
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
        schedule = ScheduleRequest(fetch=request) if options.schedule else None
    except ValueError as error:
        raise Invalid(str(error), where="data fetch", hint="see `barstorm data fetch --help`") from None
    return asyncio.run(_fetch(settings, request) if schedule is None else _create_schedule(settings, schedule))


async def _fetch(settings: Settings, request: FetchRequest) -> int:
    async with with_redis(settings) as shared, open_service(shared) as service:
        accepted = await service.fetches.create(request)
        async with _worker(shared, service):
            done = await _wait_for_end(service, accepted.id)
        if done.error is not None:
            raise done.error.to_exception()
        if done.state != RunState.SUCCEEDED or done.report is None:
            raise WorkersError(
                f"the fetch was {done.state}; the bars that it has stored are kept", hint="run the command again to continue"
            )
        report = done.report
        print(f"{done.dataset}: {report.bars:,} bars and {report.funding:,} funding rates added, {report.gaps:,} gaps found")
    return 0


async def _create_schedule(settings: Settings, request: ScheduleRequest) -> int:
    async with with_redis(settings) as shared, open_service(shared) as service:
        schedule = await service.fetches.create_schedule(request)
    print(f"{schedule.dataset} is fetched every {schedule.every_s:,} s while workers are running (schedule {schedule.id})")
    return 0


@asynccontextmanager
async def _worker(settings: Settings, service: Service) -> AsyncIterator[None]:
    """Run a worker within the block, unless one is running already."""
    async with AsyncExitStack() as stack:
        if not (await service.queue.get_health()).workers:
            worker = await stack.enter_async_context(open_worker(settings))
            working = asyncio.create_task(worker.main())
            stack.push_async_callback(lambda: working)
            stack.callback(worker.stop)
        yield


async def _wait_for_end(service: Service, fetch_id: str) -> Fetch:
    printed = 0
    while True:
        fetch = await service.fetches.get(fetch_id)
        if fetch.state in DONE:
            return fetch
        if fetch.report is not None and fetch.report.bars > printed:
            printed = fetch.report.bars
            print(f"{printed:,} bars", flush=True)
        await asyncio.sleep(POLL_S)


def _time(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; use one such as 2024-01-01 or 2024-01-01T12:00") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
