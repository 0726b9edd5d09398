"""streaQ."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from queues import CONCURRENCY, Contender
from queues.tally import Tally


class Streaq(Contender):
    name = "streaq"

    def __init__(self, redis_url: str) -> None:
        from streaq import Worker

        super().__init__(redis_url)
        self.version = version("streaq")
        self._new = lambda: Worker(redis_url=redis_url, concurrency=CONCURRENCY, handle_signals=False)

    async def open(self) -> None:
        self._worker: Any = self._new()

        @self._worker.task(name="nothing")
        async def nothing() -> None: ...

        self._nothing = nothing
        await self.stack.enter_async_context(self._worker)

    async def send(self, count: int) -> None:
        for start in range(0, count, 500):
            await self._worker.enqueue_many([self._nothing.enqueue() for _ in range(start, min(start + 500, count))])

    async def work(self, tally: Tally) -> None:
        worker: Any = self._new()

        @worker.task(name="nothing", ttl=0)
        async def nothing() -> None:
            tally.count()

        tally.ready()
        await worker.run_async()
