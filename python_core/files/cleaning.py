"""From the rows of a file to Bars: put in order of time, cut to the timeframe, and reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS, Integers, iso
from python_core.data.timeframes import smallest_step
from python_core.errors import BarsError, BarstormError
from python_core.files.cells.clocks import skipped_time, to_utc
from python_core.files.cells.raw_table import RawTable
from python_core.files.cells.timestamps import MISSING, TIME_HINT, TimeReader
from python_core.files.column_buffer import ColumnBuffer
from python_core.files.options import Policy, ReadOptions, option
from python_core.files.report import ImportNotice, ImportReport, inspect, notice_rows
from python_core.files.rows import Rows, blank_rows, invalid_rows, number_column
from python_core.immutable import freeze


def clean(
    blocks: Iterable[RawTable], options: ReadOptions, *, scratch: Path | None = None, calendar: str = ""
) -> tuple[Bars, ImportReport]:
    """Bars of a file's cells, and the report; BarsError names the first errors that the policy does not allow."""
    with ColumnBuffer(scratch) as buffer:
        return _clean(buffer, blocks, options, calendar)


def _clean(buffer: ColumnBuffer, blocks: Iterable[RawTable], options: ReadOptions, calendar: str) -> tuple[Bars, ImportReport]:
    found = Rows(options)
    for block in blocks:
        found.add(block, buffer)
    raw = found.raw
    if raw is not None and len(found.symbols) > 1 and not found.has_wanted_symbol:
        raise found.several_symbols(raw)
    if raw is None or not found.total:
        raise BarsError("no bars", where=raw.file if raw else "", hint="add at least one row below the header", code="no_bars")
    if found.errors:
        raise invalid_rows(raw, found)
    notices = found.notices(raw)
    rows = np.delete(np.arange(found.seen), np.concatenate(found.skipped)) if found.skipped else None
    columns: dict[str, Any] = buffer.finish()
    if not buffer.rows:
        hint = f"set {option('policy', 'reject')} to see why"
        raise BarsError(f"no bars: none of {found.total:,} rows is valid", where=raw.file, hint=hint, code="no_bars")
    found.check_scale(raw, columns["low"])
    if "ticks" in columns:
        ticks = columns.pop("ticks")
        if not columns["volume"].any() and ticks.any():
            columns["volume"] = ticks
            text = f"{raw.names['volume']} is 0 throughout, so that the volume is {raw.names['tick volume']}"
            notices.append(ImportNotice(kind="volume", count=found.total, lines=(), text=text))
            raw = msgspec.structs.replace(raw, names=raw.names | {"volume": raw.names["tick volume"]})
    if (zone := found.times.wall_clock) is not None:
        columns["time"] = _from_wall_clock(raw, columns["time"], rows, zone)
    try:
        columns, rows = _order_by_time(raw, columns, rows, options.policy, notices)
        columns, rows, timeframe = _fit_timeframe(raw, columns, rows, options, notices)
        bars = Bars(**{name: freeze(values) for name, values in columns.items()}, timeframe=timeframe, symbol=options.symbol)
    except BarstormError as error:
        is_placed = not raw.file or error.where.startswith(raw.file)
        where = error.where if is_placed else ", ".join(part for part in (raw.file, error.where) if part)
        raise BarsError(f"{error.message} ({found.understood(raw)})", where=where, hint=error.hint, code=error.code) from None
    names = {name: title for name, title in raw.names.items() if name not in ("volume again", "tick volume")}
    report = ImportReport(
        format=raw.format,
        compression=raw.compression,
        separator=raw.separator,
        decimal_mark=raw.numbers.decimal if raw.format == "csv" else "",
        header=raw.header,
        columns=names,
        time_format=found.times.format,
        time_zone=found.times.zone,
        rows=found.total,
        bars=len(bars),
        timeframe=bars.timeframe,
        first_time=int(bars.time[0]),
        last_time=int(bars.time[-1]),
        notices=(*notices, *inspect(bars, calendar, raw, rows, has_volume=found.has_volume)),
        calendar=calendar,
    )
    return bars, report


def read_numbers(blocks: Iterable[RawTable], columns: Sequence[str], options: ReadOptions) -> dict[str, Any]:
    """The columns of a file's cells, the first of them times; BarsError names the first cell that can't be read."""
    times = TimeReader(options)
    pieces: dict[str, list[Any]] = {name: [] for name in columns}
    raw: RawTable | None = None
    for block in blocks:
        raw = raw or block
        cells: dict[str, Any] = {"time": times.read(block)} | {name: number_column(block, name) for name in columns[1:]}
        if (blank := blank_rows(block)) is not None:
            cells = {name: values[~blank] for name, values in cells.items()}
        for name, values in cells.items():
            bad = (values == MISSING) | (values < options.earliest_ms) if name == "time" else ~np.isfinite(values)
            if bad.any():
                row = int(np.flatnonzero(bad)[0] if blank is None else np.flatnonzero(~blank)[bad][0])
                hint = TIME_HINT if name == "time" else "use a finite number"
                text = f"{str(block.frame[name][row])[:40]!r} is not a {'time since 1980' if name == 'time' else 'number'}"
                raise BarsError(text, where=block.location(row, name), hint=hint, code="invalid_rows")
            pieces[name].append(values)
    found: dict[str, Any] = {name: np.concatenate(values) if values else np.empty(0) for name, values in pieces.items()}
    if raw is not None and (zone := times.wall_clock) is not None:
        found["time"] = _from_wall_clock(raw, found["time"], None, zone)
    if len(found["time"]) > 1 and (np.diff(found["time"]) < 0).all():
        found = {name: values[::-1].copy() for name, values in found.items()}
    return found


