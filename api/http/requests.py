"""Request bodies: JSON decoded strictly into the declared type, and a time limit for stalled streams."""

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
    """A request whose JSON body is decoded strictly into the handler's declared type.

    Litestar's own decoding is lenient: it accepts `"2"` for a number.
    """

    async def json(self) -> Any:
        field = self.route_handler.parsed_data_field
        return await self.decoded(field.annotation if field else Any)

    async def decoded(self, expected: Any) -> Any:
        """The JSON body as a value of the expected type."""
        content_type = self.content_type[0]
        if content_type != "application/json":
            received = f"not {content_type}" if content_type else "but the Content-Type header is missing"
            raise ProblemError(415, f"the content type must be application/json, {received}", headers={"accept": "application/json"})
        body = await self.body()
        if not body:
            raise ProblemError(400, "the body is empty; send a JSON object", code="invalid_json")
        try:
            return msgspec.json.decode(body, type=expected)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_body(error, expected) from error

    async def stream(self) -> AsyncGenerator[bytes, None]:
        chunks = super().stream()
        while True:
            try:
                async with asyncio.timeout(STALL_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProblemError(
                    408, f"no data received for {STALL_S:g} s; the rest of the body is missing", headers={"connection": "close"}
                ) from None
            yield chunk
