"""Metrics of returns are the same in both engines, for any benchmark, rate, calendar and gaps, and hold where they must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data import timeframes
from python_core.data.timeframes import bar_end
from python_core.metrics import NAMES
from python_core.metrics.benchmark import check_benchmark
from python_core.metrics.compute import compute
from tests.property.inputs import engines, seeds, share
from tests.property.test_engines import random_bars
from tests.support.cases import CASES
from tests.support.marks import needs_rust

DAY_MS = 86_400_000
RELATIVE = ("beta", "alpha", "tracking_error", "information_ratio")
thorough = settings(max_examples=CASES)
lengths = st.one_of(st.integers(1, 60), st.integers(900, 2300))
names = st.sampled_from(["1m", "1h", "1d", "3d", "1w", "1M"])
calendars = st.sampled_from(["crypto", "exchange", "fx"])
rates = st.sampled_from([0.0, 0.04, -0.02, 3.0])
STRATEGY = bt.Strategy(entry_long="close > sma(close, n)", entry_short="close < sma(close, n)", params={"n": 3})


def make_bars(rng: np.random.Generator, n: int, timeframe: str, *, gaps: bool) -> bt.Bars:
    if timeframe not in ("3d", "1M"):
        return random_bars(rng, n, timeframe, "normal", gaps=gaps, extras=False)
    days = random_bars(rng, n, "1d", "normal", gaps=False, extras=False)
    steps = np.cumsum(rng.choice([1, 1, 1, 2] if gaps else [1], n))
    time = timeframes.series(0, timeframes.milliseconds(timeframe), int(steps[-1]) + 1)[steps]
    return bt.Bars(time, days.open, days.high, days.low, days.close, days.volume, timeframe=timeframe)


def a_benchmark(rng: np.random.Generator, bars: bt.Bars) -> tuple[np.ndarray, np.ndarray]:
    """Prices at moments that sometimes are those of the bars."""
    span = int(bars.time[-1] - bars.time[0]) + 3 * bars.timeframe_ms
    times = bars.time[0] + rng.integers(0, span, rng.integers(1, 200))
    times = np.where(rng.random(len(times)) < 0.5, times // bars.timeframe_ms * bars.timeframe_ms, times)
    times = np.unique(np.append(times[times > bars.time[0]], bars.time[0] - rng.integers(0, 2) * rng.integers(0, 10**9)))
    return times, np.exp(np.cumsum(rng.standard_normal(len(times)) * rng.choice([0.0, 0.01, 3.0])))


def values(bars: bt.Bars, rules: bt.Execution, engine: Any, **given: Any) -> dict[str, str]:
    """The metrics' bits, by name."""
    found = bt.backtest(bars, STRATEGY, rules, engine=engine, **given).values
    return dict(zip(NAMES, (value.hex() for value in found.tolist()), strict=True))


@needs_rust
@thorough
@given(seed=seeds, n=lengths, timeframe=names, gaps=st.booleans(), calendar=calendars, risk_free=rates, given_series=st.booleans())
def test_engines_compute_the_same_metrics_of_any_equity(
    seed: int, n: int, timeframe: str, gaps: bool, calendar: Any, risk_free: float, given_series: bool
) -> None:
    rng = np.random.default_rng(seed)
    bars = make_bars(rng, n, timeframe, gaps=gaps)
    rules = bt.Execution(calendar=calendar, risk_free=risk_free, leverage=float(rng.choice([1.0, 20.0])))
    benchmark = a_benchmark(rng, bars) if given_series else None
    result = bt.backtest(bars, STRATEGY, rules, benchmark=benchmark, engine="rust")
    reference = compute(
        equity=result.equity,
        time_ms=bars.time,
        timeframe_ms=bars.timeframe_ms,
        trades=result.trades.array,
        capital=rules.initial_capital,
        calendar=calendar,
        exposed_bars=0,
        traded_notional=0.0,
        first_open=float(bars.open[0]),
        close=bars.close,
        risk_free=risk_free,
        benchmark=None if benchmark is None else check_benchmark(benchmark, int(bars.time[0])),
    )
    for name, found, expected in zip(NAMES, result.values.tolist(), reference, strict=True):
        assert name in ("exposure", "turnover") or found.hex() == expected.hex(), name


