"""Uploaded files: streamed to a file without a name, which is gone when the request or the process is, however it ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

from litestar import Request
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from api.http.problems import ProblemError, too_large

FORM: Final = "multipart/form-data"
RAW: Final = (
    "application/octet-stream",
    "text/csv",
    "application/x-ndjson",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
)
MAX_PARTS: Final = 20


@asynccontextmanager
async def received(request: Request[Any, Any, Any], most_bytes: int) -> AsyncIterator[BinaryIO]:
    """The file that is the request's body, of at most so many bytes, or the first file of its form."""
    content_type = request.content_type[0]
    if content_type not in (FORM, *RAW):
        given = f"not {content_type}" if content_type else "but the header is missing"
        raise ProblemError(
            415, f"the content type must be {FORM} or one of {', '.join(RAW)}, {given}", headers={"accept": ", ".join((FORM, *RAW))}
        )
    chunks = _bounded(request, most_bytes)
    if content_type == FORM:
        chunks = _form_file(chunks, request.content_type[1].get("boundary", ""))
    with TemporaryFile() as file:
        async with aclosing(chunks):
            async for chunk in chunks:
                file.write(chunk)
        if not file.tell():
            raise ProblemError(
                400, "there is no file in the body, or it is empty; send a CSV, JSON lines, Parquet or Arrow file", code="empty_file"
            )
        file.seek(0)
        yield file


async def _bounded(request: Request[Any, Any, Any], most_bytes: int) -> AsyncGenerator[bytes, None]:
    if (request.content_length or 0) > most_bytes:
        raise too_large(most_bytes)
    total = 0
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if total > most_bytes:
                raise too_large(most_bytes)
            yield chunk


async def _form_file(chunks: AsyncGenerator[bytes, None], boundary: str) -> AsyncGenerator[bytes, None]:
    # Litestar's own forms keep text fields of any size in memory.
    wanted = found = False
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_PARTS) as parser:
            async with aclosing(chunks):
                async for chunk in chunks:
                    for event in parser.parse(chunk):
                        if isinstance(event, MultipartSegment):
                            wanted = bool(event.filename) and not found
                            found = found or wanted
                        elif event and wanted:
                            yield bytes(event)
    except MultipartError as error:
        raise ProblemError(400, f"the form is damaged: {error}", code="invalid_form") from error
