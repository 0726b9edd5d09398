"""Bars of a dataset as JSON pages, merged for charts, and as files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final, Literal, cast, get_args

import msgspec
import numpy as np
from msgspec import Meta

import python_core as bt
from python_core.data.columns import COLUMNS
from workers.data import table_files
from workers.errors import Invalid
from workers.model import cursors
from workers.model.datasets import Dataset
from workers.model.pages import NextCursor

if TYPE_CHECKING:
    import polars

Format = Literal["parquet", "csv", "arrow"]
FORMATS: Final = get_args(Format)
MAX_POINTS: Final = 10_000


class BarsPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of bars, one array per column."""

    timeframe: Annotated[str, Meta(description="Timeframe of the bars, before they are merged.")]
    time: Annotated[tuple[int, ...], Meta(description="Open times, UTC epoch milliseconds.")]
    open: Annotated[tuple[float, ...], Meta(description="First prices, in the quote currency.")]
    high: Annotated[tuple[float, ...], Meta(description="Highest prices, in the quote currency.")]
    low: Annotated[tuple[float, ...], Meta(description="Lowest prices, in the quote currency.")]
    close: Annotated[tuple[float, ...], Meta(description="Last prices, in the quote currency.")]
    volume: Annotated[tuple[float, ...], Meta(description="Traded quantities, in the base currency or in shares.")]
    total: Annotated[int, Meta(description="Number of bars in the range.")]
    bars_per_point: Annotated[int, Meta(description="Number of bars merged into one; 1 without `points`.")]
    next_cursor: Annotated[NextCursor, Meta(description="Cursor of the next page; null on the last one, and with `points`.")]


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which bars: those from `start` to before `end`. Of these, `limit` that open after a time or, with `points`, all, merged into that many."""

    start: int | None
    end: int | None
    after: int | None
    limit: int
    points: int | None


def after(dataset: Dataset, cursor: str | None) -> int | None:
    """The open time of the last bar of the page that had this cursor. A position would shift when an append fills a gap.

    Raises:
        Invalid: it is not a cursor of the bars of this dataset.
    """
    return None if cursor is None else cast(int, cursors.decode(_list_name(dataset), cursor, [int])[0])


def page(dataset: Dataset, bars: bt.Bars, wanted: PageRequest) -> BarsPage:
    """Bars of a dataset, which may be resampled; those of a point have equal numbers."""
    first = 0 if wanted.start is None else int(np.searchsorted(bars.time, wanted.start))
    end = len(bars) if wanted.end is None else max(int(np.searchsorted(bars.time, wanted.end)), first)
    total, bars_per_point, next_cursor = end - first, 1, None
    if wanted.points is None:
        if wanted.after is not None:
            first = min(max(first, int(np.searchsorted(bars.time, wanted.after, "right"))), end)
        if first + wanted.limit < end:
            end = first + wanted.limit
            next_cursor = cursors.encode(_list_name(dataset), [int(bars.time[end - 1])])
    elif total > wanted.points:
        bars_per_point = -(-total // wanted.points)
    starts = np.arange(first, end, bars_per_point)
    ends = np.minimum(starts + bars_per_point, end)
    return BarsPage(
        timeframe=bars.timeframe,
        time=tuple(bars.time[starts].tolist()),
        open=tuple(bars.open[starts].tolist()),
        high=tuple(np.maximum.reduceat(bars.high[:end], starts).tolist()) if len(starts) else (),
        low=tuple(np.minimum.reduceat(bars.low[:end], starts).tolist()) if len(starts) else (),
        close=tuple(bars.close[ends - 1].tolist()),
        volume=tuple(np.add.reduceat(bars.volume[:end], starts).tolist()) if len(starts) else (),
        total=total,
        bars_per_point=bars_per_point,
        next_cursor=next_cursor,
    )


def _list_name(dataset: Dataset) -> str:
    return f"bars of {dataset.id}"


def to_table(page: BarsPage) -> polars.DataFrame:
    """The bars of a page as a table."""
    import polars

    return polars.DataFrame({name: getattr(page, name) for name in COLUMNS}).with_columns(table_files.times("time"))


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
