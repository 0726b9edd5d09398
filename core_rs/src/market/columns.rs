//! The columns of bars.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    Open,
    High,
    Low,
    Close,
    Volume,
}

/// Bars, in the base timeframe or another.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Open times.
    pub time: &'a [i64],
    pub open: &'a [f64],
    pub high: &'a [f64],
    pub low: &'a [f64],
    pub close: &'a [f64],
    pub volume: &'a [f64],
}

impl<'a> Columns<'a> {
    pub fn slice(&self, bars: Range<usize>) -> Self {
        Self {
            time: &self.time[bars.clone()],
            open: &self.open[bars.clone()],
            high: &self.high[bars.clone()],
            low: &self.low[bars.clone()],
            close: &self.close[bars.clone()],
            volume: &self.volume[bars],
        }
    }

    pub fn get(&self, column: Column) -> &'a [f64] {
        match column {
            Column::Open => self.open,
            Column::High => self.high,
            Column::Low => self.low,
            Column::Close => self.close,
            Column::Volume => self.volume,
        }
    }
}
