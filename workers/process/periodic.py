"""Housekeeping: work that has to be done once a period, by any one of the processes that offer to do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from workers.queue.queue import Queue

# Timers are not exact: with a full period, a process that wakes a little early would find the last turn still taken and skip its own.
PERIOD_SHARE: Final = 0.9


async def periodic(queue: Queue, name: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Call `work` once a period, in one of the processes that run this, until cancelled.

    Run it supervised: it fails while the database, Redis or the bucket is away.
    """
    while True:
        await asyncio.sleep(every_s)
        if await queue.try_acquire_period(name, every_s * PERIOD_SHARE):
            await work()
