"""Request bodies: JSON decoded strictly into the declared type, and time limits for slow ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request
from litestar.datastructures import State

from api.http.bodies import decode_body
from api.http.problems import ProblemError

MAX_JSON_BYTES = 1_000_000
# The longest time for a whole JSON body, and for the next part of any body.
JSON_S = 10.0
STALL_S = 30.0
# Larger bodies may take longer: this long, and as long as they need at this rate.
BODY_S = 30.0
MIN_BYTES_S = 10_000


class ApiRequest(Request[Any, Any, State]):
    """A request whose JSON body is decoded strictly into the handler's declared type.

    Litestar's own decoding is lenient: it accepts `"2"` for a number.
    """

    # Whether `body` reads the stream, with a time limit of its own.
    _whole = False

    async def json(self) -> Any:
        field = self.route_handler.parsed_data_field
        return await self.decoded(field.annotation if field else Any)

    async def decoded(self, expected: Any) -> Any:
        """The JSON body as a value of the expected type."""
        return decode_body(await self.json_text(), expected)

    async def json_text(self) -> bytes:
        """The body, if it is declared to be JSON."""
        content_type = self.content_type[0]
        if content_type != "application/json":
            received = f"not {content_type}" if content_type else "but the Content-Type header is missing"
            raise ProblemError(415, f"the content type must be application/json, {received}", headers={"accept": "application/json"})
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            detail = f"Content-Encoding {encoding:.40} is not supported for JSON; send the body as it is"
            raise ProblemError(415, detail, headers={"accept": "application/json", "accept-encoding": "identity"})
        body = await self.body()
        if not body:
            raise ProblemError(400, "the body is empty; send a JSON object", code="invalid_json")
        return body

    async def body(self) -> bytes:
        """The whole body. Only JSON is read at once; files are streamed."""
        self._whole = True
        try:
            async with asyncio.timeout(JSON_S):
                return await super().body()
        except TimeoutError:
            raise _too_slow(f"the body did not arrive within {JSON_S:g} s; send it at once") from None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        chunks = super().stream()
        if self._whole:
            async for chunk in chunks:
                yield chunk
            return
        loop = asyncio.get_running_loop()
        # Only the time in which we wait for the client counts.
        waited_s, received = 0.0, 0
        while True:
            allowed_s = BODY_S + received / MIN_BYTES_S - waited_s
            begin = loop.time()
            try:
                async with asyncio.timeout(min(STALL_S, allowed_s)):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if allowed_s >= STALL_S:
                    raise _too_slow(f"no data received for {STALL_S:g} s; the rest of the body is missing") from None
                rate = f"{received:,} bytes received in {waited_s + loop.time() - begin:.0f} s"
                raise _too_slow(f"the body arrives too slowly, {rate}; send at least {MIN_BYTES_S:,} bytes a second") from None
            waited_s += loop.time() - begin
            received += len(chunk)
            yield chunk


def _too_slow(detail: str) -> ProblemError:
    return ProblemError(408, detail, headers={"connection": "close"})
