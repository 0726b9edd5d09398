"""Metrics of a run: what each means, and how the reference computes it.

Conventions the descriptions rely on:

- Money is in the quote currency, a fraction of 0.01 is 1 %, and a drawdown is positive.
- An undefined value (a division by zero, too few returns or trades, an overflow) is None, never 0, NaN or infinity; counts and sums
  over no trades are 0.
- *Periods* are UTC days that have bars, or the bars themselves if they last a day or longer. The equity of a period is that at the close of
  its last bar, and its return r = equity / equity of the period before - 1, the first against the capital. After the first period without
  equity no more returns are taken; a return that overflows makes all metrics of returns undefined.
- A is the number of periods in a year: 365 for calendar `crypto`, 252 for `exchange`; 365 / 7 and 252 / 5 for weekly bars.
- sd is the sample standard deviation (n - 1), m2, m3 and m4 are sums of powers of the deviations from the mean.
- A *win* is a trade with net > 0, a *loss* one with net < 0; a trade at exactly 0 is neither and ends a streak.

Sums run from left to right in float64, so that the compiled engine has the same bits; `sum`, `math.fsum` and NumPy's reductions add otherwise.

Sources; where none is named, the formula is the whole definition:

- Kelly 1956, "A new interpretation of information rate", Bell System Technical Journal 35(4)
- Martin and McCann 1989, "The Investor's Guide to Fidelity Funds"
- Young 1991, "Calmar ratio: a smoother tool", Futures 20(1)
- Sharpe 1994, "The Sharpe ratio", Journal of Portfolio Management 21(1)
- Sortino and Price 1994, "Performance measurement in a downside risk framework", Journal of Investing 3(3)
- Hyndman and Fan 1996, "Sample quantiles in statistical packages", The American Statistician 50(4)
- Joanes and Gill 1998, "Comparing measures of sample skewness and kurtosis", The Statistician 47(1)
- Rockafellar and Uryasev 2000, "Optimization of conditional value-at-risk", Journal of Risk 2(3)
- Keating and Shadwick 2002, "A universal performance measure", Journal of Performance Measurement 6(3)
- Tharp 2008, "Definitive Guide to Position Sizing"
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.data.timeframes import DAY_MS, WEEK_MS
from python_core.execution import Calendar
from python_core.numerics.elementary import power
from python_core.trades import LIQUIDATION

_Value = float | None
_TradeCount = Annotated[int, Meta(ge=0, description="Closed trades; every partial exit is one.")]
_Wins = Annotated[int, Meta(ge=0, description="Trades with net > 0.")]
_Losses = Annotated[int, Meta(ge=0, description="Trades with net < 0.")]
_WinRate = Annotated[_Value, Meta(description="wins / trades; fraction.")]
_ProfitFactor = Annotated[_Value, Meta(description="Sum of net of wins / -(sum of net of losses).")]
_Expectancy = Annotated[_Value, Meta(description="Mean of net / (quantity * entry_price); fraction of the notional, per trade.")]
_AverageTrade = Annotated[_Value, Meta(description="Mean of net; money.")]
_AverageWin = Annotated[_Value, Meta(description="Mean of net of wins; money.")]
_AverageLoss = Annotated[_Value, Meta(description="Mean of net of losses; money, negative.")]
_PayoffRatio = Annotated[_Value, Meta(description="average_win / -average_loss.")]
_BestTrade = Annotated[_Value, Meta(description="Greatest net of a trade; money.")]
_WorstTrade = Annotated[_Value, Meta(description="Least net of a trade; money.")]
_WinningStreak = Annotated[int, Meta(ge=0, description="Most wins in a row, in the order of exits.")]
_LosingStreak = Annotated[int, Meta(ge=0, description="Most losses in a row, in the order of exits.")]
_AverageBarsHeld = Annotated[_Value, Meta(description="Mean of exit_index - entry_index; base bars.")]
_FeesPaid = Annotated[_Value, Meta(description="Sum of fees of trades; money.")]
_FundingPaid = Annotated[_Value, Meta(description="Sum of funding of trades; money, negative when received.")]
_Liquidations = Annotated[int, Meta(ge=0, description="Trades that ended in a liquidation.")]
_Sqn = Annotated[_Value, Meta(description="System quality number: sqrt(trades) * mean of net / sd of net (Tharp 2008).")]
_Kelly = Annotated[_Value, Meta(description="win_rate - (1 - win_rate) / payoff_ratio; fraction of equity to stake (Kelly 1956).")]


class TradeMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics of the trades of one side."""

    trades: _TradeCount
    wins: _Wins
    losses: _Losses
    win_rate: _WinRate
    net_profit: Annotated[_Value, Meta(description="Sum of net; money.")]
    profit_factor: _ProfitFactor
    expectancy: _Expectancy
    average_trade: _AverageTrade
    average_win: _AverageWin
    average_loss: _AverageLoss
    payoff_ratio: _PayoffRatio
    best_trade: _BestTrade
    worst_trade: _WorstTrade
    longest_winning_streak: _WinningStreak
    longest_losing_streak: _LosingStreak
    average_bars_held: _AverageBarsHeld
    fees_paid: _FeesPaid
    funding_paid: _FundingPaid
    liquidations: _Liquidations
    sqn: _Sqn
    kelly: _Kelly


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics of a run; the module's docstring says what periods, returns, A and sd are, and when a value is None."""

    final_equity: Annotated[_Value, Meta(description="Equity at the close of the last bar; money.")]
    net_profit: Annotated[_Value, Meta(description="final_equity - capital; money.")]
    total_return: Annotated[_Value, Meta(description="net_profit / capital; fraction.")]
    cagr: Annotated[
        _Value,
        Meta(description="(final_equity / capital) ** (1 / years) - 1, in years of 365 days; fraction a year, -1 when nothing is left."),
    ]
    volatility: Annotated[_Value, Meta(description="sd of returns * sqrt(A); fraction a year.")]
    sharpe: Annotated[_Value, Meta(description="Mean of returns / sd of returns * sqrt(A), with no risk-free rate (Sharpe 1994).")]
    sortino: Annotated[
        _Value, Meta(description="Mean of returns / sqrt(mean of min(r, 0) ** 2) * sqrt(A), target 0 (Sortino and Price 1994).")
    ]
    calmar: Annotated[_Value, Meta(description="cagr / max_drawdown, over the whole run (Young 1991).")]
    omega: Annotated[_Value, Meta(description="Sum of max(r, 0) / sum of max(-r, 0), threshold 0 (Keating and Shadwick 2002).")]
    max_drawdown: Annotated[
        _Value, Meta(description="Greatest (peak - equity) / peak over bars, the peak starting at the capital; fraction, above 1 in debt.")
    ]
    max_drawdown_duration: Annotated[
        _Value, Meta(description="Longest time from a bar at its running peak (or the first bar) to a later bar below that peak; days.")
    ]
    average_drawdown: Annotated[
        _Value,
        Meta(description="Mean, over the unbroken runs of periods below the running peak, of the deepest drawdown of each; fraction."),
    ]
    ulcer_index: Annotated[_Value, Meta(description="sqrt(mean of squared drawdowns of periods); fraction (Martin and McCann 1989).")]
    recovery_factor: Annotated[_Value, Meta(description="net_profit / greatest (peak - equity) over bars, both in money.")]
    value_at_risk_95: Annotated[
        _Value,
        Meta(description="-(5 % quantile of returns), linear between order statistics; fraction a period (Hyndman and Fan 1996, type 7)."),
    ]
    conditional_value_at_risk_95: Annotated[
        _Value, Meta(description="-(mean of the returns at or below the 5 % quantile); fraction a period (Rockafellar and Uryasev 2000).")
    ]
    tail_ratio: Annotated[_Value, Meta(description="|95 % quantile of returns| / |5 % quantile of returns|.")]
    skew: Annotated[_Value, Meta(description="G1 of returns: n sqrt(n - 1) / (n - 2) * m3 / m2 ** 1.5, n >= 3 (Joanes and Gill 1998).")]
    kurtosis: Annotated[
        _Value,
        Meta(
            description="Excess, G2 of returns: (n (n + 1) (n - 1) m4 / m2 ** 2 - 3 (n - 1) ** 2) / ((n - 2) (n - 3)), n >= 4 (Joanes and Gill 1998)."
        ),
    ]
    trades: _TradeCount
    wins: _Wins
    losses: _Losses
    win_rate: _WinRate
    profit_factor: _ProfitFactor
    expectancy: _Expectancy
    average_trade: _AverageTrade
    average_win: _AverageWin
    average_loss: _AverageLoss
    payoff_ratio: _PayoffRatio
    best_trade: _BestTrade
    worst_trade: _WorstTrade
    longest_winning_streak: _WinningStreak
    longest_losing_streak: _LosingStreak
    average_bars_held: _AverageBarsHeld
    exposure: Annotated[_Value, Meta(description="Bars with a position / bars; fraction.")]
    turnover: Annotated[_Value, Meta(description="Notional of all fills / capital; multiple of the capital.")]
    fees_paid: _FeesPaid
    funding_paid: _FundingPaid
    liquidations: _Liquidations
    sqn: _Sqn
    kelly: _Kelly
    buy_and_hold_return: Annotated[_Value, Meta(description="Last close / first open - 1; fraction, without costs.")]
    alpha_over_buy_and_hold: Annotated[_Value, Meta(description="total_return - buy_and_hold_return; fraction.")]
    long: Annotated[TradeMetrics, Meta(description="Of the long trades alone.")]
    short: Annotated[TradeMetrics, Meta(description="Of the short trades alone.")]

    @classmethod
    def from_values(cls, values: Sequence[float]) -> Metrics:
        """The metrics whose flat form, as `compute` gives it, is `values`."""
        return cls.from_known(known(values))

    @classmethod
    def from_known(cls, values: list[Any]) -> Metrics:
        """The metrics whose flat form, as `known` gives it, is `values`."""
        long, short = len(RUN_NAMES), len(RUN_NAMES) + len(TRADE_NAMES)
        # By position: names take three times as long, most of a call of a thousand bars.
        fields = [*values[:long], TradeMetrics(*values[long:short]), TradeMetrics(*values[short:])]
        return cls(*fields)


