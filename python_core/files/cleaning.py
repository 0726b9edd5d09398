"""From the cells of a file to Bars: times and numbers read, faults named or mended as the caller's policy says, and all of it reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.bars import Bars
from python_core.data.calendars import gaps
from python_core.data.columns import COLUMNS, PRICES, Floats, Integers, iso
from python_core.data.timeframes import smallest_step
from python_core.errors import BarsError, BarstormError
from python_core.files import headers as columns
from python_core.files.column_buffer import ColumnBuffer
from python_core.files.headers import RawTable
from python_core.files.timestamps import MISSING, TIME_HINT, TimeReader

Policy = Literal["reject", "drop", "repair"]
Booleans = npt.NDArray[np.bool_]

# A spike reaches this many typical ranges beyond both its neighbours, and at least 2 %.
OUTLIER_RANGES: Final = 20.0
OUTLIER_FRACTION: Final = 0.02
# Of longer data, the typical range is that of about so many bars spread over it.
_SAMPLE: Final = 1 << 18
# So many bars in a row whose four prices are all the same are frozen.
FROZEN_BARS: Final = 20
_SHOWN: Final = 5
_BLOCK: Final = 1 << 15


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something noticed in a file that did not stop it from being read."""

    kind: Literal["gap", "outlier", "zero volume", "frozen", "dropped", "sorted", "replaced"]
    count: int
    lines: tuple[int, ...]
    """The first few, numbered as in the file: a text file's header is line 1; elsewhere the first row is row 1."""
    text: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a file turned out to be."""

    format: str
    """`csv`, `parquet` or `arrow`."""
    compression: str
    """`gzip`, `zstd` or empty."""
    separator: str
    decimal_mark: str
    header: bool
    columns: dict[str, str]
    """Which column of the file became which of ours."""
    time_format: str
    """`epoch s`, `epoch ms`, `epoch us`, `epoch ns`, a date-time type, or the pattern of a text."""
    time_zone: str
    rows: int
    """Rows in the file, blank lines not counted."""
    bars: int
    timeframe: str
    first_time: int
    last_time: int
    """Open times of the first and last bar, epoch milliseconds."""
    notices: tuple[Notice, ...]
    calendar: str = ""
    """The calendar in whose sessions gaps were looked for; empty: by the clock."""

    def count(self, kind: str) -> int:
        """How often one kind of thing was noticed."""
        return sum(notice.count for notice in self.notices if notice.kind == kind)


def clean(
    blocks: Iterable[RawTable],
    *,
    policy: Policy,
    timeframe: str | int | None,
    symbol: str,
    scratch: Path | None = None,
    calendar: str = "",
) -> tuple[Bars, ImportReport]:
    """Bars of a file's cells, and the report; BarsError names the first faults that `policy` does not allow."""
    with ColumnBuffer(scratch) as kept:
        return _cleaned(kept, blocks, policy, timeframe, symbol, calendar)


