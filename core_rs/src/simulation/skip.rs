//! The walk from event to event: where nothing but orders and levels that stay can change a position, the bars between are skipped.

use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, OrderTile};
use crate::simd::bitmask::{self, Mask};
use crate::simd::held::Held;
use crate::simd::{first_outside, multiversion};
use crate::simulation::account::{Closed, Ledger, Trader};
use crate::simulation::equity_curve::Curve;
use crate::simulation::position::{Position, side};
use crate::simulation::trade::Reason;

/// A position with one entry, held to its one exit.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    long: bool,
    opened: usize,
    entry: f64,
    quantity: f64,
    fee: f64,
    /// NaN where there is none.
    stop: f64,
    target: f64,
}

impl Open {
    /// As an exit at an order closes it. The bars on the way were skipped, so excursions are filled in later.
    #[inline(always)]
    fn closed(&self) -> Closed {
        Closed {
            long: self.long,
            opened: self.opened,
            entry: self.entry,
            quantity: self.quantity,
            entry_fees: self.fee,
            funding: 0.0,
            excursions: (f64::NAN, f64::NAN),
            whole: true,
        }
    }

    #[inline(always)]
    fn position(self) -> Position {
        Position {
            long: self.long,
            side: side(self.long),
            opened: self.opened,
            strategy_bar: 0,
            entry: self.entry,
            quantity: self.quantity,
            largest: self.quantity,
            entries: 1,
            fees: self.fee,
            funding: 0.0,
            highest: self.entry,
            lowest: self.entry,
            stop: (!self.stop.is_nan()).then_some(self.stop),
            target: (!self.target.is_nan()).then_some(self.target),
            trail: None,
            rungs: 0,
        }
    }
}

multiversion! {
    /// Run the bars of a tile. The trader has no position but `open`.
    pub fn walk<L: Ledger, C: Curve>(trader: &mut Trader<'_>, open: &mut Option<Open>, orders: &OrderTile, ledger: &mut L, curve: &mut C) =
        walk_in;
}
#[inline(always)]
fn walk_in(trader: &mut Trader<'_>, last: &mut Option<Open>, orders: &OrderTile, ledger: &mut impl Ledger, curve: &mut impl Curve) {
    let (market, start, n) = (trader.market, orders.start, orders.end - orders.start);
    let (low, high) = (&market.low[start..orders.end], &market.high[start..orders.end]);
    let masks = &orders.at_open.masks;
    let is_last = orders.end == market.len();
    // Bars before `at` are done, and their orders and those of bars before `from` are filled.
    let (mut at, mut from) = (0, 0);
    // Nothing points to this copy, so that it lives in registers.
    let mut open = last.take();
    while at < n {
        let Some(p) = open else {
            let balance = trader.account.balance;
            if balance <= 0.0 {
                trader.account.tally.ruined = true;
                return curve.flat(start + at..orders.end, balance);
            }
            let entry = next_of(masks, ENTRY_LONG, ENTRY_SHORT, from, n);
            curve.flat(start + at..start + entry, balance);
            if entry < n {
                open = enter(trader, orders, entry);
            }
            (at, from) = (entry, entry + 1);
            continue;
        };
        let (exit, reversal) = if p.long { (EXIT_LONG, ENTRY_SHORT) } else { (EXIT_SHORT, ENTRY_LONG) };
        let order = next_of(masks, exit, reversal, from, n);
        let hit = at + first_hit(&low[at..order], &high[at..order], bounds(trader, &p));
        let held = Held { balance: trader.account.balance, quantity: side(p.long) * p.quantity, entry: p.entry };
        // The last bar's equity is known once the position is closed.
        let until = if hit == n && is_last { n - 1 } else { hit };
        if let Some(bar) = curve.held(start + at..start + until, market.close, held) {
            by_the_bar(trader, p.position(), |trader| trader.ruin(ledger, bar));
            return curve.flat(bar..orders.end, trader.account.balance);
        }
        (at, from) = (until, until + 1);
        if hit < order {
            by_the_bar(trader, p.position(), |trader| trader.inside(ledger, start + hit));
            open = None;
        } else if order < n {
            let reason = if bitmask::get(&masks[exit], at) { Reason::Signal } else { Reason::Reversal };
            leave(trader, &p, ledger, start + at, reason);
            let enters = bitmask::get(&masks[ENTRY_LONG], at) || bitmask::get(&masks[ENTRY_SHORT], at);
            open = if enters { enter(trader, orders, at) } else { None };
        } else if is_last {
            let bar = orders.end - 1;
            let close = market.close[bar];
            if held.equity(close) > 0.0 {
                by_the_bar(trader, p.position(), |trader| trader.leave(ledger, bar, close, Reason::End));
                trader.account.tally.ruined = trader.account.balance <= 0.0;
            } else {
                by_the_bar(trader, p.position(), |trader| trader.ruin(ledger, bar));
            }
            return curve.flat(bar..bar + 1, trader.account.balance);
        }
    }
    *last = open;
}

/// Hand the position over to the trader, who closes it.
fn by_the_bar(trader: &mut Trader<'_>, position: Position, act: impl FnOnce(&mut Trader<'_>)) {
    trader.account.position = Some(position);
    act(trader);
    debug_assert!(trader.account.position.is_none());
}

/// Fill the entry order of bar `at` of the tile, at its open.
#[inline(always)]
fn enter(trader: &mut Trader<'_>, orders: &OrderTile, at: usize) -> Option<Open> {
    let (bar, balance) = (orders.start + at, trader.account.balance);
    let long = bitmask::get(&orders.at_open.masks[ENTRY_LONG], at);
    let side = side(long);
    let fill = trader.pay_entry(&orders.at_open, at, side, trader.market.open[bar], balance, balance)?;
    let level = |which: usize| trader.level(which, &orders.at_open, at, side, fill.price).unwrap_or(f64::NAN);
    Some(Open { long, opened: bar, entry: fill.price, quantity: fill.quantity, fee: fill.fee, stop: level(0), target: level(1) })
}

/// Close the position at the open of bar `i`.
#[inline(always)]
fn leave(trader: &mut Trader<'_>, p: &Open, ledger: &mut impl Ledger, i: usize, reason: Reason) {
    let price = trader.exit_price(side(p.long), trader.market.open[i]);
    trader.settle(ledger, i, &p.closed(), price, reason);
}

/// Prices at or below the first, or at or above the second, end the position.
#[inline(always)]
fn bounds(trader: &Trader<'_>, p: &Open) -> (f64, f64) {
    let liquidation = trader.liquidation_level(p.long, p.entry);
    let or = |level: f64, none: f64| if level.is_nan() { none } else { level };
    if p.long {
        let (stop, liquidation) = (or(p.stop, f64::NEG_INFINITY), liquidation.unwrap_or(f64::NEG_INFINITY));
        (if stop > liquidation { stop } else { liquidation }, or(p.target, f64::INFINITY))
    } else {
        let (stop, liquidation) = (or(p.stop, f64::INFINITY), liquidation.unwrap_or(f64::INFINITY));
        (or(p.target, f64::NEG_INFINITY), if stop < liquidation { stop } else { liquidation })
    }
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
