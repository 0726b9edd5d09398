"""Reads market data files: CSV and JSON (plain, or in gzip, zstd, bzip2, xz or zip), Parquet and Arrow, recognized by content, never by name."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from python_core.data import calendars
from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.data.epoch import Moment
from python_core.errors import BarstormError, FileError
from python_core.files import headers
from python_core.files.cells import numbers
from python_core.files.cells.raw_table import RawTable
from python_core.files.cleaning import clean, read_numbers
from python_core.files.formats import compression, csv_reader, json_reader
from python_core.files.headers import translate_errors
from python_core.files.options import DEFAULT, EARLIEST_MS, Decimal, Policy, ReadOptions, Stamp, read_options
from python_core.files.report import ImportReport

if TYPE_CHECKING:
    import polars

Source = str | Path | bytes | BinaryIO

BLOCK_ROWS: Final = 1 << 18
_UNSUPPORTED: Final = (
    (b"\x89HDF", "in HDF5", "export the table as CSV or Parquet, as with df.to_parquet(path)"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of Excel", "save it as CSV"),
    (b"SQLite format 3", "a database of SQLite", "export the table as CSV"),
    (b"DBN", "in Databento's binary encoding", "export it as CSV or Parquet"),
    (b"FEA1", "in the first version of Feather", "write it again as Arrow or Parquet"),
    (b"\x80\x04", "a pickle of Python", "write it as CSV or Parquet"),
    (b"\x80\x05", "a pickle of Python", "write it as CSV or Parquet"),
    (b"\x93NUMPY", "an array of NumPy", "write it as CSV or Parquet, with names for the columns"),
    (b"%PDF", "a PDF", "download the data itself"),
    (b"<!", "a web page", "download the data itself, as CSV"),
    (b"<html", "a web page", "download the data itself, as CSV"),
    (b"<?xml", "XML", "download the data itself, as CSV"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
)
# Files of times of the day are named after their day in archives of LEAN.
_LEAN: Final = re.compile(r"(\d{8})_.*_(?:minute|second)_(trade|quote)(?:_.*)?\.csv")


def read_bars(
    source: Source,
    *,
    timezone: str | None = None,
    stamp: Stamp = "open",
    decimal: Decimal | None = None,
    day_first: bool | None = None,
    header: bool = True,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    timeframe: str | int | None = None,
    symbol: str = "",
    policy: Policy = "reject",
    earliest: Moment = EARLIEST_MS,
    scratch: str | Path | None = None,
) -> Bars:
    """Bars of a CSV, JSON, Parquet or Arrow file, recognized by content.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        timezone: the zone of times that say none, such as "America/New_York" or "EST"; default: UTC. Of an hour that clocks repeat in
            autumn, the order of the rows tells which it is.
        stamp: "close" if times are those at which bars end.
        decimal: the decimal mark, "." or ","; default: detected.
        day_first: whether 01/02/2024 is 1 February; default: detected.
        header: False for a CSV file without a header line, with the columns time, open, high, low, close, volume.
        columns: the titles of columns that are not found by themselves, as in `{"close": "Adj Close"}`; without a header, the names of the
            columns in order, as in `("date", "clock", "open", "high", "low", "close", "-", "volume")`. "-" leaves a column out.
        timeframe: default: the commonest step between bars.
        symbol: a label of the bars; of a file with the bars of several instruments, the one to read.
        policy: `reject` fails on any invalid, unsorted or repeated row; `drop` drops invalid rows and exact duplicates; `repair` sorts, and
            drops exact duplicates. No policy ever invents a value or chooses between two.
        earliest: rows before it are refused, as numbers that are misread as times mostly are of 1970; default: 1980.
        scratch: a folder for temporary files that hold the bars instead of memory, for files larger than memory.

    CSV may use any of the separators `, ; tab |`, thousands, currency signs, 1.2M, quotes, a byte-order mark and any line ends. CSV and JSON
    may be compressed with gzip, zstd, bzip2, xz or, as the only file, zip. Times are epoch seconds, milliseconds, microseconds or
    nanoseconds, whole-number dates such as 20240301, or dates and times as text, also in two columns. Newest-first files are sorted. A volume
    that is missing, empty or -1 is 0. Files are read block by block. Needs the package polars.

    Raises:
        FileError: missing, empty, truncated, too large, or in an unknown format; or polars is not installed.
        BarsError: missing columns, unreadable or ambiguous cells, or invalid, unsorted or repeated rows; names the line and column.
        BarstormError: unknown timeframe.
    """
    options = read_options(
        timezone=timezone,
        stamp=stamp,
        decimal=decimal,
        day_first=day_first,
        header=header,
        columns=columns,
        timeframe=timeframe,
        symbol=symbol,
        policy=policy,
        earliest=earliest,
    )
    return read_with_report(source, options, scratch=None if scratch is None else Path(scratch))[0]


def read_with_report(
    source: Source, options: ReadOptions = DEFAULT, *, scratch: Path | None = None, calendar: str = ""
) -> tuple[Bars, ImportReport]:
    """Bars of a file as from `read_bars`, and a report of how it was read and what was noticed.

    Args:
        calendar: a code of exchange_calendars, such as XNYS, for an exchange that closes: only bars missing within its sessions are gaps.

    Raises:
        BarstormError: unknown calendar, or exchange_calendars is not installed; else as `read_bars`.
    """
    if calendar:
        calendars.check(calendar)
    with _open(source) as (name, file), translate_errors(name, "a readable file"):
        return clean(_blocks(name, file, options), options, scratch=scratch, calendar=calendar)


def read_series(source: Source, columns: Sequence[str], options: ReadOptions = DEFAULT) -> dict[str, Any]:
    """Other columns of a file in any of these formats, such as `time, rate` of funding or `time, low, high` of a mark price.

    Times are int64 epoch milliseconds, the others float64. Every cell must have a value.

    Raises:
        FileError, BarsError: as `read_bars`.
    """
    with _open(source) as (name, file), translate_errors(name, "a readable file"):
        return read_numbers(_blocks(name, file, options, columns=columns), columns, options)


@contextmanager
def _open(source: Source) -> Iterator[tuple[str, BinaryIO]]:
    """The file's name for messages, and the file at its first byte."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield "", io.BytesIO(source)
    elif isinstance(source, str | Path):
        try:
            path = Path(source).absolute()
            if not path.is_file():
                what = "is a directory" if path.is_dir() else "no such file"
                raise FileError(what, where=str(source), hint="pass the path of a file", code="no_file")
            file = path.open("rb")
        except (OSError, ValueError) as error:
            if isinstance(error, BarstormError):
                raise
            raise FileError(f"can't be opened: {error}", where=str(source), hint="pass the path of a file", code="no_file") from error
        with file:
            yield path.name, file
    else:
        path_or_number = getattr(source, "name", "")
        name = Path(path_or_number).name if isinstance(path_or_number, str) else ""
        try:
            start = source.read(0)
            seekable = source.seekable()
        except (AttributeError, OSError, TypeError, ValueError) as error:
            hint = "pass a path, bytes or an open binary file"
            raise FileError(f"can't read {type(source).__name__}: {error}", where=name, hint=hint, code="no_file") from error
        if not isinstance(start, bytes):
            raise FileError("the file is open in text mode", where=name, hint="open it in binary mode, as in open(path, 'rb')")
        yield name, source if seekable else io.BytesIO(_read_bounded(source, name))


