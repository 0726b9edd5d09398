"""Reads market data files: CSV and JSON lines (plain, gzip, zstd), Parquet and Arrow, recognized by content, never by name."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from python_core.data import calendars, timeframes
from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.errors import BarstormError, FileError
from python_core.files import compression, csv_reader, headers, json_reader
from python_core.files.cleaning import Policy, clean, read_numbers
from python_core.files.headers import RawTable, translate_errors
from python_core.files.report import ImportReport

if TYPE_CHECKING:
    import polars

Source = str | Path | bytes | BinaryIO

BLOCK_ROWS: Final = 1 << 18
_UNSUPPORTED: Final = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save it as CSV"),
    (b"BZh", "compressed with bzip2", "unpack it, or use gzip or zstd"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it, or use gzip or zstd"),
    (b"[", "a JSON array", "use JSON lines (one object on each line), CSV, Parquet or Arrow"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
)


def read_bars(
    source: Source,
    *,
    timeframe: str | int | None = None,
    symbol: str = "",
    policy: Policy = "reject",
    header: bool = True,
    scratch: Path | None = None,
) -> Bars:
    """Bars of a CSV, JSON lines, Parquet or Arrow file, recognized by content.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        timeframe: default: the smallest step between bars.
        symbol: a label of the bars.
        policy: `reject` fails on any invalid, unsorted or repeated row; `drop` drops invalid rows and exact duplicates; `repair` sorts, and
            keeps the last of several rows of the same time. No policy ever invents a value.
        header: False for a CSV file without a header line, with the columns time, open, high, low, close, volume.
        scratch: a folder for temporary files that hold the bars instead of memory, for files larger than memory.

    CSV may use any of the separators `, ; tab |`, decimal commas, quotes, a byte-order mark and any line ends. CSV and JSON lines may be
    compressed with gzip or zstd. Times are epoch seconds, milliseconds, microseconds or nanoseconds, or dates and times, in UTC unless they
    have an offset. Files are read block by block. Needs the package polars.

    Raises:
        FileError: missing, empty, truncated, too large, or in an unknown format; or polars is not installed.
        BarsError: missing columns, unreadable cells, or invalid, unsorted or repeated rows; names the line and column.
        BarstormError: unknown timeframe.
    """
    return read_with_report(source, timeframe=timeframe, symbol=symbol, policy=policy, header=header, scratch=scratch)[0]


def read_with_report(
    source: Source,
    *,
    timeframe: str | int | None = None,
    symbol: str = "",
    policy: Policy = "reject",
    header: bool = True,
    scratch: Path | None = None,
    calendar: str = "",
) -> tuple[Bars, ImportReport]:
    """Bars of a file as from `read_bars`, and a report of how it was read and what was noticed.

    Args:
        calendar: a code of exchange_calendars, such as XNYS, for an exchange that closes: only bars missing within its sessions are gaps.

    Raises:
        BarstormError: unknown calendar, or exchange_calendars is not installed; else as `read_bars`.
    """
    if policy not in ("reject", "drop", "repair"):
        raise FileError(f"unknown policy {policy!r}", where="policy", hint="use reject, drop or repair")
    if timeframe is not None:
        timeframes.parse(timeframe)
    if calendar:
        calendars.check(calendar)
    with _open(source) as (name, file), translate_errors(name, "a readable file"):
        blocks = _blocks(name, file, header=header)
        return clean(blocks, policy=policy, timeframe=timeframe, symbol=symbol, scratch=scratch, calendar=calendar)


def read_series(source: Source, columns: Sequence[str]) -> dict[str, Any]:
    """Other columns of a file in any of these formats, such as `time, rate` of funding or `time, low, high` of a mark price.

    Times are int64 epoch milliseconds, the others float64. Every cell must have a value.

    Raises:
        FileError, BarsError: as `read_bars`.
    """
    with _open(source) as (name, file), translate_errors(name, "a readable file"):
        return read_numbers(_blocks(name, file, header=True, columns=columns), columns)


def from_arrow(table: Any, *, timeframe: str | int | None = None, symbol: str = "", policy: Policy = "reject") -> Bars:
    """Bars of a table with Arrow's C stream interface (`__arrow_c_stream__`), as in pyarrow, polars, pandas and DuckDB.

    Columns are found by name, as in a file. Arguments and errors are those of `read_bars`.
    """
    with translate_errors("", "an Arrow table"):
        import polars

        if not isinstance(table, polars.DataFrame):
            if not hasattr(table, "__arrow_c_stream__"):
                raise FileError(f"expected an Arrow table, got {type(table).__name__}", hint="pass an object with __arrow_c_stream__")
            table = polars.DataFrame(table)
        return clean(_select(table.lazy(), "", "arrow"), policy=policy, timeframe=timeframe, symbol=symbol)[0]


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


def _blocks(name: str, file: BinaryIO, *, header: bool, packed: str = "", columns: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    begin = file.tell()
    start = file.read(16)
    file.seek(begin)
    if not start:
        raise FileError("the file is empty", where=name, hint="use a file with bars", code="empty_file")
    if packing := compression.detect(start):
        if packed:
            raise FileError("compressed twice", where=name, hint="compress it once", code="unknown_format")
        with compression.decompress(name, file, packing) as content:
            yield from _blocks(name, content, header=header, packed=packing, columns=columns)
        return
    for magic, what, hint in _UNSUPPORTED:
        if start.startswith(magic):
            raise FileError(f"the file is {what}", where=name, hint=hint, code="unknown_format")
    if start.startswith(b"PAR1"):
        with translate_errors(name, "a complete Parquet file"):
            import polars

            lazy = polars.scan_parquet(_polars_source(file, name), glob=False, hive_partitioning=False)
            yield from _select(lazy, name, "parquet", packed, columns)
    elif start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        with translate_errors(name, "a complete Arrow file"):
            import polars

            handle = _polars_source(file, name)
            lazy = polars.scan_ipc(handle, glob=False) if start.startswith(b"ARROW1") else polars.read_ipc_stream(handle).lazy()
            yield from _select(lazy, name, "arrow", packed, columns)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        yield from json_reader.read_blocks(name, file, compression=packed, columns=columns)
    else:
        yield from csv_reader.read_blocks(name, file, header=header, compression=packed, columns=columns)


def _polars_source(file: BinaryIO, name: str) -> str | bytes:
    """The path if there is one, as polars then needs least memory; else the bytes."""
    if isinstance(file, io.BufferedReader | io.BufferedRandom) and file.tell() == 0:
        # On Linux, a nameless file has a path here.
        path = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
        if os.path.exists(path):
            return path
    return _read_bounded(file, name)


def _read_bounded(file: BinaryIO, name: str) -> bytes:
    data = file.read(compression.MAX_BYTES + 1)
    if len(data) > compression.MAX_BYTES:
        raise FileError(f"more than {compression.MAX_BYTES:,} bytes", where=name, hint="read it from a path", code="file_too_large")
    return data


def _select(lazy: polars.LazyFrame, name: str, format: str, packed: str = "", columns: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    """The given columns of a table, in blocks."""
    import polars

    titles = lazy.collect_schema().names()
    positions = headers.find(titles, columns)
    headers.check(titles, positions, name, columns)
    names = {column: titles[positions[column]] for column in columns}
    selected = lazy.select(polars.col(title).alias(column) for column, title in names.items())
    first = 1
    for frame in selected.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
        yield RawTable(frame=frame, names=names, file=name, unit="row", first=first, format=format, compression=packed)
        first += len(frame)
    if first == 1:
        frame = polars.DataFrame(schema=dict.fromkeys(columns, polars.Float64))
        yield RawTable(frame=frame, names=names, file=name, unit="row", first=1, format=format, compression=packed)
