//! What happens to a position within one bar: liquidation, stops, take-profit and partial exits.
//!
//! A bar has its high and low but not their order. Levels that the open has already passed fill first, at the open; after that, if the bar
//! reaches both a stop and a profit level, `Execution::intrabar` decides which came first.

use crate::simulation::account::{Ledger, Trader};
use crate::simulation::execution::{Intrabar, Level};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::round_down_to_step;
use crate::simulation::trade::Reason;

impl Trader<'_> {
    /// Apply all levels within bar `i`.
    pub fn trade_within_bar(&mut self, ledger: &mut impl Ledger, i: usize) {
        let Some(p) = self.account.position else { return };
        let open = self.market.bars.open[i];
        let (worst, best) =
            if p.long { (self.market.bars.low[i], self.market.bars.high[i]) } else { (self.market.bars.high[i], self.market.bars.low[i]) };
        let liquidation = self.liquidation_level(p.long, p.entry);
        let worst_mark = match self.market.mark {
            None => worst,
            Some((low, high)) => {
                if p.long {
                    low[i]
                } else {
                    high[i]
                }
            }
        };
        let hits_liquidation = liquidation.is_some_and(|level| p.at_or_worse(worst_mark, level));
        let (stop, reason) = self.stop_level(&p);
        // At the open: levels that the gap jumped over.
        if hits_liquidation && liquidation.is_some_and(|level| p.at_or_worse(open, level)) {
            return self.liquidate(ledger, i, &p);
        }
        if stop.is_some_and(|level| p.at_or_worse(open, level)) {
            return self.close_position(ledger, i, open, reason);
        }
        self.take_profits(ledger, i, open, true);
        let Some(p) = self.account.position else { return };
        // From the open to the close.
        let hits_stop = stop.is_some_and(|level| p.at_or_worse(worst, level));
        let hits_profit = self.next_profit_level(&p).is_some_and(|level| p.at_or_better(best, level));
        if hits_profit && (hits_stop || hits_liquidation) {
            self.account.totals.ambiguous_bars += 1;
            let best_is_nearer = (best - open).abs() < (open - worst).abs();
            if self.execution.intrabar == Intrabar::Optimistic || (self.execution.intrabar == Intrabar::Path && best_is_nearer) {
                self.take_profits(ledger, i, best, false);
            }
        }
        let Some(p) = self.account.position else { return };
        match stop {
            Some(stop) if hits_stop && !(hits_liquidation && liquidation.is_some_and(|level| !p.at_or_better(stop, level))) => {
                self.close_position(ledger, i, stop, reason)
            }
            _ if hits_liquidation => self.liquidate(ledger, i, &p),
            _ if hits_profit => self.take_profits(ledger, i, best, false),
            _ => {}
        }
    }

    /// Price at which a position with an entry at `entry` is liquidated.
    #[inline(always)]
    pub fn liquidation_level(&self, long: bool, entry: f64) -> Option<f64> {
        let execution = self.execution;
        if execution.leverage == 1.0 && long {
            return None;
        }
        Some(entry * (1.0 - side(long) * (1.0 / execution.leverage - execution.maintenance_margin)))
    }

    pub fn liquidate(&mut self, ledger: &mut impl Ledger, i: usize, p: &Position) {
        self.close_quantity(ledger, i, p, p.quantity, p.entry * (1.0 - p.side / self.execution.leverage), Reason::Liquidation);
    }

    /// The nearest of stop-loss, trailing stop and break-even stop, from the best price of earlier bars.
    fn stop_level(&self, p: &Position) -> (Option<f64>, Reason) {
        let (mut level, mut reason) = (p.stop_loss, Reason::StopLoss);
        let nearer = |candidate: f64, level: Option<f64>| level.is_none_or(|level| candidate != level && p.at_or_better(candidate, level));
        if let Some(trail) = p.trailing_distance {
            let active =
                self.execution.trailing_activation.is_none_or(|start| p.at_or_better(p.best_price(), p.entry * (1.0 + p.side * start)));
            if active {
                let trailing = match self.execution.trailing_stop {
                    Level::Fraction(_) => p.best_price() * (1.0 - p.side * trail),
                    _ => p.best_price() - p.side * trail,
                };
                if nearer(trailing, level) {
                    (level, reason) = (Some(trailing), Reason::TrailingStop);
                }
            }
        }
        if let Some(start) = self.execution.break_even_at
            && p.at_or_better(p.best_price(), p.entry * (1.0 + p.side * start))
            && nearer(p.entry, level)
        {
            (level, reason) = (Some(p.entry), Reason::BreakEven);
        }
        (level, reason)
    }

    /// The nearer of the next partial exit and the take-profit.
    fn next_profit_level(&self, p: &Position) -> Option<f64> {
        match (self.partial_exit_level(p), p.take_profit) {
            (None, take_profit) => take_profit,
            (Some(partial), Some(take_profit)) if !p.at_or_worse(partial, take_profit) => Some(take_profit),
            (partial, _) => partial,
        }
    }

    fn partial_exit_level(&self, p: &Position) -> Option<f64> {
        self.execution.partial_exits.get(p.partial_exits_done).map(|(profit, _)| p.entry * (1.0 + p.side * profit))
    }

    /// Fill every profit level up to the price `reached`, the nearest first: at the level itself or, if `at_open`, at `reached`.
    pub fn take_profits(&mut self, ledger: &mut impl Ledger, i: usize, reached: f64, at_open: bool) {
        while let Some(p) = self.account.position {
            let Some(level) = self.next_profit_level(&p) else { return };
            if !p.at_or_better(reached, level) {
                return;
            }
            let price = if at_open { reached } else { level };
            if self.partial_exit_level(&p) != Some(level) {
                self.close_quantity(ledger, i, &p, p.quantity, price, Reason::TakeProfit);
                continue;
            }
            let quantity = self.partial_exit_quantity(&p);
            if let Some(p) = &mut self.account.position {
                p.partial_exits_done += 1;
            }
            if quantity > 0.0 {
                let quantity = if quantity < p.quantity { quantity } else { p.quantity };
                self.close_quantity(ledger, i, &p, quantity, price, Reason::PartialExit);
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
