"""Every metric against values worked out by hand, against other formulas, and where it is undefined."""

from __future__ import annotations

import math
import struct
from math import sqrt
from typing import Any

import msgspec
import numpy as np
import pytest

from python_core.metrics import COUNTS, NAMES, RUN_NAMES, Metrics, TradeMetrics
from python_core.metrics.compute import compute
from python_core.trades import LIQUIDATION, SIGNAL, STOP_LOSS, TRADE_DTYPE

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def trade(net: float, side: int = 1, **fields: float) -> dict[str, float]:
    return {"net": net, "side": side, "quantity": 2.0, "entry_price": 50.0, "exit_index": 4, "entry_index": 1, "reason": SIGNAL} | fields


def rows(*trades: dict[str, float]) -> np.ndarray:
    array = np.zeros(len(trades), TRADE_DTYPE)
    for i, fields in enumerate(trades):
        for name, value in fields.items():
            array[name][i] = value
    return array


def flat(equity: Any, trades: np.ndarray | None = None, **given: Any) -> list[float]:
    timeframe_ms = given.pop("timeframe_ms", DAY_MS)
    arguments: dict[str, Any] = {
        "time_ms": np.arange(len(equity), dtype=np.int64) * timeframe_ms,
        "capital": 100.0,
        "calendar": "crypto",
        "exposed_bars": 0,
        "traded_notional": 0.0,
        "first_open": 10.0,
        "close": np.full(len(equity), 12.0),
        "risk_free": 0.0,
        "benchmark": None,
    }
    return compute(equity=equity, timeframe_ms=timeframe_ms, trades=rows() if trades is None else trades, **arguments | given)


def report(equity: Any, trades: np.ndarray | None = None, **given: Any) -> Metrics:
    return Metrics.from_values(flat(equity, trades, **given))


# Returns 0.25, -0.2, -0.5, 1, 0.5: mean 0.21; deviations 0.04, -0.41, -0.71, 0.79, 0.29.
FIVE_DAYS = [125.0, 100.0, 50.0, 100.0, 150.0]
M2 = 0.0016 + 0.1681 + 0.5041 + 0.6241 + 0.0841
M3 = 0.000064 - 0.068921 - 0.357911 + 0.493039 + 0.024389
M4 = 0.00000256 + 0.02825761 + 0.25411681 + 0.38950081 + 0.00707281


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("final_equity", 150.0),
        ("net_profit", 50.0),
        ("total_return", 0.5),
        ("cagr", 1.5 ** (365 / 5) - 1),
        ("volatility", sqrt(M2 / 4) * sqrt(365)),
        ("sharpe", 0.21 / sqrt(M2 / 4) * sqrt(365)),
        ("sortino", 0.21 / sqrt((0.04 + 0.25) / 5) * sqrt(365)),
        ("calmar", (1.5**73 - 1) / 0.6),
        ("omega", (0.25 + 1 + 0.5) / (0.2 + 0.5)),
        ("max_drawdown", (125 - 50) / 125),
        ("max_drawdown_duration", 3.0),
        ("average_drawdown", 0.6),
        ("ulcer_index", sqrt((0.2**2 + 0.6**2 + 0.2**2) / 5)),
        ("recovery_factor", 50 / 75),
        ("value_at_risk_95", 0.5 - 0.2 * 0.3),
        ("conditional_value_at_risk_95", 0.5),
        ("tail_ratio", (0.5 + 0.8 * 0.5) / 0.44),
        ("skew", 5 * sqrt(4) / 3 * M3 / M2**1.5),
        ("kurtosis", (5 * 6 * 4 * M4 / M2**2 - 3 * 4**2) / (3 * 2)),
        ("exposure", 2 / 5),
        ("turnover", 4.5),
        ("buy_and_hold_return", 0.2),
        ("alpha_over_buy_and_hold", 0.3),
    ],
)
def test_a_metric_of_equity_is_as_worked_out_by_hand(name: str, expected: Any) -> None:
    found = report(FIVE_DAYS, exposed_bars=2, traded_notional=450.0)
    assert getattr(found, name) == pytest.approx(expected, rel=1e-12)


