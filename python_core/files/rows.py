"""Rows of a file, checked block by block: which are valid bars, and what is wrong with the others."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from python_core.data.columns import COLUMNS, PRICES, Floats, Integers, iso
from python_core.errors import BarsError
from python_core.files import headers
from python_core.files.cells import numbers
from python_core.files.cells.numbers import BLANKS
from python_core.files.cells.raw_table import CUT, RawTable
from python_core.files.cells.timestamps import MISSING, TIME_HINT, TimeReader
from python_core.files.column_buffer import ColumnBuffer
from python_core.files.options import ReadOptions, option
from python_core.files.report import MAX_LINES, ImportNotice, notice_lines, notice_rows

Booleans = npt.NDArray[np.bool_]

_BLOCK: Final = 1 << 15
# The largest fraction of a price by which another may be beyond it by rounding, as in prices that were adjusted.
NOISE: Final = 1e-9
_NO_VALUE: Final = ["", "-", "--", "nan", "null", "none", "n/a", "na"]


class RowError(msgspec.Struct, frozen=True):
    """What is wrong with a cell."""

    row: int
    column: str
    text: str


class Rows:
    """Valid rows of a file, collected block by block, and what was noticed in them."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.times = TimeReader(options)
        self.raw: RawTable | None = None
        self.seen = self.total = self.invalid = 0
        self.skipped: list[Integers] = []
        self.errors: list[RowError] = []
        self.dropped: list[int] = []
        self.rounded: list[Integers] = []
        self.first_bad = ""
        self.without_volume = 0
        self.has_volume = False
        self.symbols: set[str] = set()
        self.has_wanted_symbol = False
        self.left_out: tuple[int, ...] = ()
        self.intervals: set[str] = set()
        self.is_whole = True
        self.volume_is_price = True

    def add(self, block: RawTable, buffer: ColumnBuffer) -> None:
        """Check a block's rows and append the valid ones to the buffer."""
        self.raw = self.raw or msgspec.structs.replace(block, frame=block.frame.clear())
        self.left_out = block.left_out
        headers.check_rows(self.seen + len(block.frame), block.file)
        cells: dict[str, Any] = {"time": self.times.read(block)}
        cells |= {name: number_column(block, name) for name in PRICES}
        out = np.zeros(len(block.frame), bool)
        for left_out in (blank_rows(block), self._other_symbols(block, buffer)):
            if left_out is not None:
                out |= left_out
        cells |= self._volume(block, out)
        self._judge_scale(block, cells, out)
        self.rounded.append(_level_noise(cells) + self.seen)
        bad = _invalid(cells) & ~out
        self.total += len(bad) - int(out.sum())
        self._check_earliest(block, cells["time"], out | bad)
        if bad.any():
            rows = np.flatnonzero(bad)
            self.invalid += len(rows)
            self.dropped += [int(row) + block.first for row in rows[: MAX_LINES - len(self.dropped)]]
            if self.options.policy != "drop" and len(self.errors) < MAX_LINES:
                self.first_bad = self.first_bad or _row_text(block, int(rows[0]))
                for row in rows[:MAX_LINES].tolist():
                    self.errors += [RowError(self.seen + row, name, text) for name, text in _describe(block, cells, row)]
        out |= bad
        if out.any():
            self.skipped.append(np.flatnonzero(out) + self.seen)
            cells = {name: values[~out] for name, values in cells.items()}
        if not self.errors:
            buffer.append(cells)
        self.seen += len(bad)

    def _volume(self, block: RawTable, out: Booleans) -> dict[str, Floats]:
        """The volume, and the tick volume if the file has both; what is missing is 0."""
        if "volume" not in block.frame.columns:
            return {"volume": np.zeros(len(block.frame))}
        self.has_volume = True
        volume, missing = volume_column(block, "volume")
        self.without_volume += int((missing & ~out).sum())
        if "volume again" in block.frame.columns and not np.array_equal(volume, volume_column(block, "volume again")[0], equal_nan=True):
            raise headers.two_columns(block.names["volume"], block.file or "volume")
        if "tick volume" not in block.frame.columns:
            return {"volume": volume}
        return {"volume": volume, "ticks": volume_column(block, "tick volume")[0]}

    def _judge_scale(self, block: RawTable, cells: dict[str, Any], out: Booleans) -> None:
        """Note whether all prices are whole numbers, and all volumes within the prices; BarsError if there are several timeframes."""
        import polars

        if "interval" in block.frame.columns:
            names = block.frame["interval"].cast(polars.String).filter(~polars.Series(out))
            self.intervals |= set(names.unique().drop_nulls()) - {""}
            if len(self.intervals) > 1:
                shown, hint = ", ".join(sorted(self.intervals)[:4]), "keep the rows of one timeframe"
                raise BarsError(f"bars of several timeframes: {shown}", where=block.place("interval"), hint=hint, code="several_timeframes")
        # Only some sources need what follows, see `check_scale`.
        if self.is_whole and (block.traits.scaled or block.compression == "zip"):
            self.is_whole = all(bool((cells[name] == np.floor(cells[name])).all()) for name in PRICES)
        if self.volume_is_price and block.wide:
            inside = (cells["volume"] >= cells["low"]) & (cells["volume"] <= cells["high"])
            self.volume_is_price = bool((inside | out).all())

    def check_scale(self, raw: RawTable, low: Floats) -> None:
        """Refuse prices in billionths or ten-thousandths, and an average price in place of the volume.

        Raises:
            BarsError: names the source that writes it.
        """
        lowest, place, code = float(low.min()), raw.place("open"), "scaled_prices"
        if self.is_whole and raw.traits.scaled and lowest >= 1e6:
            hint = "export it with pretty prices, or divide the prices by 1e9"
            raise BarsError("the prices are whole billionths, as Databento writes them", where=place, hint=hint, code=code)
        is_lean = raw.compression == "zip" and not raw.header and (raw.day_ms is not None or self.times.format == "%Y%m%d %H:%M")
        if self.is_whole and is_lean and lowest >= 1e3:
            what = "the prices may be 10,000 times too high, as LEAN writes those of equities"
            raise BarsError(what, where=place, hint="divide the prices by 10,000", code=code)
        if self.volume_is_price and raw.wide and self.total > 1:
            what = "the volume lies between low and high in every row, so that it may be an average price, as in Kraken's API"
            hint = f"name the columns in order, as in {option('columns', 'time,open,high,low,close,-,volume')}"
            raise BarsError(what, where=raw.place("volume"), hint=hint, code=code)

    def _other_symbols(self, block: RawTable, buffer: ColumnBuffer) -> Booleans | None:
        """Which rows are of another instrument than the one asked for; None if all rows so far are of one.

        Raises:
            BarsError: several instruments, and none was asked for.
        """
        import polars

        if "symbol" not in block.frame.columns:
            return None
        names = block.frame["symbol"].cast(polars.String).str.strip_chars(BLANKS)
        was_other = len(self.symbols) == 1 and not any(map(self._is_wanted, self.symbols))
        self.symbols |= set(names.unique().drop_nulls()) - {""}
        if len(self.symbols) < 2:
            return None
        if not self.options.symbol:
            raise self.several_symbols(block)
        if was_other:
            self._forget(buffer)
        wanted = [name for name in self.symbols if self._is_wanted(name)]
        self.has_wanted_symbol |= bool(wanted)
        others: Booleans = (~names.is_in(wanted)).fill_null(True).to_numpy()
        return others

    def _is_wanted(self, symbol: str) -> bool:
        return headers.normalize(symbol) == headers.normalize(self.options.symbol)

    def _forget(self, buffer: ColumnBuffer) -> None:
        """Leave out the rows so far, which are of another instrument than the one asked for."""
        buffer.clear()
        self.skipped, self.errors, self.dropped, self.rounded = [np.arange(self.seen)], [], [], []
        self.total = self.invalid = self.without_volume = 0

    def several_symbols(self, raw: RawTable) -> BarsError:
        return headers.several_symbols(sorted(self.symbols), f"column {raw.names['symbol']}", raw.file)

    def understood(self, raw: RawTable) -> str:
        """What the columns of the time and of the volume were taken for."""
        volume = f"volume {raw.names['volume']}" if "volume" in raw.names else "no volume"
        return f"read as: time {raw.names['time']} in {self.times.format or 'no known form'}, {self.times.zone or 'no zone'}; {volume}"

    def _check_earliest(self, block: RawTable, times: Integers, out: Booleans) -> None:
        if block.frame["time"].dtype.is_temporal():
            return  # not misread
        early = (times < self.options.earliest_ms) & (times != MISSING) & ~out
        if early.any():
            row = int(early.argmax())
            raise BarsError(
                f"{str(block.frame['time'][row])[:40]!r} is {iso(times[row])}, which is likely misread",
                where=block.location(row, "time"),
                hint=f"if it is right, set {option('earliest', iso(times[row])[:10])}",
                code="early_time",
            )

    def notices(self, raw: RawTable) -> list[ImportNotice]:
        """What was noticed besides the order of the rows."""
        notices = []
        if self.options.symbol and len(self.symbols) == 1 and not self._is_wanted(only := next(iter(self.symbols))):
            text = f"the instrument is called {only} in the file, not {self.options.symbol}"
            notices.append(ImportNotice(kind="symbol", count=self.total, lines=(), text=text))
        if self.invalid:
            notices.append(notice_lines("dropped", raw, self.invalid, self.dropped, "row", "dropped as invalid:"))
        if (noise := np.concatenate(self.rounded)).size:
            notices.append(
                notice_rows("rounded", raw, noise, "row", "whose high or low was beyond another price by rounding, and was set to it:")
            )
        if self.left_out:
            notices.append(notice_lines("left out", raw, len(self.left_out), list(self.left_out), "line", "of text at the end left out:"))
        if mixed := self.times.mixed_units:
            words, row = mixed
            notices.append(
                ImportNotice(kind="units", count=1, lines=(row,), text=f"times in {words}, each read by its size, from {raw.unit} {row}")
            )
        if not self.has_volume:
            notices.append(ImportNotice(kind="volume", count=self.total, lines=(), text="no column of the volume, which is 0 throughout"))
        elif self.without_volume:
            text = f"{self.without_volume:,} rows whose volume is missing or -1, and taken as 0"
            notices.append(ImportNotice(kind="volume", count=self.without_volume, lines=(), text=text))
        return notices


