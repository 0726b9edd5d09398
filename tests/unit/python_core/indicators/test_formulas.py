"""Indicators that TA-Lib doesn't have, compared with their formulas in NumPy, and edge cases worked out by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

import python_core as bt
from python_core.engine import kernel
from python_core.engine.compiled import Engine
from python_core.language.compiler import Compiler, PlanBuilder
from python_core.strategy.compile import Plan

nan = math.nan
BARS = bt.synthetic(700, seed=11, timeframe="15m")


def values(text: str, bars: bt.Bars = BARS, engine: Engine = "auto") -> np.ndarray:
    compiler = Compiler(PlanBuilder(), {}, {})
    wanted = compiler.number("text", text)
    return kernel.node_values(bars, Plan(tuple(compiler.builder.nodes), (-1, -1, -1, -1)), (wanted,), None, engine)[0]


def windows(x: np.ndarray, length: int) -> np.ndarray:
    """The last `length` values of each bar, NaN if there are fewer."""
    return np.lib.stride_tricks.sliding_window_view(np.concatenate((np.full(length - 1, nan), x)), length)


def smoothed(x: np.ndarray, length: int, alpha: float) -> np.ndarray:
    out, first = np.full(len(x), nan), int(np.flatnonzero(~np.isnan(x))[0]) + length - 1
    out[first] = x[first - length + 1 : first + 1].mean()
    for i in range(first + 1, len(x)):
        out[i] = alpha * x[i] + (1 - alpha) * out[i - 1]
    return out


def ema(x: np.ndarray, length: int) -> np.ndarray:
    return smoothed(x, length, 2 / (length + 1))


def wma(x: np.ndarray, length: int) -> np.ndarray:
    return windows(x, length) @ np.arange(1, length + 1) / (length * (length + 1) / 2)


def atr(bars: bt.Bars, length: int) -> np.ndarray:
    before = np.concatenate(([nan], bars.close[:-1]))
    span = np.maximum(bars.high - bars.low, np.maximum(abs(bars.high - before), abs(bars.low - before)))
    return smoothed(span, length, 1 / length)


def change(x: np.ndarray) -> np.ndarray:
    return np.concatenate(([nan], np.diff(x)))


def sessions(bars: bt.Bars, x: np.ndarray) -> np.ndarray:
    out, total = np.empty(len(x)), 0.0
    for i, day in enumerate(bars.time // 86_400_000):
        total = x[i] + (total if i and day == bars.time[i - 1] // 86_400_000 else 0.0)
        out[i] = total
    return out


def middle(bars: bt.Bars, length: int) -> np.ndarray:
    return (windows(bars.high, length).max(1) + windows(bars.low, length).min(1)) / 2


def later(x: np.ndarray, bars: int) -> np.ndarray:
    return np.concatenate((np.full(bars, nan), x[:-bars]))


def place(b: bt.Bars) -> np.ndarray:
    return np.where(b.high > b.low, (2 * b.close - b.high - b.low) / np.where(b.high > b.low, b.high - b.low, 1), 0)


C, H, L, V = BARS.close, BARS.high, BARS.low, BARS.volume
TYPICAL = (H + L + C) / 3
FORMULAS: dict[str, Callable[[], np.ndarray]] = {
    "rma(close, 9)": lambda: smoothed(C, 9, 1 / 9),
    "hma(close, 21)": lambda: wma(2 * wma(C, 10) - wma(C, 21), 4),
    "vwma(close, 15)": lambda: windows(C * V, 15).sum(1) / windows(V, 15).sum(1),
    "tsi(close, 20, 8)": lambda: 100 * ema(ema(change(C), 20), 8) / ema(ema(abs(change(C)), 20), 8),
    "mean_deviation(close, 12)": lambda: abs(windows(C, 12) - windows(C, 12).mean(1)[:, None]).mean(1),
    "keltner(15, 1.5, 7).upper": lambda: ema(C, 15) + 1.5 * atr(BARS, 7),
    "keltner(15, 1.5, 7)[2]": lambda: later(ema(C, 15) + 1.5 * atr(BARS, 7), 2),
    "keltner(15, 1.5, 7).middle": lambda: ema(C, 15),
    "keltner(15, 1.5, 7).lower": lambda: ema(C, 15) - 1.5 * atr(BARS, 7),
    "donchian(13).upper": lambda: windows(H, 13).max(1),
    "donchian(13).middle": lambda: middle(BARS, 13),
    "donchian(13).lower": lambda: windows(L, 13).min(1),
    "bollinger(close, 10, 2).width": lambda: 4 * windows(C, 10).std(1) / windows(C, 10).mean(1),
    "bollinger(close, 10, 2).percent": lambda: (C - windows(C, 10).mean(1)) / (4 * windows(C, 10).std(1)) + 0.5,
    "ichimoku().conversion": lambda: middle(BARS, 9),
    "ichimoku().base": lambda: middle(BARS, 26),
    "ichimoku().span_a": lambda: later((middle(BARS, 9) + middle(BARS, 26)) / 2, 26),
    "ichimoku().span_b": lambda: later(middle(BARS, 52), 26),
    "vwap()": lambda: sessions(BARS, TYPICAL * V) / sessions(BARS, V),
    "session_cum(volume)": lambda: sessions(BARS, V),
    "cum(close)": lambda: np.cumsum(C),
    "cmf(10)": lambda: windows(place(BARS) * V, 10).sum(1) / windows(V, 10).sum(1),
    "zscore(close, 14)": lambda: (C - windows(C, 14).mean(1)) / windows(C, 14).std(1),
    "percentrank(close, 25)": lambda: np.where(np.arange(len(C)) < 25, nan, (windows(C, 26)[:, :-1] <= C[:, None]).mean(1) * 100),
    "value_when(close > open, high)[1]": lambda: later(naive_value_when(), 1),
    "bars_since(close > open)": lambda: naive_bars_since(),
}


def naive_value_when() -> np.ndarray:
    up = np.flatnonzero(BARS.close > BARS.open)
    return np.array([H[up[up <= i][-1]] if (up <= i).any() else nan for i in range(len(BARS))])


def naive_bars_since() -> np.ndarray:
    up = np.flatnonzero(BARS.close > BARS.open)
    return np.array([i - up[up <= i][-1] if (up <= i).any() else nan for i in range(len(BARS))])


@pytest.mark.parametrize("text", FORMULAS)
def test_an_indicator_equals_its_formula(text: str) -> None:
    np.testing.assert_allclose(values(text), FORMULAS[text](), rtol=1e-9, atol=1e-9)


def test_supertrend_follows_its_rules_step_by_step() -> None:
    """Bands that only tighten; the active one holds until a close beyond it."""
    width = 2 * atr(BARS, 7)
    line, direction = values("supertrend(7, 2).line"), values("supertrend(7, 2).direction")
    assert np.isnan(line[:7]).all()
    upper, lower, rising = (H[7] + L[7]) / 2 + width[7], (H[7] + L[7]) / 2 - width[7], False
    for i in range(7, len(C)):
        if i > 7:
            mid = (H[i] + L[i]) / 2
            upper = min(upper, mid + width[i]) if C[i - 1] <= upper else mid + width[i]
            lower = max(lower, mid - width[i]) if C[i - 1] >= lower else mid - width[i]
            if rising and C[i] < lower:
                rising = False
            elif not rising and C[i] > upper:
                rising = True
        assert direction[i] == (1 if rising else -1)
        assert line[i] == pytest.approx(lower if rising else upper, rel=1e-12)
    assert {-1, 1} == set(direction[7:].tolist())


# Closes 1 2 4 3 3 5 1 9, each bar's open, high and low the same.
BY_HAND = {
    "wma(close, 3)": [nan, nan, (1 + 4 + 12) / 6, (2 + 8 + 9) / 6, (4 + 6 + 9) / 6, 24 / 6, 16 / 6, (5 + 2 + 27) / 6],
    "linreg(close, 2)": [nan, 2, 4, 3, 3, 5, 1, 9],
    "linreg(close, 2).slope": [nan, 1, 2, -1, 0, 2, -4, 8],
    "linreg(close, 1)": [1, 2, 4, 3, 3, 5, 1, 9],
    "linreg(close, 1).slope": [0] * 8,
    "highest(close, 3)": [nan, nan, 4, 4, 4, 5, 5, 9],
    "highest(close, 3).bars": [nan, nan, 0, 1, 2, 0, 1, 0],
    "lowest(close, 3)": [nan, nan, 1, 2, 3, 3, 1, 1],
    "lowest(close, 3).bars": [nan, nan, 2, 2, 0, 1, 0, 1],
    "stdev(close, 2)": [nan, 0.5, 1, 0.5, 0, 1, 2, 4],
    "percentrank(close, 2)": [nan, nan, 100, 50, 50, 100, 0, 100],
    "cum(close)": [1, 3, 7, 10, 13, 18, 19, 28],
    "bars_since(close > 3)": [nan, nan, 0, 1, 2, 0, 1, 0],
    "value_when(close > 3, close * 10)": [nan, nan, 40, 40, 40, 50, 50, 90],
    "aroon(2).up": [nan, nan, 100, 50, 0, 100, 50, 100],
    "aroon(2).down": [nan, nan, 0, 0, 100, 50, 100, 50],
    "correlation(close, close, 2)": [nan, 1, 1, 1, 0, 1, 1, 1],
    "correlation(close, -close, 2)": [nan, -1, -1, -1, 0, -1, -1, -1],
    "zscore(close, 2)": [nan, 1, 1, -1, 0, 1, -1, 1],
    "williams_r(3)": [nan, nan, 0, -50, -100, 0, -100, 0],
    "stoch(3, 1, 1)": [nan, nan, 100, 50, 0, 100, 0, 100],
    "roc(close, 1)": [nan, 100, 100, -25, 0, 200 / 3, -80, 800],
    "momentum(close, 2)": [nan, nan, 3, 1, -1, 2, -2, 4],
    "bollinger(close, 2, 1).percent": [nan, 1, 1, 0, 0.5, 1, 0, 1],
    # starts at the close before the first value; with fast and slow of 1, the smoothing constant is always 1
    "kama(close, 2, 1, 1)": [nan, nan, 4, 3, 3, 5, 1, 9],
    "obv()": [nan, 1, 2, 1, 1, 2, 1, 2],
    "mfi(2)": [nan, nan, 100, 100 * 4 / 7, 0, 100, 100 * 5 / 6, 90],
}


@pytest.mark.parametrize("text", BY_HAND)
def test_edge_cases_have_the_values_worked_out_by_hand(text: str, engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars([1, 2, 4, 3, 3, 5, 1, 9])
    bars = bt.Bars(bars.time, bars.close, bars.close, bars.close, bars.close, np.ones(8), timeframe=bars.timeframe)
    assert values(text, bars, engine) == pytest.approx(BY_HAND[text], rel=1e-14, nan_ok=True)  # type: ignore[arg-type]


@pytest.mark.skipif(bt.engine != "rust", reason="about the compiled engine")
def test_the_time_does_not_grow_with_the_length() -> None:
    """One step for each value of each window would be 60 billion steps, and take minutes; a step for each bar takes tens of milliseconds."""
    bars = bt.synthetic(500_000)
    names = "highest(close, {n}) lowest(close, {n}) sma(close, {n}) wma(close, {n}) linreg(close, {n}) stdev(volume, {n}) hma(close, {n})"
    names += " correlation(close,volume,{n}) percentrank(close, {n}) kama(close, {n}) cmf({n}) close[{n}] aroon({n}) rma(close, {n})"
    for name in names.replace(", {n}", ",{n}").split():
        begin = time.thread_time()
        values(name.format(n=250_000), bars)
        assert time.thread_time() - begin < 5, name
        assert np.isnan(values(name.format(n=999_999), bars)).all()
