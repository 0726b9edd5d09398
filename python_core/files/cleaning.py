"""From the cells of a file to Bars: parse times and numbers, and report, drop or repair invalid rows as the policy says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.data.columns import COLUMNS, PRICES, Floats, Integers, iso
from python_core.data.timeframes import smallest_step
from python_core.errors import BarsError, BarstormError
from python_core.files import headers
from python_core.files.column_buffer import ColumnBuffer
from python_core.files.headers import RawTable
from python_core.files.report import MAX_LINES, ImportNotice, ImportReport, inspect, notice_lines, notice_rows
from python_core.files.timestamps import MISSING, TIME_HINT, TimeReader
from python_core.immutable import freeze

Policy = Literal["reject", "drop", "repair"]
Booleans = npt.NDArray[np.bool_]

_BLOCK: Final = 1 << 15


class RowError(msgspec.Struct, frozen=True):
    """What is wrong with a cell."""

    row: int
    column: str
    text: str


def clean(
    blocks: Iterable[RawTable],
    *,
    policy: Policy,
    timeframe: str | int | None,
    symbol: str,
    scratch: Path | None = None,
    calendar: str = "",
) -> tuple[Bars, ImportReport]:
    """Bars of a file's cells, and the report; BarsError names the first errors that `policy` does not allow."""
    with ColumnBuffer(scratch) as buffer:
        return _clean(buffer, blocks, policy, timeframe, symbol, calendar)


def _clean(
    buffer: ColumnBuffer, blocks: Iterable[RawTable], policy: Policy, timeframe: str | int | None, symbol: str, calendar: str
) -> tuple[Bars, ImportReport]:
    times, notices = TimeReader(), list[ImportNotice]()
    raw: RawTable | None = None
    seen = total = invalid = 0
    skipped: list[Integers] = []
    errors: list[RowError] = []
    for block in blocks:
        raw = raw or msgspec.structs.replace(block, frame=block.frame.clear())
        headers.check_rows(seen + len(block.frame), block.file)
        cells: dict[str, Any] = {"time": times.read(block)}
        cells |= {name: _numbers(block, name) for name in COLUMNS[1:]}
        bad, blank = _invalid(cells), _blank(block)
        out = bad
        if blank is not None:
            bad, out = bad & ~blank, bad | blank
            total -= int(blank.sum())
        total += len(bad)
        if bad.any():
            if policy != "drop" and len(errors) < MAX_LINES:
                for row in np.flatnonzero(bad)[:MAX_LINES].tolist():
                    errors += [RowError(seen + row, name, text) for name, text in _describe(block, cells, row)]
            invalid += int(bad.sum())
            notices.append(notice_rows("dropped", block, np.flatnonzero(bad), "row", ""))
        if out.any():
            skipped.append(np.flatnonzero(out) + seen)
            cells = {name: values[~out] for name, values in cells.items()}
        if not errors:
            buffer.append(cells)
        seen += len(bad)
    if raw is None or not total:
        file = raw.file if raw else ""
        raise BarsError("no bars", where=file, hint="add at least one row below the header", code="no_bars")
    if errors:
        raise _invalid_rows(raw, errors, invalid, total)
    if invalid:
        lines = [line for notice in notices for line in notice.lines]
        notices = [notice_lines("dropped", raw, invalid, lines, "row", "dropped as invalid:")]
    rows = np.delete(np.arange(seen), np.concatenate(skipped)) if skipped else None
    columns: dict[str, Any] = buffer.finish()
    if not buffer.rows:
        raise BarsError(
            f"no bars: none of {total:,} rows is valid", where=raw.file, hint="use the policy 'reject' to see why", code="no_bars"
        )
    columns, rows = _order_by_time(raw, columns, rows, policy, notices)
    try:
        bars = Bars(**{name: freeze(values) for name, values in columns.items()}, timeframe=timeframe, symbol=symbol)
    except BarstormError as error:
        where = f"{raw.file}, {error.where}" if raw.file else error.where
        raise BarsError(error.message, where=where, hint=error.hint, code=error.code) from None

    report = ImportReport(
        format=raw.format,
        compression=raw.compression,
        separator=raw.separator,
        decimal_mark=raw.decimal_mark,
        header=raw.header,
        columns=raw.names,
        time_format=times.format,
        time_zone=times.zone,
        rows=total,
        bars=len(bars),
        timeframe=bars.timeframe,
        first_time=int(bars.time[0]),
        last_time=int(bars.time[-1]),
        notices=(*notices, *inspect(bars, calendar, raw, rows)),
        calendar=calendar,
    )
    return bars, report


