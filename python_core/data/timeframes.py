"""Timeframes: names, lengths, and the alignment of their bars.

Lengths are fixed and aligned to the UTC epoch, weeks to Monday 00:00. Only a month, from its first day at 00:00 UTC, has no fixed length:
its length here and in plans is `MONTH_MS`, that of the longest month, which no other timeframe has.
The twin is `core_rs/src/market/timeframe.rs`.
"""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.errors import BarstormError

Times = npt.NDArray[np.int64]

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
MONTH_MS: Final = 31 * DAY_MS
SHORTEST_MONTH_MS: Final = 28 * DAY_MS
# 1970-01-01 was a Thursday; weeks are aligned to Monday 00:00.
MONDAY_OFFSET_MS: Final = 4 * DAY_MS

MILLISECONDS: Final[dict[str, int]] = {
    "1s": 1_000,
    "5s": 5_000,
    "10s": 10_000,
    "30s": 30_000,
    "1m": 60_000,
    "2m": 120_000,
    "3m": 180_000,
    "5m": 300_000,
    "10m": 600_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "45m": 2_700_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "8h": 28_800_000,
    "12h": 43_200_000,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": WEEK_MS,
    "1M": MONTH_MS,
}
_BLOCK: Final = 1 << 15
GIVE: Final = "give the timeframe"
_HOUR_MS: Final = 3_600_000
_NAMES: Final = {length: name for name, length in MILLISECONDS.items()}
# Codes as of Bybit, OKX and TradingView: 30S, 4H, 3D, and D, W, M without a number. A lower-case m is a minute, M a month.
_EXCHANGE_CODES: Final = {name.upper(): name for name in MILLISECONDS if name[-1] in "shdw"} | {
    "S": "1s",
    "H": "1h",
    "D": "1d",
    "W": "1w",
    "M": "1M",
}
_MINUTES: Final = {str(length // 60_000): name for length, name in _NAMES.items() if length % 60_000 == 0 and length != MONTH_MS}
# All texts that `parse` takes. Its message says more than that a pattern doesn't match, so it is for schemas only.
_PATTERN: Final = f"^({'|'.join((*MILLISECONDS, *(code for code in _EXCHANGE_CODES if code not in MILLISECONDS), *_MINUTES))})$"
OPTIONAL_PATTERN: Final = f"{_PATTERN[:-1]}?$"
Timeframe = Annotated[str, Meta(max_length=20, examples=["1h"], extra_json_schema={"pattern": _PATTERN})]


def parse(value: str | int) -> str:
    """The canonical name of a timeframe given as a name (`"4h"`), in minutes (`240`, `"240"`) or as an exchange code (`"D"`, `"30S"`).

    Raises:
        BarstormError: unknown timeframe.
    """
    text = str(value).strip()
    text = _EXCHANGE_CODES.get(text) or _MINUTES.get(text, text)
    if text in MILLISECONDS:
        return text
    raise BarstormError(
        f"unknown timeframe {value!r:.40}",
        where="timeframe",
        hint=f"use one of {' '.join(MILLISECONDS)} (1m is a minute, 1M a month), minutes (60) or a code (D, W, M)",
        code="unknown_timeframe",
    )


def milliseconds(name: str) -> int:
    """Length of a timeframe in milliseconds; of `1M` the code `MONTH_MS`."""
    return MILLISECONDS[parse(name)]


def name(length_ms: int) -> str:
    """The canonical name of the timeframe of this length."""
    return _NAMES[length_ms]


def fits(fine_ms: int, coarse_ms: int) -> bool:
    """Whether every boundary of the coarser timeframe is one of the finer, so that its bars are made of whole finer bars."""
    if MONTH_MS in (fine_ms, coarse_ms):
        return fine_ms == coarse_ms or (coarse_ms == MONTH_MS and DAY_MS % fine_ms == 0)
    return coarse_ms % fine_ms == 0


def misfit(fine: str, coarse: str) -> tuple[str, str]:
    """The message and the hint of the error that bars of `fine` do not fit into bars of `coarse`."""
    known = [name for name, length_ms in MILLISECONDS.items() if fits(MILLISECONDS[fine], length_ms)]
    return f"{coarse} bars can't be built from {fine} bars", f"{fine} bars fit into {' '.join(known)}"


def infer(time: np.ndarray, *, odd_ends: bool = False) -> str:
    """The timeframe of bars with these open times (int64, epoch milliseconds, increasing): their commonest step.

    If bars overlap at that, most bars are missing, and it is the smallest step. With `odd_ends`, a first and a last one may overlap, and others
    are an error. Steps of 28 to 31 days are months.

    Raises:
        BarstormError: a single bar, or a step that is no timeframe.
    """
    if len(time) < 2:
        raise BarstormError("the timeframe of a single bar is unknown", where="timeframe", hint=GIVE, code="unknown_timeframe")
    step = _commonest_step(time)
    begin, end = without_odd_ends(time, step) if odd_ends and step in _NAMES else (0, len(time))
    overlap = first_overlap(time[begin:end], step) if step in _NAMES else None
    if odd_ends and overlap is not None:
        first, second = (np.datetime64(int(moment), "ms") for moment in time[begin + overlap - 1 : begin + overlap + 1])
        raise BarstormError(
            f"most bars are {_NAMES[step]} apart, but {first} and {second} are in one",
            where="timeframe",
            hint=GIVE,
            code="unknown_timeframe",
        )
    if step not in _NAMES or overlap is not None:
        step = smallest_step(time)
        step = MONTH_MS if SHORTEST_MONTH_MS <= step <= MONTH_MS else step
    if step not in _NAMES or (step == MONTH_MS and not _are_months(time[begin:end])):
        raise BarstormError(
            f"the smallest step between bars is {step:,} ms, which is not a known timeframe",
            where="time",
            hint=f"use bars of one of {' '.join(MILLISECONDS)}",
            code="unknown_timeframe",
        )
    return _NAMES[step]


def _are_months(time: np.ndarray) -> bool:
    """Whether each bar opens at the start of a month, in whatever zone, and no two in one."""
    start = bucket_start(time, MONTH_MS)
    at_start = (time - start < DAY_MS) | (bar_end(start, MONTH_MS) - time <= DAY_MS)
    return bool(at_start.all()) and first_overlap(time, MONTH_MS) is None


def _commonest_step(time: np.ndarray) -> int:
    """The commonest difference between neighbours, the smallest of several; of months the length of the longest."""
    counts: dict[int, int] = {}
    for begin in range(0, len(time) - 1, _BLOCK):
        steps, found = np.unique(np.diff(time[begin : begin + _BLOCK + 1]), return_counts=True)
        for step, count in zip(steps.tolist(), found.tolist(), strict=True):
            known = MONTH_MS if SHORTEST_MONTH_MS <= step <= MONTH_MS else step
            counts[known] = counts.get(known, 0) + count
    return min(counts, key=lambda step: (-counts[step], step))


def without_odd_ends(time: np.ndarray, length_ms: int) -> tuple[int, int]:
    """The range of bars without a first or a last one that overlaps its neighbour, such as the latest day at the end of weeks."""
    begin, end = 0, len(time)
    if end - begin > 2 and first_overlap(time[-2:], length_ms) is not None:
        end -= 1
    if end - begin > 2 and first_overlap(time[:2], length_ms) is not None:
        begin += 1
    return begin, end


def open_times(ends: np.ndarray, length_ms: int) -> np.ndarray:
    """Open times of bars that end at these times, or a millisecond or second before, as exchanges write it."""
    ends = ends + np.where(ends % 1_000 == 999, 1, 0)
    ends = ends + np.where(ends % 60_000 == 59_000, 1_000, 0) if length_ms >= 60_000 else ends
    return _month_starts(_months(ends - 1)) if length_ms == MONTH_MS else ends - length_ms


def is_step(length_ms: float) -> bool:
    """Whether neighbours in some timeframe may be this far apart."""
    return length_ms in _NAMES or SHORTEST_MONTH_MS <= length_ms <= MONTH_MS


def smallest_step(time: np.ndarray) -> int:
    """The smallest difference between neighbours of two or more times, computed in blocks that fit the cache."""
    return min(int(np.diff(time[begin : begin + _BLOCK + 1]).min()) for begin in range(0, len(time) - 1, _BLOCK))


def first_overlap(time: Times, length_ms: int) -> int | None:
    """Position of the first bar that belongs to the same stretch of time as the one before it; None if there is none.

    A bar may open earlier than one length after the one before if it is in another bucket, as the hour from 10:00 after a session's first from
    9:30, and days may be an hour short, when clocks change.
    """
    if len(time) < 2 or (length_ms != MONTH_MS and smallest_step(time) >= length_ms):
        return None
    for begin in range(0, len(time) - 1, _BLOCK):
        part = time[begin : begin + _BLOCK + 1]
        overlaps = np.diff(bucket_start(part, length_ms)) <= 0
        if length_ms != MONTH_MS:
            overlaps &= np.diff(part) < length_ms - (_HOUR_MS if length_ms >= DAY_MS else 0)
        if overlaps.any():
            return begin + int(overlaps.argmax()) + 1
    return None


def gaps(time: Times, length_ms: int) -> Times:
    """Positions of bars after which at least one bar of `length_ms` is missing."""
    if length_ms == MONTH_MS:
        return np.flatnonzero(steps(time, length_ms) >= 2)
    blocks = range(0, len(time) - 1, _BLOCK)
    found = [np.flatnonzero(np.diff(time[begin : begin + _BLOCK + 1]) >= 2 * length_ms) + begin for begin in blocks]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def steps(time: np.ndarray, length_ms: int) -> np.ndarray:
    """How many bars each time but the first is after the one before it."""
    return np.diff(_months(time)) if length_ms == MONTH_MS else np.diff(time) // length_ms


def bucket_start(time: np.ndarray, length_ms: int) -> np.ndarray:
    """Start (epoch milliseconds) of the bar of `length_ms` that contains each time."""
    if length_ms == MONTH_MS:
        return _month_starts(_months(time))
    offset = MONDAY_OFFSET_MS if length_ms == WEEK_MS else 0
    return (time - offset) // length_ms * length_ms + offset


def bar_end(time: np.ndarray, length_ms: int) -> np.ndarray:
    """End (epoch milliseconds) of the bars that open at these times."""
    return _month_starts(_months(time) + 1) if length_ms == MONTH_MS else time + length_ms


def align(time_ms: int, length_ms: int) -> int:
    """`bucket_start` of one time."""
    return int(bucket_start(np.array([time_ms]), length_ms)[0])


def shift(time_ms: int, length_ms: int, bars: int) -> int:
    """Open time of the bar `bars` after the one that opens at `time_ms`, or before it if negative."""
    if length_ms != MONTH_MS:
        return time_ms + bars * length_ms
    return int(_month_starts(_months(np.array([time_ms])) + bars)[0])


def series(first_ms: int, length_ms: int, bars: int) -> Times:
    """Open times of `bars` bars without a gap, from the one that opens at `first_ms`."""
    positions = np.arange(bars, dtype=np.int64)
    return _month_starts(_months(np.array([first_ms])) + positions) if length_ms == MONTH_MS else first_ms + positions * length_ms


def _months(time: np.ndarray) -> Times:
    """Calendar months since January 1970."""
    months: Times = time.astype(np.int64).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return months


def _month_starts(months: Times) -> Times:
    """Epoch milliseconds."""
    starts: Times = months.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    return starts
