//! Market history, which `python_core.data.bars` has checked, and its bars in other timeframes.

pub mod columns;
pub mod frame;
pub mod higher_timeframe;
pub mod timeframe;

use crate::market::columns::Columns;
use crate::market::timeframe::bar_end_ms;
pub use crate::market::timeframe::{DAY_MS, MONTH_MS, WEEK_MS};

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
    /// Length of a bar; `MONTH_MS` for calendar months.
    pub timeframe_ms: i64,
}

impl Market<'_> {
    pub fn len(&self) -> usize {
        self.bars.time.len()
    }

    /// The market from a bar on.
    pub fn from(&self, bar: usize) -> Self {
        let bars = self.bars.slice(bar..self.len());
        Self { bars, mark: self.mark.map(|(low, high)| (&low[bar..], &high[bar..])), ..*self }
    }

    pub fn is_empty(&self) -> bool {
        self.bars.time.is_empty()
    }

    /// The end of bar `i`.
    pub fn end_ms(&self, i: usize) -> i64 {
        bar_end_ms(self.bars.time[i], self.timeframe_ms)
    }
}
