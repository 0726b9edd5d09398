//! Entries that rest until the price reaches them, as limits or as stops: the twin of `python_core.engine.resting`.

use crate::simulation::account::{Ledger, Trader, no_worse};
use crate::simulation::fills::{Entry, ExitFill, When};
use crate::simulation::prices::{fills_limit, touches, within};
use crate::simulation::trade::Reason;

/// What became of a resting entry whose level was reached.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// Filled, at this price before slippage.
    Filled(f64),
    /// Rejected; a position is as it was.
    Rejected,
    /// Closed the position that it was to reverse, and opened nothing.
    Closed,
}

impl Trader<'_> {
    /// Whether resting entries are limits; only if there are any.
    pub fn rests_as_limit(&self) -> bool {
        self.levels.resting().is_some_and(|(limit, _)| limit)
    }

    /// Whether the price falls towards a resting entry: to a limit that buys or a stop that sells.
    fn falls_to(&self, long: bool) -> bool {
        self.rests_as_limit() == long
    }

    /// The level of a resting entry that may fill in bar `i` and that `price` reaches.
    pub fn reached_entry(&self, i: usize, long: bool, price: f64) -> Option<f64> {
        let resting = self.account.resting[usize::from(!long)]?;
        let falling = self.falls_to(long);
        let reached = if self.rests_as_limit() {
            fills_limit(falling, price, resting.level, self.execution.limit_through)
        } else {
            touches(falling, price, resting.level)
        };
        let is_full = self.account.position.is_some_and(|p| p.long == long && p.entries >= self.execution.pyramiding);
        (reached && !is_full && self.allows_entry(i)).then_some(resting.level)
    }

    /// The bar's extreme on the side from which a resting entry is reached.
    pub fn extreme_towards(&self, i: usize, long: bool) -> f64 {
        if self.falls_to(long) { self.market.bars.low[i] } else { self.market.bars.high[i] }
    }

    /// Fill resting entries that the open of bar `i` reaches, the nearer first; returns the price before slippage.
    pub fn fill_resting_at_open(&mut self, ledger: &mut impl Ledger, i: usize) -> Option<f64> {
        let open = self.market.bars.open[i];
        for long in self.nearer_first(i, [open, open]).into_iter().flatten() {
            if self.ruined() || self.reached_entry(i, long, open).is_none() {
                continue;
            }
            if let Outcome::Filled(price) = self.fill_resting(ledger, i, long, When::Open) {
                return Some(price);
            }
        }
        None
    }

    /// The sides of resting entries that the prices (for long, for short) reach, the one nearer to the open of bar `i` first.
    pub fn nearer_first(&self, i: usize, prices: [f64; 2]) -> [Option<bool>; 2] {
        let (long, short) = (self.reached_entry(i, true, prices[0]), self.reached_entry(i, false, prices[1]));
        let distance = |level: f64| (level - self.market.bars.open[i]).abs();
        match (long, short) {
            (Some(long), Some(short)) if distance(short) < distance(long) => [Some(false), Some(true)],
            (long, short) => [long.map(|_| true), short.map(|_| false)],
        }
    }

    /// Fill the resting entry of one side, at the open of bar `i` or at its level inside it. It first closes a position of the other side, at
    /// the same price and with the same kind of fee.
    pub fn fill_resting(&mut self, ledger: &mut impl Ledger, i: usize, long: bool, when: When) -> Outcome {
        let Some(resting) = self.account.resting[usize::from(!long)].take() else { return Outcome::Rejected };
        let (open, low, high) = (self.market.bars.open[i], self.market.bars.low[i], self.market.bars.high[i]);
        let market_price = if when == When::Open { open } else { within(resting.level, low, high) };
        let is_limit = self.rests_as_limit();
        // At its first open, a limit takes what is there.
        let takes = !is_limit || (when == When::Open && resting.placed_in == i);
        let slipped = self.market_fill(long, market_price);
        let price = match (is_limit, takes) {
            (true, true) => no_worse(!long, slipped, resting.level),
            (true, false) => market_price,
            (false, _) => slipped,
        };
        let opposite = self.account.position.filter(|p| p.long != long);
        if let Some(p) = opposite {
            let rate = if takes { self.execution.commission } else { self.execution.maker_fee };
            let exit = no_worse(p.long, price, self.bankruptcy_price_of(&p));
            let cools_down = self.close_quantity(ledger, i, p.quantity, ExitFill { price: exit, rate, reason: Reason::Reversal, when });
            if self.ruined() {
                return Outcome::Closed;
            }
            if cools_down {
                self.account.totals.filtered_entries += 1;
                return Outcome::Closed;
            }
        }
        let entry = Entry { long, market_price, price, maker: !takes, series: resting.series };
        match (self.enter(i, i, self.account.strategy_bars, &entry), opposite) {
            (true, _) => Outcome::Filled(market_price),
            (false, None) => Outcome::Rejected,
            (false, Some(_)) => Outcome::Closed,
        }
    }
}
