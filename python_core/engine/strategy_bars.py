"""Bars of the strategy's timeframe, built from base bars. The twins in `core_rs/src/market` are `frame.rs` and `higher_timeframe.rs`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.data.buckets import Buckets
from python_core.errors import StrategyError
from python_core.language.vocabulary import COLUMNS

Series = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class StrategyBars:
    """Bars of the strategy's timeframe, built from base bars; a last bar that the data does not complete is left out.

    Attributes:
        columns: float64[k] each, of open, high, low, close, volume and time (epoch milliseconds).
        ends: int64[k], when each strategy bar ends, epoch milliseconds.
        fills_at: int64[k], the first base bar that opens at or after that; the number of base bars where there is none.
    """

    def __init__(self, bars: Bars, timeframe: str | None) -> None:
        length_ms = bars.timeframe_ms if timeframe is None else timeframes.milliseconds(timeframe)
        check_timeframe(bars.timeframe, timeframe)
        self._bars, self._by_timeframe = bars, {0: self}
        self.base_bars = len(bars)
        if length_ms == bars.timeframe_ms:
            self.columns: dict[str, Series] = {name: getattr(bars, name) for name in COLUMNS}
            self.columns["time"] = bars.time.astype(np.float64)
            self.ends: Integers = timeframes.bar_end(bars.time, length_ms)
            self.fills_at: Integers = np.arange(1, len(bars) + 1)
            return
        buckets = Buckets.of(bars.time, bars.timeframe_ms, length_ms)
        self.columns = {
            "open": bars.open[buckets.first],
            "high": buckets.highest(bars.high),
            "low": buckets.lowest(bars.low),
            "close": bars.close[buckets.last],
            "volume": buckets.sums(bars.volume),
            "time": buckets.start.astype(np.float64),
        }
        self.ends = buckets.end
        self.fills_at = buckets.last + 1

    def __len__(self) -> int:
        return len(self.fills_at)

    def higher_timeframe(self, timeframe_ms: int) -> StrategyBars:
        """The same history in bars of a higher timeframe; 0: these bars."""
        if timeframe_ms not in self._by_timeframe:
            self._by_timeframe[timeframe_ms] = StrategyBars(self._bars, timeframes.name(timeframe_ms))
        return self._by_timeframe[timeframe_ms]

    def last_visible(self, higher: StrategyBars, *, fill_at_close: bool) -> Integers:
        """Position of the last bar of a higher timeframe that each of these bars sees, -1 for none: int64[k].

        A higher bar is visible if it has ended when orders of this bar can fill: at the open of `fills_at`, or at the end of this bar if orders
        fill at a close.
        """
        theirs, own = (higher.ends, self.ends) if fill_at_close else (higher.fills_at, self.fills_at)
        return np.searchsorted(theirs, own, side="right") - 1


def check_timeframe(bars_timeframe: str, timeframe: str | None) -> None:
    """Check that bars of a timeframe fit into the strategy's.

    Raises:
        StrategyError: they don't.
    """
    if timeframe is not None and not timeframes.fits(timeframes.milliseconds(bars_timeframe), timeframes.milliseconds(timeframe)):
        message, hint = timeframes.misfit(bars_timeframe, timeframe)
        raise StrategyError(message, where="timeframe", hint=hint)
