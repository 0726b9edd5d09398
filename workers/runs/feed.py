"""The events of all runs that a caller sees, from the stored announcements (`workers.queue.events`).

While somebody wants to know, one task of each process reads them, and looks up whose runs they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import Meta

from workers import background
from workers.db.database import Database
from workers.db.in_list import in_list
from workers.db.tables import RunRow
from workers.model.callers import Caller
from workers.outages import is_unreachable
from workers.queue import events
from workers.queue.events import RunEvent, StoredAnnouncement
from workers.queue.queue import Queue
from workers.runs.follow import KEEP_ALIVE_S, RETRY_S, check_event_id, position_of

# Events that wait for a slow client. One that falls further behind misses some.
MAX_WAITING: Final = 5_000
_COLUMNS: Final = (RunRow.id, RunRow.kind, RunRow.owner, RunRow.state, RunRow.leader_id)
_FIND: Final = sa.union_all(
    sa.select(*_COLUMNS).where(in_list(RunRow.id, "ids")), sa.select(*_COLUMNS).where(in_list(RunRow.leader_id, "ids"))
)
_log = structlog.stdlib.get_logger(__name__)


class FeedEvent(RunEvent, frozen=True, kw_only=True):
    """A new state, or progress, of one of many runs."""

    run_id: Annotated[str, Meta(description="Id of the run.")]
    kind: Annotated[str, Meta(description="Kind of run: `backtest` or `data_fetch`.")]
    owner: Annotated[str, Meta(description="Owner of the run, or empty.")]


class FeedUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An event; or that some were missed; or neither: a keep-alive. With `event_id`, reading can go on after it."""

    event_id: Annotated[str | None, Meta(description="Id of the event.", examples=["1796051435369-0"])] = None
    event: Annotated[FeedEvent | None, Meta(description="A change of state, or progress.")] = None
    has_gap: Annotated[bool, Meta(description="Whether events were missed.")] = False


