"""Indicators, each defined once. The twin is `core_rs/src/indicators`, with modules of the same names.

A series is float64[n]; NaN means unknown. Where an input is not finite (NaN, the warm-up of the input, or infinity) an indicator is
unknown, and on the next finite value it restarts as if the data started there. `x[1]`, momentum and roc only read single bars.

Window sums are exact, so they can't drift and don't depend on where the data start. An average is the exact sum over its count (or over
the exact sum of its weights), rounded once, so that an average of equal values is that value: sma and what is built on it, wma, linreg,
vwma, vwap, hlc3 and ohlc4. Sums of products (stdev, zscore, correlation) are rounded once before they are divided; cmf, ad and mfi sum
products that were rounded first. mean_deviation sums its window for every bar, from the oldest value to the newest. Exponential and Wilder
averages depend on the whole history.

A bounded indicator divides before it multiplies by 100, as a rounded share of 1 is never above 1.
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
