"""Open times as files write them: epoch numbers of any unit, date-time types, and texts with or without an offset."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from python_core.data.columns import LAST_TIME_MS, Integers
from python_core.data.timeframes import MILLISECONDS
from python_core.errors import BarsError
from python_core.files.headers import RawTable

if TYPE_CHECKING:
    import polars

EPOCH: Final = re.compile(r"[+-]?(?!(?:19|20)\d{6}$)\d+(\.0*)?")
# Unit, times below this are in it (until the year 5138), and units in a millisecond; seconds are 1000 ms.
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
_REST: Final = re.compile(
    r"(?:([T ])(?:\d{1,2}:\d{2}(?P<seconds>:\d{2}(?P<fraction>\.\d+)?)?|(?P<digits>\d{6})))?(?P<zone> ?(?:Z|UTC|GMT))?(?P<offset> ?[+-]\d{2}(?::?\d{2})?)?"
)
MAX_FORMATS: Final = 4
TIME_HINT: Final = "use epoch milliseconds or ISO 8601, such as 2024-03-01T12:00:00Z"
NAIVE: Final = "none given, taken as UTC"
MISSING: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1


class TimeReader:
    """Reads the times of a file block by block; the first block decides the unit of epoch times."""

    def __init__(self) -> None:
        self._unit: tuple[str, int] | None = None
        self._seen: dict[str, None] = {}
        self._zones: dict[str, None] = {}

    @property
    def format(self) -> str:
        """`epoch s`, `epoch ms`, `epoch us`, `epoch ns`, a date-time type, or the patterns of a text."""
        return " or ".join(self._seen)

    @property
    def zone(self) -> str:
        return " or ".join(sorted(self._zones))

    def read(self, raw: RawTable) -> Integers:
        """Open times in epoch milliseconds, `MISSING` where a cell holds none."""
        import polars

        series = raw.frame["time"]
        if series.dtype.is_temporal() and series.dtype not in (polars.Duration, polars.Time):
            zone = getattr(series.dtype, "time_zone", None)
            self._note(str(series.dtype), "UTC" if zone == "UTC" else f"{zone}, converted to UTC" if zone else NAIVE)
            if series.dtype == polars.Date:
                series = series.cast(polars.Datetime("ms"))
            return _whole(series.to_physical(), {"ms": 1, "us": 1_000, "ns": 1_000_000}[getattr(series.dtype, "time_unit", "ms")])
        if series.dtype == polars.Categorical:
            series = series.cast(polars.String)
        if series.dtype == polars.String:
            series = series.str.strip_chars(" \t\r\"'")
            cell = _first(series)
            if cell is None or not EPOCH.fullmatch(cell):
                times, formats, zones = _dates(raw, series)
                for form in formats:
                    self._seen.setdefault(form)
                for zone in zones:
                    self._zones.setdefault(zone)
                return times
            series = series.cast(polars.Int64, strict=False).fill_null(_integers(series.cast(polars.Float64, strict=False)))
        elif series.dtype.is_float():
            series = _integers(series)
        elif not series.dtype.is_integer():
            raise BarsError(
                f"column {raw.names['time']} holds {series.dtype}", where=raw.file or "time", hint="give times", code="unreadable_column"
            )
        series = series.cast(polars.Int64, strict=False)
        self._unit = self._unit or _unit(series)
        unit, per_ms = self._unit
        self._note(f"epoch {unit}", "UTC")
        return _whole(series, per_ms)

    def _note(self, form: str, zone: str) -> None:
        self._seen.setdefault(form)
        self._zones.setdefault(zone)


def _first(series: polars.Series) -> str | None:
    filled = series.drop_nulls().head(1)
    return str(filled[0]) if len(filled) else None


def _integers(series: polars.Series) -> polars.Series:
    """The whole numbers among floats; null elsewhere, and beyond 2**53, where floats skip integers."""
    import polars

    whole = (series.abs() <= 2**53) & (series.floor() == series)
    return polars.select(polars.when(whole).then(series.cast(polars.Int64, strict=False))).to_series()


def _unit(series: polars.Series) -> tuple[str, int]:
    """Unit of epoch times by their size; times of 1970-73 are seconds, unless their step is a timeframe only in milliseconds."""
    middle = series.median()
    size = abs(float(middle)) if isinstance(middle, int | float) else 0.0
    unit, _, per_ms = next(entry for entry in _UNITS if size < entry[1])
    if unit == "s" and len(series) > 1 and series.diff().abs().min() in MILLISECONDS.values():
        return "ms", 1
    return unit, per_ms


def _whole(series: polars.Series, per_ms: int) -> Integers:
    """Milliseconds of integers with so many units in one (0: seconds); `MISSING` where there is none between 1970 and 9999."""
    values: Integers = series.fill_null(MISSING).to_numpy()
    # Compared before they are scaled, as scaling might overflow.
    last = LAST_TIME_MS // 1000 if per_ms == 0 else min(LAST_TIME_MS * per_ms, MAX_INTEGER)
    good = (values >= 0) & (values <= last)
    if per_ms > 1:
        good &= values % per_ms == 0
    scaled = np.where(good, values, 0) * 1000 if per_ms == 0 else values // per_ms
    return scaled if good.all() else np.where(good, scaled, MISSING)


def _dates(raw: RawTable, series: polars.Series) -> tuple[Integers, list[str], set[str]]:
    """Times of a column of text; a few formats may be mixed, such as times with and without seconds."""
    import polars

    parsed = polars.Series("time", [None] * len(series), polars.Datetime("us"))
    formats: list[str] = []
    tried: set[str] = set()
    while len(formats) < MAX_FORMATS and (cell := _first(series.filter(parsed.is_null()))) is not None:
        readings = [(form, _parse(series, form)) for form in _formats(cell) if form not in tried]
        if not readings:
            break
        tried |= {form for form, _ in readings}
        # Day or month first: the one that reads more cells, unless both read as many and differ.
        (form, reading), *others = sorted(readings, key=lambda candidate: candidate[1].null_count())
        if any(other.null_count() == reading.null_count() and not (other == reading).all() for _, other in others):
            raise BarsError(
                f"{cell} may have the day or the month first",
                where=", ".join(part for part in (raw.file, raw.names["time"]) if part),
                hint="write dates as 2024-03-01",
                code="ambiguous_time",
            )
        formats.append(form)
        parsed = parsed.fill_null(reading)
    zones = {
        "UTC" if form.endswith(("Z", "UTC", "GMT")) else "offsets, converted to UTC" if form.endswith("%#z") else NAIVE for form in formats
    }
    return _whole(parsed.to_physical(), 1_000), formats, zones


def _parse(series: polars.Series, form: str) -> polars.Series:
    zone = "UTC" if form.endswith("%#z") else None
    return series.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False).dt.replace_time_zone(None)


def _formats(cell: str) -> list[str]:
    """Patterns (of chrono's strftime) that a text may be meant in."""
    for pattern, dates in _DATES:
        if not (date := re.match(pattern, cell)) or not (rest := _REST.fullmatch(cell[date.end() :])):
            continue
        clock = ""
        if rest[1]:
            clock = (
                rest[1] + ("%H%M%S" if rest["digits"] else "%H:%M:%S" if rest["seconds"] else "%H:%M") + ("%.f" if rest["fraction"] else "")
            )
        elif rest["zone"] or rest["offset"]:
            return []
        # A date alone is read with a time, as midnight.
        return [date_form + clock + (rest["zone"] or "") + ("%#z" if rest["offset"] else "") for date_form in dates]
    return []
