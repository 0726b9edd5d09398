//! What happens to a position within one bar: liquidation, stops and targets.

use crate::simulation::account::{Ledger, Trader};
use crate::simulation::execution::{Intrabar, Level};
use crate::simulation::position::{Position, side};
use crate::simulation::sizing::whole_steps;
use crate::simulation::trade::Reason;

impl Trader<'_> {
    /// Liquidation, stops and targets within bar `i`.
    pub fn inside(&mut self, ledger: &mut impl Ledger, i: usize) {
        let Some(p) = self.account.position else { return };
        let open = self.market.open[i];
        let (worst, best) = if p.long { (self.market.low[i], self.market.high[i]) } else { (self.market.high[i], self.market.low[i]) };
        let liquidation = self.liquidation_level(p.long, p.entry);
        let marked = match self.market.mark {
            None => worst,
            Some((low, high)) => {
                if p.long {
                    low[i]
                } else {
                    high[i]
                }
            }
        };
        let liquidates = liquidation.is_some_and(|level| p.beyond(marked, level));
        let (stop, reason) = self.stop_level(&p);
        // At the open: what the gap has jumped over.
        if liquidates && liquidation.is_some_and(|level| p.beyond(open, level)) {
            return self.liquidate(ledger, i, &p);
        }
        if stop.is_some_and(|level| p.beyond(open, level)) {
            return self.leave(ledger, i, open, reason);
        }
        self.take_profits(ledger, i, open, true);
        let Some(p) = self.account.position else { return };
        // From the open to the close.
        let stops = stop.is_some_and(|level| p.beyond(worst, level));
        let profits = self.next_profit(&p).is_some_and(|level| p.reached(best, level));
        if profits && (stops || liquidates) {
            self.account.tally.ambiguous_bars += 1;
            let nearer = (best - open).abs() < (open - worst).abs();
            if self.rules.intrabar == Intrabar::Optimistic || (self.rules.intrabar == Intrabar::Path && nearer) {
                self.take_profits(ledger, i, best, false);
            }
        }
        let Some(p) = self.account.position else { return };
        match stop {
            Some(stop) if stops && !(liquidates && liquidation.is_some_and(|level| !p.reached(stop, level))) => {
                self.leave(ledger, i, stop, reason)
            }
            _ if liquidates => self.liquidate(ledger, i, &p),
            _ if profits => self.take_profits(ledger, i, best, false),
            _ => {}
        }
    }

    /// Price at which a position with an entry at `entry` is liquidated.
    #[inline(always)]
    pub fn liquidation_level(&self, long: bool, entry: f64) -> Option<f64> {
        let rules = self.rules;
        if rules.leverage == 1.0 && long {
            return None;
        }
        Some(entry * (1.0 - side(long) * (1.0 / rules.leverage - rules.maintenance_margin)))
    }

    pub fn liquidate(&mut self, ledger: &mut impl Ledger, i: usize, p: &Position) {
        self.exit(ledger, i, p, p.quantity, p.entry * (1.0 - p.side / self.rules.leverage), Reason::Liquidation);
    }

    /// The nearest of stop-loss, trailing stop and break-even stop; the best price is that of earlier bars.
    fn stop_level(&self, p: &Position) -> (Option<f64>, Reason) {
        let (mut level, mut reason) = (p.stop, Reason::StopLoss);
        let nearer = |candidate: f64, level: Option<f64>| level.is_none_or(|level| candidate != level && p.reached(candidate, level));
        if let Some(trail) = p.trail {
            let active = self.rules.trailing_activation.is_none_or(|start| p.reached(p.best(), p.entry * (1.0 + p.side * start)));
            if active {
                let trailing = match self.rules.trailing_stop {
                    Level::Fraction(_) => p.best() * (1.0 - p.side * trail),
                    _ => p.best() - p.side * trail,
                };
                if nearer(trailing, level) {
                    (level, reason) = (Some(trailing), Reason::TrailingStop);
                }
            }
        }
        if let Some(start) = self.rules.break_even_at
            && p.reached(p.best(), p.entry * (1.0 + p.side * start))
            && nearer(p.entry, level)
        {
            (level, reason) = (Some(p.entry), Reason::BreakEven);
        }
        (level, reason)
    }

    /// The nearest level of the ladder and the take-profit.
    fn next_profit(&self, p: &Position) -> Option<f64> {
        match (self.rung_level(p), p.target) {
            (None, target) => target,
            (Some(rung), Some(target)) if !p.beyond(rung, target) => Some(target),
            (rung, _) => rung,
        }
    }

    fn rung_level(&self, p: &Position) -> Option<f64> {
        self.rules.partial_exits.get(p.rungs).map(|(profit, _)| p.entry * (1.0 + p.side * profit))
    }

    /// Fill every profit level up to the price `reached`, the nearest first: at the level, or at the open where that is better.
    pub fn take_profits(&mut self, ledger: &mut impl Ledger, i: usize, reached: f64, at_open: bool) {
        while let Some(p) = self.account.position {
            let Some(level) = self.next_profit(&p) else { return };
            if !p.reached(reached, level) {
                return;
            }
            let price = if at_open { reached } else { level };
            if self.rung_level(&p) != Some(level) {
                self.exit(ledger, i, &p, p.quantity, price, Reason::TakeProfit);
                continue;
            }
            let quantity = self.rung_quantity(&p);
            if let Some(p) = &mut self.account.position {
                p.rungs += 1;
            }
            if quantity > 0.0 {
                let quantity = if quantity < p.quantity { quantity } else { p.quantity };
                self.exit(ledger, i, &p, quantity, price, Reason::PartialExit);
            }
        }
    }

    /// Quantity of the next rung; a ladder whose shares add up to 1 closes what is left.
    fn rung_quantity(&self, p: &Position) -> f64 {
        let total = self.rules.partial_exits[..=p.rungs].iter().fold(0.0, |total, (_, share)| total + share);
        if total >= 1.0 - 1e-9 {
            return p.quantity;
        }
        let quantity = p.largest * self.rules.partial_exits[p.rungs].1;
        if self.rules.step > 0.0 { whole_steps(quantity, self.rules.step) } else { quantity }
    }
}
