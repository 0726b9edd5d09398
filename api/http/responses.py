"""What answers have in common: pages, `Location`, and entity tags, so that a client that polls need not read the same twice."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, TypeVar, cast

import msgspec
from litestar import MediaType, Request, Response
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="At most so many items.")]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31 - 1, description="How many items to pass over.")]


def answer(request: Request[Any, Any, Any], value: T) -> Response[T]:
    """200 with `value` and its entity tag, or 304 when the client says that it has just that."""
    body = msgspec.json.encode(value)
    tag = _tag(body)
    headers = {"etag": tag, "cache-control": "no-cache"}
    if _names(request.headers.get("if-none-match", ""), tag):
        return Response(cast(T, None), status_code=304, headers=headers)
    return Response(cast(T, body), media_type=MediaType.JSON, headers=headers)


def created(location: str, value: T) -> Response[T]:
    return Response(value, status_code=201, headers={"location": location})


def matches(header: str, value: object) -> bool:
    """Whether an `If-Match` header names the tag that `answer` would give."""
    return _names(header, _tag(msgspec.json.encode(value)))


def location_header() -> ResponseHeader:
    """The `Location` of an operation, for its OpenAPI description."""
    return ResponseHeader(name="Location", value="", description="Where it is now.", documentation_only=True)


def not_modified() -> dict[int, ResponseSpec]:
    """The 304 of an operation that uses `answer`, for its OpenAPI description."""
    return {304: ResponseSpec(None, description="You have it already.", generate_examples=False)}


def _tag(body: bytes) -> str:
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def _names(header: str, tag: str) -> bool:
    # A proxy that compresses weakens the tag.
    return header.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in header.split(","))