@share(0.5)
@given(seed=seeds, n=lengths, timeframe=names, gaps=st.booleans(), calendar=calendars, risk=st.booleans(), engine=engines)
def test_a_sweep_compares_with_a_benchmark_as_single_runs_do(
    seed: int, n: int, timeframe: str, gaps: bool, calendar: Any, risk: bool, engine: Any
) -> None:
    rng = np.random.default_rng(seed)
    bars = make_bars(rng, n, timeframe, gaps=gaps)
    rules, benchmark = bt.Execution(calendar=calendar, risk_free=0.05), a_benchmark(rng, bars)
    swept = bt.sweep(
        bars,
        STRATEGY,
        {"n": [2, 3]},
        rules,
        objective="final_equity",
        benchmark=benchmark,
        metrics=None if risk else ("trades", "win_rate"),
        engine=engine,
        threads=2,
    )
    single = bt.backtest(bars, STRATEGY, rules, benchmark=benchmark, engine=engine).metrics
    for name in (*RELATIVE, "sharpe", "sortino", "omega"):
        assert getattr(swept.metrics(1), name) == (getattr(single, name) if risk else None), name


@share(0.5)
@given(seed=seeds, n=lengths, timeframe=names, gaps=st.booleans(), calendar=calendars, engine=engines)
def test_closes_given_as_a_benchmark_are_the_default(seed: int, n: int, timeframe: str, gaps: bool, calendar: Any, engine: Any) -> None:
    bars = make_bars(np.random.default_rng(seed), n, timeframe, gaps=gaps)
    rules = bt.Execution(calendar=calendar)
    closes = (np.append(bars.time[0], bar_end(bars.time, bars.timeframe_ms)), np.append(bars.open[0], bars.close))
    default = values(bars, rules, engine)
    assert values(bars, rules, engine, benchmark=closes) == default
    # Twice the price is the same benchmark, and power-of-two factors change no bit.
    doubled = (closes[0], closes[1] * 2)
    assert values(bars, rules, engine, benchmark=doubled) == default


@thorough
@given(seed=seeds, n=st.integers(4, 400), timeframe=names, calendar=calendars, risk_free=rates, engine=engines)
def test_an_account_compared_with_itself_has_beta_one_and_no_alpha(
    seed: int, n: int, timeframe: str, calendar: Any, risk_free: float, engine: Any
) -> None:
    bars = make_bars(np.random.default_rng(seed), n, timeframe, gaps=True)
    rules = bt.Execution(calendar=calendar, risk_free=risk_free)
    alone = bt.backtest(bars, STRATEGY, rules, engine=engine)
    if alone.metrics.volatility in (None, 0.0):
        return
    benchmark = (np.append(bars.time[0], bar_end(bars.time, bars.timeframe_ms)), np.append(rules.initial_capital, alone.equity))
    found = bt.backtest(bars, STRATEGY, rules, benchmark=benchmark, engine=engine).metrics
    assert found.beta == pytest.approx(1.0, rel=1e-9)
    assert found.alpha == pytest.approx(0.0, abs=1e-7)
    assert (found.tracking_error, found.information_ratio) == (0.0, None)


@share(0.5)
@given(seed=seeds, n=st.integers(1, 2000), timeframe=st.sampled_from(["1m", "1h"]), engine=engines)
def test_without_weekend_bars_calendars_differ_only_in_the_length_of_a_year(seed: int, n: int, timeframe: str, engine: Any) -> None:
    bars = make_bars(np.random.default_rng(seed), n, timeframe, gaps=True)
    weekdays = (bars.time // DAY_MS + 3) % 7 < 5
    if not weekdays.any():
        return
    columns = [getattr(bars, name)[weekdays] for name in ("time", "open", "high", "low", "close", "volume")]
    bars = bt.Bars(*columns, timeframe=bars.timeframe)
    crypto, exchange, fx = (
        bt.backtest(bars, STRATEGY, bt.Execution(calendar=calendar), engine=engine) for calendar in ("crypto", "exchange", "fx")
    )
    of_the_year = {"volatility", "sharpe", "sortino", "alpha", "tracking_error", "information_ratio"}
    for name, *found in zip(NAMES, crypto.values, exchange.values, fx.values, strict=True):
        assert name in of_the_year or len({value.hex() for value in found}) == 1, name
