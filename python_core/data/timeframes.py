"""Timeframes: names, lengths, and alignment to the UTC epoch."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.errors import BarstormError

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
# 1970-01-01 was a Thursday; weeks are aligned to Monday 00:00.
MONDAY_OFFSET_MS: Final = 4 * DAY_MS

MILLISECONDS: Final[dict[str, int]] = {
    "1m": 60_000,
    "3m": 180_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "2h": 7_200_000,
    "4h": 14_400_000,
    "6h": 21_600_000,
    "12h": 43_200_000,
    "1d": DAY_MS,
    "1w": WEEK_MS,
}
_BLOCK: Final = 1 << 15
_NAMES: Final = {length: name for name, length in MILLISECONDS.items()}
_EXCHANGE_CODES: Final = {"D": "1d", "W": "1w", "1D": "1d", "1W": "1w", "H": "1h"}


def parse(value: str | int) -> str:
    """The canonical name of a timeframe given as a name (`"4h"`), in minutes (`240`, `"240"`) or as an exchange code (`"D"`)."""
    text = str(value).strip()
    if text in MILLISECONDS:
        return text
    if text in _EXCHANGE_CODES:
        return _EXCHANGE_CODES[text]
    if text.isascii() and text.isdigit() and len(text) <= 6:
        name = _NAMES.get(int(text) * 60_000)
        if name:
            return name
    raise BarstormError(
        f"unknown timeframe {value!r:.40}",
        where="timeframe",
        hint=f"use one of {' '.join(MILLISECONDS)}, minutes (60) or D, W",
        code="unknown_timeframe",
    )


def milliseconds(name: str) -> int:
    """Length of a timeframe in milliseconds."""
    return MILLISECONDS[parse(name)]


def name(length_ms: int) -> str:
    """The canonical name of the timeframe of this length."""
    return _NAMES[length_ms]


def infer(time: np.ndarray) -> str:
    """The timeframe of bars with these open times (int64, epoch milliseconds, increasing): their smallest step."""
    if len(time) < 2:
        raise BarstormError(
            "the timeframe of a single bar is unknown", where="timeframe", hint="give the timeframe", code="unknown_timeframe"
        )
    step = smallest_step(time)
    if step not in _NAMES:
        raise BarstormError(
            f"the smallest step between bars is {step:,} ms, which is not a known timeframe",
            where="time",
            hint=f"use bars of one of {' '.join(MILLISECONDS)}",
            code="unknown_timeframe",
        )
    return _NAMES[step]


def smallest_step(time: np.ndarray) -> int:
    """The smallest difference between neighbours of two or more times, computed in blocks that fit the cache."""
    return min(int(np.diff(time[begin : begin + _BLOCK + 1]).min()) for begin in range(0, len(time) - 1, _BLOCK))


def gaps(time: np.ndarray, length_ms: int) -> np.ndarray:
    """Positions of bars after which at least one bar of `length_ms` is missing."""
    blocks = range(0, len(time) - 1, _BLOCK)
    found = [np.flatnonzero(np.diff(time[begin : begin + _BLOCK + 1]) >= 2 * length_ms) + begin for begin in blocks]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def bucket_start(time: np.ndarray, length_ms: int) -> np.ndarray:
    """Start (epoch milliseconds) of the bar of `length_ms` that contains each time; weeks start on Monday."""
    offset = MONDAY_OFFSET_MS if length_ms == WEEK_MS else 0
    return (time - offset) // length_ms * length_ms + offset
