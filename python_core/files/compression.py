"""Decompression of gzip and zstd files, bounded in size."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO, Final, cast

from python_core.errors import FileError

MAX_BYTES: Final = 4 << 30
_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


def detect(start: bytes) -> str:
    """`gzip` or `zstd` if a file that starts with these bytes is compressed, else empty."""
    return next((kind for kind, magic in _MAGIC.items() if start.startswith(magic)), "")


@contextmanager
def decompress(name: str, file: BinaryIO, kind: str) -> Iterator[BinaryIO]:
    """The content of a compressed file. FileError beyond `MAX_BYTES`, whatever size its header states."""
    opener: Callable[..., Any] = gzip.open
    errors: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    if kind == "zstd":
        zstd = _zstd()
        if zstd is None:
            hint = "run `make install` or `pip install '.[files]'` in the checkout, or use gzip"
            raise FileError("reading zstd needs the package backports.zstd", where=name, hint=hint, code="unknown_format")
        opener, errors = zstd.open, (*errors, zstd.ZstdError)
    with opener(file) as content:
        yield cast(BinaryIO, io.BufferedReader(_Decompressed(name, kind, content, errors), 1 << 20))


class _Decompressed(io.RawIOBase):
    """A stream of decompressed bytes that reports damaged data as FileError and ends at a limit."""

    def __init__(self, name: str, kind: str, content: Any, errors: tuple[type[Exception], ...]) -> None:
        self._name = name
        self._kind = kind
        self._content = content
        self._errors = errors
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
            text = f"decompresses to more than {MAX_BYTES:,} bytes"
            raise FileError(text, where=self._name, hint="decompress it first", code="file_too_large")
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
