"""Window indicators on real data: exact, and with the same bits wherever the data start."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

import python_core as bt
from python_core.engine import kernel
from python_core.indicators import FUNCTIONS, INDICATORS
from python_core.language.compiler import Compiler, PlanBuilder
from python_core.strategy.compile import Plan

FILES = [
    *("unittest-btc-1m", "ethbtc-5m", "ltcbtc-5m", "adabtc-5m", "xmrbtc-5m", "xrpusdt-perp-5m", "xrpusdt-perp-1h", "goog-1d", "eurusd-1h"),
]
files = pytest.mark.parametrize("file", FILES)
# These depend on all history by definition.
ENDLESS = {"ema", "rma", "rsi", "kama", "psar", "supertrend", "cum", "session_cum", "vwap", "bars_since", "value_when"}
PLAIN = Plan((), (-1, -1, -1, -1))


@cache
def read(market_data: Path, file: str) -> bt.Bars:
    return bt.read_bars(market_data / f"{file}.parquet")


def compiled(texts: list[str]) -> tuple[Plan, tuple[int, ...], list[int]]:
    compiler = Compiler(PlanBuilder(), {}, {})
    wanted = tuple(compiler.number("text", text) for text in texts)
    return PLAIN._replace(nodes=tuple(compiler.builder.nodes)), wanted, [compiler.builder.warm_ups[i] for i in wanted]


def values(bars: bt.Bars, *texts: str) -> list[np.ndarray]:
    plan, wanted, _ = compiled([*texts])
    return kernel.node_values(bars, plan, wanted, None)


def window_calls() -> list[str]:
    """A call of each output of every window indicator, over closes and over volumes, with an uncommon length."""
    calls = []
    for name in FUNCTIONS:
        indicator = INDICATORS[name]
        for column in ["close", "volume"] if indicator.series else [""]:
            series = [column, "close"][: len(indicator.series)] if indicator.series else []
            conditions = ["close > open"] * len(indicator.conditions)
            lengths = ["17" if row.integer else "1.5" for row in indicator.arguments]
            call = f"{name}({', '.join([*conditions, *series, *lengths])})"
            if not ENDLESS & {node.op for node in compiled([call])[0].nodes}:
                calls += [f"{call}.{output}" for output in indicator.outputs] or [call]
    return calls


def test_most_indicators_are_window_indicators() -> None:
    assert {call.split("(")[0] for call in window_calls()} >= set(
        "sma wma hma vwma linreg stoch mean_deviation cci mfi williams_r roc momentum bollinger donchian true_range aroon ichimoku cmf"
        " highest lowest stdev zscore percentrank correlation".split()
    )


@files
def test_a_window_has_the_same_bits_wherever_the_data_start(file: str, market_data: Path) -> None:
    bars = read(market_data, file)
    calls = window_calls()
    plan, wanted, warm_ups = compiled(calls)
    whole = kernel.node_values(bars, plan, wanted, None)
    for start in np.random.default_rng(len(bars)).integers(1, len(bars) - 1, 8).tolist():
        for call, a, b, warm_up in zip(calls, whole, kernel.node_values(bars[start:], plan, wanted, None), warm_ups, strict=True):
            np.testing.assert_array_equal(b[warm_up:], a[start + warm_up :], err_msg=f"{call} from bar {start}")


def fractions(window: np.ndarray) -> list[Fraction]:
    return [Fraction(value) for value in window.tolist()]


def variance(window: np.ndarray) -> Fraction:
    exact = fractions(window)
    return (len(exact) * sum(x * x for x in exact) - sum(exact) ** 2) / len(exact) ** 2


def weighted(window: np.ndarray) -> Fraction:
    return sum((k * x for k, x in enumerate(fractions(window), start=1)), Fraction(0))


EXACT: dict[str, Callable[[np.ndarray], float]] = {
    "sma({x}, 23)": lambda w: float(sum(fractions(w)) / 23),
    "wma({x}, 23)": lambda w: float(weighted(w) / (23 * 12)),
    "linreg({x}, 23)": lambda w: float((6 * weighted(w) - 48 * sum(fractions(w))) / (23 * 24)),
    "linreg({x}, 23).slope": lambda w: float((12 * weighted(w) - 144 * sum(fractions(w))) / (23 * 528)),
    "stdev({x}, 23)": lambda w: math.sqrt(float(variance(w) * 23**2) / 23**2),
}


@files
@pytest.mark.parametrize("call", EXACT)
def test_averages_of_windows_are_rounded_once(call: str, file: str, market_data: Path) -> None:
    bars = read(market_data, file)
    for x in ("close", "volume"):
        (found,) = values(bars, call.format(x=x))
        column = getattr(bars, x)
        for i in range(22, len(bars), 1 + len(bars) // 300):
            assert found[i] == EXACT[call](column[i - 22 : i + 1]), f"{call} of {x}, bar {i}"


@files
def test_sma_is_rounded_once_on_every_bar(file: str, market_data: Path) -> None:
    bars = read(market_data, file)
    for x in ("close", "volume"):
        sums = [0, *accumulate(int(Fraction(value) * 2**1074) for value in getattr(bars, x).tolist())]
        for length in (2, 10, 49, 60):
            (found,) = values(bars, f"sma({x}, {length})")
            exact = [(last - first) / (length << 1074) for first, last in zip(sums, sums[length:], strict=False)]
            assert found[length - 1 :].tolist() == exact


@files
def test_prices_weighted_by_volume_are_rounded_once(file: str, market_data: Path) -> None:
    bars = read(market_data, file)[:2000]
    vwma, vwap, hlc3, ohlc4 = values(bars, "vwma(close, 23)", "vwap()", "hlc3", "ohlc4")
    typical, close, volume = fractions(hlc3), fractions(bars.close), fractions(bars.volume)
    days = (bars.time // 86_400_000).tolist()
    for i in range(22, len(bars), 1 + len(bars) // 100):
        for found, price, start in ((vwma, close, i - 22), (vwap, typical, days.index(days[i]))):
            window = slice(start, i + 1)
            traded = sum(volume[window])
            flow = sum(a * b for a, b in zip(price[window], volume[window], strict=True))
            assert np.isnan(found[i]) if traded == 0 else found[i] == float(flow / traded)
        assert hlc3[i] == float(sum(fractions(np.array([bars.high[i], bars.low[i], bars.close[i]]))) / 3)
        assert ohlc4[i] == float(sum(fractions(np.array([bars.open[i], bars.high[i], bars.low[i], bars.close[i]]))) / 4)


@files
def test_constant_closes_have_zero_deviation(file: str, market_data: Path) -> None:
    bars = read(market_data, file)
    stdev, least, most = values(bars, "stdev(close, 5)", "lowest(close, 5)", "highest(close, 5)")
    np.testing.assert_array_equal((stdev == 0)[4:], (least == most)[4:])
