"""Indicators against TA-Lib on real data, to 1e-9 of the value (or of the scale that it is a small difference of).

Averages with infinite memory may be seeded differently, so they are compared once the difference has decayed: `settle` bars after the
first value. TA-Lib keeps running sums and rounds sum and quotient apart, where averages here are rounded once; that difference is far below
1e-9, except where it decides between equal and unequal (`doubtful`). Other differences are described at the row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import python_core as bt
from python_core.engine import kernel
from python_core.indicators import INDICATORS
from python_core.language.compiler import Compiler, PlanBuilder
from python_core.strategy.compile import Plan

talib = pytest.importorskip("talib", reason="TA-Lib has no wheel for this machine")

FILES = ["unittest-btc-1m", "ethbtc-5m", "ltcbtc-5m", "adabtc-5m", "xmrbtc-5m", "xrpusdt-perp-5m", "goog-1d", "eurusd-1h"]


class Twin(NamedTuple):
    """TA-Lib's form of a call; `settle` as above.

    `scale` is the size that rounding errors are relative to: the value itself (0), a price, or a number. `doubtful` are bars on which rounding
    errors decide; they are left out, with the `window` bars after them.
    """

    theirs: Callable[[bt.Bars], Any]
    settle: int = 0
    scale: str | float = 0.0
    doubtful: Callable[[bt.Bars], Any] | None = None
    window: int = 1


def unmoved(bars: bt.Bars) -> np.ndarray:
    """Bars where the typical price moves by less than a rounding error: equal sums, which TA-Lib adds in another order."""
    price = (bars.high + bars.low + bars.close) / 3
    return np.abs(np.diff(price, prepend=np.nan)) < 1e-12 * price


def untraded(bars: bt.Bars) -> np.ndarray:
    """Bars without flow for 14 bars: MFI is 50 here, 0 or a rounding error in TA-Lib."""
    flow = np.where(np.abs(np.diff(bars.close + bars.high + bars.low, prepend=0)) > 0, bars.volume, 0)
    return np.convolve(flow, np.ones(14))[: len(bars)] == 0


def without_rsi_range(bars: bt.Bars) -> np.ndarray:
    """Bars where the RSI is constant except for rounding errors: no range here, whatever they are in TA-Lib."""
    rsi = talib.RSI(bars.close, 14)
    return talib.MAX(rsi, 14) - talib.MIN(rsi, 14) < 1e-9


TWINS: dict[str, Twin] = {
    "sma(close, 20)": Twin(lambda b: talib.SMA(b.close, 20)),
    "ema(close, 20)": Twin(lambda b: talib.EMA(b.close, 20)),
    "wma(close, 20)": Twin(lambda b: talib.WMA(b.close, 20)),
    "dema(close, 20)": Twin(lambda b: talib.DEMA(b.close, 20)),
    "tema(close, 20)": Twin(lambda b: talib.TEMA(b.close, 20)),
    "kama(close, 10)": Twin(lambda b: talib.KAMA(b.close, 10)),
    "linreg(close, 14)": Twin(lambda b: talib.LINEARREG(b.close, 14)),
    "linreg(close, 14).slope": Twin(lambda b: talib.LINEARREG_SLOPE(b.close, 14), scale="price"),
    "rsi(close, 14)": Twin(lambda b: talib.RSI(b.close, 14), scale=100.0),
    "momentum(close, 10)": Twin(lambda b: talib.MOM(b.close, 10)),
    "roc(close, 10)": Twin(lambda b: talib.ROC(b.close, 10), scale=100.0),
    "stoch(14, 3, 3)": Twin(lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[0], settle=2, scale=100.0),
    "stoch(14, 3, 3).d": Twin(lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[1], scale=100.0),
    "stochrsi(close, 14, 14, 1, 3)": Twin(
        lambda b: talib.STOCHRSI(b.close, 14, 14, 3, 0)[0], settle=2, scale=100.0, doubtful=without_rsi_range
    ),
    "stochrsi(close, 14, 14, 1, 3).d": Twin(
        lambda b: talib.STOCHRSI(b.close, 14, 14, 3, 0)[1], scale=100.0, doubtful=without_rsi_range, window=3
    ),
    "williams_r(14)": Twin(lambda b: talib.WILLR(b.high, b.low, b.close, 14), scale=100.0),
    "cci(20)": Twin(lambda b: talib.CCI(b.high, b.low, b.close, 20), scale=100.0),
    "mfi(14)": Twin(
        lambda b: talib.MFI(b.high, b.low, b.close, b.volume * 1e9, 14), scale=100.0, doubtful=lambda b: unmoved(b) | untraded(b), window=14
    ),
    # the fast average begins later there, so that both have their first value on one bar
    "macd(close)": Twin(lambda b: talib.MACD(b.close, 12, 26, 9)[0], settle=150, scale="price"),
    "macd(close).signal": Twin(lambda b: talib.MACD(b.close, 12, 26, 9)[1], settle=150, scale="price"),
    "macd(close).hist": Twin(lambda b: talib.MACD(b.close, 12, 26, 9)[2], settle=150, scale="price"),
    "stdev(close, 20)": Twin(lambda b: talib.STDDEV(b.close, 20), scale="price"),
    "bollinger(close).upper": Twin(lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0)[0]),
    "bollinger(close).middle": Twin(lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0)[1]),
    "bollinger(close).lower": Twin(lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0)[2]),
    "correlation(close, volume, 30)": Twin(lambda b: talib.CORREL(b.close, b.volume, 30), scale=1.0),
    "true_range()": Twin(lambda b: talib.TRANGE(b.high, b.low, b.close)),
    "atr(14)": Twin(lambda b: talib.ATR(b.high, b.low, b.close, 14)),
    "natr(14)": Twin(lambda b: talib.NATR(b.high, b.low, b.close, 14)),
    # sums of 13 bars are the seed there, not averages of 14
    "plus_di(14)": Twin(lambda b: talib.PLUS_DI(b.high, b.low, b.close, 14), settle=400, scale=100.0),
    "minus_di(14)": Twin(lambda b: talib.MINUS_DI(b.high, b.low, b.close, 14), settle=400, scale=100.0),
    "adx(14)": Twin(lambda b: talib.ADX(b.high, b.low, b.close, 14), settle=400, scale=100.0),
    "aroon(14).up": Twin(lambda b: talib.AROON(b.high, b.low, 14)[1]),
    "aroon(14).down": Twin(lambda b: talib.AROON(b.high, b.low, 14)[0]),
    "aroon(14).oscillator": Twin(lambda b: talib.AROONOSC(b.high, b.low, 14)),
    "psar()": Twin(lambda b: talib.SAR(b.high, b.low, 0.02, 0.2)),
    "highest(high, 20)": Twin(lambda b: talib.MAX(b.high, 20)),
    "lowest(low, 20)": Twin(lambda b: talib.MIN(b.low, 20)),
    # MAXINDEX and MININDEX don't always take the latest of equals; aroon compares `bars`
    "obv() + obv_first": Twin(lambda b: talib.OBV(b.close, b.volume)),
    "ad()": Twin(lambda b: talib.AD(b.high, b.low, b.close, b.volume), scale=1e3),
    "hlc3": Twin(lambda b: talib.TYPPRICE(b.high, b.low, b.close)),
}


@cache
def read(market_data: Path, name: str) -> bt.Bars:
    return bt.read_bars(market_data / f"{name}.parquet")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("call", TWINS)
def test_an_indicator_equals_ta_lib(call: str, file: str, market_data: Path) -> None:
    bars, twin = read(market_data, file), TWINS[call]
    compiler = Compiler(PlanBuilder(), {"obv_first": float(bars.volume[0])}, {})
    wanted = compiler.number("call", call)
    plan = Plan(tuple(compiler.builder.nodes), (-1, -1, -1, -1))
    ours = kernel.node_values(bars, plan, (wanted,), None)[0]
    theirs = np.asarray(twin.theirs(bars), dtype=float)
    first = compiler.builder.warm_ups[wanted] + twin.settle
    assert len(bars) > first
    a, b = ours[first:], theirs[first:]
    assert not np.isnan(a).any()
    if twin.doubtful:
        sure = np.convolve(twin.doubtful(bars), np.ones(twin.window))[first : len(bars)] == 0
        assert sure.sum() > len(sure) // 3
        a, b = a[sure], b[sure]
    scale = float(bars.close.mean()) if twin.scale == "price" else float(twin.scale)
    error = np.abs(a - b) / np.maximum(np.maximum(np.abs(b), scale), 1e-300)
    worst = int(error.argmax())
    assert error[worst] <= 1e-9, f"{first + worst}: {a[worst]!r} is not {b[worst]!r}"


def test_every_indicator_of_ta_lib_is_compared() -> None:
    compared = {name for name in INDICATORS for call in TWINS if call.startswith(f"{name}(")}
    without = "rma hma vwma tsi mean_deviation keltner donchian supertrend ichimoku vwap cmf cum session_cum zscore percentrank shift bars_since value_when"
    assert compared == set(INDICATORS) - set(without.split())
