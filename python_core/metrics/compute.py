"""Metrics as the reference computes them. The twin is `core_rs/src/metrics`.

Sums run from left to right in float64, as in the compiled engine; `sum`, `math.fsum` and NumPy's reductions give other bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from python_core.data.timeframes import DAY_MS, bar_end
from python_core.execution import Calendar
from python_core.metrics.benchmark import Benchmark, benchmark_returns
from python_core.metrics.definitions import NAMES
from python_core.metrics.periods import period_ends, periods_per_year
from python_core.numerics.elementary import power
from python_core.trades import LIQUIDATION

_YEAR_MS: Final = 365 * DAY_MS
_TRADE_COLUMNS: Final = ("entry_index", "exit_index", "side", "reason", "quantity", "entry_price", "fees", "funding", "net")
_Trade = tuple[int, int, int, int, float, float, float, float, float]


def compute(
    *,
    equity: npt.ArrayLike,
    time_ms: npt.ArrayLike,
    timeframe_ms: int,
    trades: npt.NDArray[np.void],
    capital: float,
    calendar: Calendar,
    exposed_bars: int,
    traded_notional: float,
    first_open: float,
    close: npt.ArrayLike,
    risk_free: float,
    benchmark: Benchmark | None,
) -> list[float]:
    """Metrics of a run in the order of `NAMES`, counts as floats and NaN where undefined.

    Args:
        equity: float64[n], money at each bar's close, n >= 1.
        time_ms: int64[n], the bars' open times.
        trades: structured array with the columns of `trades.TRADE_DTYPE`, in the order of exits.
        exposed_bars: number of bars with a position.
        traded_notional: sum over all fills, money.
        first_open: of the first bar.
        close: float64[n], the bars' closes.
        risk_free: fraction per year.
        benchmark: None for the closes.
    """
    curve, time = np.asarray(equity, dtype=np.float64), np.asarray(time_ms, dtype=np.int64)
    closes, final_equity = np.asarray(close, dtype=np.float64), float(curve[-1])
    years = float(int(bar_end(time[-1:], timeframe_ms)[0]) - int(time[0])) / float(_YEAR_MS)
    buy_and_hold = _ratio(float(closes[-1]), first_open) - 1.0
    deepest, deepest_money, longest_ms = _drawdown(curve, time, capital)
    rows: list[_Trade] = list(zip(*(trades[name].tolist() for name in _TRADE_COLUMNS), strict=True))
    values = _trade_values(rows)
    for side, sign in (("long", 1), ("short", -1)):
        values |= {f"{side}_{name}": value for name, value in _trade_values([row for row in rows if row[2] == sign]).items()}
    ends = period_ends(time, timeframe_ms, calendar)
    values |= _return_values(
        _finite(curve[ends].tolist()),
        capital,
        periods_per_year(timeframe_ms, calendar),
        risk_free,
        benchmark_returns(benchmark, time, timeframe_ms, ends, first_open, closes),
    )
    values |= {
        "final_equity": final_equity,
        "net_profit": final_equity - capital,
        "total_return": _ratio(final_equity - capital, capital),
        "cagr": -1.0 if final_equity <= 0.0 else power(final_equity / capital, 1.0 / years) - 1.0,
        "max_drawdown": deepest,
        "max_drawdown_duration": float(longest_ms) / float(DAY_MS),
        "recovery_factor": _ratio(final_equity - capital, deepest_money),
        "exposure": _ratio(float(exposed_bars), float(len(curve))),
        "turnover": _ratio(traded_notional, capital),
        "buy_and_hold_return": buy_and_hold,
    }
    values["calmar"] = _ratio(values["cagr"], deepest)
    values["alpha_over_buy_and_hold"] = values["total_return"] - buy_and_hold
    # Adding 0 turns -0 into 0.
    return [values[name] + 0.0 if math.isfinite(values[name]) else math.nan for name in NAMES]


def _drawdown(curve: npt.NDArray[np.float64], time: npt.NDArray[np.int64], capital: float) -> tuple[float, float, int]:
    """Largest drawdown over bars as a fraction and in money, and the longest time below a peak in milliseconds.

    NumPy's reductions are fine here: the order of operands doesn't change a maximum.
    """
    with np.errstate(all="ignore"):
        peak = np.fmax(np.fmax.accumulate(curve), capital)
        below = peak - curve
        deepest = float(np.fmax.reduce(below / peak, initial=0.0))
        deepest_money = float(np.fmax.reduce(below, initial=0.0))
    at_peak = curve >= peak
    last_peak = np.maximum.accumulate(np.where(at_peak, np.arange(len(curve)), 0))
    longest_ms = int(np.where(at_peak, 0, time - time[last_peak]).max())
    return deepest, deepest_money, longest_ms


def _finite(equity: list[float]) -> list[float]:
    """Equity at the ends of periods; empty if it overflowed, which leaves metrics of returns undefined."""
    return equity if all(math.isfinite(value) for value in equity) else []


def _returns(equity: list[float], capital: float) -> list[float]:
    """Return of each period up to the first without equity; empty if one overflowed."""
    returns, before = [], capital
    for now in equity:
        r = now / before - 1.0
        if not math.isfinite(r):
            return []
        returns.append(r)
        if now <= 0.0:
            break
        before = now
    return returns


def _return_values(equity: list[float], capital: float, per_year: float, risk_free: float, benchmark: list[float]) -> dict[str, float]:
    """Metrics of returns, from equity at the ends of periods and the benchmark's returns."""
    returns = _returns(equity, capital)
    n, annual = float(len(returns)), math.sqrt(per_year)
    rate = 0.0 if risk_free == 0.0 else power(1.0 + risk_free, 1.0 / per_year) - 1.0
    mean, sd = _mean(returns), _sd(returns)
    excess = [r - rate for r in returns]
    downside = math.sqrt(_mean([x * x if x < 0.0 else 0.0 for x in excess]))
    deviations = [r - mean for r in returns]
    m2 = _sum(d * d for d in deviations)
    m3 = _sum(d * d * d for d in deviations)
    m4 = _sum(d * d * (d * d) for d in deviations)
    skew = kurtosis = math.nan
    if n >= 3.0:
        skew = n * math.sqrt(n - 1.0) / (n - 2.0) * _ratio(m3, m2 * math.sqrt(m2))
    if n >= 4.0:
        scale = (n - 2.0) * (n - 3.0)
        kurtosis = n * (n + 1.0) * (n - 1.0) / scale * _ratio(m4, m2 * m2) - 3.0 * (n - 1.0) * (n - 1.0) / scale
    ordered = sorted(returns)
    low, high = _quantile(ordered, 0.05), _quantile(ordered, 0.95)
    average_drawdown, ulcer_index = _period_drawdowns(equity, capital)
    return {
        "volatility": sd * annual,
        "sharpe": _ratio(mean - rate, sd) * annual,
        "sortino": _ratio(mean - rate, downside) * annual,
        "omega": _ratio(_sum(x for x in excess if x > 0.0), _sum(-x for x in excess if x < 0.0)),
        "average_drawdown": average_drawdown,
        "ulcer_index": ulcer_index,
        "value_at_risk_95": -low,
        "conditional_value_at_risk_95": -_mean([r for r in ordered if r <= low]),
        "tail_ratio": _ratio(abs(high), abs(low)),
        "skew": skew,
        "kurtosis": kurtosis,
        **_benchmark_values(returns, benchmark[: len(returns)], rate, per_year),
    }


