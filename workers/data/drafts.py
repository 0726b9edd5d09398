"""Versions of datasets before they are stored: their files are written, but have no names yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

import python_core as bt
from python_core.data.calendars import gaps
from python_core.data.columns import funding_columns, mark_columns
from workers.data.parts import (
    SERIES,
    Columns,
    Drafts,
    Part,
    Series,
    bars_from_series,
    concatenate,
    group_by_series,
    merge,
    series_from_bars,
)
from workers.errors import Invalid, as_client_error
from workers.model.datasets import Dataset


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored of a version.

    Attributes:
        added_bytes: size of the files that are new.
        gaps: number of times at which bars are missing, within the sessions of the calendar.
        report: the import report, as JSON.
    """

    parts: tuple[Part, ...]
    added_bytes: int
    timeframe: str
    rows: int
    start: int
    end: int
    gaps: int
    fingerprint: str
    bytes: int
    report: str | None


def draft_new(drafts: Drafts, bars: bt.Bars, calendar: str, report: str | None) -> Draft:
    """Write bars, with their funding rates and mark prices, as the first version of a dataset."""
    with ThreadPoolExecutor(1) as thread:
        hashed = thread.submit(lambda: bars.fingerprint)
        parts = [part for name, columns in series_from_bars(bars).items() for part in drafts.write(name, columns)]
        hashed.result()
    return _describe(bars, parts, (), calendar, report)


def draft_append(
    drafts: Drafts, newest: Dataset, old_parts: Iterable[Part], series: Mapping[Series, Columns], calendar: str, report: str | None
) -> Draft:
    """Write the parts that change when rows are added to a version; equal parts if it already has all rows.

    Raises:
        Conflict: it has other values at one of these times.
        Invalid: the rows are not bars of its timeframe.
    """
    groups = group_by_series(old_parts)
    for name, columns in series.items():
        groups[name] = merge(drafts, name, groups.get(name, []), _validate(name, columns, newest.timeframe))
    merged = {name: concatenate([drafts.read(part) for part in group]) for name, group in groups.items()}
    with as_client_error():
        bars = bars_from_series(merged, timeframe=newest.timeframe, symbol=newest.symbol)
    return _describe(bars, [part for group in groups.values() for part in group], old_parts, calendar, report)


def _describe(bars: bt.Bars, parts: Iterable[Part], old_parts: Iterable[Part], calendar: str, report: str | None) -> Draft:
    parts, old = tuple(parts), {part.hash for part in old_parts}
    with as_client_error():
        missing = len(gaps(bars.time, bars.timeframe_ms, calendar)[0])
    return Draft(
        parts=parts,
        added_bytes=sum({part.hash: part.bytes for part in parts if part.hash not in old}.values()),
        timeframe=bars.timeframe,
        rows=len(bars),
        start=int(bars.time[0]),
        end=int(bars.time[-1]),
        gaps=missing,
        fingerprint=bars.fingerprint,
        bytes=sum(part.bytes for part in parts),
        report=report,
    )


def _validate(name: Series, columns: Columns, timeframe: str) -> Columns:
    """Check rows and convert them to the stored form; raises Invalid."""
    names = SERIES[name]
    if set(columns) != set(names):
        raise Invalid(f"unexpected columns {', '.join(columns)}", where=name, hint=f"use {', '.join(names)}")
    with as_client_error():
        if name == "bars":
            bars = bt.Bars(*(columns[column] for column in names), timeframe=timeframe)
            return {column: getattr(bars, column) for column in names}
        check = funding_columns if name == "funding" else mark_columns
        return dict(zip(names, check(*(columns[column] for column in names)), strict=True))
