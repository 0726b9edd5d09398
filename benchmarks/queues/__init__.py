"""The queues compared: Barstorm's and others on Redis, each with the same no-op job."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import ClassVar

from queues.tally import Tally

CONCURRENCY = 200  # jobs that a worker runs at once, unless its default is measured


class Contender:
    """A queue on one Redis. The constructor imports its package, and raises ImportError if it is missing."""

    name: ClassVar[str]
    samples: ClassVar[int] = 300  # of latency
    uvloop: ClassVar[bool] = True
    version: str = ""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect, to send jobs."""

    async def send(self, count: int) -> None:
        """Send `count` no-op jobs in the fastest way it offers."""
        raise NotImplementedError

    async def work(self, tally: Tally) -> None:
        """Run a worker whose no-op job counts itself in the tally; never returns."""
        raise NotImplementedError


def all_contenders() -> list[tuple[str, type[Contender]]]:
    """In the order of the tables."""
    from queues import barstorm, plain_arq, plain_saq, plain_streaq

    classes: list[type[Contender]] = [
        barstorm.Barstorm,
        plain_arq.Default,
        plain_arq.Tuned,
        plain_saq.Saq,
        plain_streaq.Streaq,
    ]
    return [(made.name, made) for made in classes]
