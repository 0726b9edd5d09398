"""The service as the API sees it: opened once, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import BinaryIO, Final, TypeVar

import msgspec

import python_core as bt
from python_core import diagnostics
from python_core.diagnostics import Diagnosis, Plot
from python_core.files.cleaning import ImportReport
from workers import strategies
from workers.data import catalog, export, imports
from workers.data.bars_cache import BarsCache
from workers.data.catalog import Dataset, Instrument
from workers.data.datasets import MarketData, told
from workers.data.export import BarsPage, Format
from workers.data.imports import ImportOptions, Source
from workers.data.parts import Series
from workers.db.database import Database, open_database
from workers.fetch import requests, schedules
from workers.fetch.requests import Fetch, FetchPage, FetchRequest
from workers.fetch.schedules import Schedule, ScheduleRequest
from workers.model.runs import Attempt, BacktestRequest, EquityCurve, Run, RunOptions, RunPage, RunState, TradePage
from workers.queue import valkey
from workers.queue.queue import Queue, open_queue
from workers.runs import create_and_run as creation
from workers.runs import follow, submit
from workers.runs.create_and_run import CreateAndRunRequest
from workers.runs.follow import RunUpdate
from workers.runs.outbox import Relay
from workers.runs.results import Results
from workers.service import health
from workers.service.health import Health, QueueMetrics
from workers.service.queue import Operator
from workers.service.unavailable import reachable as _reachable
from workers.settings import Settings
from workers.storage import open as storage
from workers.strategies import StoredStrategy

T = TypeVar("T")

# Bars kept in memory for the next question about them.
DIAGNOSED_BYTES: Final = 100_000_000


class Service:
    """Everything a client can ask for. Made by `open_service`.

    Raises, in every method:
        Unavailable: the database or Redis can't be reached.
    """

    def __init__(self, settings: Settings, database: Database, queue: Queue, relay: Relay) -> None:
        self.settings = settings
        self.database = database
        self.queue = queue
        self.artifacts = storage.open_artifacts(settings)
        self.results = Results(database, queue, self.artifacts, settings)
        self.operator = Operator(database, queue, relay)
        self.data = MarketData(
            database,
            self.artifacts,
            scratch=settings.folder / "scratch",
            most_bytes=settings.datasets_mb * 1_000_000,
            most_owner_bytes=settings.owner_datasets_mb * 1_000_000,
        )
        self._relay = relay
        self.bars = BarsCache(
            self.artifacts,
            DIAGNOSED_BYTES,
            folder=settings.folder / "columns",
            most_file_bytes=settings.columns_cache_mb * 1_000_000,
        )

    async def submit_backtest(self, request: BacktestRequest, terms: RunOptions = submit.NOW) -> Run:
        """Accept a backtest; `NotFound` when dataset or strategy are unknown, `Invalid` when they don't go together or no bar is in the range,
        `Conflict` when the key has come with another request or several datasets are meant."""
        with _reachable():
            run = await submit.submit(self.database, self.results, self.bars, request, terms)
        self._relay.wake()
        return run

    async def get_run(self, run_id: str) -> Run:
        """A run with its result or error."""
        with _reachable():
            return await submit.get(self.database, self.results, run_id)

    async def list_runs(self, *, state: RunState | None = None, limit: int = 50, cursor: str | None = None) -> RunPage:
        """Runs, newest first, without results."""
        with _reachable():
            return await submit.page(self.database, state=state, limit=limit, cursor=cursor)

    async def cancel_run(self, run_id: str) -> Run:
        """Cancel a run that waits or runs; `Conflict` when it is done."""
        with _reachable():
            run = await submit.cancel(self.database, self.queue, run_id)
        self._relay.wake()  # an equal run may go on in its place
        return run

    async def attempts(self, run_id: str) -> tuple[Attempt, ...]:
        """Every start of a run by a worker, in order."""
        with _reachable():
            return await submit.attempts(self.database, run_id)

    async def follow_run(self, run_id: str, *, after: str = "") -> AsyncIterator[RunUpdate]:
        """The events of a run as they come, and then its end; `after` is the place of the last one that was heard."""
        with _reachable():
            return await follow.follow(self.database, self.results, self.queue, run_id, after)

    async def run_again(self, run_id: str, terms: RunOptions = submit.NOW) -> Run:
        """Accept what an earlier run asked for once more."""
        with _reachable():
            run = await submit.again(self.database, self.results, self.bars, run_id, terms)
        self._relay.wake()
        return run

    async def create_and_run(self, asked: CreateAndRunRequest, terms: RunOptions = submit.NOW) -> Run:
        """Keep a strategy and accept a run of it, or neither."""
        with _reachable():
            run = await creation.create_and_run(self.database, self.results, self.bars, asked, terms)
        self._relay.wake()
        return run

    async def trades(self, run_id: str, *, offset: int = 0, limit: int = 100) -> TradePage:
        """Trades of a run that succeeded; `Conflict` when it has not."""
        with _reachable():
            run = await submit.succeeded(self.database, run_id)
            return await self.results.trades(run.fingerprint, offset=offset, limit=limit)

    async def equity(self, run_id: str, *, points: int | None = None) -> EquityCurve:
        """Equity of a run that succeeded, thinned to at most `points`; `Conflict` when it has not."""
        with _reachable():
            run = await submit.succeeded(self.database, run_id)
            return await self.results.equity(run.fingerprint, points=points)

    async def create_dataset(
        self,
        name: str,
        source: Source,
        *,
        symbol: str = "",
        timeframe: str | None = None,
        instrument: Instrument | None = None,
        how: ImportOptions | None = None,
        owner: str = "",
    ) -> Dataset:
        """Import a CSV, JSON lines, Parquet or Arrow file; `Invalid` on bad bars, `Conflict` on a taken name."""
        with _reachable():
            about = instrument or catalog.instrument(symbol=symbol)
            return await imports.create(self.data, name, source, about, how or ImportOptions(timeframe=timeframe), owner=owner)

    async def append_to_dataset(
        self, reference: str, source: Source, *, series: Series = "bars", how: ImportOptions | None = None
    ) -> Dataset:
        """A new version with the rows of a file, too; `Invalid` on bad rows, `Conflict` where there are other values."""
        with _reachable():
            return await imports.append(self.data, reference, source, series, how or ImportOptions())

    async def import_report(self, reference: str) -> ImportReport:
        """What was noticed in the file of a version."""
        with _reachable():
            return await imports.report(self.data, reference)

    async def delete_dataset(self, reference: str) -> None:
        """Forget a dataset or, named with its number, a version; `Conflict` when a run refers to it."""
        with _reachable():
            await self.data.delete(reference)

    async def bars_page(
        self, reference: str, *, start: int | None, end: int | None, timeframe: str | None, offset: int, limit: int, points: int | None
    ) -> BarsPage:
        """Bars of a dataset, resampled if a timeframe is given: a page, or all thinned to `points`."""
        return await self._on_bars(
            reference,
            lambda bars: export.page(_in(bars, timeframe).between(start, end), offset=offset, limit=limit, points=points),
        )

    async def export_dataset(
        self, reference: str, form: Format, file: BinaryIO, *, start: int | None, end: int | None, timeframe: str | None
    ) -> None:
        """Write the bars of a dataset into a file."""
        await self._on_bars(reference, lambda bars: export.export(_in(bars, timeframe).between(start, end), form, file))

    async def dataset_versions(self, reference: str) -> tuple[Dataset, ...]:
        """All versions of a dataset, the newest first."""
        with _reachable():
            async with self.database.read() as session:
                return await catalog.versions(session, reference)

    async def list_datasets(self) -> tuple[Dataset, ...]:
        with _reachable():
            async with self.database.read() as session:
                return await catalog.every(session)

    async def get_dataset(self, reference: str) -> Dataset:
        """The dataset of an id or a name."""
        with _reachable():
            async with self.database.read() as session:
                return await catalog.find(session, reference)

    async def fetch_dataset(self, request: FetchRequest, terms: RunOptions = submit.NOW) -> Fetch:
        """Accept a fetch from an exchange; `Invalid` when ccxt knows no such exchange, `Unavailable` when ccxt is not installed."""
        with _reachable():
            fetch = await requests.ask(self.database, request, terms)
        self._relay.wake()
        return fetch

    async def get_fetch(self, fetch_id: str) -> Fetch:
        with _reachable():
            return await requests.get(self.database, fetch_id)

    async def list_fetches(self, *, limit: int = 50, cursor: str | None = None) -> FetchPage:
        """Fetches, newest first."""
        with _reachable():
            return await requests.page(self.database, limit=limit, cursor=cursor)

    async def cancel_fetch(self, fetch_id: str) -> Fetch:
        """Cancel a fetch, whose stored bars stay; `Conflict` when it is done."""
        with _reachable():
            return await requests.cancel(self.database, self.queue, fetch_id)

    async def create_schedule(self, request: ScheduleRequest, *, owner: str = "") -> Schedule:
        """Keep a dataset fresh; `Conflict` when it has a schedule."""
        with _reachable():
            return await schedules.create(self.database, request, owner)

    async def list_schedules(self) -> tuple[Schedule, ...]:
        with _reachable():
            return await schedules.every(self.database)

    async def get_schedule(self, schedule_id: str) -> Schedule:
        with _reachable():
            return await schedules.get(self.database, schedule_id)

    async def delete_schedule(self, schedule_id: str) -> None:
        with _reachable():
            await schedules.delete(self.database, schedule_id)

    async def create_strategy(self, name: str, strategy: bt.Strategy) -> StoredStrategy:
        """Keep a strategy; `Conflict` on a taken name."""
        with _reachable():
            return await strategies.create(self.database, name, strategy)

    async def list_strategies(self) -> tuple[StoredStrategy, ...]:
        with _reachable():
            async with self.database.read() as session:
                return await strategies.every(session)

    async def get_strategy(self, reference: str) -> StoredStrategy:
        """The strategy of an id or a name."""
        with _reachable():
            async with self.database.read() as session:
                return await strategies.find(session, reference)

    async def update_strategy(
        self, reference: str, *, strategy: bt.Strategy | None = None, name: str | None = None, version: int | None = None
    ) -> StoredStrategy:
        """Change a strategy; `Conflict` when `version` is given and no longer its version."""
        with _reachable():
            return await strategies.update(self.database, reference, strategy=strategy, name=name, version=version)

    async def delete_strategy(self, reference: str, *, version: int | None = None) -> None:
        """Forget a strategy; `Conflict` when `version` is given and no longer its version."""
        with _reachable():
            await strategies.delete(self.database, reference, version=version)

    async def diagnose(self, dataset: str, strategy: bt.Strategy, execution: bt.Execution) -> Diagnosis:
        """Why a strategy trades as it does on a dataset, and whether its signals can be trusted; `Invalid` when it can't run there."""
        return await self._on_bars(dataset, lambda bars: diagnostics.diagnose(bars, strategy, execution))

    async def plot(
        self, dataset: str, strategy: bt.Strategy, expressions: tuple[str, ...] | None = None, *, start: int | None = None, limit: int = 500
    ) -> Plot:
        """Expressions bar by bar; `Invalid` when one can't be compiled."""
        return await self._on_bars(dataset, lambda bars: diagnostics.plot(bars, strategy, expressions, start=start, limit=limit))

    async def _on_bars(self, dataset: str, ask: Callable[[bt.Bars], T]) -> T:
        with _reachable():
            async with self.database.read() as session:
                found = await catalog.find(session, dataset)
                of = await catalog.parts(session, found)
        with told():
            return await asyncio.to_thread(lambda: ask(self.bars.load(found, of)))

    async def queue_health(self) -> Health:
        """How database and Redis are; never raises."""
        return await health.health(self.database, self.queue)

    async def queue_metrics(self) -> QueueMetrics:
        with _reachable():
            return await health.metrics(self.database, self.queue)


def _in(bars: bt.Bars, timeframe: str | None) -> bt.Bars:
    return bars.resample(timeframe) if timeframe else bars


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Open database and queue (starting our own Valkey if no Redis is named), bring the schema up to date, and relay until closed."""
    async with AsyncExitStack() as stack:
        if not settings.redis_url:
            settings = msgspec.structs.replace(settings, redis_url=await stack.enter_async_context(valkey.valkey(settings.folder)))
        database = await stack.enter_async_context(open_database(settings.database_url))
        with _reachable():
            await database.migrate()
        queue = await stack.enter_async_context(open_queue(settings.redis_url, owner_limit=settings.owner_concurrency))
        relay = Relay(database, queue)
        task = asyncio.create_task(relay.run())
        try:
            yield Service(settings, database, queue, relay)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
