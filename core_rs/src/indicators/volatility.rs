//! Volatility: the range of prices.

use crate::numerics::elementwise::greatest;

#[derive(Debug)]
pub struct TrueRange {
    close: f64,
}

impl Default for TrueRange {
    fn default() -> Self {
        Self { close: f64::NAN }
    }
}

impl TrueRange {
    #[inline(always)]
    pub fn next(&mut self, high: f64, low: f64, close: f64) -> f64 {
        let before = self.close;
        self.close = close;
        if before.is_nan() { f64::NAN } else { greatest(high - low, greatest((high - before).abs(), (low - before).abs())) }
    }
}
