"""Receives the announcements of `workers.queue.events`, over one connection for all event streams of a process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec
import structlog

from workers import background
from workers.model.states import DONE, RunState
from workers.queue import keys
from workers.queue.events import MAX_EVENTS, Announcement, StreamedEvent
from workers.queue.queue import Queue, RedisError

# A connection that was silent for this long is tested, as it may have broken without a sign.
SILENCE_S: Final = 15.0
ANSWER_S: Final = 5.0
RETRY_S: Final = 2.0
_log = structlog.stdlib.get_logger(__name__)


class Watch:
    """What has happened to some runs since `take` was called last."""

    def __init__(self, watches: dict[str, set[Watch]]) -> None:
        self._watches = watches
        self._run_ids: set[str] = set()
        self._happened = asyncio.Event()
        self._news = News()

    def add(self, run_id: str) -> bool:
        """Watch another run; False if it is watched already."""
        if run_id in self._run_ids:
            return False
        self._run_ids.add(run_id)
        self._watches.setdefault(run_id, set()).add(self)
        return True

    def close(self) -> None:
        for run_id in self._run_ids:
            self._watches[run_id].discard(self)
            if not self._watches[run_id]:
                del self._watches[run_id]

    async def wait(self, timeout_s: float) -> bool:
        """Wait until something has happened; False after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._happened.wait()
        return self._happened.is_set()

    def take(self) -> News:
        news, self._news = self._news, News()
        self._happened.clear()
        return news

    def report(self, *, state: RunState | None = None, event: StreamedEvent | None = None, look: bool = False, gap: bool = False) -> None:
        news = self._news
        news.look |= look or gap or state in DONE
        news.gap |= gap
        news.state = state or news.state
        if event is not None:
            news.events.append(event)
        self._happened.set()


class News:
    """What a `Watch` has been told."""

    __slots__ = ("events", "gap", "look", "state")

    def __init__(self) -> None:
        # Whether to look into the database; whether announcements may have been missed before.
        self.look = False
        self.gap = False
        self.state: RunState | None = None
        self.events: deque[StreamedEvent] = deque(maxlen=MAX_EVENTS)


class Subscriber:
    """Passes announcements on to those who watch the runs. It connects when the first one does.

    After a gap, all of them are told to look into the database; and, while Redis can't be reached, every `RETRY_S`.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._watches: dict[str, set[Watch]] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, run_id: str) -> Iterator[Watch]:
        if self._task is None:
            self._task = asyncio.create_task(self._receive_forever())
        watch = Watch(self._watches)
        watch.add(run_id)
        try:
            yield watch
        finally:
            watch.close()

    async def close(self) -> None:
        if self._task is not None:
            await background.stop(self._task)

    async def _receive_forever(self) -> None:
        while True:
            try:
                await self._receive()
            except (RedisError, OSError) as error:
                _log.warning("announcements of runs not received; trying again", in_s=RETRY_S, reason=str(error))
            except Exception:
                _log.exception("announcements of runs not received; trying again", in_s=RETRY_S)
            self._report_to_all(look=True)
            await asyncio.sleep(RETRY_S)

    async def _receive(self) -> None:
        async with self._queue.redis.pubsub() as pubsub:
            await pubsub.subscribe(keys.CHANGES)
            while True:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is None:
                    await pubsub.ping()
                    message = await pubsub.get_message(timeout=ANSWER_S)
                    if message is None:
                        raise ConnectionError(f"Redis did not answer within {ANSWER_S:g} s")
                self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":  # redis-py reconnects by itself, too, and then subscribes again
            self._report_to_all(gap=True)
        elif message["type"] == "message" and self._watches:
            try:
                announcement = msgspec.json.decode(message["data"], type=Announcement)
            except msgspec.MsgspecError:
                self._report_to_all(gap=True)  # of another version
                return
            for run_id, state in announcement.states.items():
                for watch in self._watches.get(run_id, ()):
                    watch.report(state=state)
            for run_id, event in announcement.progress.items():
                for watch in self._watches.get(run_id, ()):
                    watch.report(event=event)

    def _report_to_all(self, *, look: bool = False, gap: bool = False) -> None:
        for watch in {watch for watches in self._watches.values() for watch in watches}:
            watch.report(look=look, gap=gap)
