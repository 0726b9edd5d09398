"""Metrics relative to a benchmark and to a risk-free rate, against plain NumPy, and where they are undefined."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest

import python_core as bt
from python_core.data import timeframes
from python_core.data.columns import iso
from python_core.errors import BarsError
from python_core.metrics import NAMES, Metrics
from python_core.metrics.benchmark import check_benchmark
from python_core.metrics.compute import compute
from python_core.trades import TRADE_DTYPE

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
RELATIVE = ("beta", "alpha", "tracking_error", "information_ratio")


def flat(equity: Any, close: Any, **given: Any) -> list[float]:
    timeframe_ms = given.pop("timeframe_ms", DAY_MS)
    arguments: dict[str, Any] = {
        "time_ms": np.arange(len(equity), dtype=np.int64) * timeframe_ms,
        "capital": 100.0,
        "calendar": "crypto",
        "exposed_bars": 0,
        "traded_notional": 0.0,
        "first_open": 10.0,
        "risk_free": 0.0,
        "benchmark": None,
    }
    return compute(equity=equity, close=close, timeframe_ms=timeframe_ms, trades=np.zeros(0, TRADE_DTYPE), **arguments | given)


def report(equity: Any, close: Any, **given: Any) -> Metrics:
    return Metrics.from_values(flat(equity, close, **given))


def relative(found: Metrics) -> dict[str, float | None]:
    return {name: getattr(found, name) for name in RELATIVE}


def by_numpy(r: Any, b: Any, per_year: float, rate: float = 0.0) -> dict[str, float]:
    """The formulas as textbooks have them."""
    r, b = np.asarray(r), np.asarray(b)
    covariance = np.cov(r, b)
    beta = covariance[0, 1] / covariance[1, 1]
    active = r - b
    return {
        "beta": beta,
        "alpha": ((r.mean() - rate) - beta * (b.mean() - rate)) * per_year,
        "tracking_error": active.std(ddof=1) * sqrt(per_year),
        "information_ratio": active.mean() / active.std(ddof=1) * sqrt(per_year),
    }


def test_a_benchmark_of_months_is_read_at_their_ends(engine: str) -> None:
    bars = bt.synthetic(24, timeframe="1M", start="2023-01-01")
    # The price at the end of February 2024, a day before 31 days from its start are over, and so on.
    ends = timeframes.bar_end(bars.time, bars.timeframe_ms)
    benchmark = ([bars.time[0], *ends], [bars.open[0], *bars.close])
    strategy = bt.Strategy(entry_long="close > sma(close, 3)", exit_long="close < sma(close, 3)")
    given, own = (bt.backtest(bars, strategy, benchmark=each, engine=engine).metrics for each in (benchmark, None))  # type: ignore[arg-type]
    assert relative(given) == relative(own)
    years = (ends[-1] - bars.time[0]) / (365 * DAY_MS)
    assert given.cagr == pytest.approx((given.final_equity / 10_000) ** (1 / years) - 1, rel=1e-12)


def test_metrics_relative_to_the_market_are_as_worked_out_by_hand() -> None:
    # r = 0.5, -0.5, 0; b = 0.25, 0, -0.25 from the first open 8. Both means are 0: beta = 0.125 / 0.125, r - b = 0.25, -0.5, 0.25.
    found = report([150.0, 75.0, 75.0], [10.0, 10.0, 7.5], first_open=8.0)
    assert (found.beta, found.alpha) == (1.0, 0.0)
    assert found.tracking_error == pytest.approx(sqrt(0.375 / 2) * sqrt(365), rel=1e-14)
    assert found.information_ratio == 0.0
    # r = 0.5, -0.5; b = 0.25, -0.25; beta 2. With 0.21 a period: alpha = (0 - 0.21 - 2 * (0 - 0.21)) * 12.
    monthly = report([150.0, 75.0], [10.0, 7.5], first_open=8.0, timeframe_ms=31 * DAY_MS, risk_free=1.21**12 - 1)
    assert monthly.beta == 2.0
    assert monthly.alpha == pytest.approx(0.21 * 12, rel=1e-12)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize(("calendar", "per_year"), [("crypto", 365.0), ("exchange", 252.0), ("fx", 260.0)])
def test_random_series_agree_with_other_formulas(seed: int, calendar: str, per_year: float) -> None:
    random, n, risk_free = np.random.default_rng(seed), 3 + 40 * seed, (0.0, 0.04, -0.005)[seed % 3]
    b = random.standard_t(4, n) * 0.02
    r = 0.6 * b + random.standard_t(4, n) * 0.01 + 0.0005
    equity, close = 100 * np.cumprod(1 + r), 10 * np.cumprod(1 + b)
    found = report(equity, close, calendar=calendar, risk_free=risk_free)
    rate = np.expm1(np.log1p(risk_free) / per_year)
    excess = r - rate
    expected = by_numpy(r, b, per_year, rate) | {
        "sharpe": excess.mean() / r.std(ddof=1) * sqrt(per_year),
        "sortino": excess.mean() / sqrt((np.minimum(excess, 0) ** 2).mean()) * sqrt(per_year),
        "omega": np.maximum(excess, 0).sum() / np.maximum(-excess, 0).sum(),
        "volatility": r.std(ddof=1) * sqrt(per_year),
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-9)


def test_a_risk_free_rate_changes_only_what_it_is_part_of() -> None:
    random = np.random.default_rng(2)
    equity, close = 100 * np.cumprod(1 + random.normal(0, 0.02, 200)), 10 * np.cumprod(1 + random.normal(0, 0.02, 200))
    without, positive, negative = (flat(equity, close, risk_free=rate) for rate in (0.0, 0.05, -0.05))
    changed = {name for name, *values in zip(NAMES, without, positive, negative, strict=True) if len({str(value) for value in values}) > 1}
    assert changed == {"sharpe", "sortino", "omega", "alpha"}
    for name in ("sharpe", "sortino", "omega"):
        i = NAMES.index(name)
        assert positive[i] < without[i] < negative[i]


@pytest.mark.parametrize("seed", range(5))
def test_the_market_itself_has_a_beta_of_one_and_no_alpha(seed: int) -> None:
    close = 10 * np.cumprod(1 + np.random.default_rng(seed).normal(0, 0.02, 500))
    found = report(close * 10, close, risk_free=0.03)
    assert found.beta == pytest.approx(1.0, rel=1e-12)
    assert found.alpha == pytest.approx(0.0, abs=1e-12)
    assert found.tracking_error == pytest.approx(0.0, abs=1e-12)
    # Returns that are equal to the bit: there is nothing to divide by.
    exact = report(close, close, capital=10.0)
    assert (exact.beta, exact.tracking_error, exact.information_ratio) == (1.0, 0.0, None)


def test_the_first_return_of_the_market_is_relative_to_the_first_open() -> None:
    late = report([110.0, 99.0, 99.0], [30.0, 33.0, 29.7], first_open=20.0)
    assert relative(late) == pytest.approx(by_numpy([0.1, -0.1, 0.0], [0.5, 0.1, -0.1], 365))


def test_the_market_counts_at_the_last_close_of_each_day() -> None:
    time_ms = np.array([0, 12, 24, 72, 84], np.int64) * HOUR_MS
    found = report([70.0, 110.0, 99.0, 500.0, 198.0], [3.0, 12.0, 9.0, 40.0, 18.0], time_ms=time_ms, timeframe_ms=12 * HOUR_MS)
    assert relative(found) == pytest.approx(by_numpy([0.1, -0.1, 1.0], [0.2, -0.25, 1.0], 365))


# Days of 24 hours from day 10 on; the benchmark's days end at the end of the bars, or at other moments.
@pytest.mark.parametrize(
    ("times", "prices", "returns"),
    [
        # At the first open, and at the end of each bar.
        ([10, 11, 12, 13], [4.0, 5.0, 4.0, 6.0], [0.25, -0.2, 0.5]),
        # One millisecond later the value of the day before counts.
        ([10, 11 + 1e-9, 12, 13], [4.0, 5.0, 4.0, 6.0], [0.0, 0.0, 0.5]),
        # Before the first open only the last value counts, and what follows the last bar does not.
        ([1, 2, 9.5, 10.2, 10.9, 12.5, 14], [1.0, 2.0, 4.0, 9.0, 5.0, 6.0, 100.0], [0.25, 0.0, 0.2]),
        # A benchmark that stands still from the second day on.
        ([9, 11], [4.0, 5.0], [0.25, 0.0, 0.0]),
    ],
)
def test_a_given_benchmark_has_its_last_value_at_or_before_the_end_of_a_period(
    times: list[float], prices: list[float], returns: list[float]
) -> None:
    moments = np.array([int(np.ceil(time * DAY_MS)) for time in times])
    time_ms = np.array([10, 11, 12], np.int64) * DAY_MS
    benchmark = check_benchmark((moments, prices), int(time_ms[0]))
    found = report([110.0, 99.0, 148.5], [1.0, 2.0, 3.0], time_ms=time_ms, benchmark=benchmark)
    assert relative(found) == pytest.approx(by_numpy([0.1, -0.1, 0.5], returns, 365))
    # Buy and hold is still that of the instrument.
    assert found.buy_and_hold_return == pytest.approx(3 / 10 - 1)


def test_a_given_benchmark_follows_the_ends_of_intraday_periods() -> None:
    # Two days of two bars; the second day's last bar opens at 36:00 and ends at 48:00.
    hours = np.array([0, 12, 24, 36], np.int64) * HOUR_MS
    benchmark = check_benchmark((np.array([0, 23, 24, 47, 48]) * HOUR_MS, [2.0, 5.0, 3.0, 7.0, 6.0]), 0)
    found = report([90.0, 110.0, 130.0, 99.0], [1.0] * 4, time_ms=hours, timeframe_ms=12 * HOUR_MS, benchmark=benchmark)
    assert relative(found) == pytest.approx(by_numpy([0.1, -0.1], [0.5, 1.0], 365))


def test_the_end_of_a_bar_is_its_time_plus_its_length_where_bars_are_not_aligned() -> None:
    time = 9 * HOUR_MS + DAY_MS * np.arange(6)  # days from 09:00 to 09:00
    closes, equity = [10.0, 12, 9, 11, 13, 10], [100.0, 110, 105, 111, 100, 120]
    known = np.append(time[0], time + DAY_MS - HOUR_MS)
    given = check_benchmark((known, [10.0, *closes]), int(time[0]))
    assert flat(equity, closes, time_ms=time, benchmark=given) == flat(equity, closes, time_ms=time)


def test_a_given_benchmark_follows_the_ends_of_calendar_months() -> None:
    months, moments = (
        np.array(texts, "datetime64[ms]").astype(np.int64)
        for texts in (["2024-01-01", "2024-02-01"], ["2024-01-01", "2024-02-01", "2024-02-01T00:00:00.001", "2024-03-01"])
    )
    benchmark = check_benchmark((moments, [4.0, 5.0, 6.0, 7.5]), int(months[0]))
    found = report([110.0, 99.0], [1.0, 1.0], time_ms=months, timeframe_ms=31 * DAY_MS, benchmark=benchmark)
    assert relative(found) == pytest.approx(by_numpy([0.1, -0.1], [0.25, 0.5], 12))


def test_after_ruin_the_benchmark_has_no_returns_either() -> None:
    found = report([150.0, 75.0, 0.0, 0.0, 0.0], [12.5, 12.5, 25.0, 500.0, 1.0])
    assert relative(found) == pytest.approx(by_numpy([0.5, -0.5, -1.0], [0.25, 0.0, 1.0], 365))


@pytest.mark.parametrize(
    ("equity", "close", "undefined"),
    [
        ([110.0], [12.0], RELATIVE),
        ([110.0, 99.0], [10.0, 10.0], ("beta", "alpha")),
        ([125.0, 100.0], [12.5, 10.0], ("information_ratio",)),
        ([100.0, np.inf], [10.0, 11.0], RELATIVE),
        ([100.0, 110.0, 121.0], [1e-300, 1e300, 1e300], RELATIVE),
    ],
    ids=["one period", "a market at rest", "equal returns", "equity overflows", "the benchmark overflows"],
)
def test_what_has_no_value_relative_to_the_benchmark_is_none(equity: Any, close: Any, undefined: tuple[str, ...]) -> None:
    found = relative(report(equity, close))
    assert {name for name, value in found.items() if value is None} == {*undefined}


def test_a_benchmark_is_accepted_as_lists_and_as_datetimes() -> None:
    benchmark = check_benchmark((np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"), [1, 2]), 1_704_067_200_000)
    assert benchmark.time.tolist() == [1_704_067_200_000, 1_704_153_600_000]
    assert (benchmark.time.dtype, benchmark.price.dtype, benchmark.price.tolist()) == (np.int64, np.float64, [1.0, 2.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "benchmark: expected a pair, got int; pass (times, prices)"),
        (([1, 2], [1.0, 2.0], [3.0]), "benchmark: expected a pair, got tuple; pass (times, prices)"),
        (([1, 2], [1.0]), "benchmark price: 1 values for 2 times; pass one price for each time"),
        (([], []), "benchmark: it is empty; pass (times, prices)"),
        (
            ([1, 3, 3], [1.0, 1.0, 1.0]),
            "benchmark time: row 2 (1970-01-01T00:00Z) is not after the row before; times must be strictly increasing",
        ),
        (([1, 2], [1.0, np.nan]), "benchmark price: row 1 is nan; prices must be finite and greater than 0"),
        (([1, 2], [0.0, 1.0]), "benchmark price: row 0 is 0.0; prices must be finite and greater than 0"),
        (([1, 2], [1.0, np.inf]), "benchmark price: row 1 is inf; prices must be finite and greater than 0"),
        ((["a"], [1.0]), "benchmark time: the dtype is <U1; use int64 epoch milliseconds or datetime64"),
    ],
)
def test_an_invalid_benchmark_is_rejected_with_what_is_wrong(given: Any, message: str) -> None:
    with pytest.raises(BarsError) as caught:
        check_benchmark(given, 10)
    assert str(caught.value) == message


def test_a_benchmark_that_starts_after_the_first_open_is_rejected_with_both_times() -> None:
    check_benchmark(([5 * DAY_MS], [1.0]), 5 * DAY_MS)
    with pytest.raises(BarsError) as caught:
        check_benchmark(([5 * DAY_MS], [1.0]), 5 * DAY_MS - 1)
    assert "1970-01-06T00:00Z" in str(caught.value)
    assert iso(5 * DAY_MS - 1) in str(caught.value)
