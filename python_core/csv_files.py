"""CSV: header, separator, decimal mark and kind of time are found in the first lines; polars reads the rest."""

from __future__ import annotations

import csv
import io
import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from python_core import columns
from python_core.bars import COLUMNS
from python_core.columns import RawTable
from python_core.errors import BarsError, FileError
from python_core.timestamps import EPOCH

if TYPE_CHECKING:
    import polars

# A line this long is no line of bars, and polars needs minutes for one of gigabytes.
MAX_LINE_BYTES: Final = 1 << 16
# Lines before the header that are passed over, such as a title or the address of a source.
PREAMBLE_LINES: Final = 10
SAMPLE_LINES: Final = 200
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?(\.\d+)?")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_UNKNOWN_HINT: Final = "give CSV, Parquet or Arrow"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text is cut into cells."""

    start: int
    """Index of the first line of values."""
    separator: str
    titles: list[str]
    found: dict[str, int]
    """Positions of our columns; `clock`, too, where date and time of day are two columns."""


def read_table(name: str, data: bytes | mmap.mmap, handle: bytes | str, *, header: bool, compression: str = "") -> RawTable:
    """The six columns of a CSV file. `data` are its bytes; `handle`, which polars reads, is the same or a path."""
    head = bytes(data[:MAX_LINE_BYTES])
    end = "\r" if b"\n" not in head and b"\r" in head else "\n"
    _check_text(name, data, end.encode())
    lines = [line.rstrip("\r") for line in head.decode("utf-8-sig", "replace").split(end)]
    if len(data) > len(head):
        lines.pop()
    layout = _layout(name, lines) if header else _layout_without_header(name, lines)
    sample = [_cells(line, layout.separator) for line in lines[layout.start : layout.start + SAMPLE_LINES]]
    titles, found = layout.titles, layout.found
    for number, row in enumerate(sample, layout.start + 1):
        if any(cell.strip() for cell in row[len(titles) :]):
            raise _too_wide(name, number, len(titles))

    def cells(column: str) -> list[str]:
        return [cell for row in sample if len(row) > found[column] and (cell := row[found[column]].strip())]

    numbers = [cell for column in COLUMNS[1:] for cell in cells(column)]
    comma = layout.separator != "," and any(_DECIMAL_COMMA.fullmatch(cell) for cell in numbers) and not any("." in n for n in numbers)
    epoch = "clock" not in found and all(EPOCH.fullmatch(cell) for cell in cells("time"))
    # Empty cells may follow the named ones, where each line ends in a separator.
    width = max([len(titles), *map(len, sample)])
    # Elsewhere quotes are stripped with blanks: one that is never closed would swallow the rest of the file.
    sampled = lines[layout.start : layout.start + SAMPLE_LINES]
    quoted = any(line.count(layout.separator) >= len(row) > 0 for line, row in zip(sampled, sample, strict=True))
    options: dict[str, Any] = {
        "has_header": False,
        "skip_lines": layout.start,
        "separator": layout.separator,
        "eol_char": end,
        "quote_char": '"' if quoted else None,
        "decimal_comma": comma,
        "encoding": "utf8-lossy",
        "missing_columns": "insert",
        "n_rows": columns.MAX_ROWS + 1,
        "glob": False,
    }
    with columns.reading(name, "readable CSV"):
        import polars

        try:
            frame = _frame(handle, layout, width, epoch, options)
            # As text the cells that are no numbers can be named, and those in blanks or quotes read.
            if sum(frame.null_count().row(0)):
                frame = _frame(handle, layout, width, None, options)
        except polars.exceptions.ComputeError as error:
            if "more fields" in str(error) and (line := _wide_line(data, layout, width)):
                raise _too_wide(name, line, len(titles)) from None
            raise
    columns.check_rows(len(frame), name)
    if quoted and len(frame) != (ends := _line_ends(data, end.encode())) - layout.start:
        what = f"{ends - layout.start:,} lines hold {len(frame):,} rows"
        raise FileError(what, where=name, hint="close each quote in the line in which it opens", code="unclosed_quote")
    return RawTable(
        frame=frame,
        names={column: titles[found[column]] or column for column in COLUMNS},
        file=name,
        unit="line",
        first=layout.start + 1,
        format="csv",
        compression=compression,
        separator=layout.separator,
        decimal_mark="," if comma else ".",
        header=header,
    )


