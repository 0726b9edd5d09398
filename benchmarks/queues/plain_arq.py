"""ARQ by itself: with its defaults, and with the fastest settings and a pipeline."""

from __future__ import annotations

import time
from typing import Any, ClassVar
from uuid import uuid4

from queues import CONCURRENCY, Contender
from queues.tally import Tally


class Default(Contender):
    name = "arq"
    samples = 60
    uvloop = False
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, redis_url: str) -> None:
        from arq.version import VERSION

        super().__init__(redis_url)
        self.version = VERSION

    async def open(self) -> None:
        from arq.connections import create_pool

        self._redis = await create_pool(self._settings)

    @property
    def _settings(self) -> Any:
        from arq.connections import RedisSettings

        return RedisSettings.from_dsn(self.redis_url)

    async def send(self, count: int) -> None:
        for _ in range(count):
            await self._redis.enqueue_job("nothing")

    async def work(self, tally: Tally) -> None:
        from arq.worker import Worker, func

        async def nothing(ctx: dict[str, Any]) -> None:
            tally.count()

        worker = Worker([func(nothing, name="nothing")], redis_settings=self._settings, handle_signals=False, **self.options)
        tally.ready()
        await worker.async_run()


class Tuned(Default):
    name = "arq tuned"
    samples = 300
    uvloop = True
    options: ClassVar[dict[str, Any]] = {"poll_delay": 0.002, "max_jobs": CONCURRENCY, "keep_result": 0}

    async def send(self, count: int) -> None:
        from arq.constants import default_queue_name, job_key_prefix
        from arq.jobs import serialize_job

        for start in range(0, count, 500):
            async with self._redis.pipeline(transaction=False) as pipe:
                for _ in range(start, min(start + 500, count)):
                    identifier, now_ms = uuid4().hex, time.time_ns() // 1_000_000
                    pipe.psetex(job_key_prefix + identifier, 86_400_000, serialize_job("nothing", (), {}, None, now_ms))
                    pipe.zadd(default_queue_name, {identifier: now_ms})
                await pipe.execute()
