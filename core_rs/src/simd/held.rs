//! An open position as the loops over equity need it.

use std::ops::Range;

/// A position between two events, during which equity depends on the close alone.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub balance: f64,
    /// Negative when short.
    pub quantity: f64,
    pub entry: f64,
    /// Equity at which nothing is left.
    pub ruin: f64,
}

impl Held {
    #[inline(always)]
    pub fn equity(&self, close: f64) -> f64 {
        self.balance + self.quantity * (close - self.entry)
    }

    /// The first bar at whose close nothing is left.
    pub fn first_ruin(&self, bars: Range<usize>, close: &[f64]) -> Option<usize> {
        bars.into_iter().find(|&bar| self.equity(close[bar]) <= self.ruin)
    }
}