def _cleaned(
    kept: ColumnBuffer, blocks: Iterable[RawTable], policy: Policy, timeframe: str | int | None, symbol: str, calendar: str
) -> tuple[Bars, ImportReport]:
    times, notices = TimeReader(), list[Notice]()
    raw: RawTable | None = None
    seen = total = faulty = 0
    skipped: list[Integers] = []
    faults: list[tuple[int, str, str]] = []
    for block in blocks:
        raw = raw or msgspec.structs.replace(block, frame=block.frame.clear())
        columns.check_rows(seen + len(block.frame), block.file)
        cells: dict[str, Any] = {"time": times.read(block)}
        cells |= {name: _numbers(block, name) for name in COLUMNS[1:]}
        bad, blank = _invalid(cells), _blank(block)
        out = bad
        if blank is not None:
            bad, out = bad & ~blank, bad | blank
            total -= int(blank.sum())
        total += len(bad)
        if bad.any():
            if policy != "drop" and len(faults) < _SHOWN:
                shown = np.flatnonzero(bad)[:_SHOWN].tolist()
                faults += [(seen + row, name, text) for row in shown for name, text in _faults(block, cells, row)]
            faulty += int(bad.sum())
            notices.append(_notice("dropped", block, np.flatnonzero(bad), "row", ""))
        if out.any():
            skipped.append(np.flatnonzero(out) + seen)
            cells = {name: values[~out] for name, values in cells.items()}
        if not faults:
            kept.append(cells)
        seen += len(bad)
    if raw is None or not total:
        file = raw.file if raw else ""
        raise BarsError("no bars", where=file, hint="give at least one row below the header", code="no_bars")
    if faults:
        raise _unusable(raw, faults, faulty, total)
    if faulty:
        lines = [line for notice in notices for line in notice.lines]
        notices = [_counted("dropped", raw, faulty, lines, "row", "left out as no valid bar")]
    rows = np.delete(np.arange(seen), np.concatenate(skipped)) if skipped else None
    bars_columns: dict[str, Any] = kept.finish()
    if not kept.rows:
        raise BarsError(
            f"no bars: none of {total:,} rows is valid", where=raw.file, hint="read with policy='reject' to see why", code="no_bars"
        )
    bars_columns, rows = _ordered(raw, bars_columns, rows, policy, notices)
    try:
        bars = Bars(**bars_columns, timeframe=timeframe, symbol=symbol)
    except BarstormError as error:
        where = f"{raw.file}, {error.where}" if raw.file else error.where
        raise BarsError(error.message, where=where, hint=error.hint, code=error.code) from None

    holes, missing = gaps(bars.time, bars.timeframe_ms, calendar)
    for kind, found, noun, text in (
        ("gap", holes, "gap", f"of {_count(int(missing.sum()), bars.timeframe + ' bar')} in all, after"),
        ("outlier", outliers(bars), "bar", "far beyond both neighbours"),
        ("zero volume", np.flatnonzero(bars.volume == 0), "bar", "without volume"),
        ("frozen", frozen(bars), "stretch", f"of {FROZEN_BARS} bars or more at one price, from"),
    ):
        if len(found):
            notices.append(_notice(kind, raw, found if rows is None else rows[found], noun, text))
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
        notices=tuple(notices),
        calendar=calendar,
    )
    return bars, report


def numbers_of(blocks: Iterable[RawTable], wanted: Sequence[str]) -> dict[str, Any]:
    """Time and numbers of a file's cells; BarsError names the first that holds none."""
    times = TimeReader()
    pieces: dict[str, list[Any]] = {name: [] for name in wanted}
    for block in blocks:
        cells: dict[str, Any] = {"time": times.read(block)} | {name: _numbers(block, name) for name in wanted[1:]}
        if (blank := _blank(block)) is not None:
            cells = {name: values[~blank] for name, values in cells.items()}
        for name, values in cells.items():
            bad = values == MISSING if name == "time" else ~np.isfinite(values)
            if bad.any():
                row = int(np.flatnonzero(bad)[0] if blank is None else np.flatnonzero(~blank)[bad][0])
                hint = TIME_HINT if name == "time" else "give a finite number"
                text = f"{str(block.frame[name][row])[:40]!r} is no {'time' if name == 'time' else 'number'}"
                raise BarsError(text, where=block.place(row, name), hint=hint, code="invalid_rows")
            pieces[name].append(values)
    return {name: np.concatenate(values) if values else np.empty(0) for name, values in pieces.items()}


