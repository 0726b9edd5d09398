"""Returns of calendar months."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from python_core.data.columns import Floats, Integers


class MonthlyReturn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The return of a UTC month."""

    year: Annotated[int, Meta(description="Calendar year.")]
    month: Annotated[int, Meta(ge=1, le=12, description="Calendar month, from 1.")]
    total_return: Annotated[
        float | None,
        Meta(description="Equity at the close of the month's last bar / that of the month before - 1; fraction, null after ruin."),
    ]


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
