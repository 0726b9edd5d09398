"""Compressed responses: zstd, brotli or gzip, as `Accept-Encoding` prefers."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

import brotli
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

from api.http.weights import weights

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Compressor(Protocol):
    """Compresses a body in pieces; both methods return what is to be sent."""

    def compress(self, piece: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Brotli:
    """A compressor by brotli."""

    def __init__(self) -> None:
        self._compressor = brotli.Compressor(quality=1)

    def compress(self, piece: bytes, /) -> bytes:
        compressed: bytes = self._compressor.process(piece)
        return compressed

    def flush(self) -> bytes:
        rest: bytes = self._compressor.finish()
        return rest


# In the order in which they are preferred if a client has no preference. At level 1 they take 1 to 2 times as long as writing the JSON, and leave
# 22 to 26 % of it; higher levels take up to 7 times as long for 20 %.
ENCODINGS: Final[dict[str, Callable[[], Compressor]]] = {
    "zstd": lambda: zstd.ZstdCompressor(level=1),
    "br": Brotli,
    "gzip": lambda: zlib.compressobj(level=1, wbits=31),
}
# The key of the `Vary` header in the state of a request. It is added last, as Litestar's middleware for CORS replaces it.
VARY: Final = "vary"
# Smaller bodies fit into one packet as they are.
MIN_BYTES: Final = 1_000
# Larger pieces are compressed in a thread, so that other requests go on.
MAX_INLINE_BYTES: Final = 1 << 16
# What is compressed already, downloads whose progress a client shows, and streams whose events must not wait in a compressor.
_AS_THEY_ARE: Final = ("application/vnd.apache.parquet", "application/octet-stream", "text/event-stream", "image/")


def compressed(app: ASGIApp) -> ASGIApp:
    """Middleware that compresses the bodies of responses. A compressed body has a weak entity tag, as its bytes depend on the encoding."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding").decode("latin-1")
            encoding = preferred(accepted)
            if encoding or scope["litestar_app"].cors_config:
                send = _compressing(scope, send, encoding)
        await app(scope, receive, send)

    return call


@lru_cache(maxsize=1_000)
def preferred(accept_encoding: str) -> str | None:
    """The encoding that the header prefers, or None for the body as it is."""
    accepted = weights(accept_encoding)
    of_all = accepted.get("*", 0.0)
    best = max(ENCODINGS, key=lambda encoding: accepted.get(encoding, of_all))
    weight = accepted.get(best, of_all)
    return best if weight > 0 and weight >= accepted.get("identity", 0.0) else None


def _compressing(scope: Scope, send: Send, encoding: str | None) -> Send:
    start: HTTPResponseStartEvent | None = None
    compressor: Compressor | None = None

    async def send_compressed(message: Message) -> None:
        nonlocal start, compressor
        if message["type"] == "http.response.start":
            start = message  # sent with the first piece of the body, which tells whether the rest follows
        elif message["type"] != "http.response.body":
            await send(message)
        else:
            body, more_follows = message["body"], message.get("more_body", False)
            if start is not None:
                headers = MutableScopeHeaders(start)
                scope["state"][VARY] = headers.get("vary", "").encode()
                if encoding and (more_follows or len(body) >= MIN_BYTES) and not headers.get("content-type", "").startswith(_AS_THEY_ARE):
                    compressor = ENCODINGS[encoding]()
                    body = await _compress(compressor, body, more_follows)
                    headers["content-encoding"] = encoding
                    if (tag := headers.get("etag")) is not None and not tag.startswith("W/"):
                        headers["etag"] = f"W/{tag}"
                    if more_follows:
                        headers.pop("content-length", None)
                    else:
                        headers["content-length"] = str(len(body))
                await send(start)
                start = None
            elif compressor is not None:
                body = await _compress(compressor, body, more_follows)
            await send({"type": "http.response.body", "body": body, "more_body": more_follows})

    return send_compressed


async def _compress(compressor: Compressor, piece: bytes, more_follows: bool) -> bytes:
    def compress() -> bytes:
        return compressor.compress(piece) + (b"" if more_follows else compressor.flush())

    return await asyncio.to_thread(compress) if len(piece) > MAX_INLINE_BYTES else compress()
