"""Those who carry the benchmark's jobs: Barstorm's queue and other queues on Redis, each with the same no-op job."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import ClassVar

from queues.tally import Tally

AT_ONCE = 200  # jobs that a worker has at once, where not its default is measured


class Contender:
    """A queue on one Redis. Making one imports its package, or raises ImportError if there is none."""

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
        """Send so many no-op jobs by the fastest way that is offered."""
        raise NotImplementedError

    async def work(self, tally: Tally) -> None:
        """Be a worker whose no-op job counts itself in the tally; never returns."""
        raise NotImplementedError


def all_contenders() -> list[tuple[str, type[Contender]]]:
    """In the order in which tables show them."""
    from queues import barstorm, plain_arq, plain_saq, plain_streaq

    classes: list[type[Contender]] = [
        barstorm.Barstorm,
        plain_arq.Default,
        plain_arq.Tuned,
        plain_saq.Saq,
        plain_streaq.Streaq,
    ]
    return [(made.name, made) for made in classes]
