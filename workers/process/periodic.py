"""Housekeeping: work that has to be done once a period, by any one of the processes that offer to do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from workers.outages import outage
from workers.queue.queue import Queue

# Timers are not exact: with a full period, a process that wakes a little early would find the last turn still taken and skip its own.
PERIOD_SHARE: Final = 0.9
_log = structlog.stdlib.get_logger(__name__)


async def periodic(queue: Queue, name: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    """Call `work` once a period in one of all processes that run this, until cancelled.

    A failure is logged and the work is tried again in the next period: housekeeping must outlive a database, a Redis or a bucket that is
    away for a while.
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            if await queue.try_acquire_period(name, every_s * PERIOD_SHARE):
                await work()
        except Exception as error:
            if (reason := outage(error)) is not None:
                _log.warning("housekeeping failed; trying again", task=name, in_s=every_s, reason=reason.message)
            else:
                _log.exception("housekeeping failed; trying again", task=name, in_s=every_s)
