"""Groups of operations, and the resources that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Final, TypeVar, cast

from workers.data.bars_cache import BarsCache, open_bars_cache
from workers.data.datasets import MarketData, open_market_data
from workers.data.workroom import Workroom
from workers.db.database import Database, open_database
from workers.queue.queue import Queue, open_queue
from workers.queue.valkey import with_redis
from workers.runs.follow import RunStreams, open_streams
from workers.runs.intake import Intake
from workers.runs.lookups import Lookups
from workers.runs.outbox import Relay, relaying
from workers.runs.results import Results
from workers.runs.runs import Runs
from workers.service.health import HealthCheck
from workers.service.unavailable import translate_connection_errors
from workers.settings import Settings
from workers.storage.artifacts import Artifacts
from workers.storage.open import open_artifacts

P = TypeVar("P")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])

# Bars that charts keep in memory.
BARS_CACHE_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections, storage and caches, opened once and shared by all groups."""

    settings: Settings
    database: Database
    queue: Queue
    relay: Relay
    artifacts: Artifacts
    lookups: Lookups
    intake: Intake
    runs: Runs
    results: Results
    streams: RunStreams
    data: MarketData
    bars: BarsCache
    workroom: Workroom
    health: HealthCheck


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open database and queue, migrate the schema, and send accepted jobs to the queue until closed. Without a Redis URL, Valkey is started."""
    async with AsyncExitStack() as stack:
        settings = await stack.enter_async_context(with_redis(settings))
        database = await stack.enter_async_context(open_database(settings.database_url))
        with translate_connection_errors():
            await database.migrate()
        queue = await stack.enter_async_context(open_queue(settings.redis_url, owner_limit=settings.owner_concurrency))
        relay = await stack.enter_async_context(relaying(database, queue))
        artifacts = open_artifacts(settings)
        workroom = Workroom(settings)
        stack.push_async_callback(workroom.close)
        bars = open_bars_cache(settings, artifacts, BARS_CACHE_BYTES, workroom)
        lookups = Lookups(database)
        results = Results(database, artifacts, bars, lookups)
        runs = Runs(database, results)
        streams = await stack.enter_async_context(open_streams(runs, queue))
        yield Resources(
            settings=settings,
            database=database,
            queue=queue,
            relay=relay,
            artifacts=artifacts,
            lookups=lookups,
            intake=Intake(database, results, bars, lookups),
            runs=runs,
            results=results,
            streams=streams,
            data=open_market_data(settings, database, artifacts, workroom),
            bars=bars,
            workroom=workroom,
            health=HealthCheck(settings, database, queue, artifacts),
        )


class OperationGroup:
    """Operations on one kind of resource. They are named `<name>.<method>` in the table of operations.

    A cancelled operation ends at once, and with it the process that works for it.

    Raises, in every operation:
        Unavailable: the database or Redis can't be reached.
        TooManyRequests, LimitExceeded: in those that may take long; see `workers.data.workroom`.
    """

    name: ClassVar[str]

    def __init__(self, resources: Resources) -> None:
        self._resources = resources


def page_of(page: Callable[..., P], items: Sequence[Any], offset: int, limit: int) -> P:
    """The page of up to `limit` items from `offset`, with the total number of items."""
    return page(items=items[offset : offset + limit], offset=offset, total=len(items))


def operation(method: F) -> F:
    """Make a method an operation: it appears in the table of operations, and lost connections are raised as `Unavailable`.

    Its parameters are the request, its return value is the response. The first line of its docstring is its summary, the rest up to
    `Raises:` its description.
    """

    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with translate_connection_errors():
            return await method(*args, **kwargs)

    call.is_operation = True  # type: ignore[attr-defined]
    return cast(F, call)
