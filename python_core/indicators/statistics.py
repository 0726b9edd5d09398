"""Windows of earlier values: extremes, spread, rank, correlation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from operator import ge, le
from typing import Final

import numpy as np

from python_core.indicators.sums import SCALE, divide, exact, starts_anew
from python_core.indicators.table import Indicator, Series, composite, length, primitive


def shift(x: Series, bars: int) -> Series:
    """The value `bars` bars earlier."""
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out


def _extreme(x: Series, length: int, beats: Callable[[float, float], bool]) -> tuple[Series, Series]:
    """The value in the last `length` that beats the others, the latest of equals, and how many bars ago it was."""
    best, ago = np.full(len(x), np.nan), np.full(len(x), np.nan)
    rivals: deque[tuple[int, float]] = deque()
    for i, new in enumerate(x.tolist()):
        while rivals and beats(new, rivals[-1][1]):
            rivals.pop()
        rivals.append((i, new))
        if rivals[0][0] == i - length:
            rivals.popleft()
        if i >= length - 1:
            best[i], ago[i] = rivals[0][1], i - rivals[0][0]
    return best, ago


@starts_anew(outputs=2)
def highest(x: Series, length: int) -> tuple[Series, Series]:
    """Greatest of the last `length` values; `bars`: how many bars ago it was, of equal ones the latest."""
    return _extreme(x, length, ge)


@starts_anew(outputs=2)
def lowest(x: Series, length: int) -> tuple[Series, Series]:
    """Least of the last `length` values; `bars`: how many bars ago it was, of equal ones the latest."""
    return _extreme(x, length, le)


def _numerators(a: Series, b: Series, length: int) -> Iterator[tuple[int, float]]:
    """Bar, and length^2 times the covariance of its window: the exact length * sum of products - product of sums, rounded once."""
    scaled = [(exact(x), exact(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    sum_a, sum_b, products = 0, 0, 0
    for i, (x, y) in enumerate(scaled):
        sum_a, sum_b, products = sum_a + x, sum_b + y, products + x * y
        if i >= length:
            x, y = scaled[i - length]
            sum_a, sum_b, products = sum_a - x, sum_b - y, products - x * y
        if i >= length - 1:
            yield i, divide(length * products - sum_a * sum_b, SCALE * SCALE)


@starts_anew()
def stdev(x: Series, length: int) -> Series:
    """Standard deviation of the last `length` values, as of a whole population: sqrt of the exact length * sum of squares - square of the sum,
    rounded once, over length^2. As TA-Lib, which loses digits where the deviation is small beside the values."""
    out = np.full(len(x), np.nan)
    for i, numerator in _numerators(x, x, length):
        out[i] = math.sqrt(numerator / float(length * length))
    return out


@starts_anew()
def correlation(a: Series, b: Series, length: int) -> Series:
    """Correlation (Pearson's r) of the last `length` values of two series, from exact sums; 0 where one of them doesn't vary. As TA-Lib."""
    out = np.full(len(a), np.nan)
    rows = zip(_numerators(a, b, length), _numerators(a, a, length), _numerators(b, b, length), strict=True)
    for (i, both), (_, alone_a), (_, alone_b) in rows:
        spreads = np.sqrt(np.float64(alone_a)) * np.sqrt(np.float64(alone_b))
        out[i] = 0.0 if spreads == 0.0 else np.clip(np.float64(both) / spreads, -1.0, 1.0)
    return out


@starts_anew()
def percentrank(x: Series, length: int) -> Series:
    """Percent rank: the share of the `length` values before this one that are no greater, in percent. Known from value `length`."""
    out = np.full(len(x), np.nan)
    for i in range(length, len(x)):
        out[i] = 100.0 * float(np.count_nonzero(x[i - length : i] <= x[i])) / float(length)
    return out


ROWS: Final[dict[str, Indicator]] = {
    "highest": primitive(highest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "lowest": primitive(lowest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "stdev": primitive(stdev, length(), warm_up=lambda length: length - 1),
    "zscore": composite(
        "Standard score: (series - sma) / stdev; 0 where nothing varies.",
        length(),
        formula={"value": "(series - sma(series, length)) / spread if spread != 0 else 0", "spread": "stdev(series, length)"},
    ),
    "percentrank": primitive(percentrank, length(), warm_up=lambda length: length),
    "correlation": primitive(correlation, length(), series=("first", "second"), warm_up=lambda length: length - 1),
    "shift": primitive(shift, length("bars"), warm_up=lambda bars: bars),
}
