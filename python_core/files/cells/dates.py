"""Parses dates and times written as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from python_core.errors import BarsError
from python_core.files.cells.numbers import BLANKS
from python_core.files.options import option

if TYPE_CHECKING:
    import polars

MAX_FORMATS: Final = 4
# Patterns of dates written as whole numbers, by their digits.
COMPACT: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DAY_US: Final = 86_400_000_000
_LONGEST_PAUSE_US: Final = 8 * _DAY_US

# Regular expressions of dates, and the patterns (chrono's strftime) that fit them: those with the day first before those with the month.
_DATES: Final = (
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (r"\d{8}(?!\d)", ("%Y%m%d",)),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{2}(?!\d)", ("%d.%m.%y",)),
    (r"\d{1,2}/\d{1,2}/\d{2}(?!\d)", ("%d/%m/%y", "%m/%d/%y")),
    (r"\d{1,2}-\d{1,2}-\d{2}(?!\d)", ("%d-%m-%y", "%m-%d-%y")),
    (r"\d{1,2}-[A-Za-z]{3,9}-\d{4}", ("%d-%B-%Y",)),
    (r"\d{1,2} [A-Za-z]{3,9} \d{4}", ("%d %B %Y",)),
    (r"\d{1,2}-[A-Za-z]{3,9}-\d{2}(?!\d)", ("%d-%B-%y",)),
    (r"[A-Za-z]{3,9} \d{1,2}, \d{4}", ("%B %d, %Y",)),
    (r"[A-Za-z]{3,9} \d{1,2} \d{4}", ("%B %d %Y",)),
)
# Not compiled here, as that takes a millisecond of every import.
_CLOCK: Final = (
    r"(?P<gap>[T ]|, )(?:(?P<hour>\d{1,2}):\d{2}(?P<seconds>:\d{2}(?P<fraction>\.\d+)?)?(?P<half> ?[AaPp][Mm])?|(?P<digits>\d{6}|\d{4}))"
)
_ZONE: Final = r"(?P<zone> ?(?:Z|UTC|GMT)(?![+-]))?(?P<prefix> ?(?:UTC|GMT)(?=[+-]))?(?P<offset> ?[+-]\d{2}(?::?\d{2})?)?"
# Abbreviations that have one meaning, in hours from UTC. CST is of America and of China, IST of India, Israel and Ireland.
_ABBREVIATIONS: Final = {
    "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "BST": 1, "MSK": 3, "JST": 9, "KST": 9, "HKT": 8, "SGT": 8,
}  # fmt: skip
_NAMED_ZONE: Final = r" ([A-Za-z]+(?:/[A-Za-z_+\-0-9]+)+|[A-Z]{3,4})$"


class Dates(NamedTuple):
    """Times of a text column: microseconds since 1970, null where a cell is not a time.

    `formats` are the patterns that fit, `zones` what the cells say of their zone: `UTC`, `offset`, the name of a zone, or nothing. Times
    of a named zone, and of none, are wall-clock times.
    """

    times: polars.Series
    formats: list[str]
    zones: set[str]


class DateReader:
    """Parses texts block by block; formats that fit earlier blocks are tried first, so that a later block is not ambiguous by itself."""

    def __init__(self, day_first: bool | None) -> None:
        self._day_first = day_first
        self._known: list[str] = []

    def read(self, series: polars.Series, place: str) -> Dates:
        """`place` is the file and the column, for the error.

        Raises:
            BarsError: it is not clear whether the day or the month comes first, or the zone is unknown or differs between rows.
        """
        import polars

        series = _normalized(series)
        series, named, hours = _split_zones(series, place)
        parsed = polars.Series("time", [None] * len(series), polars.Datetime("us"))
        formats: list[str] = []
        tried = {_swapped(pattern) for pattern in self._known}
        known = list(self._known)
        while len(formats) < MAX_FORMATS and (cell := first_cell(series.filter(parsed.is_null()))) is not None:
            patterns = known or [pattern for pattern in _patterns(cell) if pattern not in tried]
            known = []
            if not patterns:
                break
            tried |= set(patterns)
            pattern, times = self._best(series, patterns, cell, place)
            if times.null_count() < len(times):
                formats.append(pattern)
                parsed = parsed.fill_null(times)
        self._known = list(dict.fromkeys([*self._known, *formats]))
        zones = {named} if named else {_zone_of(pattern) for pattern in formats}
        if hours is not None:
            parsed = polars.DataFrame({"time": parsed, "hours": hours}).select(polars.col("time") - polars.duration(hours="hours"))["time"]
        return Dates(parsed, formats, zones)

    def _best(self, series: polars.Series, patterns: list[str], cell: str, place: str) -> tuple[str, polars.Series]:
        """The pattern that parses most cells: of those with the day first and the month first, the one that was chosen before or is asked for."""
        if self._day_first is not None and len(patterns) > 1:
            first = ("%d",) if self._day_first else ("%m", "%B")
            patterns = [pattern for pattern in patterns if pattern.startswith(first)] or patterns
        candidates = sorted(((pattern, _parse(series, pattern)) for pattern in patterns), key=lambda one: one[1].null_count())
        (pattern, times), *_ = candidates
        equal = [
            one for one in candidates if one[1].null_count() == times.null_count() and (one[1] is times or not (one[1] == times).all())
        ]
        if pattern not in self._known and len(equal) > 1:
            if steady := _steady(equal):
                return steady
            raise BarsError(
                f"{cell} may start with the day or the month",
                where=place,
                hint=f"set {option('day_first', True)} or {option('day_first', False)}",
                code="ambiguous_time",
            )
        return pattern, times


def looks_like_clock(cell: str) -> bool:
    """Whether a cell may be a time of the day without a date."""
    text = cell.strip(BLANKS)
    return re.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?", text) is not None or (text.isdigit() and int(text) < 86_400_000)


def looks_like_day(cell: str) -> bool:
    """Whether a cell may be a date without a time of the day."""
    text = cell.strip(BLANKS)
    return len(text) <= 12 and ":" not in text and sum(character.isdigit() for character in text) >= 3


def _normalized(series: polars.Series) -> polars.Series:
    """Without blanks at the ends, with single ones between, and with the minutes that some sources leave out (`05-PM`)."""
    text = series.str.strip_chars(BLANKS)
    sample = text.drop_nulls().head(1)
    if not len(sample):
        return text
    if re.search(r"\s\s|\t", sample[0]):
        text = text.str.replace_all(r"\s+", " ")
    if re.search(r"\d[ -]?[AaPp][Mm]$", sample[0]) and ":" not in sample[0]:
        text = text.str.replace(r"(\d{1,2})[ -]?([AaPp][Mm])$", "$1:00 $2")
    return text


def _split_zones(series: polars.Series, place: str) -> tuple[polars.Series, str, polars.Series | None]:
    """The texts without the name of a zone at their ends, that zone, and, if names are abbreviations, their hours from UTC."""
    import polars

    if (cell := first_cell(series)) is None or not (name := re.search(_NAMED_ZONE, cell)) or name[1] in ("UTC", "GMT"):
        return series, "", None
    names = series.str.extract(_NAMED_ZONE)
    found = set(names.unique().drop_nulls())
    if found <= _ABBREVIATIONS.keys():
        hours = names.replace_strict(_ABBREVIATIONS, default=None, return_dtype=polars.Int64)
        return series.str.replace(_NAMED_ZONE, ""), "offset", hours
    if len(found) != 1 or "/" not in name[1]:
        raise BarsError(
            f"times of the zone{'s' if len(found) > 1 else ''} {', '.join(sorted(found)[:4])}",
            where=place,
            hint=f"write one zone such as America/New_York in all rows, or none and set {option('timezone', 'America/New_York')}",
            code="unknown_zone",
        )
    # A cell without the zone is not a time, as its zone is not known.
    return polars.select(polars.when(names.is_not_null()).then(series.str.replace(_NAMED_ZONE, ""))).to_series(), name[1], None


def _steady(candidates: list[tuple[str, polars.Series]]) -> tuple[str, polars.Series] | None:
    """Of readings of the same times within days, the only one that does not jump a month from one day to the next."""
    found = []
    for pattern, times in candidates:
        steps = times.to_physical().diff().abs().drop_nulls()
        if not len(steps) or int(steps.min()) >= _DAY_US:  # type: ignore[arg-type]
            return None
        if int(steps.max()) < _LONGEST_PAUSE_US:  # type: ignore[arg-type]
            found.append((pattern, times))
    return found[0] if len(found) == 1 else None


def _zone_of(pattern: str) -> str:
    if pattern.endswith("%#z"):
        return "offset"
    return "UTC" if pattern.endswith(("Z", "UTC", "GMT")) else ""


def _swapped(pattern: str) -> str:
    """The pattern with the month first where it has the day first, and the other way round."""
    return re.sub(r"^(%[dm])([/-])(%[dm])", r"\3\2\1", pattern)


def first_cell(series: polars.Series) -> str | None:
    """The first cell that is not empty."""
    filled = series.drop_nulls().head(1)
    return str(filled[0]) if len(filled) else None


def _parse(series: polars.Series, pattern: str) -> polars.Series:
    zone = "UTC" if pattern.endswith("%#z") else None
    return series.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False).dt.replace_time_zone(None)


def _patterns(cell: str) -> list[str]:
    """Patterns that fit a text."""
    if cell.isdigit() and len(cell) in COMPACT:
        return [COMPACT[len(cell)]]
    for date_regex, dates in _DATES:
        if not (date := re.match(date_regex, cell)):
            continue
        rest = cell[date.end() :]
        clock = re.match(_CLOCK, rest)
        found = re.fullmatch(_ZONE, rest[clock.end() :] if clock else rest)
        if not found:
            continue
        pattern = ""
        if clock:
            pattern = clock["gap"] + _clock_pattern(clock)
        elif found["zone"] or found["offset"]:
            return []
        # A date alone means midnight.
        pattern += (found["zone"] or "") + (found["prefix"] or "") + ("%#z" if found["offset"] else "")
        return [day + pattern for day in dates]
    return []


def _clock_pattern(clock: re.Match[str]) -> str:
    if clock["digits"]:
        return "%H%M%S" if len(clock["digits"]) == 6 else "%H%M"
    hour = "%I" if clock["half"] else "%H"
    seconds = (":%S" if clock["seconds"] else "") + ("%.f" if clock["fraction"] else "")
    half = "" if not clock["half"] else " %p" if clock["half"].startswith(" ") else "%p"
    return f"{hour}:%M{seconds}{half}"
