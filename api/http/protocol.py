"""The HTTP protocol of the server, with limits for slow and greedy clients, which uvicorn does not have.

A client has `HEAD_S` to send a request's head and `WRITE_S`, or longer for a large response, to read the response. A body that nobody waits
for, because the response is there, has `HEAD_S`, too; one that a handler reads has the limits of `requests`. Idle connections are closed.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from enum import IntEnum
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.problems import MAX_DETAIL, MEDIA_TYPE, ProblemError, to_problem

# Request line and headers, or the trailers of a body.
MAX_HEAD_BYTES: Final = 32_768
HEAD_S: Final = 5.0
WRITE_S: Final = 30.0
MIN_WRITE_BYTES_S: Final = 10_000
# How long a refused client may take to read why. What it sends meanwhile is discarded; closing at once would discard the response.
LINGER_S: Final = 3.0
# How often a connection is checked. One timer per connection is cheaper than one per request.
CHECK_S: Final = 1.0
# Keys in the state of a request: that its response has no end, and what to call when the server stops.
ENDLESS: Final = "endless"
ON_SHUTDOWN: Final = "on_shutdown"
# Headers of all responses, for browsers.
FOR_BROWSERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
STRICT: Final = b"default-src 'none'; frame-ancestors 'none'"
_NO_LINGER: Final = pack("ii", 1, 0)


class Awaited(IntEnum):
    """The part of a request that the client has begun to send."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    # When the client must have sent what the server waits for, and read what it was sent.
    _receive_by: float | None = None
    _sent_by: float | None = None
    _awaited = Awaited.NOTHING
    # Bytes received since the parser last finished a part of a request: it may hold this much in memory.
    _unparsed_bytes = 0
    _refused = False
    _timer: TimerHandle | None = None
    url = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._receive_by = self.loop.time() + HEAD_S
        self._timer = self.loop.call_later(CHECK_S, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self._refused:
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._awaited = Awaited.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._head_bytes() > MAX_HEAD_BYTES:
            raise _HeadTooLarge
        self._awaited = Awaited.BODY
        self._unparsed_bytes = 0
        self._receive_by = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._awaited = Awaited.NOTHING
        self._unparsed_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for whatever the parser can't read, and for `_HeadTooLarge`."""
        if self._awaited == Awaited.HEAD and self._head_bytes() > MAX_HEAD_BYTES:
            self._refuse_head()
        else:
            self._refuse(ProblemError(400, "the request is not valid HTTP/1.1", code="invalid_http"))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse_head(self) -> None:
        limit = f"the limit of {MAX_HEAD_BYTES:,} bytes"
        if len(self.url) > MAX_HEAD_BYTES:
            self._refuse(ProblemError(414, f"the URL exceeds {limit}"))
        else:
            self._refuse(ProblemError(431, f"the request line and headers exceed {limit} together"))

    def _refuse(self, error: ProblemError) -> None:
        """Answer with a problem and end the connection."""
        self._refused = True
        if (cycle := self.cycle) is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline:
                self.transport.abort()  # an answer would end up inside another one
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self._unset_keepalive_if_required()
        status = HTTPStatus(error.status)
        body = msgspec.json.encode(to_problem(error, quote(self.url.partition(b"?")[0][:MAX_DETAIL]) or "/"))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-request-id", str(uuid4()).encode()),
            (b"content-security-policy", STRICT),
            *FOR_BROWSERS,
        ]
        lines = [b"HTTP/1.1 %d %b" % (status, status.phrase.encode()), *(b"%b: %b" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._receive_by = self.loop.time() + LINGER_S

    def _check(self) -> None:
        now = self.loop.time()
        if self._is_stuck(now):
            # The kernel must drop its part of the response, too.
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
            self.transport.abort()
            return
        # uvicorn has a timer of its own for connections on which a response was the last thing to happen.
        answered = self.cycle is None or self.cycle.response_complete or self._refused
        if answered and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            if self._receive_by is None:
                self._receive_by = now + HEAD_S
            elif now > self._receive_by:
                self._end_waiting()
        self._timer = self.loop.call_later(CHECK_S, self._check)

    def _is_stuck(self, now: float) -> bool:
        """Whether the client does not read its response, or reads it too slowly."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._sent_by = None
        elif self._sent_by is None:
            self._sent_by = now + WRITE_S + unsent / MIN_WRITE_BYTES_S
        return self._sent_by is not None and now > self._sent_by

    def pause_writing(self) -> None:
        self._sent_by = None  # much more has been added
        super().pause_writing()

    def resume_writing(self) -> None:
        self._sent_by = None  # most of it has been sent
        super().resume_writing()

    def shutdown(self) -> None:
        state = {} if self.cycle is None else self.cycle.scope["state"]
        if state.get(ENDLESS):
            self.transport.close()  # it would only end with the grace period
            return
        if (call := state.get(ON_SHUTDOWN)) is not None:
            call()
        super().shutdown()

    def _end_waiting(self) -> None:
        if self._refused:
            self.transport.abort()
        elif self._awaited == Awaited.HEAD:
            detail = f"the request line and headers did not arrive within {HEAD_S:g} s; send them at once"
            self._refuse(ProblemError(408, detail))
        else:
            self.transport.close()


class _HeadTooLarge(Exception):
    """Ends the parser; `send_400_response` answers."""
