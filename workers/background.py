"""Background tasks: loops of a process that must not end before it, whatever happens to them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from workers.outages import outage

FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 5.0
# A task that ran for this long was healthy: its next restart begins with the first pause again.
HEALTHY_S: Final = 10.0
# How often each task of this process was restarted.
RESTARTS: Final[Counter[str]] = Counter()
_log = structlog.stdlib.get_logger(__name__)


async def supervise(name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Await `work()` and, whenever it fails, do so again after a pause, which gets longer while it fails soon. An outage is logged as one
    line, any other error with its traceback."""
    pause_s = FIRST_PAUSE_S
    while True:
        started_at = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            RESTARTS[name] += 1
            if time.monotonic() - started_at > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            if (reason := outage(error)) is not None:
                _log.warning("background task failed; trying again", task=name, in_s=pause_s, reason=reason.message)
            else:
                _log.exception("background task failed; trying again", task=name, in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, MAX_PAUSE_S)


@asynccontextmanager
async def running(**tasks: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run these tasks, supervised, until the block ends."""
    started = [asyncio.create_task(supervise(name, work), name=name) for name, work in tasks.items()]
    try:
        yield
    finally:
        await stop(*started)


async def stop(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until they have ended.

    `asyncio.wait_for`, with which redis-py sends, may swallow a cancellation in Python 3.11, so they are cancelled until they end.
    """
    while running_still := [task for task in tasks if not task.done()]:
        for task in running_still:
            task.cancel()
        await asyncio.wait(running_still, timeout=0.5)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # so that asyncio doesn't report it as never retrieved
