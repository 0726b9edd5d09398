//! Simulation from event to event.
//!
//! If a position has one entry, one exit and levels that do not move, only an order or the first price beyond a level can end it. The next
//! order is found in the bit masks and the first such price by a vector loop; the bars between them need nothing but their equity. Results
//! are the same as bar by bar.

use crate::signals::order_tile::OrderTile;
use crate::signals::orders::{ENTRY_LONG, ENTRY_SHORT, EXIT_LONG, EXIT_SHORT};
use crate::simd::bitmask::{self, Mask};
use crate::simd::held::Held;
use crate::simd::{first_outside, multiversion};
use crate::simulation::account::{ClosedPart, Ledger, Trader, no_worse};
use crate::simulation::equity_curve::EquityCurve;
use crate::simulation::execution::Intrabar;
use crate::simulation::fills::{Entry, ExitFill, When};
use crate::simulation::position::side;
use crate::simulation::prices::{fills_limit, limit_bound, touch_bound, touches, within};
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
            exposed_from: self.entry_index,
            entry: self.entry,
            quantity: self.quantity,
            entry_fees: self.fee,
            funding: 0.0,
            deficit: 0.0,
            excursions: (f64::NAN, f64::NAN),
            closes_position: true,
        }
    }
}

/// Run the bars of a tile. The position is `open`; the trader itself has none.
pub fn skip_to_events<L: Ledger, C: EquityCurve>(
    trader: &mut Trader<'_>,
    open: &mut Option<OpenPosition>,
    orders: &OrderTile,
    ledger: &mut L,
    curve: &mut C,
) {
    if trader.is_simple { skip_simply(trader, open, orders, ledger, curve) } else { skip_in_general(trader, open, orders, ledger, curve) }
}

multiversion! {
    fn skip_simply<L: Ledger, C: EquityCurve>(
        trader: &mut Trader<'_>,
        open: &mut Option<OpenPosition>,
        orders: &OrderTile,
        ledger: &mut L,
        curve: &mut C,
    ) = skip_to_events_in::<true>;
}
multiversion! {
    fn skip_in_general<L: Ledger, C: EquityCurve>(
        trader: &mut Trader<'_>,
        open: &mut Option<OpenPosition>,
        orders: &OrderTile,
        ledger: &mut L,
        curve: &mut C,
    ) = skip_to_events_in::<false>;
}
#[inline(always)]
fn skip_to_events_in<const SIMPLE: bool>(
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
            if trader.ruined() {
                return curve.push_flat(start + at..orders.end, balance);
            }
            let entry = next_order(masks, ENTRY_LONG, ENTRY_SHORT, from, n);
            curve.push_flat(start + at..start + entry, balance);
            if entry < n {
                open = enter::<SIMPLE>(trader, orders, entry);
            }
            (at, from) = (entry, entry + 1);
            continue;
        };
        let (exit, reversal) = if p.long { (EXIT_LONG, ENTRY_SHORT) } else { (EXIT_SHORT, ENTRY_LONG) };
        let order = next_order(masks, exit, reversal, from, n);
        let hit = if trader.has_stops || may_be_liquidated::<SIMPLE>(&p) {
            at + first_hit(&low[at..order], &high[at..order], exit_bounds(trader, &p))
        } else {
            order
        };
        let held = Held { balance: trader.account.balance, quantity: side(p.long) * p.quantity, entry: p.entry, ruin: trader.dust };
        // Equity of the run's last bar follows from closing the position there.
        let until = if hit == n && is_last { n - 1 } else { hit };
        let ruin = curve.push_held(start + at..start + until, market.bars.close, held);
        at = ruin.map_or(until, |bar| bar - start);
        if at == n {
            break;
        }
        let bar = start + at;
        let is_gap = bar > p.entry_index && is_liquidated_at_open::<SIMPLE>(trader, &p, bar);
        let fill = if ruin.is_some() {
            market_exit::<SIMPLE>(trader, &p, market.bars.close[bar], Reason::Ruin, When::Close)
        } else if is_gap {
            liquidation(trader, &p, When::Open)
        } else if hit < order {
            exit_at_level::<SIMPLE>(trader, &p, bar)
        } else if order < n {
            let reason = if bitmask::get(&masks[exit], at) { Reason::Signal } else { Reason::Reversal };
            market_exit::<SIMPLE>(trader, &p, market.bars.open[bar], reason, When::Open)
        } else {
            let close = market.bars.close[bar];
            let reason = if held.equity(close) > held.ruin { Reason::End } else { Reason::Ruin };
            market_exit::<SIMPLE>(trader, &p, close, reason, When::Close)
        };
        trader.settle_exit::<SIMPLE>(ledger, bar, &p.closed(), fill);
        // No mark price has kept the position from its liquidation, so what it leaves is nothing.
        debug_assert!(fill.reason != Reason::Ruin || trader.ruined());
        // After an exit at the open, the orders of the bar may enter again.
        let enters = (is_gap || hit >= order) && (bitmask::get(&masks[ENTRY_LONG], at) || bitmask::get(&masks[ENTRY_SHORT], at));
        open = if enters && fill.when == When::Open && !trader.ruined() { enter::<SIMPLE>(trader, orders, at) } else { None };
        from = at + 1;
        if fill.when == When::Close && !trader.ruined() {
            return curve.push_flat(bar..bar + 1, trader.account.balance);
        }
    }
    *open_between_tiles = open;
}

