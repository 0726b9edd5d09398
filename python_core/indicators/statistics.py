"""Statistics of the last values: extremes, deviation, rank, correlation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from operator import ge, le
from typing import Final

import numpy as np

from python_core.indicators.sums import restart_after_gaps
from python_core.indicators.table import Indicator, Series, composite, length, primitive
from python_core.numerics.exact_sum import SCALE, divide, to_fixed_point


def shift(x: Series, bars: int) -> Series:
    """The value `bars` bars earlier."""
    out = np.full(len(x), np.nan)
    if bars < len(x):
        out[bars:] = x[: len(x) - bars]
    return out


def _extreme(x: Series, length: int, beats: Callable[[float, float], bool]) -> tuple[Series, Series]:
    """The value among the last `length` that beats the others, the latest of equal ones, and how many bars ago it was."""
    best, ago = np.full(len(x), np.nan), np.full(len(x), np.nan)
    candidates: deque[tuple[int, float]] = deque()
    for i, new in enumerate(x.tolist()):
        while candidates and beats(new, candidates[-1][1]):
            candidates.pop()
        candidates.append((i, new))
        if candidates[0][0] == i - length:
            candidates.popleft()
        if i >= length - 1:
            best[i], ago[i] = candidates[0][1], i - candidates[0][0]
    return best, ago


@restart_after_gaps(outputs=2)
def highest(x: Series, length: int) -> tuple[Series, Series]:
    """Highest of the last `length` values; `bars`: how many bars ago it was, the latest of equal values."""
    return _extreme(x, length, ge)


@restart_after_gaps(outputs=2)
def lowest(x: Series, length: int) -> tuple[Series, Series]:
    """Lowest of the last `length` values; `bars`: how many bars ago it was, the latest of equal values."""
    return _extreme(x, length, le)


def _numerators(a: Series, b: Series, length: int) -> Iterator[tuple[int, float]]:
    """For each bar: its index, and length^2 times the covariance of its window: the exact length * sum of products - product of sums, rounded once."""
    scaled = [(to_fixed_point(x), to_fixed_point(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    sum_a, sum_b, products = 0, 0, 0
    for i, (x, y) in enumerate(scaled):
        sum_a, sum_b, products = sum_a + x, sum_b + y, products + x * y
        if i >= length:
            x, y = scaled[i - length]
            sum_a, sum_b, products = sum_a - x, sum_b - y, products - x * y
        if i >= length - 1:
            yield i, divide(length * products - sum_a * sum_b, SCALE * SCALE)


@restart_after_gaps()
def stdev(x: Series, length: int) -> Series:
    """Population standard deviation of the last `length` values: sqrt of the exact length * sum of squares - square of the sum, rounded once,
    over length^2. As in TA-Lib, which loses digits if the deviation is small compared with the values."""
    out = np.full(len(x), np.nan)
    for i, numerator in _numerators(x, x, length):
        out[i] = math.sqrt(numerator / float(length * length))
    return out


@restart_after_gaps()
def correlation(a: Series, b: Series, length: int) -> Series:
    """Correlation (Pearson's r) of the last `length` values of two series, from exact sums; 0 if one of them is constant. As in TA-Lib."""
    out = np.full(len(a), np.nan)
    rows = zip(_numerators(a, b, length), _numerators(a, a, length), _numerators(b, b, length), strict=True)
    for (i, both), (_, alone_a), (_, alone_b) in rows:
        spreads = np.sqrt(np.float64(alone_a)) * np.sqrt(np.float64(alone_b))
        out[i] = 0.0 if spreads == 0.0 else np.clip(np.float64(both) / spreads, -1.0, 1.0)
    return out


@restart_after_gaps()
def percentrank(x: Series, length: int) -> Series:
    """Percent rank: the share of the `length` values before this one that are not greater, in percent. Known from value `length`."""
    out = np.full(len(x), np.nan)
    for i in range(length, len(x)):
        out[i] = 100.0 * float(np.count_nonzero(x[i - length : i] <= x[i])) / float(length)
    return out


ROWS: Final[dict[str, Indicator]] = {
    "highest": primitive(highest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "lowest": primitive(lowest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "stdev": primitive(stdev, length(), warm_up=lambda length: length - 1),
    "zscore": composite(
        "Standard score: (series - sma) / stdev; 0 if all values are equal.",
        length(),
        formula={"value": "(series - sma(series, length)) / spread if spread != 0 else 0", "spread": "stdev(series, length)"},
    ),
    "percentrank": primitive(percentrank, length(), warm_up=lambda length: length),
    "correlation": primitive(correlation, length(), series=("first", "second"), warm_up=lambda length: length - 1),
    "shift": primitive(shift, length("bars"), warm_up=lambda bars: bars),
}
