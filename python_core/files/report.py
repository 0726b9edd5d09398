"""The report of an import: how a file was read, and what was noticed in it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from python_core.data.bars import Bars
from python_core.data.calendars import gaps
from python_core.data.columns import Integers
from python_core.files.cells.raw_table import RawTable

# A spike reaches this many typical ranges beyond both its neighbours, and at least 2 %.
OUTLIER_RANGES: Final = 20.0
OUTLIER_FRACTION: Final = 0.02
# In longer data, the typical range is estimated from about this many bars spread over it.
_SAMPLE: Final = 1 << 18
# A price is frozen if all four prices of this many bars in a row are the same.
FROZEN_BARS: Final = 20
# Lines named in a notice.
MAX_LINES: Final = 5
_BLOCK: Final = 1 << 15

NoticeKind = Literal[
    "gap",
    "outlier",
    "zero volume",
    "frozen",
    "dropped",
    "sorted",
    "replaced",
    "rounded",
    "left out",
    "units",
    "volume",
    "stamp",
    "symbol",
]


class ImportNotice(msgspec.Struct, frozen=True, kw_only=True):
    """Something noticed in a file that did not stop it from being read."""

    kind: Annotated[NoticeKind, Meta(description="What kind of thing it is.")]
    count: Annotated[int, Meta(description="Number of rows or gaps.")]
    lines: Annotated[
        tuple[int, ...],
        Meta(
            description="Numbers of the first few lines, from 1; in a text file the header is line 1, in other files the first row is row 1."
        ),
    ]
    text: Annotated[str, Meta(description="What was noticed, in words.")]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a file was read, and what was noticed in it."""

    format: Annotated[str, Meta(description="Format of the file.", examples=["csv", "json", "json lines", "parquet", "arrow"])]
    compression: Annotated[str, Meta(description="`gzip`, `zstd`, `bzip2`, `xz`, `zip` or empty.")]
    separator: Annotated[str, Meta(description="Character between the values of a CSV file.")]
    decimal_mark: Annotated[str, Meta(description="Decimal mark of a CSV file.")]
    header: Annotated[bool, Meta(description="Whether the first line names the columns.")]
    columns: Annotated[dict[str, str], Meta(description="Name of each column in the file.")]
    time_format: Annotated[
        str, Meta(description="`epoch s`, `epoch ms`, `epoch us`, `epoch ns`, a date-time type, or the pattern of a text.")
    ]
    time_zone: Annotated[str, Meta(description="Time zone of the times in the file.")]
    rows: Annotated[int, Meta(description="Number of rows in the file, without blank lines.")]
    bars: Annotated[int, Meta(description="Number of bars read.")]
    timeframe: Annotated[str, Meta(description="Time between bars.", examples=["5m"])]
    first_time: Annotated[int, Meta(description="Open time of the first bar, UTC epoch milliseconds.")]
    last_time: Annotated[int, Meta(description="Open time of the last bar, UTC epoch milliseconds.")]
    notices: Annotated[tuple[ImportNotice, ...], Meta(description="What was noticed in the file.")]
    calendar: Annotated[str, Meta(description="Calendar whose sessions define gaps; empty: gaps are measured by the clock.")] = ""

    def count(self, kind: str) -> int:
        """Total count of the notices of one kind."""
        return sum(notice.count for notice in self.notices if notice.kind == kind)


def notice_rows(kind: Any, raw: RawTable, rows: Integers, noun: str, text: str) -> ImportNotice:
    """A notice about these rows, counted from 0."""
    return notice_lines(kind, raw, len(rows), [int(row) + raw.first for row in rows[:MAX_LINES]], noun, text)


def notice_lines(kind: Any, raw: RawTable, count: int, lines: list[int], noun: str, text: str) -> ImportNotice:
    """A notice about `count` lines, of which the first are given. `text` leads to the list of lines."""
    shown = tuple(lines[:MAX_LINES])
    unit = raw.unit if len(shown) == 1 else f"{raw.unit}s"
    places = f"{unit} {', '.join(map(str, shown))}{' and more' if count > len(shown) else ''}"
    return ImportNotice(kind=kind, count=count, lines=shown, text=f"{_plural(count, noun)} {text} {places}")


def inspect(bars: Bars, calendar: str, raw: RawTable, rows: Integers | None, *, has_volume: bool) -> list[ImportNotice]:
    """Notices about gaps, outliers, missing volume and frozen prices; `rows` are the rows of the bars if not all in order."""
    holes, missing = gaps(bars.time, bars.timeframe_ms, calendar)
    findings = (
        ("gap", holes, "gap", f"({_plural(int(missing.sum()), 'bar')} of {bars.timeframe} missing), after"),
        ("outlier", find_outliers(bars), "bar", "far beyond both neighbours:"),
        ("zero volume", np.flatnonzero(bars.volume == 0) if has_volume else holes[:0], "bar", "without volume:"),
        ("frozen", find_frozen(bars), "stretch", f"of {FROZEN_BARS} or more bars at one price, from"),
    )
    return [
        notice_rows(kind, raw, positions if rows is None else rows[positions], noun, text)
        for kind, positions, noun, text in findings
        if len(positions)
    ]


def find_outliers(bars: Bars) -> Integers:
    """Positions of spikes: bars whose high (low) is beyond the highs (lows) of both neighbours by `OUTLIER_RANGES` times the median
    range, ranges being `(high - low) / close`, and by at least `OUTLIER_FRACTION`."""
    if len(bars) < 3:
        return np.empty(0, np.int64)
    pieces = [np.empty(0, np.int64)]
    # Prices near the limit of float64 overflow to infinity here, which rightly is beyond everything.
    with np.errstate(over="ignore", invalid="ignore"):
        sample = slice(None, None, 1 + len(bars) // _SAMPLE)
        typical = float(np.nanmedian((bars.high[sample] - bars.low[sample]) / bars.close[sample]))
        limit = 1.0 + max(OUTLIER_RANGES * typical, OUTLIER_FRACTION)
        for begin in range(0, len(bars) - 2, _BLOCK):
            high, low = bars.high[begin : begin + _BLOCK + 2], bars.low[begin : begin + _BLOCK + 2]
            above = high[1:-1] > np.maximum(high[:-2], high[2:]) * limit
            below = low[1:-1] * limit < np.minimum(low[:-2], low[2:])
            pieces.append(np.flatnonzero(above | below) + begin + 1)
    return np.concatenate(pieces)


def find_frozen(bars: Bars) -> Integers:
    """Position of the first bar of each stretch of `FROZEN_BARS` or more bars that all have the same price, from open to close."""
    still = (bars.high == bars.low).view(np.int8)
    if still.sum() < FROZEN_BARS - 1:
        return np.empty(0, np.int64)
    still[1:] &= bars.close[1:] == bars.close[:-1]
    edges = np.flatnonzero(np.diff(still, prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    # The bar before, whose close is that price, is not counted.
    first: Integers = starts[ends - starts >= FROZEN_BARS - 1]
    return first


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else noun + 'es' if noun.endswith('ch') else noun + 's'}"