def _from_wall_clock(raw: RawTable, times: Integers, rows: Integers | None, zone: str) -> Integers:
    steps = np.diff(times)
    utc, skipped = to_utc(times, zone, newest_first=int((steps < 0).sum()) > int((steps > 0).sum()))
    if skipped is not None:
        row = skipped if rows is None else int(rows[skipped])
        raise skipped_time(int(times[skipped]), zone, raw.location(row, "time"))
    return utc


def _fit_timeframe(
    raw: RawTable, columns: dict[str, Any], rows: Integers | None, options: ReadOptions, notices: list[ImportNotice]
) -> tuple[dict[str, Any], Integers | None, str]:
    """The rows without an odd first or last one, stamped with their opens, and their timeframe."""
    time = columns["time"]
    try:
        name = timeframes.infer(time, odd_ends=True) if options.timeframe is None else timeframes.parse(options.timeframe)
    except BarstormError as error:
        needs_one = len(time) < 2 or error.hint == timeframes.GIVE
        hint = f"set {option('timeframe', '1h')} or another" if needs_one else error.hint
        raise BarsError(error.message, where=error.where, hint=hint, code=error.code) from None
    length_ms = timeframes.milliseconds(name)
    begin, end = timeframes.without_odd_ends(time, length_ms)
    if end - begin < len(time):
        odd = np.array([i for i in range(len(time)) if not begin <= i < end])
        positions = odd if rows is None else rows[odd]
        text = f"at the ends that open less than one {name} bar from the next were left out:"
        notices.append(notice_rows("left out", raw, positions, "row", text))
        columns = {column: values[begin:end] for column, values in columns.items()}
        rows = np.arange(begin, end) if rows is None else rows[begin:end]
    if "close" in (options.stamp, raw.traits.stamp):
        columns["time"] = timeframes.open_times(columns["time"], length_ms)
        if options.stamp != "close":
            text = f"{raw.names['time']} is when bars end, so that they open one {name} earlier"
            notices.append(ImportNotice(kind="stamp", count=len(columns["time"]), lines=(), text=text))
    return columns, rows, name


def _order_by_time(
    raw: RawTable, columns: dict[str, Any], rows: Integers | None, policy: Policy, notices: list[ImportNotice]
) -> tuple[dict[str, Any], Integers | None]:
    """The rows in strictly increasing order of time, or the error that says why the policy does not allow it."""

    def numbers(indices: Integers) -> Integers:
        return indices if rows is None else rows[indices]

    if len(columns["time"]) < 2 or smallest_step(columns["time"]) > 0:
        return columns, rows
    step = np.diff(columns["time"])
    if (back := np.flatnonzero(step < 0)).size:
        if (step <= 0).all():
            notices.append(
                ImportNotice(kind="sorted", count=len(step) + 1, lines=(), text="the newest row comes first, so all rows were sorted")
            )
        elif policy != "repair":
            i = int(back[0]) + 1
            raise BarsError(
                f"{iso(columns['time'][i])} is earlier than the row before{_in_total(len(back), 'backward step')}",
                where=raw.location(int(numbers(np.array([i]))[0]), "time"),
                hint=f"sort by time, or set {option('policy', 'repair')}",
                code="not_sorted",
            )
        else:
            notices.append(notice_rows("sorted", raw, numbers(back + 1), "row", "earlier than the row before, so all rows were sorted:"))
        order = np.argsort(columns["time"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        rows = numbers(order)
        step = np.diff(columns["time"])
    if not (repeats := np.flatnonzero(step == 0) + 1).size:
        return columns, rows
    same = np.logical_and.reduce([columns[name][repeats] == columns[name][repeats - 1] for name in COLUMNS[1:]])
    if policy == "reject" or not same.all():
        i = int(repeats[0] if policy == "reject" else repeats[~same][0])
        here, before = (int(number) + raw.first for number in numbers(np.array([i, i - 1])))
        exact = bool(same[0]) if policy == "reject" else False
        raise BarsError(
            f"{iso(columns['time'][i])} was already in {raw.unit} {before}, with {'the same values' if exact else 'other values'}"
            f"{_in_total(len(repeats), 'repeat')}",
            where=raw.location(here - raw.first, "time"),
            hint=f"keep one of them{', or set ' + option('policy', 'drop') if same.all() else ''}",
            code="duplicate_time",
        )
    notices.append(notice_rows("dropped", raw, numbers(repeats), "row", "dropped for repeating an earlier row exactly:"))
    positions = np.delete(np.arange(len(columns["time"])), repeats)
    return {name: values[positions] for name, values in columns.items()}, numbers(positions)


def _in_total(count: int, noun: str) -> str:
    return f" ({count:,} {noun}s in total)" if count > 1 else ""
