"""Server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream

from workers import RunUpdate

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event_stream(told: AsyncIterator[RunUpdate]) -> Response[Any]:
    """`progress` events, then `end` with the run; comments between them keep the connection alive."""
    return Stream(_lines(told), media_type="text/event-stream", headers=HEADERS)


async def _lines(told: AsyncIterator[RunUpdate]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for item in told:
        news = item.run or item.event
        if news is None:
            yield b": waiting\n\n"
        else:
            kind = b"end" if item.run else b"progress"
            yield b"id: %b\nevent: %b\ndata: %b\n\n" % ((item.place or "").encode(), kind, msgspec.json.encode(news))