def outliers(bars: Bars) -> Integers:
    """Indices of spikes: bars whose high (low) is beyond the highs (lows) of both neighbours by `OUTLIER_RANGES` times the median range,
    ranges being `(high - low) / close`, and by `OUTLIER_FRACTION` at least."""
    if len(bars) < 3:
        return np.empty(0, np.int64)
    found = [np.empty(0, np.int64)]
    # Prices near the end of float64 overflow to infinity here, which is beyond everything, as it should be.
    with np.errstate(over="ignore", invalid="ignore"):
        some = slice(None, None, 1 + len(bars) // _SAMPLE)
        typical = float(np.nanmedian((bars.high[some] - bars.low[some]) / bars.close[some]))
        limit = 1.0 + max(OUTLIER_RANGES * typical, OUTLIER_FRACTION)
        for begin in range(0, len(bars) - 2, _BLOCK):
            high, low = bars.high[begin : begin + _BLOCK + 2], bars.low[begin : begin + _BLOCK + 2]
            above = high[1:-1] > np.maximum(high[:-2], high[2:]) * limit
            below = low[1:-1] * limit < np.minimum(low[:-2], low[2:])
            found.append(np.flatnonzero(above | below) + begin + 1)
    return np.concatenate(found)


def frozen(bars: Bars) -> Integers:
    """Indices of the first bar of each stretch of `FROZEN_BARS` bars or more that all have the same price, from open to close."""
    still = (bars.high == bars.low).view(np.int8)
    if still.sum() < FROZEN_BARS - 1:
        return np.empty(0, np.int64)
    still[1:] &= bars.close[1:] == bars.close[:-1]
    edges = np.flatnonzero(np.diff(still, prepend=0, append=0))
    starts, ends = edges[::2], edges[1::2]
    # The bar before, at which the price came to rest, is not counted.
    found: Integers = starts[ends - starts >= FROZEN_BARS - 1]
    return found


def _numbers(raw: RawTable, name: str) -> Floats:
    """One column as float64[n], NaN where a cell holds no number."""
    import polars

    series = raw.frame[name]
    if series.dtype == polars.Categorical or series.dtype == polars.Enum:
        series = series.cast(polars.String)
    if series.dtype == polars.String:
        text = series.str.strip_chars(" \t\r\"'")
        if raw.decimal_mark == ",":
            # A dot would be a thousands mark then; such a cell must not turn into another number.
            text = polars.select(
                polars.when(text.str.contains(".", literal=True)).then(None).otherwise(text.str.replace(",", ".", literal=True))
            ).to_series()
        series = text.cast(polars.Float64, strict=False)
    elif not series.dtype.is_numeric():
        raise BarsError(
            f"column {raw.names[name]} holds {series.dtype}", where=raw.file or name, hint="give numbers", code="unreadable_column"
        )
    values: Floats = series.cast(polars.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return values


def _blank(raw: RawTable) -> Booleans | None:
    """Which rows are blank lines of a text; None when no cell is empty."""
    import polars

    if raw.unit != "line" or not sum(raw.frame.null_count().row(0)):
        return None
    blank: Booleans = raw.frame.select(polars.all_horizontal(polars.all().is_null())).to_series().to_numpy()
    return blank if blank.any() else None


def _invalid(columns: dict[str, Any]) -> Booleans:
    """Which rows are no valid bars; in blocks that stay in the cache."""
    bad: Booleans = columns["time"] == MISSING
    for begin in range(0, len(bad), _BLOCK):
        part, block = bad[begin : begin + _BLOCK], slice(begin, begin + _BLOCK)
        open_, high, low, close, volume = (columns[name][block] for name in COLUMNS[1:])
        for values in (open_, high, low, close, volume):
            part |= ~np.isfinite(values)
        part |= (low <= 0) | (volume < 0) | (low > open_) | (low > close) | (high < open_) | (high < close)
    return bad


def _ordered(
    raw: RawTable, columns: dict[str, Any], rows: Integers | None, policy: Policy, notices: list[Notice]
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
            what = (
                "the rows run from new to old" if len(back) == len(step) else f"{iso(columns['time'][i])} is earlier than the row before it"
            )
            raise BarsError(
                f"{what}{_also(len(back), 'step back')}",
                where=raw.place(int(numbers(np.array([i]))[0]), "time"),
                hint="sort by time, or read with policy='repair'",
                code="not_sorted",
            )
        notices.append(_notice("sorted", raw, numbers(back + 1), "row", "earlier than the one before, so all were sorted"))
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
        raise BarsError(
            f"{iso(columns['time'][i])} was already in {raw.unit} {before}, with {'the same' if exact else 'other'} values{_also(len(repeats), 'repeat')}",
            where=raw.place(here - raw.first, "time"),
            hint="keep one of them, or read with " + ("policy='drop'" if same.all() else "policy='repair', which keeps the last"),
            code="duplicate_time",
        )
    # Of a run of one time the first goes on under `drop` (all are alike), the last under `repair`.
    keep = np.ones(len(columns["time"]), bool)
    keep[repeats if policy == "drop" else repeats - 1] = False
    for kind, which, text in (
        ("dropped", repeats[same], "left out as an exact repeat"),
        ("replaced", repeats[~same], "put in place of an earlier one of the same time"),
    ):
        if which.size:
            notices.append(_notice(kind, raw, numbers(which), "row", text))
    kept = np.flatnonzero(keep)
    return {name: values[kept] for name, values in columns.items()}, numbers(kept)


def _unusable(raw: RawTable, faults: list[tuple[int, str, str]], count: int, total: int) -> BarsError:
    (row, name, text), rest = faults[0], faults[1:_SHOWN]
    also = "; ".join(f"{raw.unit} {row + raw.first}, {raw.names[name]}: {text}" for row, name, text in rest)
    more = f" ({also})" if also else ""
    summary = f"{count:,} of {total:,} rows are no valid bars" if count > 1 else f"1 of {total:,} rows is no valid bar"
    bar = "give finite prices > 0 with low the lowest and high the highest of the four, and volume >= 0"
    hint = f"{TIME_HINT if name == 'time' else bar}, or leave such rows out with policy='drop'"
    return BarsError(f"{text}{more}; {summary}", where=raw.place(row, name), hint=hint, code="invalid_rows")


def _faults(raw: RawTable, columns: dict[str, Any], row: int) -> list[tuple[str, str]]:
    """What is wrong in a row: its columns, each with a few words."""
    faults = []
    for name in COLUMNS:
        cell, value = raw.frame[name][row], columns[name][row]
        if cell is None or cell == "":
            faults.append((name, "the cell is empty"))
        elif name == "time":
            if value == MISSING:
                faults.append((name, f"{str(cell)[:40]!r} is no time of 1970 to 9999 in whole milliseconds"))
        elif not np.isfinite(value):
            readable = str(cell).strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
            faults.append((name, f"{str(cell)[:40]} is not finite" if readable else f"{str(cell)[:40]!r} is not a number"))
        elif value < 0 or (value == 0 and name != "volume"):
            faults.append((name, f"{value} is {'negative' if value < 0 else 'no price'}"))
    if not faults:
        low, high = (float(columns[name][row]) for name in ("low", "high"))
        other = max(PRICES, key=lambda name: columns[name][row])
        if high < columns[other][row]:
            faults.append(("high", f"{high} is below {other} {float(columns[other][row])}"))
        else:
            other = min(PRICES, key=lambda name: columns[name][row])
            faults.append(("low", f"{low} is above {other} {float(columns[other][row])}"))
    return faults


def _also(count: int, what: str) -> str:
    return f" ({count:,} {what}s in all)" if count > 1 else ""


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else noun + 'es' if noun.endswith('ch') else noun + 's'}"


def _notice(kind: Any, raw: RawTable, rows: Integers, noun: str, text: str) -> Notice:
    return _counted(kind, raw, len(rows), [int(row) + raw.first for row in rows[:_SHOWN]], noun, text)


def _counted(kind: Any, raw: RawTable, count: int, lines: list[int], noun: str, text: str) -> Notice:
    shown = tuple(lines[:_SHOWN])
    places = f"{raw.unit} {', '.join(map(str, shown))}{' and further' if count > len(shown) else ''}"
    return Notice(kind=kind, count=count, lines=shown, text=f"{_count(count, noun)} {text}: {places}")
