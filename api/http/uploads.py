"""Uploads, streamed to an unnamed temporary file that disappears with the request or the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from api.http.problems import ProblemError, too_large
from python_core.files.options import asker

MULTIPART: Final = "multipart/form-data"
OCTET_STREAM: Final = "application/octet-stream"
FILE_TYPES: Final = (
    OCTET_STREAM,
    "application/json",
    "text/csv",
    "text/tab-separated-values",
    "application/gzip",
    "application/zip",
    "application/x-ndjson",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
)
MAX_PARTS: Final = 20


@asynccontextmanager
async def uploaded_file(request: Request[Any, Any, Any], max_bytes: int) -> AsyncIterator[BinaryIO]:
    """The request's body, or the file of a multipart form, as a temporary file."""
    asker.set("http")
    content_type = request.content_type[0]
    if content_type not in (MULTIPART, *FILE_TYPES):
        received = f"not {content_type}" if content_type else "but the Content-Type header is missing"
        supported = ", ".join((MULTIPART, *FILE_TYPES))
        raise ProblemError(415, f"the content type must be one of {supported}, {received}", headers={"accept": supported})
    chunks = _limited(request, max_bytes)
    if content_type == MULTIPART:
        chunks = _form_file(chunks, request.content_type[1].get("boundary", ""))
    with TemporaryFile() as file:
        async with aclosing(chunks):
            async for chunk in chunks:
                file.write(chunk)
        if not file.tell():
            raise ProblemError(
                400, "the body has no file, or the file is empty; send a CSV, JSON, Parquet or Arrow file", code="empty_file"
            )
        file.seek(0)
        yield file


async def _limited(request: Request[Any, Any, Any], max_bytes: int) -> AsyncGenerator[bytes, None]:
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes)
    total = 0
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise too_large(max_bytes)
            yield chunk


async def _form_file(chunks: AsyncGenerator[bytes, None], boundary: str) -> AsyncGenerator[bytes, None]:
    # Litestar's own form parser holds text fields of any size in memory.
    found = False
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            async with aclosing(chunks):
                async for chunk in chunks:
                    for event in parser.parse(chunk):
                        if isinstance(event, MultipartSegment):
                            _check_part(event, found)
                            found = True
                        elif event:
                            yield bytes(event)
    except MultipartError as error:
        raise ProblemError(400, f"malformed multipart form: {error}", code="invalid_form") from error


def _check_part(part: MultipartSegment, has_file: bool) -> None:
    """
    Raises:
        ProblemError: the part is not the only file of its form.
    """
    if not part.filename:
        detail = f"the form has a field {part.name!r:.60}; send the file only, and options as query parameters"
    elif has_file:
        detail = f"the form has a second file, {part.filename!r:.60}; send each file in a request of its own"
    else:
        return
    raise ProblemError(400, detail, code="invalid_form")
