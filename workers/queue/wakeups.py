"""Wake-ups of idle workers: the blocking read from Redis runs in the background, so that a worker can also wake for other reasons."""

from __future__ import annotations

import asyncio
from types import TracebackType

from workers import background
from workers.queue.queue import MAX_WAIT_S, Queue


class Wakeups:
    """One wake-up at a time. A busy worker forwards it to an idle one."""

    def __init__(self, queue: Queue, priorities: str) -> None:
        self._queue = queue
        self._priorities = priorities
        self._listening: asyncio.Task[str | None] | None = None

    async def __aenter__(self) -> Wakeups:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listening is not None:
            await background.stop(self._listening)

    async def wait(self, seconds: float, changed: asyncio.Event) -> None:
        """Wait for a wake-up, for `changed`, or until the time is over.

        Raises:
            RedisError, OSError: the queue can't be reached.
        """
        if self._listening is None:
            self._listening = asyncio.create_task(self._queue.wait(MAX_WAIT_S, self._priorities))
        await self._first(changed, seconds)
        self._take_wakeup()

    async def forward_until(self, changed: asyncio.Event) -> None:
        """Wait for `changed`; a wake-up that arrives first goes to another worker."""
        await self._first(changed, None)
        if priority := self._take_wakeup():
            await self._queue.wake(priority)
        await changed.wait()

    async def _first(self, changed: asyncio.Event, seconds: float | None) -> None:
        if changed.is_set():
            return
        change = asyncio.create_task(changed.wait())
        try:
            await asyncio.wait([change, *([self._listening] if self._listening else [])], timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            change.cancel()

    def _take_wakeup(self) -> str | None:
        if self._listening is None or not self._listening.done():
            return None
        task, self._listening = self._listening, None
        return task.result()
