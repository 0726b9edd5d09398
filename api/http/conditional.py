"""Entity tags, for clients that ask whether something has changed, and how long they may keep it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response
from litestar.openapi.datastructures import ResponseSpec

from api.http.locations import parameters
from api.http.problems import FieldError, invalid_fields
from python_core import __version__

T = TypeVar("T")


def conditional(request: Request[Any, Any, Any], value: T, *, immutable: bool = False) -> Response[T]:
    """200 with `value` and its entity tag, or 304 if `If-None-Match` lists that tag; `immutable` if the value never changes."""
    body: Any = msgspec.json.encode(value)
    headers = cache_headers(entity_tag(body), immutable=immutable)
    return unchanged(request, headers) or Response(body, media_type=MediaType.JSON, headers=headers)


async def conditional_on(
    request: Request[Any, Any, Any], content: str, build: Callable[[], Awaitable[T]], *, immutable: bool = False
) -> Response[T]:
    """As `conditional`, but the tag is that of `content`, a text that names what the value is made of, so that a 304 needs no value."""
    headers = cache_headers(entity_tag_of(request, content), immutable=immutable)
    if (response := unchanged(request, headers)) is not None:
        return response
    body: Any = msgspec.json.encode(await build())
    return Response(body, media_type=MediaType.JSON, headers=headers)


def entity_tag(body: bytes) -> str:
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def entity_tag_of(request: Request[Any, Any, Any], content: str) -> str:
    """The entity tag of what this version of the service responds to a request about `content`."""
    return entity_tag(f"{__version__} {request.scope['path']}?{request.scope['query_string'].decode()} {content}".encode())


def cache_headers(tag: str, *, immutable: bool = False, negotiated: bool = False) -> dict[str, str]:
    """Headers of a response with a tag; `negotiated` if its format depends on `Accept`."""
    vary = ["Accept"] if negotiated else []
    if not immutable:
        return {"etag": tag, "cache-control": "no-cache", **({"vary": "Accept"} if vary else {})}
    # A key may see what another one doesn't, and clients share a cache among keys.
    return {
        "etag": tag,
        "cache-control": "private, max-age=31536000, immutable",
        "vary": ", ".join([*vary, "Authorization", "Barstorm-Owner"]),
    }


def unchanged(request: Request[Any, Any, Any], headers: dict[str, str]) -> Response[Any] | None:
    """The 304 response, if the client has what these headers belong to; its tag is weak if the client has it compressed."""
    if_none_match = request.headers.get("if-none-match", "")
    if not _lists(if_none_match, headers["etag"]):
        return None
    weak = f"W/{headers['etag']}"
    return Response(None, status_code=304, headers=headers | ({"etag": weak} if weak in if_none_match else {}))


def matches(if_match: str, value: object) -> bool:
    """Whether an `If-Match` header lists the entity tag that `conditional` gives `value`."""
    return _lists(if_match, entity_tag(msgspec.json.encode(value)))


def check_if_match(request: Request[Any, Any, Any]) -> None:
    """
    Raises:
        ProblemError: the operation of this request, which has an `If-Match`, doesn't compare entity tags.
    """
    if "header.If-Match" not in {place for place, _ in parameters(request.route_handler).values()}:
        message, hint = "this operation doesn't compare entity tags", "leave the header out"
        raise invalid_fields(FieldError(path="header.If-Match", message=message, hint=hint))


def not_modified() -> dict[int, ResponseSpec]:
    """The 304 response of an operation with entity tags, for the OpenAPI document."""
    return {304: ResponseSpec(None, description="Not modified: `If-None-Match` lists the current entity tag.", generate_examples=False)}


def _lists(header: str, tag: str) -> bool:
    # A body that was compressed on its way has a weak tag.
    return header.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in header.split(","))
