"""Indicators: one definition of the maths each, which the compiled engine repeats to the bit.

A series is float64[n]; NaN means "not known yet". An indicator that meets what is not finite (NaN, the warm-up of its input, or infinity)
is not known there, and starts anew after it as if the data began there. `x[1]`, momentum and roc look at single bars only.

Sums of a window are exact and rounded once, so they can't drift, and are the same bits wherever the data begin: sums of values (sma and
all made of it: bollinger, cci, vwma, cmf, mfi; kama's path), weighted sums (wma, hma, linreg), sums of products (stdev, zscore,
correlation). vwma, vwap, cmf, ad and mfi sum products that were rounded to float64 first. mean_deviation adds up its window anew for each
bar, from the oldest value to the newest. Exponential and Wilder averages remember all history, as they must.
"""

from __future__ import annotations

from typing import Final

from python_core.indicators import averages, conditions, oscillators, statistics, trend, volatility, volume
from python_core.indicators.table import MAX_LOOKBACK, Argument, Indicator, Series

__all__ = ["FUNCTIONS", "INDICATORS", "MAX_LOOKBACK", "Argument", "Indicator", "Series"]

INDICATORS: Final[dict[str, Indicator]] = {
    **averages.ROWS,
    **oscillators.ROWS,
    **volatility.ROWS,
    **trend.ROWS,
    **volume.ROWS,
    **statistics.ROWS,
    **conditions.ROWS,
}
# `shift` is written x[1].
FUNCTIONS: Final = tuple(name for name in INDICATORS if name != "shift")
