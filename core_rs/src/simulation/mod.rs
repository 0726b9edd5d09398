//! The simulator: runs an account over tiles of orders, bar by bar if levels move or positions pay funding, and otherwise from event to
//! event (`skip`). The twin of `python_core.engine.simulate`, which runs every bar.

pub mod account;
pub mod drawdown;
pub mod equity_curve;
pub mod execution;
pub mod intrabar;
pub mod position;
pub mod sizing;
pub mod skip;
pub mod trade;

use std::ops::Range;

use crate::market::Market;
use crate::signals::orders::OrderTile;
use crate::simd::bitmask::{self, Mask, WORDS};
use crate::simd::{self, extremes, multiversion};
use crate::simulation::account::{Ledger, Trader};
use crate::simulation::equity_curve::EquityCurve;
use crate::simulation::execution::Execution;
use crate::simulation::skip::{OpenPosition, skip_to_events};
use crate::simulation::trade::{Reason, Trade};

/// Runs tiles of orders. Between tiles everything is in the trader's account and in the caller's ledger and equity curve.
#[derive(Clone, Debug)]
pub struct Simulator<'a> {
    pub trader: Trader<'a>,
    /// The position, if the simulator skips from event to event.
    open: Option<OpenPosition>,
}

impl Ledger for Vec<Trade> {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.push(*trade);
    }
}

impl<'a> Simulator<'a> {
    pub fn new(market: Market<'a>, execution: &'a Execution) -> Self {
        Self { trader: Trader::new(market, execution), open: None }
    }

    /// Whether the balance alone shows ruin, so that the caller may use an `IgnoredCurve`: at leverage 1 an open position is never worth 0
    /// or less.
    pub fn may_ignore_equity(&self) -> bool {
        !self.trader.follows_every_bar && self.trader.execution.leverage == 1.0 && self.trader.execution.maintenance_margin > 1e-6
    }

    /// Load the bars that fill the orders of a tile into the cache. They are too far apart for the processor to foresee, unless there are
    /// many.
    pub fn prefetch(&self, orders: &OrderTile) {
        for w in 0..WORDS {
            let mut events = orders.at_open.masks.iter().fold(0, |events, mask| events | mask[w]);
            if events.count_ones() > 8 {
                continue;
            }
            while events != 0 {
                let bar = orders.start + 64 * w + events.trailing_zeros() as usize;
                simd::prefetch(self.trader.market.bars.open, bar);
                simd::prefetch(self.trader.market.bars.time, bar);
                events &= events - 1;
            }
        }
    }

    /// Run the bars of a tile.
    pub fn run(&mut self, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl EquityCurve) {
        if self.trader.account.totals.ruined {
            curve.push_flat(orders.start..orders.end, self.trader.account.balance);
        } else if self.trader.follows_every_bar {
            self.run_every_bar(orders, ledger, curve);
        } else {
            skip_to_events(&mut self.trader, &mut self.open, orders, ledger, curve);
        }
        end_tile(curve, orders.start..orders.end);
    }

    fn run_every_bar(&mut self, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl EquityCurve) {
        let trader = &mut self.trader;
        for i in orders.start..orders.end {
            let at = i - orders.start;
            trader.pay_funding(i);
            if bitmask::get(&orders.strategy_closes, at) {
                trader.account.strategy_bars += 1;
            }
            let max_bars_reached = trader.max_bars_reached(&orders.strategy_closes, at);
            if max_bars_reached || any_order(&orders.at_open.masks, at) {
                let strategy_bar = trader.account.strategy_bars;
                trader.fill_orders(ledger, i, at, &orders.at_open, trader.market.bars.open[i], max_bars_reached, strategy_bar);
            }
            if trader.account.position.is_some() {
                trader.trade_within_bar(ledger, i);
            }
            if let Some(p) = &mut trader.account.position {
                p.observe_bar(trader.market.bars.high[i], trader.market.bars.low[i]);
            }
            let close = trader.market.bars.close[i];
            if any_order(&orders.at_close.masks, at) {
                let strategy_bar = trader.account.strategy_bars + 1;
                trader.fill_orders(ledger, i, at, &orders.at_close, close, false, strategy_bar);
            }
            if i + 1 == trader.market.len() && trader.account.position.is_some() && trader.equity_at(close) > 0.0 {
                trader.close_position(ledger, i, close, Reason::End);
            }
            if trader.equity_at(close) <= 0.0 {
                trader.ruin(ledger, i);
                curve.push_flat(i..orders.end, trader.account.balance);
                return;
            }
            curve.push_flat(i..i + 1, trader.equity_at(close));
        }
    }
}

multiversion! {
    fn end_tile<C: EquityCurve>(curve: &mut C, bars: Range<usize>) = EquityCurve::end_tile;
}

#[inline(always)]
fn any_order(masks: &[Mask; 4], at: usize) -> bool {
    masks.iter().any(|mask| bitmask::get(mask, at))
}

multiversion! {
    /// Fill in `mae` and `mfe` of trades whose bars were skipped: they have one entry, at an open, and only the exits at the end of a run
    /// are at a close. Returns false at a trade outside the bars, and leaves those after it unchanged.
    pub fn fill_excursions(trades: &mut [Trade], low: &[f64], high: &[f64]) -> bool = fill_excursions_in;
}
#[inline(always)]
fn fill_excursions_in(trades: &mut [Trade], low: &[f64], high: &[f64]) -> bool {
    for trade in trades {
        let to_close = trade.reason == Reason::End as i64 || trade.reason == Reason::Ruin as i64;
        let bars = trade.entry_index as usize..(trade.exit_index as usize).wrapping_add(usize::from(to_close));
        let (Some(low), Some(high)) = (low.get(bars.clone()), high.get(bars)) else { return false };
        let (lowest, highest) = extremes(low, high);
        let (entry, exit) = (trade.entry_price, trade.exit_price);
        let lowest = [entry, exit].into_iter().fold(lowest, |a, b| if b < a { b } else { a });
        let highest = [entry, exit].into_iter().fold(highest, |a, b| if b > a { b } else { a });
        let side = trade.side as f64;
        let (favourable, adverse) = if trade.side > 0 { (highest, lowest) } else { (lowest, highest) };
        trade.mae = side * (adverse - entry) / entry;
        trade.mfe = side * (favourable - entry) / entry;
    }
    true
}
