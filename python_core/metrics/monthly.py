"""Returns of calendar months."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from python_core.data.columns import Floats, Integers


class MonthlyReturn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The return of a UTC month.

    Attributes:
        month: 1 to 12.
        total_return: equity at the close of the month's last bar / that of the month before - 1; fraction, None after ruin.
    """

    year: int
    month: int
    total_return: float | None


def monthly_returns(equity: Floats, time_ms: Integers, capital: float) -> tuple[MonthlyReturn, ...]:
    """The return of each UTC month that has bars; the first is relative to the capital.

    A bar belongs to the month in which it opens.

    Args:
        equity: float64[n], money at each bar's close, n >= 1.
        time_ms: int64[n], the bars' open times.
    """
    months = time_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    ends = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    found, before = [], float(capital)
    for month, now in zip(months[ends].tolist(), equity[ends].tolist(), strict=True):
        change = now / before - 1.0 if before > 0.0 else math.nan
        found.append(MonthlyReturn(1970 + month // 12, month % 12 + 1, change if math.isfinite(change) else None))
        before = now
    return tuple(found)
