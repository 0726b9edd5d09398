"""Days, weekends and months as periods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import python_core as bt
from python_core.metrics import MonthlyReturn
from python_core.metrics.monthly import monthly_returns
from python_core.metrics.periods import period_ends, periods_per_year

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def ms(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[ms]").astype(np.int64)


def ends(time_ms: np.ndarray, calendar: str, timeframe_ms: int = HOUR_MS) -> list[int]:
    return period_ends(time_ms, timeframe_ms, calendar).tolist()  # type: ignore[arg-type]


# 2024-03-01 was a Friday.
FRIDAY_TO_TUESDAY = ms(
    *(
        "2024-03-01T12",
        "2024-03-01T23",
        "2024-03-02T00",
        "2024-03-02T23",
        "2024-03-03T22",
        "2024-03-04T00",
        "2024-03-04T23",
        "2024-03-05T00",
    )
)


def test_the_hours_of_a_weekend_belong_to_monday_where_markets_close() -> None:
    assert ends(FRIDAY_TO_TUESDAY, "crypto") == [1, 3, 4, 6, 7]
    assert ends(FRIDAY_TO_TUESDAY, "exchange") == ends(FRIDAY_TO_TUESDAY, "fx") == [1, 6, 7]


def test_a_week_of_currencies_from_sunday_evening_has_five_days() -> None:
    start = ms("2024-03-03T22")[0]
    hours = start + np.arange(5 * 24) * HOUR_MS
    assert len(ends(hours, "crypto")) == 6
    # Sunday's two hours and Monday, then Tuesday to Friday.
    assert ends(hours, "fx") == [25, 49, 73, 97, 119]


def test_a_weekend_without_its_monday_is_a_period() -> None:
    weekend = FRIDAY_TO_TUESDAY[:5]
    # At the end of the data, at its start, and before a holiday.
    assert ends(weekend, "fx") == [1, 4]
    assert ends(weekend[2:], "fx") == [2]
    assert ends(np.delete(FRIDAY_TO_TUESDAY, [5, 6]), "fx") == [1, 4, 5]
    assert ends(weekend[3:4], "exchange") == [0]


def test_weekend_bars_of_a_day_or_longer_are_periods_of_their_own() -> None:
    days = ms("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
    assert ends(days, "exchange", DAY_MS) == [0, 1, 2, 3]
    assert ends(days[:2], "fx", 7 * DAY_MS) == [0, 1]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("calendar", ["crypto", "exchange", "fx"])
def test_periods_of_random_times_are_those_of_a_calendar(seed: int, calendar: str) -> None:
    time_ms = ms("2024-01-01")[0] + np.cumsum(np.random.default_rng(seed).choice([1, 1, 1, 2, 40, 90], 600)) * HOUR_MS

    def day(t: int) -> datetime:
        day = datetime.fromtimestamp(t / 1000, UTC).replace(hour=0)
        if calendar != "crypto":
            while day.strftime("%a") in ("Sat", "Sun"):
                day += timedelta(days=1)
        return day

    last = {day(t): i for i, t in enumerate(time_ms.tolist())}
    assert ends(time_ms, calendar) == list(last.values())


@pytest.mark.parametrize("timeframe_ms", [1_000, HOUR_MS, DAY_MS])
def test_a_year_of_days_depends_on_the_calendar(timeframe_ms: int) -> None:
    assert [periods_per_year(timeframe_ms, calendar) for calendar in ("crypto", "exchange", "fx")] == [365.0, 252.0, 260.0]


def test_the_return_of_a_month_is_relative_to_the_month_before() -> None:
    time_ms = ms("2023-12-30T05", "2023-12-31T23", "2024-01-01T00", "2024-01-15T00", "2024-03-31T23", "2024-04-01T00")
    equity = np.array([90.0, 110.0, 100.0, 99.0, 148.5, 297.0])
    # December is relative to the capital; February has no bars.
    assert monthly_returns(equity, time_ms, 100.0) == (
        MonthlyReturn(2023, 12, 110.0 / 100.0 - 1.0),
        MonthlyReturn(2024, 1, 99.0 / 110.0 - 1.0),
        MonthlyReturn(2024, 3, 148.5 / 99.0 - 1.0),
        MonthlyReturn(2024, 4, 1.0),
    )


def test_a_month_after_ruin_has_no_return() -> None:
    time_ms = ms("2024-01-31", "2024-02-10", "2024-02-20", "2024-03-01", "2024-04-01")
    found = monthly_returns(np.array([50.0, 10.0, 0.0, 0.0, 0.0]), time_ms, 100)
    assert [month.total_return for month in found] == [-0.5, -1.0, None, None]


def test_a_bar_belongs_to_the_month_in_which_it_opens() -> None:
    found = monthly_returns(np.array([110.0, 121.0]), ms("2024-01-29", "2024-02-05"), 100.0)
    assert [(month.year, month.month) for month in found] == [(2024, 1), (2024, 2)]


@pytest.mark.parametrize("engine", ["python", "rust"])
def test_months_of_a_result_multiply_to_its_total_return(engine: str) -> None:
    if engine == "rust" and bt.engine != "rust":
        pytest.skip(bt.engine_reason)
    bars = bt.synthetic(5_000, timeframe="4h")
    result = bt.backtest(bars, bt.Strategy(entry_long="close > sma(close, 20)", exit_long="close < sma(close, 20)"), engine=engine)  # type: ignore[arg-type]
    months = result.monthly_returns
    assert result.monthly_returns is months
    assert len(months) == len({str(t) for t in bars.time.astype("datetime64[ms]").astype("datetime64[M]")})
    product = np.prod([1 + month.total_return for month in months if month.total_return is not None])
    assert product == pytest.approx(1 + result.metrics.total_return, rel=1e-12)  # type: ignore[operator]