def _frame(handle: bytes | str, layout: Layout, width: int, epoch: bool | None, options: dict[str, Any]) -> polars.DataFrame:
    """The six columns: numbers as numbers and times as integers if `epoch`; all as text if it is None."""
    import polars

    found = {column: f"column_{position + 1}" for column, position in layout.found.items()}
    schema: dict[str, Any] = {f"column_{i + 1}": polars.String for i in range(width)}
    if epoch is not None:
        schema |= {found[column]: polars.Float64 for column in COLUMNS[1:]}
    if epoch:
        schema[found["time"]] = polars.Int64
    frame = polars.read_csv(handle, schema=schema, columns=list(found.values()), ignore_errors=epoch is not None, **options)
    frame = frame.select(polars.col(title).alias(column) for column, title in found.items())
    if "clock" in found:
        frame = frame.with_columns(time=polars.concat_str("time", "clock", separator=" ")).drop("clock")
    return frame


def _layout(name: str, lines: Sequence[str]) -> Layout:
    """The first line, and the separator, under which all six columns are named."""
    best = Layout(0, ",", [], {})
    for i, line in enumerate(lines[: PREAMBLE_LINES + 1]):
        for separator in ";\t|,":
            titles = [title.strip() for title in _cells(line, separator)]
            found = columns.find(titles)
            if all(column in found for column in COLUMNS):
                columns.check(titles, found, name)
                following = next((_cells(row, separator) for row in lines[i + 1 :] if row.strip()), [])
                plain = [columns.plain(title) for title in titles]
                clock = plain.index("time") if "date" in plain and "time" in plain else len(titles)
                if clock < len(following) and _CLOCK.fullmatch(following[clock].strip()):
                    found |= {"time": plain.index("date"), "clock": clock}
                return Layout(i + 1, separator, titles, found)
            if len(titles) > 1 and len(found) > len(best.found):
                best = Layout(i + 1, separator, titles, found)
    first = next((line for line in lines if line.strip()), "")
    if len(_cells(first, _separator(first))) >= len(COLUMNS) and not re.search("[A-Za-z]{2}", first):
        hint = f"add a header, or read with header=False if the columns are {', '.join(COLUMNS)}"
        raise FileError("line 1 holds values, not names of columns", where=name, hint=hint, code="no_header")
    if not best.found:
        raise FileError(f"no table of bars; it begins with {first[:40]!r}", where=name, hint=_UNKNOWN_HINT, code="unknown_format")
    columns.check(best.titles, best.found, name)
    return best


def _layout_without_header(name: str, lines: Sequence[str]) -> Layout:
    first = next((line for line in lines if line.strip()), "")
    separator = _separator(first)
    row = _cells(first, separator)
    if all(column in columns.find(row) for column in COLUMNS):
        raise FileError("line 1 holds the names of the columns", where=name, hint="read without header=False", code="header")
    clock = len(row) > len(COLUMNS) and _CLOCK.fullmatch(row[1].strip()) is not None
    titles = ["date", *COLUMNS] if clock else list(COLUMNS)
    if len(row) < len(titles):
        hint = f"without a header the columns are {', '.join(COLUMNS)}"
        raise BarsError(f"{len(row)} cells", where=f"{name}, line 1" if name else "line 1", hint=hint, code="missing_column")
    found = {column: titles.index(column) for column in COLUMNS} | ({"time": 0, "clock": 1} if clock else {})
    return Layout(0, separator, titles + [""] * (len(row) - len(titles)), found)


def _separator(line: str) -> str:
    return next((separator for separator in ";\t|" if line.count(separator) >= len(COLUMNS) - 1), ",")


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _check_text(name: str, data: bytes | mmap.mmap, end: bytes) -> None:
    if (at := data.find(b"\0")) >= 0:
        what = f"byte {at:,} is zero: it is binary, or a part was never written"
        raise FileError(what, where=name, hint=_UNKNOWN_HINT, code="unknown_format")
    for at in range(0, len(data) - MAX_LINE_BYTES, MAX_LINE_BYTES):
        if data.find(end, at, at + MAX_LINE_BYTES) < 0:
            what = f"no line ends in the {MAX_LINE_BYTES:,} bytes from byte {at:,} on"
            raise FileError(what, where=name, hint=_UNKNOWN_HINT, code="unknown_format")


def _line_ends(data: bytes | mmap.mmap, end: bytes) -> int:
    """Number of lines, the last one with or without an end."""
    step = 1 << 20
    return sum(data[at : at + step].count(end) for at in range(0, len(data), step)) + (data[-1:] != end)


def _wide_line(data: bytes | mmap.mmap, layout: Layout, width: int) -> int:
    """Number of the first line with more than `width` cells; 0 when it can't be told."""
    reader = data if isinstance(data, mmap.mmap) else io.BytesIO(data)
    separator = layout.separator.encode()
    lines = enumerate(iter(reader.readline, b""), 1)
    return next((number for number, line in lines if number > layout.start and line.count(separator) >= width), 0)


def _too_wide(name: str, line: int, expected: int) -> BarsError:
    place = f"{name}, line {line}" if name else f"line {line}"
    return BarsError("more cells than the header has names", where=place, hint=f"give {expected} cells in each line", code="ragged_line")
