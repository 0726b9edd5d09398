//! Market history, which `python_core.data.bars` has checked, and its bars in other timeframes.

pub mod columns;
pub mod frame;
pub mod higher_timeframe;

use crate::market::columns::Columns;

pub const DAY_MS: i64 = 86_400_000;
pub const WEEK_MS: i64 = 7 * DAY_MS;

/// Market history in the base timeframe. All slices over bars have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Market<'a> {
    pub bars: Columns<'a>,
    /// Low and high of the mark price, which triggers liquidations.
    pub mark: Option<(&'a [f64], &'a [f64])>,
    /// Funding times and rates.
    pub funding: Option<(&'a [i64], &'a [f64])>,
    /// Times and prices of the series that runs are compared with; None: these bars' closes.
    pub benchmark: Option<(&'a [i64], &'a [f64])>,
    pub timeframe_ms: i64,
}

impl Market<'_> {
    pub fn len(&self) -> usize {
        self.bars.time.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bars.time.is_empty()
    }
}
