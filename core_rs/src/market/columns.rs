//! The columns of a tile of bars.

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    Open,
    High,
    Low,
    Close,
    Volume,
}

/// One tile of the strategy's bars, at most `TILE` long.
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