def _benchmark_values(returns: list[float], benchmark: list[float], rate: float, per_year: float) -> dict[str, float]:
    """Metrics of returns and those of the benchmark over the same periods; `rate` is the risk-free rate of a period."""
    mean, benchmark_mean = _mean(returns), _mean(benchmark)
    products = _sum((r - mean) * (b - benchmark_mean) for r, b in zip(returns, benchmark, strict=True))
    squares = _sum((b - benchmark_mean) * (b - benchmark_mean) for b in benchmark)
    beta = _ratio(products, squares)
    active = [r - b for r, b in zip(returns, benchmark, strict=True)]
    annual = math.sqrt(per_year)
    return {
        "beta": beta,
        "alpha": (mean - rate - beta * (benchmark_mean - rate)) * per_year,
        "tracking_error": _sd(active) * annual,
        "information_ratio": _ratio(_mean(active), _sd(active)) * annual,
    }


def _period_drawdowns(equity: list[float], capital: float) -> tuple[float, float]:
    """Average drawdown and ulcer index, from the equity of each period."""
    peak, drawdowns = capital, []
    for now in equity:
        peak = max(peak, now)
        drawdowns.append((peak - now) / peak)
    deepest = [max(run) for below, run in groupby(drawdowns, key=lambda drawdown: drawdown > 0.0) if below]
    return _mean(deepest), math.sqrt(_mean([drawdown * drawdown for drawdown in drawdowns]))


