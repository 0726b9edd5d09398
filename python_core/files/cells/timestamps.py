"""Parses open times: epoch numbers of any unit, whole-number dates, date-time types, texts, and a date beside a time of the day."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from python_core.data.columns import LAST_TIME_MS, Integers, iso
from python_core.data.timeframes import DAY_MS, is_step
from python_core.errors import BarsError
from python_core.files.cells.dates import COMPACT, DateReader, first_cell
from python_core.files.cells.numbers import BLANKS
from python_core.files.cells.raw_table import RawTable
from python_core.files.options import ReadOptions, option

if TYPE_CHECKING:
    import polars

NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?")
# Unit, the number below which times are in it (until the year 5138), and units per millisecond (0: seconds).
_UNITS: Final = (("s", 10**11, 0), ("ms", 10**14, 1), ("us", 10**17, 1_000), ("ns", 2**64, 1_000_000))
# 2040: whole-number dates that are misread as seconds are mostly later.
LATEST_S: Final = 2_208_988_800
_UNIT_WORDS: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Binance went from milliseconds to microseconds in 2025, so files that were joined have both.
_JOINED: Final = {"ms", "us"}
_CLOCKS: Final = ("HHMM", "HHMMSS", "seconds of the day", "milliseconds of the day")
TIME_HINT: Final = "use epoch milliseconds or ISO 8601, such as 2024-03-01T12:00:00Z"
UTC_ASSUMED: Final = "none given, taken as UTC"
MISSING: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1
Booleans = npt.NDArray[np.bool_]


class TimeReader:
    """Parses the times of a file block by block. What the first block shows (units, formats, the kind of a clock) holds for all."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._dates = DateReader(options.day_first)
        self._units: dict[str, int] = {}
        self._clock = ""
        self._formats: dict[str, None] = {}
        self._zones: dict[str, None] = {}
        self._title = self._zone_of_title = ""

    @property
    def format(self) -> str:
        """`epoch s`, `epoch ms`, `epoch us`, `epoch ns`, a date-time type, or the patterns of a text."""
        return " or ".join(self._formats)

    @property
    def zone(self) -> str:
        """What the times say of their zone, in words."""
        words = {
            "": self._options.timezone or ("UTC, by the title" if self._zone_of_title == "UTC" else UTC_ASSUMED),
            "UTC": "UTC",
            "offset": "offsets, converted to UTC",
        }
        return " or ".join(sorted(words.get(zone, f"{zone}, converted to UTC") for zone in self._zones))

    @property
    def wall_clock(self) -> str | None:
        """The zone whose wall clock shows the times that were read; None if they are UTC.

        Raises:
            BarsError: some times have a zone and others have none, though one is given for those; or the title of the column has another
                zone, or one that must be given.
        """
        self._check_title()
        named = [zone for zone in self._zones if zone not in ("", "UTC", "offset")]
        if "" in self._zones and len(self._zones) > 1 and self._options.timezone:
            raise BarsError(
                "some times have a zone, others have none",
                where="time",
                hint=f"write all times in one form, or leave out {option('timezone')}",
                code="mixed_zones",
            )
        return named[0] if named else self._options.timezone if "" in self._zones else None

    def _check_title(self) -> None:
        """Raise BarsError if the title of the times says a zone that `timezone` contradicts, or that must be given."""
        zone, given = self._zone_of_title, self._options.timezone
        if "" not in self._zones or not zone or (given in (None, "UTC") if zone == "UTC" else given):
            return
        hint = f"leave out {option('timezone')}" if zone == "UTC" else f"set {option('timezone', 'Europe/Berlin')} or what it is"
        what = (
            "UTC"
            if zone == "UTC"
            else "local times of a zone that the file does not name"
            if zone == "local"
            else f"times of the zone {zone}"
        )
        raise BarsError(f"the title {self._title!r} says {what}", where="timezone", hint=hint, code="unknown_zone")

    @property
    def mixed_units(self) -> tuple[str, int] | None:
        """If the file has milliseconds and microseconds: in words, and the first row of the second of them."""
        if len(self._units) < 2:
            return None
        first, second = self._units
        return f"{_UNIT_WORDS[first]} and {_UNIT_WORDS[second]}", self._units[second]

    def read(self, raw: RawTable) -> Integers:
        """Times in epoch milliseconds (of the wall clock, see `wall_clock`), `MISSING` where a cell is not a time."""
        import polars

        self._title, self._zone_of_title = raw.names["time"], raw.traits.zone
        series = raw.frame["time"]
        if series.dtype == polars.Categorical or series.dtype == polars.Enum:
            series = series.cast(polars.String)
        if "clock" in raw.frame.columns:
            return self._with_clock(raw, series, raw.frame["clock"])
        return self._read(raw, series)

    def _read(self, raw: RawTable, series: polars.Series) -> Integers:
        import polars

        if series.dtype.is_temporal() and series.dtype not in (polars.Duration, polars.Time):
            zone = getattr(series.dtype, "time_zone", None)
            # Times with a zone are stored in UTC, so they need no conversion.
            self._record(str(series.dtype), "" if zone is None else "UTC" if zone == "UTC" else "offset")
            if series.dtype == polars.Date:
                series = series.cast(polars.Datetime("ms"))
            per_ms = {"ms": 1, "us": 1_000, "ns": 1_000_000}[getattr(series.dtype, "time_unit", "ms")]
            return _to_milliseconds(series.to_physical(), per_ms)
        if series.dtype == polars.String:
            series = series.str.strip_chars(BLANKS)
            cell = first_cell(series)
            if cell is None or not NUMBER.fullmatch(cell):
                dates = self._dates.read(series, raw.place("time"))
                for pattern in dates.formats:
                    self._formats.setdefault(pattern)
                for zone in dates.zones:
                    self._zones.setdefault(zone)
                return _to_milliseconds(dates.times.to_physical(), 1_000)
            integers = series.cast(polars.Int64, strict=False)
            series = (
                integers
                if integers.null_count() == series.null_count()
                else integers.fill_null(_whole(series.cast(polars.Float64, strict=False)))
            )
        elif series.dtype.is_float():
            series = _whole(series)
        elif not series.dtype.is_integer():
            raise BarsError(
                f"column {raw.names['time']} has the type {series.dtype}",
                where=raw.file or "time",
                hint="use times",
                code="unreadable_column",
            )
        return self._numbers(raw, series.cast(polars.Int64, strict=False))

    def _numbers(self, raw: RawTable, series: polars.Series) -> Integers:
        """Epoch numbers, each in the unit that its size tells, or whole-number dates such as 20240301."""
        values: Integers = series.fill_null(MISSING).to_numpy()
        known = values[values != MISSING]
        if not known.size:
            return values
        if raw.day_ms is not None:
            self._record("milliseconds of the day", "")
            good = (values >= 0) & (values < DAY_MS)
            return np.where(good, raw.day_ms + np.where(good, values, 0), MISSING)
        if len(known) > 1 and _are_hours(known):
            self._record("%Y%m%d%H", "")
            text = (series * 100).cast(str).str.to_datetime("%Y%m%d%H%M", time_unit="us", strict=False)
            return _to_milliseconds(text.to_physical(), 1_000)
        for digits, pattern in COMPACT.items():
            if _looks_like_date(int(known[0]), digits):
                self._record(pattern, "")
                text = series.cast(str).str.to_datetime(pattern, time_unit="us", strict=False)
                return _to_milliseconds(text.to_physical(), 1_000)
        self._refuse_other_numbers(raw, known)
        size = np.abs(np.where(values == MISSING, 0, values))
        times = np.full(len(values), MISSING)
        # Of the years before 1973, which are refused unless asked for, a number may be of seconds or of milliseconds.
        step_is_ms = self._options.earliest_ms < 10**11 and (
            self._units.keys() == {"ms"} or (not self._units and _is_milliseconds_by_step(known))
        )
        lower = 0
        found: dict[str, Booleans] = {}
        for unit, upper, per_ms in _UNITS:
            if unit == "s" and step_is_ms:
                continue
            here = (size >= lower) & (size < upper) & (values != MISSING)
            lower = upper
            if here.any():
                found[unit] = here
                times[here] = _to_milliseconds_of(values[here], per_ms)
        for unit in sorted(found, key=lambda unit: int(found[unit].argmax())):
            self._units.setdefault(unit, int(found[unit].argmax()) + raw.first)
            self._record(f"epoch {unit}", "UTC")
        if len(self._units) > 1 and self._units.keys() != _JOINED:
            raise self._mixed_units_error(raw, found, values)
        return times

    def _mixed_units_error(self, raw: RawTable, found: dict[str, Booleans], values: Integers) -> BarsError:
        """The error that names the first row of the rarest unit, and the unit of the others."""
        rare = min(found, key=lambda unit: int(found[unit].sum()))
        row = int(found[rare].argmax())
        others = " and ".join(_UNIT_WORDS[unit] for unit in self._units if unit != rare)
        return BarsError(
            f"{values[row]} is a time in {_UNIT_WORDS[rare]}, but other rows are in {others}",
            where=raw.location(row, "time"),
            hint="write all times in one unit",
            code="mixed_units",
        )

    def _refuse_other_numbers(self, raw: RawTable, known: Integers) -> None:
        """Refuse numbers that are not times, and say what they look like."""
        lowest, highest = int(known.min()), int(known.max())
        place = raw.location(0, "time")
        if LATEST_S <= highest < 10**11 <= self._options.earliest_ms:
            hint = "write times as epoch milliseconds or ISO 8601, such as 2024-03-01T12:00:00Z"
            raise BarsError(
                f"{highest} would be in {iso(highest * 1000)[:4]}, which is likely misread", where=place, hint=hint, code="late_time"
            )
        if lowest >= 18_000 and highest <= 80_000 and self._options.earliest_ms > 80_000:
            days = f"{lowest} would be {iso((lowest - 25_569) * DAY_MS)[:10]}"
            hint = "format the column as a date, such as yyyy-mm-dd, and export it again"
            raise BarsError(f"the times look like day numbers of Excel ({days})", where=place, hint=hint, code="excel_dates")
        if lowest == 0 and highest < DAY_MS and self._options.earliest_ms > DAY_MS:
            if (known == np.arange(len(known))).all():
                what, hint = (
                    "the column counts rows and holds no times",
                    f"set {option('columns', {'time': 'TITLE'})} or add times",
                )
                raise BarsError(what, where=place, hint=hint, code="no_date")
            what = (
                "the times are milliseconds or seconds of a day that the file does not name (as in LEAN, whose day is in the file's name)"
            )
            hint = "add a column with the date, or give the zip of LEAN, whose content is named after the day"
            raise BarsError(what, where=place, hint=hint, code="no_date")

    def _with_clock(self, raw: RawTable, days: polars.Series, clock: polars.Series) -> Integers:
        """Times of a date and a time of the day in two columns."""
        import polars

        if clock.dtype == polars.String:
            clock = clock.str.strip_chars(BLANKS)
            cell = first_cell(clock)
            if cell is not None and not cell.replace(".", "").isdigit():
                day = days.cast(polars.String).str.strip_chars(BLANKS)
                return self._read(raw, polars.select(polars.concat_str(day, clock, separator=" ")).to_series())
        midnight = self._read(raw, days)
        kind, milliseconds = self._clock_milliseconds(raw, clock)
        self._formats = {f"{pattern.removesuffix(f' and {kind}')} and {kind}": None for pattern in self._formats}
        good = (midnight != MISSING) & (milliseconds != MISSING)
        return np.where(good, np.where(good, midnight, 0) + np.where(good, milliseconds, 0), MISSING)

    def _clock_milliseconds(self, raw: RawTable, clock: polars.Series) -> tuple[str, Integers]:
        """Milliseconds since midnight of times of the day, `MISSING` where a cell is none, and how they are written."""
        import polars

        if clock.dtype == polars.Time:
            return "time", (clock.to_physical().fill_null(MISSING).to_numpy() // 1_000_000)
        texts = clock if clock.dtype == polars.String else clock.cast(polars.Int64, strict=False).cast(polars.String)
        values: Integers = texts.cast(polars.Float64, strict=False).cast(polars.Int64, strict=False).fill_null(MISSING).to_numpy()
        if not self._clock:
            self._clock = _clock_kind(texts, values[values != MISSING], raw, raw.frame["time"].n_unique())
        return self._clock, _clock_times(values, self._clock)

    def _record(self, pattern: str, zone: str) -> None:
        self._formats.setdefault(pattern)
        self._zones.setdefault(zone)


def _clock_times(values: Integers, kind: str) -> Integers:
    """Milliseconds since midnight of whole numbers of one kind, `MISSING` where a number is none."""
    if kind in ("HHMM", "HHMMSS"):
        value = values if kind == "HHMMSS" else np.where(values > 9_999, 999_999, values * 100)
        hours, minutes, seconds = value // 10_000, value // 100 % 100, value % 100
        good = (values >= 0) & (hours < 24) & (minutes < 60) & (seconds < 60)
        return np.where(good, ((hours * 60 + minutes) * 60 + seconds) * 1_000, MISSING)
    scale = 1_000 if kind == "seconds of the day" else 1
    good = (values >= 0) & (values < DAY_MS // scale)
    return np.where(good, values * scale, MISSING)


def _clock_kind(texts: polars.Series, values: Integers, raw: RawTable, days: int) -> str:
    """How times of the day are written as whole numbers: the only way in which all are times, and a timeframe apart.

    Raises:
        BarsError: no such way, or more than one.
    """
    lengths = set(texts.drop_nulls().str.len_chars().unique())
    if lengths == {6} or (lengths == {4} and texts.str.starts_with("0").any()):
        return "HHMMSS" if lengths == {6} else "HHMM"
    fits = []
    for kind in _CLOCKS:
        times = _clock_times(values, kind)
        steps, counts = np.unique(np.abs(np.diff(times)), return_counts=True)
        commonest = int(steps[counts.argmax()]) if len(steps) else 0
        if (times != MISSING).all() and (commonest == 0 or is_step(commonest)):
            fits.append(kind)
    if len(fits) == 1 or (fits and not values.any()):
        return fits[0]
    # Nobody has bars of the first minutes of days only.
    if fits == ["HHMM", "HHMMSS"] and days > 1:
        return "HHMM"
    what = f"may be {' or '.join(fits)}" if fits else "is not a time of the day"
    cell = int(values.max()) if values.size else 0
    hint = "write times of the day as 09:30:00"
    raise BarsError(f"{cell} {what}", where=raw.place("clock"), hint=hint, code="ambiguous_time" if fits else "invalid_rows")


def _are_hours(values: Integers) -> bool:
    """Whether ten-digit numbers are dates with an hour, as 2024010100, which as seconds would be of 2030 to 2036."""
    if int(values.min()) < 1_900_010_100 or int(values.max()) > 2_099_123_123:
        return False
    month, day, hour = values // 10_000 % 100, values // 100 % 100, values % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 24)).all())


def _looks_like_date(value: int, digits: int) -> bool:
    text = str(value)
    return len(text) == digits and "19" <= text[:2] <= "20" and "01" <= text[4:6] <= "12" and "01" <= text[6:8] <= "31"


def _whole(series: polars.Series) -> polars.Series:
    """Floats as integers, seconds with fractions as milliseconds; null where not a whole number, and beyond 2**53, where floats skip integers."""
    import polars

    if len(known := series.drop_nulls()) and (known != known.floor()).any() and 80_000 < float(known.abs().max()) < 10**11:  # type: ignore[arg-type]
        series = (series * 1000).round()
    elif len(known) and float(known.abs().max()) <= 80_000:  # type: ignore[arg-type]
        series = series.floor()  # such as days of Excel, which are refused by name
    integral = (series.abs() <= 2**53) & (series.floor() == series)
    return polars.select(polars.when(integral).then(series.cast(polars.Int64, strict=False))).to_series()


def _is_milliseconds_by_step(values: Integers) -> bool:
    """Whether small numbers are milliseconds of 1970-73: only then is their step a timeframe."""
    if len(values) < 2 or int(np.abs(values).max()) >= 10**11:
        return False
    return is_step(int(np.abs(np.diff(values)).min()))


def _to_milliseconds(series: polars.Series, per_ms: int) -> Integers:
    values: Integers = series.fill_null(MISSING).to_numpy()
    return _to_milliseconds_of(values, per_ms)


def _to_milliseconds_of(values: Integers, per_ms: int) -> Integers:
    """Integers with `per_ms` units per millisecond (0: seconds) as milliseconds; `MISSING` outside 1970 to 9999 or if not whole."""
    # Compared before scaling, which might overflow.
    last = LAST_TIME_MS // 1000 if per_ms == 0 else min(LAST_TIME_MS * per_ms, MAX_INTEGER)
    good = (values >= 0) & (values <= last)
    if per_ms > 1:
        good &= values % per_ms == 0
    scaled: Integers = np.where(good, values, 0) * 1000 if per_ms == 0 else values // per_ms
    return scaled if good.all() else np.where(good, scaled, MISSING)
