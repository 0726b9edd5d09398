//! Metrics of a run: the twin of `python_core.metrics.compute`; `python_core.metrics.definitions` documents each of them.
//!
//! `DrawdownTracker` and `TradeSums` collect during the run what needs every bar or every trade; after that the report takes O(days +
//! trades).

mod benchmark;
mod periods;
mod ratio;
mod returns;
mod trades;

use crate::market::DAY_MS;
use crate::market::timeframe::bar_end_ms;
use crate::metrics::periods::periods_per_year;
use crate::metrics::ratio::ratio;
use crate::metrics::returns::return_values;
use crate::metrics::trades::{SIDE_VALUES, trade_values};
use crate::numerics::elementary::power;
use crate::simulation::account::Trader;
use crate::simulation::drawdown::MaxDrawdown;
use crate::simulation::execution::Calendar;
use crate::simulation::trade::Trade;

pub use benchmark::benchmark_returns;
pub use periods::Periods;
pub use trades::TradeSums;

/// The number of metrics: those of the run, of its long and of its short trades, in the order of `NAMES` in Python.
pub const VALUES: usize = 47 + 2 * SIDE_VALUES;

const YEAR_MS: i64 = 365 * DAY_MS;

#[derive(Clone, Copy, Debug)]
pub struct MetricsInput<'a> {
    pub final_equity: f64,
    pub bars: usize,
    /// From the open of the first bar to the close of the last one.
    pub span_ms: i64,
    pub timeframe_ms: i64,
    /// Equity at the ends of `Periods`. If it was not tracked, it is empty, and metrics of returns are undefined.
    pub periods: &'a [f64],
    /// Returns of the benchmark, one for each of `periods`.
    pub benchmark: &'a [f64],
    /// The trades behind `trade_sums`, in the order of exits; without them `sqn` is undefined.
    pub trades: Option<&'a [Trade]>,
    pub trade_sums: &'a TradeSums,
    pub drawdown: Option<MaxDrawdown>,
    pub capital: f64,
    pub calendar: Calendar,
    /// A fraction per year.
    pub risk_free: f64,
    pub exposed_bars: i64,
    /// Sum over all fills, in money.
    pub traded_notional: f64,
    pub first_open: f64,
    pub last_close: f64,
}

impl<'a> MetricsInput<'a> {
    /// Of a run that has ended; trades and drawdown are for the caller to add.
    pub fn new(trader: &Trader<'_>, trade_sums: &'a TradeSums, periods: &'a [f64], benchmark: &'a [f64]) -> Self {
        let Trader { market, execution, account, .. } = trader;
        let last = market.len() - 1;
        Self {
            final_equity: account.balance,
            bars: market.len(),
            span_ms: bar_end_ms(market.bars.time[last], market.timeframe_ms) - market.bars.time[0],
            timeframe_ms: market.timeframe_ms,
            periods,
            benchmark,
            trades: None,
            trade_sums,
            drawdown: None,
            capital: execution.initial_capital,
            calendar: execution.calendar,
            risk_free: execution.risk_free,
            exposed_bars: account.totals.exposed_bars,
            traded_notional: account.totals.traded_notional,
            first_open: market.bars.open[0],
            last_close: market.bars.close[last],
        }
    }
}

