"""Volume: the quantity traded, and at which prices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from python_core.indicators.sums import restart_after_gaps
from python_core.indicators.table import Indicator, Series, composite, length, primitive
from python_core.numerics.exact_sum import SCALE, divide, to_fixed_point

DAY_MS: Final = 86_400_000.0


@restart_after_gaps()
def cum(x: Series) -> Series:
    """Cumulative sum, exact and rounded once per bar."""
    out, total = np.empty(len(x)), 0
    for i, new in enumerate(x.tolist()):
        total += to_fixed_point(new)
        out[i] = divide(total, SCALE)
    return out


@restart_after_gaps()
def session_cum(x: Series, time_ms: Series) -> Series:
    """Cumulative sum since the start of the day (UTC), exact and rounded once per bar."""
    return np.concatenate([cum(x[start:end]) for start, end in _days(time_ms)])


def _days(time_ms: Series) -> Iterator[tuple[int, int]]:
    """The first bar of each day, UTC, and the first of the next."""
    days = np.floor(time_ms / DAY_MS)
    return pairwise([0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)])


@restart_after_gaps()
def vwap(price: Series, volume: Series, time_ms: Series) -> Series:
    """Volume-weighted average price since the start of the day (UTC): the exact sum of hlc3 * volume over that of the volume, rounded once.

    Unknown before the first trade.
    """
    out = np.full(len(price), np.nan)
    prices, volumes = price.tolist(), volume.tolist()
    for start, end in _days(time_ms):
        products, traded = 0, 0
        for i in range(start, end):
            weight = to_fixed_point(volumes[i])
            products, traded = products + to_fixed_point(prices[i]) * weight, traded + weight
            if traded:
                out[i] = divide(products, traded * SCALE)
    return out


_FLOW: Final = {"flow": "((close - low) - (high - close)) / (high - low) * volume if high != low else 0"}

ROWS: Final[dict[str, Indicator]] = {
    "cum": primitive(cum),
    "session_cum": primitive(session_cum, implied=("time",)),
    "obv": composite(
        "On-balance volume: cumulative volume of rising closes minus that of falling ones, 0 on the first bar; TA-Lib starts with that bar's volume. (Granville 1963)",
        series=(),
        formula="cum(volume if close > close[1] else -volume if close < close[1] else 0)",
    ),
    "vwap": primitive(vwap, series=(), implied=("hlc3", "volume", "time"), may_stay_unknown=True),
    "ad": composite(
        "Accumulation/distribution: cumulative sum of volume times the position of the close in the bar, from -1 at the low to 1 at the high. As in TA-Lib. (Chaikin)",
        series=(),
        formula={"value": "cum(flow)", **_FLOW},
    ),
    "cmf": composite(
        "Chaikin money flow: volume times the position of the close in the bar (as in ad), divided by the volume, both over `length` bars, -1 to 1; 0 if nothing was traded.",
        length(default=20),
        series=(),
        formula={"value": "sma(flow, length) / traded if traded != 0 else 0", "traded": "sma(volume, length)", **_FLOW},
    ),
}
