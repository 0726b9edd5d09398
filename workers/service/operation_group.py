"""Groups of operations, and the resources that they share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, ClassVar, Final, TypeVar, cast

import msgspec

from python_core.errors import StructuredError
from workers.accounts import audit
from workers.accounts.authentication import Authentication
from workers.accounts.quotas import Quotas
from workers.accounts.rate_limit import RateLimit
from workers.data.bars_cache import BarsCache, open_bars_cache
from workers.data.datasets import MarketData, open_market_data
from workers.data.workroom import Workroom
from workers.db.database import Database, open_database
from workers.model.callers import Caller, Scope
from workers.queue.queue import Queue, open_queue
from workers.queue.valkey import with_redis
from workers.runs.feed import RunFeed, open_feed
from workers.runs.follow import RunStreams, open_streams
from workers.runs.intake import Intake
from workers.runs.lookups import Lookups
from workers.runs.outbox import Relay, relaying
from workers.runs.result_files import ResultFiles
from workers.runs.results import Results
from workers.runs.runs import Runs
from workers.service.health import HealthCheck
from workers.service.unavailable import translate_connection_errors
from workers.settings import Settings
from workers.storage.artifacts import Artifacts
from workers.storage.open import open_artifacts

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])

# Bars that charts keep in memory.
BARS_CACHE_BYTES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections, storage and caches, opened once and shared by all groups."""

    settings: Settings
    database: Database
    authentication: Authentication
    rate_limit: RateLimit
    queue: Queue
    relay: Relay
    artifacts: Artifacts
    lookups: Lookups
    intake: Intake
    runs: Runs
    results: Results
    result_files: ResultFiles
    streams: RunStreams
    feed: RunFeed
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
            authentication=Authentication(database, required=settings.require_keys),
            rate_limit=RateLimit(queue, settings.owner_requests_s),
            queue=queue,
            relay=relay,
            artifacts=artifacts,
            lookups=lookups,
            intake=Intake(database, results, bars, lookups, Quotas.of(settings)),
            runs=runs,
            results=results,
            result_files=ResultFiles(results, workroom),
            streams=streams,
            feed=await stack.enter_async_context(open_feed(database, queue)),
            data=open_market_data(settings, database, artifacts, workroom),
            bars=bars,
            workroom=workroom,
            health=HealthCheck(settings, database, queue, artifacts),
        )


class OperationGroup:
    """Operations of a caller on one kind of resource. They are named `<name>.<method>` in the table of operations.

    A cancelled operation ends at once, and with it the process that works for it.

    Raises, in every operation:
        Forbidden: the caller may not do that.
        Unavailable: the database or Redis can't be reached.
        TooManyRequests, LimitExceeded: in those that may take long; see `workers.data.workroom`.
    """

    name: ClassVar[str]

    def __init__(self, resources: Resources, caller: Caller) -> None:
        self._resources = resources
        self._caller = caller


def _subject(argument: Any) -> str:
    """A text as it is, such as an id; anything else, such as a selection, as JSON."""
    return argument if isinstance(argument, str) else msgspec.json.encode(argument).decode()


def operation(scope: Scope, *, audited: bool | Callable[[Any], str] = False) -> Callable[[F], F]:
    """Make a method an operation: it appears in the table of operations, needs a caller with this scope, and raises lost connections as
    `Unavailable`. Calls of an `audited` one are recorded in the audit log; their subject is the first argument, or what `audited` makes of it.

    Its parameters are the request, its return value is the response. The first line of its docstring is its summary, the rest up to
    `Raises:` its description.
    """

    def decorate(method: F) -> F:
        names = (*signature(method).parameters, "")

        @wraps(method)
        async def call(group: OperationGroup, *args: Any, **kwargs: Any) -> Any:
            with translate_connection_errors():
                if not audited:
                    group._caller.require(scope)
                    return await method(group, *args, **kwargs)
                outcome = "internal"
                try:
                    group._caller.require(scope)
                    result = await method(group, *args, **kwargs)
                    outcome = audit.SUCCEEDED
                    return result
                except StructuredError as error:
                    outcome = error.code
                    raise
                finally:
                    first = args[0] if args else kwargs.get(names[1], "")
                    subject = audited(first) if callable(audited) else _subject(first)
                    await audit.record(group._resources.database, group._caller, f"{group.name}.{method.__name__}", subject, outcome)

        call.scope = scope  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate
