"""Parameters and responses that several operations share: pages, and `Location` headers."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from litestar import MediaType, Response
from litestar.datastructures import ResponseHeader
from litestar.params import QueryParameter

from workers.model import cursors

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="Maximum number of items.")]
NamePrefix = Annotated[str, QueryParameter(max_length=120, description="Only those whose names begin with this text, in the same case.")]
Cursor = Annotated[
    str,
    QueryParameter(
        description="`next_cursor` of the previous page of the same list; omit it for the first page.",
        schema_extra={"maxLength": cursors.MAX_LENGTH},  # whatever is longer is not a cursor, which has an error of its own
    ),
]


def created(location: str, value: T) -> Response[T]:
    return Response(value, status_code=201, headers={"location": location})


def accepted(location: str, value: T, *, done: bool = False) -> Response[T]:
    body: Any = msgspec.json.encode(value)
    return Response(body, media_type=MediaType.JSON, status_code=200 if done else 202, headers={"location": location})


def location_header() -> ResponseHeader:
    """The `Location` header of an operation, for the OpenAPI document."""
    return ResponseHeader(name="Location", value="", description="Path of the new resource.", required=True, documentation_only=True)
