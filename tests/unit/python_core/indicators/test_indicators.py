"""Indicators against values worked out by hand, published examples, and exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.engine import kernel
from python_core.indicators.averages import ema, rma, sma
from python_core.indicators.oscillators import rsi
from python_core.indicators.statistics import shift
from python_core.indicators.sums import rolling_sum
from python_core.indicators.volatility import true_range
from python_core.language.compiler import Compiler, PlanBuilder
from python_core.numerics.exact_sum import to_fixed_point
from python_core.strategy.compile import Plan

nan = math.nan

# Closes of bars 0 to 7, and what an expression over them is from bar to bar.
CLOSES = [1, 2, 4, 3, 3, 5, 1, 9]
BY_HAND = {
    "sma(close, 1)": CLOSES,
    "sma(close, 2)": [nan, 3 / 2, 6 / 2, 7 / 2, 6 / 2, 8 / 2, 6 / 2, 10 / 2],
    "sma(close, 4)": [nan, nan, nan, 10 / 4, 12 / 4, 15 / 4, 12 / 4, 18 / 4],
    "sma(close, 8)": [nan] * 7 + [28 / 8],
    "sma(close, 9)": [nan] * 8,
    # alpha 1/2, from the average 7/3 of the first three
    "ema(close, 3)": [nan, nan, 7 / 3, 8 / 3, 17 / 6, 47 / 12, 59 / 24, 275 / 48],
    "ema(close, 1)": CLOSES,
    # alpha 1/2, from the average 3/2 of the first two
    "rma(close, 2)": [nan, 1.5, 2.75, 2.875, 2.9375, 3.96875, 2.484375, 5.7421875],
    "rma(close, 1)": CLOSES,
    # rises 1 2 0 0 2 0 8, falls 0 0 1 0 0 4 0, each smoothed with alpha 1/2 from the average of its first two
    "rsi(close, 2)": [nan, nan, 100, 60, 60, 100 * 1.1875 / 1.3125, 100 * 0.59375 / 2.65625, 100 * 4.296875 / 5.328125],
    "rsi(close, 1)": [nan, 100, 100, 0, 50, 100, 0, 100],
    "close[3]": [nan, nan, nan, 1, 2, 4, 3, 3],
    "sma(sma(close, 2), 2)": [nan, nan, 9 / 4, 13 / 4, 13 / 4, 7 / 2, 7 / 2, 4],
    "sma(close[2], 2)": [nan, nan, nan, 3 / 2, 6 / 2, 7 / 2, 6 / 2, 8 / 2],
    # an average restarts after 0 / 0
    "sma((close - 1) / (close - 1), 2)": [nan, nan, 1, 1, 1, 1, nan, nan],
    "ema((close - 1) / (close - 1), 2)": [nan, nan, 1, 1, 1, 1, nan, nan],
}


@pytest.mark.parametrize("text", BY_HAND)
def test_an_indicator_has_the_values_worked_out_by_hand(text: str, engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(CLOSES)
    assert values(text, bars, engine).tolist() == pytest.approx(BY_HAND[text], rel=1e-14, nan_ok=True)


def values(text: str, bars: bt.Bars, engine: str) -> np.ndarray:
    compiler = Compiler(PlanBuilder(), {}, {})
    wanted = compiler.number("text", text)
    plan = Plan(tuple(compiler.builder.nodes), (-1, -1, -1, -1))
    return kernel.node_values(bars, plan, (wanted,), None, engine)[0]  # type: ignore[arg-type]


def test_true_range_and_atr_have_the_values_worked_out_by_hand(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars([(10, 12, 9, 11), (11, 13, 10, 12), (15, 16, 14, 15), (15, 15, 8, 9), (9, 10, 9, 10)])
    # high - low, or from the close before: 3; |16 - 12|; |8 - 15|; 10 - 9
    for found in (true_range(bars.high, bars.low, bars.close), values("true_range()", bars, engine)):
        assert found.tolist() == pytest.approx([nan, 3, 4, 7, 1], nan_ok=True)
    # averages of two: 3.5, then half of 3.5 and 7, then half of 5.25 and 1
    assert values("atr(2)", bars, engine).tolist() == pytest.approx([nan, nan, 3.5, 5.25, 3.125], nan_ok=True)


# Wilder's index over 14 days; the closes and, to two places, the index are those of the example at StockCharts' ChartSchool.
PUBLISHED_CLOSES = [
    *(
        44.34,
        44.09,
        44.15,
        43.61,
        44.33,
        44.83,
        45.10,
        45.42,
        45.84,
        46.08,
        45.89,
        46.03,
        45.61,
        46.28,
        46.28,
        46.00,
        46.03,
        46.41,
        46.22,
        45.64,
    ),
]
PUBLISHED_RSI = [70.46, 66.25, 66.48, 69.35, 66.29, 57.92]


def test_rsi_equals_the_published_example() -> None:
    values = rsi(np.array(PUBLISHED_CLOSES), 14)
    assert np.isnan(values[:14]).all()
    assert values[14:] == pytest.approx(PUBLISHED_RSI, abs=0.006)


def test_rsi_is_50_without_moves_and_0_or_100_with_moves_in_one_direction() -> None:
    assert rsi(np.full(20, 7.0), 5)[5:].tolist() == [50] * 15
    assert rsi(np.arange(1.0, 21.0), 5)[5:].tolist() == [100] * 15
    assert rsi(np.arange(20.0, 0.0, -1.0), 5)[5:].tolist() == [0] * 15


STEADY = [100 + 0.1 * i for i in range(120)]
PAUSED = [*([100.0, 101.0, 99.0, 102.0, 100.5] * 8), *([101.0] * 140)]
TOP, BOTTOM = [(121.72, 146.17, 121.72, 146.17)] * 40, [(146.17, 146.17, 121.72, 121.72)] * 40
# A tape, and a condition that its indicator once fulfilled through rounding errors.
NEVER = [
    ([0.00001467] * 60, "cci(20) > 50 or cci(14) < -50 or cci(20) != 0"),
    ([0.00001467] * 60, "close > bollinger(close, 20).upper or close > sma(close, 20) or close < sma(close, 14)"),
    (TOP, "stoch(14, 1, 1).k > 100"),
    (BOTTOM, "williams_r(14) < -100"),
    (STEADY, "mfi(14) > 100"),
    (STEADY, "rsi(close, 14) > 100"),
    (STEADY, "stochrsi(close).k != 0"),
    (PAUSED, "stochrsi(close).k > 10 and bars_since(close != close[1]) > 40"),
]


@pytest.mark.parametrize(("tape", "condition"), NEVER)
def test_rounding_errors_give_no_signal(tape: list, condition: str, engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    bars = make_bars(tape)
    volume = np.random.default_rng(3).uniform(1, 1000, len(bars)).round(1)
    bars = bt.Bars(bars.time, bars.open, bars.high, bars.low, bars.close, volume, timeframe=bars.timeframe)
    assert not bt.backtest(bars, bt.Strategy(entry_long=condition), engine=engine).trades


def test_an_average_of_length_one_is_the_value(engine: str, make_bars: Callable[..., bt.Bars]) -> None:
    closes = [0.1, 0.3, 0.2, 1e-17, 7e15, 0.7]
    for text in ("sma(close, 1)", "ema(close, 1)", "rma(close, 1)", "wma(close, 1)", "linreg(close, 1)", "vwma(close, 1)"):
        assert values(text, make_bars(closes), engine).tolist() == closes, text


def test_an_exponential_average_of_huge_values_of_both_signs_stays_finite() -> None:
    values = ema(np.array([-1.7e308, 1.7e308, 1.7e308, -1.7e308, 0.0]), 2)
    assert np.isfinite(values[1:]).all()
    assert (abs(values[1:]) <= 1.7e308).all()


prices = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([1.0, 1e-300, 1e300, 3e-5, 1e16, 0.1]))
series = st.lists(prices, min_size=1, max_size=40).map(np.array)
anything = st.lists(st.floats(width=64), min_size=1, max_size=40).map(np.array)


@given(x=series, length=st.integers(1, 12))
@settings(max_examples=150)
def test_sma_is_the_exact_average_rounded_once(x: np.ndarray, length: int) -> None:
    averages = sma(x, length)
    for i in range(len(x)):
        if i < length - 1:
            assert np.isnan(averages[i])
        else:
            total = sum(Fraction(value) for value in x[i - length + 1 : i + 1].tolist())
            assert averages[i] == float(total / length)


@given(x=anything, length=st.integers(1, 6))
@settings(max_examples=150)
def test_a_rolling_sum_has_no_trace_of_values_that_left_the_window(x: np.ndarray, length: int) -> None:
    sums = rolling_sum(x, length)
    for i in range(len(x)):
        window = x[max(0, i - length + 1) : i + 1]
        if len(window) < length or not np.isfinite(window).all():
            assert np.isnan(sums[i])
        else:
            total = sum(Fraction(value) for value in window.tolist())
            try:
                assert sums[i] == float(total)
            except OverflowError:
                assert sums[i] == (math.inf if total > 0 else -math.inf)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=150)
def test_fixed_point_is_exact_for_every_float(value: float) -> None:
    assert Fraction(to_fixed_point(value), 2**1074) == Fraction(value)


@given(x=st.lists(st.floats(1, 1000), min_size=2, max_size=40).map(np.array), length=st.integers(1, 9))
@settings(max_examples=100)
def test_ema_and_rma_agree_with_exact_fractions(x: np.ndarray, length: int) -> None:
    for smooth, alpha in ((ema, Fraction(2, length + 1)), (rma, Fraction(1, length))):
        values = smooth(x, length)
        wanted = None
        for i, new in enumerate(map(Fraction, x.tolist())):
            if i == length - 1:
                wanted = sum(map(Fraction, x[:length].tolist())) / length
            elif wanted is not None:
                wanted = alpha * new + (1 - alpha) * wanted
            assert np.isnan(values[i]) if wanted is None else values[i] == pytest.approx(float(wanted), rel=1e-13)


@given(x=st.lists(st.floats(1, 1000), min_size=2, max_size=40).map(np.array), length=st.integers(1, 9))
@settings(max_examples=100)
def test_rsi_agrees_with_exact_fractions(x: np.ndarray, length: int) -> None:
    values = rsi(x, length)
    assert np.isnan(values[:length]).all()
    moves = [b - a for a, b in zip(x[:-1].tolist(), x[1:].tolist(), strict=True)]
    rises, falls = ([Fraction(max(sign * move, 0.0)) for move in moves] for sign in (1, -1))
    for i in range(length, len(x)):
        up, down = (sum(part[:length]) / length for part in (rises, falls))
        for k in range(length, i):
            up, down = ((average * (length - 1) + part[k]) / length for average, part in ((up, rises), (down, falls)))
        assert values[i] == pytest.approx(50.0 if up + down == 0 else float(100 * up / (up + down)), rel=1e-11, abs=1e-9)


@given(x=series, bars=st.integers(1, 50))
@settings(max_examples=50)
def test_shift_is_the_value_that_many_bars_earlier(x: np.ndarray, bars: int) -> None:
    values = shift(x, bars)
    assert np.isnan(values[:bars]).all()
    np.testing.assert_array_equal(values[bars:], x[: max(0, len(x) - bars)])
