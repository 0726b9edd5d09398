"""Headers that every response has: for browsers, for the logs of clients, and the limit of requests."""

from __future__ import annotations

import os
import re
from typing import Final

from litestar.types import Message, Scope

from api.auth.guard import ALLOWANCE
from api.http.compression import VARY
from api.http.idempotency import HEADER, REPLAYS
from api.http.protocol import FOR_BROWSERS, STRICT

REQUEST_ID: Final = "request_id"
_VALID_ID: Final = re.compile(r"[\w.:-]{1,100}", re.ASCII)
# The page of the API has scripts and styles of its own.
_PAGE: Final = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)


def request_id(scope: Scope) -> str:
    """The id of the request: that which the client sent, or a new one."""
    known: str | None = scope["state"].get(REQUEST_ID)
    if known is None:
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        known = scope["state"][REQUEST_ID] = given if _VALID_ID.fullmatch(given) else os.urandom(16).hex()
    return known


async def add_headers(message: Message, scope: Scope) -> None:
    """Add the headers to the start of a response."""
    if message["type"] != "http.response.start":
        return
    path = scope["path"]
    headers = [
        *FOR_BROWSERS,
        (b"content-security-policy", _PAGE if path == "/schema" or path.startswith("/schema/") else STRICT),
        (b"x-request-id", request_id(scope).encode()),
    ]
    if (allowance := scope["state"].get(ALLOWANCE)) is not None:
        # As in draft-ietf-httpapi-ratelimit-headers.
        headers += [
            (b"ratelimit-policy", b'"requests";q=%d;w=%d' % (allowance.limit, allowance.window_s)),
            (b"ratelimit", b'"requests";r=%d;t=%d' % (allowance.remaining, allowance.reset_s)),
        ]
    if (replays := scope["state"].get(REPLAYS)) is not None and replays.count:
        headers.append((HEADER.lower().encode(), b"true"))
    others = [header for header in message["headers"] if header[0].lower() != b"vary"]
    if scope["litestar_app"].cors_config:  # Litestar has put `Origin` in the place of what the handler says
        vary = [scope["state"].get(VARY, b""), b"Accept-Encoding", b"Origin"]
    else:
        vary = [*(value for name, value in message["headers"] if name.lower() == b"vary"), b"Accept-Encoding"]
    message["headers"] = [*others, *headers, (b"vary", b", ".join(filter(None, vary)))]