def invalid_rows(raw: RawTable, found: Rows) -> BarsError:
    count, total = found.invalid, found.total
    first, others = found.errors[0], found.errors[1:MAX_LINES]
    also = "; ".join(f"{raw.unit} {error.row + raw.first}, {raw.names[error.column]}: {error.text}" for error in others)
    more = f" ({also})" if also else ""
    summary = f"{count:,} of {total:,} rows {'are' if count > 1 else 'is'} invalid"
    bar = "use finite prices > 0 with low the lowest and high the highest of the four, and volume >= 0"
    hint = f"{TIME_HINT if first.column == 'time' else bar}, or drop such rows with {option('policy', 'drop')}"
    return BarsError(
        f"{first.text}{more}; {summary}; the row is {found.first_bad!r}; {found.understood(raw)}",
        where=raw.location(first.row, first.column),
        hint=hint,
        code="invalid_rows",
    )


def number_column(raw: RawTable, name: str) -> Floats:
    """One column as float64[n], NaN where a cell is not a number."""
    import polars

    series = raw.frame[name]
    if series.dtype == polars.Categorical or series.dtype == polars.Enum:
        series = series.cast(polars.String)
    if series.dtype == polars.String:
        series = numbers.parse(series, raw.numbers)
    elif not series.dtype.is_numeric():
        raise BarsError(
            f"column {raw.names[name]} has the type {series.dtype}", where=raw.file or name, hint="use numbers", code="unreadable_column"
        )
    values: Floats = series.cast(polars.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return values


def volume_column(raw: RawTable, name: str) -> tuple[Floats, Booleans]:
    """A column of volumes, with 0 where it is missing or -1, and where that is."""
    import polars

    values = number_column(raw, name)
    series = raw.frame[name]
    missing: Booleans = series.is_null().to_numpy() | (values == -1)
    if series.dtype == polars.String:
        missing |= ((series != CUT) & series.str.strip_chars(BLANKS).str.to_lowercase().is_in(_NO_VALUE)).fill_null(True).to_numpy()
    elif series.dtype.is_float():
        missing |= np.isnan(values)
    return np.where(missing, 0.0, values) if missing.any() else values, missing


def blank_rows(raw: RawTable) -> Booleans | None:
    """Which rows are blank lines of a text; None if there is none."""
    import polars

    if raw.unit != "line":
        return None
    texts = [name for name in raw.frame.columns if raw.frame[name].dtype == polars.String]
    if not texts or not (sum(raw.frame.null_count().row(0)) or "time" in texts):
        return None
    empty = [
        polars.col(name).is_null() | (polars.col(name).str.strip_chars() == "") if name in texts else polars.col(name).is_null()
        for name in raw.frame.columns
    ]
    blank: Booleans = raw.frame.select(polars.all_horizontal(empty)).to_series().to_numpy()
    return blank if blank.any() else None


def _level_noise(cells: dict[str, Any]) -> Integers:
    """Set a high or a low that another price exceeds by no more than `NOISE` to that price, and return the rows."""
    low, high = cells["low"], cells["high"]
    touched = [np.empty(0, np.int64)]
    for begin in range(0, len(low), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        open_, high_, low_, close = (cells[name][block] for name in PRICES)
        top, bottom = np.maximum(open_, close), np.minimum(open_, close)
        with np.errstate(over="ignore", invalid="ignore"):
            above = (high_ < top) & (high_ >= top * (1 - NOISE)) & (high_ > 0)
            below = (low_ > bottom) & (low_ * (1 - NOISE) <= bottom) & (bottom > 0)
        if above.any() or below.any():
            if not (high.flags.writeable and low.flags.writeable):
                cells["high"], cells["low"] = high, low = high.copy(), low.copy()
            high[block] = np.where(above, top, high[block])
            low[block] = np.where(below, bottom, low[block])
            touched.append(np.flatnonzero(above | below) + begin)
    rows: Integers = np.concatenate(touched)
    return rows


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


def _row_text(raw: RawTable, row: int) -> str:
    """The cells of a row that were read."""
    return ", ".join("" if cell is None else str(cell).strip()[:40] for cell in raw.frame.row(row))


def _describe(raw: RawTable, columns: dict[str, Any], row: int) -> list[tuple[str, str]]:
    """What is wrong with a row: pairs of column and description."""
    errors: list[tuple[str, str]] = []
    for name in (name for name in COLUMNS if name in raw.frame.columns):
        cell, value = raw.frame[name][row], columns[name][row]
        if cell is None or cell in ("", CUT):
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
