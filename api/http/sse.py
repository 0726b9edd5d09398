"""Server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream

from api.http.problems import ProblemError
from api.http.protocol import ENDLESS
from workers import RunUpdate

# Open streams of one process. Each has a connection, and about 30 kB of memory.
MAX_STREAMS: Final = 500
RETRY_AFTER_S: Final = 5
MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def check_capacity(open_streams: int) -> None:
    """
    Raises:
        ProblemError: there are too many open streams for another one.
    """
    if open_streams >= MAX_STREAMS:
        detail = f"{open_streams:,} event streams are open, the limit of this process; close some, or poll the backtest instead"
        raise ProblemError(429, detail, code="too_many_streams", headers={"retry-after": str(RETRY_AFTER_S)})


def event_stream(request: Request[Any, Any, Any], updates: AsyncGenerator[RunUpdate, None]) -> Response[Any]:
    """`progress` events, then `end` with the run; comments in between keep the connection alive."""
    request.scope["state"][ENDLESS] = True
    # A client may leave while its connection is full, and then nobody awaits the generator.
    return Stream(_encode(updates), media_type=MEDIA_TYPE, headers=HEADERS, background=BackgroundTask(updates.aclose))


async def _encode(updates: AsyncIterator[RunUpdate]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for update in updates:
        data = update.run or update.event
        if data is None:
            yield b": waiting\n\n"
        else:
            event = b"end" if update.run else b"progress"
            yield b"id: %b\nevent: %b\ndata: %b\n\n" % ((update.event_id or "").encode(), event, msgspec.json.encode(data))