TRADES = rows(
    trade(30.0, fees=1.0, funding=0.5),
    trade(10.0, fees=1.0, quantity=1.0, exit_index=2),
    trade(-20.0, -1, fees=2.0, funding=-1.5, reason=STOP_LOSS),
    trade(0.0, -1, fees=1.0, entry_index=3, exit_index=3),
    trade(-10.0, fees=1.0, entry_price=25.0),
    trade(-25.0, -1, funding=0.25, reason=LIQUIDATION),
    trade(35.0, -1, fees=4.0, exit_index=11),
)
# Distances of net from its mean 20 / 7, squared, times 49.
SQUARES = 190**2 + 50**2 + 160**2 + 20**2 + 90**2 + 195**2 + 225**2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trades", 7),
        ("wins", 3),
        ("losses", 3),
        ("win_rate", 3 / 7),
        ("profit_factor", 75 / 55),
        ("expectancy", (0.3 + 0.2 - 0.2 + 0 - 0.2 - 0.25 + 0.35) / 7),
        ("average_trade", 20 / 7),
        ("average_win", 25.0),
        ("average_loss", -55 / 3),
        ("payoff_ratio", 75 / 55),
        ("best_trade", 35.0),
        ("worst_trade", -25.0),
        ("longest_winning_streak", 2),
        ("longest_losing_streak", 2),
        ("average_bars_held", (3 + 1 + 3 + 0 + 3 + 3 + 10) / 7),
        ("fees_paid", 10.0),
        ("funding_paid", -0.75),
        ("liquidations", 1),
        ("sqn", sqrt(7) * (20 / 7) / sqrt(SQUARES / 49 / 6)),
        ("kelly", 3 / 7 - 4 / 7 / (75 / 55)),
    ],
)
def test_a_metric_of_trades_is_as_worked_out_by_hand(name: str, expected: Any) -> None:
    assert getattr(report([120.0], TRADES), name) == pytest.approx(expected, rel=1e-14)


def test_long_and_short_trades_are_reported_separately() -> None:
    found = report([120.0], TRADES)
    assert (found.long.trades, found.long.net_profit, found.long.wins, found.long.losses) == (3, 30.0, 2, 1)
    assert (found.short.trades, found.short.net_profit, found.short.wins, found.short.losses) == (4, -10.0, 1, 2)
    assert (found.long.longest_winning_streak, found.short.longest_losing_streak) == (2, 1)
    assert (found.long.liquidations, found.short.liquidations) == (0, 1)
    assert found.long.payoff_ratio == pytest.approx(20 / 10)
    assert found.short.sqn == pytest.approx(2 * -2.5 / sqrt((17.5**2 + 2.5**2 + 22.5**2 + 37.5**2) / 3))


def test_metrics_of_the_only_side_equal_those_of_all_trades() -> None:
    only_long = TRADES[TRADES["side"] > 0]
    found = report([130.0], only_long)
    whole = {name: getattr(found, name) for name in TradeMetrics.__struct_fields__ if name != "net_profit"}
    assert whole == {name: getattr(found.long, name) for name in whole}
    assert found.short == report([130.0]).long


def test_a_day_counts_once_with_its_last_bar() -> None:
    # 12-hour bars: two on the first day, one on the second, none on the third, two on the fourth.
    time_ms = np.array([0, 12, 24, 72, 84], np.int64) * HOUR_MS
    found = report([70.0, 110.0, 99.0, 500.0, 198.0], time_ms=time_ms, timeframe_ms=12 * HOUR_MS)
    returns = [0.1, -0.1, 1.0]
    assert found.sharpe == pytest.approx(np.mean(returns) / np.std(returns, ddof=1) * sqrt(365))
    assert found.omega == pytest.approx(1.1 / 0.1)
    # Over bars the deepest drawdown is from 500 to 198, over days from 110 to 99.
    assert found.max_drawdown == pytest.approx(302 / 500)
    assert found.average_drawdown == pytest.approx(0.1)
    # From the second bar at 12:00, the peak 110, to the third at 24:00; and from 72:00 to 84:00.
    assert found.max_drawdown_duration == 0.5


