"""Parses open times: epoch numbers of any unit, date-time types, and texts with or without an offset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from python_core.data.columns import LAST_TIME_MS, Integers
from python_core.data.timeframes import is_step
from python_core.errors import BarsError
from python_core.files.headers import RawTable

if TYPE_CHECKING:
    import polars

EPOCH: Final = re.compile(r"[+-]?(?!(?:19|20)\d{6}$)\d+(\.0*)?")
# Unit, the number below which times are in it (until the year 5138), and units per millisecond (0: seconds).
_UNITS: Final = (("s", 10**11, 0), ("ms", 10**14, 1), ("us", 10**17, 1_000), ("ns", 2**64, 1_000_000))
_DATES: Final = (
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (r"\d{8}", ("%Y%m%d",)),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
)
# Not compiled here, as that takes a millisecond of every import.
_REST: Final = r"(?:([T ])(?:\d{1,2}:\d{2}(?P<seconds>:\d{2}(?P<fraction>\.\d+)?)?|(?P<digits>\d{6})))?(?P<zone> ?(?:Z|UTC|GMT))?(?P<offset> ?[+-]\d{2}(?::?\d{2})?)?"
MAX_FORMATS: Final = 4
TIME_HINT: Final = "use epoch milliseconds or ISO 8601, such as 2024-03-01T12:00:00Z"
NAIVE: Final = "none given, taken as UTC"
MISSING: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1


class TimeReader:
    """Parses the times of a file block by block; the first block decides the unit of epoch times."""

    def __init__(self) -> None:
        self._unit: tuple[str, int] | None = None
        self._formats: dict[str, None] = {}
        self._zones: dict[str, None] = {}

    @property
    def format(self) -> str:
        """`epoch s`, `epoch ms`, `epoch us`, `epoch ns`, a date-time type, or the patterns of a text."""
        return " or ".join(self._formats)

    @property
    def zone(self) -> str:
        return " or ".join(sorted(self._zones))

    def read(self, raw: RawTable) -> Integers:
        """Open times in epoch milliseconds, `MISSING` where a cell is not a time."""
        import polars

        series = raw.frame["time"]
        if series.dtype.is_temporal() and series.dtype not in (polars.Duration, polars.Time):
            zone = getattr(series.dtype, "time_zone", None)
            self._record(str(series.dtype), "UTC" if zone == "UTC" else f"{zone}, converted to UTC" if zone else NAIVE)
            if series.dtype == polars.Date:
                series = series.cast(polars.Datetime("ms"))
            return _to_milliseconds(series.to_physical(), {"ms": 1, "us": 1_000, "ns": 1_000_000}[getattr(series.dtype, "time_unit", "ms")])
        if series.dtype == polars.Categorical:
            series = series.cast(polars.String)
        if series.dtype == polars.String:
            series = series.str.strip_chars(" \t\r\"'")
            cell = _first_cell(series)
            if cell is None or not EPOCH.fullmatch(cell):
                times, formats, zones = _dates(raw, series)
                for pattern in formats:
                    self._formats.setdefault(pattern)
                for zone in zones:
                    self._zones.setdefault(zone)
                return times
            series = series.cast(polars.Int64, strict=False).fill_null(_to_integers(series.cast(polars.Float64, strict=False)))
        elif series.dtype.is_float():
            series = _to_integers(series)
        elif not series.dtype.is_integer():
            raise BarsError(
                f"column {raw.names['time']} has the type {series.dtype}",
                where=raw.file or "time",
                hint="use times",
                code="unreadable_column",
            )
        series = series.cast(polars.Int64, strict=False)
        self._unit = self._unit or _unit(series)
        unit, per_ms = self._unit
        self._record(f"epoch {unit}", "UTC")
        return _to_milliseconds(series, per_ms)

    def _record(self, pattern: str, zone: str) -> None:
        self._formats.setdefault(pattern)
        self._zones.setdefault(zone)


def _first_cell(series: polars.Series) -> str | None:
    filled = series.drop_nulls().head(1)
    return str(filled[0]) if len(filled) else None


def _to_integers(series: polars.Series) -> polars.Series:
    """Floats as integers; null where not a whole number, and beyond 2**53, where floats skip integers."""
    import polars

    integral = (series.abs() <= 2**53) & (series.floor() == series)
    return polars.select(polars.when(integral).then(series.cast(polars.Int64, strict=False))).to_series()


def _unit(series: polars.Series) -> tuple[str, int]:
    """The unit of epoch times, judged by their size. Times of 1970-73 are ambiguous: seconds, unless only milliseconds make the step a timeframe."""
    middle = series.median()
    size = abs(float(middle)) if isinstance(middle, int | float) else 0.0
    unit, _, per_ms = next(entry for entry in _UNITS if size < entry[1])
    if unit == "s" and len(series) > 1 and isinstance(step := series.diff().abs().min(), int | float) and is_step(step):
        return "ms", 1
    return unit, per_ms


def _to_milliseconds(series: polars.Series, per_ms: int) -> Integers:
    """Integers with `per_ms` units per millisecond (0: seconds) as milliseconds; `MISSING` outside 1970 to 9999 or if not whole."""
    values: Integers = series.fill_null(MISSING).to_numpy()
    # Compared before scaling, which might overflow.
    last = LAST_TIME_MS // 1000 if per_ms == 0 else min(LAST_TIME_MS * per_ms, MAX_INTEGER)
    good = (values >= 0) & (values <= last)
    if per_ms > 1:
        good &= values % per_ms == 0
    scaled = np.where(good, values, 0) * 1000 if per_ms == 0 else values // per_ms
    return scaled if good.all() else np.where(good, scaled, MISSING)


def _dates(raw: RawTable, series: polars.Series) -> tuple[Integers, list[str], set[str]]:
    """Times of a text column, which may mix a few formats, such as times with and without seconds."""
    import polars

    parsed = polars.Series("time", [None] * len(series), polars.Datetime("us"))
    formats: list[str] = []
    tried: set[str] = set()
    while len(formats) < MAX_FORMATS and (cell := _first_cell(series.filter(parsed.is_null()))) is not None:
        candidates = [(pattern, _parse_dates(series, pattern)) for pattern in _formats(cell) if pattern not in tried]
        if not candidates:
            break
        tried |= {pattern for pattern, _ in candidates}
        # Day or month first: whichever parses more cells; ambiguous if both parse the same number and differ.
        (pattern, times), *others = sorted(candidates, key=lambda candidate: candidate[1].null_count())
        if any(other.null_count() == times.null_count() and not (other == times).all() for _, other in others):
            raise BarsError(
                f"{cell} may start with the day or the month",
                where=", ".join(part for part in (raw.file, raw.names["time"]) if part),
                hint="write dates like 2024-03-01",
                code="ambiguous_time",
            )
        formats.append(pattern)
        parsed = parsed.fill_null(times)
    zones = {
        "UTC" if pattern.endswith(("Z", "UTC", "GMT")) else "offsets, converted to UTC" if pattern.endswith("%#z") else NAIVE
        for pattern in formats
    }
    return _to_milliseconds(parsed.to_physical(), 1_000), formats, zones


def _parse_dates(series: polars.Series, pattern: str) -> polars.Series:
    zone = "UTC" if pattern.endswith("%#z") else None
    return series.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False).dt.replace_time_zone(None)


def _formats(cell: str) -> list[str]:
    """Patterns (chrono's strftime) that fit a text."""
    for date_regex, dates in _DATES:
        if not (date := re.match(date_regex, cell)) or not (rest := re.fullmatch(_REST, cell[date.end() :])):
            continue
        clock = ""
        if rest[1]:
            clock = (
                rest[1] + ("%H%M%S" if rest["digits"] else "%H:%M:%S" if rest["seconds"] else "%H:%M") + ("%.f" if rest["fraction"] else "")
            )
        elif rest["zone"] or rest["offset"]:
            return []
        # A date alone means midnight.
        return [date_pattern + clock + (rest["zone"] or "") + ("%#z" if rest["offset"] else "") for date_pattern in dates]
    return []
