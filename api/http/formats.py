"""The format of a response: JSON, or a table as CSV, Parquet or Arrow."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from api.http import rows
from api.http.conditional import cache_headers, entity_tag, entity_tag_of, unchanged
from api.http.disconnects import while_connected
from api.http.problems import ProblemError
from api.http.weights import weights
from workers import Service
from workers.data import table_files
from workers.data.table_files import TableFormat
from workers.service.operations import OPERATIONS

if TYPE_CHECKING:
    import polars

T = TypeVar("T")
AnswerFormat = Literal["json", TableFormat]
# In the order in which they are preferred if a client has no preference.
MEDIA_TYPES: Final[dict[AnswerFormat, str]] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
CHUNK_BYTES: Final = 1 << 18

FormatParameter = Annotated[
    AnswerFormat | None,
    QueryParameter(name="format", description="Format of the response; default: the one that `Accept` prefers, or JSON."),
]


def provide_format(request: Request[Any, Any, Any], service: NamedDependency[Service], wanted: FormatParameter = None) -> AnswerFormat:
    """The format that a request wants; `service` is unused, see `provide_run_options`."""
    return wanted or negotiate(request.headers.get("accept", ""))


def exported_by(operation: str) -> str:
    """The text of the operation that a request carries out in other formats than JSON."""
    return f"In other formats than JSON: {OPERATIONS[operation].description}"


def negotiate(accept: str) -> AnswerFormat:
    """The format that an `Accept` header prefers: the highest weight, then the one that it names most exactly.

    Raises:
        ProblemError: it accepts none of them.
    """
    accepted = weights(accept) or {"*/*": 1.0}
    best: tuple[float, int] = (0.0, 0)
    chosen: AnswerFormat | None = None
    for name, media_type in MEDIA_TYPES.items():
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        exactness, weight = next(((2 - i, accepted[each]) for i, each in enumerate(ranges) if each in accepted), (0, 0.0))
        if weight > 0 and (weight, exactness) > best:
            best, chosen = (weight, exactness), name
    if chosen is None:
        available = ", ".join(MEDIA_TYPES.values())
        raise ProblemError(406, f"{accept!r:.200} accepts no available format; available are {available}, or `?format=`")
    return chosen


async def listed(
    request: Request[Any, Any, Any],
    answer_format: AnswerFormat,
    page: T,
    item_type: type[msgspec.Struct] | None = None,
    fields: Sequence[str] = (),
) -> Response[T]:
    """A page: as JSON, or its items as a table. Items that are dictionaries have these `fields` of `item_type`."""
    body: Any = msgspec.json.encode(page)
    headers = cache_headers(entity_tag(body + answer_format.encode()), negotiated=True)
    if (response := unchanged(request, headers)) is not None:
        return response
    if answer_format == "json":
        return Response(body, media_type=MEDIA_TYPES["json"], headers=headers)
    return await _page_response(request, answer_format, page, partial(rows.to_table, item_type=item_type, fields=fields), headers)


async def paged(
    request: Request[Any, Any, Any],
    answer_format: AnswerFormat,
    content: str,
    build: Callable[[], Awaitable[T]],
    to_table: Callable[[T], polars.DataFrame] = rows.to_table,
    *,
    immutable: bool,
) -> Response[T]:
    """As `listed`, but the tag is that of `content`, which names what the page is made of; if it is empty, `build` says what is wrong."""
    headers = cache_headers(entity_tag_of(request, f"{content} {answer_format}"), immutable=immutable, negotiated=True)
    if content and (response := unchanged(request, headers)) is not None:
        return response
    return await _page_response(request, answer_format, await build(), to_table, headers)


async def exported(
    request: Request[Any, Any, Any],
    table_format: TableFormat,
    content: str,
    write: Callable[[BinaryIO, TableFormat], Awaitable[None]],
    *,
    immutable: bool,
) -> Response[Any]:
    """As `paged`, but all of it, which may be large: a file that `write` makes."""
    headers = cache_headers(entity_tag_of(request, f"{content} {table_format}"), immutable=immutable, negotiated=True)
    if content and (response := unchanged(request, headers)) is not None:
        return response
    headers |= _disposition(request, table_format)
    return await file_response(request, lambda file: write(file, table_format), MEDIA_TYPES[table_format], headers)


async def _page_response(
    request: Request[Any, Any, Any],
    answer_format: AnswerFormat,
    page: T,
    to_table: Callable[[T], polars.DataFrame],
    headers: dict[str, str],
) -> Response[T]:
    body: Any
    if answer_format == "json":
        body = msgspec.json.encode(page)
    else:
        file, table_format = io.BytesIO(), answer_format
        await asyncio.to_thread(lambda: table_files.write(to_table(page), table_format, file))
        body = file.getvalue()
        headers |= _disposition(request, table_format)
        if (cursor := getattr(page, "next_cursor", None)) is not None:
            others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
            query = urlencode([*others, ("cursor", cursor)])
            headers["link"] = f'<{quote(request.scope["path"])}?{query}>; rel="next"'
    return Response(body, media_type=MEDIA_TYPES[answer_format], headers=headers)


async def file_response(
    request: Request[Any, Any, Any], write: Callable[[BinaryIO], Awaitable[None]], media_type: str, headers: dict[str, str]
) -> Response[Any]:
    """A response with the file that `write` makes, streamed from the disk."""
    file = TemporaryFile()  # noqa: SIM115  # closed after the response
    try:
        await while_connected(request, write(file))
    except BaseException:
        file.close()
        raise
    size = {"content-length": str(os.fstat(file.fileno()).st_size)}
    return Stream(_chunks(file), media_type=media_type, headers=headers | size, background=BackgroundTask(file.close))


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _disposition(request: Request[Any, Any, Any], answer_format: AnswerFormat) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{request.scope["path"].rpartition("/")[2]}.{answer_format}"'}
