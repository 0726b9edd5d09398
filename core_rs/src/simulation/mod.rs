//! The simulator: runs an account over tiles of orders, bar by bar if levels move or positions pay funding, and otherwise from event to
//! event (`skip`). The twin of `python_core.engine.simulate`, which runs every bar.

pub mod account;
pub mod drawdown;
pub mod entries;
pub mod equity_curve;
pub mod execution;
pub mod fills;
pub mod intrabar;
pub mod position;
pub mod prices;
pub mod resting;
pub mod sizing;
pub mod skip;
pub mod trade;
pub mod trading_times;

use std::ops::Range;

use crate::market::Market;
use crate::signals::order_tile::OrderTile;
use crate::simd::bitmask::{self, Mask, WORDS};
use crate::simd::{self, extremes, multiversion};
use crate::simulation::account::{Ledger, Trader};
use crate::simulation::equity_curve::{EquityCurve, IgnoredCurve};
use crate::simulation::execution::{Execution, Levels};
use crate::simulation::fills::{Moment, When};
use crate::simulation::intrabar::Bar;
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
    pub fn new(market: Market<'a>, execution: &'a Execution, levels: Levels, has_sizes: bool) -> Self {
        Self { trader: Trader::new(market, execution, levels, has_sizes), open: None }
    }

    /// The curve of a run whose equity is not needed, if the balance shows whether a position may be worth nothing.
    pub fn ignored_curve(&self) -> Option<IgnoredCurve> {
        let Trader { market, execution, dust, .. } = &self.trader;
        let is_safe = !self.trader.follows_every_bar && execution.leverage == 1.0 && execution.maintenance_margin > 1e-6;
        is_safe.then(|| {
            // A long position is worth at least the share of its cost to which prices can fall; a short one is liquidated before that.
            let (lowest, highest) = extremes(market.bars.low, market.bars.high);
            let share = (lowest / (highest * (1.0 + execution.slippage) + execution.ticks.tick())).min(execution.maintenance_margin);
            IgnoredCurve { safe_balance: 2.0 * dust / share }
        })
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
        if self.trader.ruined() {
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
            run_bar(trader, orders, ledger, i);
            if trader.ruined() {
                return curve.push_flat(i..orders.end, trader.account.balance);
            }
            curve.push_flat(i..i + 1, trader.equity_at(trader.market.bars.close[i]));
        }
    }
}

/// Everything that happens in bar `i`, in the order of the contract; ends early if it leaves nothing.
fn run_bar(trader: &mut Trader<'_>, orders: &OrderTile, ledger: &mut impl Ledger, i: usize) {
    let (at, open, close) = (i - orders.start, trader.market.bars.open[i], trader.market.bars.close[i]);
    trader.pay_funding(i);
    let is_due = bitmask::get(&orders.strategy_closes, at);
    trader.account.strategy_bars += i64::from(is_due);
    trader.liquidate_at_open(ledger, i);
    if is_due && !trader.ruined() {
        trader.expire_resting_entries();
    }
    let time_exit = (is_due && trader.max_bars_reached()) || (trader.execution.flat_outside && !trader.is_inside(i));
    if !trader.ruined() && (time_exit || any_order(&orders.at_open.masks, at)) {
        let moment = Moment { bar: i, price: open, when: When::Open, strategy_bar: trader.account.strategy_bars };
        trader.fill_orders(ledger, &orders.at_open, at, moment, time_exit);
    }
    if trader.waits_for_prices() {
        let mut bar = Bar::new(i);
        trader.fill_gaps(ledger, &mut bar);
        if trader.waits_for_prices() {
            trader.trade_within_bar(ledger, &mut bar);
        }
        trader.observe_bar(&bar);
    }
    if !trader.ruined() && any_order(&orders.at_close.masks, at) {
        let moment = Moment { bar: i, price: close, when: When::Close, strategy_bar: trader.account.strategy_bars + 1 };
        trader.fill_orders(ledger, &orders.at_close, at, moment, false);
    }
    if !trader.ruined() && trader.equity_at(close) <= trader.dust {
        trader.close_position(ledger, i, close, Reason::Ruin, When::Close);
    }
    if i + 1 == trader.market.len() {
        trader.close_position(ledger, i, close, Reason::End, When::Close);
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
