//! The simulator: drives an account over tiles of bars, bar by bar where levels move, and from event to event where they stay as they are
//! while a position is open.

use crate::account::{Ledger, Position, Trader};
use crate::bits::{self, Mask, WORDS};
use crate::curve::{Curve, Held};
use crate::market::Market;
use crate::rules::Rules;
use crate::signals::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, OrderTile};
use crate::simd::{self, extremes, first_outside, multiversion};
use crate::trade::{Reason, Trade};

/// Runs tiles of orders; what is left between tiles is the trader's account, and the caller's ledger and curve.
#[derive(Clone, Debug)]
pub struct Simulator<'a> {
    pub trader: Trader<'a>,
}

impl Ledger for Vec<Trade> {
    #[inline(always)]
    fn record(&mut self, trade: &Trade) {
        self.push(*trade);
    }
}

impl<'a> Simulator<'a> {
    pub fn new(market: Market<'a>, rules: &'a Rules) -> Self {
        Self { trader: Trader::new(market, rules) }
    }

    /// Whether ruin shows in the balance alone: at leverage 1 an open position is never worth 0 or less, so equity may be `Ignored`.
    pub fn may_ignore_equity(&self) -> bool {
        !self.trader.sees_every_bar && self.trader.rules.leverage == 1.0 && self.trader.rules.maintenance_margin > 1e-6
    }

    /// Ask for what the orders of a tile are filled with: bars so far apart that the processor can't guess them. Other runs over the tile find
    /// them in the cache.
    pub fn fetch(&self, orders: &OrderTile) {
        for w in 0..WORDS {
            let mut events = orders.at_open.masks.iter().fold(0, |events, mask| events | mask[w]);
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
            run_events(&mut self.trader, orders, ledger, curve);
        }
    }

