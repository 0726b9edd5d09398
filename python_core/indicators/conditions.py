"""Indicators of when a condition was last true."""

from __future__ import annotations

from typing import Final

import numpy as np

from python_core.indicators.sums import restart_after_gaps
from python_core.indicators.table import Indicator, Series, primitive


@restart_after_gaps()
def bars_since(condition: Series) -> Series:
    """Bars since the condition was last true, 0 on a bar where it is true; unknown until it has been true."""
    out = np.full(len(condition), np.nan)
    last = None
    for i, value in enumerate(condition.tolist()):
        last = i if value else last
        if last is not None:
            out[i] = i - last
    return out


@restart_after_gaps()
def value_when(condition: Series, x: Series) -> Series:
    """The value of the series on the last bar where the condition was true; unknown until it has been true."""
    out = np.full(len(x), np.nan)
    last = np.nan
    for i, value in enumerate(condition.tolist()):
        last = x[i] if value else last
        out[i] = last
    return out


ROWS: Final[dict[str, Indicator]] = {
    "bars_since": primitive(bars_since, conditions=("condition",), series=(), may_stay_unknown=True),
    "value_when": primitive(value_when, conditions=("condition",), may_stay_unknown=True),
}
