"""Synthetic market history for demonstrations and tests, with the same bytes on every machine."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from python_core.data import timeframes
from python_core.data.bars import Bars
from python_core.data.columns import LAST_TIME_MS, Floats, Integers
from python_core.data.epoch import Moment, to_epoch_ms
from python_core.errors import BarsError
from python_core.immutable import freeze
from python_core.numerics.scalars import plain

Words = npt.NDArray[np.uint64]

# One value for each regime: uptrend, downtrend, range, volatile. Volatility and drift are fractions of the price per hour; reversion
# is the fraction of a bar's move that the next bar takes back.
_VOLATILITY: Final = (0.0045, 0.0050, 0.0030, 0.0120)
_DRIFT: Final = (0.00040, -0.00040, 0.0, 0.0)
_REVERSION: Final = (0.0, 0.0, 0.75, 0.0)
# Chance in 65,536 that a bar starts another regime: 1 in 240.
_SWITCH: Final = 273
# The logarithm of the price is counted in integer units, so that sums are exact.
_UNIT: Final = 1e-9
# The price stays between 1/8 and 8 times its start: the walk is reflected at ln 8.
_BAND: Final = 2_079_441_541
# Standard deviation of a sum of four uniform 16-bit numbers.
_DEVIATION: Final = 37_837
_HOUR_MS: Final = 3_600_000
_BLOCK: Final = 1 << 15
MAX_BARS: Final = 50_000_000


def synthetic(
    bars: int = 20_000,
    *,
    seed: int = 7,
    timeframe: str | int = "1h",
    start: Moment = "2020-01-01",
    symbol: str = "SYNTHETIC",
    tick: float = 0.01,
    price: float = 100.0,
) -> Bars:
    """Synthetic bars of a market that switches at random between uptrend, downtrend, range and high volatility.

    Args:
        bars: number of bars, 1 to 50,000,000.
        seed: 0 to 2**64 - 1.
        timeframe: as in `Bars`; volatility per bar grows with its square root.
        start: time of the first bar, ISO 8601, datetime or epoch milliseconds, UTC unless it has an offset; rounded down to the start of its bar.
        symbol: a label.
        tick: prices are multiples of it.
        price: prices start near it and stay between an eighth of it and eight times it.

    The same arguments give the same bytes on any machine and version of NumPy: random numbers are the raw 64-bit words of PCG64, whose stream
    is fixed, and the rest uses only integers, `+ - * /` and `sqrt`, which IEEE 754 defines to the last bit. `exp`, `log` and NumPy's normal
    distribution differ between libraries and versions.

    Raises:
        BarsError: an argument is out of range.
    """
    bars, seed, tick, price = map(plain, (bars, seed, tick, price))
    name = timeframes.parse(timeframe)
    step_ms = timeframes.milliseconds(name)
    if not _is_integer(bars) or not 1 <= bars <= MAX_BARS:
        raise BarsError(f"{bars!r} is out of range", where="bars", hint=f"use a whole number from 1 to {MAX_BARS:,}")
    if not _is_integer(seed) or not 0 <= seed < 2**64:
        raise BarsError(f"{seed!r} is out of range", where="seed", hint="use a whole number from 0 to 2**64 - 1")
    if not (math.isfinite(tick) and math.isfinite(price) and 0 < tick <= price <= tick * 2**40):
        raise BarsError(f"tick {tick!r} doesn't fit price {price!r}", where="tick", hint="use 0 < tick <= price <= tick * 2**40")
    first = _start_ms(start, step_ms)
    if timeframes.shift(first, step_ms, bars) > LAST_TIME_MS:
        raise BarsError(
            f"{bars:,} bars of {name} from {start} end after the year 9999", where="bars", hint="use fewer bars or an earlier start"
        )

    generator = np.random.PCG64(seed)
    market = _Market(math.sqrt(step_ms / _HOUR_MS))
    open_, high, low, close, volume = columns = tuple(np.empty(bars) for _ in range(5))
    # In blocks that fit the cache; their size doesn't affect the result.
    for begin in range(0, bars, _BLOCK):
        count = min(_BLOCK, bars - begin)
        *walks, traded = market.block(generator.random_raw(3 * count).reshape(count, 3).T.copy())
        for column, walk in zip(columns, walks, strict=False):
            column[begin : begin + count] = _prices(walk, price, tick)
        volume[begin : begin + count] = traded / 1000.0
    time = timeframes.series(first, step_ms, bars)
    return Bars(*map(freeze, (time, open_, high, low, close, volume)), timeframe=name, symbol=symbol)


class _Market:
    """A random walk of the logarithm of the price, in units of 1e-9, continued from block to block."""

    def __init__(self, scale: float) -> None:
        self.volatility = np.array([int(value * scale / _UNIT) for value in _VOLATILITY])
        self.drift = np.array([int(value * scale / _UNIT) for value in _DRIFT])
        self.reversion = np.array([int(value * 256) for value in _REVERSION])
        self.regime = self.move = self.walk = self.close = 0

    def block(self, words: Words) -> tuple[Integers, Integers, Integers, Integers, Integers]:
        """Open, high, low and close walks, and volume in thousandths, of one bar for each column of `words`, uint64[3, n]."""
        # A Markov chain: each of the other three regimes is equally likely to follow.
        switch = _uniform16(words[0], 0) < _SWITCH
        regime = (self.regime + np.cumsum(np.where(switch, 1 + (_uniform16(words[0], 3) * 3 >> 16), 0))) & 3
        deviation = self.volatility[regime]

        shock = _uniform16(words[1], 0) + _uniform16(words[1], 1) + _uniform16(words[1], 2) + _uniform16(words[1], 3) - 2 * 0xFFFF
        move = shock * deviation // _DEVIATION
        walk = self.walk + np.cumsum(move + self.drift[regime] - (_previous(self.move, move) * self.reversion[regime] >> 8))
        close = _reflect(walk)
        # A bar opens near the last close: up to a sixteenth of a typical move away.
        opening = _previous(self.close, close) + ((_uniform16(words[0], 1) - 0x8000) * deviation >> 19)
        # A wick is the product of two uniform numbers and a typical move: often short, sometimes long.
        high = np.maximum(opening, close) + ((_uniform16(words[2], 0) * _uniform16(words[2], 1) >> 16) * deviation >> 16)
        low = np.minimum(opening, close) - ((_uniform16(words[2], 2) * _uniform16(words[2], 3) >> 16) * deviation >> 16)
        # Volume grows with the size of the move.
        volume = (np.abs(shock) + 0x8000) * (_uniform16(words[0], 2) + 0x4000) * (1 + regime // 3) // 40_000

        self.regime, self.move, self.walk, self.close = int(regime[-1]), int(move[-1]), int(walk[-1]), int(close[-1])
        return opening, high, low, close, volume


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _start_ms(start: Moment, step_ms: int) -> int:
    aligned = timeframes.align(to_epoch_ms(start, "start"), step_ms)
    if aligned < 0:
        raise BarsError(f"{start} is before 1970", where="start", hint="use a later time")
    return aligned


def _uniform16(words: Words, i: int) -> Integers:
    """The `i`-th sixteen bits of each word, 0 to 65,535."""
    return ((words >> np.uint64(16 * i)) & np.uint64(0xFFFF)).astype(np.int64)


def _previous(first: int, values: Integers) -> Integers:
    """The element before each one; `first` before the first."""
    return np.concatenate((np.array([first]), values[:-1]))


def _reflect(walk: Integers) -> Integers:
    """The walk reflected into -_BAND .. _BAND."""
    return np.abs((walk - _BAND) % (4 * _BAND) - 2 * _BAND) - _BAND


def _prices(walk: Integers, price: float, tick: float) -> Floats:
    """`price * e**walk`, rounded to ticks. The exponential is (1 + x/1024) squared ten times: close enough, and monotonic."""
    growth = 1.0 + walk * (_UNIT / 1024.0)
    for _ in range(10):
        growth *= growth
    growth *= price / tick
    ticks = np.maximum(np.floor(growth + 0.5), 1.0)
    per_unit = round(1.0 / tick)
    # 12345 / 100 is the double closest to 123.45; 12345 * 0.01 may be its neighbour.
    prices: Floats = ticks / per_unit if per_unit and 1.0 / per_unit == tick else ticks * tick
    return prices