def test_the_time_below_a_peak_is_counted_over_gaps_and_from_the_first_bar() -> None:
    hours = np.array([0, 1, 2, 50, 51, 52], np.int64) * HOUR_MS
    assert report([90.0, 95.0, 99.0, 99.0, 100.0, 98.0], time_ms=hours, timeframe_ms=HOUR_MS).max_drawdown_duration == 50 / 24
    assert report([100.0, 101.0, 101.0, 100.0, 101.0, 100.0], time_ms=hours, timeframe_ms=HOUR_MS).max_drawdown_duration == 48 / 24
    assert report([100.0, 101.0, 102.0, 102.0, 103.0, 104.0], time_ms=hours, timeframe_ms=HOUR_MS).max_drawdown_duration == 0.0


def test_each_drawdown_counts_once_in_the_average() -> None:
    # Below 100 by 10 %, back at 100, below 200 by 5 % and 25 %, back above, and below 250 at the end by 20 %.
    found = report([90.0, 100.0, 200.0, 190.0, 150.0, 250.0, 200.0])
    assert found.average_drawdown == pytest.approx((0.1 + 0.25 + 0.2) / 3)


@pytest.mark.parametrize(
    ("timeframe_ms", "calendar", "periods"),
    [
        (HOUR_MS * 24, "crypto", 365),
        (HOUR_MS * 24, "exchange", 252),
        (DAY_MS * 7, "crypto", 365 / 7),
        (DAY_MS * 7, "exchange", 252 / 5),
        (HOUR_MS * 24, "fx", 260),
        (DAY_MS * 7, "fx", 52),
        (DAY_MS * 3, "crypto", 365 / 3),
        (DAY_MS * 3, "exchange", 84),
        (DAY_MS * 3, "fx", 260 / 3),
        (DAY_MS * 31, "crypto", 12),
        (DAY_MS * 31, "exchange", 12),
        (DAY_MS * 31, "fx", 12),
    ],
)
def test_a_year_has_the_periods_of_its_calendar(timeframe_ms: int, calendar: str, periods: float) -> None:
    found = report(FIVE_DAYS, timeframe_ms=timeframe_ms, calendar=calendar)
    assert found.volatility == pytest.approx(sqrt(M2 / 4) * sqrt(periods), rel=1e-12)


def test_years_of_monthly_bars_run_to_the_end_of_the_last_month() -> None:
    months = np.array(["2023-01", "2023-02", "2024-02"], "datetime64[M]").astype("datetime64[ms]").astype(np.int64)
    # 365 days of 2023, 31 and 29 of 2024.
    assert report([110.0, 99.0, 150.0], time_ms=months, timeframe_ms=31 * DAY_MS).cagr == pytest.approx(1.5 ** (365 / 425) - 1, rel=1e-14)


def test_returns_end_when_equity_is_gone() -> None:
    ruined = report([50.0, 0.0, 0.0, 0.0])
    assert ruined.cagr == -1.0
    assert ruined.max_drawdown == 1.0
    # Two returns, -0.5 and -1; the later days have none.
    assert ruined.sharpe == pytest.approx(-0.75 / sqrt(0.125) * sqrt(365))
    indebted = report([50.0, -25.0])
    assert (indebted.cagr, indebted.max_drawdown) == (-1.0, 1.25)
    assert indebted.conditional_value_at_risk_95 == 1.5


UNDEFINED_WITHOUT_TRADES = [
    *("win_rate", "profit_factor", "expectancy", "average_trade", "average_win", "average_loss", "payoff_ratio", "best_trade"),
    *("worst_trade", "average_bars_held", "sqn", "kelly"),
]


@pytest.mark.parametrize("name", UNDEFINED_WITHOUT_TRADES)
def test_a_ratio_over_no_trades_is_none(name: str) -> None:
    found = report([100.0, 101.0])
    assert [getattr(found, name), getattr(found.long, name), getattr(found.short, name)] == [None] * 3


