//! A position: what was bought or sold, and the levels that end it.

#[derive(Clone, Copy, Debug)]
pub struct Position {
    pub long: bool,
    pub side: f64,
    pub opened: usize,
    /// Strategy bars that had closed when the first entry filled.
    pub strategy_bar: i64,
    pub entry: f64,
    pub quantity: f64,
    pub largest: f64,
    pub entries: u32,
    pub fees: f64,
    pub funding: f64,
    pub highest: f64,
    pub lowest: f64,
    pub stop: Option<f64>,
    pub target: Option<f64>,
    pub trail: Option<f64>,
    pub rungs: usize,
}

/// 1 for a long position, -1 for a short one.
#[inline(always)]
pub fn side(long: bool) -> f64 {
    if long { 1.0 } else { -1.0 }
}

impl Position {
    /// Take in the range of a bar that the position has outlasted.
    pub fn see(&mut self, high: f64, low: f64) {
        self.highest = if high > self.highest { high } else { self.highest };
        self.lowest = if low < self.lowest { low } else { self.lowest };
    }

    /// MAE and MFE of an exit at `price`, as fractions of the entry price.
    #[inline(always)]
    pub fn excursions(&self, price: f64) -> (f64, f64) {
        let high = if price > self.highest { price } else { self.highest };
        let low = if price < self.lowest { price } else { self.lowest };
        let (favourable, adverse) = if self.long { (high, low) } else { (low, high) };
        (self.side * (adverse - self.entry) / self.entry, self.side * (favourable - self.entry) / self.entry)
    }

    pub fn best(&self) -> f64 {
        if self.long { self.highest } else { self.lowest }
    }

    /// Whether `price` is at `level` or worse for the position.
    #[inline(always)]
    pub fn beyond(&self, price: f64, level: f64) -> bool {
        if self.long { price <= level } else { price >= level }
    }

    /// Whether `price` is at `level` or better for the position.
    #[inline(always)]
    pub fn reached(&self, price: f64, level: f64) -> bool {
        if self.long { price >= level } else { price <= level }
    }
}
