"""Each strategy of the library enters where its rules say, checked with plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import python_core as bt
from python_core import diagnostics
from python_core.strategy import library

Series = np.ndarray
BARS = bt.synthetic(3_000, seed=3, timeframe="1h")
DAY_MS = 86_400_000


def rolling(x: Series, length: int, function: Callable[..., Series]) -> Series:
    out = np.full(len(x), np.nan)
    out[length - 1 :] = function(sliding_window_view(x, length), axis=1)
    return out


def sma(x: Series, length: int) -> Series:
    return rolling(x, length, np.mean)


def smoothed(x: Series, length: int, alpha: float) -> Series:
    """Seeded with the average of the first `length` known values."""
    first = int(np.argmax(~np.isnan(x)))
    out = np.full(len(x), np.nan)
    out[first + length - 1] = x[first : first + length].mean()
    for i in range(first + length, len(x)):
        out[i] = out[i - 1] + alpha * (x[i] - out[i - 1])
    return out


def ema(x: Series, length: int) -> Series:
    return smoothed(x, length, 2 / (length + 1))


def before(x: Series, bars: int = 1) -> Series:
    return np.concatenate((np.full(bars, np.nan), x[:-bars]))


def rsi(x: Series, length: int) -> Series:
    change = x - before(x)
    up, down = (smoothed(np.where(np.isnan(change), np.nan, np.maximum(sign * change, 0)), length, 1 / length) for sign in (1, -1))
    return 100 * up / (up + down)


def atr(b: Any, length: int) -> Series:
    last = before(b.close)
    ranges = np.maximum.reduce([b.high - b.low, abs(b.high - last), abs(b.low - last)])
    return smoothed(ranges, length, 1 / length)


def over(a: Series, b: Any) -> Series:
    difference = a - b
    return (difference > 0) & (before(difference) <= 0)


def bollinger_breakout(b: Any, p: Any) -> Series:
    middle, deviation = sma(b.close, p.length), rolling(b.close, p.length, np.std)
    width = 2 * p.multiple * deviation / middle
    rank = np.full(len(width), np.nan)
    for i in range(p.length - 1 + p.memory, len(width)):
        rank[i] = 100 * np.mean(width[i - p.memory : i] <= width[i])
    return over(b.close, middle + p.multiple * deviation) & (rolling(rank, p.length, np.min) < p.narrow)


def supertrend(b: Any, p: Any) -> Series:
    reach, middle = p.multiple * atr(b, p.length), (b.high + b.low) / 2
    upper, lower, rising = middle + reach, middle - reach, np.zeros(len(b.close), dtype=bool)
    for i in range(p.length + 1, len(b.close)):
        if b.close[i - 1] <= upper[i - 1]:
            upper[i] = min(upper[i], upper[i - 1])
        if b.close[i - 1] >= lower[i - 1]:
            lower[i] = max(lower[i], lower[i - 1])
        rising[i] = b.close[i] >= lower[i] if rising[i - 1] else b.close[i] > upper[i]
    return rising & ~np.concatenate(([True], rising[:-1]))


def ichimoku(b: Any, p: Any) -> Series:
    short, medium, long = ((rolling(b.high, n, np.max) + rolling(b.low, n, np.min)) / 2 for n in (p.short, p.medium, p.long))
    cloud = np.maximum(before((short + medium) / 2, p.medium), before(long, p.medium))
    return over(short, medium) & (b.close > cloud) & (b.close > before(b.close, p.medium))


def mtf(b: Any, p: Any) -> Series:
    day = b.time // DAY_MS
    closes = np.array([b.close[day == each][-1] for each in np.unique(day)])
    above = closes > ema(closes, p.days)
    # Until a day's last hour closes, its bars see the value of the day before.
    seen = np.array(
        [above[d - day[0] - (hour != 23)] if d - day[0] - (hour != 23) >= 0 else False for d, hour in zip(day, b.hour, strict=True)]
    )
    return over(rsi(b.close, p.length), p.low_mark) & seen


def opening_range(b: Any, p: Any) -> Series:
    day, top = b.time // DAY_MS, np.full(len(b.close), np.nan)
    for each in np.unique(day):
        rows = np.flatnonzero(day == each)
        if len(rows) >= p.bars:
            top[rows[p.bars - 1] :] = b.high[rows[0] : rows[0] + p.bars].max()
    count = np.array([i - np.flatnonzero(day == d)[0] + 1 for i, d in enumerate(day)])
    return over(b.close, top) & (count > p.bars) & (b.hour < p.evening)


def grid(b: Any, p: Any) -> Series:
    middle = sma(b.close, p.length)
    return np.logical_or.reduce([over(middle * (1 - k * p.gap), b.close) for k in (1, 2, 3, 4)])


ENTRIES: dict[str, Callable[[Any, Any], Series]] = {
    "sma-cross": lambda b, p: over(sma(b.close, p.fast), sma(b.close, p.slow)),
    "ema-cross": lambda b, p: over(ema(b.close, p.fast), ema(b.close, p.slow)) & (b.close > ema(b.close, p.trend)),
    "macd": lambda b, p: over(line := ema(b.close, p.fast) - ema(b.close, p.slow), ema(line, p.signal)),
    "rsi-reversion": lambda b, p: over(rsi(b.close, p.length), p.low_mark),
    "connors-rsi2": lambda b, p: (rsi(b.close, 2) < p.mark) & (b.close > sma(b.close, p.trend)),
    "keltner-breakout": lambda b, p: over(b.close, ema(b.close, p.length) + p.multiple * atr(b, p.range_length)),
    "bollinger-reversion": lambda b, p: over(b.close, sma(b.close, p.length) - p.multiple * rolling(b.close, p.length, np.std)),
    "bollinger-breakout": bollinger_breakout,
    "donchian-turtle": lambda b, p: b.close > before(rolling(b.high, p.entry, np.max)),
    "supertrend": supertrend,
    "ichimoku-cloud": ichimoku,
    "mtf-trend": mtf,
    "opening-range-breakout": opening_range,
    "dca": lambda b, p: b.hour == p.at_hour,
    "grid": grid,
}


def test_every_strategy_has_a_rule_in_this_file() -> None:
    assert sorted(ENTRIES) == list(library.names())


@pytest.mark.parametrize("name", ENTRIES)
def test_a_strategy_enters_where_its_rules_say(name: str) -> None:
    strategy = library.load(name).strategy
    bars = SimpleNamespace(**{key: getattr(BARS, key) for key in ("time", "open", "high", "low", "close", "volume")})
    bars.hour = bars.time // 3_600_000 % 24
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = ENTRIES[name](bars, SimpleNamespace(**strategy.values))
    found = diagnostics.values(BARS, strategy, ["entry_long"]).columns["entry_long"]
    assert found.sum() > 3
    np.testing.assert_array_equal(np.flatnonzero(found), np.flatnonzero(wanted))


def test_the_turtles_add_to_a_winner() -> None:
    turtle = library.load("donchian-turtle")
    trades = bt.backtest(BARS, turtle.strategy, turtle.execution).trades
    assert {trade.reason for trade in trades} >= {"signal", "stop_loss"}
    assert max(trade.quantity for trade in trades) > 2 * min(trade.quantity for trade in trades)


def test_dca_and_grid_sell_in_parts() -> None:
    for name in ("dca", "grid"):
        recipe = library.load(name)
        reasons = [trade.reason for trade in bt.backtest(BARS, recipe.strategy, recipe.execution).trades]
        assert reasons.count("partial_exit") >= 1


def test_the_opening_range_holds_no_position_overnight() -> None:
    recipe = library.load("opening-range-breakout")
    trades = bt.backtest(BARS, recipe.strategy, recipe.execution).trades.array
    days = BARS.time // DAY_MS
    assert (days[trades["entry_index"]] == days[trades["exit_index"]]).all()
