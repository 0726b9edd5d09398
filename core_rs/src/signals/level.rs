//! Levels of price: stops, targets and resting entries. The twin is `Level` of `python_core.engine.orders`.

use crate::numerics::ticks::Ticks;
use crate::simd::bitmask::{self, Mask, WORDS};

/// Where a stop, target, trailing distance or resting entry comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    None,
    /// A fraction of the entry price, or for a resting entry of the signal bar's close.
    Fraction(f64),
    /// A multiple of the series at the signal bar.
    Multiple(f64),
    /// The series at the signal bar.
    Series,
    /// The caller's array at the signal bar, where 0 and infinity mean that there is no level.
    Given,
}

/// A level for each side: long, short.
pub type Sides = [Level; 2];

/// Whether the caller's array has no level on a bar.
pub fn is_no_level(value: f64) -> bool {
    value == 0.0 || value.is_infinite()
}

/// Prices of resting entries at each signal bar: infinity where the entry is a market order, NaN where there is no entry.
pub fn resting_prices(level: Level, limit: bool, long: bool, close: &[f64], series: Option<&[f64]>, ticks: Ticks, out: &mut [f64]) {
    // A limit that buys lies below the close, a stop that buys above it.
    let toward = if limit == long { -1.0 } else { 1.0 };
    for (k, (price, &close)) in out.iter_mut().zip(close).enumerate() {
        let value = series.map_or(f64::NAN, |series| series[k]);
        let exact = match level {
            Level::Fraction(fraction) => close * (1.0 + toward * fraction),
            Level::Multiple(multiple) => close + toward * (multiple * value),
            Level::Given if is_no_level(value) => f64::INFINITY,
            Level::Series | Level::Given => value,
            Level::None => f64::INFINITY,
        };
        let is_market_order = level == Level::None || (level == Level::Given && is_no_level(value));
        let rounded = ticks.round(exact, limit != long);
        *price = if is_market_order || (rounded > 0.0 && rounded < f64::INFINITY) { rounded } else { f64::NAN };
    }
}

/// Bars on which both sides have a resting price.
pub fn both_rest(prices: &[Vec<f64>; 2], n: usize) -> Mask {
    let mut both = [0; WORDS];
    for k in 0..n {
        if prices.iter().all(|prices| prices[k] < f64::INFINITY) {
            bitmask::set(&mut both, k);
        }
    }
    both
}