@pytest.mark.parametrize("name", sorted({*TradeMetrics.__struct_fields__} - {*UNDEFINED_WITHOUT_TRADES}))
def test_a_count_or_sum_over_no_trades_is_zero(name: str) -> None:
    found = report([100.0, 101.0])
    assert [getattr(found.long, name), getattr(found.short, name)] == [0, 0]


@pytest.mark.parametrize(
    ("name", "equity", "trades"),
    [
        ("sharpe", [110.0], ()),
        ("volatility", [110.0], ()),
        ("sharpe", [100.0, 100.0, 100.0], ()),
        ("sortino", [101.0, 102.0], ()),
        ("omega", [101.0, 102.0], ()),
        ("calmar", [101.0, 102.0], ()),
        ("recovery_factor", [101.0, 102.0], ()),
        ("average_drawdown", [101.0, 102.0], ()),
        ("tail_ratio", [100.0, 100.0], ()),
        ("skew", [101.0, 100.0], ()),
        ("skew", [100.0, 100.0, 100.0], ()),
        ("kurtosis", [101.0, 100.0, 102.0], ()),
        ("kurtosis", [100.0] * 5, ()),
        ("cagr", [1e9], ()),
        ("calmar", [50.0, 1e9], ()),
        ("profit_factor", [110.0], (trade(10.0),)),
        ("payoff_ratio", [110.0], (trade(10.0),)),
        ("average_loss", [110.0], (trade(10.0),)),
        ("kelly", [110.0], (trade(10.0),)),
        ("average_win", [90.0], (trade(-10.0),)),
        ("kelly", [90.0], (trade(-10.0),)),
        ("sqn", [110.0], (trade(10.0),)),
        ("sqn", [120.0], (trade(10.0), trade(10.0))),
        ("expectancy", [110.0], (trade(10.0, entry_price=0.0),)),
        ("final_equity", [math.inf], ()),
        ("max_drawdown", [-math.inf], ()),
        ("sharpe", [100.0, math.nan, 100.0, 110.0], ()),
        ("ulcer_index", [100.0, math.inf, 100.0, 110.0], ()),
        ("sharpe", [1e-300, 1e300, 1e300], ()),
        ("best_trade", [100.0], (trade(math.nan),)),
        ("average_trade", [100.0], (trade(1e308), trade(1e308))),
    ],
)
def test_an_undefined_value_is_none(name: str, equity: list[float], trades: tuple[dict[str, float], ...]) -> None:
    assert getattr(report(equity, rows(*trades)), name) is None


@pytest.mark.parametrize(
    ("name", "equity"),
    [
        ("volatility", [100.0, 100.0]),
        ("max_drawdown", [101.0, 102.0]),
        ("max_drawdown_duration", [101.0, 102.0]),
        ("ulcer_index", [101.0, 102.0]),
        ("omega", [99.0, 98.0]),
        ("total_return", [100.0]),
        ("value_at_risk_95", [100.0]),
    ],
)
def test_a_defined_zero_is_zero(name: str, equity: list[float]) -> None:
    assert getattr(report(equity), name) == 0.0


def random_equity(seed: int, n: int) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).standard_t(4, n) * 0.02))


