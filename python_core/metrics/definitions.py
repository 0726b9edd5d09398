"""Metrics of a run, their definitions and sources.

Conventions of the descriptions:

- Money is in the quote currency, a fraction of 0.01 is 1 %, and a drawdown is positive.
- An undefined value (division by zero, too few returns or trades, overflow) is None, never 0, NaN or infinity. Counts and sums over no
  trades are 0.
- *Periods* are UTC days that have bars, or the bars themselves if they last a day or longer. For the calendars `exchange` and `fx` the hours
  of Saturday and Sunday belong to Monday. A period's equity is that at the close of its last bar. Its return is
  r = equity / equity of the period before - 1; the first return is relative to the capital. Returns end with the first period whose equity
  is 0 or less. If a return overflows, all metrics of returns are undefined.
- A is the number of periods in a year: 365 for calendar `crypto`, 252 for `exchange`, 260 for `fx`. Bars of 3 days have a third of it, weekly
  bars 365 / 7 for `crypto` and else a fifth, monthly bars 12.
- rf is the risk-free rate of a period: (1 + risk_free) ** (1 / A) - 1.
- b are the returns of the benchmark over the same periods: the closes of the run's own bars, or a given series, whose value for a period is
  the last at or before the end of the period's last bar. The first is relative to the first open, or to the last value at or before it.
- sd is the sample standard deviation (n - 1); m2, m3 and m4 are sums of powers of the deviations from the mean.
- A *win* is a trade with net > 0, a *loss* one with net < 0. A trade with net = 0 is neither, and ends a streak.

Sources (a metric without one is defined by its formula alone):

- Kelly 1956, "A new interpretation of information rate", Bell System Technical Journal 35(4)
- Sharpe 1964, "Capital asset prices", Journal of Finance 19(3)
- Jensen 1968, "The performance of mutual funds in the period 1945-1964", Journal of Finance 23(2)
- Martin and McCann 1989, "The Investor's Guide to Fidelity Funds"
- Young 1991, "Calmar ratio: a smoother tool", Futures 20(1)
- Sharpe 1994, "The Sharpe ratio", Journal of Portfolio Management 21(1)
- Sortino and Price 1994, "Performance measurement in a downside risk framework", Journal of Investing 3(3)
- Hyndman and Fan 1996, "Sample quantiles in statistical packages", The American Statistician 50(4)
- Joanes and Gill 1998, "Comparing measures of sample skewness and kurtosis", The Statistician 47(1)
- Grinold and Kahn 1999, "Active Portfolio Management"
- Rockafellar and Uryasev 2000, "Optimization of conditional value-at-risk", Journal of Risk 2(3)
- Keating and Shadwick 2002, "A universal performance measure", Journal of Performance Measurement 6(3)
- Tharp 2008, "Definitive Guide to Position Sizing"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

_Value = float | None
_TradeCount = Annotated[int, Meta(ge=0, description="Number of closed trades; every partial exit counts as one.")]
_Wins = Annotated[int, Meta(ge=0, description="Number of trades with net > 0.")]
_Losses = Annotated[int, Meta(ge=0, description="Number of trades with net < 0.")]
_WinRate = Annotated[_Value, Meta(description="wins / trades; fraction.")]
_ProfitFactor = Annotated[_Value, Meta(description="Sum of net of wins / -(sum of net of losses); ratio.")]
_Expectancy = Annotated[_Value, Meta(description="Mean of net / (quantity * entry_price); fraction of the notional.")]
_AverageTrade = Annotated[_Value, Meta(description="Mean of net; money.")]
_AverageWin = Annotated[_Value, Meta(description="Mean of net of wins; money.")]
_AverageLoss = Annotated[_Value, Meta(description="Mean of net of losses; money, negative.")]
_PayoffRatio = Annotated[_Value, Meta(description="average_win / -average_loss; ratio.")]
_BestTrade = Annotated[_Value, Meta(description="Largest net of a trade; money.")]
_WorstTrade = Annotated[_Value, Meta(description="Smallest net of a trade; money.")]
_WinningStreak = Annotated[int, Meta(ge=0, description="Largest number of wins in a row, in the order of exits.")]
_LosingStreak = Annotated[int, Meta(ge=0, description="Largest number of losses in a row, in the order of exits.")]
_AverageBarsHeld = Annotated[_Value, Meta(description="Mean of exit_index - entry_index; bars of the data.")]
_FeesPaid = Annotated[_Value, Meta(description="Sum of fees of trades; money.")]
_FundingPaid = Annotated[_Value, Meta(description="Sum of funding of trades; money, negative when received.")]
_Liquidations = Annotated[int, Meta(ge=0, description="Number of trades closed by a liquidation.")]
_Sqn = Annotated[_Value, Meta(description="System quality number: sqrt(trades) * mean of net / sd of net; ratio (Tharp 2008).")]
_Kelly = Annotated[_Value, Meta(description="win_rate - (1 - win_rate) / payoff_ratio; fraction of equity to risk (Kelly 1956).")]


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
    """Metrics of a run; one that is undefined has no value.

    Money is in the quote currency. Returns r are those of periods: UTC days, or bars of a day or longer. A is the number of periods in
    a year (365 for the calendar `crypto`, 252 for `exchange`, 260 for `fx`), rf the risk-free rate of a period,
    (1 + risk_free) ** (1 / A) - 1, and sd the sample standard deviation. b are the benchmark's returns over the same periods.
    """

    final_equity: Annotated[_Value, Meta(description="Equity at the close of the last bar; money.")]
    net_profit: Annotated[_Value, Meta(description="final_equity - capital; money.")]
    total_return: Annotated[_Value, Meta(description="net_profit / capital; fraction.")]
    cagr: Annotated[
        _Value,
        Meta(description="(final_equity / capital) ** (1 / years) - 1, with years of 365 days; fraction per year, -1 if nothing is left."),
    ]
    volatility: Annotated[_Value, Meta(description="sd of returns * sqrt(A); fraction per year.")]
    sharpe: Annotated[_Value, Meta(description="(mean of returns - rf) / sd of returns * sqrt(A); ratio (Sharpe 1994).")]
    sortino: Annotated[
        _Value,
        Meta(
            description="(mean of returns - rf) / sqrt(mean of min(r - rf, 0) ** 2) * sqrt(A), target rf; ratio (Sortino and Price 1994)."
        ),
    ]
    calmar: Annotated[_Value, Meta(description="cagr / max_drawdown, over the whole run; ratio (Young 1991).")]
    omega: Annotated[
        _Value, Meta(description="Sum of max(r - rf, 0) / sum of max(rf - r, 0), threshold rf; ratio (Keating and Shadwick 2002).")
    ]
    max_drawdown: Annotated[
        _Value,
        Meta(description="Largest (peak - equity) / peak over bars, starting from the capital; fraction, above 1 for negative equity."),
    ]
    max_drawdown_duration: Annotated[
        _Value, Meta(description="Longest time from a peak of equity (or the first bar) to a later bar below it; days.")
    ]
    average_drawdown: Annotated[
        _Value,
        Meta(description="Mean of the deepest drawdowns of all unbroken runs of periods below the running peak; fraction."),
    ]
    ulcer_index: Annotated[_Value, Meta(description="sqrt(mean of squared drawdowns of periods); fraction (Martin and McCann 1989).")]
    recovery_factor: Annotated[_Value, Meta(description="net_profit / largest (peak - equity) over bars, both in money.")]
    value_at_risk_95: Annotated[
        _Value,
        Meta(description="-(5 % quantile of returns), interpolated linearly; fraction per period (Hyndman and Fan 1996, type 7)."),
    ]
    conditional_value_at_risk_95: Annotated[
        _Value, Meta(description="-(mean of the returns at or below the 5 % quantile); fraction per period (Rockafellar and Uryasev 2000).")
    ]
    tail_ratio: Annotated[_Value, Meta(description="|95 % quantile of returns| / |5 % quantile of returns|; ratio.")]
    skew: Annotated[
        _Value, Meta(description="G1 of returns: n sqrt(n - 1) / (n - 2) * m3 / m2 ** 1.5, n >= 3; ratio (Joanes and Gill 1998).")
    ]
    kurtosis: Annotated[
        _Value,
        Meta(
            description="Excess kurtosis, G2 of returns: (n (n + 1) (n - 1) m4 / m2 ** 2 - 3 (n - 1) ** 2) / ((n - 2) (n - 3)), n >= 4; ratio (Joanes and Gill 1998)."
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
    exposure: Annotated[_Value, Meta(description="Bars in which a position was open / bars; fraction.")]
    turnover: Annotated[_Value, Meta(description="Notional of all fills / capital; multiple of the capital.")]
    fees_paid: _FeesPaid
    funding_paid: _FundingPaid
    liquidations: _Liquidations
    sqn: _Sqn
    kelly: _Kelly
    buy_and_hold_return: Annotated[_Value, Meta(description="Last close / first open - 1, without costs; fraction.")]
    alpha_over_buy_and_hold: Annotated[_Value, Meta(description="total_return - buy_and_hold_return; fraction.")]
    beta: Annotated[
        _Value,
        Meta(
            description="Sum of (r - mean of r) (b - mean of b) / sum of (b - mean of b) ** 2, relative to the benchmark; ratio (Sharpe 1964)."
        ),
    ]
    alpha: Annotated[_Value, Meta(description="(mean of r - rf - beta * (mean of b - rf)) * A; fraction per year (Jensen 1968).")]
    tracking_error: Annotated[_Value, Meta(description="sd of r - b, times sqrt(A); fraction per year (Grinold and Kahn 1999).")]
    information_ratio: Annotated[_Value, Meta(description="Mean of r - b / sd of r - b * sqrt(A); ratio (Grinold and Kahn 1999).")]
    long: Annotated[TradeMetrics, Meta(description="Metrics of the long trades.")]
    short: Annotated[TradeMetrics, Meta(description="Metrics of the short trades.")]

    @classmethod
    def from_values(cls, values: Sequence[float]) -> Metrics:
        """Metrics from one value for each of `NAMES`, NaN where undefined."""
        return cls.from_row(nan_to_none(values))

    @classmethod
    def from_row(cls, values: list[Any]) -> Metrics:
        """Metrics from one value for each of `NAMES`, None where undefined and counts as int."""
        long, short = len(RUN_NAMES), len(RUN_NAMES) + len(TRADE_NAMES)
        # By position, as by name it takes three times as long, most of the time of a run over a thousand bars.
        fields = [*values[:long], TradeMetrics(*values[long:short]), TradeMetrics(*values[short:])]
        return cls(*fields)


TRADE_NAMES: Final = TradeMetrics.__struct_fields__
RUN_NAMES: Final = tuple(name for name in Metrics.__struct_fields__ if name not in ("long", "short"))
# The order of flat rows: the run's metrics, then those of long and of short trades.
NAMES: Final = RUN_NAMES + tuple(f"{side}_{name}" for side in ("long", "short") for name in TRADE_NAMES)
COUNTS: Final = frozenset({"trades", "wins", "losses", "longest_winning_streak", "longest_losing_streak", "liquidations"})
_COUNT_POSITIONS: Final = tuple(i for i, name in enumerate(NAMES) if name.removeprefix("long_").removeprefix("short_") in COUNTS)


def nan_to_none(values: Sequence[float]) -> list[float | None]:
    """A flat row with None for NaN, and counts as int."""
    if len(values) != len(NAMES):
        raise ValueError(f"expected {len(NAMES)} values in the order of NAMES, got {len(values)}")
    row: list[Any] = [value if value == value else None for value in values]  # NaN differs from itself
    for i in _COUNT_POSITIONS:
        if row[i] is not None:  # a sweep computes only what it is asked for
            row[i] = int(row[i])
    return row