def _blocks(name: str, file: BinaryIO, options: ReadOptions, *, packed: str = "", columns: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    begin = file.tell()
    start = file.read(16)
    file.seek(begin)
    if not start:
        raise FileError("the file is empty", where=name, hint="use a file with bars", code="empty_file")
    if packing := compression.detect(start):
        if packed:
            raise FileError("compressed twice", where=name, hint="compress it once", code="unknown_format")
        with compression.decompress(name, file, packing) as (member, content):
            day_ms = _lean_day(member, name) if packing == "zip" else None
            options = options if day_ms is None else msgspec.structs.replace(options, header=False)
            for table in _blocks(name, content, options, packed=packing, columns=columns):
                yield table if day_ms is None else msgspec.structs.replace(table, day_ms=day_ms)
        return
    for magic, what, hint in _UNSUPPORTED:
        if start.startswith(magic):
            raise FileError(f"the file is {what}", where=name, hint=hint, code="unknown_format")
    if start.startswith(b"PAR1"):
        with translate_errors(name, "a complete Parquet file"):
            import polars

            packed_bytes, handle = _polars_source(file, name)
            lazy = polars.scan_parquet(handle, glob=False, hive_partitioning=False)
            compression.check_ratio(name, packed_bytes, _stored_bytes(lazy))
            yield from select(lazy, name, "parquet", options, packed, columns)
    elif start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        with translate_errors(name, "a complete Arrow file"):
            import polars

            packed_bytes, handle = _polars_source(file, name)
            lazy = polars.scan_ipc(handle, glob=False) if start.startswith(b"ARROW1") else polars.read_ipc_stream(handle).lazy()
            compression.check_ratio(name, packed_bytes, _stored_bytes(lazy))
            yield from select(lazy, name, "arrow", options, packed, columns)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        yield from json_reader.read_blocks(name, file, options, compression=packed, columns=columns)
    else:
        yield from csv_reader.read_blocks(name, file, options, compression=packed, columns=columns)


def _lean_day(member: str, name: str) -> int | None:
    """The day of times of the day, epoch milliseconds, if an archive is one of LEAN."""
    if not (found := _LEAN.fullmatch(PurePosixPath(member).name)):
        return None
    if found[2] == "quote":
        raise FileError("quotes of LEAN, with bid and ask", where=name, hint="use the archive of trades", code="unknown_format")
    return int(datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 1000


def _stored_bytes(lazy: polars.LazyFrame) -> int:
    """What the bars of a table take; a table that repeats values may be much smaller."""
    import polars

    return int(lazy.select(polars.len()).collect().item()) * len(COLUMNS) * 8


def _polars_source(file: BinaryIO, name: str) -> tuple[int, str | bytes]:
    """The size of a file, and its path if there is one, as polars then needs least memory; else its bytes."""
    if isinstance(file, io.BufferedReader | io.BufferedRandom) and file.tell() == 0:
        # On Linux, a nameless file has a path here.
        path = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
        if os.path.exists(path):
            return os.path.getsize(path), path
    data = _read_bounded(file, name)
    return len(data), data


def _read_bounded(file: BinaryIO, name: str) -> bytes:
    data = file.read(compression.MAX_BYTES + 1)
    if len(data) > compression.MAX_BYTES:
        raise FileError(f"more than {compression.MAX_BYTES:,} bytes", where=name, hint="read it from a path", code="file_too_large")
    return data


def select(
    lazy: polars.LazyFrame, name: str, format: str, options: ReadOptions, packed: str = "", columns: Sequence[str] = COLUMNS
) -> Iterator[RawTable]:
    """The given columns of a table, in blocks."""
    import polars

    stored = lazy.collect_schema()
    titles = _field_names(stored.names(), options, name)
    found = headers.find(titles, columns, options)
    row = [str(cell) for cell in next(iter(lazy.head(1).collect().rows()), ())]
    found = msgspec.structs.replace(found, positions=found.positions | headers.day_and_clock(titles, row, options))
    headers.check(titles, found, name, columns, options)
    names = {column: titles[position] for column, position in found.positions.items()}
    selected = lazy.select(polars.col(stored.names()[position]).alias(column) for column, position in found.positions.items())
    style = None
    first = 1
    frame = polars.DataFrame(schema={column: stored.dtypes()[position] for column, position in found.positions.items()})
    for frame in selected.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
        style = style or _style(frame, columns, options, name)
        yield RawTable(
            frame=frame,
            names=names,
            file=name,
            unit="row",
            first=first,
            format=format,
            compression=packed,
            numbers=style,
            traits=found.traits,
        )
        first += len(frame)
    if first == 1:
        yield RawTable(frame=frame.clear(), names=names, file=name, unit="row", first=1, format=format, compression=packed)


def _style(frame: polars.DataFrame, columns: Sequence[str], options: ReadOptions, name: str) -> numbers.NumberStyle:
    """How numbers that are stored as text are written."""
    import polars

    texts = [column for column in columns[1:] if column in frame.columns and frame[column].dtype == polars.String]
    cells = [(row + 1, cell) for column in texts for row, cell in enumerate(frame[column].head(BLOCK_ROWS).to_list()) if cell]
    style = numbers.detect(cells, "", options.decimal, name)
    if style is None:
        raise numbers.ambiguous(cells, name)
    return style


def _field_names(titles: Sequence[str], options: ReadOptions, name: str) -> list[str]:
    """Titles, of which those of pandas with a field and a ticker, as from yfinance, become the fields of one ticker."""
    pairs = [re.fullmatch(r"\('([^']*)', ?'([^']*)'\)", title) for title in titles]
    if sum(pair is not None for pair in pairs) < len(COLUMNS) - 2:
        return list(titles)
    rows = ([pair[k] if pair else title for pair, title in zip(pairs, titles, strict=True)] for k in (1, 2))
    fields, tickers = sorted(rows, key=headers.count_fields, reverse=True)
    return headers.one_ticker(fields, [ticker if pair else "" for pair, ticker in zip(pairs, tickers, strict=True)], options, name)
