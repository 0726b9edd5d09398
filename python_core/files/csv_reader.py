"""CSV: the header, separator, decimal mark and kind of times are detected in the first lines; polars reads the rest."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from python_core.data.columns import COLUMNS
from python_core.errors import BarsError, FileError
from python_core.files import headers
from python_core.files.headers import RawTable
from python_core.files.timestamps import EPOCH

if TYPE_CHECKING:
    import polars

# No line of bars is this long, and polars takes minutes for one of gigabytes.
MAX_LINE_BYTES: Final = 1 << 16
# Read at a time: enough to keep all cores busy, and little memory.
BLOCK_BYTES: Final = 16 << 20
# Lines that may come before the header, such as a title or the address of a source.
PREAMBLE_LINES: Final = 10
SAMPLE_LINES: Final = 200
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?(\.\d+)?")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_UNKNOWN_HINT: Final = "use CSV, JSON lines, Parquet or Arrow"


class Layout(msgspec.Struct, frozen=True):
    """How lines are split into cells."""

    start: int
    """Index of the first line of values."""
    separator: str
    titles: list[str]
    positions: dict[str, int]
    """Positions of our columns, and of `clock` if date and time of day are two columns."""


def read_blocks(name: str, file: BinaryIO, *, header: bool, compression: str = "", columns: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    """The given columns of a CSV file, in blocks of tens of thousands of lines; `file` is at its first byte."""
    head = file.read(MAX_LINE_BYTES)
    end = "\r" if b"\n" not in head and b"\r" in head else "\n"
    rest = file.read(BLOCK_BYTES)
    dialect = _detect(name, head, end, complete=not rest, header=header, compression=compression, columns=columns)
    line, at = 1, 0
    for block in lines_of(file, head + rest, end.encode(), name):
        lines = count_lines(block, end.encode())
        yield dialect.read(block, line, at, lines)
        line, at = line + lines, at + len(block)


def lines_of(file: BinaryIO, begun: bytes, end: bytes, name: str) -> Iterator[bytes]:
    """A text in blocks of complete lines; `begun` is the part that was already read."""
    rest = begun
    while more := file.read(BLOCK_BYTES):
        if not (cut := rest.rfind(end) + 1):
            raise _endless_line(name, 0)
        yield rest[:cut]
        rest = rest[cut:] + more
    yield rest


class _Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How the blocks of a file are parsed."""

    name: str
    layout: Layout
    end: str
    width: int
    epoch: bool
    comma: bool
    quoted: bool
    compression: str
    header: bool
    columns: Sequence[str]

    def read(self, block: bytes, line: int, at: int, lines: int) -> RawTable:
        """The cells of a block that starts at byte `at` of the file, in line `line`."""
        _check_text(self.name, block, self.end.encode(), at)
        layout = self.layout
        skipped = layout.start if line == 1 else 0
        options: dict[str, Any] = {
            "has_header": False,
            "skip_lines": skipped,
            "separator": layout.separator,
            "eol_char": self.end,
            "quote_char": '"' if self.quoted else None,
            "decimal_comma": self.comma,
            "encoding": "utf8-lossy",
            "missing_columns": "insert",
            "n_rows": lines,
            "glob": False,
        }
        with headers.translate_errors(self.name, "readable CSV"):
            import polars

            try:
                frame = _frame(block, layout, self.columns, self.width, self.epoch, options)
                # Read as text, invalid cells can be shown in messages, and numbers in blanks or quotes be parsed.
                if sum(frame.null_count().row(0)):
                    frame = _frame(block, layout, self.columns, self.width, None, options)
            except polars.exceptions.NoDataError:
                frame = polars.DataFrame(schema=dict.fromkeys(self.columns, polars.String))
            except polars.exceptions.ComputeError as error:
                if "more fields" in str(error) and (wide := _wide_line(block, skipped, layout.separator, self.width)):
                    raise _too_wide(self.name, line - 1 + wide, len(layout.titles)) from None
                raise
        if self.quoted and len(frame) != lines - skipped:
            what = f"{lines - skipped:,} lines hold {len(frame):,} rows"
            raise FileError(what, where=self.name, hint="close each quote in the line where it opens", code="unclosed_quote")
        return RawTable(
            frame=frame,
            names={column: layout.titles[layout.positions[column]] or column for column in self.columns},
            file=self.name,
            unit="line",
            first=line + skipped,
            format="csv",
            compression=self.compression,
            separator=layout.separator,
            decimal_mark="," if self.comma else ".",
            header=self.header,
        )


def _detect(name: str, head: bytes, end: str, *, complete: bool, header: bool, compression: str, columns: Sequence[str]) -> _Dialect:
    """Detect the dialect from the first lines, which are the `complete` file or end in the middle of a line."""
    _check_text(name, head, end.encode(), 0)
    lines = [line.rstrip("\r") for line in head.decode("utf-8-sig", "replace").split(end)]
    if not complete:
        lines.pop()
    layout = _layout(name, lines, columns) if header else _layout_without_header(name, lines)
    sampled = lines[layout.start : layout.start + SAMPLE_LINES]
    sample = [_cells(line, layout.separator) for line in sampled]
    titles, positions = layout.titles, layout.positions
    for number, row in enumerate(sample, layout.start + 1):
        if any(cell.strip() for cell in row[len(titles) :]):
            raise _too_wide(name, number, len(titles))

    def cells(column: str) -> list[str]:
        return [cell for row in sample if len(row) > positions[column] and (cell := row[positions[column]].strip())]

    numbers = [cell for column in columns[1:] for cell in cells(column)]
    return _Dialect(
        name=name,
        layout=layout,
        end=end,
        # Empty cells may follow the named ones if each line ends in a separator.
        width=max([len(titles), *map(len, sample)]),
        epoch="clock" not in positions and all(EPOCH.fullmatch(cell) for cell in cells("time")),
        comma=layout.separator != "," and any(_DECIMAL_COMMA.fullmatch(cell) for cell in numbers) and not any("." in n for n in numbers),
        # If not, quotes are stripped like blanks: an unclosed one would swallow the rest of the file.
        quoted=any(line.count(layout.separator) >= len(row) > 0 for line, row in zip(sampled, sample, strict=True)),
        compression=compression,
        header=header,
        columns=columns,
    )