    fn run_bars(&mut self, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl Curve) {
        let trader = &mut self.trader;
        for i in orders.start..orders.end {
            let at = i - orders.start;
            trader.pay_funding(i);
            if bits::get(&orders.due, at) {
                trader.account.strategy_bars += 1;
            }
            let time_is_up = trader.time_is_up(&orders.due, at);
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
    /// As `run_bars`, where nothing but orders and constant levels can change a position.
    fn run_events<L: Ledger, C: Curve>(trader: &mut Trader<'_>, orders: &OrderTile, ledger: &mut L, curve: &mut C) = run_events_in;
}
#[inline(always)]
fn run_events_in(trader: &mut Trader<'_>, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl Curve) {
    let (market, start, n) = (trader.market, orders.start, orders.end - orders.start);
    let (low, high) = (&market.low[start..orders.end], &market.high[start..orders.end]);
    let masks = &orders.at_open.masks;
    let is_last = orders.end == market.len();
    // Bars before `at` are done; the open of bar `at` is done if `opened`.
    let (mut at, mut opened) = (0, false);
    while at < n {
        let Some(p) = &trader.account.position else {
            let balance = trader.account.balance;
            if balance <= 0.0 {
                trader.account.tally.ruined = true;
                return curve.flat(start + at..orders.end, balance);
            }
            let entry = next_of(masks, ENTRY_LONG, ENTRY_SHORT, at + usize::from(opened), n);
            curve.flat(start + at..start + entry, balance);
            at = entry;
            if at < n {
                let price = market.open[start + at];
                trader.enter(start + at, at, &orders.at_open, bits::get(&masks[ENTRY_LONG], at), price, 0);
            }
            opened = true;
            continue;
        };
        let (exit, reversal) = if p.long { (EXIT_LONG, ENTRY_SHORT) } else { (EXIT_SHORT, ENTRY_LONG) };
        let order = next_of(masks, exit, reversal, at + usize::from(opened), n);
        let hit = at + first_hit(&low[at..order], &high[at..order], trader.bounds(p));
        let held = Held { balance: trader.account.balance, quantity: p.side * p.quantity, entry: p.entry };
        // The last bar's equity is known once the position is closed.
        let until = if hit == n && is_last { n - 1 } else { hit };
        if let Some(bar) = curve.held(start + at..start + until, market.close, held) {
            trader.ruin(ledger, bar);
            return curve.flat(bar..orders.end, trader.account.balance);
        }
        at = until;
        opened = true;
        if hit < order {
            trader.inside(ledger, start + hit);
        } else if order < n {
            trader.fill(ledger, start + at, at, &orders.at_open, market.open[start + at], false, 0);
        } else if is_last {
            let bar = orders.end - 1;
            if held.equity(market.close[bar]) > 0.0 {
                trader.leave(ledger, bar, market.close[bar], Reason::End);
                trader.account.tally.ruined = trader.account.balance <= 0.0;
            } else {
                trader.ruin(ledger, bar);
            }
            return curve.flat(bar..bar + 1, trader.account.balance);
        }
    }
}

impl Trader<'_> {
    /// Prices at or below the first, or at or above the second, end the position.
    #[inline(always)]
    fn bounds(&self, p: &Position) -> (f64, f64) {
        let liquidation = self.liquidation_level(p);
        if p.long {
            let stop = p.stop.unwrap_or(f64::NEG_INFINITY);
            let liquidation = liquidation.unwrap_or(f64::NEG_INFINITY);
            (if stop > liquidation { stop } else { liquidation }, p.target.unwrap_or(f64::INFINITY))
        } else {
            let stop = p.stop.unwrap_or(f64::INFINITY);
            let liquidation = liquidation.unwrap_or(f64::INFINITY);
            (p.target.unwrap_or(f64::NEG_INFINITY), if stop < liquidation { stop } else { liquidation })
        }
    }
}

#[inline(always)]
fn any(masks: &[Mask; 4], at: usize) -> bool {
    masks.iter().any(|mask| bits::get(mask, at))
}

/// The first bar from `from` on with a bit in either mask.
#[inline(always)]
fn next_of(masks: &[Mask; 4], a: usize, b: usize, from: usize, end: usize) -> usize {
    let (a, b) = (&masks[a], &masks[b]);
    if from >= end {
        return end;
    }
    let mut word = from / 64;
    let mut bits = (a[word] | b[word]) & (!0 << (from % 64));
    while bits == 0 {
        word += 1;
        if word * 64 >= end {
            return end;
        }
        bits = a[word] | b[word];
    }
    (word * 64 + bits.trailing_zeros() as usize).min(end)
}

/// First bar whose low is at or below, or whose high is at or above the bounds; the number of bars where there is none.
#[inline(always)]
fn first_hit(low: &[f64], high: &[f64], (lower, upper): (f64, f64)) -> usize {
    match (lower > f64::NEG_INFINITY, upper < f64::INFINITY) {
        (false, false) => low.len(),
        (true, false) => first_outside::<true, false>(low, high, lower, upper),
        (false, true) => first_outside::<false, true>(low, high, lower, upper),
        (true, true) => first_outside::<true, true>(low, high, lower, upper),
    }
}

multiversion! {
    /// Fill in `mae` and `mfe` of trades whose bars were skipped: of positions with one entry, at an open, and exits that are at a close only
    /// at the end.
    pub fn excursions(trades: &mut [Trade], low: &[f64], high: &[f64]) = excursions_in;
}
#[inline(always)]
fn excursions_in(trades: &mut [Trade], low: &[f64], high: &[f64]) {
    for trade in trades {
        let (from, to) = (trade.entry_index as usize, trade.exit_index as usize);
        let to = if trade.reason == Reason::End as i64 || trade.reason == Reason::Ruin as i64 { to + 1 } else { to };
        let (lowest, highest) = extremes(&low[from..to], &high[from..to]);
        let (entry, exit) = (trade.entry_price, trade.exit_price);
        let lowest = [entry, exit].into_iter().fold(lowest, |a, b| if b < a { b } else { a });
        let highest = [entry, exit].into_iter().fold(highest, |a, b| if b > a { b } else { a });
        let side = trade.side as f64;
        let (favourable, adverse) = if trade.side > 0 { (highest, lowest) } else { (lowest, highest) };
        trade.mae = side * (adverse - entry) / entry;
        trade.mfe = side * (favourable - entry) / entry;
    }
}
