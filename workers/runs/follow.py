"""Stream the events of a run as they happen, then the finished run from the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from workers.errors import Invalid, NotFound
from workers.model.callers import Caller
from workers.model.clock import now_ms
from workers.model.runs import Run
from workers.model.states import DONE, RunState
from workers.outages import is_unreachable
from workers.queue import events
from workers.queue.events import RunEvent, StreamedEvent
from workers.queue.queue import Queue, RedisError
from workers.queue.subscriber import Subscriber
from workers.runs.runs import Runs

KEEP_ALIVE_S: Final = 15.0
RETRY_S: Final = 2.0
# Streams that look into the database at the same time: after a gap all of them look, and requests need connections, too.
MAX_LOOKS: Final = 4
# Requests of one process that wait for the end of a run. Each has a connection.
MAX_WAITING: Final = 500
# The event id of the last update of a stream, and that of a change of state before any progress.
END: Final = "end"
START: Final = "0-0"
EVENT_ID: Final = "[0-9]{1,18}-[0-9]{1,18}"


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its id, the finished run, or neither: a keep-alive."""

    event_id: Annotated[str | None, Meta(description="Id of the event.", examples=["1796051435369-0"])] = None
    event: Annotated[RunEvent | None, Meta(description="A change of state, or progress.")] = None
    run: Annotated[Run | None, Meta(description="The run, once it has finished.")] = None


class RunStreams:
    """The event streams of this process, `count` of which are open, and the requests that wait for the end of a run, `waiting` of them.

    While nothing happens they ask neither the database nor Redis.
    """

    def __init__(self, runs: Runs, queue: Queue) -> None:
        self.count = 0
        self.waiting = 0
        self._runs = runs
        self._queue = queue
        self._subscriber = Subscriber(queue)
        self._looks = asyncio.Semaphore(MAX_LOOKS)

    async def open(self, caller: Caller, run_id: str, after: str) -> AsyncGenerator[RunUpdate, None]:
        """The events after the one with id `after`, or all that are stored.

        Raises:
            NotFound: unknown run.
            Invalid: `after` is not an event id.
        """
        check_event_id(after)
        updates = self._updates(caller, run_id, after or START)
        await anext(updates)  # so that errors are raised here, and closing it ends what it has begun
        return updates

    async def wait(self, caller: Caller, run_id: str, limit_s: float) -> Run:
        """The run when it has finished, or as it is after `limit_s`; as it is now while `MAX_WAITING` others wait.

        Raises:
            NotFound: unknown run.
        """
        if self.waiting >= MAX_WAITING:
            return await self._read(caller, run_id)
        self.waiting += 1
        try:
            # It is watched before it is read, so that no change falls in between.
            with self._subscriber.watch(run_id) as watch:
                run = await self._read(caller, run_id)
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit_s):
                        while run.state not in DONE:
                            is_new_leader = run.leader_id is not None and watch.add(run.leader_id)
                            while not is_new_leader and not watch.take().look:
                                await watch.wait(limit_s)
                            run = await self._read(caller, run_id)
                return run
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        await self._subscriber.close()

    async def _updates(self, caller: Caller, run_id: str, last_id: str) -> AsyncGenerator[RunUpdate, None]:
        self.count += 1
        try:
            # It is watched before it is read, so that no change falls in between.
            with self._subscriber.watch(run_id) as watch:
                run = await self._read(caller, run_id)
                yield RunUpdate()
                state, news = RunState.QUEUED, None
                while True:
                    # Only leaders have events; a follower shares those of its leader.
                    if run.leader_id is not None and watch.add(run.leader_id):
                        run = await self._read(caller, run_id)
                        continue
                    done = run.state in DONE
                    if not done and run.state != state:
                        state = run.state
                        yield RunUpdate(event_id=last_id, event=RunEvent(state=state, at=now_ms()))
                    stored = await self._stored(run.leader_id or run.id, last_id) if news is None or news.gap else []
                    for event_id, event in (*stored, *(news.events if news else ())):
                        if position_of(event_id) > position_of(last_id):
                            last_id, state = event_id, event.state
                            yield RunUpdate(event_id=last_id, event=event)
                    if done:
                        yield RunUpdate(event_id=END, run=run)
                        return
                    while not await watch.wait(KEEP_ALIVE_S):
                        yield RunUpdate()
                    news = watch.take()
                    try:
                        if news.look:
                            run = await self._read(caller, run_id)
                        elif news.state is not None:
                            run = msgspec.structs.replace(run, state=news.state)
                    except NotFound:  # it has finished, and was deleted
                        return
                    except Exception as error:
                        if not is_unreachable(error):
                            raise
                        await asyncio.sleep(RETRY_S)
                        watch.report(look=True, gap=news.gap)
                        yield RunUpdate()
        finally:
            self.count -= 1

    async def _read(self, caller: Caller, run_id: str) -> Run:
        async with self._looks:
            return await self._runs.get(caller, run_id)

    async def _stored(self, run_id: str, after: str) -> list[StreamedEvent]:
        try:
            return await events.read(self._queue, run_id, after)
        except (RedisError, OSError):
            return []


@asynccontextmanager
async def open_streams(runs: Runs, queue: Queue) -> AsyncIterator[RunStreams]:
    """The event streams of this process, until the block ends."""
    streams = RunStreams(runs, queue)
    try:
        yield streams
    finally:
        await streams.close()


def check_event_id(after: str) -> None:
    """
    Raises:
        Invalid: it is neither an event id nor empty.
    """
    if after and not re.fullmatch(EVENT_ID, after):
        raise Invalid(f"{after!r:.60} is not an event id", where="Last-Event-ID", hint="use the id of the last event you received")


def position_of(event_id: str) -> tuple[int, ...]:
    """What event ids are sorted by."""
    return tuple(map(int, event_id.split("-")))
