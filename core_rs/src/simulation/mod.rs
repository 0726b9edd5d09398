//! The simulator: drives an account over tiles of bars, bar by bar where levels move or are paid for, and from event to event (`events`)
//! where they stay as they are while a position is open.

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
use crate::simulation::equity_curve::Curve;
use crate::simulation::execution::Rules;
use crate::simulation::skip::{Open, walk};
use crate::simulation::trade::{Reason, Trade};

/// Runs tiles of orders; what is left between tiles is the trader's account, and the caller's ledger and curve.
#[derive(Clone, Debug)]
pub struct Simulator<'a> {
    pub trader: Trader<'a>,
    /// The position, where the simulator goes from event to event.
    open: Option<Open>,
}

impl Ledger for Vec<Trade> {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.push(*trade);
    }
}

impl<'a> Simulator<'a> {
    pub fn new(market: Market<'a>, rules: &'a Rules) -> Self {
        Self { trader: Trader::new(market, rules), open: None }
    }

    /// Whether ruin shows in the balance alone: at leverage 1 an open position is never worth 0 or less, so equity may be `Ignored`.
    pub fn may_ignore_equity(&self) -> bool {
        !self.trader.sees_every_bar && self.trader.rules.leverage == 1.0 && self.trader.rules.maintenance_margin > 1e-6
    }

    /// Ask for what the orders of a tile are filled with: bars so far apart that the processor can't guess them. It can where they are many.
    pub fn fetch(&self, orders: &OrderTile) {
        for w in 0..WORDS {
            let mut events = orders.at_open.masks.iter().fold(0, |events, mask| events | mask[w]);
            if events.count_ones() > 8 {
                continue;
            }
            while events != 0 {
                let bar = orders.start + 64 * w + events.trailing_zeros() as usize;
                simd::prefetch(self.trader.market.open, bar);
                simd::prefetch(self.trader.market.time, bar);
                events &= events - 1;
            }
        }
    }

    /// Run the bars of a tile.
    pub fn run(&mut self, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl Curve) {
        if self.trader.account.tally.ruined {
            curve.flat(orders.start..orders.end, self.trader.account.balance);
        } else if self.trader.sees_every_bar {
            self.run_bars(orders, ledger, curve);
        } else {
            walk(&mut self.trader, &mut self.open, orders, ledger, curve);
        }
        end_tile(curve, orders.start..orders.end);
    }

    fn run_bars(&mut self, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl Curve) {
        let trader = &mut self.trader;
        for i in orders.start..orders.end {
            let at = i - orders.start;
            trader.pay_funding(i);
            if bitmask::get(&orders.strategy_closes, at) {
                trader.account.strategy_bars += 1;
            }
            let time_is_up = trader.time_is_up(&orders.strategy_closes, at);
            if time_is_up || any(&orders.at_open.masks, at) {
                let strategy_bar = trader.account.strategy_bars;
                trader.fill(ledger, i, at, &orders.at_open, trader.market.open[i], time_is_up, strategy_bar);
            }
            if trader.account.position.is_some() {
                trader.inside(ledger, i);
            }
            if let Some(p) = &mut trader.account.position {
                p.see(trader.market.high[i], trader.market.low[i]);
            }
            let close = trader.market.close[i];
            if any(&orders.at_close.masks, at) {
                let strategy_bar = trader.account.strategy_bars + 1;
                trader.fill(ledger, i, at, &orders.at_close, close, false, strategy_bar);
            }
            if i + 1 == trader.market.len() && trader.account.position.is_some() && trader.marked(close) > 0.0 {
                trader.leave(ledger, i, close, Reason::End);
            }
            if trader.marked(close) <= 0.0 {
                trader.ruin(ledger, i);
                curve.flat(i..orders.end, trader.account.balance);
                return;
            }
            curve.flat(i..i + 1, trader.marked(close));
        }
    }
}

multiversion! {
    fn end_tile<C: Curve>(curve: &mut C, bars: Range<usize>) = Curve::end_tile;
}

#[inline(always)]
fn any(masks: &[Mask; 4], at: usize) -> bool {
    masks.iter().any(|mask| bitmask::get(mask, at))
}

multiversion! {
    /// Fill in `mae` and `mfe` of trades whose bars were skipped: of positions with one entry, at an open, and exits that are at a close only
    /// at the end. False where a trade lies outside the bars; those after it are left as they are.
    pub fn excursions(trades: &mut [Trade], low: &[f64], high: &[f64]) -> bool = excursions_in;
}
#[inline(always)]
fn excursions_in(trades: &mut [Trade], low: &[f64], high: &[f64]) -> bool {
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