/// All metrics as floats; NaN where undefined.
pub fn compute(input: &MetricsInput) -> Vec<f64> {
    let final_equity = input.final_equity;
    let years = input.span_ms as f64 / YEAR_MS as f64;
    let drawdown = |part: fn(MaxDrawdown) -> f64| input.drawdown.map_or(f64::NAN, part);
    let net_profit = final_equity - input.capital;
    let total_return = ratio(net_profit, input.capital);
    let cagr = if final_equity <= 0.0 { -1.0 } else { power(final_equity / input.capital, 1.0 / years) - 1.0 };
    let buy_and_hold = ratio(input.last_close, input.first_open) - 1.0;
    let per_year = periods_per_year(input.timeframe_ms, input.calendar);
    let returns = return_values(input.periods, input.benchmark, input.capital, per_year, input.risk_free);
    let [all, long, short] = trade_values(input.trades, input.trade_sums);
    let mut values = Vec::with_capacity(VALUES);
    values.extend([
        final_equity,
        net_profit,
        total_return,
        cagr,
        returns.volatility,
        returns.sharpe,
        returns.sortino,
        ratio(cagr, drawdown(|max| max.fraction)),
        returns.omega,
        drawdown(|max| max.fraction),
        drawdown(|max| max.duration_ms as f64 / DAY_MS as f64),
        returns.average_drawdown,
        returns.ulcer_index,
        ratio(net_profit, drawdown(|max| max.money)),
        returns.value_at_risk_95,
        returns.conditional_value_at_risk_95,
        returns.tail_ratio,
        returns.skew,
        returns.kurtosis,
    ]);
    // The metrics of a side without net_profit, and with two more after average_bars_held.
    values.extend(&all[..4]);
    values.extend(&all[5..16]);
    values.extend([ratio(input.exposed_bars as f64, input.bars as f64), ratio(input.traded_notional, input.capital)]);
    values.extend(&all[16..]);
    values.extend([buy_and_hold, total_return - buy_and_hold]);
    values.extend([returns.beta, returns.alpha, returns.tracking_error, returns.information_ratio]);
    values.extend(long);
    values.extend(short);
    for value in &mut values {
        // Adding 0 turns -0 into 0, and every NaN gets the same bits.
        *value = if value.is_finite() { *value + 0.0 } else { f64::from_bits(0x7ff8_0000_0000_0000) };
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::drawdown::DrawdownTracker;
    use crate::simulation::trade::Reason;

    fn trade(side: i64, net: f64, reason: Reason) -> Trade {
        Trade {
            entry_time: 0,
            exit_time: 0,
            entry_index: 0,
            exit_index: 3,
            side,
            reason: reason as i64,
            quantity: 2.0,
            entry_price: 32.0,
            exit_price: 32.0,
            gross: net,
            fees: 1.0,
            funding: 0.5,
            net,
            mae: 0.0,
            mfe: 0.0,
        }
    }

    fn values(equity: &[f64], time: &[i64], timeframe_ms: i64, trades: &[Trade]) -> Vec<f64> {
        let (mut drawdown, mut sums) = (DrawdownTracker::new(100.0, time), TradeSums::default());
        drawdown.push(equity);
        trades.iter().for_each(|trade| sums.push(trade));
        let periods = Periods::new(time, timeframe_ms, Calendar::Crypto);
        compute(&MetricsInput {
            final_equity: equity[equity.len() - 1],
            bars: equity.len(),
            span_ms: time[time.len() - 1] - time[0] + timeframe_ms,
            timeframe_ms,
            periods: &periods.of(equity),
            benchmark: &[0.5, -0.25, 0.0][..equity.len()],
            trades: Some(trades),
            trade_sums: &sums,
            drawdown: Some(drawdown.maximum()),
            capital: 100.0,
            calendar: Calendar::Crypto,
            risk_free: 0.0,
            exposed_bars: 1,
            traded_notional: 400.0,
            first_open: 10.0,
            last_close: 15.0,
        })
    }

    #[test]
    fn a_run_without_trades_has_counts_of_zero_and_undefined_ratios() {
        let found = values(&[100.0, 100.0], &[0, DAY_MS], DAY_MS, &[]);
        assert_eq!(found.len(), VALUES);
        assert_eq!(found[..5], [100.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(found[5..9].iter().all(|value| value.to_bits() == 0x7ff8_0000_0000_0000));
        assert_eq!(found[19..22], [0.0, 0.0, 0.0]);
        assert!(found[22..31].iter().all(|value| value.is_nan()));
    }

    #[test]
    fn long_and_short_trades_are_counted_separately() {
        let trades = [trade(1, 8.0, Reason::Signal), trade(-1, -3.0, Reason::Liquidation), trade(1, 4.0, Reason::Signal)];
        let found = values(&[108.0, 105.0, 109.0], &[0, DAY_MS, 2 * DAY_MS], DAY_MS, &trades);
        let (run, sides) = found.split_at(VALUES - 2 * SIDE_VALUES);
        let (long, short) = sides.split_at(SIDE_VALUES);
        assert_eq!(run[19..22], [3.0, 2.0, 1.0]);
        assert_eq!((run[23], run[38]), (4.0, 1.0));
        assert_eq!(long[..5], [2.0, 2.0, 0.0, 1.0, 12.0]);
        assert_eq!((long[6], long[11], long[12], long[13], long[14], long[15]), (0.09375, 8.0, 4.0, 2.0, 0.0, 3.0));
        assert_eq!(short[..5], [1.0, 0.0, 1.0, 0.0, -3.0]);
        assert_eq!(short[18], 1.0);
    }
}