TRADE_NAMES: Final = TradeMetrics.__struct_fields__
RUN_NAMES: Final = tuple(name for name in Metrics.__struct_fields__ if name not in ("long", "short"))
# The flat form: the run's metrics, then those of long and of short trades.
NAMES: Final = RUN_NAMES + tuple(f"{side}_{name}" for side in ("long", "short") for name in TRADE_NAMES)
COUNTS: Final = frozenset({"trades", "wins", "losses", "longest_winning_streak", "longest_losing_streak", "liquidations"})

_COUNT_POSITIONS: Final = tuple(i for i, name in enumerate(NAMES) if name.removeprefix("long_").removeprefix("short_") in COUNTS)
_YEAR_MS: Final = 365 * DAY_MS
_TRADE_COLUMNS: Final = ("entry_index", "exit_index", "side", "reason", "quantity", "entry_price", "fees", "funding", "net")
_Trade = tuple[int, int, int, int, float, float, float, float, float]


def known(values: Sequence[float]) -> list[float | None]:
    """The flat form with None where a metric is undefined, and whole numbers where it counts."""
    if len(values) != len(NAMES):
        raise ValueError(f"{len(values)} values are no metrics: there must be {len(NAMES)}, in the order of NAMES")
    found: list[Any] = [value if value == value else None for value in values]  # NaN isn't equal to itself
    for i in _COUNT_POSITIONS:
        found[i] = int(found[i])
    return found


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
    last_close: float,
) -> list[float]:
    """The metrics of a run in the order of `NAMES`, counts as floats and NaN where undefined.

    Args:
        equity: float64[n], money at each bar's close, n >= 1.
        time_ms: int64[n], the bars' open times.
        trades: structured array with the columns of `trades.TRADE_DTYPE`, in the order of exits.
        exposed_bars: bars with a position.
        traded_notional: money, over all fills.
        first_open, last_close: prices of the first and the last bar.
    """
    curve, time = np.asarray(equity, dtype=np.float64), np.asarray(time_ms, dtype=np.int64)
    final = float(curve[-1])
    years = float(int(time[-1]) - int(time[0]) + timeframe_ms) / float(_YEAR_MS)
    held = _ratio(last_close, first_open) - 1.0
    deepest, deepest_money, longest_ms = _drawdown(curve, time, capital)
    rows: list[_Trade] = list(zip(*(trades[name].tolist() for name in _TRADE_COLUMNS), strict=True))
    values = _trade_values(rows)
    for side, sign in (("long", 1), ("short", -1)):
        values |= {f"{side}_{name}": value for name, value in _trade_values([row for row in rows if row[2] == sign]).items()}
    values |= _risk_values(_period_equity(curve, time, timeframe_ms), capital, _periods_per_year(timeframe_ms, calendar))
    values |= {
        "final_equity": final,
        "net_profit": final - capital,
        "total_return": _ratio(final - capital, capital),
        "cagr": -1.0 if final <= 0.0 else power(final / capital, 1.0 / years) - 1.0,
        "max_drawdown": deepest,
        "max_drawdown_duration": float(longest_ms) / float(DAY_MS),
        "recovery_factor": _ratio(final - capital, deepest_money),
        "exposure": _ratio(float(exposed_bars), float(len(curve))),
        "turnover": _ratio(traded_notional, capital),
        "buy_and_hold_return": held,
    }
    values["calmar"] = _ratio(values["cagr"], deepest)
    values["alpha_over_buy_and_hold"] = values["total_return"] - held
    # Adding 0 makes -0 a 0.
    return [values[name] + 0.0 if math.isfinite(values[name]) else math.nan for name in NAMES]


