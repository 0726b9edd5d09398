"""Decompression of gzip, zstd, bzip2, xz and zip files, bounded in size."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO, Final, cast

from python_core.errors import FileError

MAX_BYTES: Final = 4 << 30
# Bars compress 3 to 30 times. A file that unpacks to more than its size times the ratio, and to more than the floor, was made to fill the disk.
MAX_RATIO: Final = 200
RATIO_FLOOR: Final = 64 << 20
_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zip": b"PK\x03\x04"}
_OPENERS: Final[dict[str, Callable[..., Any]]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}


def detect(start: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz` or `zip` if a file that starts with these bytes is compressed, else empty."""
    return next((kind for kind, magic in _MAGIC.items() if start.startswith(magic)), "")


@contextmanager
def decompress(name: str, file: BinaryIO, kind: str) -> Iterator[tuple[str, BinaryIO]]:
    """The name and the content of a compressed file. FileError beyond the limits above, whatever size its header states."""
    begin = file.tell()
    packed_bytes = file.seek(0, io.SEEK_END) - begin
    file.seek(begin)
    errors: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
    if kind == "zip":
        with _archive(name, file) as (member, content):
            broken = (*errors, zipfile.BadZipFile, NotImplementedError, RuntimeError)
            yield member, cast(BinaryIO, io.BufferedReader(_Decompressed(name, kind, content, broken, packed_bytes), 1 << 20))
        return
    if kind == "zstd":
        zstd = _zstd()
        if zstd is None:
            hint = "run `make install` or `pip install '.[files]'` in the checkout, or use gzip"
            raise FileError("reading zstd needs the package backports.zstd", where=name, hint=hint, code="unknown_format")
        opener, errors = zstd.open, (*errors, zstd.ZstdError)
    else:
        opener = _OPENERS[kind]
    with opener(file) as content:
        yield name, cast(BinaryIO, io.BufferedReader(_Decompressed(name, kind, content, errors, packed_bytes), 1 << 20))


def check_ratio(name: str, packed_bytes: int, unpacked_bytes: int) -> None:
    """
    Raises:
        FileError: a file of this size holds no bars that unpack to so much.
    """
    if unpacked_bytes > (limit := max(RATIO_FLOOR, MAX_RATIO * packed_bytes)):
        text = f"unpacks to more than {limit:,} bytes, the limit for a file of {packed_bytes:,} bytes"
        raise FileError(text, where=name, hint="leave out rows that only repeat, or send them unpacked", code="file_too_large")


@contextmanager
def _archive(name: str, file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The name and the content of the only file in a zip archive."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        text = f"not a complete zip file ({error})"
        raise FileError(text, where=name, hint="copy or download it again", code="unreadable_file") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not member.filename.startswith("__MACOSX/")]
        names = [member.filename for member in members]
        if "[Content_Types].xml" in names:
            raise FileError("the file is a spreadsheet of Excel", where=name, hint="save it as CSV", code="unknown_format")
        if len(members) != 1:
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            what = f"the archive holds {len(members)} files: {shown}" if members else "the archive is empty"
            raise FileError(what, where=name, hint="unpack it and give one file", code="unknown_format")
        if members[0].flag_bits & 1:
            raise FileError("the archive is encrypted", where=name, hint="unpack it", code="unknown_format")
        try:
            content = archive.open(members[0])
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise FileError(
                f"can't be unpacked: {error}", where=name, hint="unpack it with another program", code="unreadable_file"
            ) from error
        with content:
            yield names[0], content


class _Decompressed(io.RawIOBase):
    """A stream of decompressed bytes that reports damaged data as FileError and ends at a limit."""

    def __init__(self, name: str, kind: str, content: Any, errors: tuple[type[Exception], ...], packed_bytes: int) -> None:
        self._name = name
        self._kind = kind
        self._content = content
        self._errors = errors
        self._packed_bytes = packed_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._translate_errors():
            self._position = self._content.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        with self._translate_errors():
            count: int = self._content.readinto(buffer)
        self._position += count
        if self._position > MAX_BYTES:
            text = f"unpacks to more than {MAX_BYTES:,} bytes"
            raise FileError(text, where=self._name, hint="unpack it first, or split it", code="file_too_large")
        check_ratio(self._name, self._packed_bytes, self._position)
        return count

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            text = f"not a complete {self._kind} file ({error})"
            raise FileError(text, where=self._name, hint="copy or download it again", code="unreadable_file") from error


def _zstd() -> Any:
    """The zstd module of Python 3.14, or its backport for older versions; None if there is neither."""
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(module)
        except ImportError:
            continue
    return None
