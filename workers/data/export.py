"""Bars of a dataset as JSON pages, merged for charts, and as files."""

from __future__ import annotations

import io
from typing import Annotated, BinaryIO, Final, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta

import python_core as bt
from workers.errors import Invalid

Format = Literal["parquet", "csv", "arrow"]
FORMATS: Final = get_args(Format)
MAX_POINTS: Final = 10_000


class BarsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of bars, one array per column."""

    timeframe: str
    time: Annotated[tuple[int, ...], Meta(description="Open times, UTC epoch milliseconds.")]
    open: tuple[float, ...]
    high: tuple[float, ...]
    low: tuple[float, ...]
    close: tuple[float, ...]
    volume: tuple[float, ...]
    offset: Annotated[int, Meta(description="Number of bars skipped.")]
    total: Annotated[int, Meta(description="Number of bars in the range.")]
    bars_per_point: Annotated[int, Meta(description="Number of bars merged into one; 1 without `points`.")]


def page(bars: bt.Bars, *, offset: int, limit: int, points: int | None) -> BarsPage:
    """`limit` bars from `offset` on or, with `points`, all bars merged into at most that many of equal length."""
    total = len(bars)
    if points is None:
        part, bars_per_point = bars[offset : offset + limit] if offset < total else None, 1
        columns = [[] if part is None else getattr(part, name).tolist() for name in ("time", "open", "high", "low", "close", "volume")]
    else:
        offset, bars_per_point = 0, -(-total // points)
        starts = np.arange(0, total, bars_per_point)
        ends = np.append(starts[1:], total) - 1
        columns = [
            bars.time[starts].tolist(),
            bars.open[starts].tolist(),
            np.maximum.reduceat(bars.high, starts).tolist(),
            np.minimum.reduceat(bars.low, starts).tolist(),
            bars.close[ends].tolist(),
            np.add.reduceat(bars.volume, starts).tolist(),
        ]
    time, open_, high, low, close, volume = map(tuple, columns)
    return BarsPage(
        timeframe=bars.timeframe,
        time=time,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        offset=offset,
        total=total,
        bars_per_point=bars_per_point,
    )


def export(bars: bt.Bars, file_format: Format, file: BinaryIO) -> None:
    """Write bars to a file. Parquet and Arrow keep every bit; CSV has the shortest decimals that read back to the same values."""
    frame = bars.to_polars()
    if file_format == "parquet":
        frame.write_parquet(file, compression="zstd")
    elif file_format == "arrow":
        frame.write_ipc(file)
    elif file_format == "csv":
        frame.write_csv(file)
    else:
        raise Invalid(f"unsupported format {file_format!r:.40}", where="format", hint=f"use one of {', '.join(FORMATS)}")
    file.seek(0, io.SEEK_SET)