def _drawdown(curve: npt.NDArray[np.float64], time: npt.NDArray[np.int64], capital: float) -> tuple[float, float, int]:
    """Greatest drawdown over bars as a fraction and in money, and the longest time below a peak; only maxima, in which order plays no part."""
    with np.errstate(all="ignore"):
        peak = np.fmax(np.fmax.accumulate(curve), capital)
        below = peak - curve
        deepest = float(np.fmax.reduce(below / peak, initial=0.0))
        deepest_money = float(np.fmax.reduce(below, initial=0.0))
    at_peak = curve >= peak
    last_peak = np.maximum.accumulate(np.where(at_peak, np.arange(len(curve)), 0))
    longest_ms = int(np.where(at_peak, 0, time - time[last_peak]).max())
    return deepest, deepest_money, longest_ms


def _period_equity(curve: npt.NDArray[np.float64], time: npt.NDArray[np.int64], timeframe_ms: int) -> list[float]:
    if timeframe_ms < DAY_MS:
        day = time // DAY_MS
        curve = curve[np.append(day[1:] != day[:-1], True)]
    values: list[float] = curve.tolist()
    return values if all(math.isfinite(value) for value in values) else []


def _periods_per_year(timeframe_ms: int, calendar: Calendar) -> float:
    if timeframe_ms < WEEK_MS:
        return 365.0 if calendar == "crypto" else 252.0
    return 365.0 / 7.0 if calendar == "crypto" else 252.0 / 5.0


