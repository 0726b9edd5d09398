"""SAQ on Redis."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from queues import CONCURRENCY, Contender
from queues.tally import Tally


class Saq(Contender):
    name = "saq"

    def __init__(self, redis_url: str) -> None:
        from saq import Queue

        super().__init__(redis_url)
        self.version = version("saq")
        self._queue = Queue.from_url(redis_url)

    async def open(self) -> None:
        await self._queue.connect()

    async def send(self, count: int) -> None:
        for start in range(0, count, 100):
            await asyncio.gather(*(self._queue.enqueue("nothing") for _ in range(start, min(start + 100, count))))

    async def work(self, tally: Tally) -> None:
        from saq import Worker

        async def nothing(ctx: dict[str, Any]) -> None:
            tally.count()

        await self._queue.connect()
        worker = Worker(self._queue, functions=[("nothing", nothing)], concurrency=CONCURRENCY)
        tally.ready()
        await worker.start()
