"""Indicators, each defined once. The twin is `core_rs/src/indicators`, with modules of the same names.

A series is float64[n]; NaN means unknown. Where an input is not finite (NaN, the warm-up of the input, or infinity) an indicator is
unknown, and on the next finite value it restarts as if the data started there. `x[1]`, momentum and roc only read single bars.

Window sums are exact and rounded once, so they can't drift and don't depend on where the data start: sums of values (sma and what is
built on it: bollinger, cci, vwma, cmf, mfi; the path of kama), weighted sums (wma, hma, linreg), and sums of products (stdev, zscore,
correlation). vwma, vwap, cmf, ad and mfi sum products that were rounded to float64 first. mean_deviation sums its window for every bar,
from the oldest value to the newest. Exponential and Wilder averages depend on the whole history.
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
