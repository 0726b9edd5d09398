"""JSON lines: one object on each line, whose keys are the column names; polars reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, FileError
from python_core.files import headers
from python_core.files.csv_reader import MAX_LINE_BYTES, count_lines, lines_of
from python_core.files.headers import RawTable

if TYPE_CHECKING:
    import polars


def read_blocks(name: str, file: BinaryIO, *, compression: str = "", columns: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    """The given columns, in blocks of tens of thousands of lines; `file` is at its first byte."""
    head = file.read(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf")
    first = _object(head.lstrip().split(b"\n", 1)[0])
    if first is None:
        hint = "use JSON lines (one object on each line), CSV, Parquet or Arrow"
        raise FileError("the first line is not a JSON object", where=name, hint=hint, code="unknown_format")
    titles = list(first)
    positions = headers.find(titles, columns)
    headers.check(titles, positions, name, columns)
    names = {column: titles[positions[column]] for column in columns}
    line = 1
    for block in lines_of(file, head, b"\n", name):
        with headers.translate_errors(name, "readable JSON lines"):
            frame = _frame(block, names, first, line, name)
        yield RawTable(frame=frame, names=names, file=name, unit="line", first=line, format="json lines", compression=compression)
        line += count_lines(block, b"\n")


def _frame(block: bytes, names: dict[str, str], first: dict[str, Any], line: int, name: str) -> polars.DataFrame:
    import polars

    texts = [title for title in names.values() if isinstance(first[title], str)]
    kinds: dict[str, Any] = {title: polars.String if title in texts else polars.Float64 for title in names.values()}
    if isinstance(first[names["time"]], int):
        kinds[names["time"]] = polars.Int64
    try:
        frame = polars.read_ndjson(block, schema=kinds)
        # polars skips blank lines, which would shift the line numbers.
        if len(frame) == count_lines(block, b"\n"):
            return frame.select(polars.col(title).alias(column) for column, title in names.items())
    except polars.exceptions.PolarsError:
        pass
    return _parse_lines(block, names, line, name)


def _parse_lines(block: bytes, names: dict[str, str], line: int, name: str) -> polars.DataFrame:
    """The cells as text, for lines that differ in form; BarsError names a line that is not an object."""
    import polars

    cells: dict[str, list[str | None]] = {column: [] for column in names}
    for number, text in enumerate(block.split(b"\n")[: count_lines(block, b"\n")], line):
        values = _object(text) if text.strip() else {}
        if values is None:
            place = f"{name}, line {number}" if name else f"line {number}"
            raise BarsError(
                f"{text[:40].decode(errors='replace')!r} is not a JSON object",
                where=place,
                hint="put one object on each line",
                code="ragged_line",
            )
        for column, title in names.items():
            value = values.get(title)
            cells[column].append(None if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return polars.DataFrame(cells, schema=dict.fromkeys(names, polars.String))


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
