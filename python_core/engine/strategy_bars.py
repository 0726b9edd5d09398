"""Bars of the strategy's timeframe, built from base bars. The twins in `core_rs/src/market` are `frame.rs` and `higher_timeframe.rs`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.errors import StrategyError
from python_core.language.vocabulary import COLUMNS

Series = npt.NDArray[np.float64]


class StrategyBars:
    """Bars of the strategy's timeframe, built from base bars; a last bar that the data does not complete is left out.

    Attributes:
        columns: float64[k] each, of open, high, low, close, volume and time (epoch milliseconds).
        closes: int64[k], when each strategy bar closes, epoch milliseconds.
        fills_at: int64[k], the first base bar that opens at or after that; the number of base bars where there is none.
        closes_on_time: bool[k], whether its last base bar closes at the same time; not so if the data has a gap there.
    """

    def __init__(self, bars: Bars, timeframe: str | None) -> None:
        length_ms = bars.timeframe_ms if timeframe is None else timeframes.milliseconds(timeframe)
        check_timeframe(bars, timeframe)
        self._bars, self._by_timeframe = bars, {0: self}
        self.base_bars = len(bars)
        if length_ms == bars.timeframe_ms:
            self.columns: dict[str, Series] = {name: getattr(bars, name) for name in COLUMNS}
            self.columns["time"] = bars.time.astype(np.float64)
            self.closes = bars.time + length_ms
            self.fills_at = np.arange(1, len(bars) + 1)
            self.closes_on_time = np.ones(len(bars), dtype=bool)
            return
        bucket = timeframes.bucket_start(bars.time, length_ms)
        first = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        ends = bucket[first] + length_ms
        complete = ends <= bars.time[-1] + bars.timeframe_ms
        last = np.append(first[1:], len(bars)) - 1
        first, last, ends = first[complete], last[complete], ends[complete]
        self.closes = ends
        self.columns = {
            "open": bars.open[first],
            "high": np.maximum.reduceat(bars.high, first)[: len(first)] if len(first) else np.empty(0),
            "low": np.minimum.reduceat(bars.low, first)[: len(first)] if len(first) else np.empty(0),
            "close": bars.close[last],
            "volume": _sums(bars.volume, first, last),
            "time": bucket[first].astype(np.float64),
        }
        if len(first) and last[-1] + 1 < len(bars):
            # reduceat's last group runs to the end of the data, past the last complete bar.
            self.columns["high"][-1] = bars.high[first[-1] : last[-1] + 1].max()
            self.columns["low"][-1] = bars.low[first[-1] : last[-1] + 1].min()
        self.fills_at = last + 1
        self.closes_on_time = bars.time[last] + bars.timeframe_ms >= ends

    def __len__(self) -> int:
        return len(self.fills_at)

    def higher_timeframe(self, timeframe_ms: int) -> StrategyBars:
        """The same history in bars of a higher timeframe; 0: these bars."""
        if timeframe_ms not in self._by_timeframe:
            self._by_timeframe[timeframe_ms] = StrategyBars(self._bars, timeframes.name(timeframe_ms))
        return self._by_timeframe[timeframe_ms]


def check_timeframe(bars: Bars, timeframe: str | None) -> None:
    """Check that the strategy's timeframe is that of the bars or a multiple of it.

    Raises:
        StrategyError: it isn't.
    """
    length_ms = bars.timeframe_ms if timeframe is None else timeframes.milliseconds(timeframe)
    if length_ms % bars.timeframe_ms:
        raise StrategyError(
            f"{timeframe} is not a multiple of the bars' {bars.timeframe}",
            where="timeframe",
            hint="use a longer timeframe or shorter bars",
        )


def _sums(values: Series, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Series:
    """Sum of each group from `first` to `last`, from left to right as in the compiled engine; `add.reduceat` adds in another order."""
    total = values[first].copy()
    for offset in range(1, int((last - first).max(initial=0)) + 1):
        within = first + offset <= last
        total[within] += values[first[within] + offset]
    return total