@pytest.mark.parametrize("seed", range(20))
def test_random_curves_agree_with_other_formulas(seed: int) -> None:
    n = 5 + 37 * seed
    equity = random_equity(seed, n)
    returns = np.diff(equity, prepend=100.0) / np.concatenate([[100.0], equity[:-1]])
    found = report(equity)
    sd = returns.std(ddof=1)
    g1 = ((returns - returns.mean()) ** 3).mean() / returns.std() ** 3
    g2 = ((returns - returns.mean()) ** 4).mean() / returns.std() ** 4 - 3
    low, high = np.quantile(returns, [0.05, 0.95])
    peak = np.maximum(np.maximum.accumulate(equity), 100.0)
    expected = {
        "volatility": sd * sqrt(365),
        "sharpe": returns.mean() / sd * sqrt(365),
        "sortino": returns.mean() / sqrt((np.minimum(returns, 0) ** 2).mean()) * sqrt(365),
        "omega": np.maximum(returns, 0).sum() / np.maximum(-returns, 0).sum(),
        "max_drawdown": (1 - equity / peak).max(),
        "ulcer_index": sqrt(((1 - equity / peak) ** 2).mean()),
        "recovery_factor": (equity[-1] - 100) / (peak - equity).max(),
        "cagr": (equity[-1] / 100) ** (365 / n) - 1,
        "value_at_risk_95": -low,
        "conditional_value_at_risk_95": -returns[returns <= low].mean(),
        "tail_ratio": abs(high) / abs(low),
        "skew": sqrt(n * (n - 1)) / (n - 2) * g1,
        "kurtosis": (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * g2 + 6),
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_days_of_random_times_are_those_of_a_calendar(seed: int) -> None:
    source = np.random.default_rng(seed)
    time_ms = np.cumsum(source.choice([1, 1, 1, 2, 40], 900)) * HOUR_MS
    equity = random_equity(seed, 900)
    last_of_day = dict(zip(time_ms.astype("datetime64[ms]").astype("datetime64[D]").tolist(), equity.tolist(), strict=True))
    daily = list(last_of_day.values())
    found, expected = report(equity, time_ms=time_ms, timeframe_ms=HOUR_MS), report(daily)
    for name in ("volatility", "sharpe", "sortino", "omega", "average_drawdown", "ulcer_index", "value_at_risk_95", "skew", "kurtosis"):
        assert getattr(found, name) == getattr(expected, name)
    peak = np.maximum(np.maximum.accumulate(equity), 100.0)
    assert found.max_drawdown == ((peak - equity) / peak).max()


def test_sums_run_from_left_to_right() -> None:
    found = report([100.0], rows(trade(1e16), trade(1.0), trade(-1e16)))
    assert found.long.net_profit == 0.0


def test_names_list_every_metric_in_the_order_of_the_struct() -> None:
    assert (len(RUN_NAMES), len(NAMES)) == (47, 89)
    assert NAMES[:4] == ("final_equity", "net_profit", "total_return", "cagr")
    assert NAMES[42:49] == (
        *("alpha_over_buy_and_hold", "beta", "alpha", "tracking_error", "information_ratio"),
        *("long_trades", "long_wins"),
    )
    assert NAMES[-1] == "short_kelly"
    values = flat(FIVE_DAYS, TRADES)
    found = Metrics.from_values(values)
    for name, value in zip(NAMES, values, strict=True):
        side, _, rest = name.partition("_")
        field = getattr(getattr(found, side), rest) if side in ("long", "short") else getattr(found, name)
        assert field == (None if math.isnan(value) else value), name
        assert isinstance(field, int) == (name in COUNTS or rest in COUNTS), name


def test_one_bit_pattern_stands_for_undefined_and_no_zero_is_negative() -> None:
    values = flat([100.0, 100.0], rows(trade(0.0), trade(-0.0)), traded_notional=-0.0)
    patterns = [struct.pack("<d", value) for value in values]
    assert {pattern for pattern, value in zip(patterns, values, strict=True) if math.isnan(value)} == {bytes.fromhex("000000000000f87f")}
    assert struct.pack("<d", -0.0) not in patterns


def test_metrics_survive_json() -> None:
    found = report(FIVE_DAYS, TRADES)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Metrics) == found


def test_values_of_another_length_are_rejected() -> None:
    with pytest.raises(ValueError, match="expected 89 values in the order of NAMES, got 3"):
        Metrics.from_values([1.0, 2.0, 3.0])


def test_the_schema_describes_every_metric() -> None:
    definitions = msgspec.json.schema(Metrics)["$defs"]
    for struct_name in ("Metrics", "TradeMetrics"):
        for name, field in definitions[struct_name]["properties"].items():
            assert len(field["description"]) > 10, name


def test_equity_may_be_a_list_or_an_array() -> None:
    assert np.array(flat(FIVE_DAYS)).tobytes() == np.array(flat(np.array(FIVE_DAYS))).tobytes()
