"""Indicators at rest and at their limits: averages of equal prices, flat tapes, and documented bounds on tapes of any kind and size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.engine import kernel
from python_core.engine.compiled import Engine
from python_core.indicators import FUNCTIONS
from tests.property.test_indicators import compiled
from tests.support.cases import CASES
from tests.support.marks import needs_rust

engines = pytest.mark.parametrize("engine", ["python", pytest.param("rust", marks=needs_rust)])
thorough = settings(max_examples=max(10, CASES // 4), suppress_health_check=list(HealthCheck))
AWKWARD_PRICES = [0.00001467, 0.1, 1e-9, 123_456.789, 1 / 3, 0.7, 5e-300, 1.7e300]

# What is the price itself while that doesn't move; {n} is a length.
AVERAGES = [
    *("hl2", "hlc3", "ohlc4", "vwap()", "psar()", "ichimoku({n}, 5, 7)", "ichimoku({n}, 5, 7).base", "donchian({n}).middle"),
    *("ichimoku({n}, 5, 7).span_a", "ichimoku({n}, 5, 7).span_b", "donchian({n}).upper", "donchian({n}).lower"),
    *(
        "sma(close, {n})",
        "ema(close, {n})",
        "rma(close, {n})",
        "wma(close, {n})",
        "hma(close, {n})",
        "dema(close, {n})",
        "tema(close, {n})",
    ),
    *("kama(close, {n})", "vwma(close, {n})", "linreg(close, {n})", "highest(close, {n})", "lowest(close, {n})", "supertrend({n}, 3)"),
    *("bollinger(close, {n}).upper", "bollinger(close, {n}).middle", "bollinger(close, {n}).lower", "value_when(close > 0, close)"),
    *("keltner({n}, 2, 3).upper", "keltner({n}, 2, 3).middle", "keltner({n}, 2, 3).lower", "sma(sma(close, {n}), {n})"),
]
# The documented value of everything else while the price doesn't move.
RESTING = {
    "rsi(close, {n})": 50,
    "stoch({n}, 3, 3)": 0,
    "stoch({n}, 3, 3).d": 0,
    "stochrsi(close, {n}, 3, 3, 3)": 0,
    "stochrsi(close, {n}, 3, 3, 3).d": 0,
    "mean_deviation(close, {n})": 0,
    "cci({n})": 0,
    "mfi({n})": 50,
    "williams_r({n})": 0,
    "momentum(close, {n})": 0,
    "roc(close, {n})": 0,
    "tsi(close, {n}, 3)": 0,
    "macd(close, {n}, 5, 3)": 0,
    "macd(close, {n}, 5, 3).signal": 0,
    "macd(close, {n}, 5, 3).hist": 0,
    "true_range()": 0,
    "atr({n})": 0,
    "natr({n})": 0,
    "bollinger(close, {n}).width": 0,
    "bollinger(close, {n}).percent": 0.5,
    "plus_di({n})": 0,
    "minus_di({n})": 0,
    "adx({n})": 0,
    "aroon({n}).up": 100,
    "aroon({n}).down": 100,
    "aroon({n}).oscillator": 0,
    "obv()": 0,
    "ad()": 0,
    "cmf({n})": 0,
    "linreg(close, {n}).slope": 0,
    "stdev(close, {n})": 0,
    "zscore(close, {n})": 0,
    "percentrank(close, {n})": 100,
    "correlation(close, volume, {n})": 0,
    "bars_since(close > 0)": 0,
    "sma(close, {n}) - close": 0,
    "1 if crossover(close, sma(close, {n})) or crossunder(close, sma(close, {n})) else 0": 0,
    "1 if crossover(close, ema(close, {n})) or crossunder(close, ema(close, {n})) else 0": 0,
    "1 if crossover(hlc3, vwma(close, {n})) or crossunder(hlc3, vwap()) else 0": 0,
    "1 if crossover(wma(close, {n}), hma(close, {n})) or crossunder(linreg(close, {n}), kama(close, {n})) else 0": 0,
}
# They grow with every bar.
CUMULATIVE = {"cum", "session_cum"}

BOUNDS = {
    "rsi({x}, {n})": (0, 100),
    "stoch({n}, {m}, 3)": (0, 100),
    "stoch({n}, {m}, 3).d": (0, 100),
    "stochrsi({x}, {n}, 5, {m}, 3)": (0, 100),
    "stochrsi({x}, {n}, 5, {m}, 3).d": (0, 100),
    "mfi({n})": (0, 100),
    "williams_r({n})": (-100, 0),
    "tsi({x}, {n}, {m})": (-100, 100),
    "plus_di({n})": (0, 100),
    "minus_di({n})": (0, 100),
    "adx({n})": (0, 100),
    "aroon({n}).up": (0, 100),
    "aroon({n}).down": (0, 100),
    "aroon({n}).oscillator": (-100, 100),
    "cmf({n})": (-1, 1),
    "correlation({x}, volume, {n})": (-1, 1),
    "percentrank({x}, {n})": (0, 100),
    "roc({x}, {n})": (-100, np.inf),
}
LENGTHS = [1, 2, 3, 6, 7, 14, 20, 49]


def values(bars: bt.Bars, texts: list[str], engine: Engine) -> tuple[list[np.ndarray], tuple[int, ...]]:
    plan, wanted, warm_ups = compiled(*texts)
    return kernel.node_values(bars, plan, wanted, None, engine), warm_ups


def tape(open_: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray) -> bt.Bars:
    return bt.Bars(np.arange(len(close)) * 3_600_000, open_, high, low, close, volume, timeframe="1h")


@engines
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("price", AWKWARD_PRICES)
def test_a_flat_tape_leaves_averages_at_the_price_and_oscillators_at_rest(price: float, length: int, engine: Engine) -> None:
    column = np.full(140, price)
    bars = tape(column, column, column, column, np.random.default_rng(length).uniform(0.1, 1e6, 140))
    expected = {text.format(n=length): price for text in AVERAGES} | {text.format(n=length): float(x) for text, x in RESTING.items()}
    found, warm_ups = values(bars, [*expected], engine)
    for (text, wanted), series, warm_up in zip(expected.items(), found, warm_ups, strict=True):
        np.testing.assert_array_equal(series[warm_up:], wanted, err_msg=f"{text} of {price}")


def test_every_function_is_seen_on_a_flat_tape() -> None:
    used = {node.op for text in [*AVERAGES, *RESTING] for node in compiled(text.format(n=3))[0].nodes}
    named = {text.split("(")[0] for text in [*AVERAGES, *RESTING]}
    assert {*FUNCTIONS} - CUMULATIVE <= used | named


def scaled_tape(seed: int, n: int, style: str, scale: float) -> bt.Bars:
    """Tapes at the limits of indicators: one way only, closes at the very top and bottom of bars, pauses, jumps by many orders of size."""
    rng = np.random.default_rng(seed)
    moves = {"rise": abs(rng.standard_normal(n)), "fall": -abs(rng.standard_normal(n))}.get(style, rng.standard_normal(n)) * 0.02
    moves *= rng.random(n) < rng.choice([0.3, 0.9, 1.0])
    close = scale * np.exp(np.cumsum(moves))
    if style == "jumps":
        close = close * 10.0 ** rng.integers(-6, 7, n)
    if style == "pauses":
        close = close[np.maximum.accumulate(np.where(rng.random(n) < 0.1, np.arange(n), 0))]
    if seed % 3 == 0:
        close = np.maximum(np.round(close, 2 - round(np.log10(scale))), scale / 100)
    open_ = np.concatenate((close[:1], close[:-1]))
    reach = rng.random(n) * rng.choice([0.0, 0.01, 3.0], n)
    high, low = np.maximum(open_, close) * (1 + reach), np.minimum(open_, close) / (1 + reach)
    if style == "edges":
        close = np.where(rng.random(n) < 0.5, high, low) if seed % 2 else high
        open_ = np.where(rng.random(n) < 0.5, high, low)
    volume = rng.uniform(0, 10.0 ** rng.integers(-8, 10), n) * (rng.random(n) < 0.8)
    return tape(open_, high, low, close, np.ones(n) if seed % 5 == 0 else volume)


tapes = st.builds(
    scaled_tape,
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.sampled_from(["walk", "rise", "fall", "jumps", "pauses", "edges"]),
    st.sampled_from([1e-8, 1e-5, 0.1, 1.0, 123.456, 1e9]),
)


@engines
@thorough
@given(bars=tapes, length=st.sampled_from(LENGTHS), smooth=st.integers(1, 5), series=st.sampled_from(["close", "volume", "hlc3", "high"]))
def test_bounded_indicators_never_leave_their_bounds(engine: Engine, bars: bt.Bars, length: int, smooth: int, series: str) -> None:
    expected = {text.format(x=series, n=length, m=smooth): bounds for text, bounds in BOUNDS.items()}
    note(f"{length} {smooth} {series}")
    for (text, (lowest, highest)), found in zip(expected.items(), values(bars, [*expected], engine)[0], strict=True):
        known = found[~np.isnan(found)]
        outside = known[(known < lowest) | (known > highest)]
        assert not len(outside), f"{text}: {outside[0]!r}"


@engines
@thorough
@given(bars=tapes, length=st.sampled_from(LENGTHS))
def test_an_average_lies_between_the_lowest_and_the_highest_of_its_values(engine: Engine, bars: bt.Bars, length: int) -> None:
    window = [f"{name}(close, {length})" for name in ("sma", "wma", "vwma")]
    endless = [f"{name}(close, {length})" for name in ("ema", "rma", "kama")]
    found, _ = values(bars, [f"lowest(close, {length})", f"highest(close, {length})", *window, *endless], engine)
    low, high = found[0], found[1]
    for text, average in zip(window, found[2:], strict=False):
        known = ~np.isnan(average)
        assert ((low <= average) & (average <= high))[known].all(), text
    for text, average in zip(endless, found[2 + len(window) :], strict=True):
        # Not beyond the new value, seen from the average before it.
        before, after, new = average[:-1], average[1:], bars.close[1:]
        known = ~np.isnan(before)
        assert ((np.minimum(before, new) <= after) & (after <= np.maximum(before, new)))[known].all(), text
        if length == 1 and not text.startswith("kama"):
            np.testing.assert_array_equal(average, bars.close)
    for text, parts in (("hlc3", "high low close"), ("ohlc4", "open high low close"), ("hl2", "high low")):
        (average,), _ = values(bars, [text], engine)
        columns = np.array([getattr(bars, name) for name in parts.split()])
        assert ((columns.min(0) <= average) & (average <= columns.max(0))).all(), text


@engines
@thorough
@given(bars=tapes)
def test_the_bars_of_aroon_give_whole_steps(engine: Engine, bars: bt.Bars) -> None:
    """Each output is the exact percentage of whole bars, rounded once."""
    high, low = "highest(high, 8).bars", "lowest(low, 8).bars"
    (up, down, oscillator, since_high, since_low), _ = values(
        bars, ["aroon(7).up", "aroon(7).down", "aroon(7).oscillator", high, low], engine
    )
    np.testing.assert_array_equal(up, 100 * (7 - since_high) / 7)
    np.testing.assert_array_equal(down, 100 * (7 - since_low) / 7)
    np.testing.assert_array_equal(oscillator, 100 * (since_low - since_high) / 7)