/// Fill the entry order of bar `at` of the tile, at its open.
#[inline(always)]
fn enter<const SIMPLE: bool>(trader: &mut Trader<'_>, orders: &OrderTile, at: usize) -> Option<OpenPosition> {
    let (bar, balance) = (orders.start + at, trader.account.balance);
    let long = bitmask::get(&orders.at_open.masks[ENTRY_LONG], at);
    let market_price = trader.market.bars.open[bar];
    let price = fill_price::<SIMPLE>(trader, long, market_price);
    let order = Entry { long, market_price, price, maker: false, series: orders.at_open.entry_series(usize::from(!long), at) };
    let entered = trader.settle_entry::<SIMPLE>(&order, None, balance, balance)?;
    Some(OpenPosition {
        long,
        entry_index: bar,
        entry: price,
        quantity: entered.quantity,
        fee: entered.fee,
        stop_loss: entered.stop_loss,
        take_profit: entered.take_profit,
    })
}

/// Whether the open of bar `i` is beyond the liquidation level. At leverage 1, that of a long position is at a price of 0.
#[inline(always)]
fn is_liquidated_at_open<const SIMPLE: bool>(trader: &Trader<'_>, p: &OpenPosition, i: usize) -> bool {
    may_be_liquidated::<SIMPLE>(p) && trader.is_liquidated_at_open(i, p.long, trader.liquidation_price(p.long, p.entry))
}

#[inline(always)]
fn may_be_liquidated<const SIMPLE: bool>(p: &OpenPosition) -> bool {
    !(SIMPLE && p.long)
}

#[inline(always)]
fn liquidation(trader: &Trader<'_>, p: &OpenPosition, when: When) -> ExitFill {
    ExitFill { price: trader.bankruptcy_price(p.long, p.entry), rate: 0.0, reason: Reason::Liquidation, when }
}

/// The fill of a market order, or of a stop, that closes the position at `price`.
#[inline(always)]
fn market_exit<const SIMPLE: bool>(trader: &Trader<'_>, p: &OpenPosition, price: f64, reason: Reason, when: When) -> ExitFill {
    let price = fill_price::<SIMPLE>(trader, !p.long, price);
    let price = if may_be_liquidated::<SIMPLE>(p) { no_worse(p.long, price, trader.bankruptcy_price(p.long, p.entry)) } else { price };
    ExitFill { price, rate: trader.execution.commission, reason, when }
}

/// How levels close the position in bar `i`, which reaches one of them: `intrabar` for a position with nothing but these levels.
#[inline(always)]
fn exit_at_level<const SIMPLE: bool>(trader: &mut Trader<'_>, p: &OpenPosition, i: usize) -> ExitFill {
    let (execution, bars) = (trader.execution, &trader.market.bars);
    let (open, low, high) = (bars.open[i], bars.low[i], bars.high[i]);
    let (worst, best) = if p.long { (low, high) } else { (high, low) };
    let (stop, profit, through) = (p.stop_loss, p.take_profit, execution.limit_through);
    let liquidation_price = trader.liquidation_price(p.long, p.entry);
    let take_profit = |price, when| ExitFill { price, rate: execution.maker_fee, reason: Reason::TakeProfit, when };
    if touches(p.long, open, liquidation_price) {
        return liquidation(trader, p, When::Open);
    }
    if touches(p.long, open, stop) {
        return market_exit::<SIMPLE>(trader, p, open, Reason::StopLoss, When::Open);
    }
    if fills_limit(!p.long, open, profit, through) {
        return take_profit(open, When::Open);
    }
    let (hits_stop, hits_liquidation) = (touches(p.long, worst, stop), touches(p.long, worst, liquidation_price));
    let hits_profit = fills_limit(!p.long, best, profit, through);
    let is_ambiguous = hits_profit && (hits_stop || hits_liquidation);
    let profit_is_first = match execution.intrabar {
        _ if !is_ambiguous => hits_profit,
        Intrabar::Pessimistic => false,
        Intrabar::Path => (best - open).abs() < (open - worst).abs(),
        Intrabar::Optimistic => true,
    };
    let liquidation_is_nearer = if p.long { liquidation_price > stop } else { liquidation_price < stop };
    let fill = if profit_is_first {
        take_profit(within(profit, low, high), When::Inside)
    } else if hits_stop && !(hits_liquidation && liquidation_is_nearer) {
        market_exit::<SIMPLE>(trader, p, within(stop, low, high), Reason::StopLoss, When::Inside)
    } else {
        liquidation(trader, p, When::Inside)
    };
    trader.account.totals.ambiguous_bars += i64::from(is_ambiguous);
    fill
}

#[inline(always)]
fn fill_price<const SIMPLE: bool>(trader: &Trader<'_>, buys: bool, price: f64) -> f64 {
    if SIMPLE { price * (1.0 + side(buys) * trader.execution.slippage) } else { trader.market_fill(buys, price) }
}

/// The position ends at a price at or below the first bound, or at or above the second.
#[inline(always)]
fn exit_bounds(trader: &Trader<'_>, p: &OpenPosition) -> (f64, f64) {
    let profit = limit_bound(!p.long, p.take_profit, trader.execution.limit_through);
    let stop = touch_bound(p.long, p.stop_loss);
    let liquidation = touch_bound(p.long, trader.liquidation_price(p.long, p.entry));
    let or = |level: f64, none: f64| if level.is_nan() { none } else { level };
    if p.long {
        let (stop, liquidation) = (or(stop, f64::NEG_INFINITY), or(liquidation, f64::NEG_INFINITY));
        (if stop > liquidation { stop } else { liquidation }, or(profit, f64::INFINITY))
    } else {
        let (stop, liquidation) = (or(stop, f64::INFINITY), or(liquidation, f64::INFINITY));
        (or(profit, f64::NEG_INFINITY), if stop < liquidation { stop } else { liquidation })
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
