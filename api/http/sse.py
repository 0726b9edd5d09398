"""Server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream

from workers import RunUpdate

MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event_stream(updates: AsyncIterator[RunUpdate]) -> Response[Any]:
    """`progress` events, then `end` with the run; comments in between keep the connection alive."""
    return Stream(_encode(updates), media_type=MEDIA_TYPE, headers=HEADERS)


async def _encode(updates: AsyncIterator[RunUpdate]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for update in updates:
        data = update.run or update.event
        if data is None:
            yield b": waiting\n\n"
        else:
            event = b"end" if update.run else b"progress"
            yield b"id: %b\nevent: %b\ndata: %b\n\n" % ((update.event_id or "").encode(), event, msgspec.json.encode(data))
