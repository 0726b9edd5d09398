"""Indicators: one definition of the maths each, which the compiled engine repeats to the bit.

A series is float64[n]; NaN means "not known yet". An indicator that meets what is not finite (NaN, the warm-up of its input, or infinity)
is not known there, and starts anew after it.
"""

from __future__ import annotations

from typing import Final

from python_core.indicators import averages, oscillators, statistics, volatility
from python_core.indicators.table import MAX_LOOKBACK, Argument, Indicator, Series

__all__ = ["FUNCTIONS", "INDICATORS", "MAX_LOOKBACK", "Argument", "Indicator", "Series"]

INDICATORS: Final[dict[str, Indicator]] = {
    **averages.ROWS,
    **oscillators.ROWS,
    **volatility.ROWS,
    **statistics.ROWS,
}
# `shift` is written x[1].
FUNCTIONS: Final = tuple(name for name in INDICATORS if name != "shift")
