"""A job that a worker is running, and how it is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from enum import StrEnum
from typing import Any, TypeVar

import python_core as bt
from workers import background

T = TypeVar("T")


class Stop(StrEnum):
    """Why a running job is stopped."""

    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    REQUEUE = "requeue"
    TAKEN_OVER = "taken over"


class Job:
    """A running job. `stop` is called from the worker's event loop; the kernel notices it within milliseconds.

    `waits_since` is set while the job waits for a place to be done in.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.control = bt.Control()
        self.message = ""
        self.reason: Stop | None = None
        self.waits_since: float | None = None
        self._stopped = asyncio.Event()
        self._called: asyncio.Future[Any] | None = None

    def stop(self, reason: Stop) -> None:
        if self.reason is None:
            self.reason = reason
            self.control.cancel()
            self._stopped.set()
            if self.waits_since is not None and self._called is not None and not self._called.done():
                self._called.set_exception(self._cancelled())

    @property
    def progress(self) -> float:
        return self.control.progress

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled if the job is stopped. For work that waits; the kernel checks `control` itself.

        Raises:
            Cancelled: the job was stopped.
        """
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise self._cancelled()
            return working.result()
        finally:
            await background.stop(working, stopped)

    async def unless_stopped_before(self, called: asyncio.Future[T]) -> T:
        """The result of a call in a thread, which sets `waits_since` to None when it begins.

        Raises:
            Cancelled: the job was stopped before.
        """
        self.waits_since, self._called = time.monotonic(), called
        try:
            return await called
        finally:
            self.waits_since = None

    def _cancelled(self) -> bt.Cancelled:
        return bt.Cancelled(f"the job was stopped: {self.reason}")
