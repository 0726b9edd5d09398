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
    /// The caller's array at the signal bar. There, 0 and infinity stand for no level.
    Given,
}

/// A level for each side: long, short.
pub type Sides = [Level; 2];

impl Level {
    /// The fraction, distance or price behind the level, from the value of its series at the signal bar; NaN if there is none.
    #[inline(always)]
    pub fn amount(self, value: f64) -> f64 {
        match self {
            Self::None => f64::NAN,
            Self::Fraction(fraction) => fraction,
            Self::Multiple(multiple) => multiple * value,
            Self::Given if value == 0.0 || value.is_infinite() => f64::NAN,
            Self::Series | Self::Given => value,
        }
    }

    /// The price of the level above `from`, or else below it, in whole ticks; NaN if there is none.
    #[inline(always)]
    pub fn price(self, value: f64, from: f64, above: bool, ticks: Ticks) -> f64 {
        let (amount, toward) = (self.amount(value), if above { 1.0 } else { -1.0 });
        let price = match self {
            Self::Fraction(_) => from * (1.0 + toward * amount),
            Self::Multiple(_) => from + toward * amount,
            Self::None | Self::Series | Self::Given => amount,
        };
        ticks.round(price, above)
    }
}

/// Prices of resting entries at each signal bar: infinity for a market order, NaN for no entry.
pub fn resting_prices(level: Level, limit: bool, long: bool, close: &[f64], series: Option<&[f64]>, ticks: Ticks, out: &mut [f64]) {
    for (k, (price, &close)) in out.iter_mut().zip(close).enumerate() {
        let value = series.map_or(f64::NAN, |series| series[k]);
        // A limit that buys lies below the close, a stop that buys above it.
        let resting = level.price(value, close, limit != long, ticks);
        let is_market_order = level == Level::None || (level == Level::Given && !value.is_nan() && resting.is_nan());
        *price = if is_market_order {
            f64::INFINITY
        } else if resting > 0.0 && resting < f64::INFINITY {
            resting
        } else {
            f64::NAN
        };
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
