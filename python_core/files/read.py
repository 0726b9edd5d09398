"""Market data files: CSV and JSON lines (plain, gzip, zstd), Parquet and Arrow, told apart by content, never by name."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from python_core.data import calendars, timeframes
from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.errors import BarstormError, FileError
from python_core.files import csv_reader, headers, json_reader
from python_core.files.cleaning import ImportReport, Policy, clean, numbers_of
from python_core.files.headers import RawTable, reading

if TYPE_CHECKING:
    import polars

Source = str | Path | bytes | BinaryIO

MAX_UNPACKED_BYTES: Final = 4 << 30
BLOCK_ROWS: Final = 1 << 18
_FOREIGN: Final = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or save it as CSV"),
    (b"BZh", "compressed with bzip2", "unpack it, or use gzip or zstd"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it, or use gzip or zstd"),
    (b"[", "one JSON array", "give JSON lines, one object in each line, CSV, Parquet or Arrow"),
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
    """Bars of a file; see `read_with_report`."""
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
    """Bars of a CSV, JSON lines, Parquet or Arrow file, and what was noticed on the way.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        timeframe: left out: the smallest step between bars.
        policy: `reject` refuses a file with any fault; `drop` leaves out rows that are no valid bars and exact repeats;
            `repair` sorts, and lets the last of several rows of one time win, but never makes up a value.
        header: False for a CSV file of rows only, in the order time, open, high, low, close, volume.
        scratch: a folder for nameless files that hold the bars in place of memory, for files larger than that.
        calendar: a code of exchange_calendars, such as XNYS, for an exchange that closes: gaps are then those within its sessions.

    CSV may use any of `, ; tab |`, a decimal comma, quotes, a byte-order mark and any line ends. Times are epoch seconds, milliseconds,
    microseconds or nanoseconds, or dates and times with or without an offset; without one they are UTC. Files are read block by block.

    Raises:
        FileError: not there, empty, cut off, too large, or of no known format.
        BarsError: columns missing, cells unreadable, rows that are no valid bars, out of order or repeated; names line and column.
        BarstormError: no such timeframe or calendar.
    """
    if policy not in ("reject", "drop", "repair"):
        raise FileError(f"no such policy: {policy!r}", where="policy", hint="use reject, drop or repair")
    if timeframe is not None:
        timeframes.parse(timeframe)
    if calendar:
        calendars.check(calendar)
    with _opened(source) as (name, file), reading(name, "a readable file"):
        blocks = _blocks(name, file, header=header)
        return clean(blocks, policy=policy, timeframe=timeframe, symbol=symbol, scratch=scratch, calendar=calendar)


def read_series(source: Source, wanted: Sequence[str]) -> dict[str, Any]:
    """Other columns of a file of any of these forms, such as `time, rate` of funding or `time, low, high` of a mark price: time as int64
    epoch milliseconds, the others as float64. Each cell must hold a value.

    Raises:
        FileError, BarsError: as `read_with_report`.
    """
    with _opened(source) as (name, file), reading(name, "a readable file"):
        return numbers_of(_blocks(name, file, header=True, wanted=wanted), wanted)


def from_arrow(table: Any, *, timeframe: str | int | None = None, symbol: str = "", policy: Policy = "reject") -> Bars:
    """Bars of anything that speaks Arrow's C stream (`__arrow_c_stream__`), such as a table of pyarrow, polars, pandas or DuckDB.

    Columns are found by the same names as in a file.
    """
    with reading("", "an Arrow table"):
        import polars

        if not isinstance(table, polars.DataFrame):
            if not hasattr(table, "__arrow_c_stream__"):
                raise FileError(f"{type(table).__name__} is no Arrow table", hint="give an object with __arrow_c_stream__")
            table = polars.DataFrame(table)
        return clean(_chosen(table.lazy(), "", "arrow"), policy=policy, timeframe=timeframe, symbol=symbol)[0]


@contextmanager
def _opened(source: Source) -> Iterator[tuple[str, BinaryIO]]:
    """The file's name, and the file at its first byte."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield "", io.BytesIO(source)
    elif isinstance(source, str | Path):
        try:
            path = Path(source).absolute()
            if not path.is_file():
                what = "is a directory" if path.is_dir() else "no such file"
                raise FileError(what, where=str(source), hint="give the path of a file", code="no_file")
            file = path.open("rb")
        except (OSError, ValueError) as error:
            if isinstance(error, BarstormError):
                raise
            raise FileError(f"can't be opened: {error}", where=str(source), hint="give the path of a file", code="no_file") from error
        with file:
            yield path.name, file
    else:
        given = getattr(source, "name", "")
        name = Path(given).name if isinstance(given, str) else ""
        try:
            start = source.read(0)
            seekable = source.seekable()
        except (AttributeError, OSError, TypeError, ValueError) as error:
            hint = "give a path, bytes or an open binary file"
            raise FileError(f"can't read {type(source).__name__}: {error}", where=name, hint=hint, code="no_file") from error
        if not isinstance(start, bytes):
            raise FileError("the file is open as text", where=name, hint="open it in binary mode, as in open(path, 'rb')")
        yield name, source if seekable else io.BytesIO(_bounded(source, name))


