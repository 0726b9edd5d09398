"""Responses that several operations share: pages, `Location` headers, and entity tags for clients that poll."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from python_core import __version__

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="Maximum number of items.")]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31 - 1, description="Number of items to skip.")]
Cursor = Annotated[str, QueryParameter(max_length=200, description="`next_cursor` of the previous page; omit it for the first page.")]


def conditional(request: Request[Any, Any, Any], value: T) -> Response[T]:
    """200 with `value` and its entity tag, or 304 if `If-None-Match` lists that tag."""
    body = msgspec.json.encode(value)
    tag = _entity_tag(body)
    return _not_modified(request, tag) or _tagged(body, tag)


async def conditional_on(request: Request[Any, Any, Any], content: str, build: Callable[[], Awaitable[T]]) -> Response[T]:
    """As `conditional`, but the tag is that of `content`, a text that names what the value is made of, so that a 304 needs no value."""
    tag = _entity_tag(f"{__version__} {request.scope['path']}?{request.scope['query_string'].decode()} {content}".encode())
    return _not_modified(request, tag) or _tagged(msgspec.json.encode(await build()), tag)


def created(location: str, value: T) -> Response[T]:
    return Response(value, status_code=201, headers={"location": location})


def accepted(location: str, value: T, *, done: bool = False) -> Response[T]:
    return Response(value, status_code=200 if done else 202, headers={"location": location})


def matches(if_match: str, value: object) -> bool:
    """Whether an `If-Match` header lists the entity tag that `conditional` gives `value`."""
    return _lists(if_match, _entity_tag(msgspec.json.encode(value)))


def location_header() -> ResponseHeader:
    """The `Location` header of an operation, for the OpenAPI document."""
    return ResponseHeader(name="Location", value="", description="Path of the new resource.", documentation_only=True)


def not_modified() -> dict[int, ResponseSpec]:
    """The 304 response of an operation that uses `conditional`, for the OpenAPI document."""
    return {304: ResponseSpec(None, description="Not modified: `If-None-Match` lists the current entity tag.", generate_examples=False)}


def _not_modified(request: Request[Any, Any, Any], tag: str) -> Response[Any] | None:
    return Response(None, status_code=304, headers=_headers(tag)) if _lists(request.headers.get("if-none-match", ""), tag) else None


def _tagged(body: bytes, tag: str) -> Response[Any]:
    return Response(body, media_type=MediaType.JSON, headers=_headers(tag))


def _headers(tag: str) -> dict[str, str]:
    return {"etag": tag, "cache-control": "no-cache"}


def _entity_tag(body: bytes) -> str:
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def _lists(header: str, tag: str) -> bool:
    # A proxy that compresses the body weakens the tag.
    return header.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in header.split(","))
