//! What happens between the open and the close of one bar: liquidation, stops, profit levels and resting entries. The twin is
//! `python_core.engine.intrabar`; gaps are in `python_core.engine.simulate`, levels of a position in `python_core.engine.position`.
//!
//! A bar has its high and low but not their order. Levels that the open has already passed fill first, at the open; after that, if the bar
//! reaches levels on both sides, `Execution::intrabar` decides which side came first.

use crate::signals::level::Level;
use crate::simulation::account::{Ledger, Trader};
use crate::simulation::execution::Intrabar;
use crate::simulation::fills::{ExitFill, When};
use crate::simulation::position::Position;
use crate::simulation::prices::{fills_limit, touches, within};
use crate::simulation::resting::Outcome;
use crate::simulation::sizing::round_down_to_step;
use crate::simulation::trade::Reason;

/// What one bar remembers until its close.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub i: usize,
    /// Price before slippage of a resting entry that has filled in this bar, NaN if none has.
    filled_at: f64,
    /// Whether it opened a position inside the bar.
    opened_inside: bool,
    is_ambiguous: bool,
}

/// The prices that a position meets inside a bar.
#[derive(Clone, Copy, Debug)]
struct Extremes {
    worst: f64,
    best: f64,
    /// The price that triggers a liquidation.
    trigger: f64,
}

/// The stop and the liquidation of a position, NaN if there is none.
#[derive(Clone, Copy, Debug)]
struct AdverseLevels {
    stop: f64,
    reason: Reason,
    liquidation: f64,
}

impl Bar {
    pub fn new(i: usize) -> Self {
        Self { i, filled_at: f64::NAN, opened_inside: false, is_ambiguous: false }
    }
}