def _blocks(name: str, file: BinaryIO, *, header: bool, compression: str = "", wanted: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    begin = file.tell()
    start = file.read(16)
    file.seek(begin)
    if not start:
        raise FileError("the file is empty", where=name, hint="give a file with bars", code="empty_file")
    packed = "gzip" if start.startswith(b"\x1f\x8b") else "zstd" if start.startswith(b"\x28\xb5\x2f\xfd") else ""
    if packed:
        if compression:
            raise FileError("compressed twice", where=name, hint="compress once", code="unknown_format")
        with _unpacked(name, file, packed) as unpacked:
            yield from _blocks(name, unpacked, header=header, compression=packed, wanted=wanted)
        return
    for magic, what, hint in _FOREIGN:
        if start.startswith(magic):
            raise FileError(f"the file is {what}", where=name, hint=hint, code="unknown_format")
    if start.startswith(b"PAR1"):
        with reading(name, "a whole Parquet file"):
            import polars

            lazy = polars.scan_parquet(_handle(file, name), glob=False, hive_partitioning=False)
            yield from _chosen(lazy, name, "parquet", compression, wanted)
    elif start.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        with reading(name, "a whole Arrow file"):
            import polars

            handle = _handle(file, name)
            lazy = polars.scan_ipc(handle, glob=False) if start.startswith(b"ARROW1") else polars.read_ipc_stream(handle).lazy()
            yield from _chosen(lazy, name, "arrow", compression, wanted)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        yield from json_reader.read_blocks(name, file, compression=compression, wanted=wanted)
    else:
        yield from csv_reader.read_blocks(name, file, header=header, compression=compression, wanted=wanted)


def _handle(file: BinaryIO, name: str) -> str | bytes:
    """What polars is given to read: the path where there is one, as that needs least memory."""
    if isinstance(file, io.BufferedReader | io.BufferedRandom) and file.tell() == 0:
        # A file without a name has one here, on Linux.
        path = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
        if os.path.exists(path):
            return path
    return _bounded(file, name)


def _bounded(file: BinaryIO, name: str) -> bytes:
    data = file.read(MAX_UNPACKED_BYTES + 1)
    if len(data) > MAX_UNPACKED_BYTES:
        raise FileError(f"more than {MAX_UNPACKED_BYTES:,} bytes", where=name, hint="read it from a path", code="file_too_large")
    return data


@contextmanager
def _unpacked(name: str, file: BinaryIO, packed: str) -> Iterator[BinaryIO]:
    """The content of a compressed file, bounded, whatever its header says of its size."""
    opener: Callable[..., Any] = gzip.open
    errors: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    if packed == "zstd":
        zstd = _zstd()
        if zstd is None:
            hint = "install backports.zstd, or use gzip"
            raise FileError("this Python can't unpack zstd", where=name, hint=hint, code="unknown_format")
        opener, errors = zstd.open, (*errors, zstd.ZstdError)
    with opener(file) as content:
        yield cast(BinaryIO, io.BufferedReader(_Unpacking(name, packed, content, errors), 1 << 20))


class _Unpacking(io.RawIOBase):
    """A stream of unpacked bytes that says what is wrong with the packed ones, and ends at a limit."""

    def __init__(self, name: str, packed: str, content: Any, errors: tuple[type[Exception], ...]) -> None:
        self._name = name
        self._packed = packed
        self._content = content
        self._errors = errors
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._told():
            self._at = self._content.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        with self._told():
            count: int = self._content.readinto(buffer)
        self._at += count
        if self._at > MAX_UNPACKED_BYTES:
            raise FileError(
                f"unpacks to more than {MAX_UNPACKED_BYTES:,} bytes", where=self._name, hint="unpack it first", code="file_too_large"
            )
        return count

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            what = f"not a whole {self._packed} file ({error})"
            raise FileError(what, where=self._name, hint="copy or download it again", code="unreadable_file") from error


def _zstd() -> Any:
    """The zstd module of Python 3.14, or its backport for older ones; None where neither is there."""
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(module)
        except ImportError:
            continue
    return None


def _chosen(lazy: polars.LazyFrame, name: str, form: str, compression: str = "", wanted: Sequence[str] = COLUMNS) -> Iterator[RawTable]:
    """The wanted columns of a table whose columns have names."""
    import polars

    titles = lazy.collect_schema().names()
    found = headers.find(titles, wanted)
    headers.check(titles, found, name, wanted)
    names = {column: titles[found[column]] for column in wanted}
    chosen = lazy.select(polars.col(title).alias(column) for column, title in names.items())
    first = 1
    for frame in chosen.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True):
        yield RawTable(frame=frame, names=names, file=name, unit="row", first=first, format=form, compression=compression)
        first += len(frame)
    if first == 1:
        frame = polars.DataFrame(schema=dict.fromkeys(wanted, polars.Float64))
        yield RawTable(frame=frame, names=names, file=name, unit="row", first=1, format=form, compression=compression)
