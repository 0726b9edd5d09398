"""Request bodies: JSON checked strictly against the declared type, streams that may not stall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import State

from api.http.problems import ProblemError, invalid_body

MAX_JSON_BYTES = 1_000_000
STALL_S = 30.0


class ApiRequest(Request[Any, Any, State]):
    """A request whose JSON body becomes the handler's declared struct in one strict step.

    Litestar itself decodes to plain objects and then converts those leniently: `"2"` would pass for a number.
    """

    async def json(self) -> Any:
        content_type = self.content_type[0]
        if content_type != "application/json":
            given = f"not {content_type}" if content_type else "but the header is missing"
            raise ProblemError(415, f"the content type must be application/json, {given}", headers={"accept": "application/json"})
        body = await self.body()
        if not body:
            raise ProblemError(400, "the body is empty; send a JSON object", code="invalid_json")
        field = self.route_handler.parsed_data_field
        try:
            return msgspec.json.decode(body, type=field.annotation if field else Any)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_body(error) from error

    async def stream(self) -> AsyncGenerator[bytes, None]:
        chunks = super().stream()
        while True:
            try:
                async with asyncio.timeout(STALL_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProblemError(408, f"no part of the body came for {STALL_S:g} s", headers={"connection": "close"}) from None
            yield chunk
