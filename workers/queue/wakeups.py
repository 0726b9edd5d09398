"""What an idle worker listens to: wake-ups of the queue, in the background, so that it can also look up for other reasons."""

from __future__ import annotations

import asyncio
from types import TracebackType

from workers.queue.queue import Queue

# So long one blocking call waits; the server's connection is then used again.
LISTEN_S = 5.0


class Wakeups:
    """One wake-up at a time. A worker that is busy passes it on, since it was meant for one that isn't."""

    def __init__(self, queue: Queue, levels: str) -> None:
        self._queue = queue
        self._levels = levels
        self._listening: asyncio.Task[str | None] | None = None

    async def __aenter__(self) -> Wakeups:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def wait(self, seconds: float, changed: asyncio.Event) -> None:
        """Until it rings, something has changed, or the time is over.

        Raises:
            RedisError, OSError: the queue can't be heard.
        """
        if self._listening is None:
            self._listening = asyncio.create_task(self._queue.wait(LISTEN_S, self._levels))
        await self._first(changed, seconds)
        self._answered()

    async def pass_on_until(self, changed: asyncio.Event) -> None:
        """Until something has changed; whoever it rings for meanwhile is another."""
        await self._first(changed, None)
        if level := self._answered():
            await self._queue.wake(level)
        await changed.wait()

    async def _first(self, changed: asyncio.Event, seconds: float | None) -> None:
        if changed.is_set():
            return
        change = asyncio.create_task(changed.wait())
        try:
            await asyncio.wait([change, *([self._listening] if self._listening else [])], timeout=seconds, return_when="FIRST_COMPLETED")
        finally:
            change.cancel()

    def _answered(self) -> str | None:
        if self._listening is None or not self._listening.done():
            return None
        listened, self._listening = self._listening, None
        return listened.result()
