"""Server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream

from api.http.problems import ProblemError
from api.http.protocol import ENDLESS
from workers import FeedUpdate, RunUpdate, Service

T = TypeVar("T")
# Open streams of one process. Each has a connection, and about 30 kB of memory.
MAX_STREAMS: Final = 500
RETRY_AFTER_S: Final = 5
# How often a stream on which events flow checks that the key still works; an idle one does so at each keep-alive.
CHECK_S: Final = 1.0
MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def check_capacity(service: Service) -> None:
    """
    Raises:
        ProblemError: there are too many open streams for another one.
    """
    open_streams = service.resources.streams.count + service.resources.feed.count
    if open_streams >= MAX_STREAMS:
        detail = f"{open_streams:,} event streams are open, the limit of this process; close some, or poll instead"
        raise ProblemError(429, detail, code="too_many_streams", headers={"retry-after": str(RETRY_AFTER_S)})


def feed_stream(request: Request[Any, Any, Any], updates: AsyncGenerator[FeedUpdate, None]) -> Response[Any]:
    """`state`, `progress` and `gap` events; comments in between keep the connection alive."""
    return _stream(request, _encode_feed(_while_valid(request, updates)), updates)


def event_stream(request: Request[Any, Any, Any], updates: AsyncGenerator[RunUpdate, None]) -> Response[Any]:
    """`progress` events, then `end` with the run; comments in between keep the connection alive."""
    return _stream(request, _encode(_while_valid(request, updates)), updates)


def _stream(request: Request[Any, Any, Any], encoded: AsyncIterator[bytes], updates: AsyncGenerator[Any, None]) -> Response[Any]:
    request.scope["state"][ENDLESS] = True
    # A client may leave while its connection is full, and then nobody awaits the generator.
    return Stream(encoded, media_type=MEDIA_TYPE, headers=HEADERS, background=BackgroundTask(updates.aclose))


async def _while_valid(request: Request[Any, Any, Any], updates: AsyncIterator[T]) -> AsyncIterator[T]:
    """The updates until the key of the caller is deleted or expires."""
    service: Service = request.scope["state"]["service"]
    checked_at = time.monotonic()
    async for update in updates:
        if time.monotonic() >= checked_at + CHECK_S:
            if not await service.resources.authentication.is_valid(service.caller):
                return
            checked_at = time.monotonic()
        yield update


async def _encode(updates: AsyncIterator[RunUpdate]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for update in updates:
        data = update.run or update.event
        if data is None:
            yield b": waiting\n\n"
        else:
            event = b"end" if update.run else b"progress"
            yield b"id: %b\nevent: %b\ndata: %b\n\n" % ((update.event_id or "").encode(), event, msgspec.json.encode(data))


async def _encode_feed(updates: AsyncIterator[FeedUpdate]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async for update in updates:
        id_ = b"id: %b\n" % update.event_id.encode() if update.event_id else b""
        if update.event is not None:
            name = b"state" if update.event.fraction is None else b"progress"
            yield b"%bevent: %b\ndata: %b\n\n" % (id_, name, msgspec.json.encode(update.event))
        elif update.has_gap:
            yield b"%bevent: gap\ndata: {}\n\n" % id_
        else:
            yield b"%b: waiting\n\n" % id_
