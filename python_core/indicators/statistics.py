"""Windows of earlier values: extremes, spread, rank, and when something was last true."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import ge, le
from typing import Final

import numpy as np

from python_core.indicators.sums import starts_anew
from python_core.indicators.table import Indicator, Series, length, primitive


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


ROWS: Final[dict[str, Indicator]] = {
    "highest": primitive(highest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "lowest": primitive(lowest, length(), outputs=("value", "bars"), warm_up=lambda length: length - 1),
    "shift": primitive(shift, length("bars"), warm_up=lambda bars: bars),
}
