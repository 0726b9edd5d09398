//! Simulation from event to event.
//!
//! If a position has one entry, one exit and levels that do not move, only an order or the first price beyond a level can end it. The next
//! order is found in the bit masks and the first such price by a vector loop; the bars between them need nothing but their equity. Results
//! are the same as bar by bar.

use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT, OrderTile};
use crate::simd::bitmask::{self, Mask};
use crate::simd::held::Held;
use crate::simd::{first_outside, multiversion};
use crate::simulation::account::{ClosedPart, Ledger, Trader};
use crate::simulation::equity_curve::EquityCurve;
use crate::simulation::position::{Position, side};
use crate::simulation::trade::Reason;

/// A position with one entry and one exit.
#[derive(Clone, Copy, Debug)]
pub struct OpenPosition {
    long: bool,
    entry_index: usize,
    entry: f64,
    quantity: f64,
    fee: f64,
    /// NaN if there is none.
    stop_loss: f64,
    take_profit: f64,
}

impl OpenPosition {
    /// What an exit by an order closes. The bars were skipped, so excursions are filled in later.
    #[inline(always)]
    fn closed(&self) -> ClosedPart {
        ClosedPart {
            long: self.long,
            entry_index: self.entry_index,
            entry: self.entry,
            quantity: self.quantity,
            entry_fees: self.fee,
            funding: 0.0,
            excursions: (f64::NAN, f64::NAN),
            closes_position: true,
        }
    }

    /// The same position for the trader, which closes it at a level.
    #[inline(always)]
    fn position(self) -> Position {
        Position {
            long: self.long,
            side: side(self.long),
            entry_index: self.entry_index,
            entry_strategy_bar: 0,
            entry: self.entry,
            quantity: self.quantity,
            max_quantity: self.quantity,
            entries: 1,
            fees: self.fee,
            funding: 0.0,
            highest: self.entry,
            lowest: self.entry,
            stop_loss: (!self.stop_loss.is_nan()).then_some(self.stop_loss),
            take_profit: (!self.take_profit.is_nan()).then_some(self.take_profit),
            trailing_distance: None,
            partial_exits_done: 0,
        }
    }
}

multiversion! {
    /// Run the bars of a tile. The position is `open`; the trader itself has none.
    pub fn skip_to_events<L: Ledger, C: EquityCurve>(
        trader: &mut Trader<'_>,
        open: &mut Option<OpenPosition>,
        orders: &OrderTile,
        ledger: &mut L,
        curve: &mut C,
    ) = skip_to_events_in;
}
#[inline(always)]
fn skip_to_events_in(
    trader: &mut Trader<'_>,
    open_between_tiles: &mut Option<OpenPosition>,
    orders: &OrderTile,
    ledger: &mut impl Ledger,
    curve: &mut impl EquityCurve,
) {
    let (market, start, n) = (trader.market, orders.start, orders.end - orders.start);
    let (low, high) = (&market.bars.low[start..orders.end], &market.bars.high[start..orders.end]);
    let masks = &orders.at_open.masks;
    let is_last = orders.end == market.len();
    // Bars before `at` are simulated; orders of bars before `from` are filled.
    let (mut at, mut from) = (0, 0);
    // A local copy without references to it, so that it stays in registers.
    let mut open = open_between_tiles.take();
    while at < n {
        let Some(p) = open else {
            let balance = trader.account.balance;
            if balance <= 0.0 {
                trader.account.totals.ruined = true;
                return curve.push_flat(start + at..orders.end, balance);
            }
            let entry = next_order(masks, ENTRY_LONG, ENTRY_SHORT, from, n);
            curve.push_flat(start + at..start + entry, balance);
            if entry < n {
                open = enter(trader, orders, entry);
            }
            (at, from) = (entry, entry + 1);
            continue;
        };
        let (exit, reversal) = if p.long { (EXIT_LONG, ENTRY_SHORT) } else { (EXIT_SHORT, ENTRY_LONG) };
        let order = next_order(masks, exit, reversal, from, n);
        let hit = at + first_hit(&low[at..order], &high[at..order], exit_bounds(trader, &p));
        let held = Held { balance: trader.account.balance, quantity: side(p.long) * p.quantity, entry: p.entry };
        // Equity of the run's last bar follows from closing the position there.
        let until = if hit == n && is_last { n - 1 } else { hit };
        if let Some(bar) = curve.push_held(start + at..start + until, market.bars.close, held) {
            close_by_trader(trader, p.position(), |trader| trader.ruin(ledger, bar));
            return curve.push_flat(bar..orders.end, trader.account.balance);
        }
        (at, from) = (until, until + 1);
        if hit < order {
            close_by_trader(trader, p.position(), |trader| trader.trade_within_bar(ledger, start + hit));
            open = None;
        } else if order < n {
            let reason = if bitmask::get(&masks[exit], at) { Reason::Signal } else { Reason::Reversal };
            close_by_order(trader, &p, ledger, start + at, reason);
            let enters = bitmask::get(&masks[ENTRY_LONG], at) || bitmask::get(&masks[ENTRY_SHORT], at);
            open = if enters { enter(trader, orders, at) } else { None };
        } else if is_last {
            let bar = orders.end - 1;
            let close = market.bars.close[bar];
            if held.equity(close) > 0.0 {
                close_by_trader(trader, p.position(), |trader| trader.close_position(ledger, bar, close, Reason::End));
                trader.account.totals.ruined = trader.account.balance <= 0.0;
            } else {
                close_by_trader(trader, p.position(), |trader| trader.ruin(ledger, bar));
            }
            return curve.push_flat(bar..bar + 1, trader.account.balance);
        }
    }
    *open_between_tiles = open;
}