impl Trader<'_> {
    /// Liquidate the position if the open of bar `i` is beyond its liquidation level.
    pub fn liquidate_at_open(&mut self, ledger: &mut impl Ledger, i: usize) {
        if let Some(p) = self.account.position
            && self.is_liquidated_at_open(i, p.long, self.liquidation_level(&p))
        {
            self.liquidate(ledger, i, &p, When::Open);
        }
    }

    #[inline(always)]
    pub fn is_liquidated_at_open(&self, i: usize, long: bool, liquidation: f64) -> bool {
        touches(long, self.market.bars.open[i], liquidation) && touches(long, self.trigger(i, long), liquidation)
    }

    /// The price of bar `i` that may trigger a liquidation.
    #[inline(always)]
    fn trigger(&self, i: usize, long: bool) -> f64 {
        let (low, high) = self.market.mark.unwrap_or((self.market.bars.low, self.market.bars.high));
        if long { low[i] } else { high[i] }
    }

    /// Levels of the position, then resting entries, that the open of a bar has passed.
    pub fn fill_gaps(&mut self, ledger: &mut impl Ledger, bar: &mut Bar) {
        self.liquidate_at_open(ledger, bar.i);
        let open = self.market.bars.open[bar.i];
        if let Some(p) = self.account.position {
            let (stop, reason) = self.stop_level(&p);
            if touches(p.long, open, stop) {
                self.close_position(ledger, bar.i, open, reason, When::Open);
            } else {
                self.take_profits(ledger, bar.i, open, f64::NAN, When::Open);
            }
        }
        if self.account.resting.iter().any(Option::is_some)
            && let Some(price) = self.fill_resting_at_open(ledger, bar.i)
        {
            bar.filled_at = price;
        }
    }

    /// Levels between the open and the extremes of a bar.
    pub fn trade_within_bar(&mut self, ledger: &mut impl Ledger, bar: &mut Bar) {
        match self.account.position {
            Some(p) => self.trade_position(ledger, bar, &p),
            None => self.open_position(ledger, bar),
        }
        self.account.totals.ambiguous_bars += i64::from(bar.is_ambiguous);
    }

    /// Resting entries of an account without a position.
    fn open_position(&mut self, ledger: &mut impl Ledger, bar: &mut Bar) {
        let sides = self.nearer_first(bar.i, [self.extreme_towards(bar.i, true), self.extreme_towards(bar.i, false)]);
        bar.is_ambiguous |= sides[0].is_some() && sides[1].is_some();
        for long in sides.into_iter().flatten() {
            if let Outcome::Filled(price) = self.fill_resting(ledger, bar.i, long, When::Inside) {
                bar.opened_inside = true;
                return self.trade_after_entry(ledger, bar, price);
            }
        }
    }

    fn trade_position(&mut self, ledger: &mut impl Ledger, bar: &mut Bar, p: &Position) {
        let i = bar.i;
        let (low, high) = (self.market.bars.low[i], self.market.bars.high[i]);
        let (worst, best) = if p.long { (low, high) } else { (high, low) };
        let extremes = Extremes { worst, best, trigger: self.trigger(i, p.long) };
        let levels = self.adverse_levels(p);
        // Of the resting entries one lies on each side: that of the position's own side adds to it, the other one reverses it.
        let (adverse_entry, favourable_entry) = if self.rests_as_limit() { (p.long, !p.long) } else { (!p.long, p.long) };
        let mut adverse_entry = self.reached_entry(i, adverse_entry, worst).map(|level| (adverse_entry, level));
        let mut favourable_entry = self.reached_entry(i, favourable_entry, best).map(|level| (favourable_entry, level));
        let mut adverse = hits_adverse(p.long, &levels, extremes) || adverse_entry.is_some();
        let mut favourable = self.hits_profit(p, best) || favourable_entry.is_some();
        bar.is_ambiguous |= adverse && favourable;
        let mut favourable_first = match self.execution.intrabar {
            _ if !(adverse && favourable) => favourable,
            Intrabar::Pessimistic => false,
            Intrabar::Path => self.best_is_nearer(i, extremes),
            Intrabar::Optimistic => true,
        };
        while adverse || favourable {
            if favourable_first {
                favourable = false;
                let limit = favourable_entry.map_or(f64::NAN, |(_, level)| level);
                self.take_profits(ledger, i, best, limit, When::Inside);
                if self.account.position.is_none() {
                    return;
                }
                if let Some((long, _)) = favourable_entry.take() {
                    match self.fill_resting(ledger, i, long, When::Inside) {
                        Outcome::Filled(price) => {
                            bar.opened_inside = long != p.long;
                            return self.trade_after_entry(ledger, bar, price);
                        }
                        Outcome::Closed => return,
                        Outcome::Rejected => favourable = self.account.position.is_some_and(|p| self.hits_profit(&p, best)),
                    }
                }
            } else {
                adverse = false;
                let entry_is_first = adverse_entry.is_some_and(|(_, level)| {
                    let is_passed = |other: f64, hit: bool| !hit || if p.long { level > other } else { level < other };
                    is_passed(levels.stop, touches(p.long, worst, levels.stop))
                        && is_passed(levels.liquidation, touches(p.long, extremes.trigger, levels.liquidation))
                });
                if let Some((long, _)) = adverse_entry.take_if(|_| entry_is_first) {
                    match self.fill_resting(ledger, i, long, When::Inside) {
                        Outcome::Filled(price) => {
                            bar.opened_inside = long != p.long;
                            return self.trade_after_entry(ledger, bar, price);
                        }
                        Outcome::Closed => return,
                        Outcome::Rejected => {}
                    }
                }
                if self.fill_adverse(ledger, bar, &levels, extremes) {
                    return;
                }
            }
            favourable_first = favourable;
        }
    }

    /// What happens to a position in the rest of the bar in which a resting entry opened it or added to it, at `price` before slippage.
    fn trade_after_entry(&mut self, ledger: &mut impl Ledger, bar: &mut Bar, price: f64) {
        let Some(p) = self.account.position else { return };
        let i = bar.i;
        bar.filled_at = price;
        let (low, high, close) = (self.market.bars.low[i], self.market.bars.high[i], self.market.bars.close[i]);
        let (worst, best) = if p.long { (low, high) } else { (high, low) };
        let trigger = |worst: f64| if self.market.mark.is_some() { self.trigger(i, p.long) } else { worst };
        let full = Extremes { worst, best, trigger: trigger(worst) };
        let is_limit = self.rests_as_limit();
        // A price that falls to a limit that buys makes its low after the fill, one that rises to a stop that buys its high.
        let certain = if is_limit { Extremes { best: close, ..full } } else { Extremes { worst: close, trigger: trigger(close), ..full } };
        let best_is_nearer = self.best_is_nearer(i, full);
        let (extremes, favourable_first) = match self.execution.intrabar {
            Intrabar::Pessimistic => (if is_limit { certain } else { full }, false),
            Intrabar::Optimistic => (if is_limit { full } else { certain }, true),
            Intrabar::Path => (if is_limit == best_is_nearer { certain } else { full }, !is_limit),
        };
        let levels = self.adverse_levels(&p);
        let hits = |extremes: Extremes| (hits_adverse(p.long, &levels, extremes), self.hits_profit(&p, extremes.best));
        bar.is_ambiguous |= hits(full) == (true, true) || hits(full) != hits(certain);
        if favourable_first {
            self.take_profits(ledger, i, extremes.best, f64::NAN, When::Inside);
        }
        if self.account.position.is_some() && !self.fill_adverse(ledger, bar, &levels, extremes) && !favourable_first {
            self.take_profits(ledger, i, extremes.best, f64::NAN, When::Inside);
        }
    }

    /// What the position's price range takes in at the close of a bar: all of the bar or, if the position was opened inside it, what surely
    /// came later.
    pub fn observe_bar(&mut self, bar: &Bar) {
        let (low, high, close) = (self.market.bars.low[bar.i], self.market.bars.high[bar.i], self.market.bars.close[bar.i]);
        let is_limit = self.rests_as_limit();
        if let Some(p) = &mut self.account.position {
            let (high, low) = match (bar.opened_inside, p.long == is_limit) {
                (false, _) => (high, low),
                (true, true) => (close, low),
                (true, false) => (high, close),
            };
            p.observe_bar(high, low);
        }
    }

    fn best_is_nearer(&self, i: usize, extremes: Extremes) -> bool {
        let open = self.market.bars.open[i];
        (extremes.best - open).abs() < (open - extremes.worst).abs()
    }

    fn adverse_levels(&self, p: &Position) -> AdverseLevels {
        let (stop, reason) = self.stop_level(p);
        AdverseLevels { stop, reason, liquidation: self.liquidation_level(p) }
    }

    /// Fill the nearer of stop and liquidation that is reached; returns whether one was.
    fn fill_adverse(&mut self, ledger: &mut impl Ledger, bar: &Bar, levels: &AdverseLevels, extremes: Extremes) -> bool {
        let Some(p) = self.account.position else { return false };
        let &AdverseLevels { stop, reason, liquidation } = levels;
        let hits_stop = touches(p.long, extremes.worst, stop);
        let hits_liquidation = touches(p.long, extremes.trigger, liquidation);
        let liquidation_is_nearer = if p.long { liquidation > stop } else { liquidation < stop };
        if hits_stop && !(hits_liquidation && liquidation_is_nearer) {
            let mut price = within(stop, self.market.bars.low[bar.i], self.market.bars.high[bar.i]);
            // In the bar in which a resting entry fills, the price came from there.
            let gains = if p.long { price > bar.filled_at } else { price < bar.filled_at };
            price = if gains { bar.filled_at } else { price };
            self.close_position(ledger, bar.i, price, reason, When::Inside);
        } else if hits_liquidation {
            self.liquidate(ledger, bar.i, &p, When::Inside);
        }
        hits_stop || hits_liquidation
    }

    /// Price at which a position is liquidated, NaN if it can't be.
    fn liquidation_level(&self, p: &Position) -> f64 {
        let level = self.liquidation_price(p.long, p.entry);
        if p.deficit > 0.0 {
            let level = if level.is_nan() { self.liquidation_formula(p.long, p.entry) } else { level };
            level + p.side * (p.deficit / p.quantity)
        } else {
            level
        }
    }

    /// As `liquidation_level`, of a position from which funding has taken no margin.
    #[inline(always)]
    pub fn liquidation_price(&self, long: bool, entry: f64) -> f64 {
        if self.execution.leverage == 1.0 && long { f64::NAN } else { self.liquidation_formula(long, entry) }
    }

    #[inline(always)]
    fn liquidation_formula(&self, long: bool, entry: f64) -> f64 {
        let side = if long { 1.0 } else { -1.0 };
        entry * (1.0 - side * (1.0 / self.execution.leverage - self.execution.maintenance_margin))
    }

    pub fn liquidate(&mut self, ledger: &mut impl Ledger, i: usize, p: &Position, when: When) {
        let fill = ExitFill { price: self.bankruptcy_price_of(p), rate: 0.0, reason: Reason::Liquidation, when };
        self.close_quantity(ledger, i, p.quantity, fill);
    }

    /// The nearest of stop-loss, trailing stop and break-even stop, from the best price of earlier bars; NaN if there is none.
    fn stop_level(&self, p: &Position) -> (f64, Reason) {
        let execution = self.execution;
        let (mut level, mut reason) = (p.stop_loss, Reason::StopLoss);
        let is_reached = |start: f64| touches(!p.long, p.best_price(), p.entry * (1.0 + p.side * start));
        let mut consider = |candidate: f64, why: Reason| {
            let candidate = execution.ticks.round(candidate, !p.long);
            if level.is_nan() || if p.long { candidate > level } else { candidate < level } {
                (level, reason) = (candidate, why);
            }
        };
        if !p.trailing_distance.is_nan() && execution.trailing_activation.is_none_or(is_reached) {
            let trailing = match self.levels.trailing_stop[usize::from(!p.long)] {
                Level::Fraction(_) => p.best_price() * (1.0 - p.side * p.trailing_distance),
                _ => p.best_price() - p.side * p.trailing_distance,
            };
            consider(trailing, Reason::TrailingStop);
        }
        if execution.break_even_at.is_some_and(is_reached) {
            consider(p.entry, Reason::BreakEven);
        }
        (level, reason)
    }

    /// The nearer of the next partial exit and the take-profit, NaN if there is none; and whether it is the partial exit.
    fn next_profit_level(&self, p: &Position) -> (f64, bool) {
        let Some((profit, _)) = self.execution.partial_exits.get(p.partial_exits_done) else { return (p.take_profit, false) };
        let partial = self.execution.ticks.round(p.entry * (1.0 + p.side * profit), p.long);
        let take_profit_is_nearer = if p.long { p.take_profit < partial } else { p.take_profit > partial };
        if take_profit_is_nearer { (p.take_profit, false) } else { (partial, true) }
    }

    fn hits_profit(&self, p: &Position, best: f64) -> bool {
        fills_limit(!p.long, best, self.next_profit_level(p).0, self.execution.limit_through)
    }

    /// Fill every profit level up to the price `reached`, the nearest first: at the open, or inside the bar at the level itself. Levels beyond
    /// `limit`, if it is not NaN, are left.
    fn take_profits(&mut self, ledger: &mut impl Ledger, i: usize, reached: f64, limit: f64, when: When) {
        let rate = self.execution.maker_fee;
        while let Some(p) = self.account.position {
            let (level, is_partial) = self.next_profit_level(&p);
            let is_beyond = if p.long { level > limit } else { level < limit };
            if is_beyond || !self.hits_profit(&p, reached) {
                return;
            }
            let price = if when == When::Open { reached } else { within(level, self.market.bars.low[i], self.market.bars.high[i]) };
            if !is_partial {
                self.close_quantity(ledger, i, p.quantity, ExitFill { price, rate, reason: Reason::TakeProfit, when });
                continue;
            }
            let quantity = self.partial_exit_quantity(&p);
            if let Some(p) = &mut self.account.position {
                p.partial_exits_done += 1;
            }
            if quantity > 0.0 {
                let quantity = if quantity < p.quantity { quantity } else { p.quantity };
                self.close_quantity(ledger, i, quantity, ExitFill { price, rate, reason: Reason::PartialExit, when });
            }
        }
    }

    /// Quantity of the next partial exit; shares that add up to 1 close what is left.
    fn partial_exit_quantity(&self, p: &Position) -> f64 {
        let total = self.execution.partial_exits[..=p.partial_exits_done].iter().fold(0.0, |total, (_, share)| total + share);
        if total >= 1.0 - 1e-9 {
            return p.quantity;
        }
        let quantity = p.max_quantity * self.execution.partial_exits[p.partial_exits_done].1;
        if self.execution.step > 0.0 { round_down_to_step(quantity, self.execution.step) } else { quantity }
    }
}

/// Whether a position's stop or liquidation is reached.
fn hits_adverse(long: bool, levels: &AdverseLevels, extremes: Extremes) -> bool {
    touches(long, extremes.worst, levels.stop) || touches(long, extremes.trigger, levels.liquidation)
}