class _Listener:
    """What a stream has yet to send: the events that its caller sees, by announcement."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.has_gap = False
        self.waiting: deque[tuple[str, list[FeedEvent]]] = deque()
        self.news = asyncio.Event()
        self._count = 0

    def report(self, announcement_id: str, found: Sequence[FeedEvent]) -> None:
        seen = [event for event in found if self.caller.sees(event.owner)]
        if not seen:
            return
        self._count += len(seen)
        self.waiting.append((announcement_id, seen))
        if self._count > MAX_WAITING:
            self.take()
            self.has_gap = True
        self.news.set()

    def report_gap(self) -> None:
        self.has_gap = True
        self.news.set()

    def take(self) -> deque[tuple[str, list[FeedEvent]]]:
        waiting, self.waiting, self._count = self.waiting, deque(), 0
        self.news.clear()
        return waiting


class RunFeed:
    """The streams of all runs in this process, `count` of which are open."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue
        self._listeners: set[_Listener] = set()
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        # The last announcement that the reader has passed on.
        self._position = events.FIRST

    @property
    def count(self) -> int:
        return len(self._listeners)

    async def open(self, caller: Caller, after: str) -> AsyncGenerator[FeedUpdate, None]:
        """The events after the one with id `after`, or from now on. An event that a newer one has overtaken is left out.

        Raises:
            Invalid: `after` is not an event id.
        """
        check_event_id(after)
        updates = self._updates(caller, after)
        await anext(updates)  # so that errors are raised here, and closing it ends what it has begun
        return updates

    async def close(self) -> None:
        if self._reader is not None:
            await background.stop(self._reader)

    async def _updates(self, caller: Caller, after: str) -> AsyncGenerator[FeedUpdate, None]:
        listener = _Listener(caller)
        self._listeners.add(listener)
        try:
            await self._start_reader()
            # From here on the reader reports what is new. What was announced before is read here, perhaps with some of that.
            position = after or self._position
            yield FeedUpdate()
            if after:
                if (start := await self._after_gap(after)) is not None:
                    position = start
                    yield FeedUpdate(has_gap=True)
                has_gap = start is not None
                while found := await events.read_announced(self._queue, position, wait=False):
                    if not has_gap and len(found) == events.READ and await self._after_gap(position) is not None:
                        yield FeedUpdate(has_gap=True)
                    has_gap = False
                    for position, seen in await self._resolve(found):
                        for update in _to_updates(position, [event for event in seen if caller.sees(event.owner)]):
                            yield update
            while True:
                waiting = listener.take()
                if listener.has_gap:
                    listener.has_gap = False
                    position = events.FIRST  # the next ones may be older, if Redis was replaced
                    yield FeedUpdate(event_id=self._position, has_gap=True)
                for announcement_id, seen in waiting:
                    if position_of(announcement_id) > position_of(position):
                        for update in _to_updates(announcement_id, seen):
                            yield update
                with suppress(TimeoutError):
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        await listener.news.wait()
                if not listener.news.is_set():
                    yield FeedUpdate(event_id=max(position, self._position, key=position_of))
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _start_reader(self) -> None:
        async with self._starting:
            if self._reader is None:
                self._position = await events.last_announced(self._queue)
                self._reader = asyncio.create_task(self._read_forever())

    async def _read_forever(self) -> None:
        is_doubtful = False
        while self._reader is asyncio.current_task():  # see `background.stop`
            try:
                found = await events.read_announced(self._queue, self._position, wait=True)
                # Some are missed only if a whole page is waiting, or if Redis was away, perhaps replaced by one whose clock is behind.
                if (is_doubtful or len(found) in (0, events.READ)) and (start := await self._after_gap(self._position)) is not None:
                    self._position = start
                    for listener in self._listeners:
                        listener.report_gap()
                is_doubtful = False
                if found:
                    for announcement_id, seen in await self._resolve(found):
                        for listener in self._listeners:
                            listener.report(announcement_id, seen)
                        self._position = announcement_id
            except Exception as error:
                is_doubtful = True
                expected = is_unreachable(error)
                _log.warning("events of all runs not read; trying again", in_s=RETRY_S, reason=str(error), exc_info=not expected)
                await asyncio.sleep(RETRY_S)

    async def _after_gap(self, position: str) -> str | None:
        """Where to read on if the announcement at a position is gone, and with it perhaps others; None if it is stored.

        After a failover, the newest one may be older than the position.
        """
        if await events.is_stored(self._queue, position):
            return None
        return min(position, await events.last_announced(self._queue), key=position_of)

    async def _resolve(self, found: Sequence[StoredAnnouncement]) -> list[tuple[str, list[FeedEvent]]]:
        """The events of announcements: of the runs that they name, and of those that follow them."""
        ids = [run_id for each in found for run_id in (*each.announcement.states, *each.announcement.progress)]
        rows = await self._database.query(lambda connection: connection.execute(_FIND, {"ids": ids}).all()) if ids else ()
        by_announced: dict[str, list[Any]] = {}
        for row in {row.id: row for row in rows}.values():
            for run_id in {row.id, row.leader_id} - {None}:
                by_announced.setdefault(run_id, []).append(row)
        resolved = []
        for announcement_id, announcement in found:
            at = int(announcement_id.partition("-")[0])
            announced = [(run_id, RunEvent(state=state, at=at)) for run_id, state in announcement.states.items()]
            announced += [(run_id, event) for run_id, (_, event) in announcement.progress.items()]
            resolved.append(
                (
                    announcement_id,
                    [
                        _of_run(row, event)
                        for run_id, event in announced
                        for row in by_announced.get(run_id, ())
                        if row.state == event.state
                    ],
                )
            )
        return resolved


@asynccontextmanager
async def open_feed(database: Database, queue: Queue) -> AsyncIterator[RunFeed]:
    """The streams of all runs, until the block ends."""
    feed = RunFeed(database, queue)
    try:
        yield feed
    finally:
        await feed.close()


def _of_run(row: Any, event: RunEvent) -> FeedEvent:
    return FeedEvent(run_id=row.id, kind=row.kind, owner=row.owner, **msgspec.structs.asdict(event))


def _to_updates(announcement_id: str, seen: Sequence[FeedEvent]) -> list[FeedUpdate]:
    """The events of an announcement. Only the last one has an id, so that none is lost if the stream ends in between."""
    return [FeedUpdate(event_id=announcement_id if i == len(seen) else None, event=event) for i, event in enumerate(seen, 1)]
