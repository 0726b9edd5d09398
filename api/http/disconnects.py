"""Ends the work for clients that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from litestar import Request

from api.http.problems import ProblemError
from workers import background

T = TypeVar("T")


async def while_connected(request: Request[Any, Any, Any], work: Awaitable[T]) -> T:
    """The result of an operation, which is cancelled when the client disconnects. The body must have been read before."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ProblemError(400, "the connection closed before the response")
    finally:
        await background.stop(working, leaving)


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
