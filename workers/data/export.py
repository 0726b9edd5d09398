"""Bars of a dataset for people and other programs: pages, thinned for charts, and files."""

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
MOST_POINTS: Final = 10_000


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
    each: Annotated[int, Meta(description="Number of bars merged into one; 1 without `points`.")]


def page(bars: bt.Bars, *, offset: int, limit: int, points: int | None) -> BarsPage:
    """`limit` bars from `offset` on or, with `points`, all of them thinned to at most so many: each with the first open, the last close, the
    extremes and the sum of volume of equally many neighbours."""
    total = len(bars)
    if points is None:
        part, each = bars[offset : offset + limit] if offset < total else None, 1
        columns = [[] if part is None else getattr(part, name).tolist() for name in ("time", "open", "high", "low", "close", "volume")]
    else:
        offset, each = 0, -(-total // points)
        starts = np.arange(0, total, each)
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
        each=each,
    )


def export(bars: bt.Bars, form: Format, file: BinaryIO) -> None:
    """Write the bars; Parquet and Arrow hold the same bits, CSV the shortest decimals that read back as them."""
    frame = bars.to_polars()
    if form == "parquet":
        frame.write_parquet(file, compression="zstd")
    elif form == "arrow":
        frame.write_ipc(file)
    elif form == "csv":
        frame.write_csv(file)
    else:
        raise Invalid(f"{form!r:.40} is no format", where="format", hint=f"use one of {', '.join(FORMATS)}")
    file.seek(0, io.SEEK_SET)
