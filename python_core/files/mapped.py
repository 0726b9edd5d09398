"""A cache file of bars that is mapped into memory: a header, then each column uncompressed."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS
from python_core.errors import FileError

MAGIC: Final = b"barstorm columns 1\n"
# Columns start at page boundaries, so that each can be paged out separately.
PAGE: Final = 4096


class Header(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str
    timeframe: str
    symbol: str
    byteorder: str
    rows: int
    funding: int | None
    mark: bool


def write(file: BinaryIO, bars: Bars) -> None:
    """Write bars, for `read` on the same machine."""
    header = Header(
        fingerprint=bars.fingerprint,
        timeframe=bars.timeframe,
        symbol=bars.symbol,
        byteorder=sys.byteorder,
        rows=len(bars),
        funding=None if bars.funding is None else len(bars.funding[0]),
        mark=bars.mark is not None,
    )
    begin = MAGIC + msgspec.json.encode(header) + b"\n"
    if len(begin) > PAGE:
        raise FileError("the symbol is too long", where="symbol")
    file.write(begin.ljust(PAGE, b"\0"))
    for values in (*(getattr(bars, name) for name in COLUMNS), *(bars.funding or ()), *(bars.mark or ())):
        file.write(values.data)
        file.write(bytes(-values.nbytes % PAGE))


def read(path: Path) -> Bars:
    """The bars of a file that `write` wrote on this machine, mapped into memory: takes microseconds for any number of bars.

    The values are not checked again, so read only files that nobody else can write.

    Raises:
        FileError: not such a file, or incomplete.
        OSError: the file can't be opened.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise FileError("the file is empty", where=path.name) from None
    begin, end = data[:PAGE], 0
    if begin.startswith(MAGIC):
        end = begin.find(b"\n", len(MAGIC))
    try:
        header = msgspec.json.decode(begin[len(MAGIC) : end] if end > 0 else b"", type=Header)
    except msgspec.MsgspecError:
        raise FileError("not a mapped file of bars", where=path.name) from None
    sizes = [header.rows] * len(COLUMNS) + [header.funding or 0] * 2 * (header.funding is not None) + [header.rows] * 2 * header.mark
    if len(data) != PAGE + sum(8 * size + -8 * size % PAGE for size in sizes) or header.byteorder != sys.byteorder:
        raise FileError("an incomplete mapped file of bars, or from another machine", where=path.name)
    columns: list[Any] = []
    at = PAGE
    for i, size in enumerate(sizes):
        kind = np.int64 if i == 0 or (i == len(COLUMNS) and header.funding is not None) else np.float64
        columns.append(np.frombuffer(data, kind, size, at))
        at += 8 * size + -8 * size % PAGE
    rest = columns[len(COLUMNS) :]
    return Bars._from_checked(
        dict(zip(COLUMNS, columns, strict=False)),
        timeframe=header.timeframe,
        symbol=header.symbol,
        funding=(rest[0], rest[1]) if header.funding is not None else None,
        mark=(rest[-2], rest[-1]) if header.mark else None,
        fingerprint=header.fingerprint,
    )
