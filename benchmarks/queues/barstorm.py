"""This project's queue and worker, without the database."""

from __future__ import annotations

import os
from typing import Any

from queues import CONCURRENCY, Contender
from queues.tally import Tally


class Barstorm(Contender):
    name = "barstorm"

    def __init__(self, redis_url: str) -> None:
        import python_core

        super().__init__(redis_url)
        self.version = python_core.__version__

    async def open(self) -> None:
        from workers.queue.queue import open_queue

        self._queue = await self.stack.enter_async_context(open_queue(self.redis_url))

    async def send(self, count: int) -> None:
        from workers.model.names import new_id
        from workers.queue.queue import QueuedJob

        await self._queue.enqueue([QueuedJob("nothing", new_id(), 1) for _ in range(count)])

    async def work(self, tally: Tally) -> None:
        from workers import Settings
        from workers.process.worker import LeaseWorker
        from workers.queue.queue import open_queue

        async def nothing(ctx: dict[str, Any], run_id: str, number: int) -> None:
            tally.count()

        async with open_queue(self.redis_url) as queue:
            worker = LeaseWorker(Settings(concurrency=CONCURRENCY), queue, {"nothing": nothing}, worker=f"bench-{os.getpid()}", jobs={})
            tally.ready()
            await worker.main()