/// Give the position to the trader, and let `act` close it.
fn close_by_trader(trader: &mut Trader<'_>, position: Position, act: impl FnOnce(&mut Trader<'_>)) {
    trader.account.position = Some(position);
    act(trader);
    debug_assert!(trader.account.position.is_none());
}

/// Fill the entry order of bar `at` of the tile, at its open.
#[inline(always)]
fn enter(trader: &mut Trader<'_>, orders: &OrderTile, at: usize) -> Option<OpenPosition> {
    let (bar, balance) = (orders.start + at, trader.account.balance);
    let long = bitmask::get(&orders.at_open.masks[ENTRY_LONG], at);
    let side = side(long);
    let fill = trader.settle_entry(&orders.at_open, at, side, trader.market.bars.open[bar], balance, balance)?;
    let level = |which: usize| trader.level(which, &orders.at_open, at, side, fill.price).unwrap_or(f64::NAN);
    Some(OpenPosition {
        long,
        entry_index: bar,
        entry: fill.price,
        quantity: fill.quantity,
        fee: fill.fee,
        stop_loss: level(0),
        take_profit: level(1),
    })
}

/// Close the position at the open of bar `i`.
#[inline(always)]
fn close_by_order(trader: &mut Trader<'_>, p: &OpenPosition, ledger: &mut impl Ledger, i: usize, reason: Reason) {
    let price = trader.exit_price(side(p.long), trader.market.bars.open[i]);
    trader.settle_exit(ledger, i, &p.closed(), price, reason);
}

/// The position ends at a price at or below the first bound, or at or above the second.
#[inline(always)]
fn exit_bounds(trader: &Trader<'_>, p: &OpenPosition) -> (f64, f64) {
    let liquidation = trader.liquidation_level(p.long, p.entry);
    let or = |level: f64, none: f64| if level.is_nan() { none } else { level };
    if p.long {
        let (stop, liquidation) = (or(p.stop_loss, f64::NEG_INFINITY), liquidation.unwrap_or(f64::NEG_INFINITY));
        (if stop > liquidation { stop } else { liquidation }, or(p.take_profit, f64::INFINITY))
    } else {
        let (stop, liquidation) = (or(p.stop_loss, f64::INFINITY), liquidation.unwrap_or(f64::INFINITY));
        (or(p.take_profit, f64::NEG_INFINITY), if stop < liquidation { stop } else { liquidation })
    }
}

/// The first bar from `from` on with a bit in either mask.
#[inline(always)]
fn next_order(masks: &[Mask; 4], a: usize, b: usize, from: usize, end: usize) -> usize {
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

/// The first bar whose low or high reaches its bound; the number of bars if there is none.
#[inline(always)]
fn first_hit(low: &[f64], high: &[f64], (lower, upper): (f64, f64)) -> usize {
    match (lower > f64::NEG_INFINITY, upper < f64::INFINITY) {
        (false, false) => low.len(),
        (true, false) => first_outside::<true, false>(low, high, lower, upper),
        (false, true) => first_outside::<false, true>(low, high, lower, upper),
        (true, true) => first_outside::<true, true>(low, high, lower, upper),
    }
}
