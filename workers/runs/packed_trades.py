"""Trades as few bytes, for the row of their result: a line with the names and types of the columns, then the columns, compressed by zstd."""

from __future__ import annotations

import sys
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL: Final = 1


def pack(trades: npt.NDArray[np.void]) -> bytes:
    """A structured array of 8-byte fields, such as `Trades.array`, as bytes."""
    columns = np.ascontiguousarray(trades.view(np.int64).reshape(len(trades), trades.itemsize // 8).T)
    return msgspec.json.encode(trades.dtype.descr) + b"\n" + zstd.compress(columns.astype("<i8", copy=False).tobytes(), LEVEL)


def unpack(packed: bytes) -> npt.NDArray[np.void]:
    """The array that was packed."""
    header, _, content = packed.partition(b"\n")
    dtype = np.dtype([tuple(field) for field in msgspec.json.decode(header)])
    columns = np.frombuffer(zstd.decompress(content), dtype="<i8").reshape(len(dtype.names or ()), -1)
    return np.ascontiguousarray(columns.T).reshape(-1).view(dtype)