def read_numbers(blocks: Iterable[RawTable], columns: Sequence[str]) -> dict[str, Any]:
    """The columns of a file's cells, the first of them times; BarsError names the first cell that can't be read."""
    times = TimeReader()
    pieces: dict[str, list[Any]] = {name: [] for name in columns}
    for block in blocks:
        cells: dict[str, Any] = {"time": times.read(block)} | {name: _numbers(block, name) for name in columns[1:]}
        if (blank := _blank(block)) is not None:
            cells = {name: values[~blank] for name, values in cells.items()}
        for name, values in cells.items():
            bad = values == MISSING if name == "time" else ~np.isfinite(values)
            if bad.any():
                row = int(np.flatnonzero(bad)[0] if blank is None else np.flatnonzero(~blank)[bad][0])
                hint = TIME_HINT if name == "time" else "use a finite number"
                text = f"{str(block.frame[name][row])[:40]!r} is not a {'time' if name == 'time' else 'number'}"
                raise BarsError(text, where=block.location(row, name), hint=hint, code="invalid_rows")
            pieces[name].append(values)
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in pieces.items()}


def _numbers(raw: RawTable, name: str) -> Floats:
    """One column as float64[n], NaN where a cell is not a number."""
    import polars

    series = raw.frame[name]
    if series.dtype == polars.Categorical or series.dtype == polars.Enum:
        series = series.cast(polars.String)
    if series.dtype == polars.String:
        text = series.str.strip_chars(" \t\r\"'")
        if raw.decimal_mark == ",":
            # A dot would be a thousands separator then; such a cell must not turn into another number.
            text = polars.select(
                polars.when(text.str.contains(".", literal=True)).then(None).otherwise(text.str.replace(",", ".", literal=True))
            ).to_series()
        series = text.cast(polars.Float64, strict=False)
    elif not series.dtype.is_numeric():
        raise BarsError(
            f"column {raw.names[name]} has the type {series.dtype}", where=raw.file or name, hint="use numbers", code="unreadable_column"
        )
    values: Floats = series.cast(polars.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return values


def _blank(raw: RawTable) -> Booleans | None:
    """Which rows are blank lines of a text; None if no cell is empty."""
    import polars

    if raw.unit != "line" or not sum(raw.frame.null_count().row(0)):
        return None
    blank: Booleans = raw.frame.select(polars.all_horizontal(polars.all().is_null())).to_series().to_numpy()
    return blank if blank.any() else None


def _invalid(columns: dict[str, Any]) -> Booleans:
    """Which rows are not valid bars, computed in blocks that fit the cache."""
    bad: Booleans = columns["time"] == MISSING
    for begin in range(0, len(bad), _BLOCK):
        part, block = bad[begin : begin + _BLOCK], slice(begin, begin + _BLOCK)
        open_, high, low, close, volume = (columns[name][block] for name in COLUMNS[1:])
        for values in (open_, high, low, close, volume):
            part |= ~np.isfinite(values)
        part |= (low <= 0) | (volume < 0) | (low > open_) | (low > close) | (high < open_) | (high < close)
    return bad


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
        if policy != "repair":
            i = int(back[0]) + 1
            descending = len(back) == len(step)
            what = "the newest row comes first" if descending else f"{iso(columns['time'][i])} is earlier than the row before"
            raise BarsError(
                f"{what}{_in_total(len(back), 'backward step')}",
                where=raw.location(int(numbers(np.array([i]))[0]), "time"),
                hint="sort by time, or use the policy 'repair'",
                code="not_sorted",
            )
        notices.append(notice_rows("sorted", raw, numbers(back + 1), "row", "earlier than the row before, so all rows were sorted:"))
        order = np.argsort(columns["time"], kind="stable")
        columns = {name: values[order] for name, values in columns.items()}
        rows = numbers(order)
        step = np.diff(columns["time"])
    if not (repeats := np.flatnonzero(step == 0) + 1).size:
        return columns, rows
    same = np.logical_and.reduce([columns[name][repeats] == columns[name][repeats - 1] for name in COLUMNS[1:]])
    if policy == "reject" or (policy == "drop" and not same.all()):
        i = int(repeats[0] if policy == "reject" else repeats[~same][0])
        here, before = (int(number) + raw.first for number in numbers(np.array([i, i - 1])))
        exact = bool((same if policy == "reject" else np.zeros(1, bool))[0])
        values = "the same values" if exact else "other values"
        raise BarsError(
            f"{iso(columns['time'][i])} was already in {raw.unit} {before}, with {values}{_in_total(len(repeats), 'repeat')}",
            where=raw.location(here - raw.first, "time"),
            hint="keep one of them, or use the policy " + ("'drop'" if same.all() else "'repair', which keeps the last"),
            code="duplicate_time",
        )
    # Of rows with the same time, `drop` keeps the first (all are equal) and `repair` the last.
    keep = np.ones(len(columns["time"]), bool)
    keep[repeats if policy == "drop" else repeats - 1] = False
    for kind, repeated, text in (
        ("dropped", repeats[same], "dropped for repeating an earlier row exactly:"),
        ("replaced", repeats[~same], "used in place of an earlier row of the same time:"),
    ):
        if repeated.size:
            notices.append(notice_rows(kind, raw, numbers(repeated), "row", text))
    positions = np.flatnonzero(keep)
    return {name: values[positions] for name, values in columns.items()}, numbers(positions)


def _invalid_rows(raw: RawTable, errors: list[RowError], count: int, total: int) -> BarsError:
    first, others = errors[0], errors[1:MAX_LINES]
    also = "; ".join(f"{raw.unit} {error.row + raw.first}, {raw.names[error.column]}: {error.text}" for error in others)
    more = f" ({also})" if also else ""
    summary = f"{count:,} of {total:,} rows {'are' if count > 1 else 'is'} invalid"
    bar = "use finite prices > 0 with low the lowest and high the highest of the four, and volume >= 0"
    hint = f"{TIME_HINT if first.column == 'time' else bar}, or drop such rows with the policy 'drop'"
    return BarsError(f"{first.text}{more}; {summary}", where=raw.location(first.row, first.column), hint=hint, code="invalid_rows")


def _describe(raw: RawTable, columns: dict[str, Any], row: int) -> list[tuple[str, str]]:
    """What is wrong with a row: pairs of column and description."""
    errors = []
    for name in COLUMNS:
        cell, value = raw.frame[name][row], columns[name][row]
        if cell is None or cell == "":
            errors.append((name, "the cell is empty"))
        elif name == "time":
            if value == MISSING:
                errors.append((name, f"{str(cell)[:40]!r} is not a time between 1970 and 9999 in whole milliseconds"))
        elif not np.isfinite(value):
            readable = str(cell).strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
            errors.append((name, f"{str(cell)[:40]} is not finite" if readable else f"{str(cell)[:40]!r} is not a number"))
        elif value < 0 or (value == 0 and name != "volume"):
            errors.append((name, f"{value} is {'negative' if value < 0 else 'not a price'}"))
    if not errors:
        low, high = (float(columns[name][row]) for name in ("low", "high"))
        other = max(PRICES, key=lambda name: columns[name][row])
        if high < columns[other][row]:
            errors.append(("high", f"{high} is below {other} {float(columns[other][row])}"))
        else:
            other = min(PRICES, key=lambda name: columns[name][row])
            errors.append(("low", f"{low} is above {other} {float(columns[other][row])}"))
    return errors


def _in_total(count: int, noun: str) -> str:
    return f" ({count:,} {noun}s in total)" if count > 1 else ""