def _returns(equity: list[float], capital: float) -> list[float]:
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


def _risk_values(equity: list[float], capital: float, periods_per_year: float) -> dict[str, float]:
    """Metrics of the periods whose equity is given."""
    returns = _returns(equity, capital)
    n, annual = float(len(returns)), math.sqrt(periods_per_year)
    mean, sd = _mean(returns), _sd(returns)
    downside = math.sqrt(_mean([r * r if r < 0.0 else 0.0 for r in returns]))
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
        "sharpe": _ratio(mean, sd) * annual,
        "sortino": _ratio(mean, downside) * annual,
        "omega": _ratio(_sum(r for r in returns if r > 0.0), _sum(-r for r in returns if r < 0.0)),
        "average_drawdown": average_drawdown,
        "ulcer_index": ulcer_index,
        "value_at_risk_95": -low,
        "conditional_value_at_risk_95": -_mean([r for r in ordered if r <= low]),
        "tail_ratio": _ratio(abs(high), abs(low)),
        "skew": skew,
        "kurtosis": kurtosis,
    }


def _period_drawdowns(equity: list[float], capital: float) -> tuple[float, float]:
    """Average drawdown and ulcer index."""
    peak, drawdowns = capital, []
    for now in equity:
        peak = max(peak, now)
        drawdowns.append((peak - now) / peak)
    deepest = [max(run) for below, run in groupby(drawdowns, key=lambda drawdown: drawdown > 0.0) if below]
    return _mean(deepest), math.sqrt(_mean([drawdown * drawdown for drawdown in drawdowns]))


def _quantile(ordered: list[float], share: float) -> float:
    if not ordered:
        return math.nan
    position = float(len(ordered) - 1) * share
    i = int(position)
    above = ordered[min(i + 1, len(ordered) - 1)]
    return ordered[i] + (above - ordered[i]) * (position - float(i))


def _trade_values(rows: list[_Trade]) -> dict[str, float]:
    """Metrics of trades, by the names of `TradeMetrics`; net_profit is that of the trades."""
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
