"""The markets, signals and jobs of the benchmark, equal for every contender and run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Stops = tuple[float, float] | None

CAPITAL = 10_000.0
FEE = 0.0006
FAST, SLOW = 21, 63
WIDE: Stops = (0.02, 0.04)
TIGHT: Stops = (0.003, 0.006)

_VOLATILITY = 1e-3  # standard deviation of a bar's return
_TREND = 7.5e-5  # drift per bar in a trend: about enough for the crossings to earn their fees
_TREND_BARS = 240


@dataclass(frozen=True)
class Market:
    """1-minute bars from the beginning of 2020, as contiguous arrays. The last bar has a single price, so closing at its open or its close is
    the same."""

    time: npt.NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.close)


@dataclass(frozen=True)
class Signals:
    """Signals at the close of their bar. The last but one closes every position and opens none, so the contenders' handling of the end of
    data makes no difference."""

    entry_long: Mask
    exit_long: Mask
    entry_short: Mask | None = None
    exit_short: Mask | None = None

    @staticmethod
    def of(up: Mask, down: Mask, shorts: bool) -> Signals:
        """Long from `up` to `down`; with `shorts`, short from `down` to `up`."""
        entry, exit_ = up.copy(), down.copy()
        entry[-2:], exit_[-2:] = False, (True, False)
        if not shorts:
            return Signals(entry, exit_)
        entry_short, exit_short = down.copy(), up.copy()
        entry_short[-2:], exit_short[-2:] = False, (True, False)
        return Signals(entry, exit_, entry_short, exit_short)


@dataclass(frozen=True, eq=False)
class Job:
    """One run: fees of 0.06 %, the whole equity in every position, orders filled at the next open.

    With `crossing`, the contender computes averages and their crossings from the prices; `stops` are loss and profit as fractions of the
    entry price; `excursions` adds MAE and MFE of every trade.
    """

    market: Market
    signals: Signals
    crossing: bool = False
    shorts: bool = False
    stops: Stops = None
    excursions: bool = False


@dataclass(frozen=True, eq=False)
class Grid:
    """Long-only runs of every pair of average lengths over one market. With `stops`, maximum drawdown and daily volatility are computed, too."""

    market: Market
    fast: range
    slow: range
    stops: Stops = None
    threads: int = 1

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The combinations; the slow length varies fastest."""
        return [(fast, slow) for fast in self.fast for slow in self.slow]

    @cached_property
    def averages(self) -> dict[int, Floats]:
        return {length: moving_average(self.market.close, length) for length in {*self.fast, *self.slow}}

    def signals(self, pair: tuple[int, int]) -> Signals:
        fast, slow = pair
        return Signals.of(*crossings(self.averages[fast], self.averages[slow]), shorts=False)


def market(bars: int, density: float | None = None, seed: int = 11) -> tuple[Market, Signals, Signals]:
    """A market with signals for it, long-only and long/short.

    Without `density`, the market has trends, and the signals are crossings of its averages. With it, that share of the bars has a signal, and
    prices drift in favour of the long positions by about the cost of trading: otherwise fees would consume the account, and some contenders
    stop trading when less than 1e-12 of it is left.
    """
    random = np.random.default_rng(seed)
    events = None if density is None else random.random(bars) < density
    if events is None:
        lengths = random.integers(_TREND_BARS // 2, 3 * _TREND_BARS // 2, 2 * bars // _TREND_BARS + 10)
        trend = np.repeat(np.resize([_TREND, -_TREND], len(lengths)), lengths)[:bars]
    else:
        held = np.cumsum(events) % 2 == 1
        trend = np.where(np.roll(held, 1), 1.0, -1.0) * FEE * 2 * density
    close = 100.0 * np.exp(np.cumsum(trend + _VOLATILITY * random.standard_normal(bars)))
    before = np.concatenate(([100.0], close[:-1]))
    open_ = before * (1 + 0.1 * _VOLATILITY * random.standard_normal(bars))
    high = np.maximum(open_, close) * (1 + 0.5 * _VOLATILITY * random.random(bars))
    low = np.minimum(open_, close) * (1 - 0.5 * _VOLATILITY * random.random(bars))
    open_[-1] = high[-1] = low[-1] = close[-1]
    time = 1_577_836_800_000 + 60_000 * np.arange(bars, dtype=np.int64)
    made = Market(time, open_, high, low, close, random.integers(1, 1000, bars).astype(np.float64))
    if events is None:
        up, down = crossings(moving_average(close, FAST), moving_average(close, SLOW))
    else:
        up, down = events & held, events & ~held
    return made, Signals.of(up, down, shorts=False), Signals.of(up, down, shorts=True)


def crossings(fast: Floats, slow: Floats) -> tuple[Mask, Mask]:
    """Bars on which `fast` rises above and falls below `slow`; false where either is unknown on the bar or the one before."""
    above, below = fast > slow, fast < slow
    known = ~np.isnan(slow)
    up, down = np.zeros(len(fast), np.bool_), np.zeros(len(fast), np.bool_)
    up[1:] = above[1:] & ~above[:-1] & known[:-1]
    down[1:] = below[1:] & ~below[:-1] & known[:-1]
    return up, down


def moving_average(values: Floats, length: int) -> Floats:
    """NaN before the first full window."""
    sums = np.cumsum(values - values[0])
    out = np.full(len(values), np.nan)
    out[length - 1] = sums[length - 1] / length
    out[length:] = (sums[length:] - sums[:-length]) / length
    return out + values[0]


def real_market(name: str) -> tuple[Market, Signals, Signals]:
    """As `market`, from prices included in backtesting.py: GOOG daily or EURUSD hourly.

    A last bar with a single price is added, as if the market had closed.
    """
    from backtesting import test

    frame = getattr(test, name)
    open_, high, low, close, volume = (frame[column].to_numpy().astype(np.float64) for column in ("Open", "High", "Low", "Close", "Volume"))
    still = close[-1:]
    time = frame.index.as_unit("ms").asi8
    prices = [np.concatenate((column, still)) for column in (open_, high, low, close)]
    made = Market(np.append(time, 2 * time[-1] - time[-2]), *prices, np.append(volume, 0.0))
    up, down = crossings(moving_average(made.close, FAST), moving_average(made.close, SLOW))
    return made, Signals.of(up, down, shorts=False), Signals.of(up, down, shorts=True)


@lru_cache(maxsize=2)
def cached_market(bars: int, density: float | None = None) -> tuple[Market, Signals, Signals]:
    return market(bars, density)