def _frame(
    block: bytes, layout: Layout, columns: Sequence[str], width: int, epoch: bool | None, options: dict[str, Any]
) -> polars.DataFrame:
    """The columns: numbers as floats, and times as integers if `epoch`; all as text if it is None."""
    import polars

    sources = {column: f"column_{position + 1}" for column, position in layout.positions.items()}
    schema: dict[str, Any] = {f"column_{i + 1}": polars.String for i in range(width)}
    if epoch is not None:
        schema |= {sources[column]: polars.Float64 for column in columns[1:]}
    if epoch:
        schema[sources["time"]] = polars.Int64
    frame = polars.read_csv(block, schema=schema, columns=list(sources.values()), ignore_errors=epoch is not None, **options)
    frame = frame.select(polars.col(title).alias(column) for column, title in sources.items())
    if "clock" in sources:
        frame = frame.with_columns(time=polars.concat_str("time", "clock", separator=" ")).drop("clock")
    return frame


def _layout(name: str, lines: Sequence[str], columns: Sequence[str]) -> Layout:
    """The header line and separator for which all columns are found."""
    best = Layout(0, ",", [], {})
    for i, line in enumerate(lines[: PREAMBLE_LINES + 1]):
        for separator in ";\t|,":
            titles = [title.strip() for title in _cells(line, separator)]
            positions = headers.find(titles, columns)
            if all(column in positions for column in columns):
                headers.check(titles, positions, name, columns)
                following = next((_cells(row, separator) for row in lines[i + 1 :] if row.strip()), [])
                plain = [headers.normalize(title) for title in titles]
                clock = plain.index("time") if "date" in plain and "time" in plain else len(titles)
                if clock < len(following) and _CLOCK.fullmatch(following[clock].strip()):
                    positions |= {"time": plain.index("date"), "clock": clock}
                return Layout(i + 1, separator, titles, positions)
            if len(titles) > 1 and len(positions) > len(best.positions):
                best = Layout(i + 1, separator, titles, positions)
    first = next((line for line in lines if line.strip()), "")
    if len(_cells(first, _separator(first))) >= len(COLUMNS) and not re.search("[A-Za-z]{2}", first):
        hint = f"add a header line, or read with header=False if the columns are {', '.join(COLUMNS)}"
        raise FileError("line 1 holds values, not column names", where=name, hint=hint, code="no_header")
    if not best.positions:
        raise FileError(f"not a table of bars; the file starts with {first[:40]!r}", where=name, hint=_UNKNOWN_HINT, code="unknown_format")
    headers.check(best.titles, best.positions, name, columns)
    return best


def _layout_without_header(name: str, lines: Sequence[str]) -> Layout:
    first = next((line for line in lines if line.strip()), "")
    separator = _separator(first)
    row = _cells(first, separator)
    if all(column in headers.find(row) for column in COLUMNS):
        raise FileError("line 1 holds column names", where=name, hint="read without header=False", code="header")
    clock = len(row) > len(COLUMNS) and _CLOCK.fullmatch(row[1].strip()) is not None
    titles = ["date", *COLUMNS] if clock else list(COLUMNS)
    if len(row) < len(titles):
        hint = f"without a header the columns are {', '.join(COLUMNS)}"
        raise BarsError(f"{len(row)} cells", where=f"{name}, line 1" if name else "line 1", hint=hint, code="missing_column")
    positions = {column: titles.index(column) for column in COLUMNS} | ({"time": 0, "clock": 1} if clock else {})
    return Layout(0, separator, titles + [""] * (len(row) - len(titles)), positions)


def _separator(line: str) -> str:
    return next((separator for separator in ";\t|" if line.count(separator) >= len(COLUMNS) - 1), ",")


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def _check_text(name: str, data: bytes, end: bytes, base: int) -> None:
    if (at := data.find(b"\0")) >= 0:
        what = f"byte {base + at:,} is zero: the file is binary, or part of it was never written"
        raise FileError(what, where=name, hint=_UNKNOWN_HINT, code="unknown_format")
    for at in range(0, len(data) - MAX_LINE_BYTES, MAX_LINE_BYTES):
        if data.find(end, at, at + MAX_LINE_BYTES) < 0:
            raise _endless_line(name, base + at)


def _endless_line(name: str, at: int) -> FileError:
    what = f"no line ends within {MAX_LINE_BYTES:,} bytes of byte {at:,}"
    return FileError(what, where=name, hint=_UNKNOWN_HINT, code="unknown_format")


def count_lines(data: bytes, end: bytes) -> int:
    """Number of lines, counting a last one without a line end."""
    return data.count(end) + (not data.endswith(end))


def _wide_line(data: bytes, skipped: int, separator: str, width: int) -> int:
    """Number of the first line with more than `width` cells; 0 if none is found."""
    lines = enumerate(io.BytesIO(data), 1)
    return next((number for number, line in lines if number > skipped and line.count(separator.encode()) >= width), 0)


def _too_wide(name: str, line: int, expected: int) -> BarsError:
    place = f"{name}, line {line}" if name else f"line {line}"
    return BarsError("more cells than the header has names", where=place, hint=f"each line must have {expected} cells", code="ragged_line")