def _quantile(ordered: list[float], share: float) -> float:
    """Quantile of type 7 (Hyndman and Fan 1996): linear between the two values next to its position."""
    if not ordered:
        return math.nan
    position = float(len(ordered) - 1) * share
    i = int(position)
    above = ordered[min(i + 1, len(ordered) - 1)]
    return ordered[i] + (above - ordered[i]) * (position - float(i))


def _trade_values(rows: list[_Trade]) -> dict[str, float]:
    """Metrics of trades, by the names of `TradeMetrics`; here net_profit is the sum over the trades."""
    n = float(len(rows))
    net = [row[8] for row in rows]
    wins, losses = [x for x in net if x > 0.0], [x for x in net if x < 0.0]
    win_rate, average_win, average_loss = _ratio(float(len(wins)), n), _mean(wins), _mean(losses)
    payoff_ratio = _ratio(average_win, -average_loss)
    return {
        "trades": n,
        "wins": float(len(wins)),
        "losses": float(len(losses)),
        "win_rate": win_rate,
        "net_profit": _sum(net),
        "profit_factor": _ratio(_sum(wins), -_sum(losses)),
        "expectancy": _mean([_ratio(row[8], row[4] * row[5]) for row in rows]),
        "average_trade": _mean(net),
        "average_win": average_win,
        "average_loss": average_loss,
        "payoff_ratio": payoff_ratio,
        "best_trade": max((x for x in net if not math.isnan(x)), default=math.nan),
        "worst_trade": min((x for x in net if not math.isnan(x)), default=math.nan),
        "longest_winning_streak": _longest_streak(x > 0.0 for x in net),
        "longest_losing_streak": _longest_streak(x < 0.0 for x in net),
        "average_bars_held": _mean([float(row[1] - row[0]) for row in rows]),
        "fees_paid": _sum(row[6] for row in rows),
        "funding_paid": _sum(row[7] for row in rows),
        "liquidations": float(sum(row[3] == LIQUIDATION for row in rows)),
        "sqn": math.sqrt(n) * _ratio(_mean(net), _sd(net)),
        "kelly": win_rate - _ratio(1.0 - win_rate, payoff_ratio),
    }


def _longest_streak(hits: Iterable[bool]) -> float:
    longest = run = 0
    for hit in hits:
        run = run + 1 if hit else 0
        longest = max(longest, run)
    return float(longest)


def _sum(values: Iterable[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _mean(values: list[float]) -> float:
    return _ratio(_sum(values), float(len(values)))


def _sd(values: list[float]) -> float:
    mean = _mean(values)
    return math.sqrt(_sum((value - mean) * (value - mean) for value in values) / float(len(values) - 1)) if len(values) > 1 else math.nan


def _ratio(numerator: float, denominator: float) -> float:
    """A quotient, NaN where it is undefined."""
    return numerator / denominator if 0.0 < abs(denominator) < math.inf else math.nan
